"""The one reader of tables, whoever made them: the bytes of a CSV to columns of text; and the one writer of ours.

Spreadsheets write what they call CSV in many ways. Read are UTF-8 and UTF-16 with or without a mark, and Latin-1; the
delimiters `,`, `;` and tab, whichever the header has most of; where it is not the comma, decimal commas; any ends of
lines. What cannot be told for sure, such as a row of more fields than the header has, is an error with its line.

A cell that a spreadsheet would take for a formula, as foreign text may be, is written with an apostrophe before it,
which spreadsheets take for "this is text"; the reader takes it off again.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import write_atomic
from common.walking import escape

_DELIMITERS = (",", ";", "\t")
_IN_A_FIELD = {",": "a comma, perhaps a decimal one,", ";": "a semicolon", "\t": "a tab"}
_QUOTED = re.compile(r'"[^"]*"')
_SAYS_DELIMITER = re.compile(rb"[ \t]*\"?sep=([,;\t])\"?[ \t]*\n", re.IGNORECASE)
_BLANK_LINES = re.compile(rb"(?:[ \t]*\n)+")
_BLANKS = tuple(bytes([code]) for code in (*range(0x1C, 0x21), 0x09, 0x0B, 0x0C, ord('"')))
"""What cells may have around them, or hold at their ends between quotation marks; beyond ASCII there is more."""
_LINE_BREAK = re.compile(r"[ \t]*\n\s*")
_NUMBER = r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?"
_NUMBERS = rf"{_NUMBER}(?:[ \\]+{_NUMBER})*"
_END = "\0"
"""A line of its own after the last one, if no quotation mark is left open; `_normal` text has no such sign."""
_FORMULA = re.compile(r"'*(?:[=@]|[+-][^(|!]*[(|!])")  # a number, or an id with a hyphen before it, is none
_WRITTEN_FORMULA = re.compile(f"^'({_FORMULA.pattern})")
_MAY_CHANGE = r"(?m)^['=@+-]|[^\n -~]"
"""What a harmless text does not have."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
NOTHING = ("", "nan", "none", "null", "na", "n/a")
"""How tables write, in any capitals, that a cell says nothing."""
LINE = " line"
"""A column that a reader adds: the line in the file, the first being 1. None of the file's own can be called so, since
their names are stripped."""


