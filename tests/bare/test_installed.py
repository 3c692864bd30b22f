"""The package as `pip install .` gives it: without PyTorch, from an empty folder. `make bare` runs it."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

RSNA = Path(sys.executable).parent / "rsna"
SITE = Path(sysconfig.get_paths()["purelib"])

pytestmark = pytest.mark.skipif(
    not (SITE / "common" / "console.py").is_file(), reason="the package is not installed as a copy: run `make bare`"
)


def rsna(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run([RSNA, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed() -> set[Path]:
    return {path for path in SITE.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which the sample was drawn and converted."""
    folder = tmp_path_factory.mktemp("empty")
    rsna(folder, "sample", "--output", "datasets/raw/rsna", "--images", "60", "--test-images", "6", "--size", "128")
    said = rsna(folder, "convert", "rsna", "--val", "0.2", "--test", "0.2")
    assert "Next: rsna train model=" in said
    return folder


def test_there_is_no_pytorch_here():
    for name in ("torch", "ultralytics", "wandb", "ray"):
        assert importlib.util.find_spec(name) is None


def test_the_sample_is_converted_explored_and_exported(folder):
    before = installed()
    with open(folder / "datasets" / "rsna" / "manifest.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 66
    rsna(folder, "explore", "datasets/rsna")
    assert (folder / "runs" / "explore" / "rsna.html").stat().st_size > 100_000
    rsna(folder, "convert", "to-coco")
    assert len(json.loads((folder / "datasets/rsna/coco/test.json").read_text())["images"]) == 12
    assert installed() == before


def test_predictions_are_scored(folder):
    with open(folder / "datasets" / "rsna" / "truth.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["x"]]
    lines = [f"{row['image_id']},0.9,{row['x']},{row['y']},{row['width']},{row['height']}" for row in rows]
    (folder / "all.csv").write_text("\n".join(["image_id,confidence,x,y,width,height", *lines]) + "\n")
    said = rsna(folder, "score", "--predictions", "all.csv", "--data", "datasets/rsna")
    assert "RSNA score on test: 1.000" in said  # the truth itself
    assert json.loads((folder / "all-score" / "score.json").read_text())["score"] == 1
    assert (folder / "all-score" / "report.html").is_file()


def test_what_needs_more_says_what_to_install(folder):
    said = rsna(folder, "train", "model=basic-cnn.yaml", status=2)
    assert "pip install 'rsna-pneumonia-workshop[train]'" in said
    assert "Traceback" not in said


def test_nothing_was_written_but_below_the_folder(folder):
    assert {path.name for path in folder.iterdir()} <= {"datasets", "runs", "all.csv", "all-score", ".cache"}
    assert not (SITE / "datasets").exists()
    assert not (SITE / "runs").exists()
    assert not (SITE / ".cache").exists()
