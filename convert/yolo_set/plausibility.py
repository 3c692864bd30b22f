"""Whether all boxes of a source, taken together, can be meant as they are read.

A single box that cannot be right is its row's matter (`rejected.csv`). Where many are wrong in one way, the reading is
wrong: the pictures were resized after the boxes were drawn, boxes are shares of the picture, or corners were taken for
sizes. Nothing of that is seen in a training but by its score, so the conversion ends before it has written anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.names import COORDINATES
from common.errors import UserError, WorkError
from common.zips import UnreadableError
from convert.pictures import UnusablePicture, read_header
from convert.sources.annotations import BAD_BOX, NO_AREA
from convert.sources.boxes import in_picture
from convert.yolo_set.plan import Plan

SAMPLE = 100
"""So many pictures with boxes are looked at before the first is converted: they tell a wrong reading of all."""
LEAST, SHARE = 5, 0.1
"""From so many boxes on, and from this share of all, one kind of fault is no matter of single boxes ..."""
LEAST_OF_FEW = 3
"""... or from so many on, if not one is without it."""
TOLERANCE = 0.05
"""By this share of a side a box may leave its picture and be drawn carelessly only."""
TINY = 0.005
"""Of a picture's side; boxes of which not one is larger are no findings on radiographs."""
CORNER, CORNER_LEAST = 0.52, 30
"""Where so many boxes or more leave the right and the lower 48 % of all pictures free, they are for smaller ones."""
_USUAL = (1, 100, 128, 224, 256, 320, 384, 416, 448, 512, 640, 768, 800, 1024, 1280, 2048, 3000, 4096)
"""Sides that pictures are resized to, in pixels; 1 stands for shares, 100 for per cent."""

_AS_THEY_ARE = "If the boxes are right as they are, say --boxes-size picture."


@dataclass(frozen=True)
class Looked:
    """Boxes and the pictures that they are on.

    Attributes:
        image_ids: Of each of the N boxes.
        boxes_xywh: (N, 4) float: x, y, width, height, in what is taken for pixels of the picture.
        sizes: (N, 2) float: width and height of its picture, in pixels.
    """

    image_ids: Sequence[str]
    boxes_xywh: NDArray[np.float64]
    sizes: NDArray[np.float64]


def check_source(plan: Plan) -> None:
    """Make sure, before anything is written, that the boxes can be meant as they are read; looks at some pictures.

    Raises:
        UserError: They cannot.
    """
    _check_rows(plan)
    boxed = plan.boxes.loc[plan.boxes["x"].notna(), "image_id"].unique()
    chosen = boxed[np.unique(np.linspace(0, len(boxed) - 1, min(SAMPLE, len(boxed))).round().astype(int))]
    files = plan.images["file"].to_dict()
    sizes: dict[str, tuple[int, int]] = {}
    for image_id in chosen:
        try:
            header = read_header(plan.source.read(files[image_id]))
        except (UnusablePicture, UnreadableError):
            continue  # the conversion will say what is wrong with it
        sizes[image_id] = (header.width, header.height)
    check_boxes_fit(plan, sizes)