def read_csv(data: bytes, names: Collection[str] = ()) -> pd.DataFrame:
    """Read a CSV, all columns as text. What is empty is an empty text; lines that are wholly empty are left out.

    Args:
        data: The whole file.
        names: Columns that the caller asks for, if they are there: one that the header has in other capitals gets the
            name given here. A row may be shorter than the header where it lacks none of them; without names it may not.

    Returns:
        Cells and column names are stripped; the index is the line in the file, the first being 1. A column without a
        name is `Unnamed: 2`, by its place; a name that is there again has `.1` after it.

    Raises:
        ValueError: It is no CSV, or empty; a row is longer than the header, or too short; a name that is asked for is
            there more than once. The message has the line.
    """
    raw = _normal(data)
    if b"\0" in raw:
        raise ValueError("it holds NUL bytes, so it is no text")
    start, delimiter = 0, ""
    if said := _SAYS_DELIMITER.match(raw):  # Excel's own first line
        start, delimiter = said.end(), said[1].decode("latin-1")
    if blank := _BLANK_LINES.match(raw, start):
        start = blank.end()
    if not raw[start:].strip():
        raise ValueError("it is empty")
    delimiter = delimiter or _delimiter(raw[start:].split(b"\n", 1)[0].decode())

    rows = _Rows(raw, start, delimiter)
    header = [_LINE_BREAK.sub(" ", field.strip()) for field in rows.header]
    columns = _columns(header, names)
    asked = [place for place, name in enumerate(columns) if name in names] if names else range(len(columns))
    table = rows.read(len(columns), 1 + max(asked, default=0))
    table.columns = pd.Index(columns)
    if not raw.isascii() or any(blank in raw for blank in _BLANKS):
        table = table.apply(lambda column: column.str.strip())
    if delimiter != ",":
        table = table.apply(_with_points)
    if b"'" in raw:
        table = table.apply(lambda column: column.str.replace(_WRITTEN_FORMULA, r"\1", regex=True))
    return table[(table != "").any(axis=1)]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table of ours, atomically: UTF-8, commas, one header line, no index; see the module about formulas.

    Control characters but the end of a line, and what UTF-8 has not, are escaped as in names of files.

    Raises:
        WorkError: See `write_atomic`.
    """
    safe = table.copy(deep=False)
    for name in table.columns:
        column = table[name]
        if pd.api.types.is_string_dtype(column) or column.dtype == object:
            # Nearly every column is harmless, which pandas sees at once where it holds nothing but texts.
            if column.dtype != object and not column.str.contains(_MAY_CHANGE).any():
                continue
            texts = [value for value in column.dropna().unique().tolist() if isinstance(value, str)]
            changed = {text: written for text in texts if (written := _as_written(text)) != text}
            if changed:
                safe[name] = column.astype(object).map(lambda value, changed=changed: changed.get(value, value))
    write_atomic(path, safe.to_csv(index=False, lineterminator="\n"))


def _as_written(text: str) -> str:
    if not text.isprintable():
        text = _UNPRINTABLE.sub(lambda found: escape(found[0]), text)
    return f"'{text}" if _FORMULA.match(text) else text


def first_fields(data: bytes) -> list[str]:
    """The first field of every line, stripped, where lines may or may not be a CSV's.

    Raises:
        ValueError: It is no text.
    """
    lines = decode(data).splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = _delimiter(first)
    return [line.split(delimiter)[0].strip().strip('"').strip() for line in lines]


def decode(data: bytes) -> str:
    """The text of a table: UTF-8 with or without a byte order mark, UTF-16 likewise, else Latin-1.

    Raises:
        UnicodeDecodeError: It starts as UTF-16 and is not.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if len(data) % 2 == 0 and data[1:2] == b"\0" != data[:1]:
        return data.decode("utf-16-le")
    if len(data) % 2 == 0 and data[:1] == b"\0" != data[1:2]:
        return data.decode("utf-16-be")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _normal(data: bytes) -> bytes:
    """In UTF-8 without a mark, and lines end as on Linux."""
    if data.isascii() and b"\r" not in data and b"\0" not in data:
        return data
    return decode(data).replace("\r\n", "\n").replace("\r", "\n").encode()


