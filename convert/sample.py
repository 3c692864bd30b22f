"""Command: write a synthetic data set in the RSNA challenge's raw layout: Kaggle's, or that of RSNA's own release.

It stands in for the real data where that cannot be had: in tests, in the demo and while trying things out. The
pictures are drawings (see `convert.synthetic.phantom`), their statistics are the real ones (see `population` there).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from typing import Any

from common.argument_types import share
from common.cli import START_OVER, parser, run
from common.cores import available_cores

STOPPED = START_OVER


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    arguments = parser(
        "python convert/sample.py",
        "Write synthetic chest radiographs in the raw layout of the RSNA 2018 release: DICOM files, the three CSV "
        "files and RSNA's image-to-patient mapping. The same settings give the same files, and the same images in both "
        "layouts.",
        "  python convert/sample.py\n"
        "  python convert/sample.py --layout release --output datasets/raw/rsna-release\n"
        "  python convert/sample.py --images 2000 --test-images 200 --size 512 --output datasets/raw/large\n",
    )
    add = arguments.add_argument
    add("--output", type=Path, default=Path("datasets/raw/sample"), metavar="FOLDER", help="where the files go")
    add(
        "--layout",
        choices=("kaggle", "release"),
        default="kaggle",
        help="as Kaggle serves the data, or as RSNA does: MD.ai annotations, studies and series, the test set's truth",
    )
    add("--images", type=_count(1), default=400, metavar="N", help="training images")
    add("--test-images", type=_count(0), default=40, metavar="N", help="test images; Kaggle gives no labels for them")
    add("--size", type=_size, default=1024, metavar="PIXELS", help="pictures are square; RSNA's are 1024")
    add("--seed", type=_count(0), default=0, help="decides everything that is drawn")
    add("--workers", type=_count(1), default=available_cores(), metavar="N", help="processes")
    add(
        "--odd-encodings",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="share of files stored in other ways than RSNA's JPEG: other compressions, 12 and 16 bit, inverted, ...",
    )
    add("--overwrite", action="store_true", help="replace the sample that is there")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)
    from convert.synthetic.release import write_release

    drawn = write_release(
        args.output,
        images=args.images,
        test_images=args.test_images,
        size=args.size,
        seed=args.seed,
        odd_encodings=args.odd_encodings,
        layout=args.layout,
        workers=args.workers,
        overwrite=args.overwrite,
    )
    if drawn is None:
        print(f"{args.output}: this sample is there already; --overwrite makes it again")
    else:
        print(
            f"{args.output}: {drawn.images} training images ({drawn.positive_images} with {drawn.boxes} boxes) and "
            f"{drawn.test_images} test images of {drawn.patients} patients"
        )
    return None


def _count(least: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def _size(text: str) -> int:
    size = int(_count(64)(text))
    if size % 2:  # the encoder for JPEG Lossless cannot do odd numbers of pixels
        raise argparse.ArgumentTypeError(f"{text!r} is odd, expected an even number of pixels")
    return size


if __name__ == "__main__":
    run(main, STOPPED)
