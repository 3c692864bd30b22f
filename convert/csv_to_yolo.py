"""Command: a CSV of boxes and the pictures that it names to a YOLO data set."""

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
from convert.converter import ClassOptions, Converter
from convert.parsers.csv_columns import COLUMN_KEYS, columns
from convert.sources.places import DATA_SETS

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _add_boxes(files: argparse._ArgumentGroup) -> None:
    files.add_argument("--boxes", type=Path, metavar="FILE", help="the CSV (default: the only one in the source)")


def _add_options(files: argparse._ArgumentGroup) -> None:
    add = files.add_argument
    add(
        "--columns",
        type=columns,
        metavar="KEY=COLUMN,...",
        help=f"the CSV's columns by what they hold: {', '.join(COLUMN_KEYS)}. Boxes are x, y, width, height (x, y "
        "upper-left), or two corners, or centre and size; columns of these names need not be named",
    )
    add("--label", default=POSITIVE_CLASS, help="the class of the boxes, where no column says it")
    add(
        "--patient-pattern",
        metavar="REGEX",
        help="finds the patient in the file's path: its first group, or all it matches (else DICOM's Patient ID)",
    )
    add(
        "--unlisted-negative",
        action="store_true",
        help="pictures without a row have nothing to find; they are left out otherwise",
    )


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.any_csv import parse

    return parse(
        source,
        args.boxes,
        columns=args.columns or {},
        label=args.label,
        classes=args.classes,
        merge=args.merge,
        patient_pattern=args.patient_pattern,
        unlisted_negative=args.unlisted_negative,
        dummies=args.boxes_size != (1, 1),  # or it is a box over the whole picture
    )


CONVERTER = Converter(
    name="csv_to_yolo",
    description="Turn a CSV of boxes (one row per box; a row without coordinates for an image without) and a folder or "
    "zip of DICOMs or pictures (PNG, JPEG, ...) into a YOLO data set. Coordinates are pixels of the pictures.",
    examples="  python convert/csv_to_yolo.py --source hospital --boxes boxes.csv \\\n"
    "      --columns image=SOPInstanceUID,x_min=left,y_min=top,x_max=right,y_max=bottom,patient=PatientID\n"
    "  python convert/csv_to_yolo.py --source pictures.zip --unlisted-negative --label 'Lung Opacity'",
    source="folder or zip with the pictures, however deep",
    output=DATA_SETS / "csv",
    parse=_parse,
    add_inputs=_add_boxes,
    add_options=_add_options,
    class_options=ClassOptions(),
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
