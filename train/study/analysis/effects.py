"""What each setting of a study does to the score, the others held.

Trials of a block that differ in one parameter only (same other settings, seed and fold) are paired; an effect is the
mean difference of the pairs. `train.study.analysis.noise` says how sure it is. A difference is called real where its p
value, corrected for its family, is below 0.05; a family is what is compared for one parameter of one block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from common.pages.wording import is_number
from train.study.analysis.noise import Estimate, Measured, estimate, holm
from train.study.analysis.reading import Block, Study, hashable

SIGNIFICANT = 0.05

Groups = Mapping[Any, Mapping[Any, str]]
"""(other settings, seed, fold) -> value of the parameter -> id of the trial."""


@dataclass(frozen=True)
class Comparison:
    """One level of a parameter against another, everything else held.

    Attributes:
        block: Name of the block.
        parameter: What differs.
        reference: Its value in the second of each pair.
        level: Its value in the first of each pair.
        pairs: How many pairs of trials.
        effect: Score of `level` less score of `reference`.
        p_holm: Corrected p value.
        family: How many comparisons it was corrected for.
        given: Other parameters that were held at one value; empty where the pairs run over all their values.
        role: `step` (neighbours in order), `ends` (the first and the last), `best` (against the best on val), or
            `longest` (patience: against the one that trains longest).
    """

    block: str
    parameter: str
    reference: Any
    level: Any
    pairs: int
    effect: Estimate
    role: str
    p_holm: float = 1.0
    family: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_real(self) -> bool:
        """Whether the difference is beyond the noise that is known."""
        return self.p_holm < SIGNIFICANT


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


def levels_of(study: Study, block: Block, parameter: str) -> tuple[Any, ...] | None:
    """The values that a parameter has in a block's trials: numbers rising, others as listed; None for a range."""
    listed = block.parameters[parameter]
    if not isinstance(listed, list):
        return None
    # A model may be named by another path in a trial than in the list.
    order = {_short(value): place for place, value in reversed(list(enumerate(listed)))}
    found = list(dict.fromkeys(study.setting(str(trial), parameter) for trial in study.trials_of(block.name).index))
    if is_ordered(found):
        return tuple(sorted(found))
    return tuple(sorted(found, key=lambda value: order.get(_short(value), len(order))))


def _short(value: Any) -> Any:
    return PurePath(value).stem if isinstance(value, str) else hashable(value)


def is_ordered(levels: Sequence[Any]) -> bool:
    """Whether the values are numbers, so that `more` means something."""
    return all(is_number(level) for level in levels)


def find_effects(study: Study, measured: Measured) -> list[Effect]:
    """Compare the values of every listed parameter of every block, as far as there are matched trials."""
    return [
        effect
        for block in study.blocks
        for parameter in block.parameters
        if (effect := _effect(study, measured, block, parameter))
    ]


def _effect(study: Study, measured: Measured, block: Block, parameter: str) -> Effect | None:
    levels = levels_of(study, block, parameter)
    if levels is None:
        return None
    matched = matched_trials(study, measured, block, parameter)
    runs = {level: [group[level] for group in matched.values() if level in group] for level in levels}
    runs = {level: names for level, names in runs.items() if names}
    scores = {level: estimate(measured, dict.fromkeys(names, 1 / len(names))) for level, names in runs.items()}
    best = best_level(measured, matched, list(runs))
    ordered = is_ordered(levels)
    wanted: dict[tuple[Any, Any], str] = {}
    if parameter == "patience":
        longest = max(runs, key=lambda level: level or math.inf, default=None)  # 0 never stops
        wanted = {(longest, level): "longest" for level in runs if level != longest}
    elif ordered:
        wanted = dict.fromkeys(pairwise(runs), "step")
        if len(runs) > 2:
            wanted[next(iter(runs)), list(runs)[-1]] = "ends"
    else:
        if parameter == "model":
            wanted = dict.fromkeys(pairwise(runs), "step")
        wanted |= {
            (best, level): "best"
            for level in runs
            if level != best and not {(best, level), (level, best)} & wanted.keys()
        }
    found = [
        comparison
        for (reference, level), role in wanted.items()
        if (comparison := compare(measured, block.name, parameter, matched, reference, level, role))
    ]
    # The best was chosen on the very scores that are compared: every pair might have been looked at.
    others = [] if ordered or measured.chosen_apart else list(combinations(runs, 2))
    hidden = [
        comparison
        for pair in others
        if pair not in wanted and pair[::-1] not in wanted
        if (comparison := compare(measured, block.name, parameter, matched, *pair, "hidden"))
    ]
    corrected = correct([*found, *hidden])[: len(found)]
    counts = {level: len(names) for level, names in runs.items()}
    to_best = {
        level: comparison.effect
        for level in runs
        if level != best and (comparison := compare(measured, block.name, parameter, matched, best, level, "best"))
    }
    return Effect(block.name, parameter, ordered, levels, scores, counts, best, to_best, tuple(corrected))


