from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from common.cli import execute  # noqa: E402
from train.detector.results import CONFIDENCE, FIXED_SCORE, SCORE  # noqa: E402
from train.detector.sampling import make_draw  # noqa: E402
from train.detector.validation import RSNAValidator  # noqa: E402
from train.train import main  # noqa: E402

from .random_kills import differences  # noqa: E402


def rows(run: Path) -> list[dict[str, float]]:
    with open(run / "results.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture
def command(data_set, cnn, tmp_path, monkeypatch):
    """Runs the training command so that it trains in two processes; gives its status and what the processes noted."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import two_processes

    monkeypatch.setattr("train.detector.training._trainer_for", lambda head: two_processes.OnTwoProcesses)
    argv = [
        f"data={data_set}", f"model={cnn}", f"project={tmp_path / 'runs'}", "imgsz=64", "batch=4",
        "nbs=12", "device=cpu", "optimizer=AdamW", "lr0=0.05", "warmup_epochs=0", "mosaic=0.5", "close_mosaic=1",
        "plots=False", "amp=False", "deterministic=False", "epochs=3", "negatives=0.25", "seed=1",
    ]  # fmt: skip

    def run(*given: str, kill: str = "") -> tuple[int, list[dict]]:
        monkeypatch.setenv(two_processes.NOTES, str(tmp_path))
        monkeypatch.setenv(two_processes.KILL, kill)
        for file in tmp_path.glob("*.json"):
            file.unlink()
        status = execute(main, [*given] if "resume" in given else [*argv, *given])
        return status, [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*.json"))]

    return run


def test_two_processes_train_die_and_go_on(command, data_set, tmp_path, capfd):
    runs = tmp_path / "runs"
    status, noted = command(kill="1")
    assert (status, noted) == (1, [])
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "the training on 2 devices broke off" in errors[0]
    assert [row["epoch"] for row in rows(runs / "train")] == [1]

    status, noted = command("resume", f"project={runs}")
    assert status == 0
    assert [folder.name for folder in runs.iterdir() if folder.is_dir()] == ["train"]
    assert [note["save_dir"] for note in noted] == [str(runs / "train")] * 2
    assert sorted(file.name for file in (runs / "train" / "weights").iterdir()) == [
        "best.pt", "last.pt", "state-2.pt",
    ]  # fmt: skip
    found = rows(runs / "train")
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert all(0 <= row[SCORE] <= 1 for row in found)

    # And it is the undisturbed one to the last digit, though an epoch ends between two steps.
    assert command(f"project={tmp_path / 'whole'}")[0] == 0
    assert not differences(runs / "train", tmp_path / "whole" / "train")

    # Each process had its own half of what one process would have drawn: 12 images with boxes, and 3 of 4 without.
    pictures = sorted((data_set / "images" / "train").iterdir())
    labels = [{"cls": (data_set / "labels" / "train" / f"{file.stem}.txt").read_text().split()} for file in pictures]
    draw = make_draw([str(file) for file in pictures], labels, 0.25, seed=1)
    for epoch in (1, 2):
        first, second = (note["seen"][str(epoch)] for note in noted)
        assert len(first) == len(second) == 8
        seen = Counter(first + second)
        assert seen.keys() == {pictures[number].stem for number in draw.images(epoch)}
        assert len(seen) == 15  # so that one image is in twice, to make the halves equal
    assert noted[0]["seen"].keys() == noted[1]["seen"].keys() == {"1", "2"}

    # What was gathered from both is what one process finds with the same weights.
    best = runs / "train" / "weights" / "best.pt"
    given = {"data": str(data_set / "data.yaml"), "imgsz": 64, "batch": 8, "device": "cpu", "plots": False}
    # As in a training: suppression at the command's IoU, and pictures laid in the same square.
    alone = RSNAValidator(save_dir=tmp_path / "val", args={**given, "iou": 0.4, "rect": False})(model=best)
    assert alone[SCORE] > 0
    for name in (SCORE, CONFIDENCE, FIXED_SCORE, "metrics/mAP50-95(B)"):
        assert noted[0]["metrics"][name] == pytest.approx(alone[name], abs=1e-5), name
    assert max(row[SCORE] for row in found) == pytest.approx(alone[SCORE], abs=2e-2)  # best.pt is in half precision
