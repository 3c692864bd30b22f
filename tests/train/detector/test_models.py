from __future__ import annotations

import re
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from common.cli import execute
from train.detector.locating import MODELS, find_model
from train.settings.arguments import parse
from train.study.run.cost import measure_cost
from train.train import main

import train.detector.trainer  # noqa: F401  # isort: skip  (imports Ultralytics quietly)
from ultralytics.nn.modules import SPPF, Bottleneck, C2f, Conv, Detect, RTDETRDecoder  # isort: skip
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel  # isort: skip

LADDER = ("basic-cnn", "cnn-batchnorm", "cnn-residual", "cnn-multiscale", "cnn-csp")
TRANSFORMER = "rtdetr-tiny"
ALL = (*LADDER, TRANSFORMER)


def build(name: str, channels: int = 1):
    kind = RTDETRDetectionModel if name == TRANSFORMER else DetectionModel
    return kind(str(MODELS / f"{name}.yaml"), ch=channels, nc=1, verbose=False)


def layers(name: str) -> list[nn.Module]:
    """All that comes before the head."""
    return list(build(name).model[:-1])


def count(modules: list[nn.Module], *kinds: type[nn.Module]) -> int:
    return sum(isinstance(module, kinds) for part in modules for module in part.modules())


def convolutions(modules: list[nn.Module]) -> list[tuple[int, int, tuple[int, ...]]]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    found = [module for part in modules for module in part.modules() if isinstance(module, kinds)]
    return [(module.in_channels, module.out_channels, module.kernel_size) for module in found]


