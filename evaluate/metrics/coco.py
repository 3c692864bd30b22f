"""COCO's mean average precision, to stand beside the RSNA score.

It is computed by faster-coco-eval, a C++ version of the COCO evaluation that gives pycocotools' numbers: all areas, at
most `names.MOST_BOXES` (100) predictions per image, precision interpolated at 101 recalls, IoU thresholds 0.50, 0.55,
..., 0.95 that a hit must reach (COCO's hit is `IoU >= t`, the RSNA score's is `IoU > t`).

All images of the truth take part. A prediction on an image without boxes is a false positive like any other.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import pandas as pd

from common.data.names import MOST_BOXES, POSITIVE_CLASS
from evaluate.metrics.arrays import prediction_arrays, truth_arrays

IOU_THRESHOLDS: tuple[float, ...] = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
"""COCO's IoU thresholds; a prediction's IoU must reach them."""


class AveragePrecision(TypedDict):
    """Average precision of the one class there is, each number from 0 to 1: what `average_precision` returns.

    All of them are None where the truth has no box: average precision is undefined without anything to find.
    (pycocotools says -1 there; None becomes JSON's null, and nobody takes it for a bad score.)
    """

    map50: float | None  # at IoU 0.50
    map50_95: float | None  # mean over all thresholds
    by_iou: dict[float, float | None]  # at each threshold


def average_precision(truth: pd.DataFrame, predictions: pd.DataFrame) -> AveragePrecision:
    """Compute mAP50 and mAP50-95.

    Every prediction helps or leaves mAP as it is, so give it all there are, down to the lowest confidence.

    Args:
        truth: The truth table: image_id, x, y, width, height in pixels, NaN for an image without boxes.
        predictions: The predictions table: confidence besides; may be empty, even without columns.

    Returns:
        mAP50 (key map50), mAP50-95 (map50_95) and the mean precision at each threshold (by_iou): 0 where there is truth
        but no prediction, None where there is no truth.

    Raises:
        UserError: A table is wrong; the errors are those of `evaluate.metrics.rsna.rsna_score`.
    """
    images, counts, truth_boxes = truth_arrays(truth)
    image, confidence, boxes = prediction_arrays(predictions, images)
    if not len(truth_boxes):
        return AveragePrecision(map50=None, map50_95=None, by_iou=dict.fromkeys(IOU_THRESHOLDS))
    if not len(boxes):
        return AveragePrecision(map50=0.0, map50_95=0.0, by_iou=dict.fromkeys(IOU_THRESHOLDS, 0.0))

    from faster_coco_eval import COCO, COCOeval_faster

    objects = _annotations(np.repeat(np.arange(len(images)), counts), truth_boxes)
    truth_side = COCO(
        {
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": 1, "name": POSITIVE_CLASS}],
            "annotations": [
                {**annotation, "id": number, "area": annotation["bbox"][2] * annotation["bbox"][3], "iscrowd": 0}
                for number, annotation in enumerate(objects, start=1)  # COCO takes an id of 0 for "not matched"
            ],
        },
        print_function=_silent,
    )
    found = _annotations(image, boxes)
    for annotation, score in zip(found, confidence.tolist(), strict=True):
        annotation["score"] = score

    evaluation = COCOeval_faster(truth_side, truth_side.loadRes(found), iouType="bbox", print_function=_silent)
    evaluation.params.iouThrs = np.array(IOU_THRESHOLDS)
    evaluation.params.maxDets = [MOST_BOXES]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    # (thresholds, recalls, classes, areas, limits): one class, one area, one limit.
    precision = np.asarray(evaluation.eval["precision"])[:, :, 0, 0, 0].mean(axis=1)
    by_iou: dict[float, float | None] = dict(zip(IOU_THRESHOLDS, precision.tolist(), strict=True))
    return AveragePrecision(map50=by_iou[0.50], map50_95=float(precision.mean()), by_iou=by_iou)


def _annotations(image: Any, boxes: Any) -> list[dict[str, Any]]:
    return [
        {"image_id": number, "category_id": 1, "bbox": box}
        for number, box in zip(image.tolist(), boxes.tolist(), strict=True)
    ]


def _silent(*_: object) -> None:
    """Take the library's progress messages and say nothing."""
