"""One block of a study as comparisons need it: the values of its parameters, and trials that differ in one only.

Trials of a block that differ in one parameter only (same other settings and fold) are *matched*; a difference is that
of the means over all seeds, so that every repeat of a control counts. Pairing by seed would gain little, since a seed
does something else to every setting, and would throw the other repeats away. `train.study.analysis.noise` says how sure
it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from common.pages.wording import is_number
from evaluate.metrics.uncertainty import holm
from train.study.analysis.noise import Estimate, Measured, estimate, setting_keys
from train.study.analysis.study_results import Study, hashable
from train.study.plan import identity
from train.study.study_record import BlockRecord
from train.study.trial_record import LOST

NO_CONTROL = object()
"""Stands for the value of a control that there is not; None is a value."""
SIGNIFICANT = 0.05
EQUAL_STEPS = 1.05
"""Numbers of steps that differ by a smaller factor count as equal."""


@dataclass(frozen=True)
class Comparison:
    """One level of a parameter against another, everything else held.

    Attributes:
        block: Name of the block.
        parameter: What differs.
        reference: Its value that is compared with.
        level: Its value that is compared.
        runs: How many trainings of `level` and of `reference`.
        effect: Score of `level` less score of `reference`.
        p_holm: Corrected p value.
        family: How many comparisons it was corrected for.
        given: Other parameters that were held at one value; empty where the matched trials run over all their values.
        role: `control` (against the mean of the repeated base), `step` (neighbours in order), `ends` (the first and the
            last), `best` (against the best on val), or `longest` (patience: against the one that trains longest).
        p_study: The p value, corrected by Benjamini and Hochberg for all comparisons of the study.
        looked_at: How many these are.
        named: How many of these are below the limit beside this one: each leaves more room for the others.
        steps: Mean steps of the optimizer of `level` and of `reference`; NaN where they are not known.
        parts: What of the effect each part of the score brings (`trial_record.LOST`), which add up to it; empty where
            that is not known.
        between: The trials of both sides: equal for a comparison that two blocks share.
    """

    block: str
    parameter: str
    reference: Any
    level: Any
    runs: tuple[int, int]
    effect: Estimate
    role: str
    p_holm: float = 1.0
    family: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)
    p_study: float = 1.0
    looked_at: int = 1
    named: int = 0
    steps: tuple[float, float] = (math.nan, math.nan)
    parts: Mapping[str, float] = field(default_factory=dict)
    between: frozenset[frozenset[str]] = frozenset()

    @property
    def is_real(self) -> bool:
        """Whether the difference is beyond the noise that is known, within its family."""
        return self.p_holm < SIGNIFICANT

    @property
    def is_named(self) -> bool:
        """Whether it is beyond noise also among all that the study looked at, so that its headline may name it."""
        return self.is_real and self.p_study < SIGNIFICANT

    @property
    def smallest(self) -> float | None:
        """The smallest difference that would have been named beside what was; None where nothing is known."""
        return self.effect.smallest(SIGNIFICANT * min(1 / self.family, (self.named + 1) / self.looked_at))

    @property
    def step_ratio(self) -> float:
        """How many times the steps the longer trained side had, 1 or more; NaN where they are not known."""
        low, high = sorted(self.steps)
        return high / low if low > 0 else math.nan

    @property
    def has_unequal_steps(self) -> bool:
        """Whether the two sides were trained with different numbers of steps, so that this may be what differs."""
        return self.step_ratio > EQUAL_STEPS


def correct_by_holm(family: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p values of a family for its size."""
    corrected = holm([comparison.effect.p for comparison in family])
    return [replace(comparison, p_holm=p, family=len(family)) for comparison, p in zip(family, corrected, strict=True)]


