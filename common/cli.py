"""The frame of every command: arguments, progress, messages, exit status.

A command module holds `build_parser()` and `main(argv)`, imports nothing heavy before `main` knows what to do (so that
`--help` answers at once), and ends with `run(main, STOPPED)`: what to say of going on after Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from common.commands import as_typed
from common.errors import TerminatedError, UserError, WorkError
from common.paths import CODE, IS_CHECKOUT

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

DISTRIBUTION = "rsna-pneumonia-workshop"
"""What the project is called where it is installed."""

Stopped = str | Callable[[Sequence[str]], str]
"""What to do after Ctrl-C: a command's words, or what makes them of its arguments. Empty where nothing can be said."""

GO_ON = "run the same command again to go on"
_SECONDS_BETWEEN_LINES = 60
START_OVER = "nothing of it is kept, and the same command starts over"


def go_on_without(*options: str) -> Callable[[Sequence[str]], str]:
    """Words for a command that goes on when it is run again, but for options that make it begin anew or refuse."""

    def words(argv: Sequence[str]) -> str:
        given = [option for option in options if option in argv]
        return f"run the same command again, without {' and '.join(given)}, to go on" if given else GO_ON

    return words


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults where there is one, and keeps the examples' lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=min(110, _terminal_width()))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # "(default: None)" and "(default: False)" tell nobody anything.
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


class _Version(argparse.Action):
    """Prints the version, which takes a tenth of a second to find, only where it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"{parser.prog} {version(DISTRIBUTION)}")
        parser.exit()


def _terminal_width() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 110


class _Parser(argparse.ArgumentParser):
    """Speaks of commands as this user types them."""

    def format_help(self) -> str:
        return as_typed(super().format_help())

    def error(self, message: str) -> NoReturn:
        super().error(as_typed(message))


def parser(command: str, description: str, examples: str = "") -> argparse.ArgumentParser:
    """Make an argument parser whose help shows the defaults and ends with examples.

    Args:
        command: What the user types, such as `python evaluate/score.py`.
        description: One paragraph.
        examples: Lines shown as they are.
    """
    epilog = f"examples:\n{examples.rstrip()}" if examples else None
    made = _Parser(
        prog=as_typed(command),
        description=description,
        epilog=epilog,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action=_Version, help="show the project's version and exit")
    return made


def run(main: Callable[[Sequence[str] | None], int | None], stopped: Stopped = "") -> NoReturn:
    """Run a command's `main` on the command line's arguments, and exit with its status; see `execute`."""
    sys.exit(execute(main, None, stopped))


def execute(
    main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None, stopped: Stopped = ""
) -> int:
    """Run a command's `main`; turn the errors that are the user's to mend into a message.

    Args:
        main: Takes the arguments, returns a status or None for 0.
        argv: The arguments; None takes the command line's.
        stopped: What to say of going on when the user stops the command.

    Returns:
        0, or the status of the `UserError`, whose message is on stderr.
    """
    try:
        return main(argv) or 0
    except UserError as error:
        print_error(str(error))
        return error.status
    except ModuleNotFoundError as error:
        remedy = _remedy_for_missing(error.name or "")
        if remedy is None:
            raise
        print_error(f"no module named {error.name}: {remedy}")
        return UserError.status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # `command | head`: the reader has gone, and Python must not complain about it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        print_error(f"{error.filename or 'a file'}: cannot be written or read ({error.strerror}). {remedy}")
        return WorkError.status
    except KeyboardInterrupt as error:
        words = stopped if isinstance(stopped, str) else stopped(sys.argv[1:] if argv is None else argv)
        terminated = isinstance(error, TerminatedError)
        print_error(f"stopped by {'SIGTERM' if terminated else 'the user'}" + (f"; {words}" if words else ""))
        return 143 if terminated else 130


_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space, and run the same command again.",
    errno.EDQUOT: "Your share of the disk is used up: free space, and run the same command again.",
    errno.EROFS: "The file system is read-only: name another place, as the command's --help says.",
    errno.EACCES: "Its permissions forbid that: change them, or name another place, as the command's --help says.",
    errno.EPERM: "It is protected from that: change this, or name another place, as the command's --help says.",
    errno.EIO: "The disk or the network behind it failed: check it, and run the same command again.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n 4096), and run the same command again.",
}
"""What the user can do about a machine's refusals, wherever in a command they come up."""

