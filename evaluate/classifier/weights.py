"""A gate loaded: its record, its calibration, and its network, without running any code that the file may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import sha256
from common.paths import shown, typed
from evaluate.classifier.calibration import Calibration
from evaluate.classifier.record import RECORD, GateRecord, read_record
from evaluate.detector.checkpoint import read_checkpoint
from evaluate.detector.weights import LARGEST_SIDE, run_folder

_OTHERWISE = "let it look at the pictures where it was trained, and name its gate.csv"


@dataclass(frozen=True)
class Network:
    """An image classifier as it was trained, without calibration.

    Attributes:
        model: The network, a `torch.nn.Module` in 32 bits: float32 (N, 3, imgsz, imgsz) from 0 to 1 in, and out a tuple
            of which the second is float32 (N, C) logits.
        imgsz: Side of the square that it was trained on, in pixels.
        names: Class folders by index.
    """

    model: Any
    imgsz: int
    names: Mapping[int, str]


@dataclass(frozen=True)
class Classifier:
    """A gate that can look at pictures.

    Attributes:
        path: Its weights, `<run>/weights/best.pt`.
        sha256: Of that file, in hexadecimal.
        record: Its `gate.json`.
        network: Its network.
    """

    path: Path
    sha256: str
    record: GateRecord
    network: Network

    @property
    def flip(self) -> bool:
        """Whether it looks at the mirror image, too; see `evaluate.classifier.record.GateRecord`."""
        return bool(self.record.flip)

    @property
    def positive(self) -> int:
        """Index of the class that is the opacity."""
        folder = next(folder for folder, label in self.record.classes.items() if label == self.record.positive)
        return next(index for index, name in self.network.names.items() if name == folder)

    @property
    def calibration(self) -> Calibration:
        """What makes its logits P(opacity)."""
        record = self.record
        assert record.slope is not None and record.intercept is not None  # noqa: PT018  # `load_classifier` looks
        expected = record.prevalence if record.expected_prevalence is None else record.expected_prevalence
        return Calibration(record.slope, record.intercept, expected or 0.5)


def locate_classifier(path: Path) -> tuple[Path, str, GateRecord]:
    """Find a gate without loading it: its weights, their SHA-256, and its record.

    Args:
        path: As for `load_classifier`.

    Raises:
        UserError: There is no gate, its weights are not those that were calibrated, or its record is of an earlier
            version.
    """
    run, weights = _locate(path)
    record = read_record(run)
    anew = f"python train/gate.py resume={typed(run)}"
    if record.slope is None or record.weights_sha256 is None:
        raise UserError(
            f"{shown(run / RECORD)}: of an earlier version, which does not say all that new pictures need; `{anew}` "
            "writes it anew, without training."
        )
    digest = sha256(weights)
    if digest != record.weights_sha256:
        raise UserError(
            f"{shown(weights)}: its SHA-256 begins with {digest[:8]}, while {RECORD} was written for weights with "
            f"{record.weights_sha256[:8]}, so that the calibration is not theirs. `{anew}` calibrates these."
        )
    return weights, digest, record


def load_classifier(path: Path) -> Classifier:
    """Load a gate.

    Args:
        path: The folder that `train/gate.py` wrote, its `gate.csv`, or its `weights/best.pt`.

    Raises:
        UserError: There is no gate, its weights are not those that were calibrated or cannot be loaded, or its record
            is of an earlier version.
    """
    weights, digest, record = locate_classifier(path)
    network = load_network(weights)
    run = run_folder(weights)
    if set(network.names.values()) != set(record.classes) or record.positive not in record.classes.values():
        raise UserError(
            f"{shown(run / RECORD)}: found the classes {', '.join(record.classes)} with {record.positive!r} as the "
            f"opacity; expected those of the weights, {', '.join(network.names.values())}. `python train/gate.py "
            f"resume={typed(run)}` writes it anew."
        )
    return Classifier(weights, digest, record, network)


def load_network(path: Path) -> Network:
    """Load an image classifier's checkpoint as `train/gate.py` or `yolo classify train` writes it.

    Raises:
        UserError: The file is missing, no checkpoint, of a class that is not loaded, or no classifier.
    """
    from evaluate.classifier import networks  # noqa: F401  # whose checkpoints can be read from now on

    model, checkpoint = read_checkpoint(path, _OTHERWISE)
    from ultralytics.nn.tasks import ClassificationModel

    if not isinstance(model, ClassificationModel):
        raise UserError(
            f"{path}: holds a {type(model).__name__}; expected an image classifier as train/gate.py makes it."
        )
    imgsz = (checkpoint.get("train_args") or {}).get("imgsz")
    if not isinstance(imgsz, int) or not 0 < imgsz <= LARGEST_SIDE:
        raise UserError(
            f"{path}: says that it was trained at imgsz={str(imgsz)[:40]}; expected 1 to {LARGEST_SIDE} pixels. The "
            "file is damaged, or somebody has changed it."
        )
    return Network(model.float().eval(), imgsz, dict(model.names))


def _locate(path: Path) -> tuple[Path, Path]:
    """The gate's folder and its weights."""
    expected = "expected a gate's folder as train/gate.py writes it, its gate.csv, or its weights/best.pt"
    if not path.exists():
        raise UserError(f"{shown(path)}: no such file or folder; {expected}.")
    if path.suffix.lower() == ".pt":
        return run_folder(path), path
    run = path if path.is_dir() else path.parent
    if not (run / RECORD).is_file():
        raise UserError(f"{shown(run)}: no {RECORD} in it; {expected}.")
    for weights in (run / "weights" / "best.pt", run / "best.pt"):
        if weights.is_file():
            return run, weights
    raise UserError(f"{shown(run)}: no weights/best.pt in it, which looks at new pictures; {expected}.")
