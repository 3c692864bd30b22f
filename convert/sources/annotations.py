"""What a source says about its images, row by row, and what becomes of rows that cannot be right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.data.names import COORDINATES
from convert.sources.boxes import COLUMNS, check_boxes, is_image_id
from convert.sources.tables import is_given

BAD_BOX = "box "
"""How reasons begin that speak of a single box."""
NO_AREA = BAD_BOX + "has no area"


@dataclass(frozen=True)
class Annotations:
    """Rows of a source's table, as it has them: one per box, or per image without.

    Attributes:
        table: Index 0, 1, ...; columns `COLUMNS`.
    """

    table: pd.DataFrame

    COLUMNS = ("image_id", *COORDINATES, "label", "row", "positive", "objection", "note")

    def __post_init__(self) -> None:
        """Refuse a table that lacks something.

        Raises:
            ValueError: A column is missing or one too many, or what may not be missing is.
        """
        if list(self.table.columns) != list(self.COLUMNS):
            raise ValueError(f"columns are {list(self.table.columns)}, expected {list(self.COLUMNS)}")
        if self.table["positive"].dtype != bool:
            raise ValueError(f"`positive` is of dtype {self.table['positive'].dtype}, expected bool")
        if self.table[["objection", "note"]].isna().any(axis=None):
            raise ValueError("an objection or a note is missing, expected text, which may be empty")

    @classmethod
    def of(
        cls,
        *,
        image_id: pd.Series,
        boxes: pd.DataFrame,
        label: pd.Series,
        row: pd.Series,
        positive: pd.Series | None = None,
        objection: pd.Series | str = "",
        note: pd.Series | str = "",
    ) -> Annotations:
        """Put annotations together, of columns with one index.

        Args:
            image_id: Whose image it is; may be missing, or no id.
            boxes: Columns `x, y, width, height`, numbers or text, in pixels; all missing or empty where the row says
                that there is no box.
            label: The source's class; empty where the row says that there is nothing. May be missing.
            row: The line in the source's file, its header being 1; missing where there is none.
            positive: bool: whether the source says that there is something to box. None: where there is a label.
            objection: What the source's parser holds against the whole image, else empty.
            note: The label of an image without class, instead of `No finding`; or empty.

        Raises:
            ValueError: The columns' indices differ, or see `__post_init__`.
        """
        found = {
            "image_id": image_id,
            **{name: boxes[name] for name in COORDINATES},
            "label": label,
            "row": row,
            "positive": (label.fillna("") != "" if positive is None else positive).astype(bool),
            "objection": objection,
            "note": note,
        }
        if strange := [
            name
            for name, column in found.items()
            if isinstance(column, pd.Series) and not column.index.equals(image_id.index)
        ]:
            raise ValueError(f"{', '.join(strange)}: another index than the image ids have")
        return cls(pd.DataFrame(found, index=image_id.index).reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.table)


def spread(objections: pd.Series, images: pd.Series) -> pd.Series:
    """Hold what speaks against one row against all rows of its image: the first objection, or empty.

    Args:
        objections: What speaks against each row, or empty.
        images: Whose row it is; the same index.
    """
    against = objections[objections != ""].groupby(images).first().to_dict()
    return images.map(lambda image: against.get(image, ""))


DUMMY_BOX = (0.0, 0.0, 1.0, 1.0)
"""x, y, width, height that some exports give to images without a finding, since they give a box to every image."""


def is_dummy(boxes: pd.DataFrame) -> pd.Series:
    """Which rows have `DUMMY_BOX`.

    Args:
        boxes: Columns `x, y, width, height`, numbers or text.
    """
    numbers = boxes[COORDINATES].map(_scalar).apply(pd.to_numeric, errors="coerce")
    return (numbers == list(DUMMY_BOX)).all(axis=1)


@dataclass(frozen=True)
class CleanedBoxes:
    """A valid boxes table, and the rows that did not make it.

    Attributes:
        boxes: The boxes table, in the source's order.
        rejected: Columns `image_id, source, row, reason`; `row` is the line in the source's file (its header is 1).
    """

    boxes: pd.DataFrame
    rejected: pd.DataFrame


def clean(annotations: Annotations, source: str, several_labels: bool = False) -> CleanedBoxes:
    """Turn annotations into a valid boxes table; keep what cannot be used, with the reason.

    A row is rejected by itself when its id cannot be a file name, when its box is partly empty, not a number or
    without area, or when it repeats another row. An image is rejected whole when what is said about it contradicts
    itself (two labels, a box beside an empty row, a box on an image marked negative), and when it was marked
    positive and no usable box is left: as a negative it would teach the opposite of the truth.

    Args:
        annotations: As the source has them.
        source: The file that the rows come from, for `rejected`.
        several_labels: Whether boxes of one image may differ in their label.

    Returns:
        The valid table and the rejected rows.
    """
    table = annotations.table.copy()
    table["image_id"] = table["image_id"].fillna("").astype(str).str.strip()
    table[COORDINATES] = table[COORDINATES].map(_scalar)
    given = table[COORDINATES].map(is_given).astype(bool)
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
    reject(flat, f"{NO_AREA}: " + sizes["width"] + " x " + sizes["height"] + " pixels")

    # What is said about the image as a whole; judged on all rows, so that a bad row cannot hide a contradiction.
    has_box, positive = filled > 0, table["positive"]
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
    return CleanedBoxes(check_boxes(boxes), rejected.reset_index(drop=True))


def _scalar(value: object) -> object:
    """A cell as it is if it can be a number; what cannot, as a list in a JSON file, as the name of its type."""
    if value is None or isinstance(value, str | float | np.number):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return value if value is pd.NA else type(value).__name__
