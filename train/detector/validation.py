"""The RSNA score as what a training is judged by: metrics and validators for Ultralytics.

Ultralytics validates after every epoch and takes `fitness` of the metrics for best.pt and for early stopping. Here that
is the RSNA score at its best confidence, computed by `evaluate.metrics.rsna` and nothing else, beside Ultralytics' own
mAP. It is the score that the same weights get from `evaluate/score.py` with the suppression that it has by itself: the
same boxes are kept, in pixels of the original image, and then suppressed.

The hooks are internals of the pinned version: `DetMetrics.stats`, whose extra key is gathered over all GPUs like the
others, and `DetectionValidator.postprocess` and `_process_batch`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data import names as names_of
from common.data.tables import CONFIDENCE_DECIMALS, COORDINATE_DECIMALS
from common.quiet_ultralytics import import_ultralytics
from evaluate.metrics.matching import IOU_DECIMALS
from evaluate.metrics.rsna import Sweep
from train.detector.locating import positive_class
from train.detector.results import CONFIDENCE, FIXED_CONFIDENCE, FIXED_SCORE, SCORE
from train.settings.options import DEFAULTS

import_ultralytics(verbose=True)
import torch
from torchvision.ops import nms
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.nms import non_max_suppression


class ImageResult(NamedTuple):
    """What was there and what was found in one image, in pixels of the original image, origin upper-left."""

    file: str
    truth: NDArray[np.float64]  # (T, 4): x, y, width, height
    predictions: NDArray[np.float64]  # (P, 5): confidence, x, y, width, height


class Suppressed(dict[str, Any]):
    """The predictions of an image as Ultralytics passes them on, those before suppression beside them.

    Attributes:
        kept: What a prediction keeps of the class that is scored, in the same form.
    """

    def __init__(self, suppressed: dict[str, Any], kept: dict[str, Any]) -> None:
        super().__init__(suppressed)
        self.kept = kept


class RSNAMetrics(DetMetrics):
    """Ultralytics' metrics, with the RSNA score as fitness.

    Attributes:
        score: The RSNA score at `confidence`, the best of all.
        confidence: The confidence of highest score; 1 where there are no predictions.
        fixed_score: The RSNA score at `FIXED_CONFIDENCE`.
        results: The images of the last validation, of all GPUs.
    """

    def __init__(self, names: dict[int, str] | None = None) -> None:
        super().__init__(names)
        self.stats["rsna"] = []
        self.results: list[ImageResult] = []
        self.score, self.confidence, self.fixed_score = 0.0, 1.0, 0.0

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Compute everything from what was gathered."""
        results = self.stats.pop("rsna")  # the parent joins the arrays of every key
        try:
            processed = super().process(*args, **kwargs)
        finally:
            self.stats["rsna"] = results
        self.score, self.confidence, self.fixed_score = score_images(results)
        self.results = list(results)  # the parent empties its own
        return processed

    @property
    def fitness(self) -> float:
        """What best.pt and early stopping follow."""
        return self.score

    @property
    def keys(self) -> list[str]:
        """Names of `mean_results`; the columns of results.csv."""
        return [*super().keys, SCORE, CONFIDENCE, FIXED_SCORE]

    def mean_results(self) -> list[float]:
        """Values of `keys`."""
        return [*super().mean_results(), self.score, self.confidence, self.fixed_score]

    def class_result(self, i: int) -> Any:
        """As `mean_results` for one class; the RSNA score is not one of a class."""
        return (*super().class_result(i), *[float("nan")] * 3)


if TYPE_CHECKING:  # the classes that the two below are put before are Ultralytics', and have no types
    from typing import Any as _Mixin
else:
    _Mixin = object


class _RSNAScoring(_Mixin):
    """What makes a validator one with the RSNA score; put before the Ultralytics class that does the rest."""

    metrics: Any

    def __init__(self, dataloader: Any = None, save_dir: Any = None, args: Any = None, _callbacks: Any = None) -> None:
        super().__init__(dataloader, save_dir, without_own_arguments(args), _callbacks)
        self.metrics = RSNAMetrics()

    def _process_batch(self, preds: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """One image: the parent's matches, and its boxes for the RSNA score."""
        found = super()._process_batch(preds, batch)
        return {**found, "rsna": self._image_result(preds, batch)}

    def _image_result(self, preds: dict[str, Any], batch: dict[str, Any]) -> ImageResult:
        positive = positive_class(self.metrics.names)
        is_suppressed = isinstance(preds, Suppressed)
        preds = preds.kept if isinstance(preds, Suppressed) else preds
        chosen = preds["cls"] == positive
        truth = batch["bboxes"][batch["cls"] == positive].reshape(-1, 4).float()
        # To the original image, clipped to it: a prediction that reaches into the padding is no worse for it.
        corners = torch.cat([truth, preds["bboxes"][chosen].float()])
        scaled = _xywh(self.scale_preds({"bboxes": corners}, batch)["bboxes"].cpu().numpy())
        truth_boxes, boxes = scaled[: len(truth)], scaled[len(truth) :]
        # Rounded as in a predictions table.
        boxes = boxes.round(COORDINATE_DECIMALS)
        confidence = preds["conf"][chosen].double().cpu().numpy().round(CONFIDENCE_DECIMALS)
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1) & np.isfinite(confidence)
        kept = np.flatnonzero(usable)
        kept = kept[np.argsort(-confidence[kept], kind="stable")]
        if is_suppressed:
            kept = kept[_suppress(boxes[kept], confidence[kept], self.args.iou)]
        return ImageResult(
            file=str(batch["im_file"]),
            truth=truth_boxes[(truth_boxes[:, 2:] > 0).all(axis=1)],
            predictions=np.column_stack([confidence[kept], boxes[kept]]),
        )

    def get_desc(self) -> str:
        """The head of the table that is printed."""
        return super().get_desc() + f"{'RSNA':>11}{'at conf':>11}{f'RSNA@{FIXED_CONFIDENCE}':>11}"


