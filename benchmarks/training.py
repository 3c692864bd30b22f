"""Compare training with plain Ultralytics, and one channel with three: python benchmarks/training.py.

The pictures are RSNA's size, 1024 x 1024 grey JPEGs drawn by convert/synthetic/phantom.py, on this machine's CPU.

- Loading: the same files read, decoded and augmented as for training at 640 pixels, as one channel and as three, with
  Ultralytics' default augmentation: its colour part is work for three channels only. No cache, mosaic on and off; and
  the bytes of a picture kept in memory (cache=ram).
- Training: `train/train.py` and plain `yolo train` with the same settings, each in a process of its own. Both get the
  same number of threads, as plain Ultralytics leaves one core idle on a CPU; as it is shipped it is a row of its own.
  An epoch is timed from results.csv, between the first and the last one's row, and so has its training, validation
  (the RSNA score in ours) and checkpoint in it; a whole process also has imports, set-up and the last validation.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import csv
import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from time import perf_counter
from typing import Any

from common.cli import console, parser, run
from common.cores import available_cores

ROOT = Path(__file__).resolve().parents[1]
DRAWN = 24
"""Different pictures; files are copies of them under other names, as drawing takes longer than all the rest."""

SETTINGS: dict[str, Any] = {
    "model": ROOT / "train" / "models" / "basic-cnn.yaml",
    "imgsz": 256,
    "batch": 16,
    "device": "cpu",
    "optimizer": "AdamW",  # named, since `auto` takes Muon for some, which is slow on a CPU
    "lr0": 0.001,
    "iou": 0.4,
    "plots": False,
    "amp": False,  # changes nothing on a CPU; on a GPU its check would want to download weights
    "deterministic": False,  # its check would import PyTorch's compiler, which takes seconds
}

_PLAIN = """
import sys
from common.quiet_ultralytics import import_ultralytics
import_ultralytics(verbose=True)
from ultralytics.utils import torch_utils
torch_utils.NUM_THREADS = int(sys.argv.pop(1)) or torch_utils.NUM_THREADS
from ultralytics.cfg import entrypoint
entrypoint()
"""
"""`yolo` with a number of threads; 0 leaves Ultralytics' own."""


def make_data_set(folder: Path, train: int, val: int) -> None:
    """Write pictures, labels and two data YAMLs: data.yaml of one channel, rgb.yaml of three on the same files."""
    import cv2

    from convert.synthetic.phantom import draw
    from convert.synthetic.population import make_population

    cases = [(case, draw(case, 1024)) for case in make_population(DRAWN, seed=0)]
    files = [cv2.imencode(".jpg", picture.pixels)[1].tobytes() for _, picture in cases]
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            name = f"{number * 2654435761 % 2**32:08x}"
            (folder / "images" / split / f"{name}.jpg").write_bytes(files[number % DRAWN])
            lines = [
                f"0 {(x + width / 2) / 1024} {(y + height / 2) / 1024} {width / 1024} {height / 1024}\n"
                for x, y, width, height in cases[number % DRAWN][1].boxes
            ]
            (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))
    for yaml, channels in (("data.yaml", 1), ("rgb.yaml", 3)):
        text = "train: images/train\nval: images/val\nnames: {0: Lung Opacity}\n"
        (folder / yaml).write_text(f"path: {folder}\n{text}channels: {channels}\n")


def measure_loading(folder: Path, images: int, repeats: int) -> list[dict[str, Any]]:
    """Time the loader on pictures of one and of three channels, which take turns."""
    rows = []
    for mosaic in (0.0, 1.0):
        times: dict[int, list[float]] = {1: [], 3: []}
        for turn in range(repeats + 1):
            for channels, seconds in times.items():
                spent = _load(_data_set(folder, channels, mosaic), images)
                if turn:  # the first round warms the page cache
                    seconds.append(spent / images)
        ours = statistics.median(times[1])
        rows.append(
            {
                "what": f"load a picture of one channel for training, 640 px, mosaic {'on' if mosaic else 'off'} "
                f"({1 / ours:.0f} images/s; no cache, one process)",
                "seconds": ours,
                "ratio": statistics.median(rgb / grey for grey, rgb in zip(times[1], times[3], strict=True)),
                "against": f"three channels ({1 / statistics.median(times[3]):.0f} images/s)",
            }
        )
    kept = {channels: _kept_bytes(_data_set(folder, channels, 0.0, cache="ram")) for channels in (1, 3)}
    rows.append(
        {
            "what": f"memory of a picture of one channel in cache=ram, 640 px: {kept[1] / 1e6:.2f} MB",
            "seconds": None,
            "ratio": kept[3] / kept[1],
            "against": f"three channels: {kept[3] / 1e6:.2f} MB (times smaller)",
        }
    )
    return rows


