"""Whether what one parameter does depends on another: contrasts of contrasts within a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from evaluate.metrics.uncertainty import holm
from train.study.analysis.block_view import SIGNIFICANT, BlockView, is_ordered
from train.study.analysis.noise import Estimate, estimate


@dataclass(frozen=True)
class Interaction:
    """How differently a parameter works at two values of another: the strongest such contrast of a block.

    Attributes:
        parameter: What is changed, from `reference` to `level`.
        other: What it depends on.
        values: The two values of `other`.
        effect: The change at the second of `values` less the change at the first.
        p_holm: Corrected for all contrasts of the two parameters.
        family: How many these are.
    """

    block: str
    parameter: str
    reference: Any
    level: Any
    other: str
    values: tuple[Any, Any]
    effect: Estimate
    p_holm: float
    family: int

    @property
    def is_real(self) -> bool:
        """Whether it is beyond the noise that is known."""
        return self.p_holm < SIGNIFICANT


def find_interactions(view: BlockView) -> list[Interaction]:
    """For each pair of listed parameters of a block, the contrast of contrasts with the smallest p value."""
    listed = {} if view.block.singly or view.block.best_of else view.listed()
    found = []
    for first, second in combinations(listed, 2):
        swap = is_ordered(listed[second]) and not is_ordered(listed[first])
        parameter, other = (second, first) if swap else (first, second)
        made = []
        for steps in _contrast_pairs(listed[parameter]):
            for values in _contrast_pairs(listed[other]):
                weights = _double_difference(view, parameter, steps, other, values)
                if weights:
                    made.append((steps, values, estimate(view.measured, weights)))
        if made:
            corrected = holm([effect.p for _, _, effect in made])
            place = int(np.argmin([effect.p for _, _, effect in made]))
            (reference, level), values, effect = made[place]
            told = (other, values, effect, corrected[place], len(made))
            found.append(Interaction(view.block.name, parameter, reference, level, *told))
    return found


def _contrast_pairs(levels: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs that span all differences between levels: neighbours of numbers, others against the first."""
    return list(pairwise(levels)) if is_ordered(levels) else [(levels[0], level) for level in levels[1:]]


def _double_difference(
    view: BlockView, parameter: str, steps: tuple[Any, Any], other: str, values: tuple[Any, Any]
) -> dict[str, float]:
    """Weights of the change at the second value less the change at the first, matched in all else; {} without any."""
    low, high = (view.matched(parameter, {other: value}, drop=(other,)).groups for value in values)
    whole = [key for key in low if key in high and all(step in side[key] for side in (low, high) for step in steps)]
    weights: dict[str, float] = {}
    for key in whole:
        for side, sign in ((high, 1), (low, -1)):
            for step, own in ((steps[1], sign), (steps[0], -sign)):
                names = side[key][step]
                weights |= dict.fromkeys(names, own / len(names) / len(whole))
    return weights
