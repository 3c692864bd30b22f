"""One trial of a study: train, score as `evaluate/score.py` does, write down what came out."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.data.fingerprint import yaml_fingerprint
from common.errors import UserError
from common.files import write_atomic
from train.study.plan import Trial, effective
from train.study.run.trial_files import ERROR, Work, begin, epochs_done, record_failure
from train.study.space_values import to_text
from train.study.trial_record import (
    FINISHED,
    STOPPED,
    TRIAL,
    SplitOutcome,
    TrialRecord,
    TrialState,
    find_state,
    find_trial,
    write_state,
    write_trial,
)


def run_trial(trial: Trial, work: Work, report: Callable[[int, float], None] | None = None) -> TrialRecord:
    """Train and score a trial, or go on where it was left; a failure is recorded, not raised.

    Args:
        trial: What to train.
        work: How.
        report: Called after each epoch with the number of epochs done and the best RSNA score on val so far. It may
            raise `SystemExit` to stop the trial, which is then scored by `score_stopped`.

    Returns:
        What `trial.json` holds.
    """
    folder = work.folder(trial)
    if (record := find_trial(folder)) and not record.has_failed:
        return record
    with _recorded(trial, work) as done:
        state = begin(trial, folder, again=record is not None)
        if not state.trained:
            state = _train(trial, work, state, report)
        done.append(_score(trial, work, FINISHED, state))
    return done[0]


def score_stopped(trial: Trial, work: Work) -> TrialRecord:
    """Score a trial that the scheduler has stopped, by its best epoch so far.

    Returns:
        What `trial.json` holds.
    """
    folder = work.folder(trial)
    if record := find_trial(folder):
        return record
    with _recorded(trial, work) as done:
        _use(work)
        from train.detector import resuming

        for name in ("best.pt", "last.pt"):
            if (file := folder / "run" / "weights" / name).is_file():
                resuming.strip(file)
        resuming.remove_states(folder / "run" / "weights")
        planned = effective(trial.arguments)["epochs"]
        status = STOPPED if epochs_done(folder) < planned else FINISHED
        state = find_state(folder) or TrialState()
        done.append(_score(trial, work, status, state))
    return done[0]


@contextlib.contextmanager
def _recorded(trial: Trial, work: Work) -> Iterator[list[TrialRecord]]:
    """Record what goes wrong; the list takes the record, of success or of failure."""
    done: list[TrialRecord] = []
    try:
        yield done
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        line = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        details = traceback.format_exc()
        print(details, file=sys.stderr)
        done.append(record_failure(trial, work, line, details))


def _use(work: Work) -> None:
    """Import what trains, for the cores that are this trial's."""
    os.environ["OMP_NUM_THREADS"] = str(work.cores)
    from train.ultralytics_setup import set_up

    set_up()  # which takes all cores
    import torch
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = work.cores
    torch.set_num_threads(work.cores)
    gc.collect()  # of the trial before
    if work.gpus:
        torch.cuda.empty_cache()


def _train(trial: Trial, work: Work, state: TrialState, report: Callable[[int, float], None] | None) -> TrialState:
    """Train to the end, or go on from last.pt, and keep the state up to date; gives the last."""
    _use(work)
    from train.detector.training import train_detector
    from train.settings.arguments import parse

    folder = work.folder(trial)
    last = folder / "run" / "weights" / "last.pt"
    before = state.seconds

    def after_epoch(trainer: Any) -> None:
        nonlocal state
        # Without imports and the first look at the data, which the first trial of a process alone would pay for.
        seconds = round(before + time.time() - trainer.train_time_start, 2)
        # The running average of the weights counts each step of the optimizer, also over a resume.
        state = replace(state, seconds=seconds, steps=int(trainer.ema.updates))
        write_state(folder, state)
        if report is not None and not trainer.stop:  # else it is over anyway
            report(trainer.epoch + 1, float(trainer.best_fitness or 0.0))

    given: dict[str, Any] = {"project": os.fspath(folder)}
    if last.is_file():
        given["resume"] = os.fspath(last)
    else:
        shutil.rmtree(folder / "run", ignore_errors=True)
        given |= parse([f"{name}={to_text(value)}" for name, value in trial.arguments.items()])
        given |= {"save_dir": os.fspath(folder / "run"), "name": f"{work.group}-{trial.id}", "group": work.group}
        given |= _device(trial, work)
        given.setdefault("keep_state", False)  # a finished trial is not trained on
    if not last.is_file() or not _is_over(last):
        started = time.monotonic()
        train_detector(given, update_best=False, after_epoch=after_epoch if work.gpus <= 1 else None)
        if work.gpus > 1:
            state = replace(state, seconds=round(before + time.monotonic() - started, 2))
    state = replace(state, trained=True)
    write_state(folder, state)
    return state


def _is_over(last: Path) -> bool:
    """Whether the training has ended: then its last.pt has been stripped of what a resume needs."""
    from ultralytics.nn.tasks import load_checkpoint

    return load_checkpoint(last)[1].get("optimizer") is None


def _device(trial: Trial, work: Work) -> dict[str, Any]:
    """Where to compute; Ray lets a process see none but its own GPUs."""
    if not work.gpus:
        return {} if "device" in trial.arguments else {"device": "cpu"}
    chosen: dict[str, Any] = {} if "workers" in trial.arguments else {"workers": min(8, work.cores)}
    return {**chosen, "device": ",".join(str(number) for number in range(max(1, int(work.gpus))))}


def _score(trial: Trial, work: Work, status: str, state: TrialState) -> TrialRecord:
    """Score the best weights, and write scores.csv and trial.json."""
    _use(work)
    from evaluate.detector.weights import find_training_data, load_weights
    from train.detector.results import best_epoch
    from train.study.run.trial_score import measure, score_weights

    folder = work.folder(trial)
    path = folder / "run" / "weights" / "best.pt"
    weights = load_weights(path)
    device = None if work.gpus else str(trial.arguments.get("device", "cpu"))
    scored = score_weights(weights, folder, device)
    write_atomic(folder / "scores.csv", scored.table)
    record = TrialRecord.of(
        trial,
        status,
        epochs=epochs_done(folder),
        best_epoch=best_epoch(folder / "run" / "results.csv").epoch,
        val=SplitOutcome.from_values(scored.val),
        test=SplitOutcome.from_values(scored.test) if scored.test else None,
        map50_95=scored.map50_95,
        steps=state.steps,
        seconds=round(state.seconds, 2),
        **(_known_costs(trial, work) or measure(weights, device)),
        weights=os.fspath(path.relative_to(work.study)),
        weights_sha256=_digest(weights.model.model),
        data_fingerprint=yaml_fingerprint(find_training_data(weights)),
    )
    (folder / ERROR).unlink(missing_ok=True)
    write_trial(folder, record)
    return record


def _known_costs(trial: Trial, work: Work) -> dict[str, Any] | None:
    """What another trial has measured of the same model at the same size, which takes seconds."""
    for file in work.study.glob(f"trials/*/{TRIAL}"):
        record = find_trial(file.parent)
        if not record or record.has_failed or record.milliseconds is None:
            continue
        if all(record.arguments.get(name) == trial.arguments.get(name) for name in ("model", "imgsz")):
            return {name: getattr(record, name) for name in ("parameters", "gflops", "milliseconds")}
    return None


def _digest(model: Any) -> str:
    """SHA-256 of the weights alone: the file's own would differ by its date."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
