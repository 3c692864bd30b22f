from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.tables import make_predictions
from evaluate.metrics.errors import KINDS, find_errors
from evaluate.metrics.outcomes import OUTCOME_COLUMNS, outcomes
from evaluate.metrics.rsna import image_scores, match

Box = tuple[float, float, float, float]


def errors_of(truth: list[Box], predictions: list[Box], label: str = "Lung Opacity", second_image: bool = True):
    """One image's boxes, given in falling confidence; beside another image, whose boxes are all missed."""
    rows = [("other", 0.0, 0.0, 5.0, 5.0)] if second_image else []
    rows += [("image", *box) for box in truth] or [("image", *[np.nan] * 4)]
    table = pd.DataFrame(rows, columns=["image_id", "x", "y", "width", "height"])
    confidence = 0.9 - 0.1 * np.arange(len(predictions))
    found = make_predictions(
        ["image"] * len(predictions), np.column_stack([confidence, np.array(predictions).reshape(-1, 4)])
    )
    kinds = find_errors(table, found, pd.Series({"image": label, "other": "Lung Opacity"}))
    assert kinds.images.get("other", "missed") == "missed"
    return kinds.predictions.tolist(), kinds.truth.tolist()[second_image:], kinds.images["image"]


A: Box = (0, 0, 100, 100)
B: Box = (200, 0, 100, 100)


@pytest.mark.parametrize(
    ("truth", "predictions", "of_predictions", "of_truth", "of_image"),
    [
        ([A], [A], [""], [""], ""),
        ([A], [], [], ["missed"], "missed"),
        # IoU 8000 / 10000, twice.
        ([A], [A, (0, 0, 100, 80)], ["", "duplicated"], [""], "duplicated"),
        # IoU 5000 / 10000, which is no hit; the other touches with 1000 / 19000, less than 0.1.
        ([A], [(0, 0, 100, 50)], ["poorly placed"], ["poorly placed"], "poorly placed"),
        ([A], [(90, 0, 100, 100)], ["elsewhere"], ["missed"], "missed; elsewhere"),
        # 2000 / 18000 and, exactly on the border, 1000 / 10000.
        ([A], [(80, 0, 100, 100)], ["poorly placed"], ["poorly placed"], "poorly placed"),
        ([A], [(0, 0, 100, 10)], ["poorly placed"], ["poorly placed"], "poorly placed"),
        # Upper and lower half, each wholly inside; one of them alone is poorly placed.
        ([A], [(0, 0, 100, 45), (0, 50, 100, 45)], ["split", "split"], ["split"], "split"),
        ([A], [(0, 0, 100, 45), (0, 200, 9, 9)], ["poorly placed", "elsewhere"], ["poorly placed"],
         "poorly placed; elsewhere"),
        # The second repeats the first on A; that it reaches a little into the other one does not make it that one's.
        ([A, (80, 0, 100, 100)], [A, (15, 0, 100, 100)], ["", "duplicated"], ["", "missed"], "missed; duplicated"),
        # One box over both, IoU 1/3 with each.
        ([A, B], [(0, 0, 300, 100)], ["merged"], ["merged", "merged"], "merged"),
        # It is near enough to the larger one to hit that, and the smaller one is in it as well.
        ([A, (110, 0, 20, 100)], [(0, 0, 130, 100)], [""], ["", "merged"], "merged"),
        # Both are found, and a third box lies over both.
        ([A, B], [A, B, (0, 0, 300, 100)], ["", "", "poorly placed"], ["", ""], "poorly placed"),
        ([A, B], [A], [""], ["", "missed"], "missed"),
        ([], [A], ["on a negative"], [], "on a negative"),
        ([], [], [], [], ""),
    ],
)  # fmt: skip
def test_kinds_worked_by_hand(truth, predictions, of_predictions, of_truth, of_image):
    for second_image in (True, False):
        found = errors_of(truth, predictions, second_image=second_image)
        assert found == (of_predictions, of_truth, of_image)


