"""Numbers and scores as pages write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

MISSING = "–"
"""Stands where a number is not known."""


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether `value` is a finite number (and no truth value)."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def count(value: Any) -> str:
    """Write a whole number with commas between thousands."""
    return f"{int(value):,}" if is_number(value) else MISSING


def percent(share: Any) -> str:
    """Write a share (0 to 1) as whole per cent, or with a decimal below 10 %; as none or all only what is that."""
    if not is_number(share):
        return MISSING
    shown = round(100 * share, 9)  # without what floating point adds to 0 or lacks to 1
    text = f"{shown:.1f}" if 0 < shown < 9.95 else f"{shown:.0f}"
    if text == "0.0":
        text = "<0.1"
    elif text == "100" and shown < 100:
        text = f"{shown:.1f}" if shown < 99.95 else ">99.9"
    return f"{text}\N{NO-BREAK SPACE}%"


def join(texts: Sequence[str]) -> str:
    """Join as English does: `a`, `a and b`, `a, b and c`."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def score_text(value: Any) -> str:
    """Write a score (0 to 1) with three decimals: its standard error is in the third at best."""
    return f"{value:.3f}" if is_number(value) else MISSING


def confidence_text(value: float) -> str:
    """Write a confidence with two decimals, and a small one with as many as it takes to differ from none."""
    return f"{value:.2f}" if value >= 0.0095 or value <= 0 else f"{value:.1g}"


def interval_text(bounds: Sequence[Any] | None) -> str:
    """Write an interval as `0.201 to 0.233`."""
    if not bounds or len(bounds) != 2 or not all(is_number(bound) for bound in bounds):
        return MISSING
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"
