"""One gate from its arguments to calibrated probabilities: what the command `train/gate.py` does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common import trainings
from common.cli import print_warning
from common.data.data_set import DataSet, find_root
from common.data.fingerprint import data_fingerprint
from common.data.names import ALL_CLASSES
from common.errors import UserError, WorkError
from common.files import sha256, write_atomic
from common.paths import PROJECT, brief, default_data, shown, without_places
from common.provenance import describe_origin
from common.quiet_ultralytics import import_ultralytics
from common.tracking.runs import RUN_FILE
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
from train.classifier.class_view import SPLITS, ClassView, make_view
from train.classifier.results import best_epoch
from train.detector import heads
from train.detector.locating import (
    MODELS,
    Resumable,
    check_data,
    download_weights,
    find_data,
    find_last,
    find_model,
    positive_class,
)
from train.detector.starting import check_place, explained, find_pretrained, load_resumable
from train.settings.arguments import check_values
from train.settings.command_line import note_run
from train.settings.options import GATE, USE
from train.settings.values import check_device

if TYPE_CHECKING:
    from train.classifier.tracking import GateLog

GATE_DEFAULTS: dict[str, Any] = {
    "data": str(default_data()),
    "project": str(PROJECT / "runs"),
    "name": "gate",
    "imgsz": 256,  # what the challenge's winners' smallest recipe gave its classifier; Ultralytics' 224 is ImageNet's
    "auto_augment": None,  # RandAugment inverts and posterises, which is no radiograph any more
    "erasing": 0.0,  # may erase the only opacity, and the label would be wrong
    "scale": 0.2,  # crops keep 80 % of the picture's area or more; with half of it an opacity may be outside
    "hsv_h": 0.0,  # grey has no hue
    "hsv_s": 0.0,  # and no saturation
    "hsv_v": 0.2,  # brightness and contrast differ between machines, by less than Ultralytics' 0.4
}
"""Where the command differs from `yolo classify train`. No class is weighted: that would shift the probabilities."""

TABLE = "gate.csv"
_CHECKPOINTS = Resumable(
    kind=trainings.GATE,
    files=("",),
    no_file="expected a training's weights/last.pt, or its folder.",
    no_run="expected a training's weights/last.pt, or its folder.",
    remedy="start the training without resume.",
)


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
class _Material:
    """What a gate is trained on.

    Attributes:
        yaml: The data YAML.
        data: Its content as Ultralytics sees it.
        view: The pictures by class.
    """

    yaml: Path
    data: Mapping[str, Any]
    view: ClassView


def train_gate(arguments: Mapping[str, Any], words: Sequence[str] | None = None) -> TrainedGate:
    """Train a gate, calibrate it on val, and look at every picture: `train_gate({"model": "yolov8n-cls.pt"})`.

    Args:
        arguments: Arguments of `yolo classify train` and ours (`train.settings.options.GATE`) by name; what is missing
            has `GATE_DEFAULTS`. `resume` goes on with a training.
        words: The command line's words, for the record; None makes them from the arguments.

    Returns:
        The probabilities, and how good they are.

    Raises:
        UserError: Data, weights or an argument's value are not usable, or there is nothing to resume.
        WorkError: Weights cannot be downloaded, a file cannot be read or written, or no weights came out.
    """
    if words is None:
        words = [f"{name}={value}" for name, value in arguments.items()]
    wanted = {**GATE_DEFAULTS, **{name: value for name, value in arguments.items() if value is not None}}
    project = Path(str(wanted["project"])).expanduser().absolute()
    wanted["project"] = os.fspath(project)
    if resume := wanted.pop("resume", False):
        return _resume(find_last(resume, project, arguments.get("name"), kind=_CHECKPOINTS), arguments, words)
    yaml_file = find_data(Path(str(wanted["data"])))
    own = {name: argument.check(name, wanted.pop(name, argument.default)) for name, argument in GATE.items()}
    model = _prepare_model(wanted)
    data = check_data(os.fspath(yaml_file))
    material = _Material(yaml_file, data, _make_view(data, own["fold"]))
    from train.classifier.tracking import GateLog
    from train.classifier.trainer import GateTrainer

    changed = {"model": os.fspath(model), "data": os.fspath(material.view.folder), **{name: own[name] for name in USE}}
    trainer = GateTrainer(overrides={**wanted, **changed})
    note_run(trainer.save_dir)
    with GateLog(trainer.save_dir, _config(trainer, material), own["group"], enabled=own["wandb"]) as log:
        log.hook_into(trainer)
        with explained(trainer):
            trainer.train()
        return _finish(trainer.save_dir, material, own, words, log)


def check_gate(arguments: Mapping[str, Any]) -> None:
    """Refuse what `train_gate` would refuse before it looks at the data, and fetch the weights if need be.

    Args:
        arguments: As for `train_gate`.

    Raises:
        UserError: See `train_gate`.
        WorkError: See `train_gate`.
    """
    wanted = {**GATE_DEFAULTS, **{name: value for name, value in arguments.items() if value is not None}}
    for name in GATE.keys() & wanted.keys():
        GATE[name].check(name, wanted[name])
    _prepare_model({name: value for name, value in wanted.items() if name not in GATE})


def _prepare_model(wanted: dict[str, Any]) -> Path:
    """Check the arguments, and find the model's file and the weights to start from."""
    if wanted.get("model") is None:
        raise UserError(
            "model: missing; name an image classifier: model=yolov8n-cls.pt, or without pretrained weights "
            f"model={shown(MODELS)}/basic-cnn-cls.yaml"
        )
    model, download = find_model(wanted["model"])
    import_ultralytics(offline=not download, verbose=True)
    _check_arguments(wanted)
    check_place(wanted)
    check_device(wanted.get("device"))
    if download:
        download_weights(model)
    _check_classifier(model)
    find_pretrained(wanted)
    return model


