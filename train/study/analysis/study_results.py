"""A study on disk as its report sees it: what was varied, and what came of each trial.

    <study>/study.json                 what was studied and how
    <study>/trials/<id>/trial.json     settings, outcome, costs and command of one training
    <study>/trials/<id>/scores.csv     its score of every image: image_id, patient_id, split (val or test), score
    <study>/trials/<id>/run/           the training's own folder, with results.csv

A trial belongs to every block whose question it answers; a setting that two blocks share is trained once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from common.errors import UserError
from common.pages.wording import is_number
from common.paths import shown
from train.detector.results import MAP50_95, SCORE
from train.study.plan import identity
from train.study.study_record import BlockRecord, StudyRecord, read_study_record
from train.study.trial_record import FINISHED, SPLITS, STOPPED, TRIAL, TrialRecord, read_trial

_NUMBERS = ("epochs", "best_epoch", "steps", "map50_95", "seconds", "parameters", "gflops", "milliseconds")


@dataclass(frozen=True)
class Study:
    """A study that was read from disk.

    Attributes:
        folder: Where it lies.
        record: What was varied, and how: study.json.
        trials: One row per trial, by id (index, sorted): blocks (list of names), settings and arguments (dict), key
            (equal for trainings of one setting, see `plan.identity`), seed, fold (int or None), status (`finished`,
            `stopped` by the scheduler before its last epoch, or `failed`), error, command and weights (str or None),
            confidence; val, val_low, val_high, test, test_low, test_high: the splits' scores with their 95 % intervals;
            val_lost, test_lost: where they are lost (dict, see `run.score_parts`); epochs, best_epoch, steps (of the
            optimizer), map50_95, seconds, parameters, gflops, milliseconds. NaN where a number is not known.
        unfinished: Ids of trials that have a folder and no result: they are still running, or were killed.
    """

    folder: Path
    record: StudyRecord
    trials: pd.DataFrame
    unfinished: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[BlockRecord, ...]:
        """Its questions, in their order."""
        return self.record.blocks

    def trials_of(self, block: str) -> pd.DataFrame:
        """The trials that belong to a block."""
        return self.trials[[block in names for names in self.trials["blocks"]]]

    def setting(self, trial: str, parameter: str) -> Any:
        """The value of an argument in a trial, hashable; None where the trial was not given any."""
        return hashable(self._given[trial].get(parameter))

    @cached_property
    def _given(self) -> dict[str, dict[str, Any]]:
        """The arguments of each trial, its settings foremost, by id."""
        both = zip(self.trials.index, self.trials["arguments"], self.trials["settings"], strict=True)
        return {str(trial): {**arguments, **settings} for trial, arguments, settings in both}

    def spelled_out(self, trial: str) -> dict[str, Any]:
        """A trial's settings, and what of its arguments differs from the study's base besides."""
        row: Any = self.trials.loc[trial]
        return spelled_out(row["settings"], row["arguments"], self.record.base)

    def scores(self, trial: str) -> pd.DataFrame:
        """Read a trial's scores of images.

        Returns:
            By image_id: patient_id and split (str), score (float64, NaN where the image does not count).

        Raises:
            UserError: The file is missing or is not what was expected.
        """
        return _read_scores(self.folder / "trials" / trial / "scores.csv")

    def curve(self, trial: str) -> pd.Series:
        """The RSNA score on val (float64) by epoch (int, from 1) of a trial's training; empty where it left none."""
        return self.epochs(trial)["rsna"].dropna()

    def epochs(self, trial: str) -> pd.DataFrame:
        """What a trial's training wrote down of its epochs.

        Returns:
            By epoch (int, from 1): rsna and map, the RSNA score and mAP50-95 on val (float64, NaN where not known).
        """
        return _read_epochs(self.folder / "trials" / trial / "run" / "results.csv")


