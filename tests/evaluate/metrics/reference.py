"""The RSNA score from the definition alone, in loops and fractions, without NumPy; and images to try it on."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd

BOX = ["x", "y", "width", "height"]
EXACT_THRESHOLDS = [Fraction(k, 20) for k in range(8, 16)]


def fraction_iou(a, b):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b  # whole numbers: Python's integers are exact
    across = min(ax + aw, bx + bw) - max(ax, bx)
    down = min(ay + ah, by + bh) - max(ay, by)
    if across <= 0 or down <= 0:
        return Fraction(0)
    return Fraction(across * down, aw * ah + bw * bh - across * down)


def brute_force_hits(overlaps, confidences, threshold):
    """Whether each prediction is a true positive; overlaps[p][t] is the IoU of prediction p and truth box t."""
    free = list(range(len(overlaps[0]) if overlaps else 0))
    hits = [False] * len(overlaps)
    for p in sorted(range(len(overlaps)), key=lambda p: -confidences[p]):  # sorted() is stable
        best = None
        for t in free:
            if best is None or overlaps[p][t] > overlaps[p][best]:
                best = t
        if best is not None and overlaps[p][best] > threshold:
            free.remove(best)
            hits[p] = True
    return hits


def brute_force_image(truth, predictions, confidence=0.0, thresholds=EXACT_THRESHOLDS):
    """One image's score as a fraction, or None where the image does not count.

    Takes [truth box] and [(confidence, box)].
    """
    predictions = [p for p in predictions if p[0] >= confidence]
    if not truth:
        return Fraction(0) if predictions else None
    overlaps = [[fraction_iou(box, other) for other in truth] for _, box in predictions]
    total = Fraction(0)
    for threshold in thresholds:
        hits = sum(brute_force_hits(overlaps, [p[0] for p in predictions], threshold))
        misses, missed = len(predictions) - hits, len(truth) - hits
        total += Fraction(hits, hits + misses + missed)
    return total / len(thresholds)


def brute_force_score(images, confidence=0.0, thresholds=EXACT_THRESHOLDS):
    scores = [brute_force_image(*image, confidence, thresholds) for image in images]
    counted = [float(score) for score in scores if score is not None]
    return math.fsum(counted) / len(counted) if counted else 0.0


def tables(images):
    """Turn [([truth box], [(confidence, box)])] into the two tables; image k is called imgk."""
    truth, predictions = [], []
    for number, (boxes, found) in enumerate(images):
        truth += [(f"img{number}", *box) for box in boxes] or [(f"img{number}", *[math.nan] * 4)]
        predictions += [(f"img{number}", confidence, *box) for confidence, box in found]
    return (
        pd.DataFrame(truth, columns=["image_id", *BOX]),
        pd.DataFrame(predictions, columns=["image_id", "confidence", *BOX]),
    )


# Images. A coarse grid makes what is rare in real data common: equal boxes, touching boxes, nested boxes, equal IoU,
# IoU exactly on a threshold, equal confidences.


def random_images(count, seed, grid=12, confidences=12, most_truths=4, most_predictions=8):
    random = np.random.default_rng(seed)

    def box():
        return (*random.integers(0, grid // 3, 2).tolist(), *random.integers(1, grid, 2).tolist())

    images = []
    for _ in range(count):
        truth = [box() for _ in range(random.integers(0, most_truths + 1))]
        found = []
        for _ in range(random.integers(0, most_predictions + 1)):
            copied = truth and random.random() < 0.2
            confidence = float(random.integers(1, confidences + 1)) / confidences
            found.append((confidence, truth[random.integers(len(truth))] if copied else box()))
        images.append((truth, found))
    return images


SQUARE = (0, 0, 10, 10)
HAND_MADE = {
    "nothing at all": ([], []),
    "no truth, one prediction": ([], [(0.5, SQUARE)]),
    "no truth, several predictions": ([], [(0.5, SQUARE), (0.5, SQUARE), (0.1, (3, 3, 4, 4))]),
    "truth, no prediction": ([SQUARE], []),
    "found": ([SQUARE], [(0.9, SQUARE)]),
    "found twice": ([SQUARE], [(0.9, SQUARE), (0.8, SQUARE)]),
    "equal truth boxes, found once": ([SQUARE, SQUARE], [(0.9, SQUARE)]),
    "equal truth boxes, found twice": ([SQUARE, SQUARE], [(0.9, SQUARE), (0.9, SQUARE)]),
    "touching": ([SQUARE], [(0.9, (10, 0, 10, 10)), (0.8, (0, 10, 10, 10)), (0.7, (10, 10, 5, 5))]),
    "nested, just above 0.40": ([SQUARE], [(0.9, (0, 0, 10, 5)), (0.8, (1, 1, 7, 6))]),
    "better box less confident": ([SQUARE], [(0.5, SQUARE), (0.9, (0, 0, 10, 6))]),
    "first takes the nearer": ([SQUARE, (0, 0, 10, 9)], [(0.9, (0, 0, 10, 9)), (0.8, (0, 0, 10, 9))]),
    "equally near, the other stays": ([(0, 0, 4, 4), (4, 0, 4, 4)], [(0.9, (2, 0, 4, 4)), (0.8, (5, 0, 4, 4))]),
    **{f"exactly {k}/20": ([(0, 0, 20, 1)], [(0.9, (0, 0, k, 1))]) for k in range(8, 16)},
    **{f"just above {k}/20": ([(0, 0, 20_000, 1)], [(0.9, (0, 0, 1000 * k + 1, 1))]) for k in range(8, 16)},
}