def _config(trainer: Any, material: _Material) -> dict[str, Any]:
    """What W&B is told of the training: its arguments, and the data."""
    images = material.view.images["split"].value_counts()
    return {
        **vars(trainer.args),
        "data_fingerprint": data_fingerprint(material.data),
        **{f"{split}_images": int(images.get(split, 0)) for split in SPLITS},
    }


def _resume(last: Path, given: Mapping[str, Any], words: Sequence[str]) -> TrainedGate:
    """Go on with a training that was stopped; one that is finished is only looked at again."""
    import_ultralytics(verbose=True)
    from train.classifier.tracking import GateLog

    _, checkpoint = load_resumable(last)
    arguments = checkpoint["train_args"]
    if arguments.get("task") != "classify":
        raise UserError(f"resume: {shown(last)} is no gate's (task {arguments.get('task')}); see train/train.py.")
    trained_on = Path(str(arguments["data"]))
    yaml_file = find_data(Path(str(given["data"])) if given.get("data") else trained_on.parent)
    data = check_data(os.fspath(yaml_file))
    fold = re.search(r"-fold(\d+)$", trained_on.name)
    material = _Material(yaml_file, data, _make_view(data, int(fold[1]) if fold else None))
    run_dir = last.parent.parent
    # A finished checkpoint has Ultralytics' own arguments alone.
    begun = _arguments(run_dir) if (run_dir / "args.yaml").is_file() else arguments
    use = {name: GATE[name].check(name, given.get(name, begun.get(name, GATE[name].default))) for name in USE}
    # A training that was not logged is not when it goes on, either.
    enabled = given.get("wandb", (run_dir / RUN_FILE).is_file())
    trainer, done = None, arguments["epochs"]
    if checkpoint.get("optimizer") is not None and not _has_ended(checkpoint):
        from train.classifier.trainer import GateTrainer

        trainer = GateTrainer(
            overrides={
                **{name: value for name, value in given.items() if name not in {"model", "project", "name", *GATE}},
                "resume": os.fspath(last),
                "data": os.fspath(material.view.folder),
                "save_dir": os.fspath(run_dir),
            }
        )
        done = checkpoint["epoch"] + 1
    with GateLog(run_dir, {}, given.get("group"), enabled=enabled, done=done) as log:
        if trainer is not None:
            log.hook_into(trainer)
            note_run(run_dir)
            with explained(trainer):
                trainer.train()
        return _finish(run_dir, material, use, words, log)