def _data_set(folder: Path, channels: int, mosaic: float, cache: str | None = None) -> Any:
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.utils import LOGGER

    from train.detector.dataset import build_dataset
    from train.detector.sampling import all_images

    LOGGER.setLevel("ERROR")
    data = check_det_dataset(str(folder / ("data.yaml" if channels == 1 else "rgb.yaml")))
    arguments = get_cfg(overrides={"imgsz": 640, "mosaic": mosaic, "cache": cache})
    dataset = build_dataset(arguments, data["train"], 2, data, "train", rect=False, stride=32)
    dataset.follow(all_images(len(dataset)))  # as in a training
    return dataset


def _load(dataset: Any, images: int) -> float:
    """Seconds to load so many pictures, in batches of 16, as the training's process does on a CPU."""
    import random

    order = random.Random(0).choices(range(len(dataset)), k=images)
    start = perf_counter()
    for first in range(0, images, 16):
        dataset.collate_fn(dataset.__getitems__(order[first : first + 16]))
    return perf_counter() - start


def _kept_bytes(dataset: Any) -> float:
    """Bytes per picture of a data set that keeps its pictures in memory."""
    return statistics.mean(dataset.ims[index].nbytes for index in range(len(dataset)))


def measure_training(folder: Path, epochs: int, repeats: int) -> list[dict[str, Any]]:
    """Time whole trainings, ours and plain, which take turns; the order within a turn changes."""
    threads = available_cores()
    ways = {"ours": [str(ROOT / "train" / "train.py"), "wandb=False"], "plain": ["-c", _PLAIN, str(threads), "train"]}
    if threads > 1:
        ways["shipped"] = ["-c", _PLAIN, "0", "train"]
    per_epoch: dict[str, list[float]] = {name: [] for name in ways}
    whole: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            if name == "shipped" and turn:
                continue
            seconds, epoch = _train(folder, ways[name], f"{name}-{turn}", epochs)
            whole[name].append(seconds)
            per_epoch[name].append(epoch)

    def row(what: str, times: dict[str, list[float]], other: str, against: str) -> dict[str, Any]:
        ratios = [theirs / ours for ours, theirs in zip(times["ours"], times[other], strict=False)]
        ratio = statistics.median(ratios)
        return {"what": what, "seconds": statistics.median(times["ours"]), "ratio": ratio, "against": against}

    train, val = (len(list((folder / "images" / split).iterdir())) for split in ("train", "val"))
    size = f"basic-cnn, {SETTINGS['imgsz']} px, {train} + {val} images, RSNA validation included; {threads} threads"
    rows = [
        row(f"one epoch of train/train.py ({size})", per_epoch, "plain", "plain yolo train, as many threads"),
        row(f"train/train.py, {epochs} epochs, start to end", whole, "plain", "plain yolo train, as many threads"),
    ]
    if "shipped" in ways:
        against = "yolo train as shipped, which leaves a core idle on a CPU (one run)"
        rows.append(row("one epoch of train/train.py", per_epoch, "shipped", against))
    return rows


def _train(folder: Path, command: list[str], name: str, epochs: int) -> tuple[float, float]:
    """Seconds of a training process from start to end, and of one of its epochs after the first."""
    import subprocess

    given = {**SETTINGS, "data": folder / "data.yaml", "epochs": epochs, "project": folder / "runs", "name": name}
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    environment |= {"YOLO_OFFLINE": "true", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, *command, *(f"{key}={value}" for key, value in given.items())]
    start = perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with status {done.returncode}: {done.stderr[-500:]}")
    with open(folder / "runs" / name / "results.csv", newline="", encoding="utf-8") as file:
        times = [float(row["time"]) for row in csv.DictReader(file)]
    return seconds, (times[-1] - times[0]) / (epochs - 1)


def measure(
    images: int = 240, val: int = 80, loaded: int = 160, epochs: int = 4, repeats: int = 3
) -> list[dict[str, Any]]:
    """Time loading and training.

    Args:
        images: Training pictures.
        val: Validation pictures.
        loaded: Pictures that are loaded in each round.
        epochs: Of each training, two or more; the first is not timed by itself.
        repeats: Rounds in which the ways take turns. A ratio is the median of the rounds' ratios, so that it holds even
            where the machine's speed drifts between rounds.

    Returns:
        Rows of what (the work), seconds (ours; None for memory), ratio (the alternative's / ours), against (the
        alternative).

    Raises:
        RuntimeError: A training failed.
    """
    with tempfile.TemporaryDirectory() as temporary, open(os.devnull, "w") as null, redirect_stdout(null):
        folder = Path(temporary)
        make_data_set(folder, images, val)
        return measure_loading(folder, loaded, repeats) + measure_training(folder, epochs, repeats)


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/training.py", "Compare training with plain yolo train, one channel with three.")
    command.add_argument("--epochs", type=int, default=4, help="of each training; two or more")
    command.add_argument("--repeats", type=int, default=3, help="rounds in which the ways take turns")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    arguments = build_parser().parse_args(argv)
    from benchmarks.results import print_rows

    print_rows(measure(epochs=arguments.epochs, repeats=arguments.repeats))
    console().print("A ratio above 1: ours takes less time.")
    return None


if __name__ == "__main__":
    run(main)
