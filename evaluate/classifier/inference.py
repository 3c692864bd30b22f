"""What image classifiers say about pictures: files, or DICOM rendered as for training.

A picture is read as a detector's is, scaled down as those were that the gate was trained on, and shown as Ultralytics'
classifiers are validated: three equal channels from 0 to 1, the shorter side resized to the gate's, the middle square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.cli import print_warning, progress
from common.errors import UserError, WorkError
from common.quiet_ultralytics import import_ultralytics
from evaluate.classifier.calibration import Floats
from evaluate.classifier.weights import Classifier, Network
from evaluate.detector.device import find_device
from evaluate.detector.inference import ahead
from evaluate.detector.loading import NO_IMAGE, PREDICTED, UNREADABLE, NoImageError, Outcome, Picture, load_picture
from evaluate.detector.unfinished import Found, Unfinished, split_known, unfinished

DECIMALS = 6
"""Of probabilities, in gate.csv and everywhere."""


@dataclass(frozen=True)
class _Viewer:
    """A network and how it is shown pictures; see `Network` and `evaluate.classifier.record.GateRecord`."""

    network: Network
    picture_size: int | None
    flip: bool


@dataclass(frozen=True)
class _Shown:
    """A picture, or why it cannot be used; a float32 tensor (3, side, side) for each viewer."""

    picture: Picture
    outcome: Outcome
    tensors: list[Any]


def predict_opacity(
    classifiers: Sequence[Classifier],
    pictures: Sequence[Picture],
    flip: bool | None = None,
    batch: int = 16,
    device: str | None = None,
    keep: Path | None = None,
    description: str = "looking for an opacity",
) -> pd.Series:
    """How likely each picture shows an opacity, with a progress bar.

    Args:
        classifiers: The gates, at least one.
        pictures: What to look at; read as the models get to it.
        flip: Whether the gates look at the mirror image, too; None: as each was calibrated, and another is refused.
        batch: Pictures at a time; of no influence on the outcome.
        device: As Ultralytics takes it: `cpu`, `0`, `cuda:1`, `mps`; None takes a GPU if there is one.
        keep: A file for what was found so far, with which another call goes on after this one was stopped; the caller
            removes it when the outcome is safe.
        description: For the progress bar.

    Returns:
        float64 by image id, in the order given, named `p_opacity`: the mean of the gates' calibrated probabilities,
        each rounded to `DECIMALS` as in gate.csv. A picture that cannot be read is not in it, and warned of.

    Raises:
        UserError: The device does not exist, or `flip` is not what a gate was calibrated with.
        WorkError: `keep` cannot be written, or another prediction writes it.
    """
    for classifier in classifiers:
        if flip not in (None, classifier.flip):
            raise UserError(
                f"{classifier.path}: was calibrated with flip={classifier.flip}; expected to be used so, and found "
                f"flip={flip}. Train it with the other, or leave flip out."
            )
    viewers = [_Viewer(one.network, one.record.picture_size, one.flip) for one in classifiers]
    found = _look(viewers, pictures, batch, find_device(device), description, keep, [one.sha256 for one in classifiers])
    _warn_of_unreadable(found)
    readable = [one for one in found if one.outcome.status == PREDICTED]
    logits = np.concatenate([np.empty((0, _columns(viewers))), *(one.rows for one in readable)])
    shares = [
        classifier.calibration.apply(part, classifier.positive)[:, classifier.positive].round(DECIMALS)
        for classifier, part in zip(classifiers, _parts(logits, viewers), strict=True)
    ]
    ids = pd.Index([one.outcome.image_id for one in readable], name="image_id")
    return pd.Series(np.mean(shares, axis=0), ids, dtype=float, name="p_opacity")


def predict_logits(
    network: Network,
    pictures: Sequence[Picture],
    picture_size: int | None,
    flip: bool = False,
    batch: int = 64,
    device: Any = "cpu",
) -> Floats:
    """Look at pictures with a trained classifier that is to be calibrated.

    Args:
        network: The classifier.
        pictures: N pictures.
        picture_size: The longest side that they are scaled down to first, in pixels; None: they are not.
        flip: Take the mean of the logits of the picture and its mirror image.
        batch: Pictures at a time.
        device: A torch device.

    Returns:
        float64 (N, C) logits.

    Raises:
        WorkError: A picture cannot be read.
    """
    found = _look([_Viewer(network, picture_size, flip)], pictures, batch, device, "looking at all pictures")
    for one in found:
        if one.outcome.status != PREDICTED:
            raise WorkError(f"{one.outcome.source}: {one.outcome.reason}. Convert the data again.")
    return np.concatenate([np.empty((0, len(network.names))), *(one.rows for one in found)])


def _look(
    viewers: Sequence[_Viewer],
    pictures: Sequence[Picture],
    batch: int,
    device: Any,
    description: str,
    keep: Path | None = None,
    checksums: Sequence[str] = (),
) -> list[Found]:
    """The logits of each picture by all viewers side by side, (1, columns), in the pictures' order."""
    pictures = list(pictures)
    if keep is None:
        return _see(viewers, pictures, batch, device, description, None)
    made_from = {
        "classifiers_sha256": list(checksums),
        "settings": [[viewer.picture_size, viewer.flip] for viewer in viewers],
        "batch": batch,  # of no influence but on the last bits
        "device": device.type,
        "ultralytics": import_ultralytics().__version__,
    }
    with unfinished(keep, made_from, columns=_columns(viewers)) as kept:
        return _see(viewers, pictures, batch, device, description, kept)


