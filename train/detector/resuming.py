"""What a training needs to go on after a kill as if nothing had happened, and Ultralytics does not give it.

- Ultralytics resumes from the averaged weights (EMA) in half precision, with the optimizer in half precision too: the
  curve makes a step. So the weights, their average and the optimizer are kept in full beside last.pt, in
  `weights/state-<epoch>.pt`, until the training is finished. There are two such files for a moment, so that a kill at
  any point leaves the one that belongs to last.pt.
- Where gradients are gathered over several batches (`batch` below `nbs`), an epoch ends between two steps. So the
  gradients are kept too, and after how many batches the next step is due: Ultralytics counts anew from a resume.
- Random numbers follow from the seed and the epoch's number in the training's process, and from the seed, the epoch and
  the image where pictures are loaded; see `train.detector.sampling`.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import PART, write_atomic
from common.locks import BusyError, acquire, release
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics

import_ultralytics(verbose=True)
import torch
from torch import distributed, nn
from ultralytics.cfg import get_save_dir
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

from train.detector import sampling
from train.detector.losses import RunningMean

if TYPE_CHECKING:  # the classes that the one below is put before are Ultralytics', and have no types
    from typing import Any as _Mixin

    from filelock import FileLock
else:
    _Mixin = object


class ExactResume(_Mixin):
    """A trainer that goes on after a kill as if nothing had happened; put before the Ultralytics class that trains.

    Its training loader is one of `train.detector.sampling.drawn_loader`.
    """

    last: Any
    best: Any
    start_epoch: int

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        self._batch = -1  # that the training is at, counted from its first epoch on
        self._last_step = -1  # the batch of the optimizer's last step
        self._gathered: dict[str, torch.Tensor] = {}  # gradients of a resumed training, until it begins
        self._lock: FileLock | None = None
        workers = (overrides or {}).get("workers")
        try:
            super().__init__(cfg, overrides, _callbacks)
        except BaseException:
            release(self._lock)
            raise
        if workers is not None:  # on a CPU Ultralytics sets 0, also against what was asked for
            self.args.workers = workers

    # --- the run's folder

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Take over a checkpoint's arguments, and then, before anything is written, the run's folder for this process.

        Raises:
            WorkError: Another training is at work in the folder.
        """
        super().check_resume(overrides)
        if RANK == -1:  # of several processes, the one that starts the others
            self._lock = lock_run(self.args)

    def train(self) -> None:
        """Train, and give the run's folder free."""
        try:
            super().train()
        finally:
            release(self._lock)

    # --- the training's steps

    def run_callbacks(self, event: str) -> None:
        """Besides the callbacks: begin an epoch, and make the optimizer's steps where they are due."""
        if event == "on_train_epoch_start":
            self._begin_epoch()
        elif event == "on_train_batch_start":
            self._batch += 1
        elif event == "on_train_batch_end" and self._is_step_due():
            self.optimizer_step()
        super().run_callbacks(event)

    def _begin_epoch(self) -> None:
        """Let the epoch's random numbers and pictures depend on nothing but the seed and its number."""
        seed = self.args.seed + 1 + RANK + 10_007 * (self.epoch + 1)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # the generator that Ultralytics draws from
        torch.manual_seed(seed)
        sampling.begin_epoch(self.train_loader, self.epoch)
        self._batch = self.epoch * len(self.train_loader) - 1
        for name, weights in unwrap_model(self.model).named_parameters() if self._gathered else ():
            if name in self._gathered and weights.requires_grad:  # Ultralytics has cleared them since it was set up
                weights.grad = self._gathered[name].to(weights.device)
        self._gathered = {}

    def _is_step_due(self) -> bool:
        return self._batch - self._last_step >= self.accumulate

    def optimizer_step(self) -> None:
        """Make a step if the undisturbed training makes one here.

        Ultralytics asks for one at the first batch after a resume, and counts on from there.
        """
        if self._is_step_due():
            super().optimizer_step()
            self._last_step = self._batch

    def _build_train_pipeline(self) -> None:
        """Make the loaders, also with smaller batches after the memory did not suffice; then the count begins anew."""
        super()._build_train_pipeline()
        self._last_step = -1

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Go back to last.pt after a loss that is no number, with the loss as it was then, too."""
        start = self.start_epoch
        if self.resume:  # where Ultralytics does not, as in a training's first epoch there is no last.pt yet
            self.start_epoch = -1
        try:
            recovered: bool = super()._handle_nan_recovery(epoch)
        finally:
            self.start_epoch = start
        if recovered:
            self._last_step = -1
            restore_criterion(self, epoch)
        return recovered

    def numbered(self, loader: Any, draw: sampling.Draw, rank: int, *, drop_last: bool = False) -> Any:
        """A loader that gives epochs of a draw by their number, for this process; see `sampling.drawn_loader`."""
        shared = rank != -1
        return sampling.drawn_loader(
            loader,
            draw,
            rank=distributed.get_rank() if shared else 0,
            processes=distributed.get_world_size() if shared else 1,
            drop_last=drop_last,
        )

    # --- checkpoints

    def is_best(self) -> bool:
        """Whether the epoch's weights are to be best.pt: as Ultralytics decides."""
        return self.best_fitness == self.fitness

    def save_model(self) -> Any:
        """Save last.pt, and best.pt if this epoch is the best, each whole or not at all."""
        last, best = self.last, self.best
        self.last, self.best = Path(f"{last}{PART}"), Path(f"{best}{PART}")
        try:
            saved = super().save_model()
        finally:
            part, best_part = self.last, self.best
            self.last, self.best = last, best
        save_state(self)
        if self.is_best() and best_part.exists():
            os.replace(best_part, best)
        best_part.unlink(missing_ok=True)
        os.replace(part, last)
        remove_states(self.wdir, but_of=self.epoch)
        return saved

    def final_eval(self) -> None:
        """Strip best.pt of what only a resume needs, and validate it; last.pt too unless its state is to be kept.

        Ultralytics writes them in place; here it does so to copies, so that a kill leaves whole files.
        """
        if RANK not in {-1, 0}:
            super().final_eval()
            return
        last, best = self.last, self.best
        keep = bool(getattr(self.args, "keep_state", False))
        copies = {file: file.with_name(f"{file.stem}{PART}.pt") for file in (last, best) if file.exists()}
        for file, copy in copies.items():
            shutil.copyfile(file, copy)
        self.last, self.best = (copies.get(file, file) for file in (last, best))
        try:
            super().final_eval()
            if not keep:
                remove_states(self.wdir)
            for file, copy in copies.items():
                if file != last or not keep:
                    os.replace(copy, file)
        finally:
            self.last, self.best = last, best
            for copy in copies.values():
                copy.unlink(missing_ok=True)

    # --- resume

    def resume_training(self, ckpt: Any) -> None:
        """Continue where the checkpoint was written, as if nothing had happened."""
        super().resume_training(ckpt)
        if ckpt is None or not self.resume:
            return
        self.prepare_criterion()
        if not load_state(self, epoch=self.start_epoch - 1):
            LOGGER.warning("No full state beside last.pt: continuing from the averaged weights, as Ultralytics does.")
        if RANK in {-1, 0}:
            cut_results(self.csv, self.start_epoch)

    def prepare_criterion(self) -> None:
        """Put in the loss that a resumed training goes on with; its state is loaded afterwards."""

    def set_progress(self, gradients: dict[str, torch.Tensor], batches_since_step: int) -> None:
        """Say what was gathered before the first batch of a resumed training, and over how many batches."""
        self._gathered = gradients
        self._last_step = self.start_epoch * len(self.train_loader) - 1 - batches_since_step

    @property
    def batches_since_step(self) -> int:
        """How many batches the gradients have been gathered over."""
        return self._batch - self._last_step


