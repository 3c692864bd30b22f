"""Command: the SIIM-FISABIO-RSNA COVID-19 challenge's data to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.cli import run
from convert.converter import DOWNLOAD_REMEDY, Converter
from convert.sources.places import DATA_SETS, SIIM_COVID_FOLDER, SIIM_COVID_ZIP

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.siim_covid import parse

    return parse(source)


CONVERTER = Converter(
    name="siim_covid_to_yolo",
    description="Turn the SIIM-FISABIO-RSNA COVID-19 data (train_image_level.csv and DICOMs by study, series and "
    "image) into a YOLO data set. Patients are not known; images of a study stay together.",
    examples="  python convert/siim_covid_to_yolo.py --source siim-covid19-detection.zip\n"
    "  python convert/siim_covid_to_yolo.py --size 1024 --folds 5",
    source="Kaggle's folder or zip",
    default_sources=(SIIM_COVID_FOLDER, SIIM_COVID_ZIP),
    remedy=DOWNLOAD_REMEDY,
    output=DATA_SETS / "siim-covid",
    parse=_parse,
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
