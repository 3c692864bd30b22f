"""One training from its arguments to `runs/best.pt`: what the command `train/train.py` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.data.fingerprint import data_fingerprint
from common.errors import UserError, WorkError
from common.paths import shown, typed
from common.quiet_ultralytics import import_ultralytics
from common.tracking.runs import logged_at
from train.detector import heads
from train.detector.best_run import Outcome, offer
from train.detector.locating import check_data, download_weights, find_data, find_last, find_model
from train.detector.results import best_epoch
from train.detector.starting import (
    check_augmentations,
    check_classes,
    check_judged_by_score,
    check_place,
    check_weights,
    explained,
    find_pretrained,
    load_resumable,
    warn_of_idle,
    words_for_new_length,
)
from train.settings.arguments import COMMAND_DEFAULTS, check_values, ultralytics_defaults
from train.settings.command_line import note_run
from train.settings.options import DEFAULTS, LABELS, LOSS
from train.settings.values import check_device

_MAY_CHANGE = {
    *("epochs", "imgsz", "batch", "device", "close_mosaic", "save_period", "workers", "cache", "patience", "time"),
    *("freeze", "val", "plots", "channels_last", "save_dir", "exist_ok", "resume", "model", "data", "project", "name"),
    *("verbose", "keep_state", "wandb"),
}
"""What a resumed training may be told anew."""


@dataclass(frozen=True)
class Trained:
    """A finished training: its best weights, epoch (from 1), RSNA score and confidence on val, and best.pt's fate.

    `logged_at` is where its W&B run can be seen, or how to upload it; empty where it was not logged.
    """

    weights: Path
    epoch: int
    score: float
    confidence: float
    fixed_score: float
    outcome: Outcome | None
    logged_at: str = ""


@dataclass(frozen=True)
class _Request:
    """What was asked for.

    Attributes:
        given: The arguments that were given.
        project: The folder of the runs, absolute.
        update_best: Whether best.pt is to take the run into account.
        after_epoch: Called with the trainer when an epoch's checkpoint is written.
        take_finished: See `train_detector`.
    """

    given: Mapping[str, Any]
    project: Path
    update_best: bool
    after_epoch: Callable[[Any], None] | None
    take_finished: bool = False

    def train(self, trainer: Any) -> None:
        """Train."""
        if self.after_epoch is not None:
            trainer.add_callback("on_model_save", self.after_epoch)
        note_run(Path(trainer.save_dir))
        with explained(trainer):
            trainer.train()


def train_detector(
    arguments: Mapping[str, Any],
    *,
    update_best: bool = True,
    after_epoch: Callable[[Any], None] | None = None,
    take_finished: bool = False,
) -> Trained:
    """Train a detector: `train_detector({"data": "datasets/rsna", "model": "yolov8m.pt", "epochs": 50})`.

    Args:
        arguments: Arguments of `yolo train` and ours (`train.settings.options.OWN`) by name; what is missing has the
            defaults of `train/train.py`. `resume` goes on with a training.
        update_best: Take the run into account in best.pt; otherwise `outcome` is None.
        after_epoch: Called with the trainer when an epoch's checkpoint is written.
        take_finished: With `resume`, give what a training has come to that is finished, instead of saying how it could
            be trained on.

    Returns:
        The best weights, and how good they are.

    Raises:
        UserError: Data, weights or an argument's value are not usable, or there is nothing to resume.
        WorkError: Weights cannot be downloaded, or the training ended without a checkpoint.
    """
    wanted = _with_defaults(arguments)
    project = Path(str(wanted["project"])).expanduser().absolute()
    wanted["project"] = os.fspath(project)
    request = _Request(arguments, project, update_best, after_epoch, take_finished)
    resume = wanted.pop("resume", False)
    if resume:
        return _resume(find_last(resume, project, arguments.get("name"), wanted.get("model")), request)
    model, data = _prepare(wanted)
    trainer = trainer_class(model)(overrides=wanted)
    request.train(trainer)
    return _finish(trainer.save_dir, wanted["data"], data, request)


def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what `train_detector` would refuse before it trains; fetch the weights, convert the data if need be.

    Returns:
        The data YAML's content as Ultralytics sees it.

    Raises:
        UserError: See `train_detector`.
        WorkError: See `train_detector`.
    """
    return _prepare(_with_defaults(arguments))[1]


