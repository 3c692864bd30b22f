"""Raw data as it arrived: a folder, or a zip that is read without extracting it."""

from __future__ import annotations

import functools
import io
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from common.errors import UnreadableError, UserError
from common.files import read_regular
from common.walking import files_below, path_of
from common.zips import describe, read_member
from convert.sources.tables import LINE, read_table


class Source(ABC):
    """Named files, wherever they lie. Can be pickled: worker processes open their own handles.

    Attributes:
        path: The folder or the zip.
        names: All files, as sorted paths with `/` relative to `path`.
    """

    path: Path
    names: list[str]

    def __getstate__(self) -> dict[str, object]:
        # Worker processes read single files by name; the list of all names would travel with every piece of work.
        return {**self.__dict__, "names": []}

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            UnreadableError: It cannot be read; the message says why in one line.
        """

    def read_whole(self, name: str) -> bytes:
        """The content of a file that the source cannot do without, such as a table.

        Raises:
            UserError: It cannot be read.
        """
        try:
            return self.read(name)
        except UnreadableError as error:
            raise UserError(f"{self.path}/{name}: cannot be read: {error}. Get the file anew.") from error

    def find(self, basename: str) -> list[str]:
        """The files of this name, in whatever folder of the source."""
        return [name for name in self.names if name.rsplit("/", 1)[-1] == basename]

    def below(self, folder: str, suffix: str) -> dict[str, str]:
        """The files of every folder called `folder`, at any depth, that end with `suffix`: name without it -> path."""
        found: dict[str, str] = {}
        for name in self.names:
            parent, _, basename = name.rpartition("/")
            if basename.lower().endswith(suffix) and parent.rsplit("/", 1)[-1] == folder:
                found[basename[: -len(suffix)]] = name
        return found

    def by_stem(self, suffixes: Collection[str], folder: str = "") -> dict[str, list[str]]:
        """The files with these endings, by their name without it: one path, or several of the same name.

        Args:
            suffixes: Endings in lower case, such as `.dcm`. Files that start with a dot, as macOS leaves them, do not
                count.
            folder: Only files with a folder of this name above them, at any depth.
        """
        found: dict[str, list[str]] = {}
        for name in self.names:
            *parents, basename = name.split("/")
            stem, dot, suffix = basename.rpartition(".")
            if stem and f"{dot}{suffix}".lower() in suffixes and (not folder or folder in parents):
                found.setdefault(stem, []).append(name)
        return {stem: names for stem, names in found.items() if stem[0] != "."}

    def table(self, basename: str, columns: list[str], remedy: str) -> pd.DataFrame:
        """Read a CSV as `tables.read_table` does, plus the column `tables.LINE`: the line in the file.

        The file may also be there as `.csv.zip` or `.csv.gz`, as download tools leave it. Lines with nothing in the
        columns that must be there are left out.

        Args:
            basename: The file's name, such as `stage_2_train_labels.csv`.
            columns: Columns that must be there.
            remedy: What to do when the file is missing; ends the error.

        Raises:
            UserError: The file is missing, there more than once, empty, no CSV, or lacks a column.
        """
        found = [name for ending in ("", ".zip", ".gz") for name in self.find(basename + ending)]
        if not found:
            raise UserError(f"{self.path}: no {basename} in it ({self._has()}). {remedy}")
        if len(found) > 1:
            raise UserError(f"{self.path}: {basename} is there {len(found)} times: {', '.join(found)}. Keep one.")
        where = f"{self.path}/{found[0]}"
        try:
            frame = read_table(unpack(self.read_whole(found[0]), found[0]))
        except (ValueError, UnreadableError) as error:  # pandas's errors are ValueErrors
            raise UserError(f"{where}: not a readable CSV ({error}). Expected columns {', '.join(columns)}.") from error
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise UserError(
                f"{where}: no column {', '.join(missing)}; found {', '.join(map(str, frame.columns[:8]))}; "
                f"expected {', '.join(columns)}. Is it the right file, comma-separated, with its header line?"
            )
        # An empty line says nothing, rightly or wrongly.
        blank = (frame[columns or frame.columns] == "").all(axis=1)
        frame[LINE] = frame.index
        return frame[~blank].reset_index(drop=True)

    def _has(self) -> str:
        if not self.names:
            return "it is empty"
        tops = sorted({name.split("/", 1)[0] for name in self.names})
        return "found " + ", ".join(tops[:5]) + (f" and {len(tops) - 5} more" if len(tops) > 5 else "")


class FolderSource(Source):
    """The files below a folder; see `walking.files_below`."""

    def __init__(self, path: Path, *, deep: bool = True) -> None:
        """Find the files.

        Args:
            path: The folder.
            deep: Look into its subfolders, too.
        """
        self.path = path
        self._root = os.fspath(path)
        self.names = files_below(path, deep=deep)

    def read(self, name: str) -> bytes:
        """The content of one file; see `Source.read`."""
        return read_regular(path_of(self._root, name))


class ZipSource(Source):
    """The members of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.names = sorted(name for name in _opened_zip(path).namelist() if not name.endswith("/"))
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{path}: not a readable zip ({error}); found {path.stat().st_size:,} bytes. "
                "A download that broke off looks like this: download it again."
            ) from error

    def read(self, name: str) -> bytes:
        """The content of one member, checked against its checksum; see `Source.read`."""
        try:
            archive = _opened_zip(self.path)
        except (zipfile.BadZipFile, OSError) as error:  # a worker opens it anew, and it may have gone meanwhile
            raise UnreadableError(f"the zip cannot be opened ({describe(error)})") from error
        return read_member(archive, name)


@functools.lru_cache(maxsize=2)
def _opened_zip(path: Path) -> zipfile.ZipFile:
    """One handle per zip and process: reading the directory of 30,000 members takes a good part of a second."""
    return zipfile.ZipFile(path)


def open_source(path: Path) -> Source:
    """Open a folder or a zip.

    Raises:
        UserError: There is nothing, or something else.
    """
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return ZipSource(path)
    raise UserError(f"{path}: no such folder or zip.")


def unpack(data: bytes, name: str) -> bytes:
    """The content of a file that may be packed, as download tools leave it.

    Args:
        data: The file's.
        name: The file's; only `.zip`, with one member, and `.gz` are packed.

    Raises:
        UnreadableError: It is damaged, or cannot be unpacked.
        ValueError: The zip holds several files, or none.
    """
    if name.endswith(".zip"):
        try:
            inner = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile as error:
            raise UnreadableError(f"not a readable zip ({error})") from error
        with inner:
            members = [member for member in inner.namelist() if not member.endswith("/")]
            if len(members) != 1:
                raise ValueError(f"expected one file in the zip, found {len(members)}")
            return read_member(inner, members[0])
    if name.endswith(".gz"):
        import gzip

        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableError(f"damaged .gz ({describe(error)})") from error
    return data
