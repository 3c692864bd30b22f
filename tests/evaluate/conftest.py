from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.quiet_ultralytics import import_ultralytics

MODEL = {
    "nc": 1,
    "channels": 1,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 1]],
    ],
    "head": [[[4], 1, "Detect", ["nc"]]],
}


@pytest.fixture(scope="session")
def trained(data_set, tmp_path_factory) -> Path:
    """Weights of a very small network, trained for seconds on the tiny data set; a training's folder around them."""
    import yaml

    ultralytics = import_ultralytics()
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(MODEL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ultralytics.data.utils.check_font", lambda *_: None)  # it would ask the network
        ultralytics.YOLO(folder / "tiny.yaml", task="detect").train(
            data=str(data_set / "data.yaml"), project=str(folder / "runs"), name="tiny", imgsz=128, epochs=12,
            batch=4, nbs=4, workers=0, device="cpu", optimizer="AdamW", lr0=0.01, warmup_epochs=1, mosaic=0.0,
            fliplr=0.5, scale=0.2, hsv_h=0, hsv_s=0, hsv_v=0, plots=False, val=False, amp=False, verbose=False, seed=0,
            deterministic=False,  # else torch loads its compiler, which takes longer than the training
        )  # fmt: skip
    weights = folder / "runs" / "tiny" / "weights" / "best.pt"
    assert weights.is_file()
    return weights


@pytest.fixture
def run_folder(trained, tmp_path) -> Path:
    """A copy of the training's folder."""
    folder = tmp_path / "training"
    (folder / "weights").mkdir(parents=True)
    shutil.copy2(trained, folder / "weights" / "best.pt")
    shutil.copy2(trained.parents[1] / "results.csv", folder / "results.csv")
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Makes an untrained checkpoint as Ultralytics' training stores one."""

    def make(name: str = "yolov8n.yaml", channels: int = 1, names=("Lung Opacity",), **train_args) -> Path:
        import_ultralytics()
        import torch
        from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

        torch.manual_seed(0)
        kind = RTDETRDetectionModel if "rtdetr" in name else DetectionModel
        model = kind(name, ch=channels, nc=len(names), verbose=False)
        model.names, model.task, model.args = dict(enumerate(names)), "detect", {}
        path = tmp_path_factory.mktemp("untrained") / "best.pt"
        torch.save({"model": model, "ema": None, "train_args": {"imgsz": 64, "task": "detect", **train_args}}, path)
        return path

    return make
