"""A system, and `system.yaml`, its file: members with their checksums, and how each is run. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.data.names import LARGEST_SIDE
from common.data.yaml_record import SHA256, YamlRecord, told
from common.errors import UserError
from common.files import sha256, write_atomic
from common.paths import shown

SYSTEM_FILE = "system.yaml"
FORMAT = 1

_HEADER = "# What predicts together: name this file's folder to evaluate/score.py and evaluate/predict.py.\n"
_LISTS = ("detectors", "classifiers", "predictions")
_AGAIN = (
    "Run the command that made this file again (a recipe's goes on where it stopped), or name the members' folders "
    "instead of this one"
)


@dataclass(frozen=True)
class SystemDetector:
    """A detector, and how it is run.

    Attributes:
        weights: The `.pt` file.
        sha256: Its SHA-256, in hexadecimal.
        imgsz: Side of its input in pixels; None: that of its training.
        augment: Whether it also votes on flipped and resized copies (test-time augmentation).
    """

    weights: Path
    sha256: str
    imgsz: int | None = None
    augment: bool = False

    @classmethod
    def of(cls, weights: Path, imgsz: int | None = None, augment: bool = False) -> SystemDetector:
        """The detector with the checksum that its file has now."""
        return cls(weights, sha256(weights), imgsz, augment)


@dataclass(frozen=True)
class SystemClassifier:
    """A classifier that gives P(opacity), and how it is run.

    Attributes:
        weights: The `.pt` file; what calibrates it lies in its training's folder.
        sha256: Its SHA-256, in hexadecimal.
        flip: Whether it also looks at the mirrored picture.
    """

    weights: Path
    sha256: str
    flip: bool = False

    @classmethod
    def of(cls, weights: Path, flip: bool = False) -> SystemClassifier:
        """The classifier with the checksum that its file has now."""
        return cls(weights, sha256(weights), flip)


@dataclass(frozen=True)
class SystemPredictions:
    """Predictions of any other detector, which votes with what it has predicted.

    Attributes:
        file: A predictions CSV or a Kaggle submission.
        sha256: Its SHA-256, in hexadecimal.
    """

    file: Path
    sha256: str

    @classmethod
    def of(cls, file: Path) -> SystemPredictions:
        """The file with the checksum that it has now."""
        return cls(file, sha256(file))


@dataclass(frozen=True)
class System:
    """What predicts together.

        System((SystemDetector.of(weights),)).to_yaml(folder / SYSTEM_FILE)

    Attributes:
        detectors: Detectors; each votes once, or once for every copy with `augment`.
        classifiers: Classifiers; the mean of their P(opacity) counts. None, if there is no gate.
        predictions: Files of predictions that vote as well.
        data: The data YAML whose val and test it is scored on, where the members' own name only their folds.
        named: What somebody has named to find it, if so; of no influence on what it is.
    """

    detectors: tuple[SystemDetector, ...]
    classifiers: tuple[SystemClassifier, ...] = ()
    predictions: tuple[SystemPredictions, ...] = ()
    data: Path | None = None
    named: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def identity(self) -> tuple[str, ...]:
        """SHA-256 of every member, sorted: what a pipeline that was fitted on this system's predictions belongs to."""
        members = (self.detectors, self.classifiers, self.predictions)
        return tuple(sorted(one.sha256 for group in members for one in group))

    @property
    def digest(self) -> str:
        """SHA-256 of the checksums of all that find boxes, in hexadecimal: one word for them."""
        return hashlib.sha256("\n".join(self.detector_checksums).encode()).hexdigest()

    @property
    def detector_checksums(self) -> tuple[str, ...]:
        """SHA-256 of everything that finds boxes, sorted."""
        return tuple(sorted([*(one.sha256 for one in self.detectors), *(one.sha256 for one in self.predictions)]))

    def to_yaml(self, path: Path) -> None:
        """Write it to a file, which is either absent or whole; paths are relative to the file's folder.

        Raises:
            WorkError: It cannot be written.
        """

        def below(file: Path) -> str:
            return Path(os.path.relpath(file, path.parent)).as_posix()

        content: dict[str, Any] = {
            "format": FORMAT,
            "detectors": [
                {"weights": below(one.weights), "sha256": one.sha256, "imgsz": one.imgsz, "augment": one.augment}
                for one in self.detectors
            ],
            "classifiers": [
                {"weights": below(one.weights), "sha256": one.sha256, "flip": one.flip} for one in self.classifiers
            ],
            "predictions": [{"file": below(one.file), "sha256": one.sha256} for one in self.predictions],
            "data": None if self.data is None else below(self.data),
            "complete": True,  # last, so that a file that was cut is not taken for a whole one
        }
        write_atomic(path, _HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))

    @classmethod
    def from_yaml(cls, path: Path) -> System:
        """Read what `to_yaml` wrote, and look whether every member is still the same.

        Raises:
            UserError: The file cannot be read or is not such a file, or a member is missing or has changed; one line
                says which, and what to do.
        """
        return _Reader(path).system()


