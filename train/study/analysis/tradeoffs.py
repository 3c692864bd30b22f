"""What a score costs: parameters, operations and time of models; epochs that early stopping saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.pages.wording import is_number
from train.study.analysis.effects import Effect
from train.study.analysis.study_results import Study
from train.study.trial_record import FINISHED

COSTS = {
    "parameters": "parameters",
    "gflops": "GFLOPs per image",
    "milliseconds": "milliseconds per image",
    "seconds": "seconds of training",
}
"""Columns of `Study.trials` that are costs, in words."""
PATIENCES = (1, 2, 3, 5, 10, 20, 50)


def costs_of(study: Study, effect: Effect) -> pd.DataFrame:
    """The costs of each value of a parameter, such as the model: medians of its block's finished trials.

    Returns:
        By value, in the effect's order, those without a finished trial left out: the columns of `COSTS` and score.
    """
    trials = study.trials_of(effect.block)
    trials = trials[trials["status"] == FINISHED]
    values = [study.setting(str(name), effect.parameter) for name in trials.index]
    rows = {}
    for level, score in effect.scores.items():
        mine = trials.loc[[value == level for value in values], list(COSTS)]
        rows[level] = {**mine.median().to_dict(), "score": score.value}
    index = pd.Index(list(rows), dtype=object)  # None is a value, and no number
    return pd.DataFrame(list(rows.values()), index=index, columns=[*COSTS, "score"]).astype(float)


def cost_of(costs: pd.DataFrame, level: Any) -> pd.Series:
    """The costs of one value, which may be True or None, and so no label that pandas takes."""
    return costs.iloc[list(costs.index).index(level)]


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which points no other beats: none costs no more and scores no less, one of the two strictly.

    Args:
        costs: (N,), lower is better; a point whose cost is NaN is not on the front.
        scores: (N,), higher is better.
    """
    cost, score = np.asarray(costs, float), np.asarray(scores, float)
    no_worse = (cost[None] <= cost[:, None]) & (score[None] >= score[:, None])
    better = (cost[None] < cost[:, None]) | (score[None] > score[:, None])
    return ~(no_worse & better).any(axis=1) & ~np.isnan(cost)


@dataclass(frozen=True)
class Patience:
    """What early stopping would have done to trainings that ran all their epochs.

    Attributes:
        patience: Epochs without a better score after which it stops.
        runs: Trainings it was tried on.
        saved: Share of their epochs that it saves.
        lost: What the best score on val falls by, mean over the runs.
        harmed: In how many runs it falls at all.
        worst: The most that it falls by.
    """

    patience: int
    runs: int
    saved: float
    lost: float
    harmed: int
    worst: float


def stopping_epoch(curve: pd.Series, patience: int) -> int:
    """How many epochs a training runs with early stopping, as Ultralytics 8.4 decides it.

    Args:
        curve: Score (float) by epoch, ascending.
        patience: More than 0.
    """
    best, best_place = 0.0, 0
    for place, score in enumerate(curve.to_numpy()):
        if score > best or best == 0:
            best, best_place = score, place
        if place - best_place >= patience:
            return place + 1
    return len(curve)


def patience_costs(curves: Sequence[pd.Series], patiences: Sequence[int] = PATIENCES) -> list[Patience]:
    """Give what each patience, shorter than the longest curve, would have saved and cost; nothing without curves."""
    curves = [curve for curve in curves if len(curve)]
    longest = max(map(len, curves), default=0)
    found = []
    for patience in patiences:
        if patience >= longest:
            break
        stops = [stopping_epoch(curve, patience) for curve in curves]
        lost = np.array([curve.max() - curve.iloc[:stop].max() for curve, stop in zip(curves, stops, strict=True)])
        saved = 1 - sum(stops) / sum(map(len, curves))
        found.append(
            Patience(patience, len(curves), saved, float(lost.mean()), int((lost > 0).sum()), float(lost.max()))
        )
    return found


def complete_curves(study: Study) -> dict[str, pd.Series]:
    """Curves, by trial, of the finished trainings that ran all the epochs they were given: none was cut short."""
    found = {}
    for name, row in study.trials[study.trials["status"] == FINISHED].iterrows():
        asked: Any = row["settings"].get("epochs", row["arguments"].get("epochs"))
        curve = study.curve(str(name))
        if is_number(asked) and len(curve) == asked:
            found[str(name)] = curve
    return found


def mean_epochs(study: Study, effect: Effect) -> dict[Any, float]:
    """How many epochs the finished trainings of each value ran, on average."""
    trials = study.trials_of(effect.block)
    trials = trials[trials["status"] == FINISHED]
    values = [study.setting(str(name), effect.parameter) for name in trials.index]
    found = {level: trials["epochs"][[value == level for value in values]].mean() for level in effect.scores}
    return {level: float(mean) for level, mean in found.items() if is_number(mean)}
