"""What a training needs to go on after a kill as if nothing had happened, and Ultralytics' checkpoint does not hold.

Ultralytics resumes from the averaged weights (EMA) in half precision, with the optimizer in half precision too: the
curve makes a step. So the weights, their average and the optimizer are kept in full beside last.pt, in
`weights/state-<epoch>.pt`, until the training is finished. There are two such files for a moment, so that a kill at any
point leaves the one that belongs to last.pt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from common.files import PART, write_atomic
from common.quiet_ultralytics import import_ultralytics

import_ultralytics(verbose=True)
import torch
from torch import nn
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.torch_utils import unwrap_model

from train.detector.losses import RunningMean


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
            "mosaic": list(_mosaic_buffer(trainer) or ()),
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
    state = torch.load(file, map_location="cpu", weights_only=True)
    unwrap_model(trainer.model).load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["updates"]
    for saved, group in zip(state["optimizer"]["param_groups"], trainer.optimizer.param_groups, strict=True):
        saved["fused"] = group.get("fused")  # depends on the device that it runs on now
    trainer.optimizer.load_state_dict(state["optimizer"])
    means = list(_running_means(_criterion(trainer)))
    for mean, value in zip(means, state["running_means"], strict=len(means) > 0):
        mean.value = value.to(trainer.device)
    if _mosaic_buffer(trainer) is not None:
        for index in state["mosaic"]:
            trainer.train_loader.dataset.load_image(index)  # which puts it into the buffer
    return True


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


def _mosaic_buffer(trainer: Any) -> list[int] | None:
    """The pictures that a mosaic chooses from, where the pictures are loaded in this process."""
    loader = trainer.train_loader
    return getattr(loader.dataset, "buffer", None) if loader.num_workers == 0 else None
