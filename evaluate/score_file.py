"""`score.json`: what a scoring chose, as far as a later prediction follows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError

SCORE_FILE = "score.json"


@dataclass(frozen=True)
class Choice:
    """What is done to predictions before they are submitted; a gate comes before it.

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


def read_choice(path: Path) -> Choice:
    """Read what was chosen from a `score.json`, for predictions without a gate.

    Raises:
        UserError: The file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        confidence = float(content["confidence"])
        width, height = (float(factor) for factor in content["postprocess"].get("box_scale", (1.0, 1.0)))
        gate = content["postprocess"].get("gate") or {}
        gated = gate.get("mode", "none") != "none"
        if gated:  # it was chosen for gated predictions; beside it stands the one for predictions as they come
            confidence = float(content["gate"]["without"]["confidence"])
        return Choice(confidence, (width, height), content.get("inference"), gated)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a readable score ({type(error).__name__}: {error}); expected what evaluate/score.py writes. "
            "Run it again, or choose with --confidence."
        ) from error
