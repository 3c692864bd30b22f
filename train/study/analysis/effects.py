"""What each setting of a study does to the score, the others held.

A difference is called real where its p value, corrected for its family, is below 0.05; a family is what is compared for
one parameter of one block (of models: the steps of the ladder are one, and all against the best another). What the
headline names must be so among all comparisons of the study, too (`correct_over_study`).
`train.study.analysis.block_view` says what is compared with what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

from scipy.stats import false_discovery_control

from train.study.analysis.block_view import (
    SIGNIFICANT,
    BlockView,
    Comparison,
    MatchedTrials,
    correct_by_holm,
    is_ordered,
)
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
        to_reference: Score of each other value less that of `reference`, over matched trials.
        comparisons: Models: neighbours as they were listed, and all with the best. Patience: all with the one that
            trains longest. Others: all with the repeated base; where there is none, neighbours and the ends of numbers,
            and all with the best of what is not ordered.
        hidden: p values of the pairs that might have been compared as well, since the best was chosen on these scores.
    """

    block: str
    parameter: str
    ordered: bool
    levels: tuple[Any, ...]
    scores: Mapping[Any, Estimate]
    runs: Mapping[Any, int]
    best: Any
    to_reference: Mapping[Any, Estimate]
    comparisons: tuple[Comparison, ...]
    hidden: tuple[float, ...] = ()

    @property
    def reference(self) -> Any:
        """The value that others are drawn against: the repeated base's, or else the best on val."""
        return next((one.reference for one in self.comparisons if one.role == "control"), self.best)

    @property
    def smallest(self) -> float | None:
        """The smallest difference that each of its comparisons would have named; None where nothing is known."""
        return max((seen for one in self.comparisons if (seen := one.smallest) is not None), default=None)


def find_effects(view: BlockView) -> list[Effect]:
    """Compare the values of every listed parameter of a block, as far as there are matched trials.

    Not of the one of which each value of the others takes what suits it best.
    """
    wanted = {name: levels for name, levels in view.listed().items() if name != view.block.best_of}
    return [_effect(view, parameter, levels) for parameter, levels in wanted.items()]


def _effect(view: BlockView, parameter: str, levels: tuple[Any, ...]) -> Effect:
    matched = view.matched(parameter)
    runs = {level: names for level in levels if (names := matched.having(level))}
    scores = {level: estimate(view.measured, dict.fromkeys(names, 1 / len(names))) for level, names in runs.items()}
    best = matched.best(list(runs))
    control = view.control(parameter)
    wanted = _wanted(parameter, list(runs), is_ordered(levels), best, control)
    found = matched.compare_all(wanted)
    # The best was chosen on the very scores that are compared: every pair might have been looked at.
    chosen = any(one.role == "best" for one in found) and not view.measured.chosen_apart
    others = list(combinations(runs, 2)) if chosen else []
    hidden = matched.compare_all({pair: "hidden" for pair in others if pair not in wanted and pair[::-1] not in wanted})
    ladder = [one for one in found if parameter == "model" and one.role == "step"]
    rest = [one for one in found if one not in ladder]
    corrected = [*correct_by_holm(ladder), *correct_by_holm([*rest, *hidden])[: len(rest)]]
    reference = control if any(one.role == "control" for one in found) else best
    drawn = matched.compare_all({(reference, level): "" for level in runs if level != reference})
    to_reference = {one.level: one.effect for one in drawn}
    counts = {level: len(names) for level, names in runs.items()}
    unseen = tuple(one.effect.p for one in hidden)
    return Effect(
        view.block.name,
        parameter,
        is_ordered(levels),
        levels,
        scores,
        counts,
        best,
        to_reference,
        tuple(corrected),
        unseen,
    )


def correct_over_study(effects: Sequence[Effect]) -> list[Effect]:
    """Correct the p values of all comparisons for all that the study looked at, by Benjamini and Hochberg.

    A comparison that several blocks share is one.
    """
    every = [one for effect in effects for one in effect.comparisons]
    known = {one.between: one.effect.p for one in every}
    hidden = [p for effect in effects for p in effect.hidden]
    if not known:
        return list(effects)
    adjusted = false_discovery_control([*known.values(), *hidden], method="bh")
    p_of = dict(zip(known, adjusted.tolist(), strict=False))
    below = int((adjusted < SIGNIFICANT).sum())

    def corrected(one: Comparison) -> Comparison:
        p = p_of[one.between]
        return replace(one, p_study=p, looked_at=len(adjusted), named=below - (p < SIGNIFICANT))

    return [replace(effect, comparisons=tuple(map(corrected, effect.comparisons))) for effect in effects]


def _wanted(
    parameter: str, levels: Sequence[Any], ordered: bool, best: Any, control: Any
) -> dict[tuple[Any, Any], str]:
    """What is compared of a parameter's values, (reference, level) -> role; see `Effect.comparisons`."""
    if parameter == "patience":
        longest = max(levels, key=lambda level: level or math.inf, default=None)  # 0 never stops
        return {(longest, level): "longest" for level in levels if level != longest}
    if control in levels and parameter != "model":
        return {(control, level): "control" for level in levels if level != control}
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
    if len(listed) < 2 or view.block.singly or view.block.best_of:
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
