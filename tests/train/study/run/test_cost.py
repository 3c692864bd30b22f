from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from common.errors import UserError
from train.study.run import cost
from train.study.run.cost import measure_cost


def convolution(inputs: int, outputs: int, kernel: int, pixels: int) -> int:
    """Operations of a convolution that gives `pixels` pixels: a multiplication and an addition per weight and pixel."""
    return 2 * inputs * outputs * kernel * kernel * pixels


def normalised(inputs: int, outputs: int, kernel: int) -> int:
    """Parameters of a convolution without bias and the batch norm behind it."""
    return inputs * outputs * kernel * kernel + 2 * outputs


def head(channels: int, pixels: int) -> tuple[int, int]:
    """Parameters and operations of Ultralytics' head at one scale, for one class, worked out by hand.

    Two branches. Boxes: 3x3 to 64, 3x3 to 64, 1x1 with bias to 4 sides x 16 bins; then a fixed 1x1 convolution from 16
    bins to 1, for each side. Class: 3x3 and 3x3, as wide as the input, and 1x1 with bias to 1.
    """
    boxes = normalised(channels, 64, 3) + normalised(64, 64, 3) + 64 * 64 + 64
    classes = normalised(channels, channels, 3) + normalised(channels, channels, 3) + channels + 1
    operations = convolution(channels, 64, 3, pixels) + convolution(64, 64, 3, pixels) + convolution(64, 64, 1, pixels)
    operations += 2 * convolution(channels, channels, 3, pixels) + convolution(channels, 1, 1, pixels)
    return boxes + classes + 16, operations + convolution(16, 1, 1, 4 * pixels)


def test_a_convolution_stack_by_hand(tmp_path):
    (tmp_path / "stack.yaml").write_text(
        yaml.safe_dump({
            "nc": 1,
            "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]], [-1, 1, "Conv", [32, 5, 1]],
                         [-1, 1, "Conv", [32, 1, 2]]],
            "head": [[[3], 1, "Detect", ["nc"]]],
        })
    )  # fmt: skip
    for side, channels in ((64, 1), (192, 1), (64, 3)):
        measured = measure_cost(tmp_path / "stack.yaml", side, channels, timed=False)
        head_parameters, head_operations = head(32, (side // 8) ** 2)
        by_hand = convolution(channels, 8, 3, (side // 2) ** 2)
        by_hand += convolution(8, 32, 5, (side // 4) ** 2) + convolution(32, 32, 1, (side // 8) ** 2)
        assert measured.gflops == pytest.approx((by_hand + head_operations) / 1e9, rel=1e-12)
        layers = normalised(channels, 8, 3) + normalised(8, 32, 5) + normalised(32, 32, 1)
        assert measured.parameters == layers + head_parameters
        assert measured.milliseconds is None


@pytest.mark.parametrize("channels", [1, 3])
def test_basic_cnn_by_hand(channels):
    """3x3 convolutions to 16, 32, 64, 128 and 128 channels, on 32, 16, 8, 4 and 4 pixels a side of a picture of 64."""
    widths, sides = [channels, 16, 32, 64, 128, 128], [32, 16, 8, 4, 4]
    parameters, operations = head(128, 4 * 4)
    for (inputs, outputs), side in zip(pairwise(widths), sides, strict=True):
        parameters += 9 * inputs * outputs + outputs
        operations += convolution(inputs, outputs, 3, side * side)
    measured = measure_cost("basic-cnn.yaml", 64, channels, timed=False)
    assert measured.parameters == parameters
    assert measured.gflops == pytest.approx(operations / 1e9, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "millions", "gflops"),
    # https://docs.ultralytics.com/models/yolov8/ and .../yolo11/: 80 classes, 640 pixels
    [("yolov8n.yaml", 3.2, 8.7), ("yolo11n.yaml", 2.6, 6.5)],
)
def test_published_figures(name, millions, gflops):
    published = measure_cost(name, 640, 3, timed=False, classes=80)
    assert (round(published.parameters / 1e6, 1), round(published.gflops, 1)) == (millions, gflops)


def test_attention_is_counted_as_by_thop():
    """The other library that counts, which follows modules where ours follows operators."""
    import thop
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolo12n.yaml", ch=1, nc=1, verbose=False).eval().fuse(verbose=False)
    operations, _ = thop.profile(model, inputs=(torch.zeros(1, 1, 160, 160),), verbose=False)
    assert measure_cost("yolo12n.yaml", 160, timed=False).gflops == pytest.approx(2 * operations / 1e9, rel=1e-9)


def test_weights_are_measured_as_they_are(trained):
    weights, description = Path(trained.best), Path(trained.args.model)
    of_weights = measure_cost(weights, 64, timed=False)
    assert of_weights == measure_cost(description, 64, timed=False)
    assert of_weights.parameters == sum(p.numel() for p in trained.model.parameters())
    assert measure_cost(weights, 60, timed=False) == of_weights  # rounded up to the stride, as in training
    assert measure_cost(weights, 128, timed=False).gflops == pytest.approx(4 * of_weights.gflops)


def test_milliseconds_are_the_median_on_one_thread(cnn, monkeypatch):
    threads = torch.get_num_threads()
    times = iter([time for took in (1, 9, 2, 3, 100) for time in (1.0, 1.0 + took / 1000)])  # start and end of a pass
    seen = set()

    def clock() -> float:
        seen.add(torch.get_num_threads())
        return next(times)

    monkeypatch.setattr(cost, "MOST_PASSES", 5)
    monkeypatch.setattr(cost.time, "thread_time", clock)
    assert measure_cost(cnn, 64, device="cpu").milliseconds == pytest.approx(3)
    assert seen == {1}
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("yolov8m.pt", "yolov8m.pt: no such weights here"),
        ("rtdetr-resnet50.yaml", "rtdetr-resnet50.yaml: cannot be measured at imgsz=64, channels=1"),
    ],
)
def test_what_cannot_be_measured(model, message, monkeypatch, tmp_path):
    monkeypatch.setattr("train.detector.locating.PROJECT", tmp_path)
    with pytest.raises(UserError, match=message):
        measure_cost(model, 64, timed=False)


def test_a_yaml_that_is_none(tmp_path):
    (tmp_path / "m.yaml").write_text("a: b\n")
    with pytest.raises(UserError, match=r"m\.yaml: cannot be measured"):
        measure_cost(tmp_path / "m.yaml", 64, timed=False)
