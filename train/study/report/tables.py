"""The tables of a study's report, in plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.pages.wording import MISSING, count, interval_text, is_number, score_text
from train.study.analysis.block_view import Comparison
from train.study.analysis.effects import Effect
from train.study.analysis.summary import Analysis
from train.study.analysis.tradeoffs import mean_epochs, pareto_front
from train.study.report.words import estimate_interval, of_count, signed, title_of, value_text, verdict
from train.study.study_record import BlockRecord
from train.study.trial_record import SPLITS

MANY = 24
"""Tables with more rows are folded."""
_MODEL_COLUMNS = ["step brought", "parameters", "GFLOPs", "ms", "seconds", "on the front"]


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        caption: What its rows are.
        columns: Headings.
        rows: As many texts each.
        note: What has to be known to read it; may be empty.
        of_trials: Whether the first column has ids of trials.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    of_trials: bool = False

    @property
    def is_text(self) -> tuple[bool, ...]:
        """For each column, whether it holds words, which are read from the left."""
        return tuple(any(text[:1].isalpha() for text in column) for column in zip(*self.rows, strict=True))

    @property
    def is_long(self) -> bool:
        """Whether it is better folded."""
        return len(self.rows) > MANY


def level_table(analysis: Analysis, effect: Effect) -> Table:
    """What each value of a parameter scores; of a model also what it costs, of a patience how long it trained."""
    assert analysis.measured is not None
    split, parameter = analysis.measured.split, effect.parameter
    costs = analysis.costs.get(effect.block) if parameter == "model" else None
    columns = [parameter, "trainings", f"{split} score", "95 % interval"]
    columns += _MODEL_COLUMNS if costs is not None else ["to the best on val", "epochs"]
    epochs = mean_epochs(analysis.study, effect)
    rows = []
    for level in effect.levels:
        name = value_text(parameter, level) + (" (best on val)" if level == effect.best else "")
        if level not in effect.scores:
            rows.append((name, "0", *[MISSING] * (len(columns) - 2)))
            continue
        score = effect.scores[level]
        row = [name, count(effect.runs[level]), score_text(score.value), interval_text(estimate_interval(score))]
        if costs is None:
            to_best = signed(effect.to_best[level]) if level in effect.to_best else MISSING
            row += [to_best, decimal(epochs.get(level, math.nan))]
        else:
            row += _model_cells(effect, level, costs)
        rows.append(tuple(row))
    note = (
        f"Mean {split} score of the finished trainings; its interval holds the noise of images and, where it is known, "
        "of training. Differences are between matched trainings, on the same images, and so less noisy than two scores."
    )
    if costs is not None:
        note += " On the front: no other model has fewer parameters and scores as much."
    return Table(f"{title_of(parameter)}: what each value scores", tuple(columns), tuple(rows), note)


def _model_cells(effect: Effect, level: Any, costs: pd.DataFrame) -> list[str]:
    step = next((one for one in effect.comparisons if one.role == "step" and one.level == level), None)
    brought = MISSING if step is None else signed(step.effect) + ("" if step.is_real else ", within noise")
    front = pareto_front(costs["parameters"].tolist(), costs["score"].tolist())[list(costs.index).index(level)]
    cost = costs.loc[level]
    rest = [decimal(cost["gflops"]), decimal(cost["milliseconds"]), decimal(cost["seconds"])]
    return [brought, count(cost["parameters"]), *rest, "yes" if front else "no"]


def comparison_table(comparisons: Sequence[Comparison], what: str) -> list[Table]:
    """Comparisons of one family; no table without any."""
    if not comparisons:
        return []
    given = any(one.given for one in comparisons)
    columns = ("from", "to", "trainings", "difference", "noise of images", "of training", "p (Holm)", "verdict")
    rows = []
    for one in comparisons:
        held = ", ".join(f"{name} {value_text(name, value)}" for name, value in one.given.items())
        ends = (value_text(one.parameter, one.reference), value_text(one.parameter, one.level))
        noise = (score_text(one.effect.sampling), score_text(one.effect.training))
        row = (*ends, f"{one.runs[1]}, {one.runs[0]}", signed(one.effect), *noise, _p(one.p_holm), verdict(one))
        rows.append((held, *row) if given else row)
    family = comparisons[0].family
    note = (
        "A difference is that of the means of trainings that differ in this only, ± half of its 95 % interval; noise "
        "is a standard error."
    )
    if family > 1:
        note += f" p is corrected for the {of_count(family, 'comparison')} made here."
    return [Table(f"Differences: {what}", ("with", *columns) if given else columns, tuple(rows), note)]


def interaction_table(analysis: Analysis, block: BlockRecord) -> list[Table]:
    """Whether one parameter depends on another; no table without two."""
    rows = []
    for one in analysis.interactions[block.name]:
        step = f"{one.parameter} {value_text(one.parameter, one.reference)} to {value_text(one.parameter, one.level)}"
        first, second = (value_text(one.other, value) for value in one.values)
        told = (signed(one.effect), _p(one.p_holm), count(one.family), "real" if one.is_real else "within noise")
        rows.append((step, f"{one.other} {second} against {first}", *told))
    columns = ("change", "how much more at", "difference", "p (Holm)", "of contrasts", "verdict")
    note = "The contrast with the smallest p value of all that were looked at."
    return [Table("Does one parameter depend on the other?", columns, tuple(rows), note)] if rows else []


def run_table(analysis: Analysis, trials: pd.DataFrame, parameters: Sequence[str] | None) -> Table | None:
    """Every run's settings and scores; with all it cost where no parameters are named."""
    if trials.empty:
        return None
    study = analysis.study
    repeat = "fold" if trials["fold"].notna().all() else "seed"
    splits = [split for split in SPLITS if split == "val" or study.trials[split].notna().any()]
    rows = []
    for key, row in trials.iterrows():
        name = str(key)
        cells = [name]
        if parameters is None:
            settings = study.spelled_out(name)
            cells.append(", ".join(f"{one}={value_text(one, value)}" for one, value in settings.items()))
        else:
            cells += [value_text(one, study.setting(name, one)) for one in parameters]
        cells += [MISSING if pd.isna(row[repeat]) else f"{row[repeat]:.0f}", str(row["status"])]
        known = is_number(row["epochs"]) and is_number(row["best_epoch"])
        cells.append(f"{row['best_epoch']:.0f} of {row['epochs']:.0f}" if known else MISSING)
        for split in splits:
            interval = interval_text([row[f"{split}_low"], row[f"{split}_high"]])
            cells.append(f"{score_text(row[split])} ({interval})" if is_number(row[split]) else MISSING)
        if parameters is None:
            cells += [score_text(row["map50_95"]), count(row["parameters"])]
            cells += [decimal(row[cost]) for cost in ("gflops", "milliseconds", "seconds")]
        rows.append(tuple(cells))
    columns = ["trial", *(["settings"] if parameters is None else parameters), repeat, "status", "best epoch"]
    columns += [f"{split} score (95 % interval)" for split in splits]
    columns += ["mAP50-95", "parameters", "GFLOPs", "ms", "seconds"] if parameters is None else []
    note = "Intervals of single scores: 95 %, from resampled patients, without the noise of training."
    return Table("Every run", tuple(columns), tuple(rows), note, of_trials=True)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def decimal(value: float) -> str:
    """A number with one decimal, or with commas between thousands."""
    return (f"{value:.1f}" if value < 100 else f"{value:,.0f}") if is_number(value) else MISSING