def feeds(name: str, side: int = 64) -> list[tuple[int, int]]:
    """Channels and stride of each picture of features that the head gets."""
    given: list[tuple[int, int]] = []
    model = build(name).eval()
    model.model[-1].register_forward_pre_hook(
        lambda _, inputs: given.extend((features.shape[1], side // features.shape[2]) for features in inputs[0])
    )
    with torch.no_grad():
        model(torch.zeros(1, 1, side, side))
    return given


def test_these_are_all_that_there_are():
    assert sorted([*ALL, "basic-cnn-cls"]) == sorted(file.stem for file in MODELS.glob("*.yaml"))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_builds_and_predicts(name, channels):
    model = build(name, channels).eval().fuse(verbose=False)
    assert isinstance(model.model[-1], RTDETRDecoder if name == TRANSFORMER else Detect)
    with torch.no_grad():
        predictions = model(torch.rand(2, channels, 96, 64))[0]
    anchors = sum((96 // stride) * (64 // stride) for _, stride in feeds(name))
    # Sides and one class's confidence for each place; for each of 30 queries also the number of the class.
    assert predictions.shape == ((2, 30, 6) if name == TRANSFORMER else (2, 5, anchors))
    assert torch.isfinite(predictions).all()


@pytest.mark.parametrize("name", ALL)
def test_trains_by_the_command(name, data_set, tmp_path):
    argv = f"data={data_set} model={name}.yaml project={tmp_path} epochs=1 imgsz=64 batch=8 device=cpu optimizer=AdamW"
    argv += " lr0=0.002 warmup_epochs=0 mosaic=0 plots=False amp=False deterministic=False wandb=False"
    assert execute(main, argv.split()) == 0
    assert (tmp_path / "train" / "weights" / "best.pt").is_file()


@pytest.mark.parametrize("name", ["basic-cnn", TRANSFORMER])
def test_trains_by_stock_ultralytics(name, data_set, tmp_path):
    from ultralytics.cfg import entrypoint

    words = (
        f"detect train data={data_set / 'data.yaml'} model={MODELS / name}.yaml project={tmp_path} epochs=1 imgsz=64"
    )
    entrypoint(words + " batch=8 device=cpu workers=0 mosaic=0 plots=False amp=False deterministic=False")
    assert (tmp_path / "train" / "weights" / "best.pt").is_file()


def test_parameters_are_as_the_comments_say_and_grow_gently():
    parameters = []
    for name in ALL:
        comment = (MODELS / f"{name}.yaml").read_text().split("nc: 1")[0]
        (said,) = re.findall(r"([\d,]+) parameters", comment)
        parameters.append(measure_cost(f"{name}.yaml", 64, timed=False).parameters)
        assert int(said.replace(",", "")) == parameters[-1]
    for before, after in pairwise(parameters[:-1]):
        assert before < after < 1.35 * before


def test_the_study_climbs_the_ladder_with_arguments_that_training_takes():
    study = yaml.safe_load((MODELS.parent / "spaces" / "study.yaml").read_text())
    first = study["blocks"][0]["parameters"]["model"]
    assert first[: len(LADDER)] == [f"{name}.yaml" for name in LADDER]
    assert all(find_model(name) for name in first)
    for block in study["blocks"]:
        cases = [case for values in block.get("only", {}).values() for case in values.values()]
        grid = [{name: value} for name, values in block["parameters"].items() for value in values]
        for arguments in (study["base"], block.get("base", {}), *cases, *grid):
            given = [f"{name}={value}" for name, value in arguments.items()]
            assert parse(given).keys() == arguments.keys()


def test_a_transposed_convolution_of_stride_1_is_a_convolution_with_the_kernel_turned():
    for layer in (module for module in layers("basic-cnn") if isinstance(module, nn.ConvTranspose2d)):
        picture = torch.randn(2, layer.in_channels, 9, 12)
        turned = layer.weight.transpose(0, 1).flip(2, 3)  # stored as (in, out, height, width)
        torch.testing.assert_close(layer(picture), functional.conv2d(picture, turned, layer.bias, padding=1))


def test_first_rung_is_plain():
    plain = layers("basic-cnn")
    allowed = (nn.AvgPool2d, nn.ConvTranspose2d, nn.ReLU, nn.MaxPool2d)
    assert all(isinstance(module, allowed) for module in plain)
    assert not count(plain, nn.BatchNorm2d)
    assert feeds("basic-cnn") == [(128, 16)]
    assert count(list(build("basic-cnn").model[-1:]), nn.BatchNorm2d)  # the head's, as the comment says


def test_second_rung_adds_batch_norm():
    plain, normalised = layers("basic-cnn"), layers("cnn-batchnorm")
    assert convolutions(normalised) == convolutions(plain)
    assert count(normalised, nn.BatchNorm2d) == len(convolutions(normalised))
    assert count(normalised, nn.MaxPool2d) == count(plain, nn.MaxPool2d)
    assert {type(module.act) for module in normalised if isinstance(module, Conv)} == {nn.ReLU}
    assert not count(normalised, Bottleneck)
    assert feeds("cnn-batchnorm") == feeds("basic-cnn")


def test_third_rung_adds_residual_blocks():
    normalised, residual = layers("cnn-batchnorm"), layers("cnn-residual")
    blocks = [module for module in residual if isinstance(module, Bottleneck)]
    assert len(blocks) == 3
    assert convolutions([module for module in residual if module not in blocks]) == convolutions(normalised)[:-1]
    last = nn.Conv2d(128, 128, 3)
    assert sum(p.numel() for p in blocks[-1].parameters() if p.dim() == 4) == last.weight.numel()  # stands in for it
    assert feeds("cnn-residual") == feeds("cnn-batchnorm")
    for block in blocks:
        features = torch.rand(1, block.cv1.conv.in_channels, 4, 4)
        nn.init.zeros_(block.cv2.bn.weight)
        torch.testing.assert_close(block.eval()(features), features)  # the shortcut alone


def test_fourth_rung_adds_scales():
    residual, scales = layers("cnn-residual"), layers("cnn-multiscale")
    assert convolutions(scales)[: len(convolutions(residual))] == convolutions(residual)
    assert feeds("cnn-multiscale") == [(64, 8), (64, 16), (64, 32)]
    assert count(scales, nn.Upsample) == 2
    assert not count(scales, C2f, SPPF)


def test_the_fine_scale_sees_what_the_coarse_ones_know():
    """By the top-down path a far corner of the picture reaches the finest head."""
    seen: dict[str, torch.Tensor] = {}
    model = build("cnn-multiscale").eval()
    model.model[-1].register_forward_pre_hook(lambda _, inputs: seen.update(fine=inputs[0][0]))
    picture = torch.rand(1, 1, 256, 256, requires_grad=True)
    model(picture)
    seen["fine"][0, :, 16, 16].sum().backward()
    rows = picture.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() > 8 * 16  # 16 pixels of its own scale would be less


def test_fifth_rung_adds_csp_blocks():
    scales, csp = layers("cnn-multiscale"), layers("cnn-csp")
    exchanged = [(type(a), type(b)) for a, b in zip(scales, [m for m in csp if not isinstance(m, SPPF)], strict=True)]
    assert {pair for pair in exchanged if pair[0] is not pair[1]} == {(Bottleneck, C2f), (Conv, C2f)}
    assert count(csp, SPPF) == 1
    assert all(block.m[0].add for block in csp[:13] if isinstance(block, C2f))
    assert feeds("cnn-csp") == feeds("cnn-multiscale")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_plain_convolutions_survive_fusing_export_and_other_channels(data_set, tmp_path, train):
    """What Ultralytics does to weights, it does to its own Conv by name; here it has none before the head."""
    trained = train(tmp_path / "runs", model=str(MODELS / "basic-cnn.yaml"), data=str(data_set / "rgb.yaml"), epochs=1)
    from ultralytics import YOLO

    weights = YOLO(str(trained.best))
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = weights.model.eval()(picture)[0]
        script = torch.jit.load(weights.export(format="torchscript", imgsz=64, device="cpu"))
        torch.testing.assert_close(script(picture), expected, atol=1e-4, rtol=1e-4)
        fused = YOLO(str(trained.best)).model.eval().fuse(verbose=False)
        torch.testing.assert_close(fused(picture)[0], expected, atol=1e-4, rtol=1e-4)
    image = next((data_set / "images" / "val").glob("*.png"))
    (found,) = weights.predict(image, imgsz=64, conf=0.001, device="cpu", verbose=False)
    assert np.isfinite(found.boxes.data.numpy()).all()
    assert found.orig_shape == cv2.imread(str(image)).shape[:2]

    grey = build("basic-cnn")
    grey.load(weights.model, verbose=False)
    for name, tensor in grey.state_dict().items():
        if name != "model.1.weight":  # the stem, which has another shape
            torch.testing.assert_close(tensor, weights.model.state_dict()[name])
