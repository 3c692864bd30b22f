"""Where the challenge's test pictures lie, so that the command that predicts them can be named as it works."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.data.csv_files import read_csv
from common.data.names import CHALLENGE
from common.paths import typed
from convert.sources.places import RAW, RSNA_FOLDER, RSNA_ZIP

PLACEHOLDER = "FOLDER_OR_ZIP_OF_TEST_IMAGES"


def challenge_pictures(data_set: Path) -> str:
    """The challenge's test pictures, as arguments of evaluate/predict.py.

    A data set does not say where on the machine its source lies, but how its files are called: a place where raw data
    usually are is the source if it has all of the test pictures; of several the one that has the fewest others, as
    drawn samples of several sizes share names.

    Args:
        data_set: The converted data set's folder.

    Returns:
        A folder, or a zip and which part of it; `PLACEHOLDER` where none is found, or there are no such pictures.
    """
    files = _challenge_files(data_set)
    parts = {PurePosixPath(file).parent.as_posix() for file in files}
    part = parts.pop() if len(parts) == 1 else ""
    found: list[tuple[int, str]] = []
    for place in _places(data_set) if files else ():
        if place.is_dir() and all((place / file).is_file() for file in files):
            found.append((sum(1 for _ in (place / part).iterdir()), typed(place / part)))
        elif place.suffix == ".zip" and place.is_file() and files <= (members := _members(place)):
            words = f"{typed(place)} --only {part}" if part not in {"", "."} else typed(place)
            found.append((sum(name.startswith(part) for name in members), words))
    return min(found, key=lambda one: one[0], default=(0, PLACEHOLDER))[1]


def _challenge_files(data_set: Path) -> set[str]:
    """The names in the source of the pictures whose truth is not known."""
    try:
        table = read_csv((data_set / "manifest.csv").read_bytes())
        return set(table.loc[table["split"] == CHALLENGE, "source"])
    except (OSError, ValueError, LookupError):
        return set()


def _places(data_set: Path) -> Iterator[Path]:
    yield RSNA_FOLDER
    yield from (RSNA_ZIP, RSNA_FOLDER / RSNA_ZIP.name)
    for folder in dict.fromkeys((RAW, data_set.parent / "raw")):
        if folder.is_dir():
            yield from sorted(folder.iterdir())


def _members(archive: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return frozenset(opened.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset()