def _see(
    viewers: Sequence[_Viewer],
    pictures: Sequence[Picture],
    batch: int,
    device: Any,
    description: str,
    kept: Unfinished | None,
) -> list[Found]:
    """See `_look`; of what is known already nothing is read."""
    transforms = [_transform(viewer.network.imgsz) for viewer in viewers]
    for viewer in viewers:
        viewer.network.model.to(device)
    found, missing = split_known(pictures, kept, "looked at")

    def show(picture: Picture) -> _Shown:
        return _show(picture, viewers, transforms)

    shown = progress(ahead(show, [pictures[place] for place in missing], 2 * batch), description, total=len(missing))
    # In the same batches as without a stop, so that not even the last bit differs.
    for _, group in groupby(zip(missing, shown, strict=True), key=lambda pair: pair[0] // batch):
        both = list(group)
        found |= {place: Found(one.outcome, np.empty((0, _columns(viewers)))) for place, one in both}
        usable = [(place, one) for place, one in both if one.outcome.status == PREDICTED]
        if not usable:
            continue
        logits = np.concatenate(
            [
                _logits(viewer, [one.tensors[number] for _, one in usable], device)
                for number, viewer in enumerate(viewers)
            ],
            axis=1,
        )
        found |= {place: Found(one.outcome, row[None]) for (place, one), row in zip(usable, logits, strict=True)}
        if kept is not None:
            kept.add([one.picture for _, one in usable], [found[place] for place, _ in usable])
    return [found[place] for place in range(len(pictures))]


def _show(picture: Picture, viewers: Sequence[_Viewer], transforms: Sequence[Any]) -> _Shown:
    """Read a picture once, and lay it in each viewer's square."""
    import cv2
    from PIL import Image

    from convert.pictures import downscale

    try:
        pixels = load_picture(picture)
    except ValueError as error:
        status = NO_IMAGE if isinstance(error, NoImageError) else UNREADABLE
        return _Shown(picture, Outcome(picture.image_id, picture.name, status, str(error)), [])
    tensors = []
    for viewer, transform in zip(viewers, transforms, strict=True):
        small = pixels if viewer.picture_size is None else downscale(pixels, viewer.picture_size)
        tensors.append(transform(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB))))
    return _Shown(picture, Outcome(picture.image_id, picture.name, PREDICTED), tensors)


def _logits(viewer: _Viewer, tensors: Sequence[Any], device: Any) -> Floats:
    """float64 (N, C)."""
    import torch

    with torch.inference_mode():
        images = torch.stack(list(tensors)).to(device)
        logits = viewer.network.model(images)[1].double()
        if viewer.flip:
            logits = (logits + viewer.network.model(images.flip(-1))[1].double()) / 2
    return logits.cpu().numpy()


def _transform(imgsz: int) -> Any:
    import_ultralytics()
    from ultralytics.data.augment import classify_transforms

    return classify_transforms(imgsz)


def _columns(viewers: Sequence[_Viewer]) -> int:
    return sum(len(viewer.network.names) for viewer in viewers)


def _parts(logits: Floats, viewers: Sequence[_Viewer]) -> list[Floats]:
    """Each viewer's columns."""
    return np.split(logits, np.cumsum([len(viewer.network.names) for viewer in viewers])[:-1], axis=1)


def _warn_of_unreadable(found: Sequence[Found]) -> None:
    bad = [one.outcome for one in found if one.outcome.status == UNREADABLE]
    if bad:
        print_warning(
            f"{len(bad):,} of {len(found):,} pictures cannot be looked at by the gate, first {bad[0].source}: "
            f"{bad[0].reason}"
        )
