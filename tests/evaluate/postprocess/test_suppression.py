from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.names import COORDINATES
from common.data.tables import make_predictions, sort_predictions
from common.errors import UserError
from evaluate.metrics.rsna import iou
from evaluate.postprocess.suppression import METHODS, SUPPRESSION_IOU, Suppression, count_voters


def predicted(*rows: tuple) -> pd.DataFrame:
    """Rows of image, confidence, x, y, width, height, and perhaps detector."""
    table = make_predictions([row[0] for row in rows], np.array([row[1:6] for row in rows], dtype=float))
    if len(rows[0]) == 7:
        by_hand = pd.DataFrame(rows, columns=["image_id", "confidence", *COORDINATES, "detector"])
        return sort_predictions(by_hand.astype(dict.fromkeys(COORDINATES, float)))
    return table


def setting(method: str, least: float = SUPPRESSION_IOU) -> Suppression:
    return Suppression("none", None) if method == "none" else Suppression(method, least)


def values(table: pd.DataFrame) -> list[list]:
    return table[["confidence", *COORDINATES]].to_numpy().tolist()


def test_suppression_keeps_the_more_confident_and_lets_a_suppressed_box_suppress_none():
    # IoU of neighbours, 5 of 10 pixels apart: 50 / 150 = 1/3; of the first and the third: 0.
    row = predicted(("a", 0.9, 0, 0, 10, 10), ("a", 0.8, 5, 0, 10, 10), ("a", 0.7, 10, 0, 10, 10))
    other = predicted(("a", 0.9, 0, 0, 10, 10), ("b", 0.8, 0, 0, 10, 10))
    assert Suppression("nms", 0.3).apply(row)["confidence"].tolist() == [0.9, 0.7]
    assert len(Suppression("nms", 0.34).apply(row)) == 3
    assert len(Suppression("none", None).apply(row)) == 3
    assert len(Suppression("nms", 0.0).apply(other)) == 2  # of different images


def test_an_overlap_exactly_at_the_iou_suppresses_nothing():
    pair = predicted(("a", 0.9, 0, 0, 10, 10), ("a", 0.8, 0, 0, 10, 4))
    for method in ("nms", "votes", "wbf", "soft-nms"):
        assert Suppression(method, 0.4).apply(pair)["confidence"].tolist() == [0.9, 0.8]
        assert Suppression(method, 0.39).apply(pair)["confidence"].tolist() != [0.9, 0.8]


def suppressed_by_hand(predictions: pd.DataFrame, most: float) -> list[int]:
    """Rows that stay, box by box."""
    stay: list[int] = []
    for row in range(len(predictions)):
        one = predictions.iloc[row]
        rivals = [other for other in stay if predictions["image_id"].iloc[other] == one["image_id"]]
        boxes = predictions[COORDINATES].to_numpy(float)
        if all(round(float(iou(boxes[row], boxes[other])), 10) <= most for other in rivals):
            stay.append(row)
    return stay


def random_table(seed: int, rows: int = 120, images: int = 9, side: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    ids = [f"i{number}" for number in random.integers(0, images, rows)]
    numbers = [random.random(rows), random.integers(0, side, (rows, 2)), random.integers(5, 40, (rows, 2))]
    return make_predictions(ids, np.column_stack(numbers))


@pytest.mark.parametrize("most", [0.0, 0.1, 0.3, 0.5])
def test_suppression_is_that_of_a_loop(most):
    table = random_table(3)
    stay = suppressed_by_hand(table, most)
    assert 9 < len(stay) < 120
    pd.testing.assert_frame_equal(Suppression("nms", most).apply(table), table.iloc[stay].reset_index(drop=True))


def test_a_box_is_softened_by_what_is_more_confident_by_then():
    # IoU of the first with the second 1/3, of the second with the third 1/3, of the first with the third 0.
    row = predicted(("a", 0.9, 0, 0, 10, 10), ("a", 0.6, 5, 0, 10, 10), ("a", 0.5, 10, 0, 10, 10))
    # The second falls to 0.6 x 2/3 = 0.4, below the third, which stays, and takes another third from it.
    soft = Suppression("soft-nms", 0.3).apply(row)
    assert soft["confidence"].tolist() == pytest.approx([0.9, 0.5, 0.4 * 2 / 3], abs=1e-6)
    assert soft["x"].tolist() == [0, 10, 5]


def test_softened_is_that_of_ensemble_boxes():
    ensemble_boxes = pytest.importorskip("ensemble_boxes.ensemble_boxes_nms")
    table = random_table(4, rows=80)
    soft = Suppression("soft-nms", 0.3).apply(table)
    for image_id, rows in table.groupby("image_id"):
        corners = rows[COORDINATES].to_numpy(float)
        corners = np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]])
        confidence = rows["confidence"].to_numpy(float).copy()
        # The library gives back which boxes stay; its own array of confidences is what it has made of them.
        ensemble_boxes.cpu_soft_nms_float(corners, confidence, 0.3, 0.5, 0.0, 1)
        found = np.sort(soft.loc[soft["image_id"] == image_id, "confidence"].to_numpy())
        np.testing.assert_allclose(found, np.sort(confidence), atol=1e-6)


