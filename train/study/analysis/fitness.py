"""Whether the RSNA score chooses better weights than mAP does, from what each training wrote down of its epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from train.study.analysis.study_results import Study
from train.study.trial_record import FINISHED

FEWEST = 5
"""Of fewer trainings, ranks say nothing."""


@dataclass(frozen=True)
class FitnessComparison:
    """The RSNA score against mAP50-95, as what decides which epoch's weights are kept, and which setting is best.

    Attributes:
        runs: Trainings whose epochs have both.
        same: In how many both choose the same epoch.
        lost: RSNA score on val that the epoch of best mAP has less than the best epoch, mean over the runs. Chosen and
            judged on the same images, so that it is the most that can be lost.
        worst: The most that it has less.
        lost_map: mAP that the epoch of best RSNA score has less than the best, mean.
        judged: Trainings with a score on test and both on val.
        rank_rsna: Spearman's correlation of RSNA on val with RSNA on test over these; NaN where it is not known.
        rank_map: That of mAP on val with RSNA on test.
    """

    runs: int
    same: int
    lost: float
    worst: float
    lost_map: float
    judged: int
    rank_rsna: float
    rank_map: float


def compare_fitness(study: Study) -> FitnessComparison | None:
    """Compare both; None where no training's epochs have both."""
    finished = study.trials[study.trials["status"] == FINISHED]
    tables = [table for name in finished.index if len(table := study.epochs(str(name)).dropna())]
    if not tables:
        return None
    # The first of equal epochs, as in training.
    chosen = [(int(table["rsna"].to_numpy().argmax()), int(table["map"].to_numpy().argmax())) for table in tables]
    lost = [float(table["rsna"].iloc[a] - table["rsna"].iloc[b]) for table, (a, b) in zip(tables, chosen, strict=True)]
    lost_map = [
        float(table["map"].iloc[b] - table["map"].iloc[a]) for table, (a, b) in zip(tables, chosen, strict=True)
    ]
    judged = finished[["val", "test", "map50_95"]].astype(float).dropna()
    return FitnessComparison(
        runs=len(tables),
        same=sum(a == b for a, b in chosen),
        lost=float(np.mean(lost)),
        worst=max(lost),
        lost_map=float(np.mean(lost_map)),
        judged=len(judged),
        rank_rsna=_rank(judged["val"], judged["test"]),
        rank_map=_rank(judged["map50_95"], judged["test"]),
    )


def _rank(one: pd.Series, two: pd.Series) -> float:
    if len(one) < FEWEST or one.nunique() < 2 or two.nunique() < 2:
        return math.nan
    return float(spearmanr(one, two).statistic)
