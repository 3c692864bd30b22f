"""The operating point: the confidence that predictions need, and how their boxes are resized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OperatingPoint:
    """What is chosen for predictions and done to them before they are submitted; a gate comes before it.

    Attributes:
        confidence: Predictions below are left out.
        box_scale: Factors on each box's width and height, about its centre.
        inference: The settings of the predictions that it was chosen on, as in `inference.Settings`; empty if unknown.
        gated: Whether the score that it comes from was reached with a gate besides.
    """

    confidence: float
    box_scale: tuple[float, float] = (1.0, 1.0)
    inference: dict[str, Any] | None = None
    gated: bool = False
