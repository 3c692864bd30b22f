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

Why one pass gives every confidence: raising the confidence threshold removes the last predictions of an image, and step
2 never looks ahead, so what remains is matched as before. The score of an image after its first, second, ... prediction
is therefore a running count; each prediction *changes* its image's score by a known amount; and adding up these changes
in falling confidence over all images gives the score at every confidence there is.

Tables are those of the project: truth has image_id, x, y, width, height, with one row of NaN coordinates for an image
without boxes; predictions have confidence besides and no row for an image without predictions. Boxes are in pixels of
the original image (any unit will do: IoU does not change when an axis is scaled), x and y the upper-left corner, origin
upper-left. Edges are continuous: a box of width 10 covers x to x + 10, and boxes that touch have IoU 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.errors import UserError
from evaluate.metrics.sorting import falling_order

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BOX_COLUMNS = ["x", "y", "width", "height"]

IOU_THRESHOLDS: tuple[float, ...] = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)
"""The challenge's IoU thresholds; a prediction's IoU must be greater."""

IOU_DECIMALS = 10
"""IoU and thresholds are compared after rounding to this many decimals.

Binary fractions cannot hold most decimal ones: boxes with decimal coordinates whose IoU is 0.55 on paper may come out
at 0.5500000000000002, and `np.arange(0.4, 0.8, 0.05)` has 0.6499999999999999 for 0.65. Rounding gives them one value,
so that an IoU exactly on a threshold does not exceed it. It hides no real excess between boxes with whole-pixel edges:
an IoU above k/20 is above it by at least 1 / (20 x union), which is 4e-8 in a 1024 x 1024 image. Truth boxes whose IoU
with a prediction is the same after rounding are equally near.
"""