def test_the_boxes_of_one_detector_that_overlap_vote():
    # IoU 30 / 50 = 0.6 with the first; the corner of both is weighted 2:1.
    row = predicted(("a", 0.8, 0, 0, 40, 40), ("a", 0.4, 10, 0, 40, 40), ("a", 0.7, 100, 0, 40, 40))
    voted = Suppression("votes", 0.4).apply(row)
    assert values(voted) == [[0.8, pytest.approx(10 / 3, abs=0.01), 0, 40, 40], [0.7, 100, 0, 40, 40]]


@pytest.mark.parametrize("method", ["votes", "wbf"])
def test_two_detectors_that_agree_by_hand(method):
    table = predicted(("a", 0.8, 20, 10, 40, 40, "one"), ("a", 0.4, 26, 10, 40, 40, "two"))
    # Corners weighted 2:1: x from 22 to 62; confidence the average.
    assert values(Suppression(method, 0.4).apply(table)) == [[pytest.approx(0.6), 22, 10, 40, 40]]
    assert values(Suppression("nms", 0.4).apply(table)) == [[pytest.approx(0.6), 20, 10, 40, 40]]
    alone = Suppression("none", None).apply(table)
    assert values(alone) == [[0.4, 20, 10, 40, 40], [0.2, 26, 10, 40, 40]]


@pytest.mark.parametrize("method", METHODS)
def test_who_looked_and_found_nothing_has_a_vote(method):
    table = predicted(("a", 0.8, 20, 10, 40, 40, "one"), ("b", 0.5, 20, 10, 40, 40, "two"))
    assert setting(method).apply(table)["confidence"].tolist() == [0.4, 0.25]
    some = table.assign(voters=[1, 5])
    assert setting(method).apply(some)["confidence"].tolist() == [0.8, 0.1]
    assert setting(method).apply(some.drop(columns="detector"))["confidence"].tolist() == [0.8, 0.1]
    assert count_voters(table).tolist() == [2, 2]
    assert count_voters(some).tolist() == [1, 5]
    assert count_voters(table.drop(columns="detector")).tolist() == [1, 1]
    with pytest.raises(UserError, match=r"row 1 \(image b\): voters is 0.5; expected a whole number"):
        setting(method).apply(table.assign(voters=[1, 0.5]))


@pytest.mark.parametrize("method", ["nms", "votes", "wbf"])
def test_a_detector_has_one_vote_in_a_result_however_many_boxes_it_has_there(method):
    # IoU of the first detector's two boxes 20 / 60, of each with the second's 30 / 50.
    table = predicted(
        ("b", 0.8, 0, 0, 40, 40, "one"), ("b", 0.6, 20, 0, 40, 40, "one"), ("b", 0.9, 10, 0, 40, 40, "two")
    )
    fused = Suppression(method, 0.4).apply(table)
    assert fused["confidence"].tolist() == pytest.approx([0.85])


@pytest.mark.parametrize("seed", range(5))
def test_weighted_boxes_fusion_is_that_of_ensemble_boxes(seed):
    ensemble_boxes = pytest.importorskip("ensemble_boxes")
    random = np.random.default_rng(seed)
    voters, rows = 4, []
    for image in range(12):
        for place in range(3):  # far from each other, so that no voter has two boxes in a cluster
            for voter in range(voters):
                if random.random() < 0.8:
                    box = [place * 300 + random.normal(0, 14), random.normal(50, 14), *random.uniform(60, 110, 2)]
                    rows.append((f"i{image:02}", random.random(), *np.round(np.maximum(box, 0), 2), f"v{voter}"))
    table = predicted(*rows).assign(voters=voters)
    fused = Suppression("wbf", 0.4).apply(table)
    assert len(fused) < len(table)
    for image_id, mine in table.groupby("image_id"):
        boxes, confidences, labels = [], [], []
        for voter in range(voters):
            own = mine[mine["detector"] == f"v{voter}"]
            corners = own[COORDINATES].to_numpy(float)
            boxes.append(np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]]) / 1024)
            confidences.append(own["confidence"].to_numpy(float))
            labels.append(np.zeros(len(own)))
        corners, confidence, _ = ensemble_boxes.weighted_boxes_fusion(boxes, confidences, labels, iou_thr=0.4)
        expected = np.column_stack([confidence, corners[:, :2] * 1024, (corners[:, 2:] - corners[:, :2]) * 1024])
        found = fused.loc[fused["image_id"] == image_id, ["confidence", *COORDINATES]].to_numpy(float)
        np.testing.assert_allclose(found, expected[np.argsort(-expected[:, 0], kind="stable")], atol=0.011)


