from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from common.cli import execute
from common.errors import UserError
from train.detector.starting import words_for_new_length
from train.settings import arguments, options
from train.train import STOPPED, main

from .conftest import kill_when


def words(data_set: Path, cnn: Path, project: Path, **more) -> list[str]:
    given = {
        "data": data_set, "model": cnn, "project": project, "imgsz": 64, "batch": 8, "nbs": 8, "device": "cpu",
        "optimizer": "AdamW", "lr0": 0.02, "warmup_epochs": 0, "mosaic": 0.0, "plots": False, "amp": False,
        "deterministic": False, "wandb": False, "epochs": 2, **more,
    }  # fmt: skip
    return [f"{name}={value}" for name, value in given.items()]


def failure(argv: list[str], capsys) -> str:
    assert execute(main, argv) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_grammar():
    assert arguments.parse(["detect", "train", "data=a.yaml", "epochs", "=", "50", "lr0=", "1e-3", "imgsz", "=64"]) == {
        "data": "a.yaml", "epochs": 50, "lr0": 1e-3, "imgsz": 64,
    }  # fmt: skip
    assert arguments.parse(["resume", "--cos_lr", "name=007", "batch=8,", "freeze=[0,", "1]"]) == {
        "resume": True, "cos_lr": True, "name": "007", "batch": 8, "freeze": [0, 1],
    }  # fmt: skip
    assert arguments.parse(["iou_loss=SIoU", "wiou_updates=10.0", "cls_scale=3"]) == {
        "iou_loss": "siou", "wiou_updates": 10, "cls_scale": 3.0,
    }  # fmt: skip


VALUES = "None true False 1 -1 1e-3 0.5 [1,2] (0.5,1.5) a.yaml 0,1 'x' ram cpu 1x [ nan"


@pytest.mark.parametrize("text", VALUES.split())
def test_values_are_read_as_ultralytics_reads_them(text):
    from ultralytics.cfg import smart_value

    assert arguments.to_value(text) == smart_value(text)


def test_names_and_defaults_are_ultralytics_own():
    from ultralytics.utils import DEFAULT_CFG_DICT

    assert arguments.ultralytics_defaults() == DEFAULT_CFG_DICT
    assert not options.OWN.keys() & DEFAULT_CFG_DICT.keys()


def test_loss_arguments_are_those_of_the_criterion():
    from train.detector.criterion import CLS_LOSSES, IOU_LOSSES, LossSettings

    fields = {field.name: field.default for field in dataclasses.fields(LossSettings)}
    assert {name: argument.default for name, argument in options.LOSS.items()} == fields
    assert options.LOSS["iou_loss"].choices == IOU_LOSSES
    assert options.LOSS["cls_loss"].choices == CLS_LOSSES


