"""What the columns of a CSV of boxes can hold, and how the user names them. Imports nothing heavy."""

from __future__ import annotations

import argparse

SIZE = ("x", "y", "width", "height")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
CENTRE = ("x_center", "y_center", "width", "height")
FORMATS = (SIZE, CORNERS, CENTRE)
"""Ways to write a box, in pixels; the first whose columns are all there is taken."""
COLUMN_KEYS = (
    "image", "x", "y", "width", "height", *CORNERS, "x_center", "y_center", "label", "patient", "view", "sex", "age",
    "picture_width", "picture_height",
)  # fmt: skip
"""What a column can hold. `picture_width` and `picture_height` are of the picture that the boxes were drawn on."""


def columns(text: str) -> dict[str, str]:
    """`image=file,x=left,...` as an argument: column names by what they hold."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {key.strip(): name.strip() for key, equals, name in pairs if equals and name.strip()}
    if len(found) != len(pairs) or not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form image=file,x=left, each once")
    strange = [key for key in found if key not in COLUMN_KEYS]
    if strange:
        raise argparse.ArgumentTypeError(f"{', '.join(strange)} is not among {', '.join(COLUMN_KEYS)}")
    return found
