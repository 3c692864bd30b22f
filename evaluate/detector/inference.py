"""A detector over many pictures: files, or DICOM rendered as for training; predictions in original pixels.

Every picture is padded to the same square (Ultralytics' letterbox with `rect=False`), so what is predicted on it does
not depend on its neighbours in the batch. Pictures are read, decoded and padded by threads ahead of the model, which
would else wait for it on a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from common.cli import print_warning, progress
from common.cores import available_cores
from common.data.names import MOST_BOXES
from common.data.tables import make_predictions
from common.errors import UserError
from evaluate.detector.loading import PREDICTED, UNREADABLE, Loaded, Loader, Outcome, Picture
from evaluate.detector.weights import Weights

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the predictions besides weights and pictures.

    Attributes:
        imgsz: Side of the square that pictures are fitted into, in pixels.
        confidence: Predictions below are dropped.
        nms_iou: Of two predictions with a larger IoU, the less confident one is dropped. Truth boxes of one image
            hardly touch (the largest IoU among the challenge's 3,701 pairs is 0.055), hence a lower value than
            Ultralytics' 0.7.
        max_predictions: Most predictions per image, the most confident ones.
        augment: Average over flipped and scaled copies (test-time augmentation).
        half: Compute in 16 bits; on a GPU only.
        picture_size: Pictures are scaled down to this longest side first, in pixels, as those were that the model was
            trained on; None: they were not.
    """

    imgsz: int
    confidence: float = 0.001
    nms_iou: float = 0.4
    max_predictions: int = MOST_BOXES
    augment: bool = False
    half: bool = False
    picture_size: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `picture_size` only where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Predicted:
    """What came out.

    Attributes:
        predictions: The predictions table, in pixels of the original pictures, clipped to them.
        outcomes: What became of every picture, in the order given.
    """

    predictions: pd.DataFrame
    outcomes: list[Outcome]

    @property
    def image_ids(self) -> list[str]:
        """Every picture that was predicted on, in the order given."""
        return [one.image_id for one in self.outcomes if one.status == PREDICTED]

    @property
    def rejected(self) -> list[tuple[str, str, str]]:
        """Image id, source and reason of every picture that could not be read."""
        return [(one.image_id, one.source, one.reason) for one in self.outcomes if one.status == UNREADABLE]


def predict(
    weights: Weights,
    pictures: Iterable[Picture],
    settings: Settings,
    batch: int = 16,
    device: str | None = None,
    description: str = "predicting",
) -> Predicted:
    """Predict boxes on pictures, with a progress bar.

    Args:
        weights: The detector.
        pictures: What to look at; read as the model gets to it.
        settings: What decides the outcome.
        batch: Pictures at a time.
        device: As Ultralytics takes it: `cpu`, `0`, `cuda:1`, `mps`; None takes a GPU if there is one.
        description: For the progress bar.

    Returns:
        The predictions and what could not be read. A picture that cannot be decoded is rejected, never fatal.

    Raises:
        UserError: The device does not exist, or 16 bits were asked for on a CPU.
    """
    import torch
    from ultralytics.utils.torch_utils import select_device

    pictures = list(pictures)
    threads = torch.get_num_threads()
    try:
        chosen = select_device(device or "", verbose=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {device}: not available ({reason}). Try --device cpu.") from error
    if settings.half and chosen.type == "cpu":
        raise UserError("--half: 16-bit arithmetic needs a GPU; found a CPU. Leave it out.")
    outcomes: list[Outcome] = []
    ids: list[str] = []
    values: list[np.ndarray] = []
    loader = Loader(weights, settings.picture_size)
    for group in _batches(progress(_ahead(loader.load, pictures, 2 * batch), description, total=len(pictures)), batch):
        outcomes += [one.outcome for one in group]
        usable = [one for one in group if one.is_usable]
        if not usable:
            continue
        found = _infer(weights, usable, settings, chosen, threads)
        loader.predictor = weights.model.predictor
        for one, boxes in zip(usable, found, strict=True):
            height, width = one.pixels.shape[:2]
            rows = _to_xywh(boxes, width, height) * _to_original(one.picture.size or one.size, (width, height))
            ids += [one.picture.image_id] * len(rows)
            values.append(rows)
    return Predicted(make_predictions(ids, np.concatenate([*values, np.empty((0, 5))])), outcomes)


def warn_if_augment_is_idle(weights: Weights, settings: Settings) -> None:
    """Say so when test-time augmentation does nothing for this head; call after `predict`."""
    from ultralytics.nn.modules.head import Detect

    predictor = weights.model.predictor
    if not settings.augment or predictor is None:
        return
    network = predictor.model.model
    head = network.model[-1]
    if getattr(network, "end2end", False) or type(head) is not Detect:
        print_warning(f"--augment does nothing for this model: Ultralytics has none for its {type(head).__name__} head")


def _infer(weights: Weights, loaded: list[Loaded], settings: Settings, device: Any, threads: int) -> list[np.ndarray]:
    """Boxes of one batch: for each picture confidence, x1, y1, x2, y2 in its own pixels, (N, 5) float64."""
    import torch

    predictor = weights.model.predictor
    squares = [one.square for one in loaded]
    if predictor is not None:
        # On a CPU, Ultralytics' set-up leaves one core idle, which is half of a small machine.
        torch.set_num_threads(threads)
        if all(square is not None for square in squares):
            predictor.pre_transform = lambda _: squares
    try:
        results = weights.model.predict(
            [one.pixels for one in loaded],
            imgsz=settings.imgsz,
            batch=len(loaded),
            conf=settings.confidence,
            iou=settings.nms_iou,
            max_det=settings.max_predictions,
            classes=[weights.positive_class],
            augment=settings.augment,
            quantize=16 if settings.half else None,
            device=device,
            rect=False,
            save=False,
            verbose=False,
        )
    finally:
        if predictor is not None:
            vars(predictor).pop("pre_transform", None)
    values = [result.boxes.data.cpu().numpy().astype(float) for result in results]  # x1, y1, x2, y2, confidence, class
    return [boxes[:, [4, 0, 1, 2, 3]] for boxes in values]


def _to_xywh(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Confidence, x1, y1, x2, y2 to confidence, x, y, width, height, clipped to the picture; no box without area."""
    x1, x2 = boxes[:, 1].clip(0, width), boxes[:, 3].clip(0, width)
    y1, y2 = boxes[:, 2].clip(0, height), boxes[:, 4].clip(0, height)
    found = np.column_stack([boxes[:, 0], x1, y1, x2 - x1, y2 - y1])
    return found[(found[:, 3] > 0) & (found[:, 4] > 0)]


def _to_original(original: tuple[float, float], shown: tuple[int, int]) -> np.ndarray:
    """Factors for confidence, x, y, width, height, from the pixels shown to the model to the original's.

    Both sizes are width and height.
    """
    across, down = original[0] / shown[0], original[1] / shown[1]
    return np.array([1.0, across, down, across, down])


def _ahead(work: Callable[[Picture], T], items: Sequence[Picture], depth: int) -> Iterator[T]:
    """`map` in threads, in order, at most `depth` items ahead of the consumer."""
    source = iter(items)
    with ThreadPoolExecutor(max_workers=min(8, available_cores())) as pool:
        waiting: deque[Future[T]] = deque(pool.submit(work, item) for item in islice(source, depth))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while group := list(islice(source, size)):
        yield group
