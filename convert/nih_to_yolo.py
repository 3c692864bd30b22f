"""Command: the boxes of NIH ChestX-ray14 to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.cli import run
from common.data.names import POSITIVE_CLASS
from convert.converter import DOWNLOAD_REMEDY, ClassOptions, Converter
from convert.sources.places import DATA_SETS, NIH_FOLDER, NIH_ZIP

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.nih import parse

    return parse(source, classes=args.classes, merge=args.merge)


CONVERTER = Converter(
    name="nih_to_yolo",
    description="Turn NIH ChestX-ray14 (BBox_List_2017.csv, PNG files, and Data_Entry_2017.csv for negatives, views, "
    "ages and sexes) into a YOLO data set. Images that are labelled with a chosen finding, but not boxed, are left "
    "out.",
    examples="  python convert/nih_to_yolo.py --source ~/Downloads/nih --negatives 5\n"
    "  python convert/nih_to_yolo.py --classes all --separate --output datasets/nih-8",
    source="folder or zip with the tables and the pictures, however deep",
    default_sources=(NIH_FOLDER, NIH_ZIP),
    remedy=DOWNLOAD_REMEDY,
    output=DATA_SETS / "nih",
    parse=_parse,
    class_options=ClassOptions("Infiltration,Pneumonia", POSITIVE_CLASS),
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