def _has_ended(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a training came to its end, or was stopped early, and then killed before its checkpoint was stripped."""
    done, arguments = checkpoint["epoch"] + 1, checkpoint["train_args"]
    waited = done - (checkpoint.get("stopper") or {}).get("best_epoch", done)
    return done >= arguments["epochs"] or waited >= (arguments.get("patience") or float("inf"))


def _check_arguments(wanted: Mapping[str, Any]) -> None:
    """Refuse wrong values before the data are converted or a folder is made."""
    if wanted.get("single_cls"):
        raise UserError("single_cls: a gate tells classes apart; leave it out.")
    check_values({**wanted, "task": "classify"}, {})


def _check_classifier(model: Path) -> None:
    """Refuse a model whose last layer says what boxes there are."""
    try:
        head = heads.head_of_file(model)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UserError(
            f"model: {shown(model)}: no classifier ({reason}); expected weights such as yolov8n-cls.pt, or a YAML as "
            "in train/models/."
        ) from error
    if head != heads.CLASSIFIER:
        raise UserError(
            f"model: {shown(model)}: its last layer is {head}; expected an image classifier (Classify), such as "
            f"yolov8n-cls.pt or {shown(MODELS)}/basic-cnn-cls.yaml."
        )


def _make_view(data: Mapping[str, Any], fold: int | None) -> ClassView:
    """The view of the data set that a data YAML names; a fold's YAML asks for that fold."""
    entries = [Path(entry) for entry in (data["val"] if isinstance(data["val"], list) else [data["val"]])]
    roots = {find_root(entry if entry.is_dir() else entry.parent) for entry in entries}
    if len(roots) != 1:
        raise UserError(f"data: {data['yaml_file']}: its validation images are of several data sets; name one of them.")
    root = roots.pop()
    if root is None:
        raise UserError(
            f"data: {shown(Path(data['yaml_file']))}: no manifest.csv above {shown(entries[0])}, and it is what says "
            "which class an image has. A gate needs a data set of this project: python convert/rsna_to_yolo.py"
        )
    named = re.fullmatch(r"fold(\d+)_val", entries[0].stem)
    if named and fold not in (None, int(named[1])):
        raise UserError(f"fold={fold}: {shown(Path(data['yaml_file']))} is that of fold {named[1]}; name one fold.")
    return make_view(root, data["names"][positive_class(data["names"])], int(named[1]) if named else fold)


def _finish(
    run_dir: Path, material: _Material, use: Mapping[str, Any], words: Sequence[str], log: GateLog
) -> TrainedGate:
    """Look at every picture, calibrate on val, write gate.json and gate.csv.

    Args:
        run_dir: The training's folder.
        material: What it was trained on.
        use: How the gate is used, see `USE`.
        words: The command line's.
        log: Where it is logged.
    """
    from evaluate.classifier.inference import DECIMALS, predict_logits
    from evaluate.classifier.weights import load_network

    view, weights = material.view, run_dir / "weights" / "best.pt"
    if not weights.is_file():
        raise WorkError(f"{shown(weights)}: the training left no weights. Its own messages above say why.")
    arguments = _arguments(run_dir)
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

    val = rows("val")
    fitted = _calibrate(logits[val], _integers(classes[val]), positive, material.yaml)
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
        temperature=None,
        splits={
            split: SplitQuality(
                images=len(chosen),
                before=assess(softmax(logits[chosen]), _integers(classes[chosen]), positive),
                after=assess(calibrated[chosen], _integers(classes[chosen]), positive),
            )
            for split in SPLITS[1:]
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


def _arguments(run_dir: Path) -> dict[str, Any]:
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
    if found.slope > STEEPEST / 2:
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
