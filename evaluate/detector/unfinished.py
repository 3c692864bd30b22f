"""What a prediction has found so far, kept in a file so that the same command goes on after it was stopped.

The first line says what the predictions are made from; then each line is one picture: its key, what became of it, and
its boxes as the bytes of 64-bit floats, so that they come back bit for bit. A line that a killed process has written by
halves is cut off. Pictures that could not be read are not kept: they are tried again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.errors import WorkError
from common.files import write_atomic
from common.locks import locked
from common.paths import shown
from evaluate.detector.loading import Outcome, Picture

_FORMAT = 3
_LOCK = ".lock"


@dataclass(frozen=True)
class Found:
    """What was found on a picture, float64.

    By a detector (N, 5): confidence, x, y, width, height in pixels of the original; by classifiers (1, columns): their
    logits.
    """

    outcome: Outcome
    rows: np.ndarray


class Unfinished:
    """The file, open.

    Attributes:
        known: What it holds, by the pictures' keys.
    """

    known: dict[str, Found]

    def __init__(self, file: BinaryIO, path: Path, known: dict[str, Found]) -> None:
        self._file, self._path, self.known = file, path, known

    def add(self, pictures: Sequence[Picture], found: Sequence[Found]) -> None:
        """Keep what was found on some more pictures.

        Raises:
            WorkError: The file cannot be written.
        """
        lines = [_line(key_of(picture), one) for picture, one in zip(pictures, found, strict=True) if picture.stamp]
        try:
            self._file.write(b"".join(lines))
            self._file.flush()
        except OSError as error:
            raise WorkError(
                f"{shown(self._path)}: cannot be written ({error.strerror}). Free some space and run the same command "
                "again; what was predicted is kept."
            ) from error


def split_known(pictures: Sequence[Picture], kept: Unfinished | None, words: str) -> tuple[dict[int, Found], list[int]]:
    """What is known of some pictures, by their places, and the places of the others; says so where anything is.

    Args:
        pictures: All of them.
        kept: The file; None: nothing is known.
        words: What was done with those that are known, such as `predicted`.
    """
    known = {
        place: kept.known[key]
        for place, picture in enumerate(pictures)
        if kept and (key := key_of(picture)) in kept.known
    }
    if known:
        print(f"going on: {len(known):,} of {len(pictures):,} images were {words} before", file=sys.stderr)
    return known, [place for place in range(len(pictures)) if place not in known]


def key_of(picture: Picture) -> str:
    """What tells a picture from all others, and from the same file with other content."""
    return json.dumps([picture.image_id, picture.name, picture.stamp, picture.size, picture.view])


@contextlib.contextmanager
def unfinished(path: Path, made_from: Mapping[str, Any], columns: int = 5) -> Iterator[Unfinished]:
    """Open the file, which stays when it is left: whoever has written the output removes it.

    Args:
        path: The file; its folder must exist.
        made_from: What decides the predictions besides the pictures, as JSON values. What was made from anything else
            is dropped.
        columns: Of what is found on a picture.

    Raises:
        WorkError: Another prediction is at work there, or the file cannot be written.
    """
    busy = f"{shown(path.parent)}: another prediction is at work in it. Wait until it ends, or choose another --output."
    with locked(Path(f"{path}{_LOCK}"), busy):
        head = (json.dumps({"format": _FORMAT, **made_from}, sort_keys=True) + "\n").encode()
        known, end = _read(path, head, columns)
        if not end:
            write_atomic(path, head)
            end = len(head)
        try:
            file = open(path, "r+b")  # noqa: SIM115  # closed below
        except OSError as error:
            raise WorkError(f"{shown(path)}: cannot be written ({error.strerror}).") from error
        with file:
            file.truncate(end)
            file.seek(end)
            yield Unfinished(file, path, known)


def _line(key: str, found: Found) -> bytes:
    boxes = base64.b64encode(np.ascontiguousarray(found.rows, "<f8").tobytes()).decode()
    return (json.dumps([key, asdict(found.outcome), boxes]) + "\n").encode()


def _read(path: Path, head: bytes, columns: int) -> tuple[dict[str, Found], int]:
    """What the file holds, and where its last whole line ends; nothing and 0 if it was made from anything else."""
    known: dict[str, Found] = {}
    try:
        with open(path, "rb") as file:
            end = len(head)
            if file.readline() != head:
                return {}, 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                key, outcome, boxes = json.loads(line)
                rows = np.frombuffer(base64.b64decode(boxes), "<f8").reshape(-1, columns).astype(float)
                known[key] = Found(Outcome(**outcome), rows)
                end += len(line)
    except OSError:
        return {}, 0
    except (ValueError, TypeError):  # what follows a line that is none cannot be trusted
        pass
    return known, end
