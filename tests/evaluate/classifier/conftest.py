from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.files import sha256
from common.quiet_ultralytics import import_ultralytics

NETWORK = {
    "nc": 3,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[-1, 1, "Classify", ["nc"]]],
}
QUALITY = {"auc": 0.9, "accuracy": 0.8, "log_loss": 0.4, "calibration_error": 0.05, "brier": 0.1}
CONTENT = {
    "weights": "runs/gate/weights/best.pt", "weights_sha256": "ab" * 32, "epoch": 3, "data": "rsna.yaml", "fold": None,
    "fingerprint": "cd" * 32, "manifest": "ef" * 32, "positive": "Lung Opacity",
    "classes": {"Lung_Opacity": "Lung Opacity", "No_Lung_Opacity": "No Lung Opacity", "Normal": "Normal"},
    "slope": 0.75, "intercept": -0.25, "prevalence": 0.225, "expected_prevalence": None,
    "picture_size": None, "flip": False, "network": "", "pretrained_on": "",
    "val": {"images": 8, "before": QUALITY, "after": {**QUALITY, "log_loss": 0.3}},
    "test": {"images": 4, "before": QUALITY, "after": {**QUALITY, "brier": 0.08}},
    "images": {"train": 16, "val": 8, "test": 4}, "arguments": {"epochs": 3}, "versions": {"python": "3.11.7"},
    "command": "python train/gate.py model=a.pt", "commit": None, "created": "2025-01-02T03:04:05+00:00",
}  # fmt: skip
"""A gate.json; tests must not change it."""
LATER = (
    *("slope", "intercept", "prevalence", "expected_prevalence"),
    *("picture_size", "flip", "network", "pretrained_on"),
)
"""What that of an earlier version does not have."""


@pytest.fixture(scope="session")
def make_gate(tmp_path_factory):
    """Makes a gate's folder: an untrained network as a training stores one, and a record that says what it is told."""

    def make(seed: int = 0, imgsz: int = 64, **record) -> Path:
        import_ultralytics()
        import torch
        from ultralytics.nn.tasks import ClassificationModel

        torch.manual_seed(seed)
        model = ClassificationModel(NETWORK, ch=3, nc=3, verbose=False)
        model.names, model.task, model.args = dict(enumerate(CONTENT["classes"])), "classify", {}
        with torch.no_grad():  # so that pictures, and their mirror images, get probabilities that differ
            for layer in (model.model[0].conv, model.model[1].conv, model.model[-1].conv.conv, model.model[-1].linear):
                layer.weight.mul_(5)
        folder = tmp_path_factory.mktemp("gates") / "gate"
        (folder / "weights").mkdir(parents=True)
        weights = folder / "weights" / "best.pt"
        torch.save({"model": model.half(), "ema": None, "train_args": {"imgsz": imgsz, "task": "classify"}}, weights)
        content = {**CONTENT, "weights_sha256": sha256(weights), **record}
        (folder / "gate.json").write_text(json.dumps(content))
        return folder

    return make
