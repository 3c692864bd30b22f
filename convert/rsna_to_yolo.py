"""Command: the RSNA 2018 challenge data, as Kaggle serves them, to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import parser, run
from common.errors import UserError
from common.paths import PROJECT, shown
from convert import options

DEFAULT_SOURCE = PROJECT / "datasets" / "raw" / "rsna"
DEFAULT_ZIP = PROJECT / "datasets" / "raw" / "rsna-pneumonia-detection-challenge.zip"
DEFAULT_OUTPUT = PROJECT / "datasets" / "rsna"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/rsna_to_yolo.py",
        "Turn the RSNA 2018 pneumonia data (DICOM + CSV) into a YOLO data set: pictures untouched where they are JPEG "
        "already, splits stratified and no patient in two of them. Interrupted, it goes on where it stopped.",
        "  python convert/rsna_to_yolo.py\n"
        "  python convert/rsna_to_yolo.py --source ~/Downloads/rsna-pneumonia-detection-challenge.zip\n"
        "  python convert/rsna_to_yolo.py --folds 5 --nih-mapping pneumonia-challenge-dataset-mappings_2018.json\n"
        "  python convert/rsna_to_yolo.py --val-ids stage_1_test_ids.csv --negatives 1 --output datasets/rsna-tuned",
    )
    add = result.add_argument_group("files").add_argument
    add(
        "--source",
        type=Path,
        metavar="PATH",
        help=f"folder, or Kaggle's zip as it is (default: {shown(DEFAULT_SOURCE)}, else {shown(DEFAULT_ZIP)})",
    )
    add("--output", type=Path, metavar="FOLDER", help=f"the data set (default: {shown(DEFAULT_OUTPUT)})")
    add(
        "--nih-mapping",
        type=Path,
        metavar="FILE",
        help="RSNA's image-to-patient JSON, or a CSV of image id and NIH file (default: the JSON in the source, if "
        "it is there)",
    )
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
    source = _find_source(args.source)
    output = (args.output or DEFAULT_OUTPUT).expanduser().absolute()

    from common.cli import console
    from convert.conversion import run_plan
    from convert.planning import make_plan
    from convert.rsna import parse

    console().print(f"reading {shown(source)}")
    plan = make_plan(parse(source, args.nih_mapping), args)
    run_plan(plan, output, args.workers, overwrite=args.overwrite, resume=args.resume)
    data = "rsna.yaml" if output == DEFAULT_OUTPUT else shown(output / "data.yaml")
    console().print(f"Next: yolo train data={data} model=yolov8m.pt")
    return 0


def _find_source(given: Path | None) -> Path:
    if given is not None:
        return given.expanduser()
    if DEFAULT_SOURCE.exists():
        return DEFAULT_SOURCE
    if DEFAULT_ZIP.is_file():
        return DEFAULT_ZIP
    raise UserError(
        f"{shown(DEFAULT_SOURCE)}: no raw data there. Download them (datasets/README.md says how), name them with "
        f"--source, or make synthetic ones: python convert/sample.py --output {shown(DEFAULT_SOURCE)}"
    )


if __name__ == "__main__":
    run(main)
