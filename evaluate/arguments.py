"""Types of command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from common.argument_types import positive_int
from common.cli import go_on_without


def kept_predictions(argv: Sequence[str]) -> str:
    """What to say after Ctrl-C where predictions of a whole split are kept."""
    return f"{go_on_without('--again')(argv)}: what was predicted so far is kept"


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def share_or_auto(text: str) -> float | str:
    """A number from 0 to 1, or `auto`."""
    return text if text == "auto" else share(text)


def count_or_all(text: str) -> int | None:
    """A whole number above 0, `none` (0) or `all` (None)."""
    if text in ("all", "none"):
        return None if text == "all" else 0
    return positive_int(text)


def box_scale(text: str) -> tuple[float, float] | str:
    """Factors on width and height, as `W` or `W,H`; or `tune`."""
    if text == "tune":
        return text
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = []
    if not (1 <= len(factors) <= 2 and all(0.1 <= factor <= 10 for factor in factors)):
        raise argparse.ArgumentTypeError(f"expected one or two factors from 0.1 to 10, or tune; found {text!r}")
    return factors[0], factors[-1]
