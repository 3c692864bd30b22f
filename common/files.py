"""Files that are either absent or whole, whenever the process dies."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UnreadableError, UserError, WorkError

PART = ".part"
"""Suffix of a file that is being written; one left over is rubbish of a killed process."""
MOST_OF_A_PICTURE, MOST_OF_A_TABLE = 1 << 30, 2 << 30
"""Bytes: more is not read of one picture or table, since a small zip can become any number of them."""

_LONGEST_NAME = 200
"""Bytes of a file's name without suffix; file systems allow 255 with it."""
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write `content` to `path` so that no reader ever sees half of it.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text that is stored as UTF-8 with the newlines it has.

    Raises:
        WorkError: The disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    if not data:
        # Nothing to write means nothing to write by halves; most label files are empty.
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        except OSError as error:
            raise _explain(error, path) from error
        return
    part = f"{path}.{os.getpid()}{PART}"  # the process in the name: an orphaned worker must not share it
    try:
        # Unbuffered: the whole content goes in one write, and most callers write thousands of files.
        with open(part, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise _explain(error, path) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; see `write_atomic`. NaN is refused: JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_regular(path: Path | str, limit: int = MOST_OF_A_PICTURE, most: int = -1) -> bytes:
    """The content of a file, which others may have put there: a pipe or a device is refused instead of waited for.

    Args:
        path: The file.
        limit: Refuse a file of more bytes than this, if all of it is to be read.
        most: Read at most so many bytes; -1 reads all.

    Raises:
        UnreadableError: It cannot be read, is no file, or too large.
    """
    try:
        # Opening a pipe waits for its writer, unless one says that one will not wait.
        with open(os.open(path, _OPEN), "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableError("a pipe or a device, expected a file")
            if most >= 0:
                return file.read(most)
            if found.st_size > limit:
                raise too_large(found.st_size, limit)
            return file.readall()
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def too_large(size: int, limit: int, *, at_least: bool = False) -> UnreadableError:
    """The error of a content that has more bytes than are read of one file.

    Args:
        size: How many it has.
        limit: How many it may have.
        at_least: More may follow.
    """
    return UnreadableError(f"too large: {size:,} bytes{' or more' if at_least else ''}, expected at most {limit:,}")


def make_folder(folder: Path, option: str = "--output", remedy: str = "") -> None:
    """Make a folder that is to be written to, and those above it; one that is there and can be written is good.

    Call it before long work whose outcome goes there.

    Args:
        folder: The folder.
        option: With what it was named, for the message.
        remedy: What the user can do, for the message.

    Raises:
        UserError: A file is in its place, it cannot be made there, or nothing can be written in it, as on a read-only
            file system.
    """
    with _refused(folder, option, remedy):
        folder.mkdir(parents=True, exist_ok=True)
        _try(folder)


def check_writable(folder: Path, option: str = "--output", remedy: str = "") -> None:
    """Like `make_folder`, but make nothing: where the folder is not there, the next one above it must be writable.

    Raises:
        UserError: Nothing can be written there.
    """
    with _refused(folder, option, remedy):
        _try(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()))


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextlib.contextmanager
def _refused(folder: Path, option: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{option} {folder}: not a folder that can be written ({error.strerror}).{f' {remedy}' if remedy else ''}"
        ) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explain(error: OSError, path: Path | str) -> WorkError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkError(
            f"{path}: the disk is full ({error.strerror}). Free some space and run the same command again; "
            "what is finished stays."
        )
    return WorkError(f"{path}: cannot be written ({error.strerror}). Check the folder and its permissions.")


def file_stem(name: str) -> str:
    """A name for a file without its suffix, or what tells it from others where it is too long for one."""
    encoded = name.encode()
    if len(encoded) <= _LONGEST_NAME:
        return name
    return f"{encoded[: _LONGEST_NAME - 13].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:12]}"
