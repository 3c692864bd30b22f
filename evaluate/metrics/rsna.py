"""The score of the RSNA Pneumonia Detection Challenge 2018, exactly, at one confidence or at all of them.

The definition is that of the challenge's evaluation page:

1. A prediction *hits* a truth box at an IoU threshold t when their IoU is **greater than** t (not equal to it).
2. Within an image and for one t, predictions are taken in falling confidence. Each takes the still free truth box of
   highest IoU, if that IoU exceeds t, and is a true positive (TP); otherwise it is a false positive (FP). Truth boxes
   that nobody took are false negatives (FN). The image scores TP / (TP + FP + FN).
3. The image's score is the mean over the thresholds 0.40, 0.45, ..., 0.75; the score is the mean over the images.
4. An image without truth boxes scores 0 and counts as soon as there is a prediction; without any it does not count.
   Where no image counts, the score is 0.

What the page leaves open is settled here: of two predictions of equal confidence the one that comes first in the table
goes first; of two truth boxes of equal IoU the one that comes first in the table is taken.

A worked example. One image has truth boxes A = (0, 0, 10, 10) and B = (20, 0, 10, 10); predictions are A itself at
confidence 0.9, B moved two pixels right at 0.8 (IoU 80/120 = 0.667) and a box far away at 0.7. At the six thresholds
from 0.40 to 0.65 there are 2 TP and 1 FP: 2/3. At 0.70 and 0.75 there are 1 TP, 2 FP and 1 FN: 1/4. The image scores
(6 x 2/3 + 2 x 1/4) / 8 = 0.5625. Without the third box it would be (6 x 1 + 2 x 1/3) / 8 = 0.8333, with the first alone
1/2:

    >>> import pandas as pd
    >>> truth = pd.DataFrame({"image_id": ["p", "p"], "x": [0, 20], "y": [0, 0], "width": [10, 10], "height": [10, 10]})
    >>> predictions = pd.DataFrame({"image_id": ["p"] * 3, "confidence": [0.9, 0.8, 0.7], "x": [0, 22, 90],
    ...                             "y": [0, 0, 90], "width": [10] * 3, "height": [10] * 3})
    >>> rsna_score(truth, predictions)
    0.5625
    >>> confidence_sweep(truth, predictions).round(4).values.tolist()
    [[0.9, 0.5], [0.8, 0.8333], [0.7, 0.5625]]

That is `score_image`, word for word. The other functions compute the same, to the last bit, for all images and every
confidence at once: see `matching` and `sweep`.

Tables are those of the project: truth has image_id, x, y, width, height, with one row of NaN coordinates for an image
without boxes; predictions have confidence besides and no row for an image without predictions. Boxes are in pixels of
the original image (any unit will do: IoU does not change when an axis is scaled), x and y the upper-left corner, origin
upper-left. Edges are continuous: a box of width 10 covers x to x + 10, and boxes that touch have IoU 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluate.metrics.arrays import Floats, to_arrays
from evaluate.metrics.matching import HIT_IOU, IOU_DECIMALS, IOU_THRESHOLDS, find_hits, iou
from evaluate.metrics.sweep import Sweep, thin_sweep

__all__ = [
    "HIT_IOU", "IOU_DECIMALS", "IOU_THRESHOLDS", "Sweep", "best_confidence", "confidence_sweep", "image_scores", "iou",
    "match", "rsna_score", "score_image", "thin_sweep",
]  # fmt: skip


def score_image(
    truth_boxes: Floats,
    prediction_boxes: Floats,
    confidences: Sequence[float] | Floats,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> float:
    """Give the score of one image: the definition above in plain loops, to be read beside the challenge's page.

    It is slow and checks nothing; the tests hold everything else against it.

    Args:
        truth_boxes: (T, 4): x, y, width, height.
        prediction_boxes: (P, 4).
        confidences: (P,) of the predictions, in any order.
        iou_thresholds: IoU thresholds that a hit must exceed.

    Returns:
        A number from 0 to 1; NaN where the image does not count.
    """
    if not len(truth_boxes):
        return 0.0 if len(prediction_boxes) else math.nan
    falling = sorted(range(len(prediction_boxes)), key=lambda p: -confidences[p])  # of equals the first goes first
    total = 0.0
    for threshold in iou_thresholds:
        free = list(range(len(truth_boxes)))
        for p in falling:
            overlaps = {t: np.round(iou(prediction_boxes[p], truth_boxes[t]), IOU_DECIMALS) for t in free}
            nearest = max(free, key=overlaps.__getitem__, default=None)  # of equals the first
            if nearest is not None and overlaps[nearest] > np.round(threshold, IOU_DECIMALS):
                free.remove(nearest)
        true_positives, false_negatives = len(truth_boxes) - len(free), len(free)
        false_positives = len(prediction_boxes) - true_positives
        total += true_positives / (true_positives + false_positives + false_negatives)
    return total / len(iou_thresholds)


def rsna_score(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    confidence: float = -math.inf,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> float:
    """Give the score over all images of `truth`.

    Args:
        truth: The truth table; its images are those that can count.
        predictions: The predictions table, in any order; may be empty, even without columns.
        confidence: Only predictions with at least this confidence are used; all, unless it is given.
        iou_thresholds: IoU thresholds that a hit must exceed, each from 0 to 1.

    Returns:
        A number from 0 to 1; 0 where no image counts. It does not depend on the order of the images, to the last bit.

    Raises:
        UserError: A table lacks columns or holds a value that is no box or no confidence, or a prediction is for an
            image that is not in `truth`; the message names the row.
    """
    return Sweep.from_tables(truth, predictions, iou_thresholds).score(confidence)


def image_scores(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    confidence: float = -math.inf,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> pd.Series:
    """Give the score of each image; the mean of those that are not NaN is `rsna_score`. Arguments and errors as there.

    Returns:
        float64 by image_id, in the order in which `truth` first names the images; NaN for an image that does not count.
    """
    return Sweep.from_tables(truth, predictions, iou_thresholds).image_scores(confidence)


def confidence_sweep(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> pd.DataFrame:
    """Give the score at every confidence threshold that makes a difference. Arguments and errors as in `rsna_score`.

    Returns:
        Columns confidence and score (float64), one row for each distinct confidence, falling; each row is exactly
        `rsna_score` of the predictions with `confidence >=` that value. Without predictions there is no row.
    """
    return Sweep.from_tables(truth, predictions, iou_thresholds).table()


def best_confidence(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> tuple[float, float]:
    """Find the confidence threshold of highest score. Arguments and errors as in `rsna_score`.

    Found and reported on the same images, the score flatters; tune on one split and report on another.

    Returns:
        The confidence and the score with `confidence >=` it; of several equally good ones, the highest. Without
        predictions (1.0, 0.0): there is nothing to tune on, and a threshold of 1 lets hardly anything pass.
    """
    return Sweep.from_tables(truth, predictions, iou_thresholds).best()


def match(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> pd.DataFrame:
    """Tell which predictions are true positives. Arguments and errors as in `rsna_score`.

    A prediction's row does not depend on predictions of lower confidence, so one table serves every confidence.

    Returns:
        bool, one row for each row of `predictions` in its order and with its index, one column for each IoU threshold.
        Column sums are the TP; predictions minus TP are the FP, truth boxes minus TP the FN.
    """
    arrays = to_arrays(truth, predictions)
    hits = np.empty((len(arrays.order), len(iou_thresholds)), dtype=bool)
    hits[arrays.order] = find_hits(arrays, iou_thresholds)
    return pd.DataFrame(hits, index=predictions.index, columns=list(iou_thresholds))
