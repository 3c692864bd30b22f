"""Command: the RSNA 2018 challenge data, as Kaggle serves them, to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.cli import run
from common.paths import shown, typed
from convert.converter import Converter
from convert.sources.places import RSNA_DATA_SET, RSNA_FOLDER, RSNA_ZIP

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _add_mapping(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "--nih-mapping",
        type=Path,
        metavar="FILE",
        help="RSNA's image-to-patient JSON, or a CSV of image id and NIH file (default: the JSON in the source or "
        "beside it, if it is there)",
    )


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.rsna import parse

    return parse(source, args.nih_mapping)


CONVERTER = Converter(
    name="rsna_to_yolo",
    description="Turn the RSNA 2018 pneumonia data (DICOM + CSV) into a YOLO data set: pictures untouched where they "
    "are JPEG already, splits stratified and no patient in two of them. Interrupted, it goes on where it stopped.",
    examples="  python convert/rsna_to_yolo.py\n"
    "  python convert/rsna_to_yolo.py --source ~/Downloads/rsna-pneumonia-detection-challenge.zip\n"
    "  python convert/rsna_to_yolo.py --folds 5 --nih-mapping pneumonia-challenge-dataset-mappings_2018.json\n"
    "  python convert/rsna_to_yolo.py --val-ids stage_1_test_ids.csv --folds 5     for train/train.py recipe=winner",
    source=f"folder, or Kaggle's zip as it is, also found as {shown(RSNA_ZIP)}",
    default_sources=(RSNA_FOLDER, RSNA_ZIP),
    remedy="Download them: python convert/download.py rsna (datasets/README.md says more). Or name them with --source, "
    f"or make synthetic ones: python convert/sample.py --output {typed(RSNA_FOLDER)}",
    output=RSNA_DATA_SET,
    parse=_parse,
    add_options=_add_mapping,
    data_yaml="rsna.yaml",
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
