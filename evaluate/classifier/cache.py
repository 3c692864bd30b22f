"""Probabilities kept in a file, and used again as long as nothing that decides them has changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.data_set import Split
from common.data.tables import read_gate
from common.errors import WorkError
from common.files import sha256, write_atomic, write_json
from common.paths import shown
from evaluate.classifier.inference import predict_opacity
from evaluate.classifier.weights import Classifier
from evaluate.detector.cache import fingerprint_of, is_of, pictures_of, put_aside, read_sidecar

_CSV = "opacity_sha256"
_SHORT = 8


def predict_opacity_of_split(
    classifier: Classifier,
    split: Split,
    folder: Path,
    batch: int = 16,
    device: str | None = None,
    again: bool = False,
) -> tuple[Path, pd.Series]:
    """Predict P(opacity) of a split's images into a file, or read that file if it is still right.

    The file is `opacity_<split>-<checksum>.csv`, of the gate and the ids of the images; so several gates can share a
    folder. A JSON file beside it says what the probabilities were made from, as `evaluate.detector.cache` does it for
    boxes, and is written last. A prediction that was stopped goes on.

    Args:
        classifier: The gate.
        split: Its pictures.
        folder: Where both files lie; it exists.
        batch: Pictures at a time; of no influence on the outcome.
        device: As Ultralytics takes it; None takes a GPU if there is one.
        again: Predict even if the file is right.

    Returns:
        The file, and float64 by image id, named `p_opacity`; images whose pictures cannot be read are not in it, and
        warned of.

    Raises:
        UserError: A picture is missing, or the device does not exist.
        WorkError: None of the pictures could be read, or another command predicts them into this folder.
    """
    record = classifier.record
    made_from = {
        "weights_sha256": classifier.sha256,
        **fingerprint_of(split),
        "settings": {
            "imgsz": classifier.network.imgsz,
            "picture_size": record.picture_size,
            "flip": classifier.flip,
            "slope": record.slope,
            "intercept": record.intercept,
        },
    }
    path = folder / f"opacity_{split.name}-{_digest(made_from)}.csv"
    sidecar = path.with_suffix(".json")
    if not again and path.is_file() and is_of(kept := read_sidecar(sidecar), made_from, _CSV):
        if kept.get(_CSV) == sha256(path):
            print(f"{split.name}: using {shown(path)}, made from the same gate and images (--again predicts anew)")
            return path, _read(path)
        put_aside(path, "python evaluate/score.py --gate")
    sidecar.unlink(missing_ok=True)
    unfinished = path.with_suffix(".unfinished")
    if again:
        unfinished.unlink(missing_ok=True)
    description = f"looking at {split.name}"
    found = predict_opacity([classifier], pictures_of(split), None, batch, device, unfinished, description)
    if found.empty:
        unfinished.unlink(missing_ok=True)
        raise WorkError(
            f"{split.name}: none of its {len(split.pictures):,} pictures can be read. Convert the data again."
        )
    table = found.reset_index().assign(split=split.name)[["image_id", "split", "p_opacity"]]
    write_atomic(path, table.to_csv(index=False, lineterminator="\n"))
    if len(found) == len(split.pictures):
        write_json(sidecar, {**made_from, _CSV: sha256(path)})
    unfinished.unlink(missing_ok=True)
    return path, _read(path)


def _read(path: Path) -> pd.Series:
    return read_gate(path).set_index("image_id")["p_opacity"]


def _digest(made_from: dict[str, Any]) -> str:
    """Of the gate and the images' ids: pictures that have changed since are the same pictures."""
    decides = [made_from[name] for name in ("weights_sha256", "ids_sha256", "settings")]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:_SHORT]
