"""What all rooms call the same: the class that is scored, a box's columns, the splits, how many boxes count.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import UserError

POSITIVE_CLASS = "Lung Opacity"
"""What is scored where a data set has several classes."""

COORDINATES = ["x", "y", "width", "height"]
"""A box's columns in every table: upper-left corner and size, pixels of the original image, origin upper-left."""

SPLITS = ("train", "val", "test")
BETWEEN_LABELS = "; "
"""What stands in the manifest's `label` between the classes of an image that has several."""

CHALLENGE = "challenge"
"""The split of images without a known truth, which are neither trained nor scored on."""

MOST_BOXES = 100
"""Predictions of an image that are made, kept and counted at most, the most confident ones; also COCO's limit."""

PICTURE_SIZE = "picture_size"
"""The attribute of a trained model that tells which longest side its pictures had been scaled down to, in pixels."""

OLDEST_AGE = 120
"""Years. The RSNA files have five ages from 148 to 155; an age above this is a typing error, and so unknown."""


def positive_class(names: Mapping[int, str], where: str, remedy: str = "Is it trained on this data?") -> int:
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
