"""Pictures with the boxes that were found on them, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from common.cli import print_warning, progress
from common.data.names import COORDINATES
from common.files import file_stem, make_folder, write_atomic
from common.pages.pictures import overlay
from evaluate.detector.loading import Picture, load_picture

_JPEG_QUALITY = 92
_COMMENT = b"drawn by evaluate/predict.py"
_MARK = b"\xff\xfe" + (len(_COMMENT) + 2).to_bytes(2, "big") + _COMMENT
"""A comment in the JPEG, right after its start: what has it may be removed by the next run."""


def draw_overlays(
    folder: Path, pictures: Sequence[Picture], predictions: pd.DataFrame, truth: pd.DataFrame | None, most: int | None
) -> int:
    """Draw the pictures with the most confident predictions; those of an earlier run are removed, no other files.

    Args:
        folder: For the `.jpg` files, named after their images; the end of a very long name is replaced.
        pictures: The pictures.
        predictions: The predictions table to draw.
        truth: The boxes table to draw as well.
        most: At most so many pictures; None: all.

    Returns:
        How many were drawn. One that cannot be read any more is warned of.

    Raises:
        UserError: The folder cannot be made.
        WorkError: A file cannot be written.
    """
    _remove_earlier(folder)
    highest = predictions.groupby("image_id")["confidence"].max()
    ordered = sorted(pictures, key=lambda picture: (-highest.get(picture.image_id, 0.0), picture.image_id))
    chosen = ordered[:most]
    if not chosen:
        return 0
    make_folder(folder)
    boxes = dict(iter(predictions.groupby("image_id")))
    known = dict(iter(truth.groupby("image_id"))) if truth is not None else {}
    count = 0
    for picture in progress(chosen, "drawing"):
        image_id = picture.image_id
        found = boxes.get(image_id, predictions.iloc[:0])[["confidence", *COORDINATES]].to_numpy(float, copy=True)
        true = known[image_id][COORDINATES].to_numpy(float) if image_id in known else None
        try:
            pixels = load_picture(picture)
        except ValueError as error:  # it was there when it was predicted
            print_warning(f"{picture.name}: cannot be drawn: {error}")
            continue
        factors = np.tile(pixels.shape[1::-1], 2) / np.tile(picture.size or pixels.shape[1::-1], 2)
        found[:, 1:] *= factors
        drawn = overlay(pixels, None if true is None else true * factors, found)
        coded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        data = coded[1].tobytes()
        write_atomic(folder / f"{file_stem(image_id)}.jpg", data[:2] + _MARK + data[2:])
        count += 1
    return count


def _remove_earlier(folder: Path) -> None:
    """Remove what an earlier run has drawn: it is of other images, or has other boxes."""
    for file in folder.glob("*.jpg"):
        with open(file, "rb") as opened:
            is_ours = opened.read(2 + len(_MARK))[2:] == _MARK
        if is_ours:
            file.unlink()
