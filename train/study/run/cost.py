"""What a model costs: parameters, floating-point operations, milliseconds per image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics, no_network
from train.detector import heads
from train.detector.locating import find_model

WARM_UP, MOST_PASSES, LEAST_PASSES, MOST_SECONDS = 3, 50, 5, 4.0
"""Passes before timing; timed passes end at the most, or, after the least, when this many seconds have gone by."""


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: All weights and biases of the model as it is trained: with batch norm's, and with both branches of
            an end-to-end head.
        gflops: Billions of floating-point operations for one image, of the model as it predicts: batch norm folded
            into the convolutions and unused branches gone (Ultralytics' `fuse`), as in Ultralytics' tables. Counted
            are convolutions and matrix products, attention's among them, at two operations per multiply-add; not
            biases, activations, pooling, the decoding of boxes, or non-maximum suppression.
        milliseconds: Median of the forward passes of that same model over one image, boxes decoded, without reading
            the image and without non-maximum suppression. On a CPU the processor time of one thread, which the other
            trainings of a study disturb little; else elapsed time. None if it was not timed.
    """

    parameters: int
    gflops: float
    milliseconds: float | None


def measure_cost(
    model: Path | str,
    imgsz: int,
    channels: int = 1,
    *,
    timed: bool = True,
    classes: int = 1,
    device: str | None = None,
) -> Cost:
    """Measure a model at an image size.

    Args:
        model: Weights (`.pt`) or a model's YAML, found as in training: one of `train/models` or of Ultralytics' too.
        imgsz: Side of the square image in pixels; rounded up to a multiple of the largest stride, as in training.
        channels: Input channels of a model made from a YAML; weights have their own.
        timed: Measure milliseconds, which takes a few seconds.
        classes: Number of classes of a model made from a YAML; weights have their own.
        device: Where to time, as PyTorch names it (`cpu`, `cuda:1`); None takes a GPU if there is one.

    Raises:
        UserError: There is no such model, or it cannot take an image of this size and these channels.
    """
    file, missing = find_model(model)
    if missing:
        raise UserError(f"model: {model}: no such weights here. Name a .pt file or a model's YAML.")
    import_ultralytics()
    import torch
    from ultralytics.nn.tasks import load_checkpoint
    from ultralytics.utils.checks import check_imgsz

    try:
        if file.suffix == ".pt":
            with no_network():
                network = load_checkpoint(file)[0]
        else:
            network = _build(file, channels, classes)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        network = network.eval().fuse(verbose=False)
        side = check_imgsz(imgsz, stride=max(int(network.stride.max()), 32), min_dim=1)
        image = torch.zeros(1, network.yaml.get("channels", 3), side, side)
        gflops = _operations(network, image) / 1e9
    except Exception as error:  # a YAML or a checkpoint can be wrong in ways beyond listing
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UserError(
            f"model: {shown(file)}: cannot be measured at imgsz={imgsz}, channels={channels} ({reason}); expected "
            "a detector, as weights or YAML, that takes such an image."
        ) from error
    if not timed:
        return Cost(parameters, gflops, None)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Cost(parameters, gflops, _milliseconds(network.to(place), image.to(place)))


def _build(file: Path, channels: int, classes: int) -> Any:
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load

    description = yaml_model_load(file)
    kind = RTDETRDetectionModel if heads.head_of_description(description) == heads.RTDETR else DetectionModel
    return kind(description, ch=channels, nc=classes, verbose=False)


def _operations(network: Any, image: Any) -> int:
    """Floating-point operations of one forward pass."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # Without gradients, but not in inference mode, whose tensors the head keeps and could not use in training later.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


def _milliseconds(network: Any, image: Any) -> float:
    import torch

    on_gpu = image.device.type == "cuda"
    clock = time.thread_time if image.device.type == "cpu" else time.perf_counter
    passes: list[float] = []
    with torch.no_grad(), _one_thread():
        for _ in range(WARM_UP):
            network(image)
        ends = time.perf_counter() + MOST_SECONDS
        while len(passes) < MOST_PASSES and (len(passes) < LEAST_PASSES or time.perf_counter() < ends):
            if on_gpu:
                torch.cuda.synchronize(image.device)
            started = clock()
            network(image)
            if on_gpu:  # the call comes back before the work is done
                torch.cuda.synchronize(image.device)
            passes.append(clock() - started)
    return 1000 * statistics.median(passes)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