class RSNAValidator(_RSNAScoring, DetectionValidator):
    """Validates YOLO models and convolutional networks."""

    def postprocess(self, preds: Any) -> list[dict[str, Any]]:
        """Each image's predictions after suppression, for the mAP, and those that are kept, for the score.

        A single class is suppressed once more from what is kept, in place of twice from all.
        """
        if self.end2end:  # it is asked to find everything once
            return super().postprocess(preds)
        every = non_max_suppression(
            preds,
            self.args.conf,
            max(self.args.iou, names_of.KEPT_IOU),
            classes=[positive_class(self.metrics.names)],
            agnostic=True,  # of one class; else it moves classes apart, which costs boxes their last digits
            multi_label=True,
            max_det=names_of.MOST_KEPT,
            max_nms=names_of.MOST_CANDIDATES,
        )
        kept = [{"bboxes": one[:, :4], "conf": one[:, 4], "cls": one[:, 5], "extra": one[:, 6:]} for one in every]
        if len(self.metrics.names) > 1:
            suppressed = super().postprocess(preds)
        else:
            places = [nms(one["bboxes"], one["conf"], self.args.iou)[: self.args.max_det] for one in kept]
            suppressed = [
                {name: values[place] for name, values in one.items()} for one, place in zip(kept, places, strict=True)
            ]
        return [Suppressed(*both) for both in zip(suppressed, kept, strict=True)]


class RSNARTDETRValidator(_RSNAScoring, RTDETRValidator):
    """Validates RT-DETR."""


def score_images(results: Sequence[ImageResult]) -> tuple[float, float, float]:
    """The RSNA score of a validation.

    Returns:
        The score at its best confidence, that confidence, and the score at `FIXED_CONFIDENCE`. Without predictions
        (0, 1, 0).
    """
    sweep = Sweep.from_tables(*to_tables(results))
    confidence, score = sweep.best()  # of equals the highest confidence
    return score, confidence, sweep.score(FIXED_CONFIDENCE)


def to_tables(results: Sequence[ImageResult]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The project's truth and predictions tables of a validation; the image_id is the file's name without suffix.

    Of files of the same name, as in foreign data sets, the second and further ones get a number.
    """
    ids, seen = [], Counter[str]()
    for result in results:
        stem = Path(result.file).stem
        seen[stem] += 1
        ids.append(stem if seen[stem] == 1 else f"{stem}/{seen[stem]}")
    nothing = np.full((1, 4), np.nan)
    truth_rows = [result.truth if len(result.truth) else nothing for result in results]
    truth = pd.DataFrame(np.concatenate([*truth_rows, np.empty((0, 4))]), columns=names_of.COORDINATES)
    truth.insert(0, "image_id", np.repeat(np.array(ids, dtype=object), [len(rows) for rows in truth_rows]))
    rows = [result.predictions for result in results]
    predictions = pd.DataFrame(np.concatenate([*rows, np.empty((0, 5))]), columns=["confidence", *names_of.COORDINATES])
    predictions.insert(0, "image_id", np.repeat(np.array(ids, dtype=object), [len(row) for row in rows]))
    return truth, predictions


def without_own_arguments(args: Any) -> Any:
    """Training arguments without those that only this project knows; Ultralytics' validator would refuse them."""
    if args is None:
        return None
    given = vars(args) if isinstance(args, SimpleNamespace) else dict(args)
    return {name: value for name, value in given.items() if name not in DEFAULTS}


def _suppress(boxes: NDArray[np.float64], confidence: NDArray[np.float64], iou: float) -> NDArray[np.int64]:
    """Which of an image's boxes stay, as `evaluate.postprocess.suppression.Suppression` has it.

    Args:
        boxes: (P, 4): x, y, width, height in pixels.
        confidence: (P,), falling.
        iou: Of two boxes with a greater IoU, rounded to `IOU_DECIMALS`, the less confident one goes.
    """
    corners = torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))
    kept: NDArray[np.int64] = nms(corners, torch.from_numpy(confidence), iou + 0.5 * 10.0**-IOU_DECIMALS).numpy()
    return kept


def _xywh(corners: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, 4) x1, y1, x2, y2 to x, y, width, height."""
    corners = corners.astype(np.float64)
    return np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
