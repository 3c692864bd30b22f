"""Which file is the image that a table names, and under which id it goes into the data set."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pandas as pd

from common.walking import escape, unescape
from convert.pictures import PICTURE_SUFFIXES
from convert.sources.boxes import MAX_ID_LENGTH
from convert.sources.files import Source

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
_SUFFIXES = (*DICOM_SUFFIXES, *PICTURE_SUFFIXES)
_WHOLE_NUMBER = re.compile(r"^([0-9]+)\.0+$")


@dataclass(frozen=True)
class Located:
    """Where the images are.

    Attributes:
        ids: Image id by the name in the table, for every name.
        files: File in the source by image id.
        objections: Why there is no file, by the name in the table.
        unnamed: Image id by file, of the pictures that no table names.
    """

    ids: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    objections: dict[str, str] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)

    def ids_of(self, names: pd.Series) -> pd.Series:
        """The image ids of a table's names; an empty name has none, which is an empty text."""
        return names.map(self.ids).astype(object).where(names != "", "")

    def reasons(self) -> dict[str, str]:
        """Why there is no file, by image id."""
        return {self.ids[name]: reason for name, reason in self.objections.items()}


def locate(source: Source, names: Iterable[str]) -> Located:
    """Find the pictures that a table names by path, by file name or by file name without its ending.

    Where none is called so, one is taken whose name differs in capitals alone, or by the `.0` that a table of numbers
    puts behind them. Names with folders that exclude each other are not taken for one picture.

    An image's id is its file name without ending; what may not be in an id (spaces, ...) becomes `_`. Where two files
    would have the same id, the folders above them are part of it, and a checksum of their names where that is not
    enough.

    Args:
        source: Folder or zip.
        names: As in the table; Windows' and absolute paths are fine.
    """
    pictures = [name for name in source.names if is_picture_name(name)]
    by_name: dict[str, list[str]] = {}
    for file in pictures:
        basename = file.rsplit("/", 1)[-1]
        for key in {basename, stem(basename), *_as_latin1(basename)}:
            by_name.setdefault(key, []).append(file)
    by_folded: dict[str, list[str]] = {}

    found: dict[str, str] = {}
    objections: dict[str, str] = {}
    for name in dict.fromkeys(names):
        parts = _parts(name)
        basename = parts[-1] if parts else ""
        exact = name.rsplit("/", 1)[-1]  # as others write a name that is no UTF-8, and as this project does
        spellings = (basename, stem(basename), exact, escape(exact))
        called = next(filter(None, map(by_name.get, spellings)), [])
        if not called:
            by_folded = by_folded or _folded(by_name)  # only then, since few sources need it
            for key in (basename, stem(basename), _WHOLE_NUMBER.sub(r"\1", basename)):
                called = called or by_folded.get(key.casefold(), [])
        candidates = _nearest(called, parts)
        if len(candidates) == 1:
            found[name] = candidates[0]
        elif candidates:
            objections[name] = f"several pictures of this name: {', '.join(candidates[:3])}"
        else:
            objections[name] = "no picture of this name"
    for name, file in _excluded(found).items():
        del found[name]
        objections[name] = f"no picture of this path, and {file} is called otherwise, too"

    id_of = _ids(pictures, objections)
    named = set(found.values())
    return Located(
        ids={name: id_of[found.get(name, name)] for name in [*found, *objections]},
        files={id_of[file]: file for file in found.values()},
        objections=objections,
        unnamed={file: id_of[file] for file in pictures if file not in named},
    )


def is_picture_name(name: str) -> bool:
    """Whether a file may be a picture by its name: a known ending, none, or digits, as the UIDs of DICOM files end."""
    basename = name.rsplit("/", 1)[-1]
    suffix = PurePosixPath(basename).suffix.lower()
    return basename[0] != "." and (suffix in _SUFFIXES or not suffix.strip(".0123456789"))


def stem(basename: str) -> str:
    """A picture's file name without its ending; what follows a dot in a UID is none."""
    name, _, suffix = basename.rpartition(".")
    return name if name and f".{suffix.lower()}" in _SUFFIXES else basename


def _folded(by_name: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The files by their names in whatever capitals."""
    folded: dict[str, dict[str, None]] = {}
    for key, files in by_name.items():
        folded.setdefault(key.casefold(), {}).update(dict.fromkeys(files))
    return {key: list(files) for key, files in folded.items()}


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _nearest(candidates: list[str], parts: list[str]) -> list[str]:
    """Those whose folders agree longest with the wanted path, from its end."""
    if len(candidates) < 2:
        return candidates
    best = max(_agreement(file, parts) for file in candidates)
    return [file for file in candidates if _agreement(file, parts) == best]


def _as_latin1(basename: str) -> list[str]:
    """A name that is no UTF-8 as a table has it that is no UTF-8 either: with and without its ending."""
    raw = os.fsencode(unescape(basename))
    if raw.isascii() or escape(os.fsdecode(raw)) == os.fsdecode(raw):
        return []
    name = raw.decode("latin-1")
    return [name, stem(name)]


def _agreement(file: str, parts: list[str]) -> int:
    """How many folders of a file and of a wanted path are the same, from the end."""
    folders, wanted = file.split("/")[-2::-1], parts[-2::-1]
    same = [first == second for first, second in zip(folders, wanted, strict=False)]
    return same.index(False) if False in same else len(same)


def _excluded(found: Mapping[str, str]) -> dict[str, str]:
    """The names that cannot be their file's, since another that is nearer to it has other folders."""
    excluded: dict[str, str] = {}
    by_file: dict[str, list[str]] = {}
    for name, file in found.items():
        by_file.setdefault(file, []).append(name)
    for file, names in by_file.items():
        if len(names) == 1 or _are_one(names):
            continue
        agreement = {name: _agreement(file, _parts(name)) for name in names}
        best = max(agreement.values())
        nearest = [name for name in names if agreement[name] == best]
        is_told = best > 0 and _are_one(nearest)
        excluded |= {name: file for name in names if not (is_told and _are_one([*nearest, name]))}
    return excluded


def _are_one(names: list[str]) -> bool:
    """Whether all names can be of one file: each one's folders end the longest one's."""
    folders = sorted((_parts(name)[-2::-1] for name in names), key=len)
    return all(own == folders[-1][: len(own)] for own in folders)


def _ids(files: Sequence[str], names: Iterable[str]) -> dict[str, str]:
    """Image ids by file, which all differ, and by the names that have none."""
    # In a name of ours, a backslash is that of an escape.
    paths = {file: file for file in files} | {name: name.replace("\\", "/").strip("/") for name in names}
    everything = [*files, *names]
    short = {name: _as_id(stem(path.rsplit("/", 1)[-1])) for name, path in paths.items()}
    often = Counter(short.values())
    ids = {name: key if often[key] == 1 else _as_id(stem(paths[name])) for name, key in short.items()}
    often = Counter(ids[file] for file in files)
    taken = set(often)
    for file in everything[: len(files)]:
        if often[ids[file]] > 1:
            ids[file] = _marked(ids[file], file)
    for name in everything[len(files) :]:
        if ids[name] in taken:  # or its rows would be another picture's
            ids[name] = _marked(ids[name], name)
    return ids


def _marked(image_id: str, file: str) -> str:
    """An id that a file shares with none."""
    mark = hashlib.sha256(file.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{image_id[-MAX_ID_LENGTH + 9 :].lstrip('.')}-{mark}"


def _as_id(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[-MAX_ID_LENGTH:] or "_"
