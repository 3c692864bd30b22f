"""Which file is the image that a table names, and under which id it goes into the data set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from convert.pictures import PICTURE_SUFFIXES
from convert.sources.boxes import MAX_ID_LENGTH
from convert.sources.files import Source

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
_SUFFIXES = (*DICOM_SUFFIXES, *PICTURE_SUFFIXES)


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

    def reason_against(self, name: str) -> str:
        """Why there is no file for an image."""
        return self.objections.get(name, "no picture of this name")


def locate(source: Source, names: Iterable[str]) -> Located:
    """Find the pictures that a table names by path, by file name or by file name without its ending.

    An image's id is its file name without ending; what may not be in an id (spaces, ...) becomes `_`. Where two files
    would have the same id, the folders above them are part of it.

    Args:
        source: Folder or zip.
        names: As in the table; Windows' and absolute paths are fine.
    """
    pictures = [name for name in source.names if is_picture_name(name)]
    by_name: dict[str, list[str]] = {}
    for file in pictures:
        basename = file.rsplit("/", 1)[-1]
        for key in {basename, _stem(basename)}:
            by_name.setdefault(key, []).append(file)

    found: dict[str, str] = {}
    objections: dict[str, str] = {}
    for name in dict.fromkeys(names):
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        basename = parts[-1] if parts else ""
        candidates = _nearest(by_name.get(basename) or by_name.get(_stem(basename)) or [], parts)
        if len(candidates) == 1:
            found[name] = candidates[0]
        elif candidates:
            objections[name] = f"several pictures of this name: {', '.join(candidates[:3])}"
        else:
            objections[name] = "no picture of this name"

    id_of = _ids([*pictures, *objections])
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


def _stem(basename: str) -> str:
    """The name without its ending; what follows a dot in a UID is none."""
    stem, _, suffix = basename.rpartition(".")
    return stem if stem and f".{suffix.lower()}" in _SUFFIXES else basename


def _nearest(candidates: list[str], parts: list[str]) -> list[str]:
    """Those whose folders agree longest with the wanted path, from its end."""
    if len(candidates) < 2:
        return candidates

    def agreement(file: str) -> int:
        folders, wanted = file.split("/")[-2::-1], parts[-2::-1]
        same = [first == second for first, second in zip(folders, wanted, strict=False)]
        return same.index(False) if False in same else len(same)

    best = max(map(agreement, candidates))
    return [file for file in candidates if agreement(file) == best]


def _ids(files: list[str]) -> dict[str, str]:
    """Image ids by file or name."""
    short = {file: _as_id(_stem(file.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])) for file in files}
    often = Counter(short.values())
    return {
        file: name if often[name] == 1 else _as_id(_stem(file.replace("\\", "/").strip("/")))
        for file, name in short.items()
    }


def _as_id(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[-MAX_ID_LENGTH:] or "_"
