"""All that the report of a study computes, gathered once: comparisons, importance, costs, early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from evaluate.metrics.uncertainty import RESAMPLES, holm
from train.study.analysis.block_view import SIGNIFICANT, BlockView, Comparison
from train.study.analysis.effects import Effect, conditional_comparisons, correct_over_study, find_effects
from train.study.analysis.fairness import Fairness, find_converged, judge_fairness
from train.study.analysis.fitness import FitnessComparison, compare_fitness
from train.study.analysis.importance import Dependence, Importance, find_dependence, find_importance
from train.study.analysis.interactions import Interaction, find_interactions
from train.study.analysis.noise import Estimate, Measured, estimate, measure, setting_keys
from train.study.analysis.study_results import Study
from train.study.analysis.tradeoffs import Patience, complete_curves, costs_of, patience_costs
from train.study.study_record import BlockRecord


@dataclass(frozen=True)
class Setting:
    """All trainings of one setting: they differ in seed or fold only.

    Attributes:
        trials: Their ids.
        val: Mean score on val.
        score: Mean score on the split that is compared.
        behind: Score of the best setting less this one's, over folds that both have; None for the best itself.
        p_holm: Of `behind`, corrected for the number of settings.
    """

    trials: tuple[str, ...]
    val: float
    score: Estimate
    behind: Estimate | None = None
    p_holm: float = 1.0

    @property
    def is_behind(self) -> bool:
        """Whether it is worse than the best setting beyond the noise that is known."""
        return self.behind is not None and self.behind.value > 0 and self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Analysis:
    """What was computed of a study; everything is empty where no trial has finished.

    Attributes:
        study: The study.
        measured: Scores and their noise.
        settings: All settings, the best on val first.
        effects: Of each listed parameter of each block.
        conditional: By block, what one parameter does at each value of another.
        interactions: By block.
        importance: By block; None where it cannot be told.
        dependence: By block, of drawn settings.
        costs: By block and parameter, costs and score of each value.
        patience: What early stopping would have saved and cost.
        curves: Score on val by epoch, by trial.
        converged: Whether each training whose epochs are known was flat at its end.
        fitness: The RSNA score against mAP as what chooses; None where the epochs have only one of them.
    """

    study: Study
    measured: Measured | None
    settings: tuple[Setting, ...]
    effects: tuple[Effect, ...]
    conditional: Mapping[str, list[Comparison]]
    interactions: Mapping[str, list[Interaction]]
    importance: Mapping[str, Importance | None]
    dependence: Mapping[str, list[Dependence]]
    costs: Mapping[tuple[str, str], pd.DataFrame]
    patience: tuple[Patience, ...]
    curves: Mapping[str, pd.Series]
    converged: Mapping[str, bool] = field(default_factory=dict)
    fitness: FitnessComparison | None = None

    @property
    def named(self) -> tuple[Comparison, ...]:
        """All differences that are beyond noise among all that the study looked at, the largest first."""
        every = [one for effect in self.effects for one in effect.comparisons if one.is_named]
        return tuple(sorted(every, key=lambda one: -abs(one.effect.value)))

    @property
    def looked_at(self) -> int:
        """How many differences the study looked at."""
        return max((one.looked_at for effect in self.effects for one in effect.comparisons), default=0)

    def fairness(self, effect: Effect) -> Fairness:
        """How alike the trainings behind an effect were."""
        block = next(block for block in self.study.blocks if block.name == effect.block)
        return judge_fairness(self.view(block), effect, self.converged)

    def view(self, block: BlockRecord) -> BlockView:
        """One block with its trials; there must be a finished trial in the study."""
        assert self.measured is not None
        return BlockView(self.study, self.measured, block)

    def effects_of(self, block: str) -> list[Effect]:
        """The effects of a block's parameters."""
        return [effect for effect in self.effects if effect.block == block]


def analyse(study: Study, resamples: int = RESAMPLES) -> Analysis:
    """Compute all that the report says.

    Raises:
        UserError: The scores of a finished trial are missing or wrong.
    """
    curves = {str(name): curve for name in study.trials.index if len(curve := study.curve(str(name)))}
    measured = measure(study, resamples)
    if measured is None:
        return Analysis(study, None, (), (), {}, {}, {}, {}, {}, (), curves)
    views = {block.name: BlockView(study, measured, block) for block in study.blocks}
    effects = correct_over_study([effect for view in views.values() for effect in find_effects(view)])
    importance = {name: find_importance(view) for name, view in views.items()}
    return Analysis(
        study,
        measured,
        rank_settings(measured),
        tuple(effects),
        {name: conditional_comparisons(view) for name, view in views.items()},
        {name: find_interactions(view) for name, view in views.items()},
        importance,
        {
            name: find_dependence(view)
            for name, view in views.items()
            if (found := importance[name]) and found.predicted is not None
        },
        {(one.block, one.parameter): costs_of(study, one) for one in effects},
        tuple(patience_costs(list(complete_curves(study).values()))),
        curves,
        find_converged(study, curves),
        compare_fitness(study),
    )


def rank_settings(measured: Measured) -> tuple[Setting, ...]:
    """All settings with a finished trial, by falling mean score on val, each compared with the first of them."""
    trials = measured.trials
    groups = trials.groupby(setting_keys(trials), sort=False).groups
    settings = [
        Setting(
            tuple(map(str, names)), float(trials.loc[names, "val"].mean()), _mean_score(measured, list(map(str, names)))
        )
        for names in groups.values()
    ]
    settings.sort(key=lambda setting: -setting.val)
    best, *others = settings
    compared = [replace(setting, behind=_difference(measured, best, setting)) for setting in others]
    known = [setting.behind.p if setting.behind else 1.0 for setting in compared]
    # Where the best was chosen on the scores that are compared, any pair of settings might have been.
    pairs = 1 if measured.chosen_apart else max(1.0, len(settings) / 2)
    corrected = [min(1.0, p * pairs) for p in holm(known)]
    return best, *(replace(setting, p_holm=p) for setting, p in zip(compared, corrected, strict=True))


def _mean_score(measured: Measured, names: list[str]) -> Estimate:
    return estimate(measured, dict.fromkeys(names, 1 / len(names)))


def _difference(measured: Measured, best: Setting, other: Setting) -> Estimate | None:
    """Difference of the means over all seeds, within the folds that both were trained on."""
    folds = measured.trials["fold"].map(lambda fold: None if pd.isna(fold) else int(fold))
    shared = {folds[name] for name in best.trials} & {folds[name] for name in other.trials}
    if not shared:
        return None
    weights: dict[str, float] = {}
    for names, sign in ((best.trials, 1), (other.trials, -1)):
        for fold in shared:
            mine = [name for name in names if folds[name] == fold]
            weights |= dict.fromkeys(mine, sign / len(mine) / len(shared))
    return estimate(measured, weights)
