"""Where a score is lost: by hand, and that the parts always add up to what lacks to 1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import Split
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.scoring.numbers import judge
from train.study.run.score_parts import take_apart
from train.study.trial_record import LOST

BOX = ["image_id", "x", "y", "width", "height"]


def judged(truth, predictions, confidence):
    truth = pd.DataFrame(truth, columns=BOX).astype(dict.fromkeys(BOX[1:], float)).assign(label="Lung Opacity")
    ids = sorted(set(truth["image_id"]))
    manifest = pd.DataFrame({"image_id": ids, "patient_id": ids, "view": "", "sex": "", "age": np.nan})
    manifest = manifest.assign(width=1024, height=1024)
    table = pd.DataFrame(predictions, columns=["image_id", "confidence", *BOX[1:]])
    split = Split("test", dict.fromkeys(ids), truth, manifest, has_patients=True)
    return judge(split, table, Pipeline(confidence=Confidence(confidence)))


def test_the_parts_by_hand():
    truth = [
        ("a", 0, 0, 100, 100), ("b", 0, 0, 100, 100), ("b", 500, 0, 100, 100),
        ("c", None, None, None, None), ("d", None, None, None, None),
    ]  # fmt: skip
    predictions = [
        ("c", 0.95, 0, 0, 50, 50),  # on an image without boxes
        ("b", 0.85, 0, 500, 50, 50),  # on no box
        ("b", 0.80, 0, 0, 100, 55),  # an IoU of 0.55, above three of the eight thresholds
        ("a", 0.75, 0, 0, 100, 100),
    ]
    found = judged(truth, predictions, 0.78)
    # Image a is not met from 0.78 on; b scores 1/3 at three thresholds; c counts as 0; d does not count.
    assert found.score == pytest.approx((0 + 3 / 8 / 3 + 0) / 3)
    best = (1 + 3 / 8 / 3 + 0) / 3  # from 0.75 on
    on_boxes, fitted, without_extra = (1 + 3 / 8 / 3) / 2, (1 + 1 / 3) / 2, (1 + 1 / 2) / 2
    assert take_apart(found) == pytest.approx(
        {
            "threshold": best - found.score,
            "false_images": on_boxes - best,
            "fit": fitted - on_boxes,
            "extra_boxes": without_extra - fitted,
            "missed": 1 - without_extra,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_add_up(seed):
    random = np.random.default_rng(seed)
    truth = [
        (f"i{number}", *(random.integers(0, 300, 2)), *random.integers(80, 200, 2)) if number % 3 else
        (f"i{number}", None, None, None, None)
        for number in range(60)
    ]  # fmt: skip
    near = [
        (name, random.random(), *(value + random.integers(-30, 30) for value in box))
        for name, *box in truth
        if box[0] is not None
    ]  # fmt: skip
    wrong = [(f"i{random.integers(60)}", random.random(), *random.integers(50, 300, 4)) for _ in range(30)]
    found = judged(truth, [*near, *wrong], float(random.random()))
    parts = take_apart(found)
    assert set(parts) == set(LOST)
    assert sum(parts.values()) == pytest.approx(1 - found.score)
    assert all(part > -1e-9 for part in parts.values())


def test_without_predictions_everything_is_missed_and_without_boxes_nothing_is_known():
    boxes = [("a", 0, 0, 100, 100), ("b", None, None, None, None)]
    parts = take_apart(judged(boxes, [], 0.5))
    assert parts == {**dict.fromkeys(LOST, 0.0), "missed": 1.0}
    assert take_apart(judged(boxes[1:], [("b", 0.9, 0, 0, 9, 9)], 0.5)) is None
