"""What a gate did, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.pages.wording import MISSING, is_number, score_text


def gate_text(rule: Mapping[str, Any]) -> str:
    """Say what a gate does to boxes, from `score.json`'s `postprocess.gate`."""
    if rule.get("mode") == "weigh":
        return "each box's confidence multiplied by its image's probability of an opacity"
    if rule.get("mode") == "keep":
        return f"boxes kept only in images whose probability of an opacity is above {score_text(rule.get('threshold'))}"
    return "none, because boxes as they came score as high as with any"


def gain_text(found: Mapping[str, Any]) -> str:
    """Say what a change gained, with its interval, and whether that may be chance."""
    gain, bounds = found.get("gain"), found.get("gain_interval_95")
    if not is_number(gain) or not bounds or not all(is_number(bound) for bound in bounds):
        return MISSING
    if gain == bounds[0] == bounds[1] == 0:
        return "nothing"
    chance = "beyond chance" if bounds[0] > 0 or bounds[1] < 0 else "which may be chance"
    return f"{gain:+.3f} (95 % interval {bounds[0]:+.3f} to {bounds[1]:+.3f}, {chance})".replace("-", "\N{MINUS SIGN}")
