"""What can be wrong with a training before its first batch, and is refused in words before anything is written."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import UserError, WorkError
from common.files import check_writable
from common.paths import shown, typed
from common.quiet_ultralytics import no_network
from train.detector.locating import download_weights, find_model
from train.settings.arguments import ultralytics_defaults
from train.settings.options import DEFAULTS


def check_place(wanted: Mapping[str, Any]) -> None:
    """Refuse a place for the run where nothing can be written.

    Raises:
        UserError: See above.
    """
    named = wanted.get("save_dir") or wanted["project"]
    check_writable(Path(str(named)).expanduser(), "project:", "Choose another: project=FOLDER")


def check_augmentations(wanted: Mapping[str, Any]) -> None:
    """Refuse augmentations of a library that is not here.

    Raises:
        UserError: See above.
    """
    if wanted.get("augmentations") and importlib.util.find_spec("albumentations") is None:
        raise UserError(
            "augmentations: they are Albumentations', which this project does not install. Install it beside: "
            "python -m pip install albumentations"
        )


def find_pretrained(wanted: dict[str, Any]) -> None:
    """Put the full path of the weights that a training starts from into the arguments, where `pretrained` names some.

    Raises:
        UserError: They are no weights, or no such file is here or published by Ultralytics.
        WorkError: They cannot be downloaded.
    """
    named = wanted.get("pretrained")
    if not isinstance(named, str):
        return
    try:
        file, download = find_model(named)
        if download:
            download_weights(file)
    except WorkError:
        raise
    except UserError:
        raise UserError(
            f"pretrained: {named}: no such file. Name weights (.pt), or say pretrained=False to start from none."
        ) from None
    if file.suffix != ".pt":
        raise UserError(f"pretrained: {named}: expected weights (.pt); a model's YAML is what model= names.")
    check_weights(file, "pretrained")
    wanted["pretrained"] = os.fspath(file)


def check_weights(file: Path, argument: str) -> None:
    """Refuse a file that is no checkpoint of Ultralytics'.

    Args:
        file: The file.
        argument: Which argument named it.

    Raises:
        UserError: See above.
    """
    from ultralytics.nn.tasks import load_checkpoint

    try:
        with no_network():
            load_checkpoint(file)
    except Exception as error:
        raise UserError(
            f"{argument}: {shown(file)}: cannot be loaded as weights ({_reason(error)}); expected a checkpoint as "
            "Ultralytics writes it."
        ) from error


def load_resumable(last: Path) -> tuple[Any, dict[str, Any]]:
    """The model in a checkpoint that is to be gone on with, and the checkpoint.

    Raises:
        UserError: It cannot be read, or is no training's.
    """
    from ultralytics.nn.tasks import load_checkpoint

    try:
        with no_network():
            model, checkpoint = load_checkpoint(last)
        checkpoint["train_args"].keys()
    except Exception as error:
        raise UserError(
            f"resume: {shown(last)}: not a training's checkpoint, or a damaged one ({type(error).__name__}: "
            f"{_reason(error)}). "
            "Name another one (save_period=N keeps epoch*.pt), or start the training anew without resume."
        ) from error
    return model, checkpoint


def _reason(error: Exception) -> str:
    """What Ultralytics says of a file that it does not load, without its advice to take one of its own."""
    return " ".join(str(error).split("Use an official")[0].replace("ERROR ❌️", "").split())[:160]


def check_judged_by_score(last: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse to go on with a training of plain `yolo train`.

    Its best.pt was chosen by the mAP, and its results.csv has no RSNA score: two measures would be mixed.

    Args:
        last: Its checkpoint.
        arguments: The arguments that the checkpoint holds.

    Raises:
        UserError: See above.
    """
    if DEFAULTS.keys() & arguments.keys():
        return
    raise UserError(
        f"resume: {shown(last)} is of plain `yolo train`, whose best epoch was chosen by mAP, not by the RSNA score. "
        f"Go on with it by: yolo train resume model={shown(last)}, start a new training from its weights: "
        f"python train/train.py model={typed(last)} epochs=N, or name another run: resume=FOLDER"
    )


def words_for_new_length(
    arguments: Mapping[str, Any], epochs: int, close_mosaic: int, done: int, *, branches: bool
) -> str:
    """What becomes of the schedules where a training goes on to another number of epochs than it was begun for.

    Args:
        arguments: Those that it was begun with.
        epochs: The new number.
        close_mosaic: Epochs without mosaics at the end, from now on.
        done: Epochs that are done.
        branches: Whether the head is an end-to-end one, whose two branches are weighed by a schedule, too.
    """
    old, without = arguments["epochs"], arguments["close_mosaic"]
    before, now = _rate_share(arguments, done - 1, old), _rate_share(arguments, done, epochs)
    words = [f"the learning rate goes from {before:.3f} of lr0 in epoch {done} to {now:.3f} in epoch {done + 1}"]
    last = epochs - close_mosaic
    if arguments["mosaic"] and without and old - without < done < last:
        words.append(f"mosaics, off since epoch {old - without + 1}, are on again up to epoch {last}")
    elif arguments["mosaic"] and close_mosaic and done < last:
        words.append(f"mosaics are on up to epoch {last}")
    if branches:  # as `E2ELoss.decay`
        before, now = (0.1 + 0.7 * max(1 - at / max(of - 1, 1), 0) for at, of in ((done - 1, old), (done, epochs)))
        words.append(f"the one-to-many branch counts {now:.3f} instead of {before:.3f}")
    return (
        f"epochs={epochs} instead of {old}: the schedules are laid anew over {epochs} epochs, so what comes out is not "
        f"what a training begun with epochs={epochs} gives: {'; '.join(words)}."
    )