def lock_run(arguments: Any) -> FileLock | None:
    """Take the folder that a training writes into, and put it into its arguments.

    The lock lies beside the folder, which Ultralytics may remove and make anew.

    Returns:
        What `release` gives free; None where nothing can be locked.

    Raises:
        WorkError: Another training is at work in the folder.
    """
    while True:
        folder = get_save_dir(arguments)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # a read-only place: making the run's folder says so
            return None
        busy = f"{shown(folder)}: another training is at work in it. Wait until it ends, or choose another name=."
        try:
            lock = acquire(folder.with_name(f".{folder.name}.lock"), busy)
        except BusyError:
            if arguments.exist_ok or getattr(arguments, "save_dir", None):
                raise
            time.sleep(0.1)  # it has just begun, and so this is no longer free
            continue
        if lock is None:
            return None
        if get_save_dir(arguments) == folder:
            arguments.save_dir = os.fspath(folder)
            return lock
        release(lock)  # another training has begun in between


def save_state(trainer: Any) -> None:
    """Write the state after the trainer's current epoch."""
    file = _state_file(trainer.wdir, trainer.epoch)
    part = Path(f"{file}{PART}")
    torch.save(
        {
            "epoch": trainer.epoch,
            "model": unwrap_model(trainer.model).state_dict(),
            "ema": trainer.ema.ema.state_dict(),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "gradients": {
                name: weights.grad
                for name, weights in unwrap_model(trainer.model).named_parameters()
                if weights.grad is not None
            },
            "batches_since_step": trainer.batches_since_step,
            "running_means": [mean.value for mean in _running_means(_criterion(trainer))],
        },
        part,
    )
    os.replace(part, file)


