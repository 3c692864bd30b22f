"""Files that are either absent or whole, whenever the process dies."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from common.errors import WorkError

PART = ".part"
"""Suffix of a file that is being written; one left over is rubbish of a killed process."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that no reader ever sees half of it.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text that is stored as UTF-8 with the newlines it has.

    Raises:
        WorkError: The disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    part = f"{path}{PART}"
    try:
        # Unbuffered: the whole content goes in one write, and most callers write thousands of files.
        with open(part, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.replace(part, path)
    except OSError as error:
        try:
            os.unlink(part)
        except OSError:
            pass
        raise _explain(error, path) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; see `write_atomic`. NaN is refused: JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _explain(error: OSError, path: Path) -> WorkError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkError(
            f"{path}: the disk is full ({error.strerror}). Free some space and run the same command again; "
            "what is finished stays."
        )
    return WorkError(f"{path}: cannot be written ({error.strerror}). Check the folder and its permissions.")
