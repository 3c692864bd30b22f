"""A trial's folder: `run/` (the training's own), `log.txt`, `state.json`, predictions, `scores.csv`, `trial.json`.

What the two JSON files say is in `train.study.trial_record`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from common.files import write_atomic
from train.study.plan import Trial
from train.study.trial_record import FAILED, TRIAL, TrialRecord, TrialState, find_state, write_state, write_trial

LOG, ERROR = "log.txt", "error.txt"


@dataclass(frozen=True)
class Work:
    """How a trial's work is done; of no influence on its score.

    Attributes:
        study: The study's folder.
        group: W&B group.
        cores: Threads.
        gpus: GPUs, also a part of one; 0 computes on the CPU.
    """

    study: Path
    group: str
    cores: int
    gpus: float

    def folder(self, trial: Trial) -> Path:
        """The trial's folder."""
        return self.study / "trials" / trial.id


def mark_stopped(trial: Trial, folder: Path) -> None:
    """Note that the scheduler has ended this trial, so that a resumed study does not train on."""
    state = find_state(folder) or TrialState().begun(trial)
    write_state(folder, replace(state, stopped=True))


def begin(trial: Trial, folder: Path, again: bool) -> TrialState:
    """Read the state of a trial that was interrupted, or start anew after a failure or other arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    state = find_state(folder) or TrialState()
    # As JSON has them: a tuple is a list there.
    if again or state.arguments != json.loads(json.dumps(trial.arguments)):
        for name in ("run", TRIAL, ERROR):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        state = TrialState(starts=state.starts)
    state = state.begun(trial)
    write_state(folder, state)
    return state


def record_failure(trial: Trial, work: Work, error: str, details: str) -> TrialRecord:
    """Write `trial.json` and `error.txt` of a trial that came to nothing.

    Args:
        trial: The trial.
        work: Where it is.
        error: One line.
        details: The traceback.
    """
    folder = work.folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / ERROR, details.rstrip() + "\n")
    record = TrialRecord.of(trial, FAILED, error=error)
    write_trial(folder, record)
    return record


def epochs_done(folder: Path) -> int:
    """How many epochs results.csv has."""
    try:
        with open(folder / "run" / "results.csv", newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.DictReader(file))
    except OSError:
        return 0


@contextlib.contextmanager
def logged(file: Path) -> Iterator[None]:
    """Send all output of this process to the end of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = os.dup(1), os.dup(2)
    with open(file, "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
            os.close(before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