@pytest.mark.parametrize(
    ("label", "kind"),
    [("No Lung Opacity / Not Normal", "on a distractor"), ("Normal", "on a normal"), ("", "on a negative")],
)
def test_false_alarms_are_sorted_by_the_images_label(label, kind):
    assert errors_of([], [A, B], label) == ([kind, kind], [], kind)


def test_every_wrong_box_has_one_kind_and_right_ones_none():
    random = np.random.default_rng(0)
    names = [f"i{number}" for number in random.permutation(40)]
    ids = [*random.choice(names[:30], 60), *names[30:]]
    boxes = np.column_stack([random.integers(0, 60, (70, 2)), random.integers(5, 60, (70, 2))]).astype(float)
    boxes[60:] = np.nan
    truth = pd.DataFrame({"image_id": ids, **dict(zip(["x", "y", "width", "height"], boxes.T, strict=True))})
    near = truth.dropna().sample(60, replace=True, random_state=1)
    xywh = near[["x", "y", "width", "height"]].to_numpy() + random.integers(-4, 5, (60, 4)) * [[1, 1, 0.5, 0.5]]
    predictions = make_predictions(
        [*near["image_id"], *random.choice(sorted(set(ids)), 60)],
        np.column_stack([random.random(120), np.vstack([xywh, np.abs(random.permutation(xywh)) + 1])]),
    ).sample(frac=1, random_state=2)
    predictions = predictions.assign(width=predictions["width"].clip(1), height=predictions["height"].clip(1))
    labels = pd.Series("Normal", index=pd.unique(truth["image_id"]))
    kinds = find_errors(truth, predictions, labels)
    hit = match(truth, predictions, (0.5,)).iloc[:, 0]
    assert ((kinds.predictions == "") == hit).all()
    assert (kinds.truth == "").sum() == hit.sum() < len(kinds.truth)
    assert {*kinds.predictions, *kinds.truth} <= {"", *KINDS}
    counts = kinds.counts()
    assert sum(counts.values()) == (~hit).sum() + (kinds.truth == "missed").sum()
    assert min(counts["duplicated"], counts["poorly placed"], counts["elsewhere"], counts["on a normal"]) > 0
    for name, text in kinds.images.items():
        of_boxes = kinds.predictions[predictions["image_id"] == name], kinds.truth[truth["image_id"] == name]
        assert set(text.split("; ")) - {""} == set(pd.concat(of_boxes)) - {""}


def test_outcomes_of_images():
    truth = pd.DataFrame(
        {"image_id": ["b", "b", "a", "c"], "x": [0, 200, np.nan, 0], "y": [0, 0, np.nan, 0],
         "width": [100, 100, np.nan, 100], "height": [100, 100, np.nan, 100]}
    )  # fmt: skip
    processed = make_predictions(["b", "b", "c"], np.array([[0.9, *A], [0.6, *A], [0.3, *A]]))
    labels = pd.Series({"a": "Normal", "b": "Lung Opacity"})
    final = processed[processed["confidence"] >= 0.5]
    final = final.assign(hit=match(truth, final, (0.5,)).iloc[:, 0].to_numpy())
    found = outcomes(
        "test", labels, truth, processed, final, image_scores(truth, processed, 0.5), find_errors(truth, final, labels)
    )
    assert list(found) == OUTCOME_COLUMNS
    assert found.drop(columns=["score", "confidence"]).to_numpy().tolist() == [
        ["a", "test", "Normal", 0, 0, 0, ""],
        ["b", "test", "Lung Opacity", 2, 2, 1, "missed; duplicated"],
        ["c", "test", "", 1, 0, 0, "missed"],
    ]
    np.testing.assert_allclose(found["score"], [np.nan, 1 / 3, 0])
    np.testing.assert_allclose(found["confidence"], [np.nan, 0.9, 0.3])
