"""Whether boxes that somebody hands in are in pixels of the original images, or in another frame that would score 0."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.cli import print_warning
from common.data.data_set import Split
from common.data.names import COORDINATES
from common.errors import UserError

Floats = NDArray[np.float64]

_EXPECTED = "expected x, y (upper-left corner), width and height in pixels of the original image"
_FRACTIONS = 2.0
"""Boxes as fractions of the picture end before this many pixels, and none of a detector does on all images."""
_SLACK = 0.02
"""Boxes of an honest detector that does not clip may leave the picture by so much of its side."""
_NOTABLE = 0.2
"""What this share of the boxes does is no accident."""
_ENOUGH = 20
"""So many boxes, or more, tell where a detector's boxes lie."""
_CORNER = 0.7
"""Boxes that stay within this share of each side are those of smaller pictures: 640 of 1024 pixels are less."""


def check_frame(where: str, predictions: pd.DataFrame, splits: Iterable[Split]) -> None:
    """Refuse boxes that cannot be pixels of the original images, and warn of those that hardly are.

    Args:
        where: The file, for messages.
        predictions: The predictions table.
        splits: The splits whose images they are of, with their sizes and truth.

    Raises:
        UserError: All boxes are fractions of the picture; or many leave theirs, and all fit if width and height are
            the lower right corner; or many lie outside of their pictures.
    """
    splits = list(splits)
    sizes = pd.concat([split.manifest for split in splits]).set_index("image_id")[["width", "height"]]
    boxes, shape = _in_pictures(predictions, sizes)
    if not len(boxes):
        return
    start, extent = boxes[COORDINATES[:2]].to_numpy(float), boxes[COORDINATES[2:]].to_numpy(float)
    end = start + extent

    def example(which: Floats) -> str:
        first = int(np.argmax(which))
        text = ", ".join(f"{value:g}" for value in (*start[first], *extent[first]))
        width, height = shape[first]
        return f"such as {text} on image {boxes['image_id'].iloc[first]} of {width:g} x {height:g} pixels"

    if (end <= _FRACTIONS).all() and (shape > 8 * _FRACTIONS).all():
        which = f"all {len(boxes):,} boxes end" if len(boxes) > 1 else "the only box ends"
        raise UserError(
            f"{where}: {which} within {_FRACTIONS:g} pixels, {example(end[:, 0])}, which looks "
            f"like fractions of the picture; {_EXPECTED}. Multiply x and width by the image's width, y and height by "
            "its height."
        )
    beyond = ((end > shape * (1 + _SLACK)) | (start < -shape * _SLACK)).any(axis=1)
    corners = (extent > start).all(axis=1) & (extent <= shape * (1 + _SLACK)).all(axis=1)
    if beyond.mean() >= _NOTABLE / 2 and corners.all() and len(boxes) >= _ENOUGH / 4:
        raise UserError(
            f"{where}: {beyond.sum():,} of {len(boxes):,} boxes end beyond their picture, {example(beyond)}, and all "
            f"fit if the last two numbers are the lower right corner; {_EXPECTED}. Subtract x and y from them."
        )
    outside = (((start + end) / 2 > shape) | (end < 0)).any(axis=1)
    remedy = "Scale them to the images that the data set was converted from, or name the right data set with --data."
    if outside.mean() >= _NOTABLE:
        raise UserError(
            f"{where}: {outside.sum():,} of {len(boxes):,} boxes lie outside of their picture, {example(outside)}; "
            f"{_EXPECTED}. {remedy}"
        )
    if beyond.mean() >= _NOTABLE:
        print_warning(
            f"{where}: {beyond.sum():,} of {len(boxes):,} boxes end beyond their picture, {example(beyond)}: the score "
            f"is wrong if they are in another frame; {_EXPECTED}. {remedy}"
        )
    reach = float((end / shape).max())
    truth, truth_shape = _in_pictures(pd.concat([split.truth for split in splits]).dropna(), sizes)
    if len(boxes) >= _ENOUGH and reach <= _CORNER and len(truth):
        true_end = truth[COORDINATES[:2]].to_numpy(float) + truth[COORDINATES[2:]].to_numpy(float)
        further = ((true_end / truth_shape) > reach).any(axis=1)
        if further.mean() >= _NOTABLE:
            print_warning(
                f"{where}: all {len(boxes):,} boxes stay within the upper left {reach:.0%} of their pictures, "
                f"{example(end[:, 0])}, and {further.sum():,} of {len(truth):,} true boxes do not: they seem to be in "
                f"pixels of smaller pictures, such as the network's input, and then the score means nothing; "
                f"{_EXPECTED}. Scale them by the size of the original image over that of the smaller one."
            )


def _in_pictures(boxes: pd.DataFrame, sizes: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """The boxes of images whose size is known, and these sizes: (N, 2) width and height."""
    shape = sizes.reindex(boxes["image_id"]).to_numpy(float)
    known = (shape > 0).all(axis=1)
    rows = np.flatnonzero(known)
    return boxes.iloc[rows], shape[rows]
