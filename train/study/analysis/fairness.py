"""Whether a comparison compares what it says: trainings that were still learning, sides that took unequal steps.

**Converged.** A training has converged when the last fifth of its epochs raised its best score on val by no more than
3 % of it. One whose best epoch lies before that fifth has, therefore; one that never scored has not. A comparison of
trainings that have not tells which setting learns faster, which is another question.

**Steps.** Images an epoch, epochs and the batch all change how many steps the optimizer takes. Where two sides differ
in that, what differs between them may be no more than how long they learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from train.study.analysis.block_view import EQUAL_STEPS, BlockView
from train.study.analysis.effects import Effect
from train.study.analysis.study_results import Study
from train.study.trial_record import FINISHED

LAST, FLAT = 5, 0.03
"""The last one of so many parts of the epochs may raise the best score by no more than this share of it."""


def has_converged(curve: pd.Series) -> bool | None:
    """Whether a training was flat at its end; see the module's text.

    Args:
        curve: The score on val (float) by epoch, rising; may be empty.

    Returns:
        None where there is no curve.
    """
    if curve.empty:
        return None
    before = curve.iloc[: len(curve) - math.ceil(len(curve) / LAST)]
    best = float(curve.max())
    return best > 0 and len(before) > 0 and float(before.max()) >= (1 - FLAT) * best


def find_converged(study: Study, curves: Mapping[str, pd.Series]) -> dict[str, bool]:
    """Whether each finished training with a curve has converged, by trial."""
    finished = study.trials.index[study.trials["status"] == FINISHED]
    known = {str(name): has_converged(curves[str(name)]) for name in finished if str(name) in curves}
    return {name: flat for name, flat in known.items() if flat is not None}


@dataclass(frozen=True)
class Fairness:
    """How alike the trainings were that stand behind one parameter's values.

    Attributes:
        steps: Mean steps of the optimizer by value; NaN where they are not known.
        converged: By value, how many trainings have converged, of how many whose curve is known.
    """

    steps: Mapping[Any, float]
    converged: Mapping[Any, tuple[int, int]]

    @property
    def step_range(self) -> tuple[float, float] | None:
        """The fewest and the most steps, where these differ by more than a rest."""
        known = [steps for steps in self.steps.values() if steps > 0]
        low, high = min(known, default=0.0), max(known, default=0.0)
        return (low, high) if high > EQUAL_STEPS * low else None

    @property
    def unconverged(self) -> tuple[int, int]:
        """How many trainings have not converged, of how many."""
        every = sum(of for _, of in self.converged.values())
        return every - sum(count for count, _ in self.converged.values()), every


def judge_fairness(view: BlockView, effect: Effect, converged: Mapping[str, bool]) -> Fairness:
    """How alike the trainings of a parameter's values were."""
    steps, ended = {}, {}
    matched = view.matched(effect.parameter)
    for level in effect.scores:
        names = matched.having(level)
        known = [view.measured.steps[name] for name in names]
        steps[level] = sum(known) / len(known)
        flat = [converged[name] for name in names if name in converged]
        ended[level] = (sum(flat), len(flat))
    return Fairness(steps, ended)
