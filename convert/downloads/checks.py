"""Whether a downloaded file is whole and the one that was wanted: zips by their checksums, JSONs by their shape."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from common.cli import print_warning, progress
from common.errors import UnreadableError, WorkError
from common.paths import shown
from common.walking import escape
from common.zips import DAMAGED, read_member


class NotWholeError(Exception):
    """The file is not the one that was wanted; the message says what was found, without the file's name."""


class DamagedError(NotWholeError):
    """Bytes of it are missing or wrong: fetching it again helps."""


class Check(Protocol):
    """Looks into a file that has come, or that lies there.

    Every `check_...` here is one; that of a zip, once its content is named.
    """

    def __call__(self, path: Path, *, verify: bool) -> None:
        """Raise `NotWholeError` where the file is not the one that was wanted; `verify` reads all of it."""


def is_zip(path: Path) -> bool:
    """Whether there is a zip whose directory, which lies at its end, can be read: a download that broke off has none.

    Raises:
        WorkError: The disk fails.
    """
    try:
        with _opened(path):
            return True
    except (DamagedError, FileNotFoundError):
        return False


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise
    except (*DAMAGED, RuntimeError, IndexError) as error:
        _check_disk(path, error)
        raise DamagedError(f"not a readable zip ({error}); found {path.stat().st_size:,} bytes") from error


def _check_disk(path: Path, error: BaseException | None) -> None:
    """Tell a disk that fails from a file that is damaged, and that would be deleted."""
    while error is not None:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a place before the file
            raise WorkError(
                f"{shown(path)}: cannot be read ({error.strerror}). That is the fault of the disk or a permission, and "
                "the file may be whole: nothing was deleted. Check the disk and run the same command again."
            ) from error
        error = error.__cause__ or error.__context__  # zipfile takes it for a file that is no zip


def check_zip(path: Path, tables: Collection[str], pictures: Mapping[str, int], *, verify: bool) -> None:
    """Check a zip of tables and DICOMs.

    Args:
        path: The zip.
        tables: Names of files that must be in it, in whatever folder.
        pictures: How many `.dcm` files are expected below the folders of a name, or anywhere with the name "". Another
            count is a warning, since publishers do replace files, but none at all is an error.
        verify: Read every member and compare its checksum (CRC-32), behind a progress bar.

    Raises:
        NotWholeError: A table is missing, there are no pictures, or a member is encrypted, or compressed in a way that
            Python does not know.
        DamagedError: It is no zip, or a member is damaged.
        WorkError: The disk fails.
    """
    with _opened(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        _check_names(path, names, tables, pictures)
        if verify:
            for name in progress(names, "checking", unit="files"):
                _read_through(path, archive, name)


def _check_names(path: Path, names: Collection[str], tables: Collection[str], pictures: Mapping[str, int]) -> None:
    base = {name.rsplit("/", 1)[-1] for name in names}
    missing = [table for table in tables if not base & {table, f"{table}.zip", f"{table}.gz"}]
    if missing:
        tops = sorted({name.split("/", 1)[0] for name in names})
        raise NotWholeError(
            f"no {' and no '.join(missing)} in it; found {', '.join(tops[:5]) or 'nothing'}"
            + (f" and {len(tops) - 5} more" if len(tops) > 5 else "")
        )
    for folder, expected in pictures.items():
        found = sum(name.lower().endswith(".dcm") and (not folder or folder in name.split("/")[:-1]) for name in names)
        where = f"in {folder}" if folder else "in it"
        if not found:
            raise NotWholeError(f"no .dcm file {where}, expected {expected:,}")
        if found != expected:
            print_warning(f"{shown(path)}: {found:,} .dcm files {where}, expected {expected:,}")


def _read_through(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    try:
        read_member(archive, name)
    except UnreadableError as error:
        _check_disk(path, error.__cause__)
        kind = DamagedError if isinstance(error.__cause__, DAMAGED) else NotWholeError
        raise kind(f"its member {escape(name)}: {error}") from error


def check_mapping(path: Path, *, verify: bool = True) -> None:
    """Check RSNA's image-to-patient mapping: a list of records.

    Raises:
        NotWholeError: It is something else.
    """
    records = _json(path)
    keys = ("subset_img_id", "img_id")
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise NotWholeError(f"no list of records with {', '.join(keys)}")
    missing = [key for key in keys if key not in records[0]]
    if missing:
        raise NotWholeError(f"its records have no {', '.join(missing)}; found {', '.join(map(str, records[0]))}")


def check_annotations(path: Path, *, verify: bool = True) -> None:
    """Check an MD.ai export of annotations.

    Raises:
        NotWholeError: It is something else.
    """
    content = _json(path)
    missing = [key for key in ("labelGroups", "datasets") if not isinstance(content, dict) or key not in content]
    if missing:
        raise NotWholeError(f"no MD.ai export: no {' and no '.join(missing)} in it")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        _check_disk(path, error)
        raise DamagedError(f"not a readable JSON file ({error}); found {path.stat().st_size:,} bytes") from error
