"""One gate from its arguments to calibrated probabilities: what the command `train/gate.py` does."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.data_set import find_root
from common.errors import UserError, WorkError
from common.files import write_atomic, write_json
from common.paths import PROJECT, shown
from common.provenance import describe_origin
from common.quiet_ultralytics import import_ultralytics
from common.tracking.runs import RUN_FILE
from train.classifier.calibration import COLDEST, HOTTEST, Floats, Ints, assess, fit_temperature, softmax
from train.classifier.class_view import SPLITS, ClassView, make_view
from train.detector.best_run import data_fingerprint
from train.detector.locating import MODELS, check_data, download_weights, find_data, find_model
from train.settings.arguments import ultralytics_defaults
from train.settings.options import GATE

if TYPE_CHECKING:
    from train.classifier.tracking import GateLog

GATE_DEFAULTS: dict[str, Any] = {
    "data": str(PROJECT / "rsna.yaml"),
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

TABLE, RECORD = "gate.csv", "gate.json"
_DECIMALS = 6


@dataclass(frozen=True)
class Gate:
    """A finished gate.

    Attributes:
        table: `gate.csv`: image_id, split, the calibrated probability of each class by its label, p_opacity.
        record: The content of `gate.json`.
        logged_at: Where its W&B run can be seen, or how to upload it; empty where it was not logged.
    """

    table: Path
    record: dict[str, Any]
    logged_at: str = ""


def run(given: Mapping[str, Any], argv: Sequence[str]) -> Gate:
    """Train as `train.settings.arguments.parse` has read it, calibrate on val, and look at every picture.

    Args:
        given: The arguments that were given.
        argv: The command line's words, for the record.

    Raises:
        UserError: Data, weights or an argument's value are not usable, or there is nothing to resume.
        WorkError: Weights cannot be downloaded, a file cannot be read or written, or no weights came out.
    """
    wanted = {**GATE_DEFAULTS, **{name: value for name, value in given.items() if value is not None}}
    project = Path(str(wanted["project"])).expanduser().absolute()
    wanted["project"] = os.fspath(project)
    if wanted.pop("resume", False):
        return _resume(given, argv, project)
    yaml_file = find_data(Path(str(wanted["data"])))
    if wanted.get("model") is None:
        raise UserError(
            "model: missing; name an image classifier: model=yolov8n-cls.pt, or without pretrained weights "
            f"model={shown(MODELS)}/basic-cnn-cls.yaml"
        )
    model, download = find_model(wanted["model"])
    import_ultralytics(offline=not download, verbose=True)
    fold, enabled, group = (wanted.pop(name, GATE[name].default) for name in ("fold", "wandb", "group"))
    _check_arguments(wanted)
    if download:
        download_weights(model)
    _check_classifier(model)
    data = check_data(os.fspath(yaml_file))
    view = _make_view(data, fold)
    from train.classifier.tracking import GateLog
    from train.classifier.trainer import GateTrainer

    trainer = GateTrainer(overrides={**wanted, "model": os.fspath(model), "data": os.fspath(view.folder)})
    with GateLog(trainer.save_dir, _config(trainer, view, data), group, enabled=enabled) as log:
        log.hook_into(trainer)
        trainer.train()
        return _finish(trainer.save_dir, view, yaml_file, data, argv, log)


def _config(trainer: Any, view: ClassView, data: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B is told of the training: its arguments, and the data."""
    images = view.images["split"].value_counts()
    return {
        **vars(trainer.args),
        "data_fingerprint": data_fingerprint(data),
        **{f"{split}_images": int(images.get(split, 0)) for split in SPLITS},
    }


def _resume(given: Mapping[str, Any], argv: Sequence[str], project: Path) -> Gate:
    """Go on with a training that was stopped; one that is finished is only looked at again."""
    last = _find_last(given, project)
    import_ultralytics(verbose=True)
    from ultralytics.nn.tasks import load_checkpoint

    from train.classifier.tracking import GateLog

    _, checkpoint = load_checkpoint(last)
    arguments = checkpoint["train_args"]
    if arguments.get("task") != "classify":
        raise UserError(f"resume: {shown(last)} is no gate's (task {arguments.get('task')}); see train/train.py.")
    trained_on = Path(str(arguments["data"]))
    yaml_file = find_data(Path(str(given["data"])) if given.get("data") else trained_on.parent)
    data = check_data(os.fspath(yaml_file))
    fold = re.search(r"-fold(\d+)$", trained_on.name)
    view = _make_view(data, int(fold[1]) if fold else None)
    run_dir = last.parent.parent
    # A training that was not logged is not when it goes on, either.
    enabled = given.get("wandb", (run_dir / RUN_FILE).is_file())
    trainer, done = None, arguments["epochs"]
    if checkpoint.get("optimizer") is not None and checkpoint["epoch"] + 1 < arguments["epochs"]:
        from train.classifier.trainer import GateTrainer

        trainer = GateTrainer(
            overrides={
                **{name: value for name, value in given.items() if name not in {"model", "project", "name", *GATE}},
                "resume": os.fspath(last),
                "data": os.fspath(view.folder),
                "save_dir": os.fspath(run_dir),
            }
        )
        done = checkpoint["epoch"] + 1
    with GateLog(run_dir, {}, given.get("group"), enabled=enabled, done=done) as log:
        if trainer is not None:
            log.hook_into(trainer)
            trainer.train()
        return _finish(run_dir, view, yaml_file, data, argv, log)


