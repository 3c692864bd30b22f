"""A detector over many pictures: files, or DICOM rendered as for training; predictions in original pixels.

Overlapping predictions are kept, so that how they are suppressed or fused can be chosen from what was kept.

Every picture is padded to the same square (Ultralytics' letterbox with `rect=False`), so what is predicted on it does
not depend on its neighbours in the batch. Pictures are read, decoded and padded by threads ahead of the model, which
would else wait for it on a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from common.cli import progress
from common.cores import available_cores
from common.data.names import KEPT_IOU, MOST_KEPT
from common.data.tables import make_predictions
from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics
from evaluate.detector.device import find_device
from evaluate.detector.loading import PREDICTED, UNREADABLE, Loaded, Loader, Outcome, Picture
from evaluate.detector.one_class import predictor_of
from evaluate.detector.unfinished import Found, Unfinished, split_known, unfinished
from evaluate.detector.weights import Weights, is_rtdetr

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the predictions besides weights and pictures.

    Attributes:
        imgsz: Side of the square that pictures are fitted into, in pixels.
        confidence: Predictions below are dropped.
        nms_iou: Of two predictions with a larger IoU, the less confident one is dropped; no more than repetitions of
            it, since how much may overlap is chosen later. It is compared before boxes are clipped to the picture.
            None: none is dropped for it, as in RT-DETR, which is trained to find everything once.
        max_predictions: Most predictions per image, the most confident ones.
        flip: Look at the mirror image; the boxes come mirrored back.
        half: Compute in 16 bits; on a GPU only.
        picture_size: Pictures are scaled down to this longest side first, in pixels, as those were that the model was
            trained on; None: they were not.
        class_name: The class that was asked for, of weights of several; None: the usual one.
    """

    imgsz: int
    confidence: float = 0.001
    nms_iou: float | None = KEPT_IOU
    max_predictions: int = MOST_KEPT
    flip: bool = False
    half: bool = False
    picture_size: int | None = None
    class_name: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values; those that are None are left out."""
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
    def manifest(self) -> pd.DataFrame:
        """`image_id, width, height, view` of every picture that was predicted on, as in a data set's manifest."""
        known = [(one.image_id, one.width, one.height, one.view) for one in self.outcomes if one.status == PREDICTED]
        return pd.DataFrame(known, columns=["image_id", "width", "height", "view"])

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
    keep: Path | None = None,
) -> Predicted:
    """Predict boxes on pictures, with a progress bar.

    Args:
        weights: The detector.
        pictures: What to look at; read as the model gets to it.
        settings: What decides the outcome.
        batch: Pictures at a time.
        device: As Ultralytics takes it: `cpu`, `0`, `cuda:1`, `mps`; None takes a GPU if there is one.
        description: For the progress bar.
        keep: A file for what was found so far, with which another call goes on after this one was stopped; the caller
            removes it when the outcome is safe. The outcome is the same.

    Returns:
        The predictions and what could not be read. A picture that cannot be decoded is rejected, never fatal.

    Raises:
        UserError: The device does not exist, or 16 bits were asked for on a CPU.
        WorkError: `keep` cannot be written, or another prediction writes it.
    """
    import torch

    pictures = list(pictures)
    threads = torch.get_num_threads()
    chosen = find_device(device)
    if settings.half and chosen.type == "cpu":
        raise UserError("--half: 16-bit arithmetic needs a GPU; found a CPU. Leave it out.")
    if keep is None:
        return _together(_find(weights, pictures, settings, batch, chosen, threads, description, None))
    made_from = {
        "weights_sha256": weights.sha256,
        "settings": settings.as_dict(),
        "batch": batch,  # of no influence but on the last bits
        "device": chosen.type,
        "ultralytics": import_ultralytics().__version__,
    }
    with unfinished(keep, made_from) as kept:
        return _together(_find(weights, pictures, settings, batch, chosen, threads, description, kept))


def _find(
    weights: Weights,
    pictures: Sequence[Picture],
    settings: Settings,
    batch: int,
    device: Any,
    threads: int,
    description: str,
    kept: Unfinished | None,
) -> list[Found]:
    """What is found on each picture, in their order; of what is known already nothing is read."""
    found, missing = split_known(pictures, kept, "predicted")
    loader = Loader(weights, settings.picture_size, settings.flip)
    loaded = progress(
        ahead(loader.load, [pictures[place] for place in missing], 2 * batch), description, total=len(missing)
    )
    # In the same batches as without a stop, so that not even the last bit differs.
    for _, places_and_loaded in groupby(zip(missing, loaded, strict=True), key=lambda pair: pair[0] // batch):
        group = list(places_and_loaded)
        found |= {place: Found(one.outcome, np.empty((0, 5))) for place, one in group}
        usable = [(place, one) for place, one in group if one.is_usable]
        if not usable:
            continue
        boxes = _infer(weights, [one for _, one in usable], settings, device, threads)
        loader.predictor = weights.model.predictor
        for (place, one), corners in zip(usable, boxes, strict=True):
            height, width = one.pixels.shape[:2]
            if settings.flip:
                corners = _mirrored(corners, width)
            rows = _to_xywh(corners, width, height) * _to_original(one.picture.size or one.size, (width, height))
            found[place] = Found(one.outcome, rows)
        if kept is not None:
            kept.add([one.picture for _, one in usable], [found[place] for place, _ in usable])
    return [found[place] for place in range(len(pictures))]


def _together(found: Sequence[Found]) -> Predicted:
    ids = [one.outcome.image_id for one in found for _ in range(len(one.rows))]
    rows = np.concatenate([np.empty((0, 5)), *(one.rows for one in found)])
    return Predicted(make_predictions(ids, rows), [one.outcome for one in found])


def _infer(weights: Weights, loaded: list[Loaded], settings: Settings, device: Any, threads: int) -> list[np.ndarray]:
    """Boxes of one batch: for each picture confidence, x1, y1, x2, y2 in its own pixels, (N, 5) float64."""
    import torch

    predictor = weights.model.predictor
    one_class = None if is_rtdetr(weights.model) else predictor_of(weights.classes)
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
            iou=1.0 if settings.nms_iou is None else settings.nms_iou,
            max_det=settings.max_predictions,
            classes=[0] if one_class else list(weights.classes),
            predictor=one_class,
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


def _mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Confidence, x1, y1, x2, y2 of a mirror image to those of the picture, which is `width` pixels wide."""
    return np.column_stack([boxes[:, 0], width - boxes[:, 3], boxes[:, 2], width - boxes[:, 1], boxes[:, 4]])


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


def ahead(work: Callable[[Picture], T], items: Sequence[Picture], depth: int) -> Iterator[T]:
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