def _rate_share(arguments: Mapping[str, Any], epoch: int, epochs: int) -> float:
    """The learning rate after the warm-up in an epoch (from 0), as a share of lr0."""
    least = arguments["lrf"]
    if arguments["cos_lr"]:
        return max((1 - math.cos(epoch * math.pi / epochs)) / 2, 0) * (least - 1) + 1
    return max(1 - epoch / epochs, 0) * (1 - least) + least


def check_classes(wanted: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse numbers of classes that the data set does not have; without them every image would be a negative.

    Raises:
        UserError: See above.
    """
    chosen = wanted.get("classes")
    if chosen is None:
        return
    names = data["names"]
    unknown = [number for number in ([chosen] if isinstance(chosen, int) else chosen) if number not in names]
    if unknown:
        raise UserError(
            f"classes: found {', '.join(map(str, unknown))}; the data set's classes are "
            f"{', '.join(f'{number} ({name})' for number, name in list(names.items())[:20])}."
        )


_IDLE = {
    "copy_paste": "it cuts out by outlines, and the labels are boxes",
    "erasing": "only classifiers erase",
    "auto_augment": "only classifiers have it",
}
"""Arguments that do nothing in the training of a detector on boxes, and why."""


def warn_of_idle(given: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Say so when augmentation is asked for that does nothing here, or other than it seems.

    Args:
        given: The arguments.
        data: The data YAML's content, with `channels`.
    """
    differing = {name: value for name, value in given.items() if value and value != ultralytics_defaults().get(name)}
    colour = [f"{name}={differing[name]}" for name in ("hsv_h", "hsv_s", "hsv_v") if name in differing]
    if colour and data["channels"] == 1:  # where Ultralytics leaves it out
        print_warning(f"{', '.join(colour)}: no effect on pictures of one channel; use gamma= and contrast= instead.")
    for name, reason in _IDLE.items():
        if name in differing:
            print_warning(f"{name}={differing[name]}: no effect, since {reason}; leave it out.")
    if "degrees" in differing:
        print_warning(
            f"degrees={differing['degrees']}: the box of a turned box grows beyond what it is around; rotation= fits "
            "it to what was turned."
        )


@contextlib.contextmanager
def building(model: Any) -> Iterator[None]:
    """Say in one line what is wrong with a model's description, which fails in as many ways as Python does.

    Args:
        model: The file that describes it.

    Raises:
        UserError: The network cannot be built.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"model: {shown(Path(str(model)))}: no network can be built from it ({type(error).__name__}: {reason}). "
            "Check its layers' names and arguments; train/models/ has examples."
        ) from error


@contextlib.contextmanager
def explained(trainer: Any) -> Iterator[None]:
    """Turn what a machine may lack into one line; remove the run's folder again where nothing was trained.

    Args:
        trainer: Of Ultralytics.

    Raises:
        UserError: All of the network is frozen.
        WorkError: Memory or the disk did not suffice.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise WorkError(
            f"the GPU's memory does not suffice for batch={trainer.args.batch} imgsz={trainer.args.imgsz} (its "
            f"message: {' '.join(str(error).split())[:120]}). Take a smaller batch or imgsz; batch=-1 finds one."
        ) from error
    except FileNotFoundError as error:
        missing = re.findall(r"Image Not Found (.+)", str(error))  # a worker's message has the line of code, too
        if not missing:
            raise
        raise WorkError(
            f"{missing[-1]}: cannot be read any more; expected the pictures of the data set where they were when the "
            f"training began. Put them back, and go on with resume={typed(trainer.save_dir)} after the first epoch, or "
            "else start again."
        ) from error
    except RuntimeError as error:
        if "froze the entire model" in str(error):
            raise UserError(
                f"freeze: found {trainer.args.freeze}, which leaves nothing of the network to train; expected fewer "
                "layers."
            ) from error
        if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
            raise
        raise WorkError(
            f"{shown(trainer.save_dir)}: a checkpoint cannot be written; is the disk full? Free space, and go on with "
            f"resume={typed(trainer.save_dir)} after the first epoch, or else start again."
        ) from error
    finally:
        _remove_empty(Path(trainer.save_dir))


def _remove_empty(run: Path) -> None:
    """Remove a run's folder that holds nothing but its arguments."""
    with contextlib.suppress(OSError):  # not there, or another's
        if {path.name for path in run.rglob("*") if path.is_file()} <= {"args.yaml"}:
            (run / "args.yaml").unlink(missing_ok=True)
            (run / "weights").rmdir()
            run.rmdir()
