"""Truth and predictions tables, checked and turned into arrays: what the metrics compute with.

The messages name the table and the row: tables come from files, from models and from other people's code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.names import COORDINATES
from common.errors import UserError
from evaluate.metrics.sorting import falling_order

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class BoxArrays:
    """Truth and predictions as arrays: I images, T truth boxes, P predictions in the order of matching."""

    images: pd.Index  # (I,) image_id
    truths: Ints  # (I,) truth boxes of each image
    first_truth: Ints  # (I,) where in truth_boxes those of the image begin
    truth_boxes: Floats  # (T, 4), image after image, in the table's order
    order: Ints  # (P,) row of the predictions table, counted from 0
    image: Ints  # (P,) index into images, rising
    confidence: Floats  # (P,) falling within an image
    boxes: Floats  # (P, 4), row by row as in the predictions table: most are never looked at
    by_confidence: Ints  # (P,) the predictions of all images in falling confidence


def to_arrays(truth: pd.DataFrame, predictions: pd.DataFrame) -> BoxArrays:
    """Check both tables and turn them into arrays. Tables and errors as in `evaluate.metrics.rsna.rsna_score`."""
    images, truths, truth_boxes = truth_arrays(truth)
    image, confidences, boxes = prediction_arrays(predictions, images)
    falling = falling_order(confidences)  # equal confidences keep the table's order
    # A stable sort of small integers takes NumPy a tenth of the time that int64 would.
    by_image = np.argsort(image[falling].astype(np.min_scalar_type(len(images))), kind="stable")
    order = falling[by_image]
    by_confidence = np.empty_like(by_image)
    by_confidence[by_image] = np.arange(len(by_image))
    return BoxArrays(
        images=images,
        truths=truths,
        first_truth=np.cumsum(truths) - truths,
        truth_boxes=truth_boxes,
        order=order,
        image=image[order],
        confidence=confidences[order],
        boxes=boxes,
        by_confidence=by_confidence,
    )


def truth_arrays(truth: pd.DataFrame) -> tuple[pd.Index, Ints, Floats]:
    """Check a truth table and give its images, the number of boxes of each, and the boxes (T, 4) image after image."""
    if truth.empty:
        return pd.Index([], dtype=object, name="image_id"), np.empty(0, np.int64), np.empty((0, 4))
    boxes = _numbers(truth, "truth", COORDINATES)
    image, images = pd.factorize(truth["image_id"])
    if (image < 0).any():
        raise UserError(f"truth: row {truth.index[image < 0][0]} has no image_id; every row needs one")
    empty = np.asarray(np.isnan(boxes).all(axis=1))
    _check_boxes(truth, "truth", boxes, ~empty)
    twice = empty & (np.bincount(image)[image] > 1)
    if twice.any():
        raise UserError(
            f"truth: image {truth['image_id'].iloc[int(twice.argmax())]} has a row without box beside other rows; an "
            "image has either one row of empty coordinates or only rows with boxes. Remove one or the other."
        )
    order = np.argsort(image, kind="stable")
    order = order[~empty[order]]
    return pd.Index(images, name="image_id"), np.bincount(image[~empty], minlength=len(images)), boxes[order]


def prediction_arrays(predictions: pd.DataFrame, images: pd.Index) -> tuple[Ints, Floats, Floats]:
    """Check a predictions table and give (P,) indices into `images`, (P,) confidences and (P, 4) boxes, row by row."""
    if predictions.empty:
        return np.empty(0, np.int64), np.empty(0), np.empty((0, 4))
    numbers = _numbers(predictions, "predictions", ["confidence", *COORDINATES])
    confidence, boxes = numbers[:, 0], numbers[:, 1:]
    image = _places(predictions["image_id"], images)
    if (image < 0).any():
        unknown = predictions["image_id"].iloc[int((image < 0).argmax())]
        raise UserError(
            f"predictions: image {unknown!r} is not in the truth, which has {len(images):,} images. Score predictions "
            "against the truth of their own images, or leave out those of other images."
        )
    strange = ~np.isfinite(confidence)
    if strange.any():
        row = int(strange.argmax())
        raise UserError(
            f"predictions: row {predictions.index[row]} (image {predictions['image_id'].iloc[row]}): confidence is "
            f"{confidence[row]}; expected a finite number"
        )
    _check_boxes(predictions, "predictions", boxes, np.ones(len(boxes), dtype=bool))
    return image.astype(np.int64), confidence, boxes


def _places(ids: pd.Series, images: pd.Index) -> Ints:
    """Give (P,) where in `images`, all different, each id is; -1 where it is not."""
    if not all(isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow" for dtype in (ids.dtype, images.dtype)):
        return images.get_indexer(pd.Index(ids))
    # Where pandas keeps texts in Arrow, Arrow finds them in a quarter of the time.
    import pyarrow
    from pyarrow import compute

    found = compute.index_in(pyarrow.array(ids.array), value_set=pyarrow.array(images.array))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)


def _numbers(table: pd.DataFrame, name: str, columns: list[str]) -> Floats:
    """Read number columns as float64 (rows, columns); say which are missing or hold something else."""
    missing = [column for column in ["image_id", *columns] if column not in table]
    if missing:
        raise UserError(f"{name}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns)) or 'none'}")
    try:
        return table[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {', '.join(columns)} must be numbers ({error})") from error


def _check_boxes(table: pd.DataFrame, name: str, boxes: Floats, checked: Bools) -> None:
    bad = checked & ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        found = ", ".join(f"{value:g}" for value in boxes[row])
        raise UserError(
            f"{name}: row {table.index[row]} (image {table['image_id'].iloc[row]}): x, y, width, height are {found}; "
            "expected finite numbers with width and height above 0"
        )