def rsna_score(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    confidence: float = 0.0,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> float:
    """Give the score over all images of `truth`.

    Args:
        truth: The truth table; its images are those that can count.
        predictions: The predictions table, in any order; may be empty, even without columns.
        confidence: Only predictions with at least this confidence are used.
        iou_thresholds: IoU thresholds that a hit must exceed, each from 0 to 1.

    Returns:
        A number from 0 to 1; 0 where no image counts. It does not depend on the order of the images, to the last bit.

    Raises:
        UserError: A table lacks columns or holds a value that is no box or no confidence, or a prediction is for an
            image that is not in `truth`; the message names the row.
    """
    case = _case(truth, predictions, confidence)
    scores = _image_scores(case, _hits(case, iou_thresholds))
    counts = ~np.isnan(scores)
    if not counts.any():
        return 0.0
    bits = _unit_bits(len(scores))
    return float(_mean(_in_units(scores[counts], bits).sum(), counts.sum(), bits))


def image_scores(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    confidence: float = 0.0,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> pd.Series:
    """Give the score of each image; the mean of those that are not NaN is `rsna_score`. Arguments and errors as there.

    Returns:
        float64 by image_id, in the order in which `truth` first names the images; NaN for an image that does not count.
    """
    case = _case(truth, predictions, confidence)
    scores = _image_scores(case, _hits(case, iou_thresholds))
    return pd.Series(scores, index=case.images, name="score")


def confidence_sweep(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> pd.DataFrame:
    """Give the score at every confidence threshold that makes a difference. Arguments and errors as in `rsna_score`.

    Returns:
        Columns confidence and score (float64), one row for each distinct confidence, falling; each row is exactly
        `rsna_score` of the predictions with `confidence >=` that value. Without predictions there is no row.
    """
    case = _case(truth, predictions)
    if not len(case.confidence):
        return pd.DataFrame({"confidence": np.empty(0), "score": np.empty(0)})

    bits = _unit_bits(len(case.images))
    after = _in_units(_score_after_each_prediction(case, _hits(case, iou_thresholds)), bits)
    opens_image = np.append(True, case.image[1:] != case.image[:-1])
    before = np.where(opens_image, 0, np.roll(after, 1))
    starts_to_count = opens_image & (case.truths[case.image] == 0)

    falling = case.confidence[case.by_confidence]
    total = np.cumsum((after - before)[case.by_confidence])
    images = np.count_nonzero(case.truths) + np.cumsum(starts_to_count[case.by_confidence])
    # A confidence threshold admits all predictions of that confidence or none: read off where the value ends.
    last = np.append(falling[1:] != falling[:-1], True)
    return pd.DataFrame({"confidence": falling[last], "score": _mean(total[last], images[last], bits)})


def thin_sweep(sweep: pd.DataFrame, most: int = 1_000) -> pd.DataFrame:
    """At most so many rows of a confidence sweep, evenly spread, with the first, the last and the best one."""
    if len(sweep) <= most:
        return sweep
    rows = np.linspace(0, len(sweep) - 1, most - 1).round().astype(int)
    return sweep.iloc[np.union1d(rows, [int(sweep["score"].to_numpy().argmax())])].reset_index(drop=True)


def best_confidence(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> tuple[float, float]:
    """Find the confidence threshold of highest score. Arguments and errors as in `rsna_score`.

    Found and reported on the same images, the score flatters; tune on one split and report on another.

    Returns:
        The confidence and the score with `confidence >=` it; of several equally good ones, the highest. Without
        predictions (1.0, 0.0): there is nothing to tune on, and a threshold of 1 lets hardly anything pass.
    """
    sweep = confidence_sweep(truth, predictions, iou_thresholds)
    if sweep.empty:
        return 1.0, 0.0
    best = int(sweep["score"].to_numpy().argmax())  # the first of equals, and confidence falls
    return float(sweep["confidence"].iloc[best]), float(sweep["score"].iloc[best])


def match(
    truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> pd.DataFrame:
    """Tell which predictions are true positives. Arguments and errors as in `rsna_score`.

    A prediction's row does not depend on predictions of lower confidence, so one table serves every confidence.

    Returns:
        bool, one row for each row of `predictions` in its order and with its index, one column for each IoU threshold.
        Column sums are the TP; predictions minus TP are the FP, truth boxes minus TP the FN.
    """
    case = _case(truth, predictions)
    hits = np.empty((len(case.order), len(iou_thresholds)), dtype=bool)
    hits[case.order] = _hits(case, iou_thresholds)
    return pd.DataFrame(hits, index=predictions.index, columns=list(iou_thresholds))


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


@dataclass(frozen=True)
class _Case:
    """Truth and predictions as arrays: I images, T truth boxes, P predictions in the order of matching."""

    images: pd.Index  # (I,) image_id
    truths: Ints  # (I,) truth boxes of each image
    first_truth: Ints  # (I,) where in truth_boxes those of the image begin
    truth_boxes: Floats  # (T, 4), image after image, in the table's order
    order: Ints  # (P,) row of the predictions table, counted from 0
    image: Ints  # (P,) index into images, rising
    confidence: Floats  # (P,) falling within an image
    boxes: Floats  # (P, 4)
    by_confidence: Ints  # (P,) the predictions of all images in falling confidence


def _hits(case: _Case, iou_thresholds: Sequence[float]) -> Bools:
    """Match all images at once: (P, thresholds), true where a prediction is a true positive.

    Pairs of a prediction and a truth box are visited in falling confidence of the prediction, then in falling IoU. A
    pair whose IoU exceeds t and whose prediction and truth box are both still free at t is a match at t: this is the
    definition, said pair by pair. Images do not concern each other, so the first pairs of all images are visited
    together, then the second pairs, and so on: as many steps as the busiest image has pairs.
    """
    thresholds = np.round(np.asarray(iou_thresholds, dtype=np.float64), IOU_DECIMALS)
    if thresholds.ndim != 1 or not thresholds.size or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise UserError(f"iou_thresholds: found {list(iou_thresholds)}; expected one or more numbers from 0 to 1")
    prediction, truth, overlap = _overlapping_pairs(case, thresholds.min())
    hit = np.zeros((len(case.boxes), len(thresholds)), dtype=bool)
    taken = np.zeros((len(case.truth_boxes), len(thresholds)), dtype=bool)
    if not len(prediction):
        return hit

    order = np.argsort(prediction, kind="stable")  # of equal overlaps, the earlier truth box stays first
    contested = np.bincount(prediction)[prediction[order]] > 1  # few predictions reach several truth boxes
    several = order[contested]
    order[contested] = several[np.lexsort((-overlap[several], prediction[several]))]
    image = case.image[prediction[order]]
    step = np.arange(len(image)) - _start_of_run(image)
    order = order[np.argsort(step, kind="stable")]
    prediction, truth, exceeds = prediction[order], truth[order], overlap[order, None] > thresholds
    end = 0
    for pairs in np.bincount(step):
        start, end = end, end + pairs
        p, t = prediction[start:end], truth[start:end]  # of different images, so no index comes twice
        found = exceeds[start:end] & ~hit[p] & ~taken[t]
        hit[p] |= found
        taken[t] |= found
    return hit


def _overlapping_pairs(case: _Case, lowest: float) -> tuple[Ints, Ints, Floats]:
    """List the pairs within an image whose IoU exceeds `lowest`: index of prediction, of truth box, rounded IoU."""
    truths = case.truths[case.image]
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    # The first truth box of every image, then the second: never more than P pairs are in memory at once.
    for slot in range(case.truths.max(initial=0)):
        prediction = np.flatnonzero(truths > slot)
        truth = case.first_truth[case.image[prediction]] + slot
        overlap = np.round(iou(case.boxes[prediction], case.truth_boxes[truth]), IOU_DECIMALS)
        keep = overlap > lowest
        found.append((prediction[keep], truth[keep], overlap[keep]))
    predictions, truth_boxes, overlaps = zip(*found, strict=True)
    return np.concatenate(predictions), np.concatenate(truth_boxes), np.concatenate(overlaps)


def _score_after_each_prediction(case: _Case, hits: Bools) -> Floats:
    """Give (P,) the score of the prediction's image when this prediction and those before it are all there are."""
    rows = np.flatnonzero(case.truths[case.image])  # elsewhere the score is 0
    first = _start_of_run(case.image[rows])
    # TP + FP is the number of predictions so far; FN that of truth boxes, less TP. So TP + FP + FN is this, less TP:
    boxes = np.arange(len(rows)) - first + 1 + case.truths[case.image[rows]]
    total = np.zeros(len(rows))
    for hit in hits[rows].T:
        running = np.cumsum(hit)
        true_positives = running - (running - hit)[first]
        total += true_positives / (boxes - true_positives)
    scores = np.zeros(len(case.image))
    scores[rows] = total / hits.shape[1]
    return scores


def _image_scores(case: _Case, hits: Bools) -> Floats:
    """Give (I,) the score of each image with all predictions of the case, NaN where the image does not count."""
    scores = np.where(case.truths > 0, 0.0, np.nan)
    last = np.append(case.image[1:] != case.image[:-1], True)[: len(case.image)]
    scores[case.image[last]] = _score_after_each_prediction(case, hits)[last]
    return scores


def _unit_bits(images: int) -> int:
    """Give the number of bits after the binary point with which the scores of so many images add up within 63 bits.

    Scores are added as integers, so that adding and taking back 200,000 changes loses nothing and no order of rows
    changes the result. With 26,684 images the unit is 2 ** -47: the mean is right to 4e-15.
    """
    return 62 - int(images).bit_length()


def _in_units(scores: Floats, bits: int) -> Ints:
    return np.rint(scores * 2.0**bits).astype(np.int64)


def _mean(total: Ints, images: Ints, bits: int) -> Floats:
    return total / 2.0**bits / images


def _start_of_run(values: Ints) -> Ints:
    """Give for each element the index at which its run of equal values (not negative) begins."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return np.repeat(starts, np.diff(np.append(starts, len(values))))


def _case(truth: pd.DataFrame, predictions: pd.DataFrame, confidence: float = -np.inf) -> _Case:
    """Check both tables and turn them into arrays, with the predictions of at least this confidence."""
    images, truths, truth_boxes = read_truth(truth)
    image, confidences, boxes = read_predictions(predictions, images)
    if np.isnan(confidence):
        raise UserError("confidence: found NaN; expected a number")
    falling = falling_order(confidences)  # equal confidences keep the table's order
    falling = falling[: np.count_nonzero(confidences >= confidence)]
    # A stable sort of small integers takes NumPy a tenth of the time that int64 would.
    by_image = np.argsort(image[falling].astype(np.min_scalar_type(len(images))), kind="stable")
    order = falling[by_image]
    by_confidence = np.empty_like(by_image)
    by_confidence[by_image] = np.arange(len(by_image))
    return _Case(
        images=images,
        truths=truths,
        first_truth=np.cumsum(truths) - truths,
        truth_boxes=truth_boxes,
        order=order,
        image=image[order],
        confidence=confidences[order],
        boxes=boxes[order],
        by_confidence=by_confidence,
    )


def read_truth(truth: pd.DataFrame) -> tuple[pd.Index, Ints, Floats]:
    """Check a truth table and give its images, the number of boxes of each, and the boxes (T, 4) image after image."""
    if truth.empty:
        return pd.Index([], dtype=object, name="image_id"), np.empty(0, np.int64), np.empty((0, 4))
    boxes = _numbers(truth, "truth", BOX_COLUMNS)
    image, images = pd.factorize(truth["image_id"])
    if (image < 0).any():
        raise UserError(f"truth: row {truth.index[image < 0][0]} has no image_id; every row needs one")
    empty = np.asarray(np.isnan(boxes).all(axis=1))
    _check_boxes(truth, "truth", boxes, ~empty)
    twice = empty & (np.bincount(image)[image] > 1)
    if twice.any():
        raise UserError(
            f"truth: image {truth['image_id'].iloc[int(twice.argmax())]} has a row without box beside other rows; an "
            "image has either one row of empty coordinates or only rows with boxes. Remove one or the other."
        )
    order = np.argsort(image, kind="stable")
    order = order[~empty[order]]
    return pd.Index(images, name="image_id"), np.bincount(image[~empty], minlength=len(images)), boxes[order]


def read_predictions(predictions: pd.DataFrame, images: pd.Index) -> tuple[Ints, Floats, Floats]:
    """Check a predictions table and give (P,) indices into `images`, (P,) confidences and (P, 4) boxes, row by row."""
    if predictions.empty:
        return np.empty(0, np.int64), np.empty(0), np.empty((0, 4))
    numbers = _numbers(predictions, "predictions", ["confidence", *BOX_COLUMNS])
    confidence, boxes = numbers[:, 0], numbers[:, 1:]
    image = images.get_indexer(pd.Index(predictions["image_id"]))
    if (image < 0).any():
        unknown = predictions["image_id"].iloc[int((image < 0).argmax())]
        raise UserError(
            f"predictions: image {unknown!r} is not in the truth, which has {len(images):,} images. Score predictions "
            "against the truth of their own images, or leave out those of other images."
        )
    strange = ~np.isfinite(confidence)
    if strange.any():
        row = int(strange.argmax())
        raise UserError(
            f"predictions: row {predictions.index[row]} (image {predictions['image_id'].iloc[row]}): confidence is "
            f"{confidence[row]}; expected a finite number"
        )
    _check_boxes(predictions, "predictions", boxes, np.ones(len(boxes), dtype=bool))
    return image.astype(np.int64), confidence, boxes


def _numbers(table: pd.DataFrame, name: str, columns: list[str]) -> Floats:
    """Read number columns as float64 (rows, columns); say which are missing or hold something else."""
    missing = [column for column in ["image_id", *columns] if column not in table]
    if missing:
        raise UserError(f"{name}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns)) or 'none'}")
    try:
        return table[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {', '.join(columns)} must be numbers ({error})") from error


def _check_boxes(table: pd.DataFrame, name: str, boxes: Floats, checked: Bools) -> None:
    bad = checked & ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        found = ", ".join(f"{value:g}" for value in boxes[row])
        raise UserError(
            f"{name}: row {table.index[row]} (image {table['image_id'].iloc[row]}): x, y, width, height are {found}; "
            "expected finite numbers with width and height above 0"
        )