def test_a_configuration_file_is_overridden_by_the_command_line(tmp_path):
    (tmp_path / "r.yaml").write_text("lr0: 0.5\nepochs: 7\niou_loss: giou\n")
    assert arguments.parse(["epochs=8", f"cfg={tmp_path / 'r.yaml'}"]) == {"lr0": 0.5, "epochs": 8, "iou_loss": "giou"}
    (tmp_path / "r.yaml").write_text("lr: 0.5\n")
    with pytest.raises(UserError, match="lr: no such argument; did you mean lr"):
        arguments.parse([f"cfg={tmp_path / 'r.yaml'}"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("epoch=3", "epoch: no such argument; did you mean epochs?"),
        ("iou_los=siou", "iou_los: no such argument; did you mean iou_loss?"),
        ("zzzzzz=1", "zzzzzz: no such argument; see --help."),
        ("yolov8m.pt", "no such argument"),
        ("epochs", "epochs: has no value"),
        ("lr0=", "lr0: has no value"),
        ("iou_loss=foo", "expected one of ciou, diou, giou, siou, wiou"),
        ("focal_alpha=1.5", "focal_alpha: found 1.5; expected a number, 0 or more, at most 1"),
        ("cls_scale=0", "cls_scale: found 0; expected a number, more than 0"),
        ("wiou_version=1.5", "expected a whole number"),
        ("vfl_gamma=True", "vfl_gamma: found True"),
        ("task=segment", "task: expected detect"),
        ("mode=val", "mode: expected train"),
        ("cfg=nowhere.yaml", "cfg: nowhere.yaml cannot be read"),
        ("data=nowhere.yaml", "data: nowhere.yaml: no such data YAML"),
        ("epochs=many", "'epochs=many' is of invalid type"),
        ("seed=-1", "'seed' must be >= 0"),
        ("seed=4294967296", "seed: found 4294967296; expected a whole number from 0 to 4294967295"),
        ("wiou_version=2", "choose 1 or 3"),
        ("imgsz=0", "imgsz: found 0; expected the side of the square"),
        ("imgsz=abc", "imgsz: found 'abc'; expected"),
        ("imgsz=[64,x]", "imgsz: found '[64,x]'; expected"),
        ("optimizer=Addam", "optimizer: found 'Addam'; expected one of auto, SGD, Adam"),
        ("box_scale=0", "box_scale: found 0; expected a number, more than 0, at most 2; or two, for width and height"),
        ("box_scale=0.9,3", "box_scale: found 3; expected a number, more than 0, at most 2"),
        (
            "box_scale=0.9,0.8,0.7",
            "box_scale: found (0.9, 0.8, 0.7); expected a number, more than 0, at most 2; or two",
        ),
        ("multi_scale=True", "multi_scale: found True; expected a share of imgsz, such as multi_scale=0.25"),
        ("freeze=stem", "freeze: found 'stem'; expected how many of the first layers"),
        ("cache=tape", "cache: found 'tape'; expected True or ram, disk, or False"),
        ("classes=opacity", "classes: found 'opacity'; expected a list of numbers"),
        ("classes=[0,3]", "classes: found 3; the data set's classes are 0 (Lung Opacity)"),
        ("device=97", "device: found 97; PyTorch"),
        ("device=tape", "device: found tape; PyTorch"),
        ("pretrained=some/where.pt", "pretrained: some/where.pt: no such file"),
        ("pretrained=basic-cnn.yaml", "pretrained: basic-cnn.yaml: expected weights (.pt)"),
        ("model=yolov8q.pt", "yolov8q.pt: no such file, and none that Ultralytics publishes"),
        ("model=nowhere.yaml", "model: nowhere.yaml: no such file"),
        ("model=some/where.pt", "model: some/where.pt: no such file"),
    ],
)
def test_wrong_words_end_in_one_line_and_leave_nothing(word, message, data_set, cnn, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = [word] if "=" in word and not word.endswith("=") else []
    argv = [given for given in words(data_set, cnn, tmp_path / "runs") if given.split("=")[0] != word.split("=")[0]]
    assert message in failure([*argv, *(first or [word])], capsys)
    assert not list(tmp_path.iterdir())


def wrong_model(cnn, change) -> str:
    content = yaml.safe_load(cnn.read_text())
    change(content)
    return yaml.safe_dump(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.update(activation="nn.NoSuch()"), "TypeError"),
        (lambda model: model["backbone"][1].__setitem__(2, "NoLayer"), "KeyError: 'NoLayer'"),
        (lambda model: model["backbone"][1].__setitem__(3, ["x"]), "TypeError"),
        (lambda model: model["backbone"][1].__setitem__(0, 99), "IndexError"),
    ],
)
def test_a_network_that_cannot_be_built_ends_in_one_line_and_leaves_nothing(
    change, reason, data_set, cnn, tmp_path, capsys
):
    (tmp_path / "wrong.yaml").write_text(wrong_model(cnn, change))
    message = failure([*words(data_set, tmp_path / "wrong.yaml", tmp_path / "runs"), "device=cpu"], capsys)
    assert re.search(rf"wrong\.yaml: no network can be built from it \({reason}.*Check its layers", message)
    assert not list((tmp_path / "runs").glob("*"))


def test_a_network_that_is_frozen_whole_is_refused_and_leaves_nothing(data_set, cnn, tmp_path, capsys):
    message = failure([*words(data_set, cnn, tmp_path / "runs"), "freeze=99"], capsys)
    assert "freeze: found 99, which leaves nothing of the network to train; expected fewer layers" in message
    assert not list((tmp_path / "runs").glob("*"))


