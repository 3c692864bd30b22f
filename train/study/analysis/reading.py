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
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from common.errors import UserError
from common.pages.wording import is_number
from common.paths import shown
from train.detector.results import SCORE

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
SPLITS = ("val", "test")
"""The column of a training's results.csv that holds the RSNA score on val."""

_NUMBERS = ("epochs", "best_epoch", "map50_95", "seconds", "parameters", "gflops", "milliseconds")
_KINDS = {"text": str, "a list": list, "an object": dict}


@dataclass(frozen=True)
class Block:
    """One question of a study: some parameters varied, everything else held.

    Attributes:
        name: Letters, digits, hyphens and underscores.
        title: A few words.
        about: One line; may be empty.
        parameters: The values that each varied argument takes, in the order in which they were asked for; or its range,
            `{"low", "high", "log"}`.
        base: Arguments that differ from the study's own base.
        only: By parameter and value (as text), arguments that differ where it has this value.
    """

    name: str
    title: str
    about: str
    parameters: Mapping[str, Any]
    base: Mapping[str, Any]
    only: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Study:
    """A study that was read from disk.

    Attributes:
        folder: Where it lies.
        info: The content of study.json.
        blocks: Its blocks, in their order.
        trials: One row per trial, by id (index, sorted): blocks (list of names), settings and arguments (dict), seed,
            fold (int or None), status (`finished`, `stopped` by the scheduler before its last epoch, or `failed`),
            error, command and weights (str or None), confidence; val, val_low, val_high, test, test_low, test_high:
            the splits' scores with their 95 % intervals; epochs, best_epoch, map50_95, seconds, parameters, gflops,
            milliseconds. NaN where a number is not known.
        unfinished: Ids of trials that have a folder and no result: they are still running, or were killed.
    """

    folder: Path
    info: Mapping[str, Any]
    blocks: tuple[Block, ...]
    trials: pd.DataFrame
    unfinished: tuple[str, ...] = ()

    def trials_of(self, block: str) -> pd.DataFrame:
        """The trials that belong to a block."""
        return self.trials[[block in names for names in self.trials["blocks"]]]

    def setting(self, trial: str, parameter: str) -> Any:
        """The value of an argument in a trial, hashable; None where the trial was not given any."""
        row = self.trials.loc[trial]
        return hashable(row["settings"].get(parameter, row["arguments"].get(parameter)))

    def spelled_out(self, trial: str) -> dict[str, Any]:
        """A trial's settings, and what of its arguments differs from the study's base besides."""
        row: Any = self.trials.loc[trial]
        return spelled_out(row["settings"], row["arguments"], self.info.get("base") or {})

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
        return _read_curve(self.folder / "trials" / trial / "run" / "results.csv")


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
    file = folder / "study.json"
    info = _read_json(file, "a study's folder, as train/sweep.py writes it")
    for name in ("name", "command"):
        _take(file, info, name, "text")
    blocks = tuple(_block(file, block) for block in _take(file, info, "blocks", "a list"))
    if not blocks:
        _refuse(file, "no blocks", "at least one, with the parameters that were varied")
    trials, unfinished = [], []
    for place in sorted(path for path in (folder / "trials").glob("*") if path.is_dir()):
        if (place / "trial.json").is_file():
            trials.append(_trial(place / "trial.json", {block.name for block in blocks}))
        else:
            unfinished.append(place.name)
    if not trials:
        _refuse(folder / "trials", "no trial.json in any folder", "at least one trial; run the study's command first")
    table = pd.DataFrame(trials).set_index("id").sort_index()
    return Study(folder, info, blocks, table, tuple(unfinished))


def _block(file: Path, content: Any) -> Block:
    if not isinstance(content, dict):
        _refuse(file, f"block {content!r}", "an object with name and parameters")
    name, parameters = _take(file, content, "name", "text"), _take(file, content, "parameters", "an object")
    for parameter, values in parameters.items():
        listed = isinstance(values, list) and len(values) > 0
        if not listed and not (isinstance(values, dict) and all(is_number(values.get(end)) for end in ("low", "high"))):
            _refuse(file, f"block {name}: {parameter} is {values!r}", 'a list of values, or {"low", "high", "log"}')
    title, about = str(content.get("title") or name), str(content.get("about") or "")
    return Block(name, title, about, parameters, content.get("base") or {}, content.get("only") or {})


def _trial(file: Path, blocks: set[str]) -> dict[str, Any]:
    """One row of the table of trials."""
    content = _read_json(file, "a trial's outcome")
    row: dict[str, Any] = {
        **{name: _take(file, content, name, "text") for name in ("id", "status", "command")},
        "blocks": _take(file, content, "blocks", "a list"),
        **{name: _take(file, content, name, "an object") for name in ("settings", "arguments")},
        **{name: content.get(name) for name in ("seed", "fold", "error", "weights")},
    }
    if row["id"] != file.parent.name:
        _refuse(file, f"id {row['id']!r}", f"{file.parent.name!r}, the name of its folder")
    if row["status"] not in (FINISHED, STOPPED, FAILED):
        _refuse(file, f"status {row['status']!r}", f"{FINISHED}, {STOPPED} or {FAILED}")
    for name in row["blocks"]:
        if name not in blocks:
            _refuse(file, f"block {name!r}", f"blocks of study.json: {', '.join(sorted(blocks))}")
    for name in _NUMBERS:
        row[name] = _number(file, name, content.get(name))
    for split in SPLITS:
        outcome = content.get(split) or {}
        if not isinstance(outcome, dict):
            _refuse(file, f"{split} is {outcome!r}", 'null, or an object with "score" and "interval_95"')
        low, high = outcome.get("interval_95") or (None, None)
        named = {split: outcome.get("score"), f"{split}_low": low, f"{split}_high": high}
        row |= {name: _number(file, name, value) for name, value in named.items()}
    row["confidence"] = _number(file, "confidence", (content.get("val") or {}).get("confidence"))
    asked = row["arguments"].get("epochs")
    if row["status"] == STOPPED and is_number(asked) and row["epochs"] >= asked:
        row["status"] = FINISHED  # stopped after its last epoch, which stopped nothing
    if row["status"] == FINISHED and not is_number(row["val"]):
        _refuse(file, "no score on val", "one, since the trial has finished")
    return row


def _read_json(file: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{shown(file)}: no such file; expected {what}.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{shown(file)}: cannot be read ({reason}); expected {what}, in JSON.") from error
    if not isinstance(content, dict):
        _refuse(file, f"a JSON {type(content).__name__}", "a JSON object")
    return content


def _take(file: Path, content: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in content:
        _refuse(file, f"no {name!r}", f"it to be {kind}")
    if not isinstance(content[name], _KINDS[kind]):
        _refuse(file, f"{name} is {content[name]!r}", kind)
    return content[name]


def _number(file: Path, name: str, value: Any) -> float:
    """The number as float, NaN for null; null is also how JSON writes a score that is not finite."""
    if value is None:
        return math.nan
    if not is_number(value):
        _refuse(file, f"{name} is {value!r}", "a finite number or null")
    return float(value)


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


def _read_curve(file: Path) -> pd.Series:
    try:
        table = pd.read_csv(file, skipinitialspace=True)
        table.columns = table.columns.astype(str).str.strip()
        curve = table.set_index("epoch")[SCORE].astype(float)
    except (OSError, ValueError, KeyError):
        # Half-written or of another program: the curve is left out, the rest of the report is none the worse.
        return pd.Series(dtype=float)
    return curve[np.isfinite(curve)].rename_axis("epoch")