def conditional_comparisons(study: Study, measured: Measured, block: Block) -> list[Comparison]:
    """In a block of two or more listed parameters: what one does at each value of another.

    The first is that with numbers, or else with most values; the family is all comparisons of a pair of parameters.
    """
    listed = {name: levels for name in block.parameters if (levels := levels_of(study, block, name))}
    if len(listed) < 2:
        return []
    leading = max(listed, key=lambda name: (is_ordered(listed[name]), len(listed[name])))
    found: list[Comparison] = []
    for other in listed:
        if other == leading:
            continue
        family = []
        for value in listed[other]:
            matched = matched_trials(study, measured, block, leading, {other: value})
            present = [level for level in listed[leading] if any(level in group for group in matched.values())]
            if is_ordered(listed[leading]):
                wanted = dict.fromkeys(pairwise(present), "step")
                if len(present) > 2:
                    wanted[present[0], present[-1]] = "ends"
            else:
                best = best_level(measured, matched, present)
                wanted = {(best, level): "best" for level in present if level != best}
            for (reference, level), role in wanted.items():
                made = compare(measured, block.name, leading, matched, reference, level, role)
                if made:
                    family.append(replace(made, given={other: value}))
        found += correct(family)
    return found


def matched_trials(
    study: Study,
    measured: Measured,
    block: Block,
    parameter: str,
    given: Mapping[str, Any] | None = None,
    drop: tuple[str, ...] = (),
) -> dict[Any, dict[Any, str]]:
    """Trials of a block that differ in the parameter only: (other settings, seed, fold) -> its value -> trial id."""
    given = given or {}
    others = [name for name in block.parameters if name != parameter and name not in drop]
    groups: dict[Any, dict[Any, str]] = {}
    for name, row in measured.trials.iterrows():
        trial = str(name)
        if block.name not in row["blocks"]:
            continue
        if any(study.setting(trial, other) != value for other, value in given.items()):
            continue
        fold = None if pd.isna(row["fold"]) else row["fold"]
        key = (*(study.setting(trial, other) for other in others), row["seed"], fold)
        groups.setdefault(key, {}).setdefault(study.setting(trial, parameter), trial)
    return groups


def best_level(measured: Measured, matched: Groups, levels: Sequence[Any]) -> Any:
    """The level of highest mean score on val, the first of equals; over groups with all levels if there are any."""
    if not levels:
        return None
    complete = [group for group in matched.values() if all(level in group for level in levels)] or matched.values()
    val = measured.trials["val"]
    means = {level: np.mean([val[group[level]] for group in complete if level in group]) for level in levels}
    return max(levels, key=lambda level: means[level])


def compare(
    measured: Measured,
    block: str,
    parameter: str,
    matched: Groups,
    reference: Any,
    level: Any,
    role: str,
) -> Comparison | None:
    """Compare two levels over the groups that have both; None without one. It is corrected for nothing yet."""
    pairs = [(group[level], group[reference]) for group in matched.values() if level in group and reference in group]
    if not pairs:
        return None
    weights = {name: sign / len(pairs) for pair in pairs for name, sign in zip(pair, (1, -1), strict=True)}
    return Comparison(block, parameter, reference, level, len(pairs), estimate(measured, weights), role)


def correct(family: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p values of a family for its size."""
    corrected = holm([comparison.effect.p for comparison in family])
    return [replace(comparison, p_holm=p, family=len(family)) for comparison, p in zip(family, corrected, strict=True)]
