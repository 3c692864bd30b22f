from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

SIZE = 64
COUNTS = {"train": 16, "val": 8, "test": 4}

# For every process that a test starts, too.
os.environ.setdefault("YOLO_OFFLINE", "true")


def write_data_set(root: Path) -> Path:
    """A converted data set, by its contract: noise pictures, three of four with one or two bright boxes."""
    random = np.random.default_rng(3)
    truth, manifest = [], []
    for split, count in COUNTS.items():
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
            manifest.append((image_id, split, label, len(boxes), f"images/{split}/{image_id}.png"))
            names.append(f"./images/{split}/{image_id}.png\n")
        (root / f"{split}.txt").write_text("".join(names))
    content = {"train": "train.txt", "val": "val.txt", "test": "test.txt", "names": {0: "Lung Opacity"}}
    (root / "data.yaml").write_text(yaml.safe_dump({**content, "channels": 1}))
    (root / "rgb.yaml").write_text(yaml.safe_dump({**content, "channels": 3}))
    pd.DataFrame(truth, columns=["image_id", "x", "y", "width", "height", "label"]).to_csv(
        root / "truth.csv", index=False
    )
    pd.DataFrame(manifest, columns=["image_id", "split", "label", "boxes", "picture"]).to_csv(
        root / "manifest.csv", index=False
    )
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
        import train.trainer

        given = {"model": str(cnn), "data": str(data_set / "data.yaml"), "epochs": 3, **QUICK, **arguments}
        made = getattr(train.trainer, trainer)(overrides={**given, "project": str(project)})
        made.train()
        return made

    return run


@pytest.fixture(scope="session")
def trained(train, tmp_path_factory):
    """A trainer that has trained the small network for three epochs."""
    return train(tmp_path_factory.mktemp("runs"))