def test_weights_to_start_from_that_are_none(data_set, cnn, tmp_path, capsys):
    (tmp_path / "w.pt").write_text("no weights")
    argv = [*words(data_set, cnn, tmp_path / "runs"), f"pretrained={tmp_path / 'w.pt'}"]
    message = failure(argv, capsys)
    assert re.search(r"pretrained: .*w\.pt: cannot be loaded as weights \(", message)
    assert "official" not in message  # a model of Ultralytics' own is no remedy
    assert not (tmp_path / "runs").exists()


def test_a_place_that_is_only_to_be_read_is_refused_before_anything_trains(data_set, cnn, tmp_path, capsys, read_only):
    read_only(tmp_path / "mounted")
    (tmp_path / "mounted").mkdir()
    message = failure(words(data_set, cnn, tmp_path / "mounted" / "runs"), capsys)
    assert f"project: {tmp_path}/mounted/runs: not a folder that can be written (Read-only file system)" in message
    assert "project=FOLDER" in message


def test_augmentations_of_a_library_that_is_not_here(data_set, cnn, tmp_path, capsys):
    argv = [*words(data_set, cnn, tmp_path / "runs"), "augmentations=[1]"]
    assert "augmentations: they are Albumentations', which this project does not install" in failure(argv, capsys)


def test_a_model_is_asked_for(data_set, tmp_path, capsys):
    assert "model: missing" in failure([f"data={data_set}", f"project={tmp_path / 'runs'}"], capsys)


def test_data_without_pictures_and_weights_that_are_none(data_set, cnn, tmp_path, capsys):
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: {0: Lung Opacity}\n")
    assert "images not found" in failure([f"data={tmp_path}", f"model={cnn}", f"project={tmp_path / 'runs'}"], capsys)
    (tmp_path / "w.pt").write_text("no weights")
    argv = [f"data={data_set}", f"model={tmp_path / 'w.pt'}", f"project={tmp_path / 'runs'}"]
    assert "cannot be loaded as weights" in failure(argv, capsys)
    (tmp_path / "m.yaml").write_text("a: b\n")
    argv[1] = f"model={tmp_path / 'm.yaml'}"
    assert "no YAML of a model" in failure(argv, capsys)
    assert not (tmp_path / "runs").exists()


