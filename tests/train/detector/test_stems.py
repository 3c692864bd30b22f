from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from ultralytics.nn.tasks import BaseModel, DetectionModel, RTDETRDetectionModel, yaml_model_load  # noqa: E402

from common.errors import UserError  # noqa: E402
from evaluate.detector.inference import Picture, Settings, predict  # noqa: E402
from evaluate.detector.weights import load_weights  # noqa: E402
from train.detector import trainer as ours  # noqa: E402
from train.detector.stems import adapt_stems, with_input_channels  # noqa: E402

# The number of convolutions that look at the picture itself.
STEMS = {"yolov8n": 1, "yolo11n": 1, "yolov9e": 2, "rtdetr-l": 1, "rtdetr-resnet50": 1}
SIDE = 64


def narrowed(value, by):
    """A YAML's numbers of channels (its numbers from 64 on) divided by `by`, and blocks once; the structure stays."""
    if isinstance(value, list):
        rows = [narrowed(part, by) for part in value]
        return [*rows[:3], [*rows[3][:-1], 1]] if rows[2:3] == ["RepNCSPELAN4"] else rows
    return value // by if isinstance(value, int) and value >= 64 else value


def content(name: str) -> dict:
    found = yaml_model_load(f"{name}.yaml")
    if name in ("yolov9e", "rtdetr-l", "rtdetr-resnet50"):  # 33 to 58 million parameters: seconds for every copy
        found = {**found, "backbone": narrowed(found["backbone"], 8), "head": narrowed(found["head"], 8)}
    return {**found, "nc": 1}


def build(name: str, channels: int):
    return copy.deepcopy(built(name, channels))


@cache
def built(name: str, channels: int):
    kind = RTDETRDetectionModel if name.startswith("rtdetr") else DetectionModel
    torch.manual_seed(0)
    model = kind(with_input_channels(content(name), channels), ch=channels, verbose=False)
    for part in model.modules():  # as after a training: a fresh one normalises with mean 0 and variance 1
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
    model.names = {0: "Lung Opacity"}
    return model


def checkpoint(model, path: Path) -> Path:
    """Save as Ultralytics does, in full precision."""
    model.args = {"imgsz": SIDE}
    torch.save({"model": copy.deepcopy(model), "train_args": {"imgsz": SIDE, "task": "detect"}}, path)
    return path


def make_trainer(name: str, data: Path, project: Path, weights: Path, **more):
    kind = "RSNARTDETRTrainer" if name.startswith("rtdetr") else "RSNATrainer"
    given = {
        "model": str(weights), "data": str(data), "imgsz": SIDE, "batch": 4, "epochs": 1, "device": "cpu", "workers": 0,
        "plots": False, "amp": False, "deterministic": False, "project": str(project),
        **more,
    }  # fmt: skip
    return getattr(ours, kind)(overrides=given)


@torch.no_grad()
def activations(model, picture: torch.Tensor) -> list[torch.Tensor]:
    """What every layer but the head makes of a picture."""
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _input, output: seen.append(output)) for layer in model.model[:-1]
    ]
    model.eval()(picture)
    for hook in hooks:
        hook.remove()
    return [tensor for output in seen for tensor in (output if isinstance(output, list | tuple) else [output])]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected) > 5
    for mine, theirs in zip(found, expected, strict=True):
        if mine.shape[1] in (1, 3):  # the picture itself, passed on
            continue
        assert mine.shape == theirs.shape
        assert theirs.abs().max() > 1e-3
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max().clamp(min=1)))


@pytest.fixture(autouse=True)
def without_costs(monkeypatch):
    """Don't let Ultralytics count a model's operations at 640 pixels, which takes longer than all else here."""
    monkeypatch.setattr(BaseModel, "info", lambda *_, **__: None)


@pytest.fixture(scope="module")
def grey() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 1, SIDE, SIDE)


