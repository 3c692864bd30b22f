"""The winners' way as a participant goes it: raw data, recipe, and then the two lines that it prints, as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from common.data.tables import read_predictions
from convert import rsna_to_yolo, sample

ROOT = Path(__file__).resolve().parents[1]
SHORTER = (
    *("folds=2", "imgsz=64", "epochs=1", "model=basic-cnn.yaml", "batch=8", "lr0=0.01", "warmup_epochs=0"),
    *("gate.folds=1", "gate.imgsz=32", "gate.epochs=1", "gate.model=basic-cnn-cls.yaml", "gate.batch=8"),
    *("workers=0", "device=cpu", "amp=False", "deterministic=False", "plots=False", "wandb=False"),
)


@dataclass(frozen=True)
class Chain:
    """What the whole way leaves."""

    raw: Path
    data: Path
    winner: Path
    submission: Path
    score_line: str
    predict_line: str


def type_in(line: str, folder: Path) -> str:
    """Run a line as it stands in a shell; `python` is this one."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    if not (bin_folder / "python").exists():
        (bin_folder / "python").symlink_to(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "WANDB_MODE": "disabled",
        "YOLO_OFFLINE": "true",
        "COLUMNS": "80",
    }
    done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    """Sample, conversion, recipe, score and prediction; `runs/predict` is where the last one writes."""
    folder = tmp_path_factory.mktemp("winner of 2018")  # with spaces, as a person's folders may have
    raw, data = folder / "datasets" / "raw" / "sample", folder / "datasets" / "sample"
    drawn = ["--images", "60", "--test-images", "4", "--size", "64", "--odd-encodings", "0.2", "--workers", "1"]
    sample.main([*drawn, "--output", str(raw)])
    split = ["--val", "0.25", "--test", "0.25", "--folds", "2", "--workers", "1"]
    rsna_to_yolo.main(["--source", str(raw), "--output", str(data), *split])
    words = " ".join([f"'data={data}'", f"'project={folder / 'runs'}'", *SHORTER])
    said = type_in(f"python train/train.py recipe=winner {words}", folder)
    score_line = re.search(r"^next: (python evaluate/score\.py .+)$", said, re.MULTILINE)[1]
    predict_line = re.search(r"^then: (python evaluate/predict\.py .+)$", said, re.MULTILINE)[1]
    type_in(score_line, folder)
    submission = folder / "predicted"
    type_in(f"{predict_line} --output '{submission}'", folder)  # else into runs/ of the project
    return Chain(raw, data, folder / "runs" / "winner", submission, score_line, predict_line)


def test_what_the_recipe_prints_is_all_that_is_needed(chain):
    assert chain.score_line == f"python evaluate/score.py '{chain.winner}'"
    assert chain.predict_line == (
        f"python evaluate/predict.py '{chain.raw / 'stage_2_test_images'}' --weights '{chain.winner}'"
    )


def test_the_score_is_of_all_members_on_images_that_none_has_seen(chain):
    score = json.loads((chain.winner / "score.json").read_text())
    assert (score["tuned_on"], score["reported_on"]) == ("val", "test")
    system = yaml.safe_load((chain.winner / "system.yaml").read_text())
    checksums = [one["sha256"] for one in (*system["detectors"], *system["classifiers"])]
    assert len(checksums) == 3
    assert score["weights_sha256"] == sorted(checksums)
    manifest = pd.read_csv(chain.data / "manifest.csv").set_index("image_id")
    for split in ("val", "test"):
        votes = read_predictions(chain.winner / f"votes_{split}.csv").predictions
        assert set(votes["image_id"]) <= set(manifest.index[manifest["split"] == split])
        assert set(votes["voters"]) == {8}  # two folds, each as it is, mirrored, smaller and larger
    assert "<svg" in (chain.winner / "report.html").read_text()


def test_the_fitted_steps_belong_to_the_members(chain):
    pipeline = yaml.safe_load((chain.winner / "pipeline.yaml").read_text())
    system = yaml.safe_load((chain.winner / "system.yaml").read_text())
    detectors, classifiers = ({one["sha256"] for one in system[part]} for part in ("detectors", "classifiers"))
    assert detectors <= set(pipeline["fitted_on"]["weights"]) <= detectors | classifiers  # without, if no gate is used
    assert pipeline["fitted_on"]["split"] == "val"


def test_the_submission_has_a_row_for_every_image_of_the_challenge(chain):
    wanted = pd.read_csv(chain.raw / "stage_2_sample_submission.csv")["patientId"]
    submission = pd.read_csv(chain.submission / "submission.csv")
    assert list(submission.columns) == ["patientId", "PredictionString"]
    assert sorted(submission["patientId"]) == sorted(wanted)
    assert len(wanted) == 4


def test_what_is_predicted_is_what_was_scored(chain, tmp_path):
    """The test split's DICOM files by predict.py, the converted pictures by score.py: the same tables."""
    manifest = pd.read_csv(chain.data / "manifest.csv")
    test = manifest[manifest["split"] == "test"]
    assert set(test["stored"]) == {"passed through", "decoded"}
    (tmp_path / "dicom").mkdir()
    for source in test["source"]:
        shutil.copy(chain.raw / source, tmp_path / "dicom")
    line = f"python evaluate/predict.py '{tmp_path / 'dicom'}' --weights '{chain.winner}' --output '{tmp_path / 'out'}'"
    type_in(line, tmp_path)
    scored = read_predictions(chain.winner / "votes_test.csv").predictions
    assert len(scored) > 100
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "out" / "predictions.csv").predictions, scored)
    assert read_predictions(tmp_path / "out" / "submission.csv").image_ids == sorted(test["image_id"])

    # What would be submitted scores what was reported.
    handed_in = f"--predictions '{tmp_path / 'out' / 'submission.csv'}' --data '{chain.data}' --confidence 0"
    type_in(f"python evaluate/score.py {handed_in} --output '{tmp_path / 'handed-in'}' --no-report", tmp_path)
    again = json.loads((tmp_path / "handed-in" / "score.json").read_text())
    assert again["score"] == pytest.approx(json.loads((chain.winner / "score.json").read_text())["score"], abs=1e-9)
