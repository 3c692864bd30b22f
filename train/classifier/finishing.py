"""What a gate's training leaves: every picture is looked at, the probability of an opacity calibrated, both written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet
from common.data.fingerprint import data_fingerprint
from common.data.names import ALL_CLASSES
from common.errors import UserError, WorkError
from common.files import sha256, write_atomic
from common.paths import brief, shown, without_places
from common.provenance import describe_origin
from evaluate.classifier.calibration import (
    FLATTEST,
    STEEPEST,
    Calibration,
    Floats,
    Ints,
    assess,
    fit_calibration,
    softmax,
)
from evaluate.classifier.record import GateRecord, SplitQuality, write_record
from evaluate.detector.loading import Picture
from train.classifier.class_view import CALIBRATION, SPLITS, ClassView
from train.classifier.results import best_epoch

if TYPE_CHECKING:
    from train.classifier.tracking import GateLog

TABLE = "gate.csv"
_ALL_BUT_SURE = 0.99
"""From this area under the ROC curve on, a calibration is steep because images are told apart so well."""


@dataclass(frozen=True)
class TrainedGate:
    """A finished gate.

    Attributes:
        table: `gate.csv`: image_id, split, the calibrated probability of each class by its label, p_opacity.
        record: The content of `gate.json`, which lies beside it.
        logged_at: Where its W&B run can be seen, or how to upload it; empty where it was not logged.
    """

    table: Path
    record: GateRecord
    logged_at: str = ""


@dataclass(frozen=True)
class Material:
    """What a gate is trained on.

    Attributes:
        yaml: The data YAML.
        data: Its content as Ultralytics sees it.
        view: The pictures by class.
    """

    yaml: Path
    data: Mapping[str, Any]
    view: ClassView


def finish(
    run_dir: Path, material: Material, use: Mapping[str, Any], words: Sequence[str], log: GateLog
) -> TrainedGate:
    """Look at every picture, calibrate on val, write gate.json and gate.csv.

    Args:
        run_dir: The training's folder.
        material: What it was trained on.
        use: How the gate is used, see `train.settings.options.USE`.
        words: The command line's.
        log: Where it is logged.

    Raises:
        UserError: The images of val are all of one kind.
        WorkError: There are no weights, they give no numbers, or a picture cannot be read.
    """
    from evaluate.classifier.inference import DECIMALS, predict_logits
    from evaluate.classifier.weights import load_network

    view, weights = material.view, run_dir / "weights" / "best.pt"
    if not weights.is_file():
        raise WorkError(f"{shown(weights)}: the training left no weights. Its own messages above say why.")
    arguments = arguments_of(run_dir)
    images = view.images[[picture.is_file() for picture in view.images["picture"]]].reset_index(drop=True)
    network, picture_size = load_network(weights), DataSet(material.yaml, ALL_CLASSES).picture_size("train")
    pictures = [
        Picture(image_id, shown(file), file.read_bytes)
        for image_id, file in zip(images["image_id"], images["picture"], strict=True)
    ]
    batch = max(int(arguments["batch"]), 1) * 2
    logits = predict_logits(network, pictures, picture_size, use["flip"], batch, _device(arguments))
    if not np.isfinite(logits).all():
        raise WorkError(
            f"{shown(weights)}: gives no finite numbers for some pictures; expected logits, to calibrate. Train anew, "
            "with a lower learning rate (lr0=, and optimizer= so that it counts) or amp=False."
        )
    labels = [view.classes[network.names[index]] for index in range(len(network.names))]
    positive = labels.index(view.classes[view.positive])
    index_of = {label: index for index, label in enumerate(labels)}
    classes = images["label"].map(index_of)

    def rows(split: str) -> Ints:
        return np.flatnonzero((images["split"] == split) & classes.notna())

    # Of a fold's gate that is val, which is outside of the folds; where there is none, what it was validated on.
    chosen_on = rows(CALIBRATION) if len(rows(CALIBRATION)) else rows("val")
    fitted = _calibrate(logits[chosen_on], _integers(classes[chosen_on]), positive, material.yaml)
    expected = use["prevalence"]
    used = fitted if expected is None else fitted.expecting(expected)
    calibrated = used.apply(logits, positive)
    record = GateRecord(
        weights=brief(weights),
        weights_sha256=sha256(weights),
        epoch=best_epoch(run_dir / "results.csv"),
        data=brief(material.yaml),
        fold=view.fold,
        fingerprint=data_fingerprint(material.data),
        manifest=view.manifest,
        positive=view.classes[view.positive],
        classes=view.classes,
        slope=used.slope,
        intercept=used.intercept,
        prevalence=fitted.prevalence,
        expected_prevalence=expected,
        picture_size=picture_size,
        flip=use["flip"],
        network=getattr(network.model, "yaml", {}).get("architecture", ""),
        pretrained_on=getattr(network.model, "yaml", {}).get("pretrained_on", ""),
        temperature=None,
        splits={
            split: SplitQuality(
                images=len(chosen),
                before=assess(softmax(logits[chosen]), _integers(classes[chosen]), positive),
                after=assess(calibrated[chosen], _integers(classes[chosen]), positive),
            )
            for split in (*SPLITS[1:], CALIBRATION)
            if len(chosen := rows(split))
        },
        images={str(split): int(count) for split, count in images["split"].value_counts().items()},
        arguments=without_places(arguments),
        **describe_origin("train/gate.py", words),
    )
    table = images[["image_id", "split"]].assign(
        **dict(zip(labels, calibrated.round(DECIMALS).T, strict=True)),
        p_opacity=calibrated[:, positive].round(DECIMALS),
    )
    write_record(run_dir, record)
    write_atomic(run_dir / TABLE, table.to_csv(index=False, lineterminator="\n"))
    log.log_end(record, run_dir / TABLE)
    return TrainedGate(run_dir / TABLE, record, log.where)


def arguments_of(run_dir: Path) -> dict[str, Any]:
    """The arguments that a training was begun with."""
    import yaml

    return yaml.safe_load((run_dir / "args.yaml").read_text(encoding="utf-8"))


def _calibrate(logits: Floats, classes: Ints, positive: int, data: Path) -> Calibration:
    """Calibrate the probability of an opacity on the images of val, and tell where that has come to its end."""
    if len(np.unique(classes == positive)) < 2:
        raise UserError(
            f"{shown(data)}: the {len(classes):,} pictures of val that are there all have the gate's class, or all "
            "lack it; expected both, to calibrate on. Convert the data again."
        )
    found = fit_calibration(logits, classes, positive)
    if found.slope > STEEPEST / 2 and assess(found.apply(logits, positive), classes, positive).auc < _ALL_BUT_SURE:
        print_warning(
            f"the classifier says nearly the same of all {len(classes):,} images of val, as one does that has hardly "
            "been trained: what it says of other images is little more than their share of opacities. Train longer"
        )
    elif found.slope > STEEPEST / 2:
        print_warning(
            f"the {len(classes):,} images of val are told apart without error, or all but, so that the calibration "
            "knows no doubt: the probabilities are too sure"
        )
    elif found.slope < 2 * FLATTEST:
        print_warning(
            f"the classifier tells the {len(classes):,} images of val apart no better than by chance: the calibrated "
            "probabilities are nearly all the same. Train longer, or with another model"
        )
    return found


def _integers(classes: pd.Series) -> Ints:
    return classes.to_numpy().astype(np.int64)


def _device(arguments: Mapping[str, Any]) -> Any:
    """The device of the training."""
    from ultralytics.utils.torch_utils import select_device

    return select_device(str(arguments["device"] or "").split(",")[0], verbose=False)