@dataclass(frozen=True)
class BlockView:
    """A block with the study's trials and their scores.

    Attributes:
        study: The study.
        measured: Scores of its finished trials, and their noise.
        block: The block.
    """

    study: Study
    measured: Measured
    block: BlockRecord

    def trials(self) -> pd.DataFrame:
        """The block's finished trials."""
        return self._trials

    @cached_property
    def _trials(self) -> pd.DataFrame:
        return self.measured.trials[[self.block.name in names for names in self.measured.trials["blocks"]]]

    @cached_property
    def _control(self) -> str | None:
        """A trial of the block's repeated base; None where it was not repeated."""
        record = self.study.record
        if self.block.best_of or not (self.block.controls or record.controls):
            return None  # or at its best the base may be another one
        key = _key_of(json.dumps({**record.base, **self.block.base}))
        same = self._trials.index[setting_keys(self._trials) == key]
        return str(same[0]) if len(same) else None

    def levels(self, parameter: str) -> tuple[Any, ...] | None:
        """The values that a parameter has in the block's trials: numbers rising, others as listed; None for a range."""
        listed = self.block.parameters[parameter]
        if not isinstance(listed, list):
            return None
        # A model may be named by another path in a trial than in the list.
        order = {_short(value): place for place, value in reversed(list(enumerate(listed)))}
        trials = self.study.trials_of(self.block.name).index
        found = list(dict.fromkeys(self.study.setting(str(trial), parameter) for trial in trials))
        if is_ordered(found):
            return tuple(sorted(found))
        return tuple(sorted(found, key=lambda value: order.get(_short(value), len(order))))

    def control(self, parameter: str) -> Any:
        """The value that a parameter has in the block's repeated base, as `levels` has it; `NO_CONTROL` without one."""
        return NO_CONTROL if self._control is None else self.study.setting(self._control, parameter)

    def listed(self) -> dict[str, tuple[Any, ...]]:
        """The values of each parameter that is no range."""
        return {name: levels for name in self.block.parameters if (levels := self.levels(name))}

    def matched(
        self, parameter: str, given: Mapping[str, Any] | None = None, drop: Sequence[str] = ()
    ) -> MatchedTrials:
        """The finished trials by what they have in common but for a parameter.

        Args:
            parameter: What they may differ in.
            given: Other parameters, and the value that is looked at alone.
            drop: Parameters that do not tell groups apart.
        """
        given = given or {}
        best_of = self.block.best_of
        at_its_best = best_of is not None and parameter != best_of and best_of not in given
        if at_its_best:
            drop = (*drop, str(best_of))
        others = [name for name in self.block.parameters if name != parameter and name not in drop]
        groups: dict[Any, dict[Any, list[str]]] = {}
        for trial, fold in zip(map(str, self._trials.index), self._trials["fold"], strict=True):
            if at_its_best and trial not in self._best_of_each:
                continue
            if any(self.study.setting(trial, other) != value for other, value in given.items()):
                continue
            key = (*(self.study.setting(trial, other) for other in others), None if pd.isna(fold) else fold)
            groups.setdefault(key, {}).setdefault(self.study.setting(trial, parameter), []).append(trial)
        if self.block.singly:  # what else was changed belongs to another parameter
            groups = {key: group for key, group in groups.items() if len(group) > 1} or groups
        return MatchedTrials(self, parameter, groups)

    @cached_property
    def _best_of_each(self) -> set[str]:
        """The trials at the value of `best_of` that scores best on val, for each combination of the others."""
        best_of = str(self.block.best_of)
        others = [name for name in self.block.parameters if name != best_of]
        cells: dict[Any, dict[Any, list[str]]] = {}
        for trial in map(str, self._trials.index):
            key = tuple(self.study.setting(trial, other) for other in others)
            cells.setdefault(key, {}).setdefault(self.study.setting(trial, best_of), []).append(trial)
        val = self.measured.val
        best = (max(cell.values(), key=lambda names: np.mean([val[name] for name in names])) for cell in cells.values())
        return {trial for names in best for trial in names}


@dataclass(frozen=True)
class MatchedTrials:
    """Trials of a block that differ in one parameter only.

    Attributes:
        view: The block.
        parameter: What they differ in.
        groups: (other settings, fold) -> value of the parameter -> ids of the trials, one for each seed.
    """

    view: BlockView
    parameter: str
    groups: Mapping[Any, Mapping[Any, Sequence[str]]]

    def having(self, level: Any) -> list[str]:
        """The trials with a value of the parameter."""
        return [trial for group in self.groups.values() for trial in group.get(level, ())]

    def best(self, levels: Sequence[Any]) -> Any:
        """The level of highest mean score on val, first of equals; over groups with all levels if there are any."""
        if not levels:
            return None
        every = self.groups.values()
        complete = [group for group in every if all(level in group for level in levels)] or every
        val = self.view.measured.val
        means = {
            level: np.mean([np.mean([val[trial] for trial in group[level]]) for group in complete if level in group])
            for level in levels
        }
        return max(levels, key=lambda level: means[level])

    def compare(self, reference: Any, level: Any, role: str) -> Comparison | None:
        """Compare two levels over the groups that have both; None without one. It is corrected for nothing yet."""
        groups = self.groups.values()
        both = [(group[level], group[reference]) for group in groups if {level, reference} <= group.keys()]
        if not both:
            return None
        weights = {
            name: sign / len(names) / len(both)
            for sides in both
            for names, sign in zip(sides, (1, -1), strict=True)
            for name in names
        }
        effect = estimate(self.view.measured, weights)
        runs = sum(len(sides[0]) for sides in both), sum(len(sides[1]) for sides in both)
        steps = self._steps(sides[0] for sides in both), self._steps(sides[1] for sides in both)
        parts = _sum_of_parts(self.view.measured.lost, weights)
        name = self.view.block.name
        between = frozenset(frozenset(trial for one in both for trial in one[side]) for side in (0, 1))
        made = Comparison(name, self.parameter, reference, level, runs, effect, role)
        return replace(made, steps=steps, parts=parts, between=between)

    def _steps(self, groups: Iterable[Sequence[str]]) -> float:
        """Mean steps of the optimizer, weighted as the scores are."""
        steps = self.view.measured.steps
        return float(np.mean([np.mean([steps[name] for name in names]) for names in groups]))

    def compare_all(self, wanted: Mapping[tuple[Any, Any], str]) -> list[Comparison]:
        """Compare pairs of levels, as far as there are matched trials: (reference, level) -> role."""
        made = (self.compare(reference, level, role) for (reference, level), role in wanted.items())
        return [comparison for comparison in made if comparison]


@lru_cache
def _key_of(arguments: str) -> str:
    """The setting that arguments, in JSON, describe; all blocks of a study ask for the same few."""
    return identity(json.loads(arguments), repeats=False)


def _sum_of_parts(lost: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]) -> dict[str, float]:
    """A weighted sum of scores, part by part: what is not lost is gained."""
    if not all(lost[name] for name in weights):
        return {}
    return {part: -sum(weight * lost[name][part] for name, weight in weights.items()) for part in LOST}


def is_ordered(levels: Sequence[Any]) -> bool:
    """Whether the values are numbers, so that `more` means something."""
    return all(is_number(level) for level in levels)


def _short(value: Any) -> Any:
    return PurePath(value).stem if isinstance(value, str) else hashable(value)
