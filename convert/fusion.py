"""One set of boxes from several readers': weighted boxes fusion, with the number of readers behind each box.

Method: Solovyev, Wang and Gabruseva, Weighted boxes fusion, Image and Vision Computing 107 (2021) 104117, as their
library `ensemble_boxes` does it. All readers weigh the same: a fused box is the mean of the boxes that it is made of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convert.boxes import COLUMNS, COORDINATES, READERS

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
    parts = [
        _fuse_image(str(image_id), rows, int(readers[image_id]), iou)
        for image_id, rows in boxes.groupby("image_id", sort=True)
    ]
    if not parts:
        return pd.DataFrame(columns=[*COLUMNS, READERS])
    return pd.concat(parts, ignore_index=True)


def _fuse_image(image_id: str, rows: pd.DataFrame, readers: int, iou: float) -> pd.DataFrame:
    from ensemble_boxes import weighted_boxes_fusion

    rows = rows.sort_values(["reader", "label", *COORDINATES], kind="stable")
    names = sorted(rows["label"].unique())
    xywh = rows[COORDINATES].to_numpy(float)
    corners = np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    # The library wants 0 to 1. The same factor on both axes, which changes no IoU; the picture's size is not needed.
    origin = min(0.0, float(corners.min()))
    extent = float(corners.max()) - origin
    scaled = (corners - origin) / extent
    label = rows["label"].map(names.index).to_numpy()
    of_reader = rows.groupby("reader", sort=True).indices.values()
    lists: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for index in of_reader:
        for target, values in zip(lists, (scaled[index], np.ones(len(index)), label[index]), strict=True):
            target.append(values.tolist())
    for _ in range(readers - len(of_reader)):  # who looked and found nothing counts, too
        for target in lists:
            target.append([])
    fused, share, fused_label = weighted_boxes_fusion(*lists, iou_thr=iou, conf_type="box_and_model_avg")
    result = pd.DataFrame(_as_xywh(fused * extent + origin), columns=COORDINATES)
    result.insert(0, "image_id", image_id)
    result["label"] = [names[int(index)] for index in fused_label]
    # With confidence 1 throughout, this kind of confidence is the share of the readers who have a box in the fused one.
    result[READERS] = np.rint(share * readers).astype(int)
    return result.sort_values(["label", *COORDINATES], kind="stable", ignore_index=True)


def _as_xywh(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).round(_DECIMALS)
