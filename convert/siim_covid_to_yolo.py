"""Command: the SIIM-FISABIO-RSNA COVID-19 challenge's data to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import parser, run
from common.paths import PROJECT
from convert import options, running

DEFAULT_SOURCE = PROJECT / "datasets" / "raw" / "siim-covid"
DEFAULT_ZIP = PROJECT / "datasets" / "raw" / "siim-covid19-detection.zip"
DEFAULT_OUTPUT = PROJECT / "datasets" / "siim-covid"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/siim_covid_to_yolo.py",
        "Turn the SIIM-FISABIO-RSNA COVID-19 data (train_image_level.csv and DICOMs by study, series and image) into a "
        "YOLO data set. Patients are not known; images of a study stay together.",
        "  python convert/siim_covid_to_yolo.py --source siim-covid19-detection.zip\n"
        "  python convert/siim_covid_to_yolo.py --size 1024 --folds 5",
    )
    running.add_file_options(result, "Kaggle's folder or zip", DEFAULT_SOURCE, DEFAULT_OUTPUT)
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

    from convert.sources.siim_covid import parse

    running.convert_parsed(lambda: parse(source), source, args.output or DEFAULT_OUTPUT, args)
    return 0


if __name__ == "__main__":
    run(main)
