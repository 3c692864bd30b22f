"""Work on many things in several processes, in their order and with little of it in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_chunks(
    work: Callable[[Sequence[Job]], list[Result]],
    jobs: Sequence[Job],
    workers: int,
    *,
    chunk: int = 64,
    fewest: int = 100,
) -> Iterator[Result]:
    """Work through jobs, a chunk at a time; with one worker in this process, one chunk after the other.

    At most three chunks for each worker are under way, so that results do not pile up where the caller is slow.

    Args:
        work: Takes some jobs, returns a result for each, in their order. It travels to the worker processes, so it is a
            module's function, or a `functools.partial` of one.
        jobs: What there is to do.
        workers: Processes, at most.
        chunk: Jobs that a worker gets at once: enough to hide the handing over, few enough for a smooth progress bar.
        fewest: Jobs that a further process must have to be started: it takes half a second, which is not worth it for
            a handful.

    Yields:
        The results, in the order of the jobs.
    """
    chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
    workers = min(workers, max(1, len(jobs) // fewest))
    if workers == 1:
        for some in chunks:
            yield from work(some)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="3*n_jobs", batch_size=1)
    for results in parallel(delayed(work)(some) for some in chunks):
        yield from results
