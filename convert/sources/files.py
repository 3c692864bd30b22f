"""Raw data as it arrived: a folder, or a zip that is read without extracting it."""

from __future__ import annotations

import functools
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from common.data.csv_files import LINE, read_csv
from common.errors import UnreadableError, UserError
from common.files import MOST_OF_A_PICTURE, MOST_OF_A_TABLE, read_regular
from common.walking import files_below, path_of
from common.zips import Archive, unpack_gzip


class Source(ABC):
    """Named files, wherever they lie. Can be pickled: worker processes open their own handles.

    Attributes:
        path: The folder or the zip.
        names: All files, as sorted paths with `/` relative to `path`.
    """

    path: Path
    names: list[str]
    _inner: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, object]:
        # Worker processes read single files by name; the list of all names would travel with every piece of work.
        return {**self.__dict__, "names": []}

    def read(self, name: str, limit: int = MOST_OF_A_PICTURE) -> bytes:
        """The content of one file.

        Args:
            name: One of `names`.
            limit: Refuse a file of more bytes than this.

        Raises:
            UnreadableError: It cannot be read; the message says why in one line.
        """
        return self._read_from(name, limit, -1)

    def read_head(self, name: str, most: int) -> bytes:
        """The first bytes of one file; see `read`. Of a zip's member they are not compared with its checksum.

        Args:
            name: One of `names`.
            most: How many bytes, at most.
        """
        return self._read_from(name, MOST_OF_A_PICTURE, most)

    def _read_from(self, name: str, limit: int, most: int) -> bytes:
        inner = self._inner_of(name)
        if inner:
            return _opened_inner(self.path, inner).read(name[len(inner) + 1 :], limit=limit, most=most)
        return self._read(name, limit, most)

    def _inner_of(self, name: str) -> str:
        """The zip in this source that a file lies in; empty where it lies in none."""
        return next((inner for inner in self._inner if name.startswith(f"{inner}/")), "")

    @abstractmethod
    def container(self, name: str) -> Path:
        """The folder or the zip on the disk that a file lies in."""

    @abstractmethod
    def _read(self, name: str, limit: int, most: int) -> bytes: ...

    def read_whole(self, name: str) -> bytes:
        """The content of a file that the source cannot do without, such as a table.

        Raises:
            UserError: It cannot be read.
        """
        try:
            return self.read(name, MOST_OF_A_TABLE)
        except UnreadableError as error:
            raise UserError(f"{self.path}/{name}: cannot be read: {error}. Get the file anew.") from error

    def find(self, basename: str) -> list[str]:
        """The files of this name, in whatever folder of the source."""
        return [name for name in self.names if name.rsplit("/", 1)[-1] == basename]

    def below(self, folder: str, suffix: str) -> dict[str, str]:
        """The files of every folder called `folder`, at any depth, that end with `suffix`: name without it -> path.

        Where there is no such folder, a zip of its name takes its place, as the challenge's first release had it.

        Args:
            folder: The folder's name; empty takes all files.
            suffix: An ending in lower case, such as `.dcm`.

        Raises:
            UserError: Two files have the same name, or the zip cannot be read.
        """
        found = self._below(folder, suffix)
        if not found and folder:
            for inner in self.find(f"{folder}.zip"):
                self._enter_zip(inner)
            found = self._below(folder, suffix)
        return found

    def _below(self, folder: str, suffix: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.names:
            parent, _, basename = name.rpartition("/")
            if parent in self._inner:
                parent = parent.rpartition(".")[0]
            if not basename.lower().endswith(suffix) or (folder and parent.rsplit("/", 1)[-1] != folder):
                continue
            stem = basename[: -len(suffix)]
            if stem in found:
                raise UserError(
                    f"{self.path}: two files for the image {stem}: {found[stem]} and {name}. An image's name is its "
                    "id; keep one of the two."
                )
            found[stem] = name
        return found

    def _enter_zip(self, name: str) -> None:
        """List the files of a zip in this source, too."""
        if name in self._inner:
            return
        try:
            names = _opened_inner(self.path, name).names
        except UnreadableError as error:
            raise UserError(f"{self.path}/{name}: {error}.") from error
        self._inner += (name,)
        self.names = sorted([*self.names, *(f"{name}/{member}" for member in names)])

    def table(self, basename: str, columns: list[str], remedy: str, optional: Collection[str] = ()) -> pd.DataFrame:
        """Read a CSV; see `read_table`. The file may also be there as `.csv.zip` or `.csv.gz`, as downloads leave it.

        Args:
            basename: The file's name, such as `stage_2_train_labels.csv`.
            columns: Columns that must be there.
            remedy: What to do when the file is missing; ends the error.
            optional: Columns that may be there.

        Raises:
            UserError: The file is missing, there more than once, empty, no CSV, or lacks a column.
        """
        found = [name for ending in ("", ".zip", ".gz") for name in self.find(basename + ending)]
        if not found:
            raise UserError(f"{self.path}: no {basename} in it ({self._has()}). {remedy}")
        if len(found) > 1:
            raise UserError(f"{self.path}: {basename} is there {len(found)} times: {', '.join(found)}. Keep one.")
        where = f"{self.path}/{found[0]}"
        return read_table(self.read_whole(found[0]), found[0], where, columns, optional)

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

    def container(self, name: str) -> Path:
        """See `Source.container`."""
        inner = self._inner_of(name)
        return Path(path_of(self._root, inner)) if inner else Path(path_of(self._root, name)).parent

    def _read(self, name: str, limit: int, most: int) -> bytes:
        return read_regular(path_of(self._root, name), limit, most)


class ZipSource(Source):
    """The members of a zip; see `zips.Archive`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.names = _opened_zip(path).names
        except UnreadableError as error:
            raise UserError(
                f"{path}: {error}; found {path.stat().st_size:,} bytes. "
                "A download that broke off looks like this: download it again."
            ) from error

    def container(self, name: str) -> Path:
        """See `Source.container`."""
        return self.path

    def _read(self, name: str, limit: int, most: int) -> bytes:
        return _opened_zip(self.path).read(name, limit=limit, most=most)


@functools.lru_cache(maxsize=2)
def _opened_zip(path: Path) -> Archive:
    """One handle per zip and process: reading the directory of 30,000 members takes a good part of a second."""
    return Archive(path)


@functools.lru_cache(maxsize=4)
def _opened_inner(source: Path, name: str) -> Archive:
    """A zip in a source, which is itself a folder or a zip."""
    return Archive(Path(path_of(source, name))) if source.is_dir() else _opened_zip(source).open_inner(name)


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


def read_table(
    data: bytes, name: str, where: str, columns: Collection[str], optional: Collection[str] = ()
) -> pd.DataFrame:
    """Read a CSV as `csv_files.read_csv` does, plus the column `csv_files.LINE`: the line in the file.

    Lines with nothing in the columns that must be there are left out.

    Args:
        data: The file's content, packed or not; see `unpack`.
        name: The file's.
        where: What to call it in errors.
        columns: Columns that must be there, in whatever capitals; they are called so in the result.
        optional: Columns that get their name likewise where they are there.

    Raises:
        UserError: It is empty, no CSV, or lacks a column.
    """
    try:
        frame = read_csv(unpack(data, name), [*columns, *optional])
    except (ValueError, UnreadableError) as error:
        expected = f"Expected columns {', '.join(columns)}." if columns else "Expected a table with a header line."
        raise UserError(f"{where}: not a readable CSV ({error}). {expected}") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise UserError(
            f"{where}: no column {', '.join(missing)}; found {', '.join(map(str, frame.columns[:8]))[:200]}; "
            f"expected {', '.join(columns)}. Is it the right file, with its header line?"
        )
    # An empty line says nothing, rightly or wrongly.
    blank = (frame[[*columns] or frame.columns] == "").all(axis=1)
    frame[LINE] = frame.index
    return frame[~blank].reset_index(drop=True)


def read_named(path: Path) -> bytes:
    """The content of a file that the user named, as it is; `unpack` unpacks it.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return read_regular(path.expanduser(), MOST_OF_A_TABLE)
    except UnreadableError as error:
        raise UserError(f"{path}: cannot be read ({error}). Check the path.") from error


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
        inner = Archive(io.BytesIO(data))
        if len(inner.names) != 1:
            raise ValueError(f"expected one file in the zip, found {len(inner.names)}")
        return inner.read(inner.names[0], limit=MOST_OF_A_TABLE)
    if name.endswith(".gz"):
        return unpack_gzip(data, MOST_OF_A_TABLE)
    return data
