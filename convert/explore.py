"""Command: what is in the data, as one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.argument_types import picture_count, process_count
from common.cli import START_OVER, parser, run
from common.cores import available_cores
from common.paths import PROJECT

if TYPE_CHECKING:
    from convert.exploring.collection import Collection

STOPPED = START_OVER


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/explore.py",
        "Show what is in the data, before they are trained on: one page that needs nothing beside itself. Counts, gaps "
        "and what they mean, classes, boxes, patients, pictures, what splits leak, duplicates, and examples. Takes a "
        "data set made here, or raw data as the converters do; of other raw data, convert with --report.",
        "  python convert/explore.py datasets/rsna\n"
        "  python convert/explore.py datasets/raw/rsna-pneumonia-detection-challenge.zip --pictures 2000\n"
        "  python convert/explore.py tables --headers headers.csv --nih-mapping mapping.json --pictures none",
    )
    add = result.add_argument
    add("source", type=Path, metavar="SOURCE", help="a data set's folder or YAML, or raw data: a folder or a zip")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: runs/explore/<source>.html; <source>-raw of raw data)",
    )
    add(
        "--pictures",
        type=picture_count,
        default="all",
        metavar="N",
        help="look at so many pictures: all, none or a number",
    )
    add(
        "--headers",
        type=Path,
        metavar="FILE",
        help="a CSV of DICOM header fields by image, in place of files",
    )
    add("--nih-mapping", type=Path, metavar="FILE", help="RSNA's image-to-patient mapping, if it is not in SOURCE")
    add("--workers", type=process_count, default=available_cores(), metavar="N", help="processes")
    add("--no-wandb", action="store_true", help="do not keep the page in Weights & Biases")
    return result


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)

    from common.cli import console
    from common.paths import shown
    from convert.exploring.collection import open_collection
    from convert.exploring.exploration import explore

    source = args.source.expanduser()
    console().print(f"reading {shown(source)}")
    collection = open_collection(source, args.nih_mapping, args.headers)
    output = args.output or PROJECT / "runs" / "explore" / f"{_page_name(collection, source)}.html"
    given = sys.argv[1:] if argv is None else argv
    command = shlex.join(["python", "convert/explore.py", *given])
    explore(collection, output, command, workers=args.workers, pictures=args.pictures, wandb=not args.no_wandb)
    return None


def _page_name(collection: Collection, source: Path) -> str:
    """The page's name, which differs for raw data and for what was converted from them, mostly called alike."""
    from convert.exploring.collection import OURS

    if collection.kind == OURS:
        return collection.source.path.resolve().name
    path = source.resolve()
    return f"{path.name if path.is_dir() else path.stem}-raw"


if __name__ == "__main__":
    run(main, STOPPED)