class _Rows:
    """The records of a CSV, header included."""

    def __init__(self, raw: bytes, start: int, delimiter: str) -> None:
        self._raw, self._delimiter = raw, delimiter
        self._first_line = 1 + raw.count(b"\n", 0, start)
        self._start = start
        records = self._records()
        self.header = next(records)[1]

    def read(self, width: int, fewest: int) -> pd.DataFrame:
        """All rows below the header, in as many columns; the index is the line.

        Args:
            width: How many fields a row has.
            fewest: How many it has at least.
        """
        regular = self._lines_if_regular(width)
        if regular is not None:
            start, lines = regular
            body = io.BytesIO(self._raw)
            body.seek(start)
            table = pd.DataFrame(columns=range(width), dtype=str)
            if len(lines):
                table = pd.read_csv(
                    body, sep=self._delimiter, header=None, names=list(range(width)), dtype=str, na_filter=False,
                    skip_blank_lines=False, skipinitialspace=True, index_col=False, encoding="utf-8",
                )  # fmt: skip
            if len(table) == len(lines):
                return table.set_index(pd.Index(lines))
        return self._read_slowly(width, fewest)

    def _read_slowly(self, width: int, fewest: int) -> pd.DataFrame:
        rows: list[list[str]] = []
        numbers: list[int] = []
        records = self._records()
        next(records)
        for number, row in records:
            if not any(map(str.strip, row)):
                continue
            if any(map(str.strip, row[width:])) or len(row) < fewest:
                why = (
                    "is something missing?"
                    if len(row) < fewest
                    else f"is there {_IN_A_FIELD[self._delimiter]} in a field without quotation marks?"
                )
                raise ValueError(f"line {number} has {len(row)} fields, the header {width}: {why}")
            rows.append((row + [""] * width)[:width])
            numbers.append(number)
        return pd.DataFrame(rows, columns=range(width), index=pd.Index(numbers, dtype=np.int64), dtype=str)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Line of its start and fields of each record; slow, and right whatever there is between quotation marks."""
        text = io.TextIOWrapper(io.BytesIO(self._raw), "utf-8", newline="\n")
        text.seek(self._start)
        whole = itertools.chain(text, ("\n", _END))
        reader = csv.reader(whole, delimiter=self._delimiter, skipinitialspace=True)
        limit = csv.field_size_limit(max(len(self._raw), 1 << 17))
        line = 0
        try:
            for row in reader:
                if row == [_END]:
                    return
                if row[-1:] and row[-1].endswith(_END):
                    raise ValueError(f"line {self._first_line + line} has a quotation mark that nothing closes")
                yield self._first_line + line, row
                line = reader.line_num
        except csv.Error as error:
            raise ValueError(f"line {self._first_line + line}: {error}") from error
        finally:
            csv.field_size_limit(limit)

    def _lines_if_regular(self, width: int) -> tuple[int, np.ndarray] | None:
        """Where the records below the header start, and their lines, if all have as many fields or are empty."""
        raw = np.frombuffer(self._raw, np.uint8, offset=self._start)
        newline, delimiter = raw == ord("\n"), raw == ord(self._delimiter)
        lines = np.flatnonzero(newline)
        if b'"' in self._raw:
            inside = np.logical_xor.accumulate(raw == ord('"'))
            if inside[-1] or not self._are_usual(np.flatnonzero(raw == ord('"')), raw):
                return None
            newline &= ~inside
            delimiter &= ~inside
        ends = np.flatnonzero(newline)
        if not newline[-1]:
            ends = np.append(ends, len(raw))
        fields = np.diff(np.searchsorted(np.flatnonzero(delimiter), ends), prepend=0) + 1
        lengths = np.diff(ends, prepend=-1) - 1
        if ((fields != width) & (lengths > 0)).any():
            return None
        starts = ends[:-1] + 1
        return self._start + int(ends[0]) + 1, self._first_line + np.searchsorted(lines, starts)

    def _are_usual(self, quotes: np.ndarray, raw: np.ndarray) -> bool:
        """Whether each quotation mark opens or closes a whole field, or is doubled in one."""
        neighbours = [ord(sign) for sign in (self._delimiter, "\n", '"')]
        before, after = quotes[::2] - 1, quotes[1::2] + 1
        return bool(
            np.isin(raw[before[before >= 0]], neighbours).all()
            and np.isin(raw[after[after < len(raw)]], neighbours).all()
        )


def _delimiter(header: str) -> str:
    """What the header has most of, outside quotation marks."""
    bare = _QUOTED.sub("", header)
    return max(_DELIMITERS, key=bare.count)


def _columns(header: list[str], names: Collection[str]) -> list[str]:
    """The columns' names, in the caller's spelling where it asks for one.

    Raises:
        ValueError: Two could be the one that is asked for.
    """
    columns = list(header)
    for name in names:
        found = [place for place, own in enumerate(header) if own == name]
        if not found:
            same = name.casefold()
            found = [place for place, own in enumerate(header) if own.casefold() == same and own not in names]
        if len(found) > 1:
            spelled = " and ".join(header[place] for place in found)
            raise ValueError(f"the column {name} is there {len(found)} times: {spelled}; keep one")
        if found:
            columns[found[0]] = name
    seen: dict[str, int] = {}
    for place, name in enumerate(columns):
        name = name or f"Unnamed: {place}"
        seen[name] = seen.get(name, -1) + 1
        columns[place] = f"{name}.{seen[name]}" if seen[name] else name
    return columns


def _with_points(column: pd.Series) -> pd.Series:
    """A column of numbers with decimal commas as one with points; any other as it is."""
    given = column[~column.str.lower().isin(NOTHING)]
    if given.str.contains(",", regex=False).any() and given.str.fullmatch(_NUMBERS).all():
        return column.str.replace(",", ".", regex=False)
    return column
