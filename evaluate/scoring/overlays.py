"""Pictures with the boxes that were found on them, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from common.cli import progress
from common.data.names import COORDINATES
from common.files import make_folder, write_atomic
from common.pages.pictures import overlay
from evaluate.detector.loading import Picture, load_picture

_JPEG_QUALITY = 92


def draw_overlays(
    folder: Path, pictures: Sequence[Picture], predictions: pd.DataFrame, truth: pd.DataFrame | None, most: int | None
) -> int:
    """Draw the pictures with the most confident predictions; those of an earlier run are removed.

    Args:
        folder: For the `.jpg` files, named after their images.
        pictures: The pictures.
        predictions: The predictions table to draw.
        truth: The boxes table to draw as well.
        most: At most so many pictures; None: all.

    Returns:
        How many were drawn.

    Raises:
        UserError: The folder cannot be made.
        WorkError: A file cannot be written.
    """
    for old in folder.glob("*.jpg"):  # an earlier run's, of other images or boxes
        old.unlink()
    highest = predictions.groupby("image_id")["confidence"].max()
    ordered = sorted(pictures, key=lambda picture: (-highest.get(picture.image_id, 0.0), picture.image_id))
    chosen = ordered[:most]
    if not chosen:
        return 0
    make_folder(folder)
    boxes = dict(iter(predictions.groupby("image_id")))
    known = dict(iter(truth.groupby("image_id"))) if truth is not None else {}
    for picture in progress(chosen, "drawing"):
        image_id = picture.image_id
        found = boxes.get(image_id, predictions.iloc[:0])[["confidence", *COORDINATES]].to_numpy(float, copy=True)
        true = known[image_id][COORDINATES].to_numpy(float) if image_id in known else None
        pixels = load_picture(picture)
        factors = np.tile(pixels.shape[1::-1], 2) / np.tile(picture.size or pixels.shape[1::-1], 2)
        found[:, 1:] *= factors
        drawn = overlay(pixels, None if true is None else true * factors, found)
        coded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        write_atomic(folder / f"{image_id}.jpg", coded[1].tobytes())
    return len(chosen)
