"""An earlier score in the same folder: kept under another name where it answered another question."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import UserError, WorkError
from common.paths import shown
from evaluate.scoring.result import OUTCOMES_FILE, PIPELINE_FILE, REPORT_FILE, SCORE_FILE, Score
from evaluate.scoring.score_file import read_score


def keep_earlier(folder: Path, score: Score) -> None:
    """Put score, outcomes, report and pipeline aside, and say so, where they are of another scoring.

    The same scoring is that of the same weights on the same data, with the same splits and the same gate, boxes,
    settings and given confidence. It is simply replaced, and so is that of weights which others have replaced. A
    pipeline stays in its place where the new score has fitted none.

    Args:
        folder: Where they lie.
        score: What is about to be written there.

    Raises:
        WorkError: They cannot be renamed.
    """
    path = folder / SCORE_FILE
    if not path.is_file():
        return
    try:
        earlier = read_score(path)
    except UserError:
        print_warning(f"{shown(path)}: could not be read as a score, and is replaced")
        return
    are_gone = {*earlier.weights_sha256}.isdisjoint(score.weights_sha256)  # and not just a gate more, or less
    if earlier.weights and earlier.weights == score.weights and are_gone:
        return  # a training into the same folder has replaced the weights that it was of
    before, now = _asked(earlier), _asked(score)
    differing = [name for name in before if before[name] is not None and before[name] != now[name]]
    if not differing:
        return
    kept = []
    when = re.sub(r"[^0-9T]", "-", earlier.origin.created[:19])
    for file in (
        path,
        folder / OUTCOMES_FILE,
        folder / REPORT_FILE,
        *([folder / PIPELINE_FILE] if score.tuned_on else []),
    ):
        if not file.is_file():
            continue
        target = file.with_stem(f"{file.stem}-{when}")
        number = 1
        while target.exists():
            number += 1
            target = file.with_stem(f"{file.stem}-{when}-{number}")
        try:
            os.replace(file, target)
        except OSError as error:
            raise WorkError(
                f"{shown(file)}: an earlier score cannot be put aside ({error.strerror}). Choose another --output."
            ) from error
        kept.append(target.name)
    print(
        f"{shown(path)} was another score (it differs in: {', '.join(differing)}); kept as {', '.join(kept)}",
        file=sys.stderr,
    )
    if score.weights and score.tuned_on and earlier.tuned_on and earlier.confidence != score.confidence:
        print(
            f"predict.py takes confidence {score.confidence:.6g} with these weights from now on, instead of "
            f"{earlier.confidence:.6g}",
            file=sys.stderr,
        )


def _asked(score: Score) -> dict[str, Any]:
    """What a score answers, under the names that people know."""
    gate = score.gate
    return {
        "weights": score.weights_sha256 or ("predictions" if score.weights is None else None),
        "data": score.data_fingerprint,
        "the split tuned on": score.tuned_on or "none",
        "the split reported on": score.reported_on,
        "the steps that are fitted": "unknown" if score.fitted is None else score.fitted,
        **_given(score),
        "gate": (gate.files, gate.asked) if gate else "none",
        "the model's settings": dict(score.inference) if score.inference is not None else None,
    }


def _given(score: Score) -> dict[str, Any]:
    """The steps that were not fitted, as far as that is known; None for the others."""
    names = [part.name for part in fields(score.pipeline) if part.name != "fitted_on"]
    values = {name: getattr(score.pipeline, name) for name in names}
    return {
        f"the given {name.replace('_', ' ')}": None if score.fitted is None or name in score.fitted else value
        for name, value in values.items()
    }
