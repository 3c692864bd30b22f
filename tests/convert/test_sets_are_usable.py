"""Every converter's data set goes through `yolo train` and `score.py`, those with several classes included."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from common.data.tables import make_predictions, write_predictions
from convert import sample
from evaluate import score
from evaluate.metrics.rsna import rsna_score

# For every process that a test starts, too.
os.environ.setdefault("YOLO_OFFLINE", "true")

CSV = ["--columns", "image=file,x_min=left,y_min=top,x_max=right,y_max=bottom,label=finding"]
SOURCES = [
    ("rsna_release", []),
    ("vindr", []),
    ("siim_covid", []),
    ("nih", []),
    ("coco", ["--merge", "Lung Opacity"]),
    ("csv", [*CSV, "--classes", "opacity"]),
]
MODEL = {
    "nc": 1,
    "channels": 1,
    "backbone": [[-1, 1, "Conv", [8, 3, 4]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[1], 1, "Detect", ["nc"]]],
}
QUICK = {"imgsz": 64, "batch": 8, "device": "cpu", "workers": 0, "epochs": 1, "plots": False, "amp": False}
pytestmark = [pytest.mark.full, pytest.mark.slow]

QUIET = ["--no-wandb", "--no-report"]


@pytest.fixture
def convert(request, tmp_path):
    """Convert the fixture of a source; the data set."""

    def run(name: str, arguments: list[str], *more: str) -> Path:
        if name == "rsna_release":
            drawn = ["--images", "30", "--test-images", "8", "--size", "64", "--workers", "1", "--layout", "release"]
            sample.main(["--output", str(tmp_path / "raw"), *drawn])
        else:
            fixture = {"siim_covid": "siim"}.get(name, name)
            request.getfixturevalue(f"{fixture}_source")(tmp_path / "raw")
        command = importlib.import_module(f"convert.{name}_to_yolo")
        given = ["--source", str(tmp_path / "raw"), "--output", str(tmp_path / "set"), "--workers", "1"]
        assert not command.main([*given, "--val", "0.3", "--test", "0.3", *arguments, *more])
        return tmp_path / "set"

    return run


def train(data: Path, project: Path) -> Path:
    """Train as `yolo train` does; the weights."""
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.models.yolo.detect import DetectionTrainer

    model = project / "model.yaml"
    project.mkdir()
    model.write_text(yaml.safe_dump(MODEL))
    given = {"model": str(model), "data": str(data / "data.yaml"), "project": str(project), **QUICK}
    trainer = DetectionTrainer(overrides=given)
    trainer.train()
    return Path(trainer.best)


@pytest.mark.parametrize(("name", "arguments"), SOURCES, ids=[name for name, _ in SOURCES])
def test_the_set_is_trained_on_and_scored(name, arguments, convert, tmp_path):
    data = convert(name, arguments)
    weights = train(data, tmp_path / "run")
    assert not score.main([str(weights), *QUIET])
    result = json.loads((weights.parents[1] / "score.json").read_text())
    test = pd.read_csv(data / "manifest.csv").query("split == 'test'")
    truth = pd.read_csv(data / "truth.csv", dtype={"image_id": str})
    boxes = truth[truth["image_id"].isin(test["image_id"].astype(str))]["x"].notna().sum()
    assert result["splits"]["test"]["images"] == len(test)
    assert result["splits"]["test"]["truth_boxes"] == boxes > 0


def test_of_several_classes_the_opacity_is_scored(convert, tmp_path):
    data = convert("vindr", ["--classes", "all", "--separate"], "--test", "0.6")
    weights = train(data, tmp_path / "run")
    assert not score.main([str(weights), *QUIET])

    truth = pd.read_csv(data / "truth.csv", dtype={"image_id": str})
    test = set(pd.read_csv(data / "manifest.csv").query("split == 'test'")["image_id"].astype(str))
    truth = truth[truth["image_id"].isin(test)]
    mine = truth[truth["label"] == "Lung Opacity"]
    rest = truth[~truth["image_id"].isin(mine["image_id"])].drop_duplicates("image_id")
    rest = rest.assign(x=np.nan, y=np.nan, width=np.nan, height=np.nan)
    predictions = make_predictions(
        [*mine["image_id"], *rest["image_id"][:3]],
        np.column_stack([np.linspace(0.9, 0.5, len(mine) + 3), np.full((len(mine) + 3, 4), 30.0)]),
    )
    write_predictions(tmp_path / "predictions.csv", predictions)
    given = ["--predictions", str(tmp_path / "predictions.csv"), "--data", str(data), "--output", str(tmp_path / "s")]
    assert not score.main([*given, *QUIET])
    result = json.loads((tmp_path / "s" / "score.json").read_text())
    assert len(mine) > 0
    assert result["splits"]["test"]["truth_boxes"] == len(mine)
    assert result["score"] == pytest.approx(rsna_score(pd.concat([mine, rest]), predictions), abs=1e-12)


def test_weights_are_scored_on_a_set_that_is_nothing_but_a_test_set(convert, tmp_path):
    weights = train(convert("csv", SOURCES[-1][1]), tmp_path / "run")
    raw, external = tmp_path / "raw", tmp_path / "external"
    given = ["--source", str(raw), "--output", str(external), "--workers", "1", "--test", "1", *SOURCES[-1][1]]
    assert not importlib.import_module("convert.csv_to_yolo").main(given)
    from ultralytics import YOLO

    images = len(pd.read_csv(external / "manifest.csv"))
    found = YOLO(weights).val(data=external / "data.yaml", split="test", imgsz=64, project=tmp_path / "val", workers=0)
    assert found.nt_per_image.sum() > 0
    given = ["--data", str(external), "--report-on", "test", "--confidence", "0.3", "--output", str(tmp_path / "s")]
    assert not score.main([str(weights), *given, *QUIET])
    assert json.loads((tmp_path / "s" / "score.json").read_text())["splits"]["test"]["images"] == images
