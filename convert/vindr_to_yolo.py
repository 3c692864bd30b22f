"""Command: VinDr-CXR, as Kaggle's VinBigData challenge serves it, to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.argument_types import share
from common.cli import run
from common.data.names import POSITIVE_CLASS
from convert.converter import DOWNLOAD_REMEDY, ClassOptions, Converter
from convert.sources.places import DATA_SETS, VINDR_FOLDER, VINDR_ZIP

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _add_readers(files: argparse._ArgumentGroup) -> None:
    add = files.add_argument
    add("--fused-iou", type=share, default=0.4, metavar="IOU", help="from where two readers' boxes are one finding")
    add("--min-readers", type=int, choices=range(1, 18), default=1, metavar="N", help="drop boxes of fewer readers")


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.vindr import parse

    return parse(source, classes=args.classes, merge=args.merge, iou=args.fused_iou, min_readers=args.min_readers)


CONVERTER = Converter(
    name="vindr_to_yolo",
    description="Turn VinDr-CXR (train.csv and <image_id>.dicom files) into a YOLO data set. The boxes of an image's "
    "readers are fused (weighted boxes fusion); truth.csv keeps how many readers are behind each. Patients are not "
    "known.",
    examples="  python convert/vindr_to_yolo.py --source vinbigdata-chest-xray-abnormalities-detection.zip\n"
    "  python convert/vindr_to_yolo.py --min-readers 2\n"
    "  python convert/vindr_to_yolo.py --classes all --separate --output datasets/vindr-14",
    source="Kaggle's folder or zip",
    default_sources=(VINDR_FOLDER, VINDR_ZIP),
    remedy=DOWNLOAD_REMEDY,
    output=DATA_SETS / "vindr",
    parse=_parse,
    add_options=_add_readers,
    class_options=ClassOptions("Consolidation,Infiltration,Lung Opacity", POSITIVE_CLASS),
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
