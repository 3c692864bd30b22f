from __future__ import annotations

import os
import shutil
import socket
import sys
import types
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.detector import weights


def touch(path: Path, content: bytes = b"x", time: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if time is not None:
        os.utime(path, (time, time))
    return path


def test_run_of_linked_weights_is_the_training(tmp_path):
    best = touch(tmp_path / "train" / "weights" / "best.pt")
    assert weights.run_folder(best) == tmp_path / "train"
    (tmp_path / "best.pt").symlink_to(best)
    assert weights.run_folder(tmp_path / "best.pt") == tmp_path / "train"
    assert weights.run_folder(touch(tmp_path / "copied.pt")) == tmp_path


def test_loads_trained_weights(trained, data_set):
    loaded = weights.load_weights(trained)
    assert (loaded.imgsz, loaded.channels, loaded.classes) == (128, 1, (0,))
    assert weights.find_training_data(loaded) == data_set / "data.yaml"


def test_weights_say_which_epoch_they_are_of_and_how_old_they_are(untrained, tmp_path):
    import torch

    path = untrained(data="sets/a/data.yaml", epochs=3)
    plain = weights.load_weights(path)
    assert plain.description == f"{path}, trained on sets/a/data.yaml"
    checkpoint = torch.load(path, weights_only=False)
    when = (datetime.now().astimezone() - timedelta(hours=3, minutes=5)).isoformat()
    history = {
        "epoch": [1, 2, 3],
        "time": [9.0, 9.1, 9.2],
        "val/box_loss": [2.0, 1.5, 1.4],
        "mAP50": [0.1, 0.23457, 0.2],
    }
    own = {"val/box_loss": 1.49996, "mAP50": 0.234568, "fitness": 0.3}
    finished = {"epoch": -1, "date": when, "train_results": history, "train_metrics": own}
    torch.save(checkpoint | finished, tmp_path / "best.pt")
    told = weights.load_weights(tmp_path / "best.pt").description
    assert told == f"{tmp_path}/best.pt (epoch 2 of 3), trained 3 h ago on sets/a/data.yaml"
    for changes in (
        {"train_metrics": {}},
        {"train_results": {}},
        {"train_metrics": None},
        {"train_results": {"epoch": [1]}},
    ):
        torch.save(checkpoint | finished | changes | {"date": "yesterday"}, tmp_path / "best.pt")
        assert (
            weights.load_weights(tmp_path / "best.pt").description == f"{tmp_path}/best.pt, trained on sets/a/data.yaml"
        )
    torch.save(checkpoint | {"epoch": 1}, tmp_path / "best.pt")  # still training
    assert "(epoch 2 of 3)" in weights.load_weights(tmp_path / "best.pt").description


def test_channels_and_class_come_from_the_checkpoint(untrained):
    loaded = weights.load_weights(untrained(channels=3, names=("Mass", "Lung Opacity"), imgsz=[96, 64]))
    assert (loaded.imgsz, loaded.channels, loaded.classes) == (96, 3, (1,))


class Payload:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def not_weights(kind: str, folder: Path) -> Path:
    import torch

    path = folder / "bad.pt"
    if kind == "state dict":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "tensor":
        torch.save(torch.ones(3), path)
    elif kind == "other dictionary":
        torch.save({"epoch": 3, "note": "hello"}, path)
    elif kind == "payload":
        torch.save({"model": Payload(folder / "ran")}, path)
    elif kind == "foreign module":
        path.write_bytes(b"\x80\x02cno_such_package.models\nNet\n)\x81.")
    elif kind == "truncated":
        torch.save({"model": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.write_bytes(
            {
                "empty": b"",
                "random bytes": bytes(range(7, 250)) * 9,
                "web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
                "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            }[kind]
        )
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "an empty file"),
        ("random bytes", "no PyTorch file"),
        ("web page", "a web page"),
        ("lfs pointer", "git lfs pull"),
        ("state dict", "a bare state dict of 2 tensors"),
        ("tensor", "a single object"),
        ("other dictionary", "keys epoch, note"),
        ("payload", "holds the class pathlib.Path, and foreign classes"),
        ("foreign module", "cannot be loaded as weights"),
        ("truncated", "cannot be loaded as weights"),
    ],
)
def test_what_is_no_checkpoint_gives_one_line(kind, words, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("tried to install a package")

    monkeypatch.setattr("ultralytics.nn.tasks.check_requirements", refuse)
    path = not_weights(kind, tmp_path)
    with pytest.raises(UserError) as caught:
        weights.load_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "expected a" in message
    assert "\n" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("model", ["TorchVision", "yaml"])
def test_loading_asks_no_other_machine(model, tmp_path, monkeypatch):
    """The classes are allowed, and what makes them would fetch weights or a file."""
    from ultralytics.nn.modules import TorchVision
    from ultralytics.nn.tasks import DetectionModel

    class Maker:
        def __reduce__(self):
            layers = {"backbone": [[-1, 1, "TorchVision", [512, "resnet18"]]], "head": [[[0], 1, "Detect", [1]]]}
            return {
                "TorchVision": (TorchVision, ("resnet18",)),
                "yaml": (DetectionModel, ({"nc": 1, "channels": 3, **layers},)),
            }[model]

    import torch

    asked = []

    def look_up(host, *_, **__):
        asked.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    torch.save({"model": Maker()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="cannot be loaded as weights"):
        weights.load_weights(tmp_path / "bad.pt")
    assert asked == []
    assert socket.getaddrinfo is look_up


def stored_as(module: str, name: str, path: Path) -> Path:
    """A checkpoint whose model is of this class, as a program that has the class would store it."""
    import torch

    made = type(name, (), {"__module__": module})
    packages = [".".join(module.split(".")[: end + 1]) for end in range(module.count(".") + 1)]
    known = {package: sys.modules.get(package) for package in packages}
    try:
        for package in packages:
            sys.modules.setdefault(package, types.ModuleType(package))
        before = getattr(sys.modules[module], name, None)
        setattr(sys.modules[module], name, made)
        torch.save({"model": made(), "epoch": 1}, path)
        if before is None:
            delattr(sys.modules[module], name)
    finally:
        for package, there in known.items():
            if there is None:
                del sys.modules[package]
    return path


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("models.yolo", "DetectionModel", r"made by YOLOv5 or v7 \(it holds models.yolo.DetectionModel\).*Train anew"),
        (
            "ultralytics.nn.modules.block",
            "C9z",
            r"holds ultralytics.nn.modules.block.C9z, which Ultralytics [\d.]+",
        ),
        ("their_lab.nets", "Chest", r"holds the class their_lab.nets.Chest, and foreign classes are not loaded"),
    ],
)
def test_refused_class_is_named_with_a_way_out(module, name, words, tmp_path):
    with pytest.raises(UserError, match=words) as caught:
        weights.load_weights(stored_as(module, name, tmp_path / "theirs.pt"))
    assert "score.py --predictions FILE" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("imgsz", [65536, 0, -64, "large", None, float("nan"), [64, 10**9], []])
def test_size_that_no_training_has(imgsz, untrained):
    with pytest.raises(UserError, match=r"says that it was trained at imgsz=.*expected 1 to 8192 pixels"):
        weights.load_weights(untrained(imgsz=imgsz))


def test_missing_file_and_other_suffix(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_weights(tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"ends in '.onnx'"):
        weights.load_weights(touch(tmp_path / "best.onnx"))


def test_classifier_and_foreign_classes(tmp_path, untrained):
    import torch
    from ultralytics.nn.tasks import ClassificationModel

    model = ClassificationModel("yolov8n-cls.yaml", ch=1, nc=2, verbose=False)
    model.names, model.task, model.args = {0: "a", 1: "b"}, "classify", {}
    torch.save({"model": model, "train_args": {"task": "classify"}}, tmp_path / "classifier.pt")
    with pytest.raises(UserError, match="task 'classify'; expected a detector"):
        weights.load_weights(tmp_path / "classifier.pt")
    with pytest.raises(UserError, match=r"found 2 classes \(person, bicycle, ...\)"):
        weights.load_weights(untrained(names=("person", "bicycle")))


def test_training_data_is_looked_for_where_the_training_was(untrained, tmp_path, monkeypatch):
    loaded = weights.load_weights(untrained(data="sub/data.yaml"))
    with pytest.raises(UserError, match=r"was trained on sub/data.yaml, which is not there.*--data"):
        weights.find_training_data(loaded)
    monkeypatch.setattr(weights, "PROJECT", tmp_path)
    found = touch(tmp_path / "sub" / "data.yaml")
    assert weights.find_training_data(loaded) == found
    here = touch(loaded.path.parent / "sub" / "data.yaml")
    assert weights.find_training_data(loaded) == here


def test_a_relative_path_means_the_training_not_the_current_folder(untrained, data_set, tmp_path, monkeypatch, capsys):
    """Another project's data.yaml in the current folder must not be scored instead of the one that was trained on."""
    monkeypatch.setattr(weights, "PROJECT", tmp_path / "none")
    path = tmp_path / "project" / "runs" / "detect" / "train" / "weights" / "best.pt"
    touch(path, untrained(data="data.yaml").read_bytes())
    loaded = weights.load_weights(path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other = shutil.copy(data_set / "data.yaml", "data.yaml")
    assert weights.find_training_data(loaded) == Path(other)
    assert "relative path, which is taken from the current folder" in capsys.readouterr().err
    right = touch(tmp_path / "project" / "data.yaml", b"val: elsewhere\n")
    assert weights.find_training_data(loaded) == right
    assert f"using {right}, by the training's folder; data.yaml here is another" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path / "project")
    assert weights.find_training_data(loaded) == right
    assert capsys.readouterr().err == ""


def test_training_data_from_the_saved_arguments(untrained, data_set):
    loaded = weights.load_weights(untrained())
    with pytest.raises(UserError, match="does not say what it was trained on"):
        weights.find_training_data(loaded)
    (loaded.path.parent / "args.yaml").write_text(f"data: {data_set}/data.yaml\n")
    assert weights.find_training_data(loaded) == data_set / "data.yaml"


def test_users_settings_stay_untouched(trained):
    """In this very process Ultralytics has been imported, and its settings changed, by now."""
    from ultralytics.utils import AUTOINSTALL, ONLINE, SETTINGS
    from ultralytics.utils.events import events

    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    before = Path(SETTINGS.file).read_bytes()
    SETTINGS.update(sync=False, wandb=False)
    assert Path(SETTINGS.file).read_bytes() == before
    assert (AUTOINSTALL, ONLINE, SETTINGS["sync"], events.enabled) == (False, False, False, False)