def check_boxes_fit(plan: Plan, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Make sure that boxes fit the pictures whose sizes are known.

    Args:
        plan: What is to be converted.
        sizes: Width and height in pixels by image id.

    Raises:
        UserError: Many do not.
    """
    if plan.boxes_size == "picture":
        return
    _check_shapes(plan, sizes)
    if plan.boxes_size is None:  # a picture of another size than the stated one is rejected by itself
        sizes = {key: size for key, size in sizes.items() if plan.shapes.get(key, size) == size}
    rows = plan.boxes[plan.boxes["x"].notna()]
    known = [image_id in sizes for image_id in rows["image_id"].tolist()]  # isin would make texts of all of them
    rows = rows[np.array(known, dtype=bool)]
    image_ids = rows["image_id"].tolist()
    shapes = np.array([sizes[image_id] for image_id in image_ids], dtype=float).reshape(-1, 2)
    boxes = rows[COORDINATES].to_numpy(float)
    if plan.boxes_size is not None:
        frames = np.array([plan.frame_of(image_id) for image_id in image_ids], dtype=float).reshape(-1, 2)
        boxes = in_picture(boxes, frames, shapes)
    fault = find_fault(Looked(image_ids, boxes, shapes), plan.other_reading, framed=plan.boxes_size is not None)
    if fault:
        raise UserError(f"{plan.source.path}: {fault}")


def check_left(plan: Plan, truth: pd.DataFrame, reasons: Mapping[str, str]) -> None:
    """Make sure that something is left of the boxes.

    Args:
        plan: What was converted.
        truth: The boxes table of what came of it.
        reasons: Why images could not be used, by image id.

    Raises:
        WorkError: Every image with a box was lost.
    """
    boxed = set(plan.boxes.loc[plan.boxes["x"].notna(), "image_id"])
    if boxed and truth["x"].isna().all():
        first = next(((key, reason) for key, reason in reasons.items() if key in boxed), ("", "unknown"))
        raise WorkError(
            f"{plan.source.path}: none of the {len(boxed):,} images with boxes could be used, the first, {first[0]}: "
            f"{first[1]}. Expected at least one, to train on. Do boxes and pictures belong together?"
        )


def find_fault(looked: Looked, other_reading: str = "", *, framed: bool = False) -> str:
    """What is wrong with the boxes as a whole, with its likely cause and the remedy; empty where nothing is.

    Args:
        looked: Boxes and pictures.
        other_reading: The option that reads boxes the other way, as corners instead of sizes or the reverse.
        framed: Whether the user has said for which size the boxes are: then only what leaves its picture is a fault.
    """
    boxes, sizes = looked.boxes_xywh, looked.sizes
    if not len(boxes):
        return ""
    ends = boxes[:, :2] + boxes[:, 2:]
    outside = np.asarray(((boxes[:, :2] < -TOLERANCE * sizes) | (ends > (1 + TOLERANCE) * sizes)).any(axis=1))
    if framed:
        return _say(looked, outside, "leave their picture", "Correct --boxes-size.") if _are_many(outside) else ""
    everything = np.ones(len(boxes), dtype=bool)
    if (ends <= 1.01).all() and (boxes >= -0.01).all():
        cause = "Likely they are shares of the picture: --boxes-size 1 scales them."
        return _say(looked, everything, "lie within one pixel", cause)
    small = np.asarray((boxes[:, 2:] < 1).any(axis=1))
    if _are_many(small):
        cause = "Likely some are shares of the picture, and others pixels: write all of them in pixels."
        return _say(looked, small, "are smaller than a pixel", f"{cause} {_AS_THEY_ARE}")
    if _are_many(outside):
        return _say(looked, outside, "leave their picture", f"{_why_outside(looked, other_reading)} {_AS_THEY_ARE}")
    if len(boxes) >= LEAST_OF_FEW and (boxes[:, 2:] < TINY * sizes).all():
        cause = f"Likely they are for smaller pictures: --boxes-size {_frame(ends)}, or whatever it is, scales them."
        return _say(looked, everything, f"have sides below {TINY:.1%} of the picture's", f"{cause} {_AS_THEY_ARE}")
    if len(boxes) >= CORNER_LEAST and (ends <= CORNER * sizes).all():
        cause = f"Likely they are for smaller pictures: --boxes-size {_frame(ends)}, or whatever it is, scales them."
        return _say(looked, everything, "lie in the upper left quarter", f"{cause} {_AS_THEY_ARE}")
    return ""


def _check_rows(plan: Plan) -> None:
    """What the rows say without a picture."""
    boxed = int(plan.boxes["x"].notna().sum())
    reasons = plan.rejected["reason"].astype(str)
    reversed_ = reasons.str.startswith(f"{NO_AREA}: -") | reasons.str.contains(f"^{NO_AREA}: [^ ]+ x -", regex=True)
    count = int(reversed_.sum())
    if _is_many(count, boxed + count) and plan.boxes_size != "picture":
        first = plan.rejected[reversed_].iloc[0]
        remedy = f"Likely what is read as corners is sizes: {plan.other_reading}." if plan.other_reading else ""
        raise UserError(
            f"{plan.source.path}: {count:,} of {boxed + count:,} boxes end before they begin, such as in row "
            f"{first['row']} of {first['source']}: {first['reason']}. Expected a width and height above 0. {remedy} "
            f"{_AS_THEY_ARE}"
        )
    bad = reasons.str.startswith(BAD_BOX)
    if not boxed and bad.any():
        first = plan.rejected[bad].iloc[0]
        raise UserError(
            f"{plan.source.path}: none of its boxes can be used ({int(bad.sum()):,} objections; the first, row "
            f"{first['row']} of {first['source']}: {first['reason']}). Expected numbers in pixels; correct the file or "
            "the columns that are named."
        )


def _check_shapes(plan: Plan, sizes: Mapping[str, tuple[int, int]]) -> None:
    """What the source says of its pictures' sizes; a single picture of another size is rejected by itself."""
    if plan.boxes_size is not None:
        return
    stated = {image_id: plan.shapes[image_id] for image_id in sizes if image_id in plan.shapes}
    other = [image_id for image_id, shape in stated.items() if shape != sizes[image_id]]
    if _is_many(len(other), len(stated)):
        first = other[0]
        raise UserError(
            f"{plan.source.path}: {len(other):,} of {len(stated):,} pictures looked at have another size than their "
            f"boxes are for, as {first}: {_by(sizes[first])} pixels, stated {_by(stated[first])}. Likely the pictures "
            f"were resized after the boxes were drawn: --boxes-size stated scales the boxes. {_AS_THEY_ARE}"
        )


def _are_many(faulty: NDArray[np.bool_]) -> bool:
    return _is_many(int(faulty.sum()), len(faulty))


def _is_many(count: int, of: int) -> bool:
    return count >= max(LEAST, SHARE * of) or LEAST_OF_FEW <= count == of


def _say(looked: Looked, faulty: NDArray[np.bool_], what: str, rest: str) -> str:
    first = int(np.flatnonzero(faulty)[0])
    box = " ".join(f"{value:g}" for value in looked.boxes_xywh[first])
    size = _by(looked.sizes[first].astype(int).tolist())
    return (
        f"{int(faulty.sum()):,} of {len(faulty):,} boxes looked at {what}, such as {box} on {looked.image_ids[first]} "
        f"of {size} pixels; expected x, y, width, height in pixels of the picture. {rest}"
    )


def _why_outside(looked: Looked, other_reading: str) -> str:
    boxes, sizes = looked.boxes_xywh, looked.sizes
    ends = boxes[:, 2:]  # if these are the lower right corners
    are_corners = ((ends > boxes[:, :2]) & (ends <= (1 + TOLERANCE) * sizes)).all(axis=1)
    if are_corners.mean() >= 0.95:
        return f"Likely width and height are the lower right corner: {other_reading or 'write sizes'}."
    return (
        "Likely the pictures were resized after the boxes were drawn: --boxes-size "
        f"{_frame(boxes[:, :2] + ends)}, or whatever it was, scales them."
    )


def _frame(ends: NDArray[np.float64]) -> int:
    """The usual side that boxes with these ends are most likely for."""
    reach = float(np.quantile(ends.max(axis=1), 0.995))
    return next((side for side in _USUAL if side >= reach), int(np.ceil(reach)))


def _by(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