def spelled_out(settings: Mapping[str, Any], arguments: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, and what of the arguments differs from the base besides: a block may hold others fixed than the study.

    Args:
        settings: What was varied.
        arguments: All arguments of the training.
        base: Arguments that the study holds fixed.
    """
    besides = {
        name: value
        for name, value in arguments.items()
        if name not in (*settings, "seed", "data") and (name not in base or base[name] != value)
    }
    return {**settings, **besides}


def hashable(value: Any) -> Any:
    """A setting's value as it can be compared and grouped: lists and objects as their JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def read_study(folder: Path) -> Study:
    """Read a study; the scores of images are read when they are asked for.

    Raises:
        UserError: A file is missing, or holds something else than expected; the message names it.
    """
    record = read_study_record(folder)
    blocks = {block.name for block in record.blocks}
    trials, unfinished = [], []
    for place in sorted(path for path in (folder / "trials").glob("*") if path.is_dir()):
        if (place / TRIAL).is_file():
            trials.append(_row(read_trial(place), place / TRIAL, blocks))
        else:
            unfinished.append(place.name)
    if not trials:
        _refuse(folder / "trials", f"no {TRIAL} in any folder", "at least one trial; run the study's command first")
    table = pd.DataFrame(trials).set_index("id").sort_index()
    return Study(folder, record, table, tuple(unfinished))


def _row(record: TrialRecord, file: Path, blocks: set[str]) -> dict[str, Any]:
    """A trial's row of the table."""
    for name in record.blocks:
        if name not in blocks:
            _refuse(file, f"block {name!r}", f"blocks of study.json: {', '.join(sorted(blocks))}")
    asked, status = record.arguments.get("epochs"), record.status
    if status == STOPPED and is_number(asked) and is_number(record.epochs) and record.epochs >= asked:
        status = FINISHED  # stopped after its last epoch, which stopped nothing
    if status == FINISHED and not is_number(record.val_score):
        _refuse(file, "no score on val", "one, since the trial has finished")
    row: dict[str, Any] = {
        "id": record.id,
        "status": status,
        "command": record.command,
        "blocks": list(record.blocks),
        "settings": record.settings,
        "arguments": record.arguments,
        "key": identity(record.arguments, repeats=False),
        "seed": record.seed,
        "fold": record.fold,
        "error": record.error,
        "weights": record.weights,
        **{name: _number(getattr(record, name)) for name in _NUMBERS},
    }
    for split, score in zip(SPLITS, (record.val, record.test), strict=True):
        low, high = score.interval_95 if score else (math.nan, math.nan)
        row |= {split: score.score if score else math.nan, f"{split}_low": low, f"{split}_high": high}
        row[f"{split}_lost"] = dict(score.lost) if score else {}
    row["confidence"] = _number(record.val.confidence if record.val else None)
    return row


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _refuse(file: Path, found: str, expected: str) -> NoReturn:
    raise UserError(f"{shown(file)}: found {found}; expected {expected}.")


def _read_scores(file: Path) -> pd.DataFrame:
    columns = ["image_id", "patient_id", "split", "score"]
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{shown(file)}: no such file; expected the trial's scores, {','.join(columns)}.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{shown(file)}: not a readable CSV ({reason}); expected {','.join(columns)}.") from error
    if not set(columns) <= set(table.columns):
        _refuse(file, f"the columns {','.join(table.columns)}", ",".join(columns))
    if (twice := table["image_id"].duplicated()).any():
        _refuse(file, f"image {table['image_id'][twice].iloc[0]} twice", "one row for each image")
    if (other := ~table["split"].isin(SPLITS)).any():
        _refuse(file, f"split {table['split'][other].iloc[0]!r}", " or ".join(SPLITS))
    score = pd.to_numeric(table["score"].replace("", np.nan), errors="coerce").astype(float)
    wrong = (table["score"] != "") & ~score.between(0, 1)
    if wrong.any():
        _refuse(file, f"score {table['score'][wrong].iloc[0]!r}", "numbers from 0 to 1, or nothing")
    return table[columns].assign(score=score).set_index("image_id")


def _read_epochs(file: Path) -> pd.DataFrame:
    names = {SCORE: "rsna", MAP50_95: "map"}
    try:
        table = pd.read_csv(file, skipinitialspace=True)
        table.columns = table.columns.astype(str).str.strip()
        found = table.set_index("epoch").reindex(columns=list(names)).astype(float).rename(columns=names)
    except (OSError, ValueError, KeyError):
        # Half-written or of another program: the curve is left out, the rest of the report is none the worse.
        return pd.DataFrame(columns=list(names.values()), dtype=float)
    return found.where(np.isfinite(found)).rename_axis("epoch")
