"""What every converter's command is made of: one declaration of its source; arguments and the way to the data set here.

Imports nothing heavy: `--help` shows the arguments at once.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.argument_types import boxes_size, fold_count, names_or_all, process_count, ratio, share, side_in_pixels
from common.cli import console, go_on_without, parser
from common.cores import available_cores
from common.data.names import POSITIVE_CLASS, SPLITS
from common.errors import UserError
from common.paths import shown, typed

if TYPE_CHECKING:
    from convert.sources.parsed import Parsed

DOWNLOAD_REMEDY = "Download them (datasets/README.md says where from), or name them with --source."
"""For sources that `convert/download.py` does not fetch."""


def _no_options(group: argparse._ArgumentGroup) -> None:
    pass


def _no_check(args: argparse.Namespace) -> None:
    pass


@dataclass(frozen=True)
class ClassOptions:
    """Which classes a command takes, and whether they stay apart.

    Attributes:
        classes: What is taken by default: names with commas, or `all`.
        merge: The one name that they get by default; None keeps them apart.
    """

    classes: str = "all"
    merge: str | None = None


@dataclass(frozen=True)
class Converter:
    """A command that makes a data set of one source.

    Attributes:
        name: The command's, without `.py`.
        description: For `--help`, one paragraph.
        examples: For `--help`, lines shown as they are.
        source: What `--source` names.
        output: Where the data set goes unless somebody says otherwise.
        parse: Reads the source's tables; it imports the parser itself, so that `--help` needs none.
        default_sources: Where the source is looked for if it is not named, the first one that exists; empty where it
            has to be named.
        remedy: What to do where none of them exists.
        add_inputs: Adds what else the data come from, to be listed after `--source`.
        add_options: Adds the source's own options, to be listed after `--output`.
        class_options: None where the source has one class.
        check: Refuses own options that contradict each other.
        parses_test_ids: `parse` itself reads the file of `--test-ids`.
        data_yaml: The data YAML to go on with where the data set is in its usual place, if not that of the data set.
    """

    name: str
    description: str
    examples: str
    source: str
    output: Path
    parse: Callable[[Path, argparse.Namespace], Parsed]
    default_sources: Sequence[Path] = ()
    remedy: str = ""
    add_inputs: Callable[[argparse._ArgumentGroup], None] = _no_options
    add_options: Callable[[argparse._ArgumentGroup], None] = _no_options
    class_options: ClassOptions | None = None
    check: Callable[[argparse.Namespace], None] = _no_check
    parses_test_ids: bool = False
    data_yaml: str | None = None

    stopped = staticmethod(go_on_without("--overwrite", "--no-resume"))
    """What to say after Ctrl-C."""

    def build_parser(self) -> argparse.ArgumentParser:
        """The command's arguments."""
        result = parser(f"python convert/{self.name}.py", self.description, self.examples)
        files = result.add_argument_group("files")
        look = f" (default: {shown(self.default_sources[0])})" if self.default_sources else ""
        files.add_argument(
            "--source", type=Path, required=not self.default_sources, metavar="PATH", help=self.source + look
        )
        self.add_inputs(files)
        files.add_argument(
            "--output", type=Path, metavar="FOLDER", help=f"the data set (default: {shown(self.output)})"
        )
        self.add_options(files)
        files.add_argument(
            "--boxes-size",
            type=boxes_size,
            metavar="SIZE",
            help="what the boxes are given in, if the pictures were resized: the former side, or WxH; 1 for shares of "
            "the picture; stated, where the source says it; picture, to take them as they are (default, if plausible)",
        )
        if self.class_options is not None:
            _add_class_options(result, self.class_options)
        _add_split_options(result)
        _add_work_options(result)
        return result

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Convert, and say how to go on; see `build_parser` for the arguments.

        Returns:
            0, the exit status.

        Raises:
            UserError: The source or an option is wrong, or the output holds something else.
            WorkError: The disk is full, or no image could be used.
        """
        argv = sys.argv[1:] if argv is None else argv
        args = self.build_parser().parse_args(argv)

        from convert.yolo_set import Splitting, convert

        splitting = Splitting(
            val=args.val,
            test=args.test,
            val_ids=args.val_ids,
            test_ids=args.test_ids,
            folds=args.folds,
            negatives=args.negatives,
            seed=args.seed,
            keep_leaking=args.keep_leaking,
        )
        self.check(args)
        source = self._find_source(args.source)
        output = (args.output or self.output).expanduser().absolute()
        _check_place(output, overwrite=args.overwrite, report=args.report)
        console().print(f"reading {shown(source)}")
        parsed = self.parse(source, args)
        data = convert(
            parsed,
            output,
            replace(splitting, test_ids=None) if self.parses_test_ids else splitting,
            size=args.size,
            boxes_size=args.boxes_size,
            verify=args.verify,
            workers=args.workers,
            overwrite=args.overwrite,
            resume=args.resume,
        )
        if args.report:
            from convert.exploring.collection import open_collection
            from convert.exploring.exploration import PAGE, explore

            command = shlex.join(["python", f"convert/{self.name}.py", *argv])
            explore(open_collection(output), output / PAGE, command, workers=args.workers)
        lists = {split: output / f"{split}.txt" for split in SPLITS}
        filled = [split for split, path in lists.items() if path.is_file() and path.stat().st_size]
        _say_how_to_go_on(
            parsed.class_names, self.data_yaml if self.data_yaml and output == self.output else typed(data), filled
        )
        return 0

    def _find_source(self, given: Path | None) -> Path:
        """The source that was named, else the first usual place that exists."""
        if given is not None:
            return given.expanduser()
        for path in self.default_sources:
            if path.exists():
                return path
        raise UserError(f"{shown(self.default_sources[0])}: no raw data there. {self.remedy}")


def _check_place(output: Path, *, overwrite: bool, report: bool) -> None:
    """Refuse a place that cannot be written before the source is read; a finished data set is only looked at."""
    from common.files import check_writable
    from convert.yolo_set.layout import is_finished

    if not is_finished(output) or overwrite:
        if not output.is_file():  # `layout.begin` has its own words for that
            check_writable(output, "--output", "Choose another --output.")
    elif report:
        page = f"python convert/explore.py {shlex.quote(shown(output))} --output page.html"
        check_writable(output, "--report: its page goes into", f"Without --report, and then: {page}")


def _say_how_to_go_on(class_names: Sequence[str], data: str, filled: Sequence[str]) -> None:
    """Name the next command; `data` as it is typed, `filled` the splits that have pictures."""
    if len(class_names) > 1 and POSITIVE_CLASS not in class_names:
        console().print(
            f"{len(class_names)} classes, none named {POSITIVE_CLASS}: `yolo train` works, but the RSNA score is of "
            f"one class. For it, choose one with --classes, or give several one name: --merge '{POSITIVE_CLASS}'."
        )
    if "train" in filled or not filled:
        console().print(f"Next: yolo train data={data} model=yolov8m.pt")
        return
    if len(filled) > 1:
        console().print(f"Next: python evaluate/score.py WEIGHTS --data {data}")
        return
    console().print(
        f"Next: python evaluate/score.py WEIGHTS --data {data} --report-on {filled[0]} "
        "(at the confidence that an earlier score of the weights has chosen)"
    )


def _add_class_options(command: argparse.ArgumentParser, defaults: ClassOptions) -> None:
    group = command.add_argument_group("classes")
    group.add_argument(
        "--classes",
        type=names_or_all,
        default=defaults.classes,
        metavar="NAMES",
        help="the source's classes to take, with commas, or all; an image that has only others is one without boxes",
    )
    together = group.add_mutually_exclusive_group()
    together.add_argument(
        "--merge", default=defaults.merge, metavar="NAME", help="one name for all of them: the score is of one class"
    )
    together.add_argument("--separate", dest="merge", action="store_const", const=None, help="keep the classes apart")


def _add_split_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("splits").add_argument
    usual = "(default: 0.1, or nothing where the other is 1)"
    add("--val", type=share, metavar="SHARE", help=f"share of the images for tuning {usual}")
    add(
        "--test",
        type=share,
        metavar="SHARE",
        help=f"share of the images for reporting; 1 makes an external test set {usual}",
    )
    add("--val-ids", type=Path, metavar="FILE", help="the images for tuning instead: a CSV, or one id a line")
    add("--test-ids", type=Path, metavar="FILE", help="the images for reporting instead")
    add(
        "--keep-leaking",
        action="store_true",
        help="with --val-ids or --test-ids: train on other images of their patients too; they are left out otherwise",
    )
    add("--folds", type=fold_count, default=0, metavar="N", help="also divide train into N folds, as list files")
    add(
        "--negatives",
        type=ratio,
        metavar="R",
        help="keep R images without boxes per image with boxes in the train lists (default: all)",
    )
    add("--seed", type=int, default=0, help="decides the splits")


def _add_work_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("work")
    group.add_argument(
        "--size",
        type=side_in_pixels,
        metavar="PIXELS",
        help="scale pictures down to this longest side (default: keep them, which is faster and loses nothing)",
    )
    group.add_argument(
        "--verify",
        action="store_true",
        help="decode every JPEG, to refuse those whose data end early (slower; wrong values are not found even so)",
    )
    group.add_argument("--workers", type=process_count, default=available_cores(), metavar="N", help="processes")
    again = group.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with an unfinished conversion of the same settings",
    )
    again.add_argument("--overwrite", action="store_true", help="replace the data set that is there")
    group.add_argument("--report", action="store_true", help="also write data.html: what is in the data set")
