"""What the two commands that take `name=value` have in common: their parser, and their words read."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cli import GO_ON, START_OVER, parser
from common.paths import shown
from train.settings.arguments import DIFFERING, help_text, parse, warn_of_idle_rate
from train.settings.options import OWN, Argument


def words_parser(
    command: str,
    about: str,
    examples: str,
    own: Mapping[str, Argument] = OWN,
    differing: Sequence[str] = DIFFERING,
) -> argparse.ArgumentParser:
    """The parser of a command whose every argument is `name=value`; it is there for --help.

    Args:
        command: How it is typed.
        about: What it does.
        examples: Lines of its use.
        own: The command's arguments that `yolo train` does not have.
        differing: Lines that say where its defaults are not those of `yolo train`.
    """
    made = parser(command, about, examples)
    made.epilog = f"{help_text(own, differing)}\n\n{made.epilog}"
    made.add_argument("arguments", nargs="*", metavar="name=value", help="see below")
    return made


_begun: list[Path] = []


def note_run(run: Path) -> None:
    """Remember the folder of the training that begins now, for what is said after Ctrl-C."""
    _begun[:] = [run]


def after_stop(command: str, words: Sequence[str]) -> str:
    """What to say after Ctrl-C in a training, which the same words would begin anew.

    Args:
        command: How it is typed.
        words: What it was given.
    """
    given = dict(word.partition("=")[::2] for word in words)
    if "resume" in given and given["resume"].lower() not in {"false", "none"}:
        return GO_ON
    # By its folder: the newest run may be another one, and a name may have got a number.
    if not _begun or not (_begun[0] / "weights" / "last.pt").is_file():
        return START_OVER
    how = shlex.join([*command.split(), f"resume={shown(_begun[0])}"])
    return f"{how} goes on after the last finished epoch; the same command would begin a new training"


def read_words(
    argv: Sequence[str] | None,
    build_parser: Callable[[], argparse.ArgumentParser],
    own: Mapping[str, Argument] = OWN,
    task: str = "detect",
) -> tuple[list[str], dict[str, Any]]:
    """Read a command's words; shows its help, and ends, where there are none or it is asked for.

    Args:
        argv: The words; None takes this process' own.
        build_parser: Makes the command's parser.
        own: The command's arguments that `yolo train` does not have.
        task: What it trains for, as Ultralytics names it.

    Returns:
        The words, and the arguments that they give, as `train.settings.arguments.parse` reads them.

    Raises:
        UserError: See `train.settings.arguments.parse`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"-h", "--help"} & set(words):
        build_parser().parse_args(["--help"])
    if "--version" in words:
        build_parser().parse_args(["--version"])
    given = parse(words, own, task)
    warn_of_idle_rate(given)
    return words, given
