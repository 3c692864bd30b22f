"""Command: a data set with COCO annotations to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.cli import run
from convert.converter import ClassOptions, Converter
from convert.sources.places import DATA_SETS

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _add_annotations(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="COCO JSON (default: the only one there)",
    )
    files.add_argument(
        "--bbox",
        choices=("sizes", "corners"),
        default="sizes",
        help="what `bbox` holds: x, y, width and height, as COCO has it, or two corners, as some programs write it",
    )
    for split in ("val", "test"):
        files.add_argument(
            f"--{split}-annotations",
            type=Path,
            nargs="+",
            default=[],
            metavar="FILE",
            help=f"more of it, whose images become the split {split}",
        )


def _add_patients(files: argparse._ArgumentGroup) -> None:
    files.add_argument("--patient-key", metavar="KEY", help="what names the patient in the records of `images`")
    files.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help="finds the patient in the file's path: its first group, or all it matches (else DICOM's Patient ID)",
    )


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.coco import parse

    return parse(
        source,
        annotations={"": args.annotations, "val": args.val_annotations, "test": args.test_annotations},
        classes=args.classes,
        merge=args.merge,
        patient_key=args.patient_key,
        patient_pattern=args.patient_pattern,
        corners=args.bbox == "corners",
        dummies=args.boxes_size != (1, 1),  # or it is a box over the whole picture
    )


CONVERTER = Converter(
    name="coco_to_yolo",
    description="Turn COCO JSON and its pictures (PNG, JPEG, ... or DICOM) into a YOLO data set. 8-bit grey pictures "
    "stay as they are, others become 8-bit grey PNG.",
    examples="  python convert/coco_to_yolo.py --source my-set --patient-pattern '([0-9]+)_[0-9]+'\n"
    "  python convert/coco_to_yolo.py --source my-set --annotations train.json --test-annotations test.json\n"
    "  python convert/coco_to_yolo.py --source my-set --classes pneumonia,infiltrate --merge 'Lung Opacity'",
    source="folder or zip with the pictures, however deep",
    output=DATA_SETS / "coco",
    parse=_parse,
    add_inputs=_add_annotations,
    add_options=_add_patients,
    class_options=ClassOptions(),
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
