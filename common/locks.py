"""One process at a time where two would spoil each other's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import WorkError

if TYPE_CHECKING:
    from filelock import FileLock


class BusyError(WorkError):
    """Another process holds the lock."""


def acquire(file: Path, busy: str) -> FileLock | None:
    """Take a lock, which `release` gives free.

    The system drops the lock of a process that dies; the file that it leaves bars nobody's way. Where the folder cannot
    be written, or its file system knows no locks, nothing is locked: what is there may still be read.

    Args:
        file: The lock's; its folder exists.
        busy: What to say where another process holds it: what it does there, and what to do.

    Returns:
        The lock; None where nothing can be locked.

    Raises:
        BusyError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(busy) from error
    except (OSError, NotImplementedError):
        return None
    return lock


def release(lock: FileLock | None) -> None:
    """Give a lock free and remove its file; one that is none, or free already, is left alone."""
    if lock is not None and lock.is_locked:
        # Before it is released: whoever has opened the file meanwhile sees that it is gone.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def locked(file: Path, busy: str) -> Iterator[None]:
    """Hold a lock, and remove its file at the end; see `acquire`.

    Raises:
        BusyError: Another process holds it.
    """
    lock = acquire(file, busy)
    try:
        yield
    finally:
        release(lock)
