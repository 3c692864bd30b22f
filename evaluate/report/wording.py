"""What intervals there are to be shown, and what to mind about them, in words."""

from __future__ import annotations

from evaluate.metrics.uncertainty import FEW_PATIENTS, FEWEST_PATIENTS
from evaluate.scoring.result import Interval, SplitScore


def shown_interval(split: SplitScore, is_tuned: bool) -> Interval | None:
    """The interval that a reader is to see: none of a split that the threshold was chosen on, whose score flatters."""
    return None if is_tuned else split.interval_95


def interval_note(split: SplitScore, is_tuned: bool) -> str:
    """Say why there is no interval, or what to mind about it; nothing if there is nothing to mind."""
    if is_tuned:
        return "the threshold was chosen on this split, so that an interval would mislead"
    if split.interval_95 is None:
        return f"fewer than {FEWEST_PATIENTS} patients have images that count, too few for an interval"
    if is_few(split.counted_patients):
        return f"of few patients ({split.counted_patients}): somewhat too narrow"
    return ""


def is_few(patients: int | None) -> bool:
    """Whether an interval of so many patients is too narrow to be taken at its word; not where it is not known."""
    return patients is not None and patients < FEW_PATIENTS
