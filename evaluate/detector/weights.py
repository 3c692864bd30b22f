"""Weights, loaded so that a wrong file gives one clear line; what they were trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from common.cli import print_warning
from common.data.data_set import DataSet
from common.data.data_yaml import class_names
from common.data.names import ALL_CLASSES, LARGEST_SIDE, PICTURE_SIZE, scored_classes
from common.errors import UserError
from common.files import sha256
from common.paths import PROJECT, shown
from common.quiet_ultralytics import import_ultralytics, no_network
from evaluate.detector.checkpoint import EXPECTED, read_checkpoint, reason_of

_LEAST_STRIDE = 32
"""Pixels; Ultralytics lays pictures in no finer steps."""
_LEVELS = 4
"""How far above a training's folder its project may be: that of runs/detect/train is three above."""
_OTHERWISE = "predict where it was trained, and score that with evaluate/score.py --predictions FILE"


@dataclass(frozen=True)
class Weights:
    """A trained detector.

    Attributes:
        path: The `.pt` file.
        model: The `ultralytics.YOLO` (or `RTDETR`) object.
        imgsz: Side of the square that it was trained on, in pixels.
        channels: 1 for grey, 3 for colour.
        classes: Indices of the classes that count, as one: of a single class, as a rule.
        train_args: The training's arguments, as far as the file keeps them.
        names: Class names by index.
        class_name: The class that was asked for; see `common.data.names.scored_classes`.
        epoch: The epoch that the weights are of, from 1; None where the file does not tell.
        trained: When that was; None where the file does not tell.
    """

    path: Path
    model: Any
    imgsz: int
    channels: int
    classes: tuple[int, ...]
    train_args: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    class_name: str | None = None
    epoch: int | None = None
    trained: datetime | None = None

    @property
    def data_class(self) -> str | None:
        """The class of the data that these weights are about; all as one if they were trained with `single_cls`."""
        return self.class_name or (ALL_CLASSES if self.train_args.get("single_cls") else None)

    @property
    def description(self) -> str:
        """The file, its epoch, its age and what it was trained on, in one line."""
        epochs = self.train_args.get("epochs")
        epoch = f" (epoch {self.epoch}{f' of {epochs}' if epochs else ''})" if self.epoch else ""
        data = self.train_args.get("data") or _saved_arguments(self.path).get("data")
        on = f"on {shown(Path(str(data)))}" if data else "on data that it does not name"
        age = f" {_age(self.trained)}" if self.trained else ""
        return f"{shown(self.path)}{epoch}, trained{age} {on}"

    @property
    def suppresses(self) -> bool:
        """Whether of overlapping boxes the less confident one is dropped; RT-DETR's are left as they are."""
        return not is_rtdetr(self.model)

    @property
    def stride(self) -> int:
        """Pixels that the model's sides are multiples of."""
        return max(int(self.model.model.stride.max()), _LEAST_STRIDE)

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256 in hexadecimal."""
        return sha256(self.path)

    @cached_property
    def picture_size(self) -> int | None:
        """The longest side that the pictures it was trained on had been scaled down to, in pixels; None: they were not.

        A training of this project notes it in the model; for others the data set is asked, as long as it is there.
        """
        network = self.model.model
        if hasattr(network, PICTURE_SIZE):
            size = getattr(network, PICTURE_SIZE)
            return size if isinstance(size, int) and size > 0 else None
        try:
            return DataSet(find_training_data(self), ALL_CLASSES).picture_size("train")
        except UserError:
            return None


def run_folder(weights: Path) -> Path:
    """The training's folder: the parent of `weights/`, or the file's own folder where it is not in such a one.

    A link to a training's weights belongs to that training.
    """
    folder = weights.resolve().parent
    return folder.parent if folder.name == "weights" else folder


def load_weights(path: Path, class_name: str | None = None) -> Weights:
    """Load a YOLO detection checkpoint, without running any code that it may carry.

    Args:
        path: The file.
        class_name: Of several classes the one that counts; see `common.data.names.scored_classes`.

    Raises:
        UserError: The file is missing or empty, no checkpoint of Ultralytics, not a detector, or of other classes.
    """
    _, checkpoint = read_checkpoint(path, _OTHERWISE)
    ultralytics = import_ultralytics()
    try:
        with no_network():
            model = ultralytics.YOLO(str(path))
    except Exception as error:
        raise UserError(f"{path}: cannot be loaded by Ultralytics ({reason_of(error)}); {EXPECTED}.") from error
    if model.task != "detect":
        raise UserError(f"{path}: a model for the task {model.task!r}; expected a detector, task 'detect'.")
    train_args = checkpoint.get("train_args") or {}
    names = class_names(model.names, None, str(path))
    classes = scored_classes(names, str(path), class_name)
    return Weights(
        path=path,
        model=model,
        imgsz=_side(path, train_args.get("imgsz", 640)),
        channels=int(getattr(model.model, "yaml", {}).get("channels", 3)),
        classes=classes,
        train_args=train_args,
        names=names,
        class_name=names[classes[0]] if class_name and len(classes) < len(names) else class_name,
        epoch=_epoch(checkpoint),
        trained=_date(checkpoint.get("date")),
    )


def is_rtdetr(model: Any) -> bool:
    """Whether an `ultralytics.YOLO` or `RTDETR` object ends in RT-DETR's decoder."""
    from ultralytics.nn.modules.head import RTDETRDecoder

    return isinstance(model.model.model[-1], RTDETRDecoder)


