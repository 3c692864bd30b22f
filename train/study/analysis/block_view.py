"""One block of a study as comparisons need it: the values of its parameters, and trials that differ in one only.

Trials of a block that differ in one parameter only (same other settings, seed and fold) are *matched*; a difference is
the mean over the pairs of them. `train.study.analysis.noise` says how sure it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from common.pages.wording import is_number
from evaluate.metrics.uncertainty import holm
from train.study.analysis.noise import Estimate, Measured, estimate
from train.study.analysis.study_results import Study, hashable
from train.study.study_record import BlockRecord

SIGNIFICANT = 0.05


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
        return self.measured.trials[[self.block.name in names for names in self.measured.trials["blocks"]]]

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
        others = [name for name in self.block.parameters if name != parameter and name not in drop]
        groups: dict[Any, dict[Any, str]] = {}
        for name, row in self.trials().iterrows():
            trial = str(name)
            if any(self.study.setting(trial, other) != value for other, value in given.items()):
                continue
            fold = None if pd.isna(row["fold"]) else row["fold"]
            key = (*(self.study.setting(trial, other) for other in others), row["seed"], fold)
            groups.setdefault(key, {}).setdefault(self.study.setting(trial, parameter), trial)
        return MatchedTrials(self, parameter, groups)


@dataclass(frozen=True)
class MatchedTrials:
    """Trials of a block that differ in one parameter only.

    Attributes:
        view: The block.
        parameter: What they differ in.
        groups: (other settings, seed, fold) -> value of the parameter -> id of the trial.
    """

    view: BlockView
    parameter: str
    groups: Mapping[Any, Mapping[Any, str]]

    def having(self, level: Any) -> list[str]:
        """The trials with a value of the parameter."""
        return [group[level] for group in self.groups.values() if level in group]

    def best(self, levels: Sequence[Any]) -> Any:
        """The level of highest mean score on val, first of equals; over groups with all levels if there are any."""
        if not levels:
            return None
        every = self.groups.values()
        complete = [group for group in every if all(level in group for level in levels)] or every
        val = self.view.measured.trials["val"]
        means = {level: np.mean([val[group[level]] for group in complete if level in group]) for level in levels}
        return max(levels, key=lambda level: means[level])

    def compare(self, reference: Any, level: Any, role: str) -> Comparison | None:
        """Compare two levels over the groups that have both; None without one. It is corrected for nothing yet."""
        pairs = [
            (group[level], group[reference]) for group in self.groups.values() if level in group and reference in group
        ]
        if not pairs:
            return None
        weights = {name: sign / len(pairs) for pair in pairs for name, sign in zip(pair, (1, -1), strict=True)}
        effect = estimate(self.view.measured, weights)
        return Comparison(self.view.block.name, self.parameter, reference, level, len(pairs), effect, role)

    def compare_all(self, wanted: Mapping[tuple[Any, Any], str]) -> list[Comparison]:
        """Compare pairs of levels, as far as there are matched trials: (reference, level) -> role."""
        made = (self.compare(reference, level, role) for (reference, level), role in wanted.items())
        return [comparison for comparison in made if comparison]


def is_ordered(levels: Sequence[Any]) -> bool:
    """Whether the values are numbers, so that `more` means something."""
    return all(is_number(level) for level in levels)


def _short(value: Any) -> Any:
    return PurePath(value).stem if isinstance(value, str) else hashable(value)