def _with_defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**COMMAND_DEFAULTS, **{name: value for name, value in arguments.items() if value is not None}}


def _prepare(wanted: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Find model and data, whose full paths are put into the arguments, and check these."""
    wanted["data"] = os.fspath(find_data(Path(str(wanted["data"]))))
    model, download = find_model(wanted.get("model"))
    fetched = download or str(wanted.get("pretrained")).endswith(".pt")
    import_ultralytics(offline=not fetched, verbose=True)
    check_arguments(wanted)
    check_place(wanted)
    check_device(wanted.get("device"))
    check_augmentations(wanted)
    if download:
        download_weights(model)
    find_pretrained(wanted)
    data = check_data(wanted["data"])
    check_classes(wanted, data)
    check_sampling(wanted, data)
    warn_of_idle(wanted, data)
    wanted["model"] = os.fspath(model)
    return model, data


def _resume(last: Path, request: _Request) -> Trained:
    """Go on with a training; its best.pt is that of the project, or else of the folder it was started in."""
    import_ultralytics(verbose=True)
    model, checkpoint = load_resumable(last)
    given, arguments = request.given, checkpoint["train_args"]
    run_dir = last.resolve().parent.parent
    if not given.get("project"):
        request = replace(request, project=_project_of(run_dir, arguments))
    if checkpoint.get("optimizer") is None or checkpoint.get("epoch", -1) < 0:
        if request.take_finished:
            return _take(run_dir, request)
        raise UserError(
            f"resume: {shown(last)} is finished, and what training on would need was not kept. To train on from "
            f"its weights, start a new training: python train/train.py model={typed(last)} epochs=N"
        )
    check_judged_by_score(last, arguments)
    changed = [
        f"{name}={value}"
        for name, value in given.items()
        if name not in _MAY_CHANGE and value != {**ultralytics_defaults(), **DEFAULTS, **arguments}.get(name)
    ]
    if changed:
        raise UserError(
            f"resume: {', '.join(changed)} cannot change in the middle of a training ({shown(last)}). Leave it out, or "
            "start a new training without resume."
        )
    data_yaml = find_data(Path(str(given.get("data") or arguments["data"])))
    data = check_data(os.fspath(data_yaml))
    epochs = given.get("epochs") or arguments["epochs"]
    done = checkpoint["epoch"] + 1
    stopper = checkpoint.get("stopper") or {}
    waited = done - stopper.get("best_epoch", done)
    patience = given.get("patience", arguments.get("patience")) or float("inf")
    if done >= epochs or waited >= patience:
        if not request.take_finished:
            _warn_finished(last, done, waited if done < epochs else None)
        _complete(run_dir, {**arguments, **given}, done)
        return _finish(run_dir, os.fspath(data_yaml), data, request)
    if epochs != arguments["epochs"]:
        ended = given.get("close_mosaic", arguments["close_mosaic"])
        print_warning(words_for_new_length(arguments, epochs, ended, done, branches=heads.is_end_to_end(model)))
    again = {name: given[name] for name in given.keys() & (_MAY_CHANGE - {"model", "project", "name", "exist_ok"})}
    again |= {"resume": os.fspath(last), "data": os.fspath(data_yaml), "save_dir": os.fspath(run_dir)}
    request.train(_trainer_for(heads.head_of(model))(overrides=again))
    return _finish(run_dir, os.fspath(data_yaml), data, request)


def _take(run_dir: Path, request: _Request) -> Trained:
    """Give what a finished training has come to that kept nothing to go on with."""
    import yaml

    arguments = {**yaml.safe_load((run_dir / "args.yaml").read_text(encoding="utf-8")), **request.given}
    data_yaml = find_data(Path(str(arguments["data"])))
    epochs = len((run_dir / "results.csv").read_text(encoding="utf-8").splitlines()) - 1
    _complete(run_dir, arguments, epochs)
    return _finish(run_dir, os.fspath(data_yaml), check_data(os.fspath(data_yaml)), request)


def _complete(run_dir: Path, arguments: Mapping[str, Any], done: int) -> None:
    """Bring to its end what a kill during the last validation, or after it, has left undone."""
    from train.detector import resuming
    from train.detector.tracking import complete

    last, best = run_dir / "weights" / "last.pt", run_dir / "weights" / "best.pt"
    if best.is_file() and load_resumable(best)[1].get("optimizer") is not None:
        resuming.strip(best)
    if not arguments.get("keep_state", True):
        resuming.strip(last)
        resuming.remove_states(last.parent)
    if arguments.get("wandb"):
        complete(run_dir, done, arguments.get("group"))


def _project_of(run_dir: Path, arguments: Mapping[str, Any]) -> Path:
    """The folder of the runs that a run is one of; its parent, where the run was moved since."""
    project = Path(str(arguments.get("project") or run_dir.parent)).absolute()
    return project if project.resolve() in run_dir.parents else run_dir.parent


def _warn_finished(last: Path, done: int, waited: int | None) -> None:
    if waited is None:
        what, remedy = f"finished after {done} epochs", f"epochs=N, more than {done}"
    else:
        what = f"stopped early after {done} epochs, {waited} of them without a better one"
        remedy = f"patience=N, more than {waited}; 0 never stops"
    print_warning(f"resume: the training of {shown(last)} is {what}. To train on: resume={typed(last)} {remedy}")


def check_arguments(wanted: Mapping[str, Any]) -> None:
    """Refuse wrong values before the data are converted or a folder is made."""
    from train.detector import sampling
    from train.detector.criterion import LossSettings

    check_values(wanted, DEFAULTS)
    LossSettings(**{name: wanted[name] for name in LOSS if name in wanted})
    sampling.check_arguments(wanted.get("negatives"), wanted.get("hard_negatives"))
    for name, argument in LABELS.items():
        argument.check(name, wanted.get(name, argument.default))


def check_sampling(wanted: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse to draw from data that do not allow it, before a run's folder is made or other processes are started.

    Args:
        wanted: The training's arguments.
        data: Its data YAML's content as Ultralytics sees it.

    Raises:
        UserError: See above.
    """
    if wanted.get("negatives") is None:
        return
    from train.detector import sampling
    from train.detector.dataset import build_dataset

    args = check_values({**wanted, "cache": False}, DEFAULTS)
    found = build_dataset(args, data["train"], 1, dict(data), "train", stride=32)
    sampling.make_draw(found.im_files, found.labels, args.negatives, args.hard_negatives)


def _finish(run_dir: Path, data_yaml: str, data: Mapping[str, Any], request: _Request) -> Trained:
    """Say what has come out, best.pt's fate included."""
    import yaml

    weights = run_dir / "weights" / "best.pt"
    epoch, score, confidence, fixed_score = best_epoch(run_dir / "results.csv")
    if not weights.is_file():
        raise WorkError(f"{shown(weights)}: the training left no weights. Its own messages above say why.")
    arguments = yaml.safe_load((run_dir / "args.yaml").read_text(encoding="utf-8"))
    outcome = None
    if request.update_best:
        outcome = offer(request.project, weights, score, data_fingerprint(data), data_yaml, arguments)
    logged = logged_at(run_dir) if arguments.get("wandb") else ""
    return Trained(weights, epoch, score, confidence, fixed_score, outcome, logged)


def trainer_class(model: Path) -> Any:
    """The trainer that a model needs.

    Args:
        model: Weights (`.pt`) or a model's YAML.

    Raises:
        UserError: The file is neither.
    """
    try:
        head = heads.head_of_file(model)
    except UserError:
        raise
    except Exception as error:
        if model.suffix == ".pt":
            check_weights(model, "model")
        reason = " ".join(str(error).split())
        raise UserError(
            f"model: {shown(model)}: no YAML of a model ({type(error).__name__}: {reason[:120]}); see train/models/."
        ) from error
    return _trainer_for(head)


def _trainer_for(head: str) -> Any:
    """RT-DETR has a trainer of its own."""
    from train.detector.trainer import RSNARTDETRTrainer, RSNATrainer

    return RSNARTDETRTrainer if head == heads.RTDETR else RSNATrainer
