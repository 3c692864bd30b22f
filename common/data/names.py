"""What all rooms call the same: the class that is scored, a box's columns, the splits, how many boxes count.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import UserError

POSITIVE_CLASS = "Lung Opacity"
"""What is scored where a data set has several classes."""

DISTRACTOR, NORMAL = "No Lung Opacity / Not Normal", "Normal"
"""RSNA's labels of images without opacity: something else is wrong with them, or nothing is."""

COORDINATES = ["x", "y", "width", "height"]
"""A box's columns in every table: upper-left corner and size, pixels of the original image, origin upper-left."""

SPLITS = ("train", "val", "test")
BETWEEN_LABELS = "; "
"""What stands in the manifest's `label` between the classes of an image that has several."""

CHALLENGE = "challenge"
"""The split of images without a known truth, which are neither trained nor scored on."""

MOST_BOXES = 100
"""Predictions of an image that count at most for the mAP, the most confident ones: COCO's limit."""

KEPT_IOU = 0.8
"""Of two predictions with a larger IoU the less confident one is not kept: hardly more than a repetition of it."""

MOST_KEPT = 300
"""Predictions of an image that are kept at most, the most confident ones: many overlap, and go later."""

MOST_CANDIDATES = 5000
"""Predictions of an image that are compared at most to find those that are kept, the most confident ones.

A network that is hardly trained has one for each of its 21,504 places at 1,024 pixels. To compare them all takes a CPU
about a second, and Ultralytics gives up after 2.8 for 16 images: the rest would be left without predictions."""

LARGEST_SIDE = 8192
"""Pixels of a model's input; no radiograph has more."""

PICTURE_SIZE = "picture_size"
"""The attribute of a trained model that tells which longest side its pictures had been scaled down to, in pixels."""

OLDEST_AGE = 120
"""Years. The RSNA files have five ages from 148 to 155; an age above this is a typing error, and so unknown."""


ALL_CLASSES = "all"
"""Named in place of a class: a box of any class counts, as one class."""

_REMEDY = "score.py and predict.py take another one with --class NAME, or all of them as one with --class all."


def scored_classes(names: Mapping[int, str], where: str, wanted: str | None = None) -> tuple[int, ...]:
    """Indices of the classes that are scored, as one.

    Args:
        names: Class names by index.
        where: Whose they are, for the error.
        wanted: The name of one, or `ALL_CLASSES`; None: the only one, or the one named `Lung Opacity`. Of a single
            class any name is right: somebody else may call it otherwise.

    Raises:
        UserError: There is no such class.
    """
    if wanted == ALL_CLASSES:
        return tuple(names)
    if wanted is None or len(names) == 1:
        return (positive_class(names, where),)
    found = tuple(index for index, name in names.items() if name.casefold() == wanted.casefold())
    if len(found) != 1:
        raise UserError(
            f"{where}: has no class {wanted!r}; it has {', '.join(names.values())}. Name one of these with --class, or "
            f"{ALL_CLASSES}."
        )
    return found


def positive_class(names: Mapping[int, str], where: str, remedy: str = _REMEDY) -> int:
    """Index of the class that is scored: the only one, or the one named `Lung Opacity`.

    Args:
        names: Class names by index.
        where: Whose they are, for the error.
        remedy: What the user can do, for the error.

    Raises:
        UserError: There are several and none has that name.
    """
    if len(names) == 1:
        return next(iter(names))
    for index, name in names.items():
        if name == POSITIVE_CLASS:
            return index
    raise UserError(
        f"{where}: found {len(names)} classes ({', '.join(list(names.values())[:3])}, ...); expected one, or one named "
        f"{POSITIVE_CLASS}, to score. {remedy}"
    )
