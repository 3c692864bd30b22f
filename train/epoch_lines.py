"""What a training shows while it runs: a line for each epoch, of at most 79 columns, in a terminal and in a log alike.

    epoch     box     cls     dfl   mAP50    RSNA  at conf         best     left
     1/50   1.912   2.873   1.544   0.031   0.042    0.118    0.042 new   36 min
     2/50   1.655   1.980   1.401   0.094   0.101    0.204    0.101 new   35 min

Ultralytics' own bars and tables, which take four lines of 120 columns for an epoch, are silent meanwhile; its warnings
are not, and plain `yolo train` is as it was. In a terminal the line below the last tells how far the epoch is. Imports
nothing heavy.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

COLUMNS = 79
_HEAD_AGAIN = 25
"""Lines after which the head is repeated."""
_REMEMBERED = 5
"""Epochs whose mean duration tells what is left: the first is often the slowest."""
_LIVE_SECONDS = 0.5


class Column(NamedTuple):
    """A number of an epoch: its heading, its key in the trainer's metrics, and the width of its column."""

    heading: str
    key: str
    width: int = 8


class EpochLines:
    """Prints the lines of one training, in the process that validates."""

    def __init__(self, columns: Sequence[Column], score: Callable[[float], float] = float) -> None:
        """Say what an epoch is told by.

        Args:
            columns: What stands between the losses and the best.
            score: From what decides about the best epoch (higher is better) to what is shown of it.
        """
        self._columns, self._score = columns, score
        self._level = logging.INFO
        self._silent = False  # whether we have silenced Ultralytics
        self._printed = 0
        self._metrics: Any = None  # those of the epoch before
        self._began = self._shown = 0.0
        self._batch = 0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def hook_into(self, trainer: Any) -> None:
        """Print what the trainer does, through its callbacks."""
        trainer.add_callback("on_train_epoch_start", self._start)
        trainer.add_callback("on_train_batch_end", self._tell_progress)
        trainer.add_callback("on_train_epoch_end", self._tell_validation)
        trainer.add_callback("on_fit_epoch_end", self._end)

    def close(self) -> None:
        """Let Ultralytics speak again; after the training, however it has ended."""
        if self._silent:
            self._silent = False
            _erase()
            from ultralytics.utils import LOGGER

            LOGGER.setLevel(self._level)

    def _start(self, trainer: Any) -> None:
        from ultralytics.utils import LOGGER

        if not self._silent and LOGGER.isEnabledFor(logging.INFO):
            self._silent, self._level = True, LOGGER.getEffectiveLevel()
            self._metrics = trainer.metrics  # zeros, until the first validation
            LOGGER.setLevel(logging.WARNING)
        self._began, self._batch = time.monotonic(), 0

    def _tell_progress(self, trainer: Any) -> None:
        self._batch += 1
        now = time.monotonic()
        if self._silent and sys.stdout.isatty() and now - self._shown > _LIVE_SECONDS:
            self._shown = now
            share = self._batch / max(len(trainer.train_loader), 1)
            left = (now - self._began) * (1 / share - 1)
            _live(f"{_of_epochs(trainer)} {share:>7.0%} of its batches, {duration(left)} left of them")

    def _tell_validation(self, trainer: Any) -> None:
        if self._silent and sys.stdout.isatty():
            _live(f"{_of_epochs(trainer)}  validating")

    def _end(self, trainer: Any) -> None:
        # Ultralytics lets the final validation of best.pt look like an epoch.
        if not self._silent or not trainer.validator.training:
            return
        self._seconds.append(time.monotonic() - self._began)
        if self._printed % _HEAD_AGAIN == 0:
            self._print(self._head(trainer))
        self._printed += 1
        self._print(self._line(trainer))
        self._metrics = trainer.metrics
        if trainer.stop:
            stopper, done = trainer.stopper, trainer.epoch + 1
            if done < trainer.epochs and done - stopper.best_epoch >= stopper.patience:
                self._print(f"stopped: no better epoch than {stopper.best_epoch} for {stopper.patience} epochs")
            if sys.stdout.isatty():
                _live("validating the best epoch's weights")

    def _head(self, trainer: Any) -> str:
        width = _loss_width(trainer)
        losses = "".join(f"{name.removesuffix('_loss'):>{width}}" for name in trainer.tloss)
        middle = "".join(f"{column.heading:>{column.width}}" for column in self._columns)
        return f"{'epoch':>8}{losses}{middle}{'best':>13}{'left':>9}"

    def _line(self, trainer: Any) -> str:
        width, epoch = _loss_width(trainer), trainer.epoch + 1
        losses = "".join(f"{_number(float(loss)):>{width}}" for loss in trainer.tloss.values())
        validated = trainer.metrics is not self._metrics  # not, where val=False wants it
        numbers = [trainer.metrics.get(column.key) if validated else None for column in self._columns]
        middle = "".join(
            f"{_number(value):>{column.width}}" for column, value in zip(self._columns, numbers, strict=True)
        )
        left = (trainer.epochs - epoch) * sum(self._seconds) / len(self._seconds)
        ends = "" if trainer.stop else duration(left)
        return f"{_of_epochs(trainer)}{losses}{middle}{self._best(trainer, epoch):>13}{ends:>9}"

    def _best(self, trainer: Any, epoch: int) -> str:
        best = trainer.stopper.best_epoch
        if not best:
            return ""
        value = _number(self._score(float(trainer.stopper.best_fitness)))
        return f"{value} new" if best == epoch else f"{value} at {best}"

    def _print(self, line: str) -> None:
        _erase()
        print(line[:COLUMNS].rstrip(), flush=True)


def duration(seconds: float) -> str:
    """A time as one says it: `45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _of_epochs(trainer: Any) -> str:
    return f"{f'{trainer.epoch + 1}/{trainer.epochs}':>8}"


def _loss_width(trainer: Any) -> int:
    """As wide as the losses can be: those of a detector are three."""
    return min(8, 24 // max(len(trainer.tloss), 1))


def _number(value: float | None) -> str:
    """A number of three decimals; large and tiny ones as a power of ten, a dash for what is not known."""
    if value is None:
        return "-"
    is_plain = value == 0 or not math.isfinite(value) or 5e-4 <= abs(value) < 999.5
    return f"{value:.3f}" if is_plain else f"{value:.0e}"


def _live(text: str) -> None:
    print(f"\r{text[:COLUMNS]:<{COLUMNS}}", end="", flush=True)


def _erase() -> None:
    if sys.stdout.isatty():
        print(f"\r{'':<{COLUMNS}}\r", end="")
