"""Which weights are taken where none, or a folder, is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.detector import finding


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch) -> Path:
    """Where Ultralytics would keep this user's settings: there are none."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "Ultralytics" / "settings.json"


def touch(path: Path, content: bytes = b"x", time: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if time is not None:
        os.utime(path, (time, time))
    return path


def test_newest_training_stands_in_for_runs_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(Path("runs/detect/train2/weights/best.pt"), time=100)
    newest = touch(Path("runs/detect/train/weights/best.pt"), time=200)
    touch(Path("runs/detect/train/weights/last.pt"), time=300)
    path, note = finding.find_weights(Path("runs/best.pt"))
    assert path == newest
    assert "no runs/best.pt; using runs/detect/train/weights/best.pt, the newest of 2 trainings" in note
    asked = touch(Path("runs/best.pt"), time=1)
    assert finding.find_weights(Path("runs/best.pt")) == (asked, "")


def test_only_a_detector_of_its_own_stands_in(tmp_path, monkeypatch):
    """Gates, members of recipes and trials of studies are newer here, and are not what is meant."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "PROJECT", tmp_path)
    touch(Path("runs/winner/members.json"))
    touch(Path("runs/studies/losses/study.json"))
    runs = ["train", "gate", "winner/fold0-640", "winner/gate", "studies/losses/trials/t000/run", "seg"]
    tasks = ["detect", "classify", "detect", "classify", "detect", "segment"]
    for time, (run, task) in enumerate(zip(runs, tasks, strict=True)):
        touch(Path(f"runs/{run}/weights/best.pt"), time=100 + time)
        touch(Path(f"runs/{run}/args.yaml"), f"task: {task}\nmode: train\n".encode())
    path, note = finding.find_weights(Path("runs/best.pt"))
    assert (path, note) == (Path("runs/train/weights/best.pt"), "no runs/best.pt; using runs/train/weights/best.pt")
    (tmp_path / "runs/train/weights/best.pt").unlink()
    with pytest.raises(UserError, match="Train first") as caught:
        finding.find_weights(Path("runs/best.pt"))
    assert (
        "found only 1 model for the task 'segment' (runs/seg), 1 trial of a study "
        "(runs/studies/losses/trials/t000/run), 2 members of recipes (runs/winner/gate, ...) and 1 gate (runs/gate)."
    ) in str(caught.value)


def test_where_plain_yolo_train_saves_is_looked_at_last(tmp_path, monkeypatch, config, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "PROJECT", tmp_path)
    settings = touch(config, json.dumps({"runs_dir": str(tmp_path / "other")}).encode())
    before = settings.read_bytes()
    theirs = touch(tmp_path / "other/detect/train/weights/best.pt", time=100)
    assert finding.find_weights() == (theirs, "no runs/best.pt; using other/detect/train/weights/best.pt")
    ours = touch(Path("runs/detect/train/weights/best.pt"), time=200)
    assert finding.find_weights()[0] == ours
    assert capsys.readouterr().err == ""
    touch(theirs, time=300)
    assert finding.find_weights()[0] == ours
    assert (
        "warning: other/detect/train/weights/best.pt was trained later than runs/detect/train"
        in capsys.readouterr().err
    )
    assert (settings.read_bytes(), [path.name for path in config.parent.iterdir()]) == (before, ["settings.json"])
    settings.write_text('{"runs_dir": 3}')
    assert finding.find_weights()[0] == ours


def test_a_training_newer_than_the_best_one_is_told(tmp_path, monkeypatch, capsys):
    """As after train/train.py and then plain `yolo train`, which does not know runs/best.pt."""
    monkeypatch.chdir(tmp_path)
    best = touch(Path("runs/best.pt"), time=100)
    touch(Path("runs/train/weights/best.pt"), time=90)
    touch(Path("runs/gate/weights/best.pt"), time=300)
    touch(Path("runs/gate/args.yaml"), b"task: classify\n")
    assert finding.find_weights() == (best, "")
    assert capsys.readouterr().err == ""
    touch(Path("runs/detect/train/weights/best.pt"), time=200)
    finding.find_weights()
    assert "runs/detect/train/weights/best.pt was trained later than runs/best.pt, which is" in capsys.readouterr().err
    finding.find_weights(Path("runs/train"))  # named: that is what is meant
    assert capsys.readouterr().err == ""
    touch(Path("runs/best.json"), b"{}", time=250)  # a training has been compared since, and was no better
    finding.find_weights()
    assert capsys.readouterr().err == ""


def test_folder_of_a_training(tmp_path):
    best = touch(tmp_path / "train" / "weights" / "best.pt")
    assert finding.find_weights(tmp_path / "train")[0] == best
    assert finding.find_weights(tmp_path / "train" / "weights")[0] == best


def test_no_other_weights_stand_in_for_a_named_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(Path("runs/train/weights/best.pt"))
    with pytest.raises(UserError, match=r"^runs/train3/weights/best.pt: no such weights file"):
        finding.find_weights(Path("runs/train3/weights/best.pt"))


def test_nothing_trained_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "PROJECT", tmp_path)
    with pytest.raises(UserError, match="Train first"):
        finding.find_weights(Path("runs/best.pt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"without weights/best.pt"):
        finding.find_weights(tmp_path / "empty")
