"""The options that every converter has. Imports nothing heavy: `--help` shows them at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.cores import available_cores
from common.errors import UserError


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """How images are divided."""
    group = parser.add_argument_group("splits")
    add = group.add_argument
    add("--val", type=share, default=0.1, metavar="SHARE", help="share of the images for tuning")
    add("--test", type=share, default=0.1, metavar="SHARE", help="share of the images for reporting")
    add("--val-ids", type=Path, metavar="FILE", help="the images for tuning instead: a CSV, or one id a line")
    add("--test-ids", type=Path, metavar="FILE", help="the images for reporting instead")
    add(
        "--keep-leaking",
        action="store_true",
        help="with --val-ids or --test-ids: train on other images of their patients too; they are left out otherwise",
    )
    add("--folds", type=_folds, default=0, metavar="N", help="also N folds over train and val, as list files")
    add(
        "--negatives",
        type=_ratio,
        metavar="R",
        help="keep R images without boxes per image with boxes in the train lists (default: all)",
    )
    add("--seed", type=int, default=0, help="decides the splits")


def add_class_options(parser: argparse.ArgumentParser, classes: str = "all", merge: str | None = None) -> None:
    """Which classes are taken, and whether they stay apart.

    Args:
        parser: The command's parser.
        classes: What is taken by default: names with commas, or `all`.
        merge: The one name that they get by default; None keeps them apart.
    """
    group = parser.add_argument_group("classes")
    group.add_argument(
        "--classes",
        type=names,
        default=classes,
        metavar="NAMES",
        help="the source's classes to take, with commas, or all; an image that has only others is one without boxes",
    )
    together = group.add_mutually_exclusive_group()
    together.add_argument(
        "--merge", default=merge, metavar="NAME", help="one name for all of them: the score is of one class"
    )
    together.add_argument("--separate", dest="merge", action="store_const", const=None, help="keep the classes apart")


def names(text: str) -> list[str] | None:
    """Names with commas between, as an argument; None for all."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("names nothing; expected names with commas, or all")
    return None if [name.casefold() for name in found] == ["all"] else found


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """How the work is done."""
    group = parser.add_argument_group("work")
    group.add_argument(
        "--size",
        type=_size,
        metavar="PIXELS",
        help="scale pictures down to this longest side (default: keep them, which is faster and loses nothing)",
    )
    group.add_argument("--workers", type=workers, default=available_cores(), metavar="N", help="processes")
    again = group.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with an unfinished conversion of the same settings (the default)",
    )
    again.add_argument("--overwrite", action="store_true", help="replace the data set that is there")
    group.add_argument("--report", action="store_true", help="also write data.html: what is in the data set")


def check(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        UserError: Nothing would be left to train on.
    """
    if args.val + args.test >= 1:
        raise UserError(f"--val {args.val} and --test {args.test} leave nothing to train on: keep their sum below 1.")


def share(text: str) -> float:
    """A number from 0 to 1, as an argument."""
    return _number(text, 0, 1, "a share between 0 and 1")


def _ratio(text: str) -> float:
    return _number(text, 0, 1e9, "a number of 0 or more")


def _size(text: str) -> int:
    return int(_number(text, 16, 100_000, "a number of pixels, at least 16"))


def pictures(text: str) -> int | None:
    """How many pictures, as an argument: `all` (None), `none` (0) or a number."""
    if text.casefold() in ("all", "none"):
        return None if text.casefold() == "all" else 0
    return int(_number(text, 0, 1e9, "all, none or a number of pictures"))


def workers(text: str) -> int:
    """A number of processes, as an argument."""
    return int(_number(text, 1, 1024, "a number of processes, at least 1"))


def _folds(text: str) -> int:
    folds = int(_number(text, 0, 1000, "a number of folds"))
    if folds == 1:
        raise argparse.ArgumentTypeError("one fold leaves nothing to train on; use 2 or more, or 0 for none")
    return folds


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value
