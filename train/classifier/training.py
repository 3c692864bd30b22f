"""One gate from its arguments to calibrated probabilities: what the command `train/gate.py` does."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from common import trainings
from common.cli import print_warning
from common.data.data_set import find_root
from common.data.fingerprint import data_fingerprint
from common.errors import UserError
from common.paths import PROJECT, default_data, shown
from common.quiet_ultralytics import import_ultralytics
from common.tracking.runs import RUN_FILE
from evaluate.classifier.architectures import TORCHVISION, Architecture, is_architecture, torchvision_names
from train.classifier.class_view import SPLITS, ClassView, make_view
from train.classifier.finishing import Material, TrainedGate, arguments_of, finish
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
from train.settings.arguments import check_values, ultralytics_defaults
from train.settings.command_line import note_run
from train.settings.options import GATE, USE
from train.settings.values import check_device

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
    "warmup_bias_lr": 0.0,  # Ultralytics' 0.1 is a hundred times an AdamW's lr0, and overwrites pretrained biases
    "hsv_v": 0.2,  # brightness and contrast differ between machines, by less than Ultralytics' 0.4
}
"""Where the command differs from `yolo classify train`. No class is weighted: that would shift the probabilities."""

_IDLE = (
    *("degrees", "translate", "shear", "perspective", "bgr", "mosaic", "close_mosaic", "mixup", "cutmix", "copy_paste"),
    *("multi_scale", "rect", "hsv_h", "hsv_s", "box", "cls", "dfl", "iou", "conf", "max_det", "classes"),
)
"""Arguments that Ultralytics takes for a classifier and uses for none of it, or for colour alone."""
_CHECKPOINTS = Resumable(
    kind=trainings.GATE,
    files=("",),
    no_file="expected a training's weights/last.pt, or its folder.",
    no_run="expected a training's weights/last.pt, or its folder.",
    remedy="start the training without resume.",
)


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
    if own["folds"] is not None:
        raise UserError("folds: several gates are trained by train.classifier.folds.train_folds, or by the command.")
    model = _prepare_model(wanted)
    data = check_data(os.fspath(yaml_file))
    material = Material(yaml_file, data, _make_view(data, own["fold"]))
    from train.classifier.tracking import GateLog
    from train.classifier.trainer import GateTrainer

    changed = {"model": model, "data": os.fspath(material.view.folder), **{name: own[name] for name in USE}}
    trainer = GateTrainer(overrides={**wanted, **changed})
    note_run(trainer.save_dir)
    with GateLog(trainer.save_dir, _config(trainer, material), own["group"], enabled=own["wandb"]) as log:
        log.hook_into(trainer)
        with explained(trainer):
            trainer.train()
        return finish(trainer.save_dir, material, own, words, log)


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


def _prepare_model(wanted: dict[str, Any]) -> str:
    """Check the arguments; find the model, and the weights to start from, which are put into `pretrained`."""
    if wanted.get("model") is None:
        raise UserError(
            "model: missing; name an image classifier: model=yolov8n-cls.pt, model=resnet50, model=timm:convnext_tiny, "
            f"or without pretrained weights model={shown(MODELS)}/basic-cnn-cls.yaml"
        )
    architecture = _find_architecture(str(wanted["model"]))
    model, download = (None, False) if architecture else find_model(wanted["model"])
    import_ultralytics(offline=not download, verbose=True)
    _check_arguments(wanted)
    check_place(wanted)
    check_device(wanted.get("device"))
    if architecture is not None:
        _prepare_start(wanted, architecture)
        return str(architecture)
    assert model is not None
    if download:
        download_weights(model)
    _check_classifier(model)
    find_pretrained(wanted)
    return os.fspath(model)


def _find_architecture(model: str) -> Architecture | None:
    """The library's network that is named; None for what is a file, or Ultralytics' own.

    A bare name such as `resnet50` is torchvision's, where no file has it.
    """
    if is_architecture(model):
        return Architecture.parse(model)
    if not Path(model).suffix and not Path(model).exists() and model in torchvision_names():
        return Architecture(TORCHVISION, model)
    return None


def is_to_be_fetched(model: Any) -> bool:
    """Whether a gate's model is one of Ultralytics' published weights that are not here yet.

    Raises:
        UserError: There is no such model.
    """
    return _find_architecture(str(model)) is None and find_model(model)[1]


def _prepare_start(wanted: dict[str, Any], architecture: Architecture) -> None:
    """Put the file that a library's network starts from into `pretrained`; False without one.

    Raises:
        UserError: There is no such file, or it does not fit.
        WorkError: It cannot be downloaded.
    """
    from evaluate.classifier.networks import ImageNetwork
    from train.classifier.pretrained import fetch, load_start

    tried = ImageNetwork(str(architecture), 2, wanted["imgsz"])
    tried.check()
    named = wanted.get("pretrained", True)
    if named is None or named is False:
        wanted["pretrained"] = False
        return
    file = fetch(architecture) if named is True else Path(str(named)).expanduser()
    if not file.is_file():
        raise UserError(
            f"pretrained: {named}: no such file. Name a state dict (.pt, .pth, .safetensors) of {architecture}, leave "
            "it out to download its published weights, or say pretrained=False to start from none."
        )
    load_start(tried, file)
    if seen := tried.yaml["pretrained_on"]:
        print_warning(f"pretrained: {shown(file)}: {seen}")
    wanted["pretrained"] = os.fspath(file.absolute())


def _config(trainer: Any, material: Material) -> dict[str, Any]:
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
    import evaluate.classifier.networks  # noqa: F401  # the checkpoint may hold one of these
    from train.classifier.tracking import GateLog

    _, checkpoint = load_resumable(last)
    arguments = checkpoint["train_args"]
    if arguments.get("task") != "classify":
        raise UserError(f"resume: {shown(last)} is no gate's (task {arguments.get('task')}); see train/train.py.")
    trained_on = Path(str(arguments["data"]))
    yaml_file = find_data(Path(str(given["data"])) if given.get("data") else trained_on.parent)
    data = check_data(os.fspath(yaml_file))
    fold = re.search(r"-fold(\d+)$", trained_on.name)
    material = Material(yaml_file, data, _make_view(data, int(fold[1]) if fold else None))
    run_dir = last.parent.parent
    # A finished checkpoint has Ultralytics' own arguments alone.
    begun = arguments_of(run_dir) if (run_dir / "args.yaml").is_file() else arguments
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
        return finish(run_dir, material, use, words, log)


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
    defaults = {**ultralytics_defaults(), **GATE_DEFAULTS}
    idle = [f"{name}={wanted[name]}" for name in _IDLE if name in wanted and wanted[name] != defaults[name]]
    if idle:
        _warn_once(
            f"{', '.join(idle)}: no effect on a gate, whose pictures are grey and are only cropped (scale=), mirrored "
            "(fliplr=, flipud=), erased (erasing=) and made brighter or darker (hsv_v=)"
        )


@cache
def _warn_once(message: str) -> None:
    """A warning that each of several gates would give."""
    print_warning(message)


def _check_classifier(model: Path) -> None:
    """Refuse a model whose last layer says what boxes there are."""
    from evaluate.classifier.networks import GreyNetwork  # whose checkpoints can be read from now on

    try:
        head = heads.head_of_file(model)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UserError(
            f"model: {shown(model)}: no classifier ({reason}); expected weights such as yolov8n-cls.pt, or a YAML as "
            "in train/models/."
        ) from error
    if head not in (heads.CLASSIFIER, GreyNetwork.__name__):
        raise UserError(
            f"model: {shown(model)}: its last layer is {head}; expected an image classifier (Classify), such as "
            f"yolov8n-cls.pt or {shown(MODELS)}/basic-cnn-cls.yaml."
        )


def _make_view(data: Mapping[str, Any], fold: int | None) -> ClassView:
    """The view of the data set that a data YAML names; a fold's YAML asks for that fold."""
    root, (first, *_) = root_of(data), _entries(data)
    named = re.fullmatch(r"fold(\d+)_val", first.stem)
    if named and fold not in (None, int(named[1])):
        raise UserError(f"fold={fold}: {shown(Path(data['yaml_file']))} is that of fold {named[1]}; name one fold.")
    return make_view(root, data["names"][positive_class(data["names"])], int(named[1]) if named else fold)


def root_of(data: Mapping[str, Any]) -> Path:
    """The folder of the data set that a data YAML names.

    Args:
        data: The YAML's content as Ultralytics sees it.

    Raises:
        UserError: It names several, or one that this project did not convert.
    """
    entries = _entries(data)
    roots = {find_root(entry if entry.is_dir() else entry.parent) for entry in entries}
    if len(roots) != 1:
        raise UserError(f"data: {data['yaml_file']}: its validation images are of several data sets; name one of them.")
    root = roots.pop()
    if root is None:
        raise UserError(
            f"data: {shown(Path(data['yaml_file']))}: no manifest.csv above {shown(entries[0])}, and it is what says "
            "which class an image has. A gate needs a data set of this project: python convert/rsna_to_yolo.py"
        )
    return root


def _entries(data: Mapping[str, Any]) -> list[Path]:
    return [Path(entry) for entry in (data["val"] if isinstance(data["val"], list) else [data["val"]])]
