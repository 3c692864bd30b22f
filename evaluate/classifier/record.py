"""gate.json: what a gate is, how good its probabilities are, and what it came from; written and read here alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json
from common.paths import shown
from evaluate.classifier.calibration import Quality

RECORD = "gate.json"
_JUDGED = ("val", "test", "calibration")
_PLATT = ("slope", "intercept", "prevalence", "expected_prevalence", "picture_size", "flip", "network", "pretrained_on")
_TEMPERATURE = ("temperature",)


@dataclass(frozen=True)
class SplitQuality:
    """How good the probabilities are on a split.

    Attributes:
        images: How many images of a known class it has.
        before: As the classifier gives them.
        after: Calibrated.
    """

    images: int
    before: Quality
    after: Quality


@dataclass(frozen=True)
class GateRecord:
    """A gate.

    Attributes:
        weights: The classifier's weights, relative to the current folder where they lie in it.
        weights_sha256: SHA-256 of that file; None in a record of an earlier version.
        epoch: The epoch, from 1, that they are of.
        data: The data YAML.
        fold: The fold that it was validated on; None for the data set's own splits.
        fingerprint: The data set's, see `common.data.fingerprint`.
        manifest: SHA-256 of its manifest.
        positive: Label of the class that is the opacity.
        classes: Label by class folder.
        slope: What the logit of P(opacity) was multiplied by, see `evaluate.classifier.calibration`. This and the next
            seven are None in a record of an earlier version.
        intercept: What was added to it then, the shift to the expected prevalence included.
        prevalence: Share of val's images with an opacity.
        expected_prevalence: Share where the gate is used, as it was asked for; None for val's.
        picture_size: The longest side in pixels that the pictures it was trained on had been scaled down to; None:
            they were not.
        flip: Whether logits are the mean of those of the picture and of its mirror image; they were calibrated so.
        network: The network of a library, such as `timm:convnext_tiny`; empty for one of Ultralytics'.
        pretrained_on: What is to be known of the images that the weights had seen before this training, such as those
            of the NIH, among which are the challenge's test images; empty where nothing is.
        temperature: Of a record of an earlier version: what the logits of all classes were divided by; else None.
        splits: By split, val and test, how good the probabilities are; only splits with images of a known class. Of a
            fold's gate, `val` is the fold, and `calibration` the data set's own val.
        images: By split how many images were looked at.
        arguments: The training's.
        versions: Of Python and packages.
        command: The command line.
        commit: The project's; None outside of a Git checkout.
        created: UTC, ISO 8601.
    """

    weights: str
    weights_sha256: str | None
    epoch: int
    data: str
    fold: int | None
    fingerprint: str
    manifest: str
    positive: str
    classes: Mapping[str, str]
    slope: float | None
    intercept: float | None
    prevalence: float | None
    expected_prevalence: float | None
    picture_size: int | None
    flip: bool | None
    network: str | None
    pretrained_on: str | None
    temperature: float | None
    splits: Mapping[str, SplitQuality]
    images: Mapping[str, int]
    arguments: Mapping[str, Any]
    versions: Mapping[str, str]
    command: str
    commit: str | None
    created: str


def write_record(folder: Path, record: GateRecord) -> None:
    """Write `gate.json` into a folder. The splits' numbers stand beside the rest, under the splits' names.

    Of an earlier version's record only what it has is written.

    Raises:
        WorkError: It cannot be written.
    """
    content: dict[str, Any] = {}
    other = _TEMPERATURE if record.temperature is None else _PLATT
    for name, value in asdict(record).items():
        if name not in other:
            content |= value if name == "splits" else {name: value}
    write_json(folder / RECORD, content)


def read_record(folder: Path) -> GateRecord:
    """Read the `gate.json` of a folder.

    Raises:
        UserError: It is missing, or is not one.
    """
    file = folder / RECORD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        splits = {
            split: SplitQuality(
                images=content[split]["images"],
                before=Quality(**content[split]["before"]),
                after=Quality(**content[split]["after"]),
            )
            for split in _JUDGED
            if split in content
        }
        other = _PLATT if "temperature" in content else _TEMPERATURE
        known = {"weights_sha256": None, **content, "splits": splits, **dict.fromkeys(other)}
        return GateRecord(**{entry.name: known[entry.name] for entry in fields(GateRecord)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{shown(file)}: not the record of a gate ({type(error).__name__}); train/gate.py writes it beside "
            "gate.csv. `python train/gate.py resume=<run>` makes both anew."
        ) from error
