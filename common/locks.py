"""One process at a time where two would spoil each other's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import WorkError


@contextlib.contextmanager
def locked(file: Path, busy: str) -> Iterator[None]:
    """Hold a lock, and remove its file at the end.

    The system drops the lock of a process that dies; the file that it leaves bars nobody's way. Where the folder cannot
    be written, or its file system knows no locks, nothing is locked: what is there may still be read.

    Args:
        file: The lock's; its folder exists.
        busy: What to say where another process holds it: what it does there, and what to do.

    Raises:
        WorkError: Another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise WorkError(busy) from error
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            # Before it is released: whoever has opened the file meanwhile sees that it is gone.
            file.unlink(missing_ok=True)
            lock.release()
