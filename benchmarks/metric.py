"""Compare the exact confidence sweep with scoring image by image: python benchmarks/metric.py.

The input has the size of the RSNA training set: 26,684 images, of which 6,012 have 9,555 truth boxes, and 200,000
predictions. The alternative goes the way of published kernels: for each of 100 confidence thresholds, image by image
and IoU threshold by IoU threshold, with boxes matched one by one. It is written to be fast for what it is: plain lists,
made once, which for a handful of boxes are quicker than arrays, and each IoU computed once for all IoU thresholds. As
it is slow nevertheless, it is timed on a random part of the images and scaled up in proportion.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.cli import console, parser, run

if TYPE_CHECKING:
    import pandas as pd

IMAGES = 26_684
BOXES_PER_POSITIVE_IMAGE = {1: 2_614, 2: 3_266, 3: 119, 4: 13}
"""How many of the RSNA training images have so many boxes: 6,012 images, 9,555 boxes."""
PREDICTIONS = 200_000
THRESHOLDS = 100
SAMPLE = 1_000
"""Images on which the alternative is timed."""

Box = tuple[float, float, float, float]
ImageBoxes = tuple[list[Box], list[tuple[float, Box]]]
"""An image's truth boxes, and its predictions (confidence, box) in falling confidence."""


def make_tables(
    images: int = IMAGES, predictions: int = PREDICTIONS, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw truth and predictions tables like those of a detector on the RSNA training set.

    Args:
        images: Number of images; the shares of images with 1, 2, 3 and 4 boxes are those of the RSNA set.
        predictions: Number of predictions; a third lies near a truth box, the others anywhere.
        seed: The same seed gives the same tables.

    Returns:
        The truth and the predictions table, boxes in whole and in hundredths of pixels of a 1024 x 1024 image.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    counts = np.zeros(images, dtype=np.int64)
    positive = np.repeat(list(BOXES_PER_POSITIVE_IMAGE), list(BOXES_PER_POSITIVE_IMAGE.values()))
    if images != IMAGES:
        positive = random.choice(positive, round(images * len(positive) / IMAGES))
    counts[random.permutation(images)[: len(positive)]] = positive
    ids = np.array([f"{number:08x}-{number * 2654435761 % 2**32:08x}" for number in range(images)])

    rows = np.repeat(np.arange(images), np.maximum(counts, 1))
    empty = (counts == 0)[rows]
    size = np.round(random.uniform((80, 100), (320, 500), (len(rows), 2)))
    corner = np.round(random.uniform(0, 1, (len(rows), 2)) * (1024 - size))
    truth_boxes = np.where(empty[:, None], np.nan, np.hstack([corner, size]))
    truth = _table(ids[rows], truth_boxes)

    near = random.choice(np.flatnonzero(~empty), predictions // 3)
    moved = truth_boxes[near] + random.normal(0, 25, (len(near), 4))
    anywhere = np.hstack(
        [random.uniform(0, 700, (predictions - len(near), 2)), random.uniform(60, 320, (predictions - len(near), 2))]
    )
    boxes = np.vstack([moved, anywhere]).round(2)
    boxes[:, 2:] = boxes[:, 2:].clip(min=5)
    image = np.concatenate([rows[near], random.integers(0, images, len(anywhere))])
    confidence = np.concatenate([random.beta(2, 4, len(near)), random.beta(0.6, 6, len(anywhere))]).clip(0.001)
    order = np.lexsort((-confidence, image))
    table = _table(ids[image[order]], boxes[order])
    table.insert(1, "confidence", confidence[order])
    return truth, table


def _table(ids: Any, boxes: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {"image_id": ids, "x": boxes[:, 0], "y": boxes[:, 1], "width": boxes[:, 2], "height": boxes[:, 3]}
    )


def by_image(truth: pd.DataFrame, predictions: pd.DataFrame) -> list[ImageBoxes]:
    """Turn the tables into Python lists, image by image in the truth's order: what the alternative works on."""
    images: dict[str, ImageBoxes] = {image_id: ([], []) for image_id in truth["image_id"].unique()}
    for image_id, *box in truth.dropna(subset="x")[["image_id", "x", "y", "width", "height"]].itertuples(index=False):
        images[image_id][0].append(tuple(box))
    falling = predictions.sort_values("confidence", ascending=False, kind="stable")
    columns = ["image_id", "confidence", "x", "y", "width", "height"]
    for image_id, confidence, *box in falling[columns].itertuples(index=False):
        images[image_id][1].append((confidence, tuple(box)))
    return list(images.values())


def score_image_by_image(images: Sequence[ImageBoxes], confidence: float, iou_thresholds: Sequence[float]) -> float:
    """Give the RSNA score at one confidence threshold, image by image and threshold by threshold."""
    scores = []
    for truth, predictions in images:
        kept = [box for found, box in predictions if found >= confidence]
        if not truth:
            if kept:
                scores.append(0.0)
            continue
        overlaps = [[_iou(box, other) for other in truth] for box in kept]
        total = 0.0
        for threshold in iou_thresholds:
            free = set(range(len(truth)))
            hits = 0
            for overlap in overlaps:
                best = max(free, key=overlap.__getitem__, default=None)
                if best is not None and overlap[best] > threshold:
                    free.remove(best)
                    hits += 1
            total += hits / (len(kept) + len(truth) - hits)
        scores.append(total / len(iou_thresholds))
    return sum(scores) / len(scores) if scores else 0.0


def _iou(a: Box, b: Box) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)


def measure(sample: int = SAMPLE, repeats: int = 15) -> list[dict[str, Any]]:
    """Time both ways on the same input, in this process.

    Args:
        sample: Number of images on which the alternative is timed.
        repeats: The sweep is timed so often; the median counts.

    Returns:
        One row for each comparison: what (the work), seconds (ours), ratio (seconds of the alternative / ours) and
        against (the alternative).

    Raises:
        RuntimeError: The two do not give the same scores, so that their times cannot be compared.
    """
    import statistics
    from time import perf_counter

    import numpy as np

    from evaluate.metrics.rsna import IOU_THRESHOLDS, confidence_sweep

    truth, predictions = make_tables()
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        sweep = confidence_sweep(truth, predictions)
        seconds.append(perf_counter() - start)
    ours = statistics.median(seconds)

    ids = truth["image_id"].drop_duplicates()
    chosen = set(ids.sample(sample, random_state=0))
    part = truth[truth["image_id"].isin(chosen)], predictions[predictions["image_id"].isin(chosen)]
    levels = np.linspace(0.001, 0.95, THRESHOLDS).tolist()
    start = perf_counter()
    images = by_image(*part)
    scores = [score_image_by_image(images, level, IOU_THRESHOLDS) for level in levels]
    theirs = (perf_counter() - start) * len(ids) / sample
    _require_equal(confidence_sweep(*part), levels, scores)

    work = f"score at each of {len(sweep):,} confidences; {len(ids):,} images, {len(predictions):,} predictions"
    alternative = (
        f"plain Python, image by image, at {THRESHOLDS} confidences "
        f"(timed on {sample} random images, scaled to {len(ids):,})"
    )
    return [{"what": work, "seconds": ours, "ratio": theirs / ours, "against": alternative}]


def _require_equal(sweep: pd.DataFrame, levels: Sequence[float], scores: Sequence[float]) -> None:
    """Check that the sweep gives the alternative's score at each confidence level."""
    confidence = sweep["confidence"].to_numpy()
    for level, score in zip(levels, scores, strict=True):
        admitted = int((confidence >= level).sum())
        ours = float(sweep["score"].iloc[admitted - 1]) if admitted else 0.0
        if abs(ours - score) > 1e-12:
            raise RuntimeError(f"at confidence {level} the sweep gives {ours}, image by image {score}")


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/metric.py", "Compare the exact confidence sweep with scoring image by image.")
    command.add_argument("--sample", type=int, default=SAMPLE, help="images on which the slow alternative is timed")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    arguments = build_parser().parse_args(argv)
    from rich.table import Table

    table = Table("what", "seconds", "times faster", "than")
    for row in measure(arguments.sample):
        table.add_row(row["what"], f"{row['seconds']:.3f}", f"{row['ratio']:,.0f}", row["against"])
    console().print(table)
    return None


if __name__ == "__main__":
    run(main)
