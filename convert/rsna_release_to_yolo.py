"""Command: RSNA's own release of the 2018 challenge, truth of the test set included, to a YOLO data set."""

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
from convert import options, running
from convert.sources.places import RELEASE_FOLDER as DEFAULT_SOURCE

DEFAULT_OUTPUT = PROJECT / "datasets" / "rsna-release"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/rsna_release_to_yolo.py",
        "Turn RSNA's own release (MD.ai annotations, mapping, DICOMs in a folder or the zip as it is) into a YOLO data "
        "set. It has the truth of Kaggle's stage-2 test set, which becomes the split test, so that a submission can be "
        "scored at home. Training images of the test set's patients, which the challenge's participants had, are left "
        "out unless --keep-leaking.",
        "  python convert/rsna_release_to_yolo.py --test-ids stage_2_sample_submission.csv\n"
        "  python convert/rsna_release_to_yolo.py --train-ids stage_2_train_labels.csv --keep-leaking\n"
        "  python evaluate/score.py --predictions submission.csv --data datasets/rsna-release",
    )
    add = running.add_file_options(
        result, "the release's folder, or the zip of its pictures", DEFAULT_SOURCE, DEFAULT_OUTPUT
    ).add_argument
    add("--annotations", type=Path, metavar="FILE", help="the MD.ai export (default: in the source, or beside the zip)")
    add("--mapping", type=Path, metavar="FILE", help="the image-to-patient mapping (default: as above)")
    add(
        "--train-ids",
        type=Path,
        metavar="FILE",
        help="Kaggle's stage_2_train_labels.csv, instead of --test-ids: all other images with truth are the test set",
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
    if args.test_ids is not None and args.train_ids is not None:
        raise UserError("--test-ids and --train-ids both say which images are the test set: give one of them.")
    remedy = (
        "Download it: python convert/download.py rsna-release (datasets/README.md says more). Or name it with "
        "--source, or make a synthetic one: "
        f"python convert/sample.py --layout release --output {shown(DEFAULT_SOURCE)}"
    )
    source = running.find_source(args.source, [DEFAULT_SOURCE], remedy)

    from convert.sources.rsna_release import parse

    running.convert_parsed(
        lambda: parse(
            source,
            annotations=args.annotations,
            mapping=args.mapping,
            test_ids=args.test_ids,
            train_ids=args.train_ids,
        ),
        source,
        args.output or DEFAULT_OUTPUT,
        argparse.Namespace(**{**vars(args), "test_ids": None}),  # the parser has read them
    )
    return 0


if __name__ == "__main__":
    run(main)
