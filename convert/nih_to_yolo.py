"""Command: the boxes of NIH ChestX-ray14 to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import parser, run
from common.data.names import POSITIVE_CLASS
from common.paths import PROJECT
from convert import options, running

DEFAULT_SOURCE = PROJECT / "datasets" / "raw" / "nih"
DEFAULT_ZIP = PROJECT / "datasets" / "raw" / "nih-chest-xrays.zip"
DEFAULT_OUTPUT = PROJECT / "datasets" / "nih"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/nih_to_yolo.py",
        "Turn NIH ChestX-ray14 (BBox_List_2017.csv, PNG files, and Data_Entry_2017.csv for negatives, views, ages and "
        "sexes) into a YOLO data set. Images that are labelled with a chosen finding, but not boxed, are left out.",
        "  python convert/nih_to_yolo.py --source ~/Downloads/nih --negatives 5\n"
        "  python convert/nih_to_yolo.py --classes all --separate --output datasets/nih-8",
    )
    running.add_file_options(
        result, "folder or zip with the tables and the pictures, however deep", DEFAULT_SOURCE, DEFAULT_OUTPUT
    )
    options.add_class_options(result, "Infiltration,Pneumonia", POSITIVE_CLASS)
    options.add_split_options(result)
    options.add_work_options(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; see `build_parser` for the arguments.

    Returns:
        0, the exit status.
    """
    args = build_parser().parse_args(argv)
    options.check(args)
    remedy = "Download them (datasets/README.md says where from), or name them with --source."
    source = running.find_source(args.source, [DEFAULT_SOURCE, DEFAULT_ZIP], remedy)

    from convert.sources.nih import parse

    running.convert_parsed(
        lambda: parse(source, classes=args.classes, merge=args.merge), source, args.output or DEFAULT_OUTPUT, args
    )
    return 0


if __name__ == "__main__":
    run(main)
