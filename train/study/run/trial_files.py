"""A trial's folder: `run/` (the training's own), `log.txt`, `state.json`, predictions, `scores.csv`, `trial.json`.

`state.json` is what a resumed study needs. `trial.json` is written last: a trial without it is not finished.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import write_atomic, write_json
from train.study.plan import Trial, command

RECORD, STATE, LOG, ERROR = "trial.json", "state.json", "log.txt", "error.txt"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


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


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `trial.json` says; None where there is none."""
    return _read(folder / RECORD)


def read_state(folder: Path) -> dict[str, Any]:
    """What `state.json` says; empty where there is none.

    Returns:
        `setting`, `settings`, `arguments`; `starts`, how often it was begun; `seconds` of training; `trained`, whether
        that is over; `stopped`, whether the scheduler has ended it.
    """
    return _read(folder / STATE) or {}


def mark_stopped(folder: Path) -> None:
    """Note that the scheduler has ended this trial, so that a resumed study does not train on."""
    write_json(folder / STATE, {**read_state(folder), "stopped": True})


def begin(trial: Trial, folder: Path, again: bool) -> dict[str, Any]:
    """Read the state of a trial that was interrupted, or start anew after a failure or other arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    state = read_state(folder)
    if again or state.get("arguments") != _json(trial.arguments):
        for name in ("run", RECORD, ERROR):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        state = {"starts": state.get("starts", 0), "seconds": 0.0, "trained": False, "stopped": False}
    state["starts"] += 1
    state |= {"setting": trial.setting, "settings": trial.settings, "arguments": trial.arguments}
    write_json(folder / STATE, state)
    return state


def record_failure(trial: Trial, work: Work, error: str, details: str) -> dict[str, Any]:
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
    nothing = dict.fromkeys(("epochs", "best_epoch", "val", "test", "map50_95", "seconds"))
    costs = dict.fromkeys(("parameters", "gflops", "milliseconds"))
    record = {**heading(trial), "status": FAILED, "error": error, **nothing, **costs}
    record |= {"command": command(trial.arguments), "weights": None, "weights_sha256": None}
    write_json(folder / RECORD, record)
    return record


def heading(trial: Trial) -> dict[str, Any]:
    """What `trial.json` begins with."""
    return {
        "id": trial.id,
        "setting": trial.setting,
        "blocks": list(trial.blocks),
        "settings": trial.settings,
        "arguments": trial.arguments,
        "seed": trial.seed,
        "fold": trial.fold,
    }


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


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _json(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
