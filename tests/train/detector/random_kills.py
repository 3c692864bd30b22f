"""Trainings that are killed at random moments and resumed until they are done, for tests.

    python -m tests.train.detector.random_kills DATA FOLDER KILLS BATCHES model=cnn-batchnorm.yaml workers=2 ...

trains undisturbed, and then again under as many kills (SIGKILL; an epoch has BATCHES), and says what differs.
"""

from __future__ import annotations

import csv
import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["train.detector.trainer"])  # each process begins in a moment


def train(argv: list[str], log: Path, kill: tuple[int, float] | None = None) -> int:
    """Run train/train.py in a process of its own.

    Args:
        argv: Its words.
        log: Where its output goes.
        kill: Before which of its batches (from 0), and how many seconds later, it kills itself, whatever it does then.

    Returns:
        Its status; -9 if it was killed.
    """
    process = _CONTEXT.Process(target=_train, args=(argv, log, kill))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _train(argv: list[str], log: Path, kill: tuple[int, float] | None) -> None:
    # As in the command itself. Else the loader's workers would be another server's children, and outlive a kill.
    multiprocessing.set_start_method("fork", force=True)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from common.cli import execute
    from train.detector.trainer import RSNATrainer
    from train.train import main

    if kill is not None:
        prepare, batches = RSNATrainer.preprocess_batch, iter(range(10**9))

        def counted(self, batch):
            if next(batches) == kill[0]:
                threading.Thread(target=_kill_after, args=(kill[1],), daemon=True).start()
            return prepare(self, batch)

        RSNATrainer.preprocess_batch = counted
    sys.exit(execute(main, argv))


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def train_under_kills(
    argv: list[str], folder: Path, kills: list[tuple[float, float]], epochs: int, batches: int
) -> int:
    """Train, and go on after each kill, until the training is done.

    Args:
        argv: The words of the training.
        folder: Its project; the run's folder in it is `train`.
        kills: When to kill each process: after which share of the batches that are left, and how many seconds later.
        epochs: Of the whole training.
        batches: Of an epoch.

    Returns:
        How many of the kills came before the training was done.
    """
    folder.mkdir(parents=True)
    last = folder / "train" / "weights" / "last.pt"
    for number in range(len(kills) + 1):
        done = torch.load(last, weights_only=False)["epoch"] + 1 if last.is_file() else 0
        resumed = [f"resume={folder / 'train'}"] if done else [*argv, f"project={folder}", "exist_ok=True"]
        kill = (int(kills[number][0] * (epochs - done) * batches), kills[number][1]) if number < len(kills) else None
        status = train(resumed, folder / "log.txt", kill)
        if status == 0:
            return number
        assert status == -signal.SIGKILL, (folder / "log.txt").read_text(errors="replace")[-4000:]
    raise AssertionError("the last process was not killed, and did not end the training")


def differences(found: Path, expected: Path) -> list[str]:
    """What differs in two runs: rows of results.csv, but for the time, and tensors of the weights."""
    tables = [[list(row.items()) for row in csv.DictReader((run / "results.csv").open())] for run in (found, expected)]
    rows = [[[cell for cell in row if cell[0] != "time"] for row in table] for table in tables]
    different = [f"results.csv, epoch {n + 1}" for n, pair in enumerate(zip(*rows, strict=True)) if pair[0] != pair[1]]
    for name in ("best.pt", "last.pt"):
        mine, theirs = (torch.load(run / "weights" / name, weights_only=False) for run in (found, expected))
        weights = [(file["ema"] or file["model"]).state_dict() for file in (mine, theirs)]
        different += [f"{name}: {key}" for key, value in weights[1].items() if not torch.equal(weights[0][key], value)]
    return different


def main() -> None:
    """Train undisturbed, and then in runs that are killed twice each, until there were as many kills as asked for."""
    data, folder, wanted, batches, *words = sys.argv[1:]
    argv, runs, killed = [f"data={data}", *words], Path(folder), 0
    runs.mkdir(parents=True)
    assert train([*argv, f"project={runs / 'whole'}"], runs / "whole.txt") == 0, (runs / "whole.txt").read_text()[
        -4000:
    ]
    whole = runs / "whole" / "train"
    rows = list(csv.DictReader((whole / "results.csv").open()))
    times = [float(row["time"]) for row in rows]
    seconds = min(2.0, *(after - before for before, after in itertools.pairwise(times)))
    print(f"undisturbed: {len(rows)} epochs of {seconds:.1f} s", flush=True)
    for seed in itertools.count():
        if killed >= int(wanted):
            break
        moments = random.Random(seed)
        kills = [(moments.random(), moments.uniform(0, seconds)) for _ in range(2)]
        done = train_under_kills(argv, runs / f"killed-{seed}", kills, len(rows), int(batches))
        killed += done
        found = differences(runs / f"killed-{seed}" / "train", whole)
        print(f"run {seed}, killed {done} times: {found or 'the same'}", flush=True)


if __name__ == "__main__":
    main()