class _Reader(YamlRecord):
    """Reads the file of a system."""

    kind, remedy, most_bytes = "the file of a system", _AGAIN, 1 << 20

    def system(self) -> System:
        content = self.content()
        if not isinstance(content, dict):
            self.refuse(f"{told(content)}", "names with values")
        if content.get("format") != FORMAT or isinstance(content.get("format"), bool):
            self.refuse(f"format is {told(content.get('format'))}", f"format: {FORMAT}")
        content = self.mapping(content, "the file", ["format", *_LISTS, "data", "complete"])
        self.whole(content)
        detectors = tuple(
            SystemDetector(*self.member(one, name, "weights"), self.side(one["imgsz"], name), self.flag(one, name))
            for one, name in self.entries(content, "detectors", ["weights", "sha256", "imgsz", "augment"])
        )
        classifiers = tuple(
            SystemClassifier(*self.member(one, name, "weights"), self.flag(one, name, "flip"))
            for one, name in self.entries(content, "classifiers", ["weights", "sha256", "flip"])
        )
        predictions = tuple(
            SystemPredictions(*self.member(one, name, "file"))
            for one, name in self.entries(content, "predictions", ["file", "sha256"])
        )
        if not detectors and not predictions:
            self.refuse("no detector and no predictions", "one at least")
        data = content["data"]
        if data is not None:
            data = self.place(self.text(data, "data"))
        return System(detectors, classifiers, predictions, data)

    def entries(self, content: dict[str, Any], name: str, keys: list[str]) -> list[tuple[dict[str, Any], str]]:
        """The entries of a list, with what each is called in messages."""
        found = content[name]
        if not isinstance(found, list):
            self.refuse(f"{name} is {told(found)}", "a list")
        return [
            (self.mapping(one, f"{name}, number {number}", keys), f"{name}, number {number}")
            for number, one in enumerate(found, 1)
        ]

    def member(self, entry: dict[str, Any], name: str, key: str) -> tuple[Path, str]:
        """A member's file and checksum, which must be that of the file."""
        path = self.place(self.text(entry[key], f"{name}: {key}"))
        digest = self.text(entry["sha256"], f"{name}: sha256")
        if not SHA256.fullmatch(digest):
            self.refuse(f"{name}: sha256 is {told(digest)}", "64 hexadecimal digits")
        try:
            now = sha256(path)
        except OSError as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise UserError(f"{shown(self.path)}: names {shown(path)}, which {why}. {_AGAIN}.") from error
        if now != digest:
            raise UserError(
                f"{shown(self.path)}: {shown(path)} is another file than when the system was put together (its SHA-256 "
                f"begins with {now[:12]}, expected {digest[:12]}): what was fitted does not belong to it. {_AGAIN}."
            )
        return path, digest

    def place(self, text: str) -> Path:
        """A path of the file, which is relative to the file's folder: without the `..` that can be done without."""
        return Path(os.path.normpath(self.path.parent / text))

    def text(self, value: Any, name: str) -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            self.refuse(f"{name} is {told(value)}", "a text")
        return value

    def side(self, value: Any, name: str) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_SIDE:
            self.refuse(f"{name}: imgsz is {told(value)}", f"pixels, 1 to {LARGEST_SIDE}, or null")
        return value

    def flag(self, entry: dict[str, Any], name: str, key: str = "augment") -> bool:
        if not isinstance(entry[key], bool):
            self.refuse(f"{name}: {key} is {told(entry[key])}", "true or false")
        return entry[key]
