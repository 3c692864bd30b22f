from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence

import pytest

from common.parallel import in_chunks


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
