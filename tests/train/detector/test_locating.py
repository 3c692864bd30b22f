from __future__ import annotations

import json
import os
import shutil

import pytest

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics
from common.trainings import GATE
from train.detector import heads, locating
from train.detector.locating import MODELS, Resumable, check_data, find_last, find_model

GATES = Resumable(kind=GATE, files=("",), no_file="no gate's file", no_run="no gate's run", remedy="start one.")


@pytest.fixture
def project(tmp_path):
    """Checkpoints of runs, the later one in this list the newer one: `train-2` is the newest that goes on by itself."""
    runs = ["train", "train-2", "gate", "winner/fold0-64", "winner/gate", "studies/a/trials/t0/run", "gate2"]
    for age, name in enumerate(runs):
        weights = tmp_path / name / "weights"
        weights.mkdir(parents=True)
        task = "classify" if "gate" in name else "detect"
        (tmp_path / name / "args.yaml").write_text(f"task: {task}\nmode: train\n")
        for file in ("last.pt", "best.pt"):
            (weights / file).touch()
            os.utime(weights / file, (1000 + age, 1000 + age))
    (tmp_path / "winner" / "members.json").touch()
    (tmp_path / "studies" / "a" / "study.json").touch()
    return tmp_path


def test_the_newest_checkpoint_or_the_one_that_is_named(project):
    assert find_last(True, project, "train") == project / "train" / "weights" / "last.pt"
    assert find_last(True, project, None) == project / "train-2" / "weights" / "last.pt"
    assert find_last(True, project, None, kind=GATES) == project / "gate2" / "weights" / "last.pt"
    assert find_last(str(project / "gate"), project, None) == project / "gate" / "weights" / "last.pt"
    assert find_last(project / "gate", project, None) == project / "gate" / "weights" / "last.pt"
    named = project / "train" / "weights" / "last.pt"
    assert find_last(named, project, None) == named
    named = str(project / "train" / "weights" / "last.pt")
    assert str(find_last(named, project, None)) == named
    assert str(find_last(True, project, None, named)) == named  # model=last.pt resume


def test_which_files_may_be_named(project):
    best = str(project / "gate" / "weights" / "best.pt")
    assert str(find_last(best, project, None, kind=GATES)) == best
    with pytest.raises(UserError, match=r"expected a training's folder with weights/last\.pt, or that file"):
        find_last(best, project, None)
    assert find_last(True, project, "train", best).parent.parent.name == "train"  # best.pt is no checkpoint to resume


def test_what_is_said_where_there_is_none(project, tmp_path):
    with pytest.raises(UserError, match=r"no such file; expected a training's weights/last\.pt"):
        find_last("nowhere/last.pt", project, None)
    with pytest.raises(UserError, match="no gate's file"):
        find_last("nowhere/any.pt", project, None, kind=GATES)
    with pytest.raises(UserError, match="no gate's run"):
        find_last("nowhere", project, None, kind=GATES)
    with pytest.raises(UserError, match=r"other/weights/last\.pt; start one\.$"):
        find_last(True, project, "other", kind=GATES)
    for name in ("train", "train-2"):
        shutil.rmtree(project / name)
    gates = rf"2 gates \({project}/gate2, \.\.\.\), 1 trial of a study \({project}/studies/a/trials/t0/run\)"
    with pytest.raises(UserError, match=rf"no detector's .*, only {gates} and 2 members of recipes.*; a training can"):
        find_last(True, project, None)


def test_a_training_that_cannot_go_on_where_it_lies(project, read_only):
    read_only(project)
    with pytest.raises(
        UserError, match=r"^resume: .*/train/weights: not a folder that can be written .*copy that to where"
    ):
        find_last(True, project, "train")


def test_a_home_folder_is_understood(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    assert find_last("~/train", project, None) == project / "train" / "weights" / "last.pt"
    assert find_last("~/train/weights/last.pt", project, None) == project / "train" / "weights" / "last.pt"


@pytest.mark.parametrize(
    ("model", "head"),
    [("basic-cnn.yaml", "Detect"), ("basic-cnn-cls.yaml", heads.CLASSIFIER), ("rtdetr-tiny.yaml", heads.RTDETR)],
)
def test_the_head_of_a_model(model, head):
    import_ultralytics()
    assert heads.head_of_file(MODELS / model) == head


@pytest.mark.parametrize(("model", "is_one"), [("yolov8n.yaml", True), ("yolov8n-seg.yaml", False)])
def test_a_detector_is_for_upright_boxes_alone(model, is_one):
    import_ultralytics()
    from ultralytics import YOLO
    from ultralytics.nn.modules import Detect, RTDETRDecoder

    network = YOLO(model).model
    assert heads.is_detector(network, Detect) == is_one
    assert not heads.is_detector(network, RTDETRDecoder)
    assert heads.head_of(network) == ("Detect" if is_one else "Segment")


def test_a_models_name_is_completed_as_ultralytics_does(tmp_path, monkeypatch):
    monkeypatch.setattr(locating, "PROJECT", tmp_path)
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / ".cache" / "weights" / "yolov8m.pt"
    assert find_model("yolov8m") == find_model("yolov8m.pt") == (kept, True)
    (tmp_path / "mine.pt").touch()
    assert find_model("mine") == find_model(str(tmp_path / "mine")) == (tmp_path / "mine.pt", False)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert find_model("yolov8m") == (kept, False)


@pytest.mark.parametrize("name", ["resnet50", "nowhere/yolov8m", ".", "/", "basic-cnn", "nothing.yaml", "what.bin"])
def test_a_model_that_is_nowhere_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such file\. Name weights"):
        find_model(name)


@pytest.fixture
def foreign(tmp_path):
    """A data YAML whose pictures are missing and whose download writes a file."""
    file = tmp_path / "foreign.yaml"
    ran = tmp_path / "ran.txt"
    script = f"from pathlib import Path\nPath({str(ran)!r}).write_text('\x1b[2Khere')\n"
    content = f"train: images/train\nval: images/val\nnames: [Lung Opacity]\ndownload: {json.dumps(script)}\n"
    file.write_text(content)
    return file, ran


def test_the_code_of_a_foreign_data_yaml_is_not_run_unasked(foreign):
    file, ran = foreign
    with pytest.raises(UserError, match=r"foreign\.yaml: its pictures are not here, and its `download:` \(from"):
        check_data(str(file))
    assert not ran.exists()


@pytest.mark.parametrize("answer", ["n", "y"])
def test_it_is_shown_and_asked_for_at_a_terminal(foreign, monkeypatch, capsys, answer):
    file, ran = foreign
    monkeypatch.setattr(locating, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    if answer == "y":
        check_data(str(file))
    else:
        with pytest.raises(UserError, match="was not run"):
            check_data(str(file))
    assert ran.exists() == (answer == "y")
    shown = capsys.readouterr().out
    assert "    Path(" in shown
    assert "\x1b" not in shown
