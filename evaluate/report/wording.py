"""What a gate did, in words."""

from __future__ import annotations

from common.pages.wording import score_text
from evaluate.postprocess.gate import GateRule
from evaluate.scoring.result import Gain


def gate_text(rule: GateRule) -> str:
    """Say what a gate does to boxes."""
    if rule.mode == "weigh":
        return "each box's confidence multiplied by its image's probability of an opacity"
    if rule.mode == "keep":
        return f"boxes kept only in images whose probability of an opacity is above {score_text(rule.threshold)}"
    return "none, because boxes as they came score as high as with any"


def gain_text(found: Gain) -> str:
    """Say what a change gained, with its interval, and whether that may be chance."""
    gain, (low, high) = found.gain, found.gain_interval_95
    if gain == low == high == 0:
        return "nothing"
    chance = "beyond chance" if low > 0 or high < 0 else "which may be chance"
    return f"{gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, {chance})".replace("-", "\N{MINUS SIGN}")
