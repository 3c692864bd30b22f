"""What a gate did, in words."""

from __future__ import annotations

from common.pages.wording import score_text
from evaluate.metrics.uncertainty import FEW_PATIENTS, FEWEST_PATIENTS
from evaluate.postprocess.gate import GateRule
from evaluate.scoring.result import Gain, Interval, SplitScore


def gate_text(rule: GateRule) -> str:
    """Say what a gate does to boxes."""
    if rule.mode == "weigh":
        return "each box's confidence multiplied by its image's probability of an opacity"
    if rule.mode == "keep":
        return f"boxes kept only in images whose probability of an opacity is above {score_text(rule.threshold)}"
    return "none, because boxes as they came score as high as with any"


def gain_text(found: Gain) -> str:
    """Say what a change gained, with its interval, and whether that may be chance."""
    gain, interval = found.gain, found.gain_interval_95
    if interval is None:
        text = f"{gain:+.3f} (too few patients to tell it from chance)"
    elif gain == interval.low == interval.high == 0:
        return "nothing"
    else:
        low, high = interval
        chance = "beyond chance" if low > 0 or high < 0 else "which may be chance"
        text = f"{gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, {chance})"
    return text.replace("-", "\N{MINUS SIGN}")


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
