"""What tests of scoring share: predictions that are sometimes right, and a truth read by other means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data.tables import make_predictions
from evaluate import score
from evaluate.detector.options import InferenceOptions
from evaluate.system.finding import find_system
from evaluate.system.loading import LoadedSystem, load_system

QUIET = ("--no-wandb", "--no-report")
QUICK = (*QUIET, "--fit", "confidence")
"""Where the other steps of the post-processing do not matter."""


def run(*arguments: object) -> None:
    assert not score.main([str(argument) for argument in arguments])


def read(folder: Path) -> dict[str, Any]:
    """A folder's score.json, without the project's own reader."""
    return json.loads((folder / "score.json").read_text())


def truth_of(data_set: Path, split: str) -> pd.DataFrame:
    """Read without the project's own reader."""
    table = pd.read_csv(data_set / "truth.csv", dtype={"image_id": str})
    return table[table["image_id"].str.startswith(split)]


def invented(data_set: Path, split: str, seed: int = 0) -> pd.DataFrame:
    """Predictions that are sometimes right: truth boxes moved a little, and others anywhere."""
    random = np.random.default_rng(seed)
    boxes = truth_of(data_set, split).dropna()
    found = boxes[["x", "y", "width", "height"]].to_numpy() + random.integers(-6, 7, (len(boxes), 4))
    strays = random.integers(10, 50, (8, 4))
    ids = [*boxes["image_id"], *(f"{split}-{number:02}" for number in random.integers(0, 12, 8))]
    confidence = np.concatenate([random.uniform(0.3, 1, len(found)), random.uniform(0, 0.6, 8)])
    return make_predictions(ids, np.column_stack([confidence, np.concatenate([found, strays])]))


def suppressed(table: pd.DataFrame) -> pd.DataFrame:
    """What torchvision's suppression leaves of each image's predictions."""
    import torch
    from torchvision.ops import nms

    left = []
    for _, boxes in table.groupby("image_id"):
        corners = torch.tensor(boxes[["x", "y", "width", "height"]].to_numpy())
        corners[:, 2:] += corners[:, :2]
        left.append(boxes.iloc[nms(corners, torch.tensor(boxes["confidence"].to_numpy()), 0.4).sort().values])
    return pd.concat(left, ignore_index=True)


def system_of(*named: Path, class_name: str | None = None) -> LoadedSystem:
    """What predicts, run as it is by default."""
    return load_system(find_system(named), InferenceOptions(), class_name)
