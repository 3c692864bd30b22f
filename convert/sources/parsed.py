"""What a source's parser hands over, and what all of them do alike to make it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.csv_files import LINE, first_fields
from common.errors import UnreadableError, UserError
from convert.pictures import age_years
from convert.sources.boxes import REJECTED_COLUMNS
from convert.sources.files import Source, read_named, unpack
from convert.sources.places import SAMPLE_MARKER

_ID_COLUMNS = ("patientid", "image_id")
"""How a list of ids may be headed, in whatever capitals."""


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
        details: See `details_of`; with more columns of `plan.DETAILS` where a source knows them.
        shapes: Width and height in pixels of the picture that an image's boxes were drawn on, where the source says so.
        other_reading: The option that reads the boxes the other way: as corners instead of sizes, or the reverse.
        fixed: Image ids of the splits that the source itself fixes; `--val-ids`, `--test-ids`,
            `--val 1` and `--test 1` come before them.
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
    other_reading: str = ""
    fixed: Mapping[str, Sequence[str]] = field(default_factory=dict)


def digest(data: bytes) -> str:
    """A short name for a content: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def table_digest(table: pd.DataFrame) -> str:
    """The digest of a source's table as it was read; its line numbers count, under the name that they have there."""
    return digest(table.rename(columns={LINE: "row"}).to_csv(index=False).encode())


def is_synthetic(source: Source) -> bool:
    """Whether a program drew the pictures: `places.SAMPLE_MARKER` lies beside them."""
    return bool(source.find(SAMPLE_MARKER))


def with_file(boxes: pd.DataFrame, files: Collection[str]) -> pd.DataFrame:
    """The rows of a boxes table whose image has a file."""
    return boxes[boxes["image_id"].isin(files)].reset_index(drop=True)


def rejected_images(images: Iterable[tuple[str, str, str]]) -> pd.DataFrame:
    """What speaks against whole images, as rows of `Parsed.rejected`.

    Args:
        images: Image id, what says so (a table or a picture of the source), and the reason.
    """
    rows = [(image_id, source, pd.NA, reason) for image_id, source, reason in images]
    return pd.DataFrame(rows, columns=REJECTED_COLUMNS, dtype=object)


def all_rejected(*tables: pd.DataFrame) -> pd.DataFrame:
    """Tables of what was rejected, one below the other; each has `REJECTED_COLUMNS`."""
    return pd.concat([table[REJECTED_COLUMNS].astype(object) for table in tables], ignore_index=True)


def details_of(view: pd.Series, sex: pd.Series, age: pd.Series) -> pd.DataFrame:
    """What a source's table knows of its images besides their boxes.

    Args:
        view: Text by image id, such as `PA`, in any case; empty where it is not known.
        sex: Likewise; what is not `M`, `F` or `O` is not known.
        age: Likewise, as DICOM writes ages.

    Returns:
        `view` and `sex` in capitals or None, `age` in completed years (nullable integer); by image id.
    """
    view, sex = view.str.strip().str.upper(), sex.str.strip().str.upper()
    return pd.DataFrame(
        {
            "view": view.where(view != "", None),
            "sex": sex.where(sex.isin(["M", "F", "O"]), None),
            "age": pd.array([age_years(text.strip()) for text in age], dtype="Int64"),
        },
        index=view.index,
    )


def stated_shapes(widths: pd.Series, heights: pd.Series) -> dict[str, tuple[int, int]]:
    """Width and height in pixels by image id, where a table says both; see `Parsed.shapes`.

    Args:
        widths: By image id, numbers or text; an image may be there several times.
        heights: Likewise; the same index.
    """
    sizes = pd.DataFrame({"width": widths, "height": heights}).apply(pd.to_numeric, errors="coerce")
    known = sizes[((sizes >= 1) & (sizes < 1e6)).all(axis=1)]
    return {str(key): (int(width), int(height)) for key, width, height in known.itertuples(name=None)}


def read_file(path: Path) -> bytes:
    """The content of a file that the user named, unpacked when it ends with `.gz`.

    Raises:
        UserError: It cannot be read.
    """
    data = read_named(path)
    try:
        return unpack(data, path.name) if path.suffix == ".gz" else data
    except UnreadableError as error:
        raise UserError(f"{path}: cannot be read ({error}). Check the path.") from error


def read_ids(path: Path) -> list[str]:
    """The image ids in a file: one a line, or the first column of a CSV.

    Raises:
        UserError: It cannot be read.
    """
    try:
        ids = first_fields(read_file(path))
    except ValueError as error:
        raise UserError(f"{path}: not readable as text ({error}). Expected image ids, one a line, or a CSV.") from error
    return list(dict.fromkeys(image_id for image_id in ids if image_id and image_id.lower() not in _ID_COLUMNS))
