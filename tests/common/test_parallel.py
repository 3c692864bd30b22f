from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from common.errors import WorkError
from common.parallel import in_chunks

ROOT = Path(__file__).resolve().parents[2]


def square(jobs: Sequence[int]) -> list[int]:
    return [job**2 for job in jobs]


def where(seconds: float, jobs: Sequence[int]) -> list[tuple[int, int]]:
    """The process of each job, the first of which takes longest."""
    time.sleep(seconds if 0 in jobs else 0)
    return [(job, os.getpid()) for job in jobs]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11])
def test_results_come_in_the_order_of_the_jobs(count):
    assert list(in_chunks(square, range(count), 1, chunk=5)) == [number**2 for number in range(count)]


def test_several_processes_give_the_same_order():
    found = list(in_chunks(functools.partial(where, 0.5), range(12), 2, chunk=3, fewest=1))
    assert [job for job, _ in found] == list(range(12))
    processes = {process for _, process in found}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_few_jobs_stay_in_this_process():
    assert {process for _, process in in_chunks(functools.partial(where, 0), range(12), 8, fewest=7)} == {os.getpid()}


def test_one_process_does_not_run_ahead_of_its_caller():
    done: list[int] = []

    def note(jobs: Sequence[int]) -> list[int]:
        done.extend(jobs)
        return list(jobs)

    results = in_chunks(note, range(10), 1, chunk=3)
    assert next(results) == 0
    assert done == [0, 1, 2]


def kill_itself(jobs: Sequence[int]) -> list[int]:
    if 5 in jobs:
        os.kill(os.getpid(), signal.SIGKILL)
    return list(jobs)


def test_a_killed_worker_is_one_line_with_a_remedy_and_the_next_call_works():
    with pytest.raises(WorkError, match=r"one of 4 worker processes was killed.* --workers 2\."):
        list(in_chunks(kill_itself, range(8), 4, chunk=1, fewest=1))
    assert list(in_chunks(square, range(8), 4, chunk=1, fewest=1)) == [number**2 for number in range(8)]


def fail(jobs: Sequence[int]) -> list[int]:
    raise WorkError("a.csv: the disk is full.")


def test_what_a_worker_raises_arrives_and_nothing_is_left_working():
    with pytest.raises(WorkError, match="the disk is full"):
        list(in_chunks(fail, range(8), 2, chunk=1, fewest=1))
    assert workers_of(os.getpid()) == []


def workers_of(process: int) -> list[psutil.Process]:
    children = psutil.Process(process).children(recursive=True)
    return [child for child in children if "popen_loky" in " ".join(child.cmdline())]


COMMAND = """
import sys, time
sys.path.insert(0, {root!r})
from common.cli import execute
from common.parallel import in_chunks

def work(jobs):
    time.sleep(0 if 0 in jobs else 600)
    return list(jobs)

def main(argv):
    for _ in in_chunks(work, range(9), {workers}, chunk=1, fewest=1):
        print("working", flush=True)

sys.exit(execute(main, [], "run it again"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to_all", "status", "said"),
    [
        (signal.SIGTERM, False, 143, "error: stopped by SIGTERM; run it again\n"),
        (signal.SIGTERM, True, 143, "error: stopped by SIGTERM; run it again\n"),
        (signal.SIGINT, False, 130, "error: stopped by the user; run it again\n"),
        (signal.SIGINT, True, 130, "error: stopped by the user; run it again\n"),
        (signal.SIGKILL, False, -9, None),
    ],
    ids=["terminated", "all terminated", "interrupted", "all interrupted", "killed"],
)
def test_workers_end_with_the_process_that_started_them(tmp_path, number, to_all, status, said):
    (tmp_path / "command.py").write_text(COMMAND.format(root=os.fspath(ROOT), workers=2))
    command = [sys.executable, tmp_path / "command.py"]
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()  # numbers of processes come again
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        workers = workers_of(process.pid)
        (os.killpg if to_all else os.kill)(process.pid, number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert said is None or error == said
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    deadline = time.monotonic() + 10  # of a killed process, another one clears up
    named = re.compile(rf".*[-_]{process.pid}[-_].*")
    while left := [path for path in shared.glob("*") if path not in before and named.fullmatch(path.name)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_single_process_says_so_too(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND.format(root=os.fspath(ROOT), workers=1))
    command = [sys.executable, tmp_path / "command.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.terminate()
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (143, "error: stopped by SIGTERM; run it again\n")


def test_no_process_imports_from_the_current_folder(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for name in ("joblib", "multiprocessing", "pickle", "numpy", "threading", "runpy", "argparse"):
        (here / f"{name}.py").write_text("import os\nopen(os.path.join(os.path.dirname(__file__), 'run'), 'w')\n")
    (tmp_path / "command.py").write_text(
        f"import sys\nsys.path.insert(0, {os.fspath(ROOT)!r})\nfrom common.parallel import in_chunks\n"
        "assert list(in_chunks(list, range(9), 2, chunk=1, fewest=1)) == list(range(9))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [sys.executable, tmp_path / "command.py"], cwd=here, env=environment, capture_output=True, text=True, timeout=60
    )
    assert not (here / "run").exists()
    assert done.returncode == 0, done.stderr


def test_the_environment_is_left_as_it_was(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    assert list(in_chunks(square, range(4), 2, chunk=1, fewest=1)) == [0, 1, 4, 9]
    assert dict(os.environ) == before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