def load_state(trainer: Any, epoch: int) -> bool:
    """Put the trainer into the state after `epoch` (counted from 0); False if it was not kept."""
    file = _state_file(trainer.wdir, epoch)
    if not file.is_file():
        return False
    state = _read_state(file)
    unwrap_model(trainer.model).load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["updates"]
    for saved, group in zip(state["optimizer"]["param_groups"], trainer.optimizer.param_groups, strict=True):
        saved["fused"] = group.get("fused")  # depends on the device that it runs on now
    trainer.optimizer.load_state_dict(state["optimizer"])
    _set_running_means(trainer, state)
    if "gradients" in state:  # not in those of an earlier version
        trainer.set_progress(state["gradients"], state["batches_since_step"])
    return True


def restore_criterion(trainer: Any, epoch: int) -> None:
    """Give the loss the state that it had before `epoch`: WIoU's mean, the weights of an end-to-end head's branches.

    Where no state was kept, the mean begins anew.
    """
    criterion = _criterion(trainer)
    if isinstance(criterion, E2ELoss):
        criterion.updates = epoch - 1
        criterion.update()
    file = _state_file(trainer.wdir, epoch - 1)
    if file.is_file():
        _set_running_means(trainer, _read_state(file))
    else:
        for mean in _running_means(criterion):
            mean.value = torch.tensor(1.0)


def _read_state(file: Path) -> dict[str, Any]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"resume: {shown(file)}: damaged ({type(error).__name__}: {reason}). Remove it and resume again: then the "
            "training goes on from last.pt alone, which is less exact."
        ) from error


def _set_running_means(trainer: Any, state: dict[str, Any]) -> None:
    means = list(_running_means(_criterion(trainer)))
    for mean, value in zip(means, state["running_means"], strict=len(means) > 0):
        mean.value = value.to(trainer.device)


def strip(file: Path) -> None:
    """Take out of a checkpoint what only a resume needs."""
    part = Path(f"{file}{PART}")
    strip_optimizer(str(file), str(part))
    os.replace(part, file)


def remove_states(folder: Path, but_of: int | None = None) -> None:
    """Remove the states in `folder`, except that after epoch `but_of`."""
    for file in folder.glob("state-*.pt*"):
        if but_of is None or file != _state_file(folder, but_of):
            file.unlink(missing_ok=True)


def cut_results(csv: Path, epochs: int) -> None:
    """Leave `epochs` epochs in results.csv: a kill may have come between an epoch's row and its checkpoint."""
    if not csv.is_file():
        return
    head, *rows = csv.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [row for row in rows if row.endswith("\n") and row.count(",") == head.count(",")]
    kept = [row for row in whole if float(row.split(",")[0]) <= epochs]
    if kept != rows:
        write_atomic(csv, head + "".join(kept))


def _state_file(folder: Path, epoch: int) -> Path:
    return folder / f"state-{epoch}.pt"


def _criterion(trainer: Any) -> Any:
    return getattr(unwrap_model(trainer.model), "criterion", None)


def _running_means(part: Any, depth: int = 8) -> Iterator[RunningMean]:
    """Find WIoU's running means in a criterion, always in the same order."""
    if isinstance(part, RunningMean):
        yield part
    elif isinstance(part, partial):
        yield from _running_means(part.keywords, depth - 1)
    elif isinstance(part, dict) and depth:
        for value in part.values():
            yield from _running_means(value, depth - 1)
    elif isinstance(part, nn.Module | v8DetectionLoss | E2ELoss) and depth:
        yield from _running_means(vars(part), depth - 1)
