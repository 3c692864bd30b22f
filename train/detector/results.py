"""results.csv, a training's epochs: our columns, and which epoch's weights are best.pt. Imports nothing heavy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from common.errors import WorkError
from common.paths import shown

SCORE, CONFIDENCE = "metrics/RSNA(B)", "metrics/RSNA-confidence(B)"
FIXED_CONFIDENCE = 0.25
"""The best confidence is found on the images it is judged on, which flatters; at a fixed one nothing was chosen."""
FIXED_SCORE = f"metrics/RSNA@{FIXED_CONFIDENCE}(B)"


class BestEpoch(NamedTuple):
    """The epoch (from 1) whose weights are best.pt, with its RSNA score on val."""

    epoch: int
    score: float
    confidence: float
    fixed_score: float


def best_epoch(results: Path) -> BestEpoch:
    """The epoch of highest RSNA score, the first of equals, in a training's results.csv.

    Raises:
        WorkError: There is no such file, or no epoch in it.
    """
    try:
        with open(results, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        best = max(rows, key=lambda row: float(row[SCORE]))
        return BestEpoch(int(best["epoch"]), float(best[SCORE]), float(best[CONFIDENCE]), float(best[FIXED_SCORE]))
    except (OSError, ValueError, KeyError) as error:
        raise WorkError(f"{shown(results)}: no epoch with an RSNA score; the training ended before one.") from error
