"""The console command `rsna`: all commands of the project under one name, wherever it was installed.

    rsna convert rsna --folds 5
    rsna train model=yolov8m.pt
    rsna score

Everything after a command's words goes to the command as it is; `rsna COMMAND --help` is its own help. Imports nothing
but the one command that is asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.cli import DISTRIBUTION, execute, parser
from common.commands import COMMANDS, GONE, use_console
from common.errors import UserError

if TYPE_CHECKING:
    import argparse

_GROUPS = {
    "data": ("download", "sample", "convert", "explore"),
    "training": ("train", "gate", "sweep"),
    "scores": ("score", "predict"),
    "this command": ("completion",),
}
_ABOUT = {
    "download": "the raw data, from Kaggle or RSNA",
    "sample": "a synthetic release instead, drawn in a minute",
    "convert": "raw data to a YOLO data set: " + ", ".join(words[1] for words in COMMANDS if words[0] == "convert"),
    "explore": "what is in the data, as one page",
    "train": "a detector, judged by the RSNA score",
    "gate": "an image classifier that says whether there is anything at all",
    "sweep": "a study: what does each setting do to the score?",
    "score": "the RSNA score, of one training or several, tuned on one split and reported on another",
    "predict": "DICOMs or pictures to boxes, a submission and overlays",
    "completion": "print the code that lets bash, zsh or fish complete `rsna`",
}
_SHELLS = ("bash", "zsh", "fish")


def main() -> None:
    """Run `rsna`; the process ends with the command's status."""
    use_console()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(_whole_parser())
    sys.exit(execute(_dispatch, sys.argv[1:]))


def _dispatch(argv: Sequence[str] | None) -> int | None:
    given = list(argv or ())
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0
    if given[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"rsna {version(DISTRIBUTION)}")
        return 0
    if given[0] == "completion":
        return _print_completion(given[1:])
    module = COMMANDS.get((given[0],))
    rest = given[1:]
    if module is None and given[0] in {words[0] for words in COMMANDS}:
        kinds = [words[1] for words in COMMANDS if words[0] == given[0]]
        if not rest or rest[0] in ("-h", "--help"):
            print(f"usage: rsna {given[0]} {{{','.join(kinds)}}} ...\n\n`rsna {given[0]} {kinds[0]} --help` says more.")
            return 0
        module, rest = COMMANDS.get((given[0], rest[0])), rest[1:]
        if module is None:
            raise UserError(f"rsna {given[0]} {given[1]}: unknown; expected one of {', '.join(kinds)}")
    if given[0] in GONE:
        raise UserError(f"rsna {given[0]}: there is no such command any more; {GONE[given[0]]}.")
    if module is None:
        raise UserError(f"rsna {given[0]}: no such command; expected one of {', '.join(_ABOUT)}. See rsna --help.")
    command = importlib.import_module(module)
    return execute(command.main, rest, command.STOPPED)


def _help() -> str:
    lines = ["usage: rsna COMMAND ...", "", "Find pneumonia on chest X-rays: from raw data to an honest score.", ""]
    for group, names in _GROUPS.items():
        lines += [f"{group}:", *(f"  {name:<12}{_ABOUT[name]}" for name in names), ""]
    return "\n".join([*lines, "`rsna COMMAND --help` says what a command takes; `rsna --version` prints the version."])


def _print_completion(given: Sequence[str]) -> int:
    if list(given) not in [[shell] for shell in _SHELLS]:
        raise UserError(
            'rsna completion: name your shell, one of bash, zsh and fish. In bash: eval "$(rsna completion bash)"'
        )
    import argcomplete

    print(argcomplete.shellcode(["rsna"], shell=given[0]))
    return 0


def _whole_parser() -> argparse.ArgumentParser:
    """Every command's parser as one tree, for completion alone: it takes all command modules to build it."""
    import argparse

    whole = parser("rsna", "")
    top = whole.add_subparsers()
    kinds = top.add_parser("convert").add_subparsers()
    for words, module in COMMANDS.items():
        own = importlib.import_module(module).build_parser()
        place = kinds if len(words) > 1 else top
        place.add_parser(words[-1], parents=[own], add_help=False, formatter_class=argparse.HelpFormatter)
    top.add_parser("completion").add_argument("shell", choices=_SHELLS)
    return whole


if __name__ == "__main__":
    main()
