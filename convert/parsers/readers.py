"""One set of boxes from several readers': weighted boxes fusion, with the number of readers behind each box.

Method: Solovyev, Wang and Gabruseva, Weighted boxes fusion, Image and Vision Computing 107 (2021) 104117, as their
library `ensemble_boxes` does it. All readers weigh the same: a fused box is the mean of the boxes that it is made of.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convert.sources.boxes import COLUMNS, COORDINATES, READERS

FUSED_IOU = 0.40
"""From which IoU on two readers mean the same finding: where the RSNA metric begins to count a hit."""
_DECIMALS = 2


def fuse(boxes: pd.DataFrame, readers: pd.Series, iou: float = FUSED_IOU) -> pd.DataFrame:
    """Fuse readers' boxes, image by image and label by label.

    Args:
        boxes: Columns `image_id, x, y, width, height, label` and `reader`; every row a box.
        readers: How many readers looked at the image, by image id.
        iou: Boxes of higher IoU become one.

    Returns:
        Columns `image_id, x, y, width, height, label, readers`: the fused boxes, rounded to 0.01 pixel, and how many
        distinct readers are behind each. Independent of the order of the rows.
    """
    names = sorted(boxes["label"].unique())
    rows = boxes.sort_values(["image_id", "reader", "label", *COORDINATES], kind="stable", ignore_index=True)
    # Plain arrays: a table per image would take many times as long as the fusion.
    xywh, label = rows[COORDINATES].to_numpy(float), rows["label"].map(names.index).to_numpy(int)
    reader = rows["reader"].to_numpy(object)
    found: list[tuple[object, ...]] = []
    for image_id, index in rows.groupby("image_id", sort=True).indices.items():
        fused = _fuse_image(xywh[index], label[index], reader[index], int(readers[str(image_id)]), iou)
        found += [(image_id, *box, names[number], count) for box, number, count in fused]
    return pd.DataFrame(found, columns=[*COLUMNS, READERS])


def _fuse_image(
    xywh: NDArray[np.float64], label: NDArray[np.int64], reader: NDArray[np.object_], readers: int, iou: float
) -> list[tuple[list[float], int, int]]:
    """The fused boxes of an image as `(x, y, width, height), label, readers`, sorted; rows sorted by reader."""
    from ensemble_boxes import weighted_boxes_fusion

    corners = np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    # The library wants 0 to 1. The same factor on both axes, which changes no IoU; the picture's size is not needed.
    origin = min(0.0, float(corners.min()))
    extent = float(corners.max()) - origin
    scaled = (corners - origin) / extent
    starts = [0, *(np.flatnonzero(reader[1:] != reader[:-1]) + 1), len(reader)]
    parts = [slice(start, end) for start, end in itertools.pairwise(starts)]
    boxes: list[Any] = [scaled[part].tolist() for part in parts]
    labels: list[Any] = [label[part].tolist() for part in parts]
    scores = [[1.0] * len(part) for part in labels]
    for _ in range(readers - len(parts)):  # who looked and found nothing counts, too
        for lists in (boxes, labels, scores):
            lists.append([])
    fused, share, number = weighted_boxes_fusion(boxes, scores, labels, iou_thr=iou, conf_type="box_and_model_avg")
    sizes = np.column_stack([fused[:, :2] * extent + origin, (fused[:, 2:] - fused[:, :2]) * extent]).round(_DECIMALS)
    # With confidence 1 throughout, this kind of confidence is the share of the readers who have a box in the fused one.
    count = np.rint(share * readers).astype(int)
    order = np.lexsort((*sizes.T[::-1], number))
    return [(sizes[k].tolist(), int(number[k]), int(count[k])) for k in order]
