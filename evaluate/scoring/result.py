"""`score.json`: what a scoring chose, as far as a later prediction follows it."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import UserError
from evaluate.postprocess.choice import Choice

SCORE_FILE = "score.json"


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
