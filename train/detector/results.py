"""results.csv, a training's epochs: our columns, and which epoch's weights are best.pt. Imports nothing heavy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import WorkError
from common.paths import shown

SCORE, CONFIDENCE = "metrics/RSNA(B)", "metrics/RSNA-confidence(B)"
MAP50, MAP50_95 = "metrics/mAP50(B)", "metrics/mAP50-95(B)"
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
    """The epoch of highest RSNA score, the first of equals, in a training's results.csv; while all are 0, the last.

    Raises:
        WorkError: There is no such file, or no epoch in it.
    """
    columns, what = (SCORE, CONFIDENCE, FIXED_SCORE), "an RSNA score"
    epoch, values = best_row(results, columns, highest=True, first=True, what=what)
    if values[0] == 0:  # as `trainer` decides: with nothing to lose, the latest weights are the best
        epoch, values = best_row(results, columns, highest=True, first=False, what=what)
    score, confidence, fixed_score = values
    return BestEpoch(epoch, score, confidence, fixed_score)


def best_row(
    results: Path, columns: Sequence[str], *, highest: bool, first: bool, what: str
) -> tuple[int, tuple[float, ...]]:
    """The best epoch in a training's results.csv.

    Args:
        results: The file.
        columns: What is asked for; the first one decides.
        highest: Whether the highest value is the best, or the lowest.
        first: Whether of equal epochs the first counts, or the last.
        what: The first column in words.

    Returns:
        The epoch, from 1, and its values of `columns`.

    Raises:
        WorkError: There is no such file, or no epoch with these columns in it.
    """
    try:
        with open(results, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        best = (max if highest else min)(rows if first else reversed(rows), key=lambda row: float(row[columns[0]]))
        return int(best["epoch"]), tuple(float(best[column]) for column in columns)
    except (OSError, ValueError, KeyError) as error:
        raise WorkError(f"{shown(results)}: no epoch with {what}; the training ended before one.") from error
