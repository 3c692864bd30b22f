"""results.csv of a gate's training: our columns, and which epoch's weights are best.pt. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from train.detector.results import best_row

AUC, LOG_LOSS = "metrics/AUC", "metrics/log_loss"
"""Columns of results.csv: of the probability of an opacity, calibrated on the images it is judged on."""


def best_epoch(results: Path) -> int:
    """The epoch (from 1) of best.pt: that of the lowest log-loss in results.csv, of equals the last.

    Raises:
        WorkError: There is no such file, or no epoch in it.
    """
    return best_row(results, (LOG_LOSS,), highest=False, first=False, what="a log-loss")[0]
