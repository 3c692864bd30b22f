"""What a source's parser hands over, and how it reads the files that a user names beside the source."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from common.errors import UserError
from convert.sources.files import Source


@dataclass(frozen=True)
class Parsed:
    """What a source's parser found.

    Attributes:
        source: Where the files are.
        boxes: The valid boxes table, of images that have a file.
        rejected: Columns `image_id, source, row, reason`.
        files: Image id -> file in the source.
        challenge_files: The same for images without a known truth.
        patients: Patient id by image id where it is known, else None.
        class_names: The boxes' labels by class index.
        fingerprint: What the source is, as JSON values; part of the settings that a resumed conversion must match.
        details: See `conversion.Plan`.
        shapes: See `conversion.Plan`.
        fixed: Image ids of the splits that the source itself fixes; `--val-ids` and `--test-ids` come before them.
    """

    source: Source
    boxes: pd.DataFrame
    rejected: pd.DataFrame
    files: Mapping[str, str]
    class_names: list[str]
    challenge_files: Mapping[str, str] = field(default_factory=dict)
    patients: pd.Series | None = None
    fingerprint: dict[str, Any] = field(default_factory=dict)
    details: pd.DataFrame | None = None
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fixed: Mapping[str, Sequence[str]] = field(default_factory=dict)


def digest(data: bytes) -> str:
    """A short name for a content: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_file(path: Path) -> bytes:
    """The content of a file that the user named, unpacked when it ends with `.gz`.

    Raises:
        UserError: It cannot be read.
    """
    try:
        data = path.expanduser().read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error


def read_ids(path: Path) -> list[str]:
    """The image ids in a file: one a line, or the first column of a CSV.

    Raises:
        UserError: It cannot be read.
    """
    text = read_file(path).decode("utf-8-sig", errors="replace")
    ids = [line.split(",")[0].strip().strip('"') for line in text.splitlines()]
    return list(dict.fromkeys(image_id for image_id in ids if image_id and image_id not in ("patientId", "image_id")))
