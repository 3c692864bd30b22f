"""What every converter's command does besides parsing its source: its files, and the way to the data set."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.data.names import POSITIVE_CLASS
from common.errors import UserError
from common.paths import shown

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed


def add_file_options(
    parser: argparse.ArgumentParser, source: str, folder: Path, output: Path
) -> argparse._ArgumentGroup:
    """Where the data come from and go to; the group is returned for options of the source's own.

    Args:
        parser: The command's parser.
        source: What the source is, such as `Kaggle's folder or zip`.
        folder: Where it is looked for if it is not named.
        output: Where the data set goes if that is not said.
    """
    group = parser.add_argument_group("files")
    group.add_argument("--source", type=Path, metavar="PATH", help=f"{source} (default: {shown(folder)})")
    group.add_argument("--output", type=Path, metavar="FOLDER", help=f"the data set (default: {shown(output)})")
    return group


def find_source(given: Path | None, defaults: Sequence[Path], remedy: str) -> Path:
    """The source that was named, else the first default that exists.

    Raises:
        UserError: Nothing was named and no default is there.
    """
    if given is not None:
        return given.expanduser()
    for path in defaults:
        if path.exists():
            return path
    raise UserError(f"{shown(defaults[0])}: no raw data there. {remedy}")


def convert_parsed(
    parse: Callable[[], Parsed], source: Path, output: Path, args: argparse.Namespace, data: str | None = None
) -> None:
    """Parse, plan and convert, and say how to go on.

    Args:
        parse: Reads the source's tables.
        source: Named to the user.
        output: The data set's folder.
        args: The options of `options.add_split_options` and `options.add_work_options`.
        data: The data YAML to go on with, where it is not that of the data set.

    Raises:
        UserError: The source or an option is wrong, or the output holds something else.
        WorkError: The disk is full, or no image could be used.
    """
    from common.cli import console
    from convert.yolo_set.conversion import run_plan
    from convert.yolo_set.plan import make_plan

    output = output.expanduser().absolute()
    console().print(f"reading {shown(source)}")
    parsed = parse()
    run_plan(make_plan(parsed, args), output, args.workers, overwrite=args.overwrite, resume=args.resume)
    if args.report:
        from convert.exploring.collection import open_collection
        from convert.exploring.exploration import PAGE, explore

        command = shlex.join(["python", f"convert/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        explore(open_collection(output), output / PAGE, command, workers=args.workers)
    names = parsed.class_names
    if len(names) > 1 and POSITIVE_CLASS not in names:
        console().print(
            f"{len(names)} classes, none named {POSITIVE_CLASS}: `yolo train` works, but the RSNA score is of one "
            f"class. For it, choose one with --classes, or give several one name: --merge '{POSITIVE_CLASS}'."
        )
    console().print(f"Next: yolo train data={data or shown(output / 'data.yaml')} model=yolov8m.pt")
