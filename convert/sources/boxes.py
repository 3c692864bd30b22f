"""THE boxes table: what every source is parsed into, and what becomes of rows that cannot be right.

One row per box; an image without boxes has one row whose coordinates are all NaN. Coordinates are pixels of the
original image, origin upper-left, x to the right and y down; `x, y` is the box's upper-left corner and `x + width`
its right edge (exclusive, so a box over the whole of a 1024-pixel image is `0 0 1024 1024`).

Where several readers marked each image, one more column, `readers`, says how many distinct ones are behind a row: who
marked the box, or who found nothing in the image. It is a column and no file of its own, so that it stays with its box
when boxes are clipped or dropped; whoever reads the table by its other columns need not know of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pandera.pandas as pa

COORDINATES = ["x", "y", "width", "height"]
COLUMNS = ["image_id", *COORDINATES, "label"]
READERS = "readers"
"""An optional last column: see above."""
REJECTED_COLUMNS = ["image_id", "source", "row", "reason"]

# An id becomes a file name, so it must not be able to leave its folder or hide in it.
_IMAGE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
MAX_ID_LENGTH = 128


def schema() -> pa.DataFrameSchema:
    """The table's contract as a pandera schema: columns, dtypes, all or no coordinates, sizes above zero."""
    import pandera.pandas as pa

    coordinate = pa.Column(float, nullable=True)
    size = pa.Column(float, pa.Check.gt(0), nullable=True)
    return pa.DataFrameSchema(
        {
            "image_id": pa.Column(str, pa.Check.str_matches(rf"^{_IMAGE_ID.pattern}$")),
            "x": coordinate,
            "y": coordinate,
            "width": size,
            "height": size,
            "label": pa.Column(str),
            READERS: pa.Column(int, pa.Check.ge(1), required=False),
        },
        checks=[
            pa.Check(lambda t: t[COORDINATES].isna().sum(axis=1).isin([0, 4]), name="all or no coordinates"),
            pa.Check(_no_box_row_stands_alone, name="an image without boxes has exactly one row"),
        ],
        strict=True,
        ordered=True,
    )


def _no_box_row_stands_alone(table: pd.DataFrame) -> pd.Series:
    rows = table.groupby("image_id")["image_id"].transform("size")
    return table["x"].notna() | (rows == 1)


def is_image_id(text: str) -> bool:
    """Whether `text` may name an image: letters, digits, `.`, `_` and `-`, not starting with a dot, never a path."""
    return len(text) <= MAX_ID_LENGTH and _IMAGE_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class CleanedBoxes:
    """A valid boxes table, and the rows that did not make it.

    Attributes:
        boxes: The boxes table, in the source's order.
        rejected: Columns `image_id, source, row, reason`; `row` is the line in the source's file (its header is 1).
    """

    boxes: pd.DataFrame
    rejected: pd.DataFrame


def clean(raw: pd.DataFrame, source: str, several_labels: bool = False) -> CleanedBoxes:
    """Turn parsed annotation rows into a valid boxes table; keep what cannot be used, with the reason.

    A row is rejected by itself when its id cannot be a file name, when its box is partly empty, not a number or
    without area, or when it repeats another row. An image is rejected whole when what is said about it contradicts
    itself (two labels, a box beside an empty row, a box on an image marked negative), and when it was marked
    positive and no usable box is left: as a negative it would teach the opposite of the truth.

    Args:
        raw: Columns `image_id, x, y, width, height, label`, `row` (line number), `positive` (bool: the source
            says that there is something to box) and `objection` (what the source's parser holds against the whole
            image, else empty). Coordinates may be text; label may be missing.
        source: The file that the rows come from, for `rejected`.
        several_labels: Whether boxes of one image may differ in their label.

    Returns:
        The valid table and the rejected rows.
    """
    table = raw.reset_index(drop=True).copy()
    table["image_id"] = table["image_id"].fillna("").astype(str).str.strip()
    given = table[COORDINATES].map(_is_given).astype(bool)
    numbers = table[COORDINATES].apply(pd.to_numeric, errors="coerce").astype(float)
    table[COORDINATES] = numbers
    reason = pd.Series("", index=table.index, dtype=object)

    def reject(rows: pd.Series, text: str | pd.Series) -> None:
        rows = rows & (reason == "")  # the first reason stands
        reason[rows] = text[rows] if isinstance(text, pd.Series) else text

    ids = table["image_id"]
    reject(ids == "", "no image id")
    reject(
        ~ids.map(is_image_id).astype(bool),
        "id " + ids.map(repr).astype(str) + " is not a plain name of letters, digits, '.', '_' and '-'",
    )
    filled = given.sum(axis=1)
    reject((filled > 0) & (filled < 4), "box is partly empty: expected x, y, width and height, or none of them")
    unreadable = (given & ~np.isfinite(numbers)).any(axis=1)
    reject(unreadable, "box has a coordinate that is not a number")
    flat = (filled == 4) & ((numbers["width"] <= 0) | (numbers["height"] <= 0))
    sizes = numbers[["width", "height"]].map("{:g}".format).astype(str)
    reject(flat, "box has no area: " + sizes["width"] + " x " + sizes["height"] + " pixels")

    # What is said about the image as a whole; judged on all rows, so that a bad row cannot hide a contradiction.
    has_box, positive = filled > 0, table["positive"].astype(bool)
    reject(table["objection"] != "", "image " + table["objection"])
    if not several_labels:
        labels = table["label"].fillna("").groupby(ids).transform("nunique")
        reject(labels > 1, "image has two labels")
    reject(table["label"].fillna("") == "", "image has no label")
    both = has_box.groupby(ids).transform("max") & (~has_box).groupby(ids).transform("max")
    reject(both, "image has both a box and a row that says it has none")
    reject(positive & ~has_box, "marked positive but has no box")
    reject(~positive & has_box, "marked negative but has a box")
    duplicated = table.duplicated(COLUMNS, keep="first")
    reject(duplicated, "duplicate of an earlier row")

    contradicted = reason.str.startswith(("marked negative", "image ")).groupby(ids).transform("max")
    reject(contradicted, "image is rejected for another of its rows")
    left = ((reason == "") & has_box).groupby(ids).transform("max")
    reject((reason == "") & positive & ~left, "no usable box is left on an image marked positive")

    usable = reason == ""
    rejected = pd.DataFrame(
        {"image_id": ids[~usable], "source": source, "row": table.loc[~usable, "row"], "reason": reason[~usable]}
    )
    boxes = table.loc[usable, COLUMNS].reset_index(drop=True)
    boxes["image_id"] = boxes["image_id"].astype(str)
    boxes["label"] = boxes["label"].astype(str)
    return CleanedBoxes(schema().validate(boxes), rejected.reset_index(drop=True))


def _is_given(value: object) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return str(value).strip().lower() not in ("", "nan", "none", "null", "na", "n/a")


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