@pytest.mark.parametrize("name", STEMS)
def test_a_grey_picture_gives_the_activations_it_gave_as_colour(name, grey, data_set, tmp_path):
    colour = build(name, 3)
    trainer = make_trainer(name, data_set / "data.yaml", tmp_path, checkpoint(colour, tmp_path / "rgb.pt"))
    trainer.setup_model()
    assert trainer.model.yaml["channels"] == 1
    assert_same(activations(trainer.model, grey), activations(colour, grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("name", ["yolov8n", "yolov9e", "rtdetr-resnet50"])
def test_a_model_of_grey_pictures_opens_on_colour(name, grey, data_set, tmp_path):
    one = build(name, 1)
    weights = checkpoint(one, tmp_path / "grey.pt")
    trainer = make_trainer(name, data_set / "rgb.yaml", tmp_path, weights)
    trainer.setup_model()
    assert trainer.model.yaml["channels"] == 3
    assert_same(activations(trainer.model, grey.expand(-1, 3, -1, -1)), activations(one, grey))


@pytest.mark.parametrize(("name", "stems"), STEMS.items())
def test_every_convolution_on_the_picture_is_adapted_and_nothing_else(name, stems):
    one, colour = build(name, 1), build(name, 3)
    one.load_state_dict({key: tensor + 1 for key, tensor in one.state_dict().items()})
    before = {key: tensor.clone() for key, tensor in one.state_dict().items()}
    adapted = adapt_stems(one, colour)
    assert len(adapted) == stems
    changed = [key for key, tensor in one.state_dict().items() if not torch.equal(before[key], tensor)]
    assert sorted(changed) == sorted(adapted)
    assert adapt_stems(one, one) == []


def test_a_training_starts_from_the_adapted_weights_and_is_scored_with_them(grey, data_set, tmp_path):
    colour = build("yolov8n", 3)
    weights = checkpoint(colour, tmp_path / "rgb.pt")
    trainer = make_trainer(
        "yolov8n", data_set / "data.yaml", tmp_path, weights, imgsz=32, batch=16, freeze=[0], optimizer="SGD"
    )
    started: list[list[torch.Tensor]] = []
    trainer.add_callback(
        "on_train_start", lambda trainer: started.append(activations(copy.deepcopy(trainer.model), grey))
    )
    trainer.train()
    assert_same(started[0], activations(colour, grey.expand(-1, 3, -1, -1)))

    stem = load_weights(trainer.best).model.model.model[0].conv.weight  # frozen, and kept in half precision
    assert torch.allclose(stem, colour.model[0].conv.weight.sum(1, keepdim=True), atol=2e-3)
    assert_predicts(trainer.best, data_set)


def test_an_adapted_rt_detr_predicts_grey_pictures(data_set, tmp_path):
    name = "rtdetr-resnet50"
    trainer = make_trainer(name, data_set / "data.yaml", tmp_path, checkpoint(build(name, 3), tmp_path / "rgb.pt"))
    trainer.setup_model()
    trainer.set_model_attributes()
    assert_predicts(checkpoint(trainer.model, tmp_path / "grey.pt"), data_set)


def assert_predicts(file: Path, data_set: Path) -> None:
    weights = load_weights(file)
    assert weights.channels == 1
    picture = data_set / "images" / "val" / "val01.png"
    found = predict(weights, [Picture("val01", picture.name, picture.read_bytes)], Settings(SIDE), device="cpu")
    assert found.image_ids == ["val01"]
    assert not found.rejected


def test_other_classes_and_widths_are_transferred_as_by_ultralytics(data_set, tmp_path):
    colour = DetectionModel("yolov8n.yaml", ch=3, nc=3, verbose=False)
    trainer = make_trainer("yolov8n", data_set / "data.yaml", tmp_path, tmp_path / "unused.pt")
    torch.manual_seed(5)
    found = trainer.get_model("yolov8n.yaml", colour, verbose=False).state_dict()
    torch.manual_seed(5)
    stock = super(ours._RSNATraining, trainer).get_model("yolov8n.yaml", colour, verbose=False)
    assert all(torch.equal(found[key], tensor) for key, tensor in stock.state_dict().items())

    wider = DetectionModel({**yaml_model_load("yolov8n.yaml"), "scale": "s"}, ch=3, nc=1, verbose=False)
    assert adapt_stems(build("yolov8n", 1), wider) == []


def test_channels_that_cannot_be_adapted_are_refused(data_set, tmp_path):
    with pytest.raises(
        UserError, match=r"model\.0\.stem1\.conv was trained on pictures of 3 channels, the data have 4"
    ):
        adapt_stems(RTDETRDetectionModel(content("rtdetr-l"), ch=4, verbose=False), build("rtdetr-l", 3))
    four = DetectionModel(content("yolov8n"), ch=4, verbose=False)
    assert adapt_stems(four, build("yolov8n", 3)) == []  # Ultralytics has a way of its own

    fixed = {
        "nc": 1, "backbone": [[-1, 1, "TorchVision", [512, "resnet18", None, True, 2]]],
        "head": [[[0], 1, "Detect", ["nc"]]],
    }  # fmt: skip
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump(fixed))
    trainer = make_trainer("yolov8n", data_set / "data.yaml", tmp_path, tmp_path / "fixed.yaml")
    with pytest.raises(UserError, match="its first layer takes 3 channels whatever the data, and the data have 1"):
        trainer.setup_model()