def _find_last(given: Mapping[str, Any], project: Path) -> Path:
    named = given["resume"] if isinstance(given["resume"], str) else None
    if named is not None:
        path = Path(named).expanduser()
        last = path / "weights" / "last.pt" if path.is_dir() else path
        if last.suffix == ".pt" and last.is_file():
            return last.absolute()
        raise UserError(f"resume: {named}: expected a training's weights/last.pt, or its folder.")
    name = given.get("name") or f"{GATE_DEFAULTS['name']}*"
    found = sorted(project.glob(f"{name}/weights/last.pt"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise UserError(f"resume: no {shown(project)}/{name}/weights/last.pt; start the training without resume.")
    return found[-1].absolute()


def _check_arguments(wanted: Mapping[str, Any]) -> None:
    """Refuse wrong values before the data are converted or a folder is made."""
    from ultralytics.cfg import get_cfg

    if wanted.get("single_cls"):
        raise UserError("single_cls: a gate tells classes apart; leave it out.")
    try:
        get_cfg(ultralytics_defaults(), {**wanted, "task": "classify"})
    except (TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())[:300]) from error


def _check_classifier(model: Path) -> None:
    """Refuse a model whose last layer says what boxes there are."""
    from ultralytics.nn.tasks import load_checkpoint, yaml_model_load

    try:
        if model.suffix == ".pt":
            head = type(load_checkpoint(model)[0].model[-1]).__name__
        else:
            head = str(yaml_model_load(model)["head"][-1][2])
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UserError(
            f"model: {shown(model)}: no classifier ({reason}); expected weights such as yolov8n-cls.pt, or a YAML as "
            "in train/models/."
        ) from error
    if head != "Classify":
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
    from train.detector.validation import positive_class

    return make_view(root, data["names"][positive_class(data["names"])], int(named[1]) if named else fold)


def _finish(
    run_dir: Path, view: ClassView, yaml_file: Path, data: Mapping[str, Any], argv: Sequence[str], log: GateLog
) -> Gate:
    """Calibrate on val, look at every picture, write gate.json and gate.csv."""
    import yaml

    from train.classifier.predictions import predict_logits

    weights = run_dir / "weights" / "best.pt"
    if not weights.is_file():
        raise WorkError(f"{shown(weights)}: the training left no weights. Its own messages above say why.")
    arguments = yaml.safe_load((run_dir / "args.yaml").read_text(encoding="utf-8"))
    images = view.images[[picture.is_file() for picture in view.images["picture"]]].reset_index(drop=True)
    device, workers = _device(arguments)
    batch = max(int(arguments["batch"]), 1) * 2
    logits, names = predict_logits(weights, images["picture"].tolist(), device, batch, workers)
    labels = [view.classes[names[index]] for index in range(len(names))]
    positive = labels.index(view.classes[view.positive])
    index_of = {label: index for index, label in enumerate(labels)}
    classes = images["label"].map(index_of)

    def rows(split: str) -> Ints:
        return np.flatnonzero((images["split"] == split) & classes.notna())

    val = rows("val")
    temperature = fit_temperature(logits[val], _integers(classes[val]))
    if temperature < 2 * COLDEST:
        print_warning(
            f"the {len(val):,} images of val are told apart without error, so that the calibration knows no doubt: "
            "the probabilities are too sure"
        )
    elif temperature > HOTTEST / 2:
        print_warning(
            f"the classifier tells the {len(val):,} images of val apart no better than by chance: the calibrated "
            "probabilities are nearly all the same. Train longer, or with another model"
        )
    calibrated = softmax(logits, temperature)
    record = {
        "weights": shown(weights),
        "epoch": best_epoch(run_dir / "results.csv"),
        "data": shown(yaml_file),
        "fold": view.fold,
        "fingerprint": data_fingerprint(data),
        "manifest": view.manifest,
        "positive": view.classes[view.positive],
        "classes": view.classes,
        "temperature": temperature,
        **{
            split: {
                "images": len(chosen),
                "before": _quality(softmax(logits[chosen]), classes[chosen], positive),
                "after": _quality(calibrated[chosen], classes[chosen], positive),
            }
            for split in SPLITS[1:]
            if len(chosen := rows(split))
        },
        "images": {str(split): int(count) for split, count in images["split"].value_counts().items()},
        "arguments": arguments,
        **describe_origin("train/gate.py", argv),
    }
    table = images[["image_id", "split"]].assign(
        **dict(zip(labels, calibrated.round(_DECIMALS).T, strict=True)),
        p_opacity=calibrated[:, positive].round(_DECIMALS),
    )
    write_json(run_dir / RECORD, record)
    write_atomic(run_dir / TABLE, table.to_csv(index=False, lineterminator="\n"))
    log.log_end(record, run_dir / TABLE)
    return Gate(run_dir / TABLE, record, log.where)


def _quality(probabilities: Floats, classes: pd.Series, positive: int) -> dict[str, float]:
    return dataclasses.asdict(assess(probabilities, _integers(classes), positive))


def _integers(classes: pd.Series) -> Ints:
    return classes.to_numpy().astype(np.int64)


def _device(arguments: Mapping[str, Any]) -> tuple[Any, int]:
    """The device of the training, and how many processes read pictures for it."""
    from ultralytics.utils.torch_utils import select_device

    device = select_device(str(arguments["device"] or "").split(",")[0], verbose=False)
    return device, 0 if device.type in {"cpu", "mps"} else int(arguments["workers"])


def best_epoch(results: Path) -> int:
    """The epoch (from 1) of best.pt: that of the lowest log-loss in results.csv, of equals the last.

    Raises:
        WorkError: There is no such file, or no epoch in it.
    """
    from train.classifier.trainer import LOG_LOSS

    try:
        with open(results, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return int(min(reversed(rows), key=lambda row: float(row[LOG_LOSS]))["epoch"])
    except (OSError, ValueError, KeyError) as error:
        raise WorkError(f"{shown(results)}: no epoch with a log-loss; the training ended before one.") from error
