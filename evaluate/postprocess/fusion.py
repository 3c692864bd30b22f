"""One set of predictions from those of several detectors: weighted boxes fusion.

Boxes that overlap are averaged, weighted by their confidence, and the confidence of the result is the average over all
detectors that have looked at the image, those without such a box included (Solovyev et al. 2021, arXiv:1910.13302; the
library is its authors'). A detector with several boxes in a result has one vote all the same. The best entries of the
challenge fused theirs in this way, at IoU 0.4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from common.cli import progress
from common.data.tables import PREDICTION_COLUMNS, make_predictions

FUSION_IOU = 0.4
LEAST_CONFIDENCE = 0.01
"""Boxes below are left out: no tuned threshold is so low, and they are most of the work."""


def fuse(
    predictions: Sequence[pd.DataFrame],
    seen: Sequence[Collection[str]],
    sizes: Mapping[str, tuple[float, float]],
    iou: float = FUSION_IOU,
    least: float = LEAST_CONFIDENCE,
) -> pd.DataFrame:
    """Fuse predictions tables.

    Args:
        predictions: One table per detector; coordinates in pixels of the original image.
        seen: The images that each of them has predicted on, also those where it found nothing.
        sizes: Width and height of every image in pixels. Boxes are clipped to it.
        iou: Boxes that overlap more than this are one.
        least: Boxes of lower confidence are left out.

    Returns:
        A predictions table, in which an image's confidences are averages over the detectors that have seen it.

    Raises:
        ValueError: There are not as many tables as sets of images, or a table has an image that is not in its set.
    """
    from ensemble_boxes import weighted_boxes_fusion

    if len(predictions) != len(seen):
        raise ValueError(f"found {len(predictions)} tables and {len(seen)} sets of images; expected as many")
    by_image: list[dict[str, np.ndarray]] = []
    for table, images in zip(predictions, seen, strict=True):
        kept = table[table["confidence"] >= least]
        groups = {
            str(image_id): rows[PREDICTION_COLUMNS[1:]].to_numpy(float)
            for image_id, rows in kept.groupby("image_id", sort=False)
        }
        if unknown := groups.keys() - set(images):
            raise ValueError(f"predictions for image {min(unknown)}, which is not among those that were looked at")
        by_image.append(groups)

    ids: list[str] = []
    rows: list[np.ndarray] = []
    nothing = np.empty((0, 5))
    for image_id in progress(sorted(set().union(*seen)), "fusing"):
        frame = np.array([*sizes[image_id], *sizes[image_id]])
        boxes, confidences = [], []
        for groups, images in zip(by_image, seen, strict=True):
            if image_id not in images:
                continue
            found = groups.get(image_id, nothing)
            corners = np.clip(np.hstack([found[:, 1:3], found[:, 1:3] + found[:, 3:5]]) / frame, 0, 1)
            inside = (corners[:, 2:] > corners[:, :2]).all(axis=1)
            boxes.append(corners[inside])
            confidences.append(found[inside, 0])
        if not any(map(len, boxes)):
            continue
        labels = [np.zeros(len(one)) for one in boxes]
        # The library's usual kind of confidence counts a detector once for each of its boxes in a result.
        kind = "box_and_model_avg"
        corners, confidence, _ = weighted_boxes_fusion(boxes, confidences, labels, iou_thr=iou, conf_type=kind)
        corners = corners * frame
        ids += [image_id] * len(corners)
        rows.append(np.column_stack([confidence, corners[:, :2], corners[:, 2:] - corners[:, :2]]))
    return make_predictions(ids, np.concatenate(rows) if rows else nothing)
