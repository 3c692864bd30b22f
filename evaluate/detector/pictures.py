"""Pictures and DICOM files wherever they lie: single files, folders, zips that are read without extracting."""

from __future__ import annotations

import dataclasses
import functools
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from common.data.data_set import find_root
from common.data.data_yaml import PICTURE_SUFFIXES
from common.data.tables import read_manifest
from common.errors import UnreadableError, UserError
from common.paths import shown
from common.zips import read_member
from evaluate.detector.inference import DICOM_SUFFIXES, Picture, is_dicom

_ACCEPTED = f"DICOM ({', '.join(DICOM_SUFFIXES)} or without suffix) or pictures ({', '.join(PICTURE_SUFFIXES)})"
_HEAD = 132


def find_pictures(sources: Sequence[Path], only: str = "") -> list[Picture]:
    """Collect what can be predicted on, sorted by image id (the file's name without its suffix).

    In folders and zips, which are searched to their depth, files of other kinds and hidden ones are passed over. A
    file that is named itself is taken whatever its suffix.

    Args:
        sources: Files, folders and zips.
        only: Take only files whose path below the folder or in the zip contains this text.

    Returns:
        The pictures; nothing is read yet but the heads of files without suffix.

    Raises:
        UserError: A source does not exist, a zip is broken, nothing is found, or two files give the same image id.
    """
    found: dict[str, Picture] = {}
    for source in sources:
        for below, picture in _open(source):
            if only not in below:
                continue
            if picture.image_id in found:
                raise UserError(
                    f"image id {picture.image_id} twice: {found[picture.image_id].name} and {picture.name}. A file's "
                    "name is its image id and must be unique: name fewer sources, choose with --only, or rename one."
                )
            found[picture.image_id] = picture
    if not found:
        places = ", ".join(shown(source) for source in sources)
        chosen = f" with {only!r} in their path" if only else ""
        raise UserError(f"{places}: no files to predict on{chosen}; expected {_ACCEPTED}.")
    return [found[image_id] for image_id in sorted(found)]


def with_original_sizes(pictures: Sequence[Picture]) -> list[Picture]:
    """Add the original image's size to pictures that a converted data set holds, which may be stored smaller."""
    sizes: dict[Path, dict[str, tuple[float, float]]] = {}
    sized = []
    for picture in pictures:
        folder = Path(picture.name).parent  # within a zip there is no such folder
        if folder not in sizes:
            root = find_root(folder.resolve()) if folder.is_dir() else None
            table = read_manifest(root / "manifest.csv").dropna(subset=["width", "height"]) if root else None
            sizes[folder] = {}
            if table is not None:
                pairs = table[["width", "height"]].itertuples(index=False, name=None)
                sizes[folder] = dict(zip(table["image_id"], pairs, strict=True))
        sized.append(dataclasses.replace(picture, size=sizes[folder].get(picture.image_id)))
    return sized


def image_id_of(name: str) -> str:
    """The file's name without a suffix that is known: a DICOM UID's last number is no suffix."""
    path = PurePosixPath(name.replace(os.sep, "/"))
    return path.stem if path.suffix.lower() in (*PICTURE_SUFFIXES, *DICOM_SUFFIXES) else path.name


def _open(source: Path) -> Iterator[tuple[str, Picture]]:
    """The pictures of a source, each with its path below it."""
    if source.is_dir():
        return _in_folder(source)
    if not source.is_file():
        raise UserError(f"{source}: no such file or folder; expected {_ACCEPTED}, a folder or a zip of these.")
    if source.suffix.lower() == ".zip":
        return _in_zip(source)
    return iter([(source.name, Picture(image_id_of(source.name), shown(source), source.read_bytes))])


def _in_folder(folder: Path) -> Iterator[tuple[str, Picture]]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if _accepts(name, functools.partial(_head_of, path)):
                yield path.relative_to(folder).as_posix(), Picture(image_id_of(name), shown(path), path.read_bytes)


def _in_zip(path: Path) -> Iterator[tuple[str, Picture]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path}: not a readable zip ({error}); found {path.stat().st_size:,} bytes. "
            "A download that broke off looks like this: download it again."
        ) from error
    for member in archive.infolist():
        name = PurePosixPath(member.filename)
        hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
        if not member.is_dir() and not hidden and _accepts(name.name, functools.partial(_member_head, archive, member)):
            read = functools.partial(read_member, archive, member)
            yield str(name), Picture(image_id_of(name.name), f"{shown(path)}/{name}", read)


def _accepts(name: str, head: Callable[[], bytes]) -> bool:
    if name.startswith("."):
        return False
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICTURE_SUFFIXES or suffix in DICOM_SUFFIXES:
        return True
    # No suffix, or the end of a UID: DICOM files from an archive are often named so.
    return not suffix.strip(".0123456789") and is_dicom(name, head())


def _head_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _member_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return read_member(archive, member, _HEAD)
    except UnreadableError:
        return b""
