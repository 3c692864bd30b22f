"""Command: RSNA's own release of the 2018 challenge, truth of the test set included, to a YOLO data set."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from typing import TYPE_CHECKING

from common.cli import run
from common.errors import UserError
from common.paths import typed
from convert.converter import Converter
from convert.sources.places import DATA_SETS, RELEASE_FOLDER

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def _add_files(files: argparse._ArgumentGroup) -> None:
    add = files.add_argument
    add("--annotations", type=Path, metavar="FILE", help="the MD.ai export (default: in the source, or beside the zip)")
    add("--mapping", type=Path, metavar="FILE", help="the image-to-patient mapping (default: as above)")
    add(
        "--train-ids",
        type=Path,
        metavar="FILE",
        help="Kaggle's stage_2_train_labels.csv, instead of --test-ids: all other images with truth are the test set",
    )


def _check(args: argparse.Namespace) -> None:
    if args.test_ids is not None and args.train_ids is not None:
        raise UserError("--test-ids and --train-ids both say which images are the test set: give one of them.")


def _parse(source: Path, args: argparse.Namespace) -> Parsed:
    from convert.parsers.rsna_release import parse

    return parse(
        source,
        annotations=args.annotations,
        mapping=args.mapping,
        test_ids=args.test_ids,
        train_ids=args.train_ids,
    )


CONVERTER = Converter(
    name="rsna_release_to_yolo",
    description="Turn RSNA's own release (MD.ai annotations, mapping, DICOMs in a folder or the zip as it is) into a "
    "YOLO data set. It has the truth of Kaggle's stage-2 test set, which becomes the split test, so that a submission "
    "can be scored at home. Training images of the test set's patients, which the challenge's participants had, are "
    "left out unless --keep-leaking.",
    examples="  python convert/rsna_release_to_yolo.py --test-ids stage_2_sample_submission.csv\n"
    "  python convert/rsna_release_to_yolo.py --train-ids stage_2_train_labels.csv --keep-leaking\n"
    "  python evaluate/score.py --predictions submission.csv --data datasets/rsna-release",
    source="the release's folder, or the zip of its pictures",
    default_sources=(RELEASE_FOLDER,),
    remedy="Download it: python convert/download.py rsna-release (datasets/README.md says more). Or name it with "
    "--source, or make a synthetic one: "
    f"python convert/sample.py --layout release --output {typed(RELEASE_FOLDER)}",
    output=DATA_SETS / "rsna-release",
    parse=_parse,
    add_options=_add_files,
    check=_check,
    parses_test_ids=True,
)

build_parser, main, STOPPED = CONVERTER.build_parser, CONVERTER.main, CONVERTER.stopped

if __name__ == "__main__":
    run(main, STOPPED)
