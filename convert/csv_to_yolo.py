"""Command: a CSV of boxes and the pictures that it names to a YOLO data set."""

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
from common.paths import PROJECT, shown
from convert import options, running
from convert.sources.csv_columns import COLUMN_KEYS, columns

DEFAULT_OUTPUT = PROJECT / "datasets" / "csv"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/csv_to_yolo.py",
        "Turn a CSV of boxes (one row per box; a row without coordinates for an image without) and a folder or zip of "
        "DICOMs or pictures (PNG, JPEG, ...) into a YOLO data set. Coordinates are pixels of the pictures.",
        "  python convert/csv_to_yolo.py --source hospital --boxes boxes.csv \\\n"
        "      --columns image=SOPInstanceUID,x_min=left,y_min=top,x_max=right,y_max=bottom,patient=PatientID\n"
        "  python convert/csv_to_yolo.py --source pictures.zip --unlisted-negative --label 'Lung Opacity'",
    )
    add = result.add_argument_group("files").add_argument
    add("--source", type=Path, required=True, metavar="PATH", help="folder or zip with the pictures, however deep")
    add("--boxes", type=Path, metavar="FILE", help="the CSV (default: the only one in the source)")
    add("--output", type=Path, metavar="FOLDER", help=f"the data set (default: {shown(DEFAULT_OUTPUT)})")
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
    options.add_class_options(result)
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
    source = args.source.expanduser()

    from convert.sources.any_csv import parse

    running.convert_parsed(
        lambda: parse(
            source,
            args.boxes,
            columns=args.columns or {},
            label=args.label,
            classes=args.classes,
            merge=args.merge,
            patient_pattern=args.patient_pattern,
            unlisted_negative=args.unlisted_negative,
        ),
        source,
        args.output or DEFAULT_OUTPUT,
        args,
    )
    return 0


if __name__ == "__main__":
    run(main)
