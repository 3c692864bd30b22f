"""Which predictions hit which truth boxes: the RSNA score's matching, of all images at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.errors import UserError
from evaluate.metrics.arrays import Bools, BoxArrays, Floats, Ints

IOU_THRESHOLDS: tuple[float, ...] = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)
"""The challenge's IoU thresholds; a prediction's IoU must be greater."""

HIT_IOU = 0.5
"""Where one IoU has to do, as in counts and pictures: a prediction hits a truth box when their IoU is greater."""

IOU_DECIMALS = 10
"""IoU and thresholds are compared after rounding to this many decimals.

Binary fractions cannot hold most decimal ones: boxes with decimal coordinates whose IoU is 0.55 on paper may come out
at 0.5500000000000002, and `np.arange(0.4, 0.8, 0.05)` has 0.6499999999999999 for 0.65. Rounding gives them one value,
so that an IoU exactly on a threshold does not exceed it. It hides no real excess between boxes with whole-pixel edges:
an IoU above k/20 is above it by at least 1 / (20 x union), which is 4e-8 in a 1024 x 1024 image. Truth boxes whose IoU
with a prediction is the same after rounding are equally near.
"""


def iou(a: Floats, b: Floats) -> Floats:
    """Give the IoU of boxes with boxes, element by element.

    Args:
        a: float64 (..., 4): x, y, width, height.
        b: The same, of a shape that broadcasts with that of `a`.

    Returns:
        float64 (...), from 0 to 1; 0 for boxes that only touch.
    """
    across = np.minimum(a[..., 0] + a[..., 2], b[..., 0] + b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    down = np.minimum(a[..., 1] + a[..., 3], b[..., 1] + b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    intersection = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    return intersection / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection)


def find_hits(arrays: BoxArrays, iou_thresholds: Sequence[float]) -> Bools:
    """Match all images at once: (P, thresholds), true where a prediction is a true positive; see `find_matches`."""
    return find_matches(arrays, iou_thresholds)[0]


def find_matches(arrays: BoxArrays, iou_thresholds: Sequence[float]) -> tuple[Bools, Bools]:
    """Match all images at once.

    Pairs of a prediction and a truth box are visited in falling confidence of the prediction, then in falling IoU. A
    pair whose IoU exceeds t and whose prediction and truth box are both still free at t is a match at t: this is the
    definition, said pair by pair. Images do not concern each other, so the first pairs of all images are visited
    together, then the second pairs, and so on: as many steps as the busiest image has pairs.

    Returns:
        (P, thresholds), true where a prediction is a true positive; and (T, thresholds), true where a truth box is hit.
    """
    thresholds = np.round(np.asarray(iou_thresholds, dtype=np.float64), IOU_DECIMALS)
    if thresholds.ndim != 1 or not thresholds.size or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise UserError(f"iou_thresholds: found {list(iou_thresholds)}; expected one or more numbers from 0 to 1")
    prediction, truth, overlap = _overlapping_pairs(arrays, thresholds.min())
    hit = np.zeros((len(arrays.boxes), len(thresholds)), dtype=bool)
    taken = np.zeros((len(arrays.truth_boxes), len(thresholds)), dtype=bool)
    if not len(prediction):
        return hit, taken

    order = np.argsort(prediction, kind="stable")  # of equal overlaps, the earlier truth box stays first
    contested = np.bincount(prediction)[prediction[order]] > 1  # few predictions reach several truth boxes
    several = order[contested]
    order[contested] = several[np.lexsort((-overlap[several], prediction[several]))]
    image = arrays.image[prediction[order]]
    step = np.arange(len(image)) - start_of_run(image)
    # A stable sort of small integers takes NumPy a tenth of the time that int64 would.
    order = order[np.argsort(step.astype(np.min_scalar_type(step.max())), kind="stable")]
    prediction, truth, exceeds = prediction[order], truth[order], overlap[order, None] > thresholds
    end = 0
    for pairs in np.bincount(step):
        start, end = end, end + pairs
        p, t = prediction[start:end], truth[start:end]  # of different images, so no index comes twice
        found = exceeds[start:end] & ~hit[p] & ~taken[t]
        hit[p] |= found
        taken[t] |= found
    return hit, taken


def _overlapping_pairs(arrays: BoxArrays, lowest: float) -> tuple[Ints, Ints, Floats]:
    """List the pairs within an image whose IoU exceeds `lowest`: index of prediction, of truth box, rounded IoU."""
    truths = arrays.truths[arrays.image]
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    # The first truth box of every image, then the second: never more than P pairs are in memory at once.
    for slot in range(arrays.truths.max(initial=0)):
        prediction = np.flatnonzero(truths > slot)
        truth = arrays.first_truth[arrays.image[prediction]] + slot
        overlap = np.round(iou(arrays.boxes[arrays.order[prediction]], arrays.truth_boxes[truth]), IOU_DECIMALS)
        keep = overlap > lowest
        found.append((prediction[keep], truth[keep], overlap[keep]))
    predictions, truth_boxes, overlaps = zip(*found, strict=True)
    return np.concatenate(predictions), np.concatenate(truth_boxes), np.concatenate(overlaps)


def start_of_run(values: Ints) -> Ints:
    """Give for each element the index at which its run of equal values (not negative) begins."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return np.repeat(starts, np.diff(np.append(starts, len(values))))
