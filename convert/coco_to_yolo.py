"""Command: a data set with COCO annotations to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import parser, run
from common.paths import PROJECT, shown
from convert import options, running

DEFAULT_OUTPUT = PROJECT / "datasets" / "coco"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/coco_to_yolo.py",
        "Turn COCO JSON and its pictures (PNG, JPEG, ... or DICOM) into a YOLO data set. 8-bit grey pictures stay as "
        "they are, others become 8-bit grey PNG.",
        "  python convert/coco_to_yolo.py --source my-set --patient-pattern '([0-9]+)_[0-9]+'\n"
        "  python convert/coco_to_yolo.py --source my-set --annotations train.json --test-annotations test.json\n"
        "  python convert/coco_to_yolo.py --source my-set --classes pneumonia,infiltrate --merge 'Lung Opacity'",
    )
    add = result.add_argument_group("files").add_argument
    add("--source", type=Path, required=True, metavar="PATH", help="folder or zip with the pictures, however deep")
    add(
        "--annotations",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="COCO JSON (default: the only one there)",
    )
    for split in ("val", "test"):
        add(
            f"--{split}-annotations",
            type=Path,
            nargs="+",
            default=[],
            metavar="FILE",
            help=f"more of it, whose images become the split {split}",
        )
    add("--output", type=Path, metavar="FOLDER", help=f"the data set (default: {shown(DEFAULT_OUTPUT)})")
    add("--patient-key", metavar="KEY", help="what names the patient in the records of `images`")
    add(
        "--patient-pattern",
        metavar="REGEX",
        help="finds the patient in the file's path: its first group, or all it matches (else DICOM's Patient ID)",
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
    annotations = {"": args.annotations, "val": args.val_annotations, "test": args.test_annotations}

    from convert.sources.coco import parse

    running.convert_parsed(
        lambda: parse(
            source,
            annotations=annotations,
            classes=args.classes,
            merge=args.merge,
            patient_key=args.patient_key,
            patient_pattern=args.patient_pattern,
        ),
        source,
        args.output or DEFAULT_OUTPUT,
        args,
    )
    return 0


if __name__ == "__main__":
    run(main)
