"""A gate's training in Weights & Biases: what is logged; how, and that it never fails, is `common.tracking.tracker`.

- At the start: all arguments, the data set's fingerprint and the number of images; the machine's load all along.
- After each epoch, which is the step and the axis: its row of results.csv.
- At the end: how good the probabilities are, as they came and calibrated; Ultralytics' plots; the best weights and
  gate.csv as artifacts.

The rows come from results.csv and not from the trainer, so that those of processes on several GPUs are logged, too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.tracking.tracker import Tracker
from evaluate.classifier.record import GateRecord
from train.detector.tracking import log_outcome, open_run


class GateLog:
    """Logs one gate, from its training to its calibrated probabilities; a context that closes the run.

    Attributes:
        where: Where the run can be seen, or how to upload it; empty where nothing is logged.
    """

    def __init__(
        self, run_dir: Path, config: Mapping[str, Any], group: str | None, *, enabled: bool = True, done: int = 0
    ) -> None:
        """Start a W&B run, or continue that of the folder.

        Args:
            run_dir: The gate's folder.
            config: What the training is.
            group: W&B group of a new run.
            enabled: False logs nothing.
            done: Epochs that were logged before, of a training that is resumed.
        """
        self._run_dir = run_dir
        self._logged = done
        self._tracker = open_run(run_dir, group, config) if enabled else Tracker()
        self.where = self._tracker.where

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tracker.finish(failed=kind is not None)

    def hook_into(self, trainer: Any) -> None:
        """Log each epoch of the trainer, through its callback."""
        trainer.add_callback("on_fit_epoch_end", lambda _: self._log_epochs())

    def _log_epochs(self) -> None:
        """Log the epochs of results.csv that have not been logged."""
        if self._tracker.reference:
            self._tracker.attempt("logging the epoch", self._log_rows)

    def _log_rows(self) -> None:
        with open(self._run_dir / "results.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            epoch = int(row["epoch"])
            if epoch > self._logged:
                values = {name: float(value) for name, value in row.items() if name not in {"epoch", "time"} and value}
                self._tracker.log({"epoch": epoch, **values}, step=epoch)
                self._logged = epoch

    def log_end(self, record: GateRecord, table: Path) -> None:
        """Log what has come out.

        Args:
            record: What gate.json says.
            table: gate.csv.
        """
        run = self._tracker.reference
        if run:
            self._log_epochs()  # those of other processes
            self._tracker.attempt("logging the end", lambda: self._log_outcome(record, table, run.id))

    def _log_outcome(self, record: GateRecord, table: Path, run: str) -> None:
        log_outcome(self._tracker, self._run_dir, self._logged, {})
        self._tracker.artifact(table, f"gate-{run}", "gate")
        quality = {
            f"{split}/{name}{suffix}": value
            for split, found in record.splits.items()
            for suffix, judged in (("_uncalibrated", found.before), ("", found.after))
            for name, value in asdict(judged).items()
        }
        self._tracker.summary(
            {"best_epoch": record.epoch, "slope": record.slope, "intercept": record.intercept, **quality}
        )
