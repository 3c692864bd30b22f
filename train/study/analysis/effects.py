"""What each setting of a study does to the score, the others held.

A difference is called real where its p value, corrected for its family, is below 0.05; a family is what is compared for
one parameter of one block. `train.study.analysis.block_view` says what is compared with what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

from train.study.analysis.block_view import BlockView, Comparison, MatchedTrials, correct_by_holm, is_ordered
from train.study.analysis.noise import Estimate, estimate


@dataclass(frozen=True)
class Effect:
    """What one parameter of a block does.

    Attributes:
        block: The block.
        parameter: The parameter.
        ordered: Whether its values are numbers.
        levels: Its values in order.
        scores: Mean score of the finished trials at each value that has any.
        runs: How many these are.
        best: The value that scores best on val; None where no trial has finished.
        to_best: Score of each other value less that of the best, over matched trials.
        comparisons: Ordered: neighbours, and the ends. Models: neighbours as they were listed, and all with the best.
            Patience: all with the one that trains longest. Other: all with the best.
    """

    block: str
    parameter: str
    ordered: bool
    levels: tuple[Any, ...]
    scores: Mapping[Any, Estimate]
    runs: Mapping[Any, int]
    best: Any
    to_best: Mapping[Any, Estimate]
    comparisons: tuple[Comparison, ...]


def find_effects(view: BlockView) -> list[Effect]:
    """Compare the values of every listed parameter of a block, as far as there are matched trials."""
    return [_effect(view, parameter, levels) for parameter, levels in view.listed().items()]


def _effect(view: BlockView, parameter: str, levels: tuple[Any, ...]) -> Effect:
    matched = view.matched(parameter)
    runs = {level: names for level in levels if (names := matched.having(level))}
    scores = {level: estimate(view.measured, dict.fromkeys(names, 1 / len(names))) for level, names in runs.items()}
    best = matched.best(list(runs))
    wanted = _wanted(parameter, list(runs), is_ordered(levels), best)
    found = matched.compare_all(wanted)
    # The best was chosen on the very scores that are compared: every pair might have been looked at.
    others = [] if is_ordered(levels) or view.measured.chosen_apart else list(combinations(runs, 2))
    hidden = matched.compare_all({pair: "hidden" for pair in others if pair not in wanted and pair[::-1] not in wanted})
    corrected = correct_by_holm([*found, *hidden])[: len(found)]
    to_best = {
        one.level: one.effect for one in matched.compare_all({(best, level): "" for level in runs if level != best})
    }
    counts = {level: len(names) for level, names in runs.items()}
    return Effect(
        view.block.name, parameter, is_ordered(levels), levels, scores, counts, best, to_best, tuple(corrected)
    )


def _wanted(parameter: str, levels: Sequence[Any], ordered: bool, best: Any) -> dict[tuple[Any, Any], str]:
    """What is compared of a parameter's values, (reference, level) -> role; see `Effect.comparisons`."""
    if parameter == "patience":
        longest = max(levels, key=lambda level: level or math.inf, default=None)  # 0 never stops
        return {(longest, level): "longest" for level in levels if level != longest}
    if ordered:
        return _steps_and_ends(levels)
    steps: dict[tuple[Any, Any], str] = dict.fromkeys(pairwise(levels), "step") if parameter == "model" else {}
    return steps | {
        (best, level): "best" for level in levels if level != best and not {(best, level), (level, best)} & steps.keys()
    }


def _steps_and_ends(levels: Sequence[Any]) -> dict[tuple[Any, Any], str]:
    wanted: dict[tuple[Any, Any], str] = dict.fromkeys(pairwise(levels), "step")
    if len(levels) > 2:
        wanted[levels[0], levels[-1]] = "ends"
    return wanted


def conditional_comparisons(view: BlockView) -> list[Comparison]:
    """In a block of two or more listed parameters: what one does at each value of another.

    The first is that with numbers, or else with most values; the family is all comparisons of a pair of parameters.
    """
    listed = view.listed()
    if len(listed) < 2:
        return []
    leading = max(listed, key=lambda name: (is_ordered(listed[name]), len(listed[name])))
    found: list[Comparison] = []
    for other in listed:
        if other == leading:
            continue
        family = []
        for value in listed[other]:
            matched = view.matched(leading, {other: value})
            made = matched.compare_all(_wanted_given(matched, listed[leading]))
            family += [replace(comparison, given={other: value}) for comparison in made]
        found += correct_by_holm(family)
    return found


def _wanted_given(matched: MatchedTrials, levels: Sequence[Any]) -> dict[tuple[Any, Any], str]:
    present = [level for level in levels if matched.having(level)]
    if is_ordered(levels):
        return _steps_and_ends(present)
    best = matched.best(present)
    return {(best, level): "best" for level in present if level != best}
