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
from common.paths import PROJECT, shown
from convert import options, running
from convert.sources.places import RSNA_FOLDER as DEFAULT_SOURCE
from convert.sources.places import RSNA_ZIP as DEFAULT_ZIP

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
    files = running.add_file_options(
        result, f"folder, or Kaggle's zip as it is, also found as {shown(DEFAULT_ZIP)}", DEFAULT_SOURCE, DEFAULT_OUTPUT
    )
    files.add_argument(
        "--nih-mapping",
        type=Path,
        metavar="FILE",
        help="RSNA's image-to-patient JSON, or a CSV of image id and NIH file (default: the JSON in the source or "
        "beside it, if it is there)",
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
    remedy = (
        "Download them: python convert/download.py rsna (datasets/README.md says more). Or name them with --source, or "
        "make synthetic ones: "
        f"python convert/sample.py --output {shown(DEFAULT_SOURCE)}"
    )
    source = running.find_source(args.source, [DEFAULT_SOURCE, DEFAULT_ZIP], remedy)
    output = (args.output or DEFAULT_OUTPUT).expanduser().absolute()

    from convert.sources.rsna import parse

    running.convert_parsed(
        lambda: parse(source, args.nih_mapping),
        source,
        output,
        args,
        data="rsna.yaml" if output == DEFAULT_OUTPUT else None,
    )
    return 0


if __name__ == "__main__":
    run(main)
