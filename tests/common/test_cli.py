from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from common.cli import (
    confirm,
    console,
    execute,
    go_on_without,
    is_interactive,
    parser,
    print_error,
    print_warning,
    progress,
    run,
)
from common.errors import UserError, WorkError


@pytest.mark.parametrize(("error", "status"), [(UserError, 2), (WorkError, 1)])
def test_user_errors_become_one_line_and_a_status(capsys, error, status):
    def main(_argv):
        raise error("a.csv: found 2 columns, expected 3. Add one.")

    assert execute(main, []) == status
    assert capsys.readouterr().err == "error: a.csv: found 2 columns, expected 3. Add one.\n"


def test_bugs_keep_their_traceback():
    def main(_argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(main, [])


@pytest.mark.parametrize(
    ("argv", "stopped", "expected"),
    [
        ([], "", "stopped by the user"),  # of a command that says nothing, nothing is claimed
        ([], "so it is", "stopped by the user; so it is"),
        (["a", "b"], lambda argv: f"given {' '.join(argv)}", "stopped by the user; given a b"),
        ([], go_on_without("--overwrite"), "stopped by the user; run the same command again to go on"),
        (
            ["--overwrite", "--size", "64"],
            go_on_without("--overwrite", "--no-resume"),
            "stopped by the user; run the same command again, without --overwrite, to go on",
        ),
    ],
)
def test_interruption_says_what_the_command_knows_of_going_on(argv, stopped, expected, capsys):
    def main(_argv):
        raise KeyboardInterrupt

    assert execute(main, argv, stopped) == 130
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_run_exits_with_the_status():
    with pytest.raises(SystemExit) as exit_info:
        run(lambda _argv: None)
    assert exit_info.value.code == 0


def test_reader_that_goes_away_is_no_error():
    code = "from common.cli import run\ndef main(argv):\n    for number in range(200_000): print(number)\nrun(main)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_progress_hands_everything_through_and_ends_in_a_line(capsys):
    assert list(progress(iter("abc"), "reading", total=3)) == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "reading" in shown.err
    assert "3/3" in shown.err
    assert shown.err.count("\n") == 1  # no terminal: no redrawing


def test_progress_of_a_long_work_writes_lines_into_a_log(monkeypatch, capsys):
    clock = iter(float(number) for number in range(0, 10_000, 25))
    monkeypatch.setattr("common.cli.time.monotonic", lambda: next(clock))
    assert list(progress(range(8), "predicting")) == list(range(8))  # 25 seconds each
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "predicting: 3 of 8 images after 1 min, about 2 min left",
        "predicting: 6 of 8 images after 2 min, about 1 min left",
    ]
    assert len(lines) == 3


def test_help_shows_defaults_only_where_they_say_something(capsys):
    arguments = parser("python x.py", "What it does.", "  python x.py --share 0.2")
    arguments.add_argument("--share", type=float, default=0.1, help="a share")
    arguments.add_argument("--quiet", action="store_true", help="say nothing")
    with pytest.raises(SystemExit):
        arguments.parse_args(["--help"])
    text = capsys.readouterr().out
    assert "a share (default: 0.1)" in text
    assert "say nothing\n" in text
    assert text.endswith("examples:\n  python x.py --share 0.2\n")


def test_abbreviated_options_are_refused(capsys):
    arguments = parser("python x.py", "")
    arguments.add_argument("--overwrite", action="store_true")
    with pytest.raises(SystemExit, match="2"):
        arguments.parse_args(["--over"])
    assert "unrecognized arguments: --over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("YES \n", True), ("\n", False), ("n\n", False), ("yo\n", False), ("", False)]
)
def test_only_a_clear_yes_is_one(monkeypatch, capsys, typed, answer):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert confirm("Download?") is answer
    assert capsys.readouterr().out.startswith("Download? [y/N] ")


@pytest.mark.parametrize("stdin", [None, io.StringIO(), "closed"])
def test_nobody_answers_without_a_terminal(monkeypatch, stdin):
    if stdin == "closed":
        stdin = io.StringIO()
        stdin.close()
    monkeypatch.setattr("sys.stdin", stdin)
    assert not is_interactive()


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free space"), (errno.EROFS, "read-only"), (errno.EACCES, "permissions")]
)
def test_what_the_machine_refuses_is_one_line(capsys, number, remedy):
    def main(argv):
        raise OSError(number, os.strerror(number), "/somewhere/results.csv")

    assert execute(main, []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: /somewhere/results.csv: cannot be written or read ({os.strerror(number)}).")
    assert remedy in line


def test_other_system_errors_keep_their_traceback():
    def main(argv):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "gone")

    with pytest.raises(FileNotFoundError):
        execute(main, [])


def test_what_files_say_does_not_reach_the_terminal_as_a_command(capsys):
    from rich.table import Table

    name = "a\x1b]0;title\x07\x1b[2J\x9b1m\r\x7f\u202eb\tc"
    print_error(name)
    print_warning(name)
    out = console()
    out.print(f"reading {name}")
    table = Table()
    table.add_column(name)
    table.add_row(name)
    out.print(table)
    written = capsys.readouterr()
    for text in (written.err, written.out):
        assert not set(text) & set("\x1b\x07\x9b\r\x7f\u202e")
    shown = "a\u241b]0;title\u2407\u241b[2J\ufffd1m\u240d\u2421\ufffdb\tc\n"
    assert written.err == f"error: {shown}warning: {shown}"
    assert "reading a\u241b]0;title" in written.out


def test_colours_of_our_own_stay(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    out = console()
    out.file = stream
    out.print("good", style="bold")
    assert stream.getvalue() == "\x1b[1mgood\x1b[0m\n"


def test_in_a_notebook_what_is_said_goes_through_the_streams_that_a_cell_can_catch(monkeypatch, capsys):
    """Rich would put HTML beside them, and ask for a package where that is not there."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("shown past the streams"))
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    console().print("done")
    said = capsys.readouterr()
    assert said.out == "done\n"
    assert "counting" in said.err