def find_training_data(weights: Weights) -> Path:
    """The data YAML that the weights were trained on; see `training_data`."""
    return training_data(weights.path, weights.train_args)


def training_data(weights: Path, arguments: Mapping[str, Any]) -> Path:
    """The data YAML that a training's arguments name.

    The path is the one typed at the training. If it is relative, nobody knows to which folder: it is looked for in the
    training's folder and those above it, in the project's, and last in the current one, which may be of another
    project. What is doubtful about the choice is told.

    Args:
        weights: The training's weights file.
        arguments: Its arguments; those in `args.yaml` are taken where they name no data.

    Raises:
        UserError: The arguments do not say, or the file is no longer there.
    """
    named = arguments.get("data") or _saved_arguments(weights).get("data")
    if not named:
        raise UserError(f"{weights}: does not say what it was trained on. Name the data YAML with --data.")
    path = Path(str(named))
    run = run_folder(weights)
    folders = [Path()] if path.is_absolute() else [run, *list(run.parents)[:_LEVELS], PROJECT, Path()]
    found = [folder / path for folder in folders if (folder / path).exists()]
    if not found:
        raise UserError(
            f"{weights}: was trained on {named}, which is not there (from the current folder, the "
            "training's or the project's). Name the data YAML with --data."
        )
    chosen = found[0]
    if chosen == path and not path.is_absolute():
        _warn_once(
            f"{shown(weights)}: was trained on {named}, a relative path, which is taken from the current folder; "
            "name another data YAML with --data"
        )
    elif path.is_file() and chosen.is_file() and path.read_bytes() != chosen.read_bytes():
        _warn_once(
            f"{shown(weights)}: was trained on {named}; using {shown(chosen)}, by the training's folder; {path} "
            "here is another, which --data names"
        )
    return chosen


@cache
def _warn_once(message: str) -> None:
    """A warning that several parts of a command come to."""
    print_warning(message)


def _saved_arguments(weights: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load((run_folder(weights) / "args.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _epoch(checkpoint: Mapping[str, Any]) -> int | None:
    """The epoch of a checkpoint's weights, from 1.

    A finished training strips the number off, and puts its whole history in. There, the row with the weights' own
    metrics is the epoch's, if it is the only such.
    """
    try:
        if (number := int(checkpoint.get("epoch", -1))) >= 0:
            return number + 1
        history, own = checkpoint["train_results"], checkpoint["train_metrics"]
        names = [name for name in own if name in history]
        rows = zip(*(history[name] for name in names), strict=True)
        right = [
            all(
                math.isclose(value, own[name], rel_tol=1e-3, abs_tol=1e-5)
                for name, value in zip(names, row, strict=True)
            )
            for row in rows
        ]
        found = [int(epoch) for epoch, is_right in zip(history["epoch"], right, strict=True) if is_right]
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return found[0] if len(found) == 1 else None


def _is_rounded(value: float, exact: float) -> bool:
    """Whether a value of results.csv, which has five digits, is an exact one."""
    return math.isclose(value, exact, rel_tol=1e-3, abs_tol=1e-5)


def _date(text: Any) -> datetime | None:
    """When a checkpoint was written; Ultralytics' earlier versions give local time without its zone."""
    try:
        return datetime.fromisoformat(str(text)).astimezone()
    except (ValueError, OSError, OverflowError):
        return None


def _age(when: datetime) -> str:
    """How long ago, in the largest unit that gives 2 or more; the date where the clock was wrong."""
    seconds = (datetime.now(UTC) - when).total_seconds()
    if seconds < 0:
        return f"on {when:%Y-%m-%d}"
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def _side(path: Path, imgsz: Any) -> int:
    """The longest side that was trained at; nothing is reserved for one that no radiograph needs."""
    sides = imgsz if isinstance(imgsz, list | tuple) and imgsz else [imgsz]
    if not all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in sides):
        raise UserError(
            f"{path}: says that it was trained at imgsz={str(imgsz)[:40]}; expected 1 to {LARGEST_SIDE} pixels. "
            "The file is damaged, or somebody has changed it."
        )
    return int(max(sides))
