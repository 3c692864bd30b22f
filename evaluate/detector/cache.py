"""Predictions kept beside the weights, and used again as long as nothing that decides them has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import Split
from common.data.tables import read_predictions, write_predictions
from common.errors import UserError, WorkError
from common.files import sha256, write_json
from common.paths import shown, typed
from evaluate.detector.inference import Settings, predict
from evaluate.detector.loading import Picture, stamp_of
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import Weights

_CSV = "predictions_sha256"
_SHORT = 8
_UNFINISHED = ".unfinished"


def predict_split(
    weights: Weights,
    split: Split,
    folder: Path,
    options: InferenceOptions,
    again: bool = False,
    settings: Settings | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Predict a split into a file of predictions, or read that file if it is still right.

    A JSON file beside it says what the predictions were made from: the weights' checksum, every picture's id, size
    and time of change, the settings, and the version of Ultralytics; and the checksum of the predictions themselves. It
    is written last, so that predictions without it are never trusted, nor such as were edited.

    The file is `predictions_<split>.csv` where the weights run as they were trained. With other settings, or if these
    weights' predictions of other pictures are in its place, it is `predictions_<split>-<checksum>.csv`, of what it is
    made from: going to and fro between settings predicts nothing twice, and two commands at once do not mix theirs.

    A prediction that was stopped goes on, from a file that is there only until it is finished.

    Args:
        weights: The detector.
        split: Its pictures and their original sizes.
        folder: Where both files lie.
        options: How the detector is run.
        again: Predict even if the file is right.
        settings: Those of one of `options.voters`; None: of the plain one.

    Returns:
        The file and its predictions table.

    Raises:
        UserError: A picture is missing.
        WorkError: None of the pictures could be read, or another command predicts them into this folder.
    """
    name = split.name
    settings = settings or options.settings(weights)
    made_from = {
        "weights_sha256": weights.sha256,
        **fingerprint_of(split),
        "settings": settings.as_dict(),
        **({"classes": "the one that counts"} if len(weights.model.names) > 1 else {}),
    }
    is_usual = weights.class_name is None and settings == InferenceOptions().settings(weights)
    path = _place(folder, name, made_from, is_usual)
    sidecar = path.with_suffix(".json")
    if not again and path.is_file() and is_of(kept := read_sidecar(sidecar), made_from, _CSV):
        if kept.get(_CSV) == sha256(path):
            print(
                f"{name}: using {shown(path)}, made from the same weights, images and settings (--again predicts anew)"
            )
            return path, read_predictions(path).predictions
        put_aside(path, "python evaluate/score.py --predictions")
    sidecar.unlink(missing_ok=True)
    items, unfinished = pictures_of(split), path.with_suffix(_UNFINISHED)
    if again:
        unfinished.unlink(missing_ok=True)
    predicted = predict(weights, items, settings, options.batch, options.device, f"predicting {name}", keep=unfinished)
    if predicted.rejected:
        _, first, reason = predicted.rejected[0]
        message = (
            f"{len(predicted.rejected)} of {len(items)} pictures of {name!r} are unusable, first {first}: {reason}"
        )
        if not predicted.image_ids:
            unfinished.unlink(missing_ok=True)
            raise WorkError(f"{message}. Convert the data again.")
        print_warning(f"{message}. They are scored as images without a prediction.")
    write_predictions(path, predicted.predictions)
    if not predicted.rejected:
        write_json(sidecar, {**made_from, _CSV: sha256(path)})
    unfinished.unlink(missing_ok=True)
    # From the file: what is scored now is exactly what anyone can score from it later.
    return path, read_predictions(path).predictions


def _place(folder: Path, split: str, made_from: Mapping[str, Any], is_usual: bool) -> Path:
    """The file for predictions that are made from this."""
    usual = folder / f"predictions_{split}.csv"
    there = read_sidecar(usual.with_suffix(".json"))
    # Pictures that have changed since are the same pictures; those of another data set have other ids.
    is_free = any(there.get(key) != made_from[key] for key in ("weights_sha256", "ultralytics")) or (
        there.get("ids_sha256") == made_from["ids_sha256"]
    )
    if is_usual and is_free:
        return usual
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return usual.with_stem(f"{usual.stem}-{digest[:_SHORT]}")


def is_of(kept: Mapping[str, Any], made_from: Mapping[str, Any], but: str) -> bool:
    """Whether what was kept was made from this; `but` is the entry that is the file's own checksum."""
    return {name: value for name, value in kept.items() if name != but} == made_from


def put_aside(path: Path, use: str) -> None:
    """Keep what somebody has edited, which is no prediction of these weights any more.

    Args:
        path: The file.
        use: The command that takes such a file.
    """
    target = path.with_suffix(".edited.csv")
    path.replace(target)
    print_warning(
        f"{shown(path)}: was changed since it was predicted, so it is not used; kept as {target.name}, and predicted "
        f"anew. To score it: {use} {typed(target)}"
    )


def pictures_of(split: Split) -> list[Picture]:
    """A split's pictures to look at, with their original sizes."""
    table = split.manifest.set_index("image_id")[["width", "height"]].dropna()
    sizes = dict(zip(table.index, table.itertuples(index=False, name=None), strict=True))
    return [
        Picture(image_id, shown(file), file.read_bytes, sizes.get(image_id), stamp=stamp_of(file))
        for image_id, file in split.pictures.items()
    ]


def fingerprint_of(split: Split) -> dict[str, Any]:
    """What of a split decides predictions on it, and the version of Ultralytics, as JSON values.

    Raises:
        UserError: A picture is missing.
    """
    import ultralytics

    digest = hashlib.sha256()
    missing: list[Path] = []
    digest.update(split.manifest[["width", "height"]].to_csv(index=False).encode())
    for image_id, path in split.pictures.items():
        try:
            status = path.stat()
            digest.update(f"{image_id}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
        except OSError:
            missing.append(path)
    if missing:
        raise UserError(
            f"{shown(missing[0])}: no such picture, nor {len(missing) - 1} others of the "
            f"{len(split.pictures)} in its list. Is the data set complete, and where it was converted to?"
        )
    return {
        "pictures": len(split.pictures),
        "ids_sha256": hashlib.sha256("\n".join(split.pictures).encode()).hexdigest(),
        "pictures_sha256": digest.hexdigest(),
        "ultralytics": ultralytics.__version__,
    }


def read_sidecar(path: Path) -> dict[str, Any]:
    """A JSON file's content; nothing where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