def test_weights_that_cannot_be_downloaded(data_set, tmp_path, capsys, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", offline)
    monkeypatch.setattr("train.detector.locating.PROJECT", tmp_path)
    assert execute(main, [f"data={data_set}", "model=yolov8m.pt", f"project={tmp_path / 'runs'}"]) == 1
    assert "yolov8m.pt is not here and cannot be downloaded (no network at all)" in capsys.readouterr().err


def force_score(monkeypatch, score: float) -> None:
    """Let every validation give this RSNA score."""
    monkeypatch.setattr("train.detector.validation.score_images", lambda results: (score, 0.5, score))


def test_train_twice_then_nothing_to_resume(data_set, cnn, tmp_path, capsys, monkeypatch):
    runs = tmp_path / "runs"
    force_score(monkeypatch, 0.4)
    assert execute(main, words(data_set, cnn, runs)) == 0
    said = capsys.readouterr().out
    assert "RSNA score on val  0.4000 at confidence 0.500 (epoch 1)" in said
    assert f"{runs / 'best.pt'}  is now this run's" in said
    assert f"next: python evaluate/score.py {runs / 'train' / 'weights' / 'best.pt'}" in said
    assert (runs / "best.pt").read_bytes() == (runs / "train" / "weights" / "best.pt").read_bytes()
    first = json.loads((runs / "best.json").read_text())["data_sets"]

    force_score(monkeypatch, 0.3)
    assert execute(main, words(data_set, cnn, runs, epochs=1, iou_loss="diou")) == 0
    said = capsys.readouterr().out
    assert json.loads((runs / "best.json").read_text())["data_sets"] == first
    assert f"{runs / 'best.pt'}  stays that of {runs / 'train'}, with 0.4000" in said
    assert (runs / "best.pt").read_bytes() == (runs / "train" / "weights" / "best.pt").read_bytes()
    (second,) = (folder for folder in runs.iterdir() if folder.is_dir() and folder.name != "train")
    assert "iou_loss: diou" in (second / "args.yaml").read_text()

    assert execute(main, ["resume", f"project={runs}", "name=train"]) == 0
    said = capsys.readouterr()
    assert "is finished after 2 epochs. To train on: resume=" in said.err
    assert "RSNA score on val" in said.out
    force_score(monkeypatch, 0.5)
    assert execute(main, ["resume", f"project={runs}", "name=train", "epochs=3"]) == 0
    rates = [float(row["lr/pg0"]) / 0.02 for row in csv.DictReader((runs / "train" / "results.csv").open())]
    said = capsys.readouterr()
    assert f"{runs / 'best.pt'}  is now this run's" in said.out
    assert "epochs=3 instead of 2: the schedules are laid anew over 3 epochs" in said.err
    # 0.99 of the rate falls with the epochs that are done, the last of 2 and of 3.
    assert rates == pytest.approx([1, 0.505, 0.34], abs=1e-3)
    assert "the learning rate goes from 0.505 of lr0 in epoch 2 to 0.340 in epoch 3" in said.err
    (record,) = json.loads((runs / "best.json").read_text())["data_sets"].values()
    assert (record["score"], record["run"]) == (0.5, "train")
    assert (runs / "best.pt").read_bytes() == (runs / "train" / "weights" / "best.pt").read_bytes()
    last = second / "weights" / "last.pt"
    assert execute(main, [f"resume={last}", "keep_state=False"]) == 0
    assert f"{runs / 'best.pt'}  " in capsys.readouterr().out  # not the project's
    assert sorted(file.name for file in last.parent.iterdir()) == ["best.pt", "last.pt"]
    assert "was not kept" in failure([f"resume={last}", "epochs=9"], capsys)
    assert "expected a training's weights/last.pt" in failure([f"resume={runs}/no/weights/last.pt"], capsys)


@pytest.fixture
def stopped(trained, tmp_path) -> Path:
    """The last.pt of a training that three of four epochs are done of."""
    run = shutil.copytree(trained.save_dir, tmp_path / "runs" / "train")
    last = run / "weights" / "last.pt"
    checkpoint = torch.load(last, weights_only=False)
    checkpoint["train_args"] |= {"epochs": 4, "project": str(run.parent), "save_dir": str(run)}
    torch.save(checkpoint, last)
    return last


@pytest.mark.parametrize("words", [["resume=runs/train"], ["resume", "project=runs"], ["resume", "epochs=9"]])
def test_a_plain_training_is_refused_at_once(stopped, words, tmp_path, capsys, monkeypatch):
    """Its best epoch is one by mAP, and its results.csv lacks three columns."""
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(stopped, weights_only=False)
    plain = {name: value for name, value in checkpoint["train_args"].items() if name not in options.OWN}
    torch.save({**checkpoint, "train_args": plain}, stopped)
    before = {file: file.read_bytes() for file in stopped.parents[1].rglob("*") if file.is_file()}
    message = failure([*words, *([] if "project=runs" in words else ["project=runs"])], capsys)
    assert "is of plain `yolo train`" in message
    assert "yolo train resume model=runs/train/weights/last.pt" in message
    assert "python train/train.py model=runs/train/weights/last.pt epochs=N" in message
    assert {file: file.read_bytes() for file in stopped.parents[1].rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half", "list"])
def test_a_damaged_checkpoint_is_one_line(stopped, content, tmp_path, capsys):
    if content == "list":
        torch.save([1], stopped)
    else:
        stopped.write_bytes(stopped.read_bytes()[:5000] if content == "half" else content)
    message = failure([f"resume={stopped}"], capsys)
    assert f"resume: {stopped}: not a training's checkpoint, or a damaged one" in message
    assert "start the training anew" in message


def test_a_damaged_state_is_one_line(stopped, capsys):
    state = stopped.with_name("state-2.pt")
    state.write_bytes(state.read_bytes()[:5000])
    message = failure([f"resume={stopped}", "wandb=False"], capsys)
    assert f"resume: {state}: damaged" in message
    assert "Remove it and resume again" in message


def test_what_becomes_of_the_schedules_with_more_epochs():
    begun = {"epochs": 50, "close_mosaic": 10, "mosaic": 1.0, "lrf": 0.01, "cos_lr": False}
    words = words_for_new_length(begun, 80, 10, 50, branches=True)
    assert "from 0.030 of lr0 in epoch 50 to 0.381 in epoch 51" in words  # 0.01 + 0.99 (1 / 50) and (30 / 80)
    assert "mosaics, off since epoch 41, are on again up to epoch 70" in words
    assert "the one-to-many branch counts 0.357 instead of 0.100" in words  # 0.1 + 0.7 (29 / 79)
    cosine = words_for_new_length({**begun, "cos_lr": True, "close_mosaic": 0}, 100, 0, 50, branches=False)
    assert "to 0.505 in epoch 51" in cosine  # half way from 1 to 0.01
    assert "mosaic" not in cosine
    assert "branch" not in cosine


def test_a_killed_command_is_resumed(data_set, cnn, tmp_path, capsys):
    runs = tmp_path / "runs"
    argv = words(data_set, cnn, runs, epochs=200)
    last = runs / "train" / "weights" / "last.pt"
    kill_when(last.exists, argv, tmp_path, {**os.environ, "YOLO_OFFLINE": "true"})
    assert "lr0=0.5 cannot change" in failure(["resume", f"project={runs}", "lr0=0.5"], capsys)
    done = len((runs / "train" / "results.csv").read_text().splitlines()) - 1
    assert execute(main, ["resume", f"project={runs}", f"epochs={done + 2}"]) == 0
    rows = (runs / "train" / "results.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, done + 3))
    assert (runs / "best.pt").is_file()


def test_what_is_said_after_ctrl_c_goes_on(data_set, cnn, tmp_path, capsys, monkeypatch):
    """Typed as it is printed, beside a newer run that bare `resume` would take."""
    runs = tmp_path / "runs"
    argv = words(data_set, cnn, runs, epochs=2)

    def stop(trainer):
        shutil.copytree(trainer.save_dir, runs / "newer")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.detector.training._Request.train", stopping(stop))
        assert execute(main, argv, STOPPED) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    typed = re.search(r"python train/train.py (\S+) goes on after the last finished epoch", said)
    assert execute(main, shlex.split(typed[1])) == 0
    assert len((runs / "train" / "results.csv").read_text().splitlines()) == 3
    assert len((runs / "newer" / "results.csv").read_text().splitlines()) == 2


def stopping(stop):
    from train.detector.training import _Request

    train = _Request.train
    return lambda self, trainer: (trainer.add_callback("on_model_save", stop), train(self, trainer))[1]


def test_killed_in_the_last_validation(data_set, cnn, tmp_path, capsys, monkeypatch):
    runs = tmp_path / "runs"
    with monkeypatch.context() as patch:
        patch.setattr("train.detector.trainer.RSNATrainer.final_eval", lambda self: sys.exit(9))
        with pytest.raises(SystemExit):
            main(words(data_set, cnn, runs))
    assert execute(main, ["resume", f"project={runs}"]) == 0
    assert "RSNA score on val" in capsys.readouterr().out
    assert sorted(file.name for file in (runs / "train" / "weights").iterdir()) == ["best.pt", "last.pt", "state-1.pt"]
    assert (runs / "best.pt").is_file()


@pytest.mark.parametrize("given", ["model={}", "pretrained={}", "resume={}"])
def test_loading_weights_asks_no_other_machine(given, data_set, cnn, tmp_path, capsys, monkeypatch):
    """The class is allowed, and what makes it would fetch weights."""
    import socket

    import torch
    from ultralytics.nn.modules import TorchVision

    class Maker:
        def __reduce__(self):
            return TorchVision, ("resnet18",)

    asked = []

    def look_up(host, *_, **__):
        asked.append(host)
        raise OSError("no network in tests")

    bad = tmp_path / "run" / "weights" / "last.pt"
    bad.parent.mkdir(parents=True)
    torch.save({"model": Maker(), "train_args": {}}, bad)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    word = given.format(bad)
    argv = [one for one in words(data_set, cnn, tmp_path / "runs") if one.split("=")[0] != word.split("=")[0]]
    said = failure([*argv, word], capsys)
    assert "it asks for something from the network" in said
    assert asked == []
