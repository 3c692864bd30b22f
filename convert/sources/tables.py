"""The one reader of tables that others made: the bytes of a CSV, in whatever encoding, to text."""

from __future__ import annotations

import io
import math

import pandas as pd

LINE = " line"
"""The column of a source's tables that holds the line in the file, the header being 1. No column of theirs can be
called so, since their names are stripped."""


def read_table(data: bytes) -> pd.DataFrame:
    """Read a CSV, all columns as text. What is empty is an empty text; lines that are wholly empty are left out.

    Args:
        data: The whole file; its encoding see `decode`.

    Returns:
        Column names are stripped; the index is the line in the file, the header being 1.

    Raises:
        ValueError: It is no CSV, or empty; pandas's errors are of this kind.
    """
    text = io.StringIO(decode(data))
    table = pd.read_csv(text, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False)
    table.columns = table.columns.astype(str).str.strip()
    table.index = pd.RangeIndex(2, len(table) + 2)
    return table[(table != "").any(axis=1)]


def first_fields(data: bytes) -> list[str]:
    """The first field of every line, stripped, where lines may or may not be a CSV's.

    Raises:
        UnicodeDecodeError: It starts as UTF-16 and is not.
    """
    return [line.split(",")[0].strip().strip('"') for line in decode(data).splitlines()]


def decode(data: bytes) -> str:
    """The text of a table: UTF-8 with or without a byte order mark, UTF-16 with one, else Latin-1.

    Raises:
        UnicodeDecodeError: It starts as UTF-16 and is not.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def is_given(value: object) -> bool:
    """Whether a cell says something: tables write in many ways that it does not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return str(value).strip().lower() not in ("", "nan", "none", "null", "na", "n/a")
