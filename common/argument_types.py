"""Types of command-line arguments: each takes the text as typed and returns its value, or says what was expected.

Imports nothing heavy: `--help` needs them.
"""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 0, 1, "a share between 0 and 1")


def ratio(text: str) -> float:
    """A number of 0 or more."""
    return _number(text, 0, 1e9, "a number of 0 or more")


def side_in_pixels(text: str) -> int:
    """The length of a picture's side in pixels."""
    return _whole(text, 16, 100_000, "a whole number of pixels, at least 16")


def boxes_size(text: str) -> tuple[float, float] | str:
    """What boxes are given in: `picture`, `stated`, one side, or width x height."""
    if text.casefold() in ("picture", "stated"):
        return text.casefold()
    sides = [
        _number(side, 1, 100_000, "picture, stated, or a size such as 1024 or 1024x768") for side in text.split("x")
    ]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} has {len(sides)} sides; expected one, or width and height")
    return sides[0], sides[-1]


def process_count(text: str) -> int:
    """A number of processes."""
    return _whole(text, 1, 1024, "a whole number of processes, at least 1")


def picture_count(text: str) -> int | None:
    """How many pictures: `all` (None), `none` (0) or a number."""
    if text.casefold() in ("all", "none"):
        return None if text.casefold() == "all" else 0
    return _whole(text, 0, 1e9, "all, none or a whole number of pictures")


def fold_count(text: str) -> int:
    """A number of folds: 0 for none, or 2 and more."""
    folds = _whole(text, 0, 1000, "a whole number of folds")
    if folds == 1:
        raise argparse.ArgumentTypeError("one fold leaves nothing to train on; use 2 or more, or 0 for none")
    return folds


def names_or_all(text: str) -> list[str] | None:
    """Names with commas between; None for `all`."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("names nothing; expected names with commas, or all")
    return None if [name.casefold() for name in found] == ["all"] else found


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def _whole(text: str, low: float, high: float, expected: str) -> int:
    value = _number(text, low, high, expected)
    if not value.is_integer():
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return int(value)