_OWN = ("common", "convert", "train", "evaluate", "benchmarks")
_EXTRAS = {
    "train": ("torch", "torchvision", "ultralytics", "wandb", "cloudpickle"),
    "ray": ("ray", "optuna", "sklearn"),
    "sample": ("gdcm",),
    "dicom-out": ("highdicom",),
}


def _remedy_for_missing(module: str) -> str | None:
    """What to do where a library is missing; None where a module of our own is, which is a bug."""
    name = module.partition(".")[0]
    if not name or name in _OWN:
        return None
    if not IS_CHECKOUT:
        extra = next((extra for extra, names in _EXTRAS.items() if name in names), "all")
        return f"this part needs more than was installed. Run: pip install '{DISTRIBUTION}[{extra}]'"
    environment = CODE / ".venv"
    if not environment.is_dir():
        return "the environment is not set up. Run: make setup, and then: source .venv/bin/activate"
    if sys.prefix != os.fspath(environment):
        return f"this is another Python than the project's. Run: source {environment}/bin/activate"
    return "the environment is not complete. Run: make setup"


_PICTURED = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}
"""Characters that tell a terminal to do something, by a picture of them: a file's name or a header may hold any."""


def harmless(text: str) -> str:
    """The text as a terminal may show it: names of files and what files say cannot move its cursor or retitle it."""
    return text if text.isprintable() else text.translate(_PICTURED)


def print_error(message: str) -> None:
    """Print one `error: ...` line to stderr."""
    print(f"error: {harmless(as_typed(message))}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Print one `warning: ...` line to stderr."""
    print(f"warning: {harmless(as_typed(message))}", file=sys.stderr)


def is_interactive() -> bool:
    """Whether somebody sits at a terminal and can answer a question.

    Nobody does in a pipe, a notebook, a continuous integration, a process among several, or a job in the background,
    which would stand still for ever.
    """
    if any(os.environ.get(name) for name in ("CI", "RANK", "LOCAL_RANK")):
        return False
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return False
        return not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no standard input at all, or a closed one
        return False


def confirm(question: str) -> bool:
    """Ask a question at the terminal, once; all but a clear yes is a no. Call it only where `is_interactive`."""
    try:
        answer = input(f"{as_typed(question)} [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def console() -> Console:
    """Rich's console on stdout, without guessing at markup or highlighting in file names."""
    from rich.console import Console
    from rich.segment import Segment

    class AsTyped(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(as_typed(one) if isinstance(one, str) else one for one in objects), **options)

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(harmless(segment.text), segment.style)

    return AsTyped(markup=False, highlight=False, soft_wrap=True, force_jupyter=False)


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "images") -> Iterator[T]:
    """Yield `items` behind a progress bar on stderr; where stderr is no terminal, a line a minute and a closing one.

    Args:
        items: What is worked through; consumed as the caller asks for it.
        description: What is being done, such as `converting`.
        total: How many items there are, when `items` has no length.
        unit: What is counted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None and isinstance(items, Sized):
        total = len(items)
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}  {{task.fields[rate]}}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, force_jupyter=False), speed_estimate_period=30) as bar:
        task = bar.add_task(description, total=total, rate="")
        started = shown = told = time.monotonic()
        count = 0

        def show(now: float) -> None:
            rate = count / max(now - started, 1e-9)
            bar.update(task, completed=count, rate=f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")

        for item in items:
            yield item
            count += 1
            now = time.monotonic()
            if now - shown > 0.1:  # as often as the bar is drawn; thousands of updates a second would cost time
                shown = now
                show(now)
                if now - told >= _SECONDS_BETWEEN_LINES and not bar.console.is_terminal:  # a log
                    told = now
                    print(_so_far(description, count, total, unit, now - started), file=sys.stderr, flush=True)
        show(time.monotonic())


def _so_far(description: str, count: int, total: int | None, unit: str, seconds: float) -> str:
    of = f" of {total:,}" if total is not None else ""
    left = f", about {(total - count) * seconds / count / 60:,.0f} min left" if total is not None else ""
    return f"{description}: {count:,}{of} {unit} after {seconds / 60:,.0f} min{left}"
