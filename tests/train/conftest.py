from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
COUNTS = {"train": 16, "val": 8, "test": 4}

# For every process that a test starts, too.
os.environ.setdefault("YOLO_OFFLINE", "true")


def write_data_set(root: Path, counts: Mapping[str, int] = COUNTS) -> Path:
    """A converted data set, by its contract: noise pictures, three of four with one or two bright boxes."""
    random = np.random.default_rng(3)
    truth, manifest = [], []
    for split, count in counts.items():
        names = []
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            image_id = f"{split}{number:02}"
            pixels = random.integers(20, 80, (SIZE, SIZE))
            boxes = []
            for slot in range(min(number % 4, 2)):  # beside each other
                width, height = (int(side) for side in random.integers(16, 25, 2))
                x, y = slot * 32 + int(random.integers(2, 7)), int(random.integers(4, 36))
                boxes.append((x, y, width, height))
                pixels[y : y + height, x : x + width] += 150
            cv2.imwrite(str(root / "images" / split / f"{image_id}.png"), pixels.astype(np.uint8))
            lines = [f"0 {(x + w / 2) / SIZE} {(y + h / 2) / SIZE} {w / SIZE} {h / SIZE}\n" for x, y, w, h in boxes]
            (root / "labels" / split / f"{image_id}.txt").write_text("".join(lines))
            label = "Lung Opacity" if boxes else "Normal"
            truth += [(image_id, *box, label) for box in boxes or [(None,) * 4]]
            manifest.append(
                (image_id, split, image_id, label, len(boxes), SIZE, SIZE, f"images/{split}/{image_id}.png")
            )
            names.append(f"./images/{split}/{image_id}.png\n")
        (root / f"{split}.txt").write_text("".join(names))
    content = {"train": "train.txt", "val": "val.txt", "test": "test.txt", "names": {0: "Lung Opacity"}}
    (root / "data.yaml").write_text(yaml.safe_dump({**content, "channels": 1}))
    (root / "rgb.yaml").write_text(yaml.safe_dump({**content, "channels": 3}))
    pd.DataFrame(truth, columns=["image_id", "x", "y", "width", "height", "label"]).to_csv(
        root / "truth.csv", index=False
    )
    columns = ["image_id", "split", "patient_id", "label", "boxes", "width", "height", "picture"]
    table = pd.DataFrame(manifest, columns=columns).assign(view="", sex="", age="")
    table.to_csv(root / "manifest.csv", index=False)
    return root


CNN = {
    "nc": 1,
    "channels": 1,
    "activation": "nn.ReLU()",
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 1]],
    ],
    "head": [[[3], 1, "Detect", ["nc"]]],
}

QUICK = {
    "imgsz": 64,
    "batch": 4,
    "nbs": 4,
    "device": "cpu",
    "workers": 0,
    "optimizer": "AdamW",
    "lr0": 0.02,
    "warmup_epochs": 0,
    "mosaic": 0.5,
    "close_mosaic": 1,
    "plots": False,
    "amp": False,
    "wandb": False,
    "deterministic": False,  # else torch loads its compiler, which takes longer than the training
}


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> Path:
    """A data set folder; tests must not change it."""
    return write_data_set(tmp_path_factory.mktemp("datasets") / "tiny")


@pytest.fixture(scope="session")
def cnn(tmp_path_factory) -> Path:
    """The YAML of a very small network."""
    file = tmp_path_factory.mktemp("models") / "tiny-cnn.yaml"
    file.write_text(yaml.safe_dump(CNN))
    return file


@pytest.fixture(scope="session")
def train(data_set, cnn):
    """Trains in this process and gives the trainer; further arguments as in the command."""

    def run(project: Path, trainer: str = "RSNATrainer", **arguments):
        import train.detector.trainer

        given = {"model": str(cnn), "data": str(data_set / "data.yaml"), "epochs": 3, **QUICK, **arguments}
        made = getattr(train.detector.trainer, trainer)(overrides={**given, "project": str(project)})
        made.train()
        return made

    return run


@pytest.fixture(scope="session")
def trained(train, tmp_path_factory):
    """A trainer that has trained the small network for three epochs."""
    return train(tmp_path_factory.mktemp("runs"))


