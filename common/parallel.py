"""Work on many things in several processes, in their order and with little of it in memory at a time.

The processes are loky's, of joblib: they need no main guard in a script, and work in a notebook. They end with the one
that started them, however that ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeVar

from common.cores import available_cores
from common.errors import TerminatedError, WorkError

if TYPE_CHECKING:
    from concurrent.futures import Future

Job = TypeVar("Job")
Result = TypeVar("Result")

SAFE_IMPORTS = {"PYTHONSAFEPATH": "1"}
"""For the environment of Python processes that are started with -m or -c: without it they look into the current folder
first, where somebody's `pickle.py` or `numpy.py` would be run."""

_POSIX = os.name == "posix"
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_IDLE_SECONDS = 60
_LOOK_SECONDS = 0.5
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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

    Raises:
        WorkError: A worker process was killed, as the system does when memory is short.
        TerminatedError: SIGTERM came.
    """
    chunks = (jobs[start : start + chunk] for start in range(0, len(jobs), chunk))
    workers = min(workers, max(1, len(jobs) // fewest))
    if workers == 1:
        with _terminable():
            for some in chunks:
                yield from work(some)
        return
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    threads = str(max(1, available_cores() // workers))
    environment = {name: os.environ.get(name, threads) for name in _THREADS} | SAFE_IMPORTS
    with _terminable():
        with _starting():
            executor = get_reusable_executor(
                workers, timeout=_IDLE_SECONDS, env=environment, initializer=_follow, initargs=(os.getpid(),)
            )
        try:
            under_way: deque[Future[list[Result]]] = deque()
            for some in itertools.islice(chunks, 3 * workers):
                with _starting():
                    under_way.append(executor.submit(work, some))
            while under_way:
                results = under_way.popleft().result()
                for some in itertools.islice(chunks, 1):
                    with _starting():
                        under_way.append(executor.submit(work, some))
                yield from results
        except TerminatedWorkerError as error:
            raise WorkError(
                f"one of {workers} worker processes was killed, as the system does when memory is short. Run the same "
                f"command again, with fewer of them: --workers {max(1, workers // 2)}."
            ) from error
        except BaseException:
            # Not `shutdown(kill_workers=True)`, which stumbles over chunks that no worker has taken yet.
            for process in list(executor._processes):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, _KILL)
            executor.shutdown(wait=True)
            raise


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM raise `TerminatedError` where it would end this process at once, and leave the workers alone."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if ours and signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise TerminatedError


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Where processes are started: workers, and those with which loky and Python keep account of semaphores.

    They import nothing from the current folder. A worker is deaf for the signals that a terminal or a supervisor sends
    to all processes: this one ends it.
    """
    before = {name: os.environ.get(name) for name in SAFE_IMPORTS}
    os.environ.update(SAFE_IMPORTS)
    if _POSIX:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # first, as it changes the mask itself
        deaf = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        if _POSIX:
            signal.pthread_sigmask(signal.SIG_SETMASK, deaf)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _follow(parent: int) -> None:
    """Make a worker end with the process that started it, also when that was killed and could not say so."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