def fused_by_votes(predictions: pd.DataFrame, voters: int, least: float) -> list[list]:
    """Image by image and box by box: each voter's own boxes, then those of all."""

    def cluster(rows: list) -> list[list]:
        """Rows of confidence, box, voter, the most confident first."""
        clusters: list[list] = []
        for row in sorted(rows, key=lambda row: (-row[0], row[2])):
            mine = next((one for one in clusters if round(float(iou(row[1], one[0][1])), 10) > least), None)
            clusters.append([row]) if mine is None else mine.append(row)
        return clusters

    def mean(rows: list) -> np.ndarray:
        return sum(row[0] * row[1] for row in rows) / sum(row[0] for row in rows)

    found = []
    for image_id, image in predictions.groupby("image_id"):
        own = []
        for voter, rows in image.groupby("detector"):
            boxes = [(row["confidence"], row[COORDINATES].to_numpy(float), voter) for _, row in rows.iterrows()]
            own += [(one[0][0], mean(one), voter) for one in cluster(boxes)]
        for one in cluster(own):
            best = {voter: max(row[0] for row in one if row[2] == voter) for voter in {row[2] for row in one}}
            found.append([image_id, sum(best.values()) / voters, *mean(one)])
    return sorted(found, key=lambda row: (row[0], -row[1]))


@pytest.mark.parametrize("seed", range(4))
def test_votes_are_those_of_a_loop(seed):
    table = random_table(seed, rows=90, images=4, side=60)
    table["detector"] = np.random.default_rng(seed).choice(["x", "y", "z"], len(table))
    found = Suppression("votes", 0.3).apply(sort_predictions(table)).to_numpy().tolist()
    expected = fused_by_votes(table, 3, 0.3)
    assert 8 < len(expected) < 70
    assert [row[0] for row in found] == [row[0] for row in expected]
    np.testing.assert_allclose([row[1:] for row in found], [row[1:] for row in expected], atol=0.0051)


BOX = st.tuples(
    st.sampled_from("abc"), st.integers(1, 1000), st.integers(0, 60), st.integers(0, 60), st.integers(5, 50),
    st.integers(5, 50),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    boxes=st.lists(BOX, min_size=1, max_size=25),
    method=st.sampled_from(METHODS),
    voters=st.integers(2, 6),
    least=st.sampled_from([0.2, 0.4, 0.55]),
)
def test_several_equal_detectors_give_what_one_gives(boxes, method, voters, least):
    one = predicted(*((image, share / 1000, *box) for image, share, *box in boxes))
    same = pd.concat([one.assign(detector=f"v{number}") for number in range(voters)], ignore_index=True)
    single = setting(method, least).apply(one)
    fused = setting(method, least).apply(sort_predictions(same))
    assert fused["image_id"].tolist() == single["image_id"].tolist()
    by_value = ["image_id", "confidence", *COORDINATES]
    found, expected = (table.sort_values(by_value)[by_value[1:]].to_numpy(float) for table in (fused, single))
    np.testing.assert_allclose(found, expected, atol=0.0101)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=2e-6)
    assert list(fused.columns) == list(single.columns) == by_value
    # Some of them may have found nothing: these count, too.
    fewer = setting(method, least).apply(one.assign(voters=voters))
    np.testing.assert_allclose(fewer["confidence"], single["confidence"] / voters, atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_rows_and_names_of_detectors_are_no_matter(method):
    table = random_table(8).assign(detector="")
    table["confidence"] = (table["confidence"] * 5).round() / 5  # many are equally confident
    table["detector"] = np.random.default_rng(1).choice(["x", "y", "z"], len(table))
    table = table.drop_duplicates(["image_id", "confidence", "detector"])
    fused = setting(method).apply(sort_predictions(table))
    shuffled = setting(method).apply(sort_predictions(table.sample(frac=1, random_state=3)))
    pd.testing.assert_frame_equal(fused, shuffled)


def test_of_no_predictions_none_remain():
    empty = predicted(("a", 0.5, 0, 0, 9, 9)).iloc[:0]
    for method in METHODS:
        assert setting(method).apply(empty.assign(detector="", voters=1)).columns.tolist() == list(empty.columns)


@pytest.mark.parametrize(
    ("method", "least", "message"),
    [
        ("hard", 0.4, "found the method 'hard'; expected one of none, nms"),
        ("nms", None, "found the IoU None with the method nms"),
        ("none", 0.4, "found the IoU 0.4 with the method none"),
        ("wbf", 1.0, "found the IoU 1.0; expected 0 or more and below 1"),
    ],
)
def test_what_is_no_method_is_refused(method, least, message):
    with pytest.raises(UserError, match=message):
        Suppression(method, least)