def kill_when(ready: Callable[[], bool], argv: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Start train/train.py in a process of its own and kill it as soon as `ready`.

    Starting Python and PyTorch alone may take a minute where the other tests keep all cores busy.
    """
    log = folder / "killed.log"
    with open(log, "wb") as output, subprocess.Popen(
        [sys.executable, str(ROOT / "train" / "train.py"), *argv], cwd=folder, env=environment,
        stdout=output, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        ends = time.monotonic() + 600
        while not (done := ready()) and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
        process.kill()
    assert done or ready(), log.read_text(errors="replace")[-4000:]


# ---- studies, as train/sweep.py leaves them on disk

STUDY_IMAGES, UNCOUNTED = 60, 3


def study_images(split: str, fold: int | None) -> pd.DataFrame:
    """Two images per patient; a fold has images of its own on val."""
    names = [f"{split}{'' if fold is None or split == 'test' else fold}-{number:03}" for number in range(STUDY_IMAGES)]
    return pd.DataFrame({"image_id": names, "patient_id": [f"p-{name[:-1]}{int(name[-1]) // 2}" for name in names]})


def write_study(
    folder: Path, blocks, score, *, seeds=(0,), folds=None, settings=None, outcome=None, costs=None, curve=None,
    test=True, **info,
) -> Path:  # fmt: skip
    """A study by its contract.

    Args:
        folder: The study's folder.
        blocks: As in study.json; name and parameters suffice.
        score: (settings, seed or fold) -> the score of all images, or of each; on val it is 0.01 higher.
        seeds: Each setting is trained with each.
        folds: How many; None is none.
        settings: (block, settings) of each trial; without it all combinations of each block's values.
        outcome: (settings, seed or fold) -> status; without it all trials finish.
        costs: settings -> what overrides the costs in trial.json.
        curve: (settings, seed or fold) -> the score on val of each epoch.
        test: Whether there is a test split.
        info: Overrides study.json.
    """
    blocks = [{"title": block["name"].capitalize(), "about": "", "base": {}, **block} for block in blocks]
    if settings is None:
        settings = [
            (block["name"], dict(zip(block["parameters"], values, strict=True)))
            for block in blocks
            for values in itertools.product(*block["parameters"].values())
        ]
    base = info.pop("base", {"epochs": 10, "imgsz": 256})
    merged: dict[str, tuple[dict, list[str]]] = {}
    for block, chosen in settings:
        arguments = {**base, **next(entry["base"] for entry in blocks if entry["name"] == block), **chosen}
        known, names = merged.setdefault(json.dumps(arguments, sort_keys=True), ({}, []))
        known.update(chosen)
        names.append(block)
    folder.mkdir(parents=True)
    about = {
        "name": folder.name, "title": "A planted study", "about": "What the tests know.", "method": "grid",
        "command": "python train/sweep.py space.yaml", "commit": "0123abc", "created": "2025-03-04T05:06:07+00:00",
        "data": "datasets/sample/data.yaml", "fingerprint": "f00d", "synthetic": True, "versions": {"torch": "2.7.1"},
        "machine": "2 cores", "base": base, "blocks": blocks, "seeds": list(seeds), "folds": folds, "scheduler": None,
        **info,
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(about))
    replicates = [(0, fold) for fold in range(folds)] if folds else [(seed, None) for seed in seeds]
    runs = [(text, *entry, *replicate) for text, entry in merged.items() for replicate in replicates]
    for number, (text, chosen, names, seed, fold) in enumerate(runs):
        trial, repeat = folder / "trials" / f"t{number:03}", seed if fold is None else fold
        (trial / "run").mkdir(parents=True)
        arguments = {**json.loads(text), "seed": seed}
        status = outcome(chosen, repeat) if outcome else "finished"
        content = {
            "id": trial.name, "blocks": names, "settings": chosen, "arguments": arguments, "seed": seed, "fold": fold,
            "status": status, "error": "CUDA out of memory" if status == "failed" else None,
            "command": "python train/train.py " + " ".join(f"{name}={value}" for name, value in arguments.items()),
            **dict.fromkeys(
                ("val", "test", "map50_95", "seconds", "parameters", "gflops", "milliseconds", "epochs", "weights")
            ),
        }  # fmt: skip
        if status != "failed":
            planted = score(chosen, repeat)
            tables = []
            for split in ("val", "test") if test else ("val",):
                table = study_images(split, fold).assign(split=split)
                table["score"] = np.broadcast_to(planted, STUDY_IMAGES) + (0.01 if split == "val" else 0)
                table.loc[::UNCOUNTED, "score"] = np.nan
                tables.append(table)
                mean = float(table["score"].mean())
                content[split] = {"score": mean, "interval_95": [max(0, mean - 0.05), min(1, mean + 0.05)]}
            content["val"]["confidence"] = 0.25
            pd.concat(tables).to_csv(trial / "scores.csv", index=False)
            rising = [content["val"]["score"] * min(1, epoch / 6) for epoch in range(1, arguments["epochs"] + 1)]
            values = curve(chosen, repeat) if curve else rising
            columns = {"epoch": range(1, len(values) + 1), "metrics/RSNA(B)": values}
            pd.DataFrame(columns).to_csv(trial / "run" / "results.csv", index=False)
            content |= {
                "epochs": len(values), "best_epoch": int(np.argmax(values)) + 1, "map50_95": 0.1, "seconds": 60.0,
                "parameters": 1000, "gflops": 1.5, "milliseconds": 12.0, "weights": "run/weights/best.pt",
                **(costs(chosen) if costs else {}),
            }  # fmt: skip
        (trial / "trial.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session", name="write_study")
def _write_study():
    """Writes a study with known effects; see `write_study`."""
    return write_study
