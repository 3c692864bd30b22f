"""Command: VinDr-CXR, as Kaggle's VinBigData challenge serves it, to a YOLO data set."""

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
from convert.options import share

DEFAULT_SOURCE = PROJECT / "datasets" / "raw" / "vindr"
DEFAULT_ZIP = PROJECT / "datasets" / "raw" / "vinbigdata-chest-xray-abnormalities-detection.zip"
DEFAULT_OUTPUT = PROJECT / "datasets" / "vindr"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/vindr_to_yolo.py",
        "Turn VinDr-CXR (train.csv and <image_id>.dicom files) into a YOLO data set. The boxes of an image's readers "
        "are fused (weighted boxes fusion); truth.csv keeps how many readers are behind each. Patients are not known.",
        "  python convert/vindr_to_yolo.py --source vinbigdata-chest-xray-abnormalities-detection.zip\n"
        "  python convert/vindr_to_yolo.py --min-readers 2\n"
        "  python convert/vindr_to_yolo.py --classes all --separate --output datasets/vindr-14",
    )
    add = running.add_file_options(result, "Kaggle's folder or zip", DEFAULT_SOURCE, DEFAULT_OUTPUT).add_argument
    add("--fused-iou", type=share, default=0.4, metavar="IOU", help="from where two readers' boxes are one finding")
    add("--min-readers", type=int, choices=range(1, 18), default=1, metavar="N", help="drop boxes of fewer readers")
    options.add_class_options(result, "Consolidation,Infiltration,Lung Opacity", POSITIVE_CLASS)
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

    from convert.sources.vindr import parse

    running.convert_parsed(
        lambda: parse(source, classes=args.classes, merge=args.merge, iou=args.fused_iou, min_readers=args.min_readers),
        source,
        args.output or DEFAULT_OUTPUT,
        args,
    )
    return 0


if __name__ == "__main__":
    run(main)
