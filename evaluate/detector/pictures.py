"""Pictures and DICOM files wherever they lie: single files, folders, zips that are read without extracting.

An image id is the file's name without its suffix. Where several files would share one, as in exports of archives
(`PA0/ST0/SE0/IM000000` and `PA1/ST0/SE0/IM000000`), each of these gets the first of the following that no other has:
the path below the source (`PA0_ST0_SE0_IM000000`); the same with its suffix; the same after the source's name; the same
with a number.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cli import print_warning
from common.data.data_set import find_root
from common.data.data_yaml import PICTURE_SUFFIXES
from common.data.tables import read_manifest
from common.errors import UnreadableError, UserError
from common.files import read_regular
from common.paths import shown
from common.walking import escape, files_below, path_of
from common.zips import Archive
from evaluate.detector.loading import DICOM_SUFFIXES, Picture, is_dicom, stamp_of

_ACCEPTED = f"DICOM (any name) or pictures ({', '.join(PICTURE_SUFFIXES)})"
_SUFFIXES = frozenset((*PICTURE_SUFFIXES, *DICOM_SUFFIXES))
_HEAD = 132
_ZIP = ".zip"


@dataclass(frozen=True)
class _Found:
    """A file to predict on.

    Attributes:
        source: The name of the source it lies in, without suffix.
        below: Its path below the source; the name of a file that is a source itself.
        file: What tells whether two are the same file.
        picture: The picture; its image id is that of `below` alone.
    """

    source: str
    below: str
    file: tuple[str, str]
    picture: Picture


def find_pictures(sources: Sequence[Path], only: str = "") -> list[Picture]:
    """Collect what can be predicted on, sorted by image id; the module says how these are made.

    In folders, and zips in them, which are searched to their depth, files of other kinds and hidden ones are passed
    over; a file of any other suffix is taken if its content says DICOM. A file that is named itself is always taken. A
    file that is found twice counts once. It is said how many ids are not the files' names.

    Args:
        sources: Files, folders and zips.
        only: Take only files whose path below the folder or in the zip contains this text.

    Returns:
        The pictures; nothing is read yet but the heads of files whose suffix does not say what they are.

    Raises:
        UserError: A source does not exist, a zip is broken, or nothing is found.
    """
    found: dict[tuple[str, str], _Found] = {}
    for source in sources:
        for one in _open(source):
            if only in one.below:
                found.setdefault(one.file, one)
    if not found:
        places = ", ".join(shown(source) for source in sources)
        chosen = f" with {only!r} in their path" if only else ""
        raise UserError(f"{places}: no files to predict on{chosen}; expected {_ACCEPTED}.")
    every = list(found.values())
    ids = _image_ids(every)
    renamed = [(one, image_id) for one, image_id in zip(every, ids, strict=True) if image_id != one.picture.image_id]
    if renamed:
        one, image_id = renamed[0]
        print_warning(
            f"{len(renamed):,} of {len(every):,} files are not the only ones of their name; their image ids are taken "
            f"from their paths, such as {image_id} for {one.picture.name}"
        )
    named = [dataclasses.replace(one.picture, image_id=image_id) for one, image_id in zip(every, ids, strict=True)]
    return sorted(named, key=lambda picture: picture.image_id)


def with_originals(pictures: Sequence[Picture]) -> list[Picture]:
    """Add the original image's size and view to pictures that a converted data set holds.

    They may be stored smaller, and have no header.
    """
    known: dict[Path, dict[str, tuple[tuple[float, float], str]]] = {}
    sized = []
    for picture in pictures:
        if picture.path is None:  # in a zip
            sized.append(picture)
            continue
        folder = picture.path.parent
        if folder not in known:
            root = find_root(folder.resolve())
            table = read_manifest(root / "manifest.csv").dropna(subset=["width", "height"]) if root else None
            known[folder] = {}
            if table is not None:
                rows = table[["image_id", "width", "height", "view"]].itertuples(index=False, name=None)
                known[folder] = {image_id: ((width, height), view) for image_id, width, height, view in rows}
        size, view = known[folder].get(image_id_of(picture.path.name), (None, None))
        sized.append(dataclasses.replace(picture, size=size, view=view))
    return sized


def image_id_of(name: str) -> str:
    """The file's name without a suffix that is known: a DICOM UID's last number is no suffix.

    Args:
        name: The file's name, or its path with `/`.
    """
    basename = name.rsplit("/", 1)[-1]
    stem, dot, suffix = basename.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in _SUFFIXES else basename


def _image_ids(found: Sequence[_Found]) -> list[str]:
    """An id for each file, none twice; the module says which."""
    ids = [one.picture.image_id for one in found]
    for longer in (_path_without_suffix, _path, _path_in_source):
        shared = {image_id for image_id, count in Counter(ids).items() if count > 1}
        if not shared:
            return ids
        ids = [longer(one) if image_id in shared else image_id for one, image_id in zip(found, ids, strict=True)]
    taken, seen = set(ids), Counter[str]()
    for at, image_id in enumerate(ids):
        seen[image_id] += 1
        if seen[image_id] > 1:
            number = seen[image_id]
            while f"{image_id}_{number}" in taken:
                number += 1
            ids[at] = f"{image_id}_{number}"
            taken.add(ids[at])
    return ids


def _path_without_suffix(one: _Found) -> str:
    *folders, name = one.below.split("/")
    return "_".join([*folders, image_id_of(name)])


def _path(one: _Found) -> str:
    return one.below.replace("/", "_")


def _path_in_source(one: _Found) -> str:
    return f"{one.source}_{_path(one)}"


def _open(source: Path) -> Iterator[_Found]:
    """The files of a source."""
    if source.is_dir():
        return _in_folder(source)
    if not source.is_file():
        raise UserError(f"{shown(source)}: no such file or folder; expected {_ACCEPTED}, a folder or a zip of these.")
    if source.suffix.lower() == _ZIP:
        return _in_zip(source, escape(source.stem))
    picture = _picture(source, escape(source.name), shown(source))
    return iter([_Found(escape(source.absolute().parent.name), escape(source.name), _file(source, {}), picture)])


def _in_folder(folder: Path) -> Iterator[_Found]:
    label, shown_as = escape(folder.absolute().name), shown(folder)
    prefix = "" if shown_as == "." else f"{shown_as}/"
    real: dict[str, str] = {}
    unknown: list[tuple[str, UnreadableError]] = []
    for below in files_below(folder):
        path = Path(path_of(folder, below))
        if _suffix_of(below) == _ZIP:
            yield from _in_zip(path, label, f"{below}/")
        elif _accepts(below, functools.partial(_head_of, path), unknown):
            yield _Found(label, below, _file(path, real), _picture(path, below, prefix + below))
    _warn_of_unknown(shown_as, unknown)


def _picture(path: Path, below: str, shown_as: str) -> Picture:
    return Picture(image_id_of(below), shown_as, functools.partial(read_regular, path), path=path, stamp=stamp_of(path))


def _file(path: Path, real: dict[str, str]) -> tuple[str, str]:
    """What tells whether two files are the same; a link to a file is one of its own, what lies below a link is not.

    `real` keeps the folders' real paths, which take long to find.
    """
    folder, slash, name = os.fspath(path).rpartition("/")
    if folder not in real:
        real[folder] = os.path.realpath(folder or slash)
    return f"{real[folder]}/{name}", ""


def _in_zip(path: Path, source: str, prefix: str = "") -> Iterator[_Found]:
    """The members of a zip; `prefix` is where it lies below the source."""
    try:
        archive = Archive(path)
    except UnreadableError as error:
        raise UserError(
            f"{shown(path)}: {error}; found {path.stat().st_size:,} bytes. "
            "A download that broke off looks like this: download it again."
        ) from error
    return _in_archive(archive, shown(path), source, (os.path.realpath(path), ""), prefix)


def _in_archive(
    archive: Archive, shown_as: str, source: str, zip_file: tuple[str, str], prefix: str
) -> Iterator[_Found]:
    """The members of a zip; `zip_file` is what tells whether two zips are the same."""
    unknown: list[tuple[str, UnreadableError]] = []
    stamp = stamp_of(Path(zip_file[0]))
    for name in archive.names:
        if _suffix_of(name) == _ZIP:
            inner = (zip_file[0], f"{zip_file[1]}{name}/")
            try:
                yield from _in_archive(
                    archive.open_inner(name), f"{shown_as}/{name}", source, inner, f"{prefix}{name}/"
                )
            except UnreadableError as error:
                print_warning(f"{shown_as}/{name}: passed over: {error}")
        elif _accepts(name, functools.partial(archive.read, name, most=_HEAD), unknown):
            picture = Picture(
                image_id_of(name), f"{shown_as}/{name}", functools.partial(archive.read, name), stamp=stamp
            )
            yield _Found(source, prefix + name, (zip_file[0], zip_file[1] + name), picture)
    _warn_of_unknown(shown_as, unknown)


def _suffix_of(name: str) -> str:
    basename = name.rsplit("/", 1)[-1].lstrip(".")
    return "".join(basename.rpartition(".")[1:]).lower() if "." in basename else ""


def _accepts(name: str, head: Callable[[], bytes], unknown: list[tuple[str, UnreadableError]]) -> bool:
    """Whether a file is taken; one whose head must tell and cannot be read is put into `unknown`."""
    if _suffix_of(name) in _SUFFIXES:
        return True
    try:
        return is_dicom(name, head())
    except UnreadableError as error:
        unknown.append((name, error))
        return False


def _warn_of_unknown(place: str, unknown: Sequence[tuple[str, UnreadableError]]) -> None:
    if unknown:
        name, error = unknown[0]
        print_warning(
            f"{place}: passed over {len(unknown):,} files that cannot be read and whose names do not say "
            f"whether they are images, such as {name}: {error}"
        )


def _head_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
