"""THE boxes table: what every source is parsed into, and what a label file says of it.

One row per box; an image without boxes has one row whose coordinates are all NaN. Coordinates are pixels of the
original image, origin upper-left, x to the right and y down; `x, y` is the box's upper-left corner and `x + width`
its right edge (exclusive, so a box over the whole of a 1024-pixel image is `0 0 1024 1024`).

Where several readers marked each image, one more column, `readers`, says how many distinct ones are behind a row: who
marked the box, or who found nothing in the image. It is a column and no file of its own, so that it stays with its box
when boxes are clipped or dropped; whoever reads the table by its other columns need not know of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from common.data.names import COORDINATES

COLUMNS = ["image_id", *COORDINATES, "label"]
READERS = "readers"
"""An optional last column: see above."""
REJECTED_COLUMNS = ["image_id", "source", "row", "reason"]

# An id becomes a file name, so it must not be able to leave its folder or hide in it.
_IMAGE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
MAX_ID_LENGTH = 128


def check_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Make sure that a table is what this module says; it is a mistake in the code if it is not.

    Args:
        table: What is said to be a boxes table.

    Returns:
        The same table.

    Raises:
        ValueError: Columns or their order, a dtype, an id, a size or a count of readers is wrong, a box is half there,
            or an image without boxes has more than one row.
    """

    def require(holds: object, what: str) -> None:
        if not holds:
            raise ValueError(f"no boxes table: expected {what}")

    require(list(table.columns) in (COLUMNS, [*COLUMNS, READERS]), f"the columns {COLUMNS} and perhaps {READERS}")
    texts, numbers = table[["image_id", "label"]], table[COORDINATES]
    require(texts.map(lambda value: isinstance(value, str)).all(axis=None), "ids and labels that are text")
    require(table["image_id"].map(is_image_id).all(), "ids that are plain names")
    require((numbers.dtypes == np.float64).all(), "coordinates of dtype float64")
    require(numbers.isna().sum(axis=1).isin([0, 4]).all(), "all or no coordinates")
    require(~(numbers[["width", "height"]] <= 0).any(axis=None), "sizes above zero")
    alone = table.groupby("image_id")["image_id"].transform("size") == 1
    require((alone | table["x"].notna()).all(), "that an image without boxes has exactly one row")
    if READERS in table:
        require(table[READERS].dtype == np.int64 and (table[READERS] >= 1).all(), "readers from 1, of dtype int64")
    return table


def is_image_id(text: str) -> bool:
    """Whether `text` may name an image: letters, digits, `.`, `_` and `-`, not starting with a dot, never a path."""
    return len(text) <= MAX_ID_LENGTH and _IMAGE_ID.fullmatch(text) is not None


def in_picture(boxes_xywh: np.ndarray, frame: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Scale boxes from the frame that they are given in to their picture.

    Args:
        boxes_xywh: Shape (N, 4), float: x, y, width, height in units of the frame.
        frame: Width and height of the frame in these units: shape (2,), or (N, 2) for one by box.
        size: Likewise of the picture, in pixels.

    Returns:
        The boxes (N, 4) in pixels of the picture.
    """
    factors = np.asarray(size, dtype=float) / np.asarray(frame, dtype=float)
    return np.asarray(boxes_xywh, dtype=float).reshape(-1, 4) * np.tile(factors, 2)


def clip(boxes_xywh: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut boxes at the edge of their image.

    Args:
        boxes_xywh: Shape (N, 4), float: x, y, width, height in pixels, sizes above zero.
        width: The image's width in pixels.
        height: The image's height in pixels.

    Returns:
        The clipped boxes (N, 4); a mask (N,) of those that were cut; a mask (N,) of those that lie wholly outside,
        whose clipped box has no area and must not be used.
    """
    boxes = np.asarray(boxes_xywh, dtype=float).reshape(-1, 4)
    if not len(boxes):  # as for three images of four, where ten array operations would be all that takes time
        nothing = np.zeros(0, dtype=bool)
        return boxes, nothing, nothing
    x1 = np.clip(boxes[:, 0], 0, width)
    y1 = np.clip(boxes[:, 1], 0, height)
    x2 = np.clip(boxes[:, 0] + boxes[:, 2], 0, width)
    y2 = np.clip(boxes[:, 1] + boxes[:, 3], 0, height)
    inside = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0)
    inside &= (boxes[:, 0] + boxes[:, 2] <= width) & (boxes[:, 1] + boxes[:, 3] <= height)
    clipped = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
    clipped[inside] = boxes[inside]  # (x + w) - x is not w in floating point: untouched boxes stay as they are
    outside = (x2 <= x1) | (y2 <= y1)
    return clipped, ~inside & ~outside, outside


def to_yolo(boxes_xywh: np.ndarray, classes: Sequence[int], width: int, height: int) -> str:
    """The boxes as a YOLO label file's text: `class x_center y_center width height`, as shares of the image.

    Args:
        boxes_xywh: Shape (N, 4), float: x, y, width, height in pixels, inside the image.
        classes: N class indices.
        width: The image's width in pixels.
        height: The image's height in pixels.
    """
    lines = []
    for index, (x, y, w, h) in zip(classes, np.asarray(boxes_xywh, dtype=float).reshape(-1, 4).tolist(), strict=True):
        center = (x + w / 2) / width, (y + h / 2) / height
        lines.append(f"{index} {center[0]:.6f} {center[1]:.6f} {w / width:.6f} {h / height:.6f}\n")
    return "".join(lines)
