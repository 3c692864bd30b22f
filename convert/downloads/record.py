"""What is known of a downloaded file: a small JSON beside it, so that nothing whole is fetched or read again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.cli import progress
from common.errors import WorkError
from common.files import write_json

SUFFIX = ".download.json"
"""Follows the whole name of the file that it is about."""

CHUNK = 2**20
_LONG = 2**28  # bytes that take long enough to be worth a progress bar


@dataclass(frozen=True)
class Record:
    """What was found when a file had come.

    Attributes:
        source: Where it is from.
        bytes: Its size.
        sha256: Its SHA-256 in hexadecimal digits; None where the checks were left out.
        checked: It was read through and found whole.
        modified_ns: Its time of modification, in nanoseconds of Unix time.
    """

    source: str
    bytes: int
    sha256: str | None
    checked: bool
    modified_ns: int


def record_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(path.name + SUFFIX)


def write_record(path: Path, source: str, sha256: str | None) -> None:
    """Write down that a file is there; `sha256` is None where it was not checked.

    Raises:
        WorkError: The disk is full or the folder cannot be written.
    """
    stat = path.stat()
    record = Record(source, stat.st_size, sha256, sha256 is not None, stat.st_mtime_ns)
    write_json(record_path(path), dataclasses.asdict(record))


def is_known(path: Path, *, verify: bool) -> bool:
    """Whether a file is there as its record says.

    A file of the same size that was modified since, as by copying it, is hashed and compared.

    Args:
        path: The file.
        verify: Only a file that was read through and found whole counts.
    """
    record = _read(record_path(path))
    if record is None or not path.is_file():
        return False
    stat = path.stat()
    if stat.st_size != record.bytes or (verify and not record.checked):
        return False
    if stat.st_mtime_ns == record.modified_ns:
        return True
    if record.sha256 is None or hexdigests(path, ["sha256"])["sha256"] != record.sha256:
        return False
    with contextlib.suppress(WorkError):  # a folder that is only to be read
        write_record(path, record.source, record.sha256)
    return True


def hexdigests(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """A file's digests by the algorithm's name, such as `sha256`, in one reading; with a progress bar where long."""
    # MD5 is compared with what a server says, against accidents and not against an attacker.
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    chunks: Iterable[bytes] = _chunks(path)
    size = path.stat().st_size
    if size > _LONG:
        chunks = progress(chunks, f"hashing {path.name}", math.ceil(size / CHUNK), unit="MiB")
    for chunk in chunks:
        for algorithm in hashes.values():
            algorithm.update(chunk)
    return {name: algorithm.hexdigest() for name, algorithm in hashes.items()}


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _read(path: Path) -> Record | None:
    """The record; None where there is none, or none of ours."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
