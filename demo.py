"""`make demo`: the whole way on synthetic radiographs, with the commands that the real data take.

Sample data, conversion, training of a small network from scratch, score and report. Each step is a command that is
printed before it runs, so that it can be copied. A second run keeps the data and trains anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from common.cli import console, parser, run
from common.paths import PROJECT
from common.steps import python, step

RAW, DATASET, RUN = "datasets/raw/sample", "datasets/sample", "runs/demo"
IMAGES = 700
"""Enough for a small network to learn what an opacity looks like, in a few minutes on two cores."""

TRAINING = {
    "data": f"{DATASET}/data.yaml",
    "model": "train/models/cnn-multiscale.yaml",  # of the small ones the one that learns most in this time
    "imgsz": 128,
    "epochs": 30,
    "batch": 16,
    "optimizer": "AdamW",  # named, since `auto` would ignore lr0
    "lr0": 0.003,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0,  # the default, 0.1, is meant for SGD
    "mosaic": 0,  # four chests in one picture teach a small network little
    "cache": "ram",
    "amp": False,  # changes nothing on a CPU; on a GPU its check would want to download weights
    "deterministic": False,  # the check for it would import PyTorch's compiler, which takes seconds
    "seed": 0,
}


# The `yolo` command as it is, but for one number: on a CPU it leaves one core idle, half of a small machine.
_YOLO_ON_ALL_CORES = """
import os
from ultralytics.utils import torch_utils
torch_utils.NUM_THREADS = os.cpu_count() or 1
from ultralytics.cfg import entrypoint
entrypoint()
"""


STOPPED = "the same command keeps the data that are made, and trains anew"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments: none but --help."""
    return parser("make demo", "Sample data, convert, train, score, report: the whole way in a few minutes.")


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run every step."""
    build_parser().parse_args(argv)
    started = time.monotonic()
    environment = _environment()
    step(
        "Synthetic chest radiographs in the layout of the RSNA challenge",
        [
            python(),
            "convert/sample.py",
            "--output",
            RAW,
            "--images",
            str(IMAGES),
            "--test-images",
            "20",
            "--size",
            "384",
        ],
        environment,
    )
    step(
        "To a YOLO data set, patients kept apart",
        [python(), "convert/rsna_to_yolo.py", "--source", RAW, "--output", DATASET, "--val", "0.2", "--test", "0.2"],
        environment,
    )
    arguments = [f"{name}={value}" for name, value in TRAINING.items()]
    # An absolute project, or Ultralytics would put its own folders in between.
    arguments += [f"project={PROJECT / 'runs'}", "name=demo", "exist_ok=True"]
    train = ["yolo", "train", *arguments]
    on_all_cores = [sys.executable, "-c", _YOLO_ON_ALL_CORES, *train[1:]]
    step("A small network, trained from scratch", train, environment, instead=on_all_cores)
    step(
        "The score: tuned on val, reported on test",
        [python(), "evaluate/score.py", f"{RUN}/weights/best.pt"],
        environment,
    )

    out = console()
    out.print(f"\nDone in {time.monotonic() - started:.0f} s.")
    out.print(f"\nLook at    {RUN}/report.html      the score, what it means, and what the network saw and missed")
    out.print(f"           {RUN}/score.json       the same in numbers")
    out.print("\nNext, with the real data (see README.md):")
    out.print("  source .venv/bin/activate")
    out.print("  python convert/download.py rsna")
    out.print("  python convert/rsna_to_yolo.py")
    out.print("  yolo train data=rsna.yaml model=yolov8m.pt")
    out.print("  python evaluate/score.py")
    return None


def _environment() -> dict[str, str]:
    """For `yolo`: settings of the project's own, and no network."""
    from common.quiet_ultralytics import set_environment

    set_environment(offline=True, verbose=True)
    return {"PYTHONUNBUFFERED": "1", **os.environ}


if __name__ == "__main__":
    run(main, STOPPED)
