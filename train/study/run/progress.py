"""What a study shows while it runs: one line for each trial that is over, and a bar where there is a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from common.cli import console
from common.pages.wording import is_number
from train.epoch_lines import duration
from train.study.trial_record import STOPPED, TrialRecord


class StudyProgress:
    """Counts trials; to be used with `with`."""

    def __init__(self, total: int, done: int, at_once: int) -> None:
        """Take up the count.

        Args:
            total: All trials of the study.
            done: Those that were over before.
            at_once: How many run at a time.
        """
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._total, self._done, self._before = total, done, done
        self._at_once, self._started = at_once, time.monotonic()
        self._shown: set[str] = set()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console(), transient=True)
        self._task = self._bar.add_task("training", total=total, completed=done)

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, record: TrialRecord) -> None:
        """A trial is over; a second time for the same trial does nothing."""
        if record.id in self._shown:
            return
        self._shown.add(record.id)
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        self._bar.console.print(f"[{self._done}/{self._total}] {describe(record)}; {self._left()}")

    def skip(self, trials: int) -> None:
        """These trials will not be run."""
        self._total -= trials
        self._bar.update(self._task, total=self._total)

    def _left(self) -> str:
        left, here = self._total - self._done, self._done - self._before
        if not left:
            return "the last"
        seconds = (time.monotonic() - self._started) / here * left
        return f"{left} left, about {duration(seconds)}"


def describe(record: TrialRecord) -> str:
    """One line about a trial: settings, score, seconds."""
    settings = " ".join(f"{name}={value}" for name, value in record.settings.items())
    fold = f"fold {record.fold}" if record.fold is not None else f"seed {record.seed}"
    heading = f"{record.id} {settings} {fold}"
    if record.has_failed or record.val is None:
        return f"{heading}: FAILED: {record.error}"
    low, high = record.val.interval_95
    interval = f" ({low:.4f}-{high:.4f})" if is_number(low) and is_number(high) else ""  # none of few patients
    on_test = f", test {record.test.score:.4f}" if record.test else ""
    stopped = ", stopped" if record.status == STOPPED else ""
    return (
        f"{heading}: RSNA val {record.val_score:.4f}{interval}{on_test}, epoch {record.best_epoch} of "
        f"{record.epochs}{stopped}, {record.seconds:.0f} s"
    )
