"""COCO mAP against pycocotools and against a case worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common.errors import UserError
from evaluate.metrics.coco import IOU_THRESHOLDS, average_precision

BOX = ["x", "y", "width", "height"]


def random_tables(seed, images=60, most_truths=4, most_predictions=12, confidences=10**6):
    """Images with and without truth and predictions; half of the predictions lie near a truth box."""
    random = np.random.default_rng(seed)
    truth, predictions = [], []
    for number in range(images):
        boxes = [
            (*random.uniform(0, 600, 2).round(), *random.uniform(5, 400, 2).round())
            for _ in range(random.integers(0, most_truths + 1))
        ]
        truth += [(f"img{number}", *box) for box in boxes] or [(f"img{number}", *[math.nan] * 4)]
        for _ in range(random.integers(0, most_predictions + 1)):
            if boxes and random.random() < 0.5:
                box = np.array(boxes[random.integers(len(boxes))]) + random.normal(0, 8, 4)
            else:
                box = random.uniform(5, 500, 4)
            confidence = random.integers(1, confidences) / confidences
            predictions.append((f"img{number}", confidence, *np.maximum(box, 1)))
    return (
        pd.DataFrame(truth, columns=["image_id", *BOX]),
        pd.DataFrame(predictions, columns=["image_id", "confidence", *BOX]),
    )


def reference(truth, predictions):
    """pycocotools with its own defaults: mAP50-95, mAP50, and the mean precision at each IoU threshold."""
    names = list(dict.fromkeys(truth["image_id"]))
    boxes = truth.dropna(subset="x")
    objects = COCO()
    objects.dataset = {
        "images": [{"id": number} for number in range(len(names))],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,
                "image_id": names.index(row.image_id),
                "category_id": 1,
                "bbox": [row.x, row.y, row.width, row.height],
                "area": row.width * row.height,
                "iscrowd": 0,
            }
            for number, row in enumerate(boxes.itertuples(), start=1)
        ],
    }
    objects.createIndex()
    found = objects.loadRes(
        [
            {
                "image_id": names.index(row.image_id),
                "category_id": 1,
                "bbox": [row.x, row.y, row.width, row.height],
                "score": row.confidence,
            }
            for row in predictions.itertuples()
        ]
    )
    evaluation = COCOeval(objects, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1], evaluation.eval["precision"][:, :, 0, 0, 2].mean(axis=1)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"seed": 2, "confidences": 6},
        {"seed": 3, "images": 3, "most_predictions": 300},
        {"seed": 4, "most_truths": 1},
        {"seed": 5, "images": 2, "most_truths": 30, "most_predictions": 30},
    ],
    ids=["ordinary", "equal confidences", "over 100 predictions", "mostly negative", "crowded"],
)
def test_equals_pycocotools(options, capfd):
    truth, predictions = random_tables(**options)
    capfd.readouterr()
    score = average_precision(truth, predictions)
    assert capfd.readouterr() == ("", "")
    map50_95, map50, by_iou = reference(truth, predictions)
    assert 0 < map50 < 1
    assert score["map50"] == pytest.approx(map50, abs=1e-9)
    assert score["map50_95"] == pytest.approx(map50_95, abs=1e-9)
    assert list(score["by_iou"]) == list(IOU_THRESHOLDS)
    assert list(score["by_iou"].values()) == pytest.approx(by_iou.tolist(), abs=1e-9)


def test_case_worked_by_hand():
    """Three truth boxes; in falling confidence a hit (IoU 1), a miss on the negative image, a hit (IoU 0.8).

    At IoU 0.50 to 0.80 the precision is 1 up to recall 1/3 and 2/3 up to recall 2/3; of the 101 recalls 0.00, 0.01, ...
    those up to 0.33 (34) and up to 0.66 (33 more) are reached. At 0.85 to 0.95 the second hit is none.
    """
    truth = pd.DataFrame(
        [("a", 0, 0, 10, 10), ("a", 50, 50, 10, 10), ("b", 0, 0, 10, 10), ("negative", *[math.nan] * 4)],
        columns=["image_id", *BOX],
    )
    predictions = pd.DataFrame(
        [("b", 0.5, 0, 0, 10, 8), ("a", 0.9, 0, 0, 10, 10), ("negative", 0.7, 1, 1, 5, 5)],
        columns=["image_id", "confidence", *BOX],
    )
    score = average_precision(truth, predictions)
    both, one = (34 + 33 * 2 / 3) / 101, 34 / 101
    assert score["map50"] == pytest.approx(both, abs=1e-9)
    assert score["by_iou"][0.80] == pytest.approx(both, abs=1e-9)
    assert score["by_iou"][0.85] == pytest.approx(one, abs=1e-9)
    assert score["map50_95"] == pytest.approx((7 * both + 3 * one) / 10, abs=1e-9)


def test_false_positives_on_negative_images_cost_precision():
    truth, predictions = random_tables(6)
    positive = truth.dropna(subset="x")["image_id"].unique()
    without = average_precision(truth, predictions[predictions["image_id"].isin(positive)])
    assert average_precision(truth, predictions)["map50"] < without["map50"]


@pytest.mark.parametrize("empty", [pd.DataFrame(), random_tables(7)[1].head(0)], ids=["no columns", "no rows"])
def test_no_predictions_score_0(empty):
    score = average_precision(random_tables(7)[0], empty)
    assert (score["map50"], score["map50_95"]) == (0.0, 0.0)
    assert set(score["by_iou"].values()) == {0.0}


def test_no_truth_is_undefined():
    truth, predictions = random_tables(8, most_truths=0)
    score = average_precision(truth, predictions)
    assert (score["map50"], score["map50_95"]) == (None, None)
    assert set(score["by_iou"].values()) == {None}
    assert average_precision(pd.DataFrame(), pd.DataFrame())["map50"] is None


def test_a_prediction_for_another_image_is_refused():
    truth, predictions = random_tables(9)
    with pytest.raises(UserError, match="'img3' is not in the truth"):
        average_precision(truth[truth["image_id"] != "img3"], predictions)
