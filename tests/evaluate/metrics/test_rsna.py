"""The RSNA metric against two slow ones written from the definition alone.

One is of these tests: loops and fractions, exact, no NumPy. The other, `score_image`, is the module's own.
"""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from evaluate.metrics import rsna as metric
from evaluate.metrics.rsna import (
    IOU_THRESHOLDS,
    best_confidence,
    confidence_sweep,
    image_scores,
    iou,
    match,
    rsna_score,
    score_image,
)
from tests.evaluate.metrics.reference import (
    BOX,
    EXACT_THRESHOLDS,
    HAND_MADE,
    SQUARE,
    brute_force_hits,
    brute_force_image,
    brute_force_score,
    fraction_iou,
    random_images,
    tables,
)


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_image_equals_brute_force(name):
    image = HAND_MADE[name]
    expected = brute_force_image(*image)
    found = image_scores(*tables([image])).iloc[0]
    if expected is None:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(float(expected), abs=1e-15)


@pytest.mark.parametrize("k", range(8, 16))
def test_an_iou_on_the_threshold_is_no_hit(k):
    """k pixels of a 20-pixel box: IoU k/20 exceeds the thresholds below it, and not the one it equals."""
    on, above = (tables([HAND_MADE[f"{name} {k}/20"]]) for name in ("exactly", "just above"))
    assert rsna_score(*on) == (k - 8) / 8
    assert rsna_score(*above) == (k - 8 + 1) / 8


def test_example_worked_by_hand():
    """Truth A and B; predictions A, B two pixels off (IoU 80/120), and one elsewhere: see the module's docstring."""
    truth, predictions = tables(
        [([SQUARE, (20, 0, 10, 10)], [(0.9, SQUARE), (0.8, (22, 0, 10, 10)), (0.7, (90, 90, 10, 10))])]
    )
    assert rsna_score(truth, predictions) == pytest.approx((6 * 2 / 3 + 2 / 4) / 8, abs=1e-15)
    sweep = confidence_sweep(truth, predictions)
    assert sweep["confidence"].tolist() == [0.9, 0.8, 0.7]
    assert sweep["score"].tolist() == pytest.approx([1 / 2, (6 + 2 / 3) / 8, (6 * 2 / 3 + 2 / 4) / 8], abs=1e-15)
    assert best_confidence(truth, predictions) == (0.8, pytest.approx((6 + 2 / 3) / 8, abs=1e-15))
    hits = match(truth, predictions)
    assert hits[0.65].tolist() == [True, True, False]
    assert hits[0.70].tolist() == [True, False, False]
    assert hits.sum().tolist() == [2] * 6 + [1] * 2


def test_ten_thousand_images_equal_brute_force():
    images = [*HAND_MADE.values(), *random_images(9_000, seed=1), *random_images(1_000, seed=2, grid=300)]
    truth, predictions = tables(images)
    found = image_scores(truth, predictions)
    expected = [brute_force_image(*image) for image in images]

    assert found.index.tolist() == [f"img{number}" for number in range(len(images))]
    assert found.isna().tolist() == [score is None for score in expected]
    exact = np.array([math.nan if score is None else float(score) for score in expected])
    np.testing.assert_allclose(found.to_numpy(), exact, rtol=0, atol=1e-12)
    counted = exact[~np.isnan(exact)]
    assert rsna_score(truth, predictions) == pytest.approx(math.fsum(counted) / len(counted), abs=1e-12)

    # The images are worth nothing if they lack the cases that tell right from nearly right.
    on_threshold = sum(
        fraction_iou(box, other) in EXACT_THRESHOLDS for boxes, found in images for box in boxes for _, other in found
    )
    assert on_threshold > 500
    assert sum(not boxes and not found for boxes, found in images) > 100
    assert len(set(expected)) > 300


def plain_loops(boxes, found, thresholds=IOU_THRESHOLDS):
    return score_image(
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array([box for _, box in found], dtype=float).reshape(-1, 4),
        [confidence for confidence, _ in found],
        thresholds,
    )


@pytest.mark.parametrize("name", HAND_MADE)
def test_plain_loops_equal_brute_force(name):
    expected = brute_force_image(*HAND_MADE[name])
    found = plain_loops(*HAND_MADE[name])
    assert math.isnan(found) if expected is None else found == pytest.approx(float(expected), abs=1e-15)


def test_plain_loops_and_all_images_at_once_are_equal_to_the_last_bit():
    images = [*HAND_MADE.values(), *random_images(1_000, seed=12), *random_images(300, seed=13, grid=300)]
    exact = [brute_force_image(*image) for image in images]
    found = np.array([plain_loops(*image) for image in images])
    np.testing.assert_array_equal(np.isnan(found), [score is None for score in exact])
    np.testing.assert_allclose(found, [math.nan if s is None else float(s) for s in exact], rtol=0, atol=1e-12)
    truth, predictions = tables(images)
    np.testing.assert_array_equal(image_scores(truth, predictions).to_numpy(), found)

    # In another order, so that confidences do not fall and equal ones come in other places.
    shuffled = predictions.sample(frac=1, random_state=14)
    rows = {name: table[["confidence", *BOX]].to_numpy() for name, table in shuffled.groupby("image_id")}
    again = [
        plain_loops(boxes, [(row[0], row[1:]) for row in rows.get(f"img{number}", [])])
        for number, (boxes, _) in enumerate(images)
    ]
    assert again != found.tolist()
    np.testing.assert_array_equal(image_scores(truth, shuffled).to_numpy(), again)


def test_plain_loops_round_as_the_fast_way_does():
    """Decimal coordinates and thresholds with binary noise: IoU on paper is k/20, which is no hit at k/20."""
    noisy = np.arange(0.4, 0.8, 0.05).tolist()
    for k in range(8, 16):
        for shift in range(40):
            whole, part = (shift / 10, 0.7, 2.0, 0.3), (shift / 10, 0.7, k / 10, 0.3)
            assert plain_loops([whole], [(0.5, part)], noisy) == (k - 8) / 8


@pytest.mark.parametrize("seed", [3, 4])
def test_match_equals_brute_force_prediction_by_prediction(seed):
    images = random_images(300, seed)
    truth, predictions = tables(images)
    shuffled = predictions.sample(frac=1, random_state=seed)
    # Equal confidences are matched in the table's order, so the reference gets the shuffled order.
    rows = dict(list(shuffled.groupby("image_id")))
    hits = match(truth, shuffled)
    assert hits.index.equals(shuffled.index)
    for number, (boxes, _) in enumerate(images):
        if f"img{number}" not in rows:
            continue
        mine = rows[f"img{number}"]
        found = [tuple(map(int, box)) for box in mine[BOX].to_numpy()]
        overlaps = [[fraction_iou(box, other) for other in boxes] for box in found]
        for threshold, exact in zip(IOU_THRESHOLDS, EXACT_THRESHOLDS, strict=True):
            assert hits.loc[mine.index, threshold].tolist() == brute_force_hits(
                overlaps, list(mine["confidence"]), exact
            )


@pytest.mark.parametrize("confidences", [10, 10**9], ids=["many ties", "hardly any"])
def test_sweep_is_the_score_at_every_confidence(confidences):
    images = random_images(200, seed=5, confidences=confidences)
    truth, predictions = tables(images)
    sweep = confidence_sweep(truth, predictions)
    assert sweep["confidence"].tolist() == sorted(set(predictions["confidence"]), reverse=True)
    for confidence, score in sweep.itertuples(index=False):
        assert score == rsna_score(truth, predictions, confidence)
    for confidence, score in sweep.iloc[:: max(1, len(sweep) // 12)].itertuples(index=False):
        assert score == pytest.approx(brute_force_score(images, confidence), abs=1e-12)

    best = sweep.loc[sweep["score"].idxmax()]
    assert best_confidence(truth, predictions) == (best["confidence"], best["score"])


def test_other_iou_thresholds_equal_brute_force():
    images = random_images(400, seed=6)
    for thresholds in ([Fraction(1, 2)], [Fraction(0), Fraction(1, 3)], [Fraction(k, 10) for k in range(1, 10)]):
        found = rsna_score(*tables(images), iou_thresholds=[float(threshold) for threshold in thresholds])
        assert found == pytest.approx(brute_force_score(images, thresholds=thresholds), abs=1e-12)


def test_thresholds_with_binary_noise_are_the_thresholds_meant():
    noisy = np.arange(0.4, 0.8, 0.05)
    assert noisy.tolist() != list(IOU_THRESHOLDS)
    truth, predictions = tables([HAND_MADE[f"exactly {k}/20"] for k in range(8, 16)])
    assert rsna_score(truth, predictions, iou_thresholds=noisy.tolist()) == rsna_score(truth, predictions)


def test_decimal_coordinates_on_a_threshold_are_no_hit():
    """In tenths of pixels the IoU is k/20 on paper, while plain float64 puts some of them above."""
    images, raw_excess = [], 0
    for k in range(8, 16):
        for shift in range(40):
            box, part = np.array([shift / 10, 0.7, 2.0, 0.3]), np.array([shift / 10, 0.7, k / 10, 0.3])
            raw_excess += int(iou(box, part) > k / 20)
            images.append(([tuple(box)], [(0.5, tuple(part))]))
    assert raw_excess > 0
    expected = [(k - 8) / 8 for k in range(8, 16) for _ in range(40)]
    assert image_scores(*tables(images)).tolist() == expected


def test_training_set_size_adds_up_without_error():
    random = np.random.default_rng(7)
    count = 26_684
    truth = pd.DataFrame(np.nan, index=range(count), columns=BOX)
    positive = random.choice(count, 6_012, replace=False)
    truth.loc[positive, BOX] = [300.0, 300.0, 200.0, 300.0]
    truth.insert(0, "image_id", [f"img{number}" for number in range(count)])
    image = random.integers(0, count, 200_000)
    predictions = pd.DataFrame(random.normal([300, 300, 200, 300], 30, (len(image), 4)).clip(1), columns=BOX)
    predictions.insert(0, "image_id", truth["image_id"].to_numpy()[image])
    predictions.insert(1, "confidence", random.random(len(image)))
    sweep = confidence_sweep(truth, predictions)
    assert len(sweep) > 190_000
    for row in (10, 1_000, 20_000, 100_000, len(sweep) - 1):
        confidence, score = sweep.iloc[row]
        scores = image_scores(truth, predictions, confidence).dropna()
        assert score == pytest.approx(math.fsum(scores) / len(scores), abs=1e-14)


# Nothing there.


@pytest.mark.parametrize("empty", [pd.DataFrame(), tables([])[1]], ids=["no columns", "no rows"])
def test_no_predictions(empty):
    truth, _ = tables([HAND_MADE["truth, no prediction"], HAND_MADE["nothing at all"]])
    assert rsna_score(truth, empty) == 0.0
    scores = image_scores(truth, empty)
    assert scores["img0"] == 0.0
    assert math.isnan(scores["img1"])
    sweep = confidence_sweep(truth, empty)
    assert sweep.columns.tolist() == ["confidence", "score"]
    assert sweep.dtypes.tolist() == [np.float64, np.float64]
    assert sweep.empty
    assert best_confidence(truth, empty) == (1.0, 0.0)
    assert match(truth, empty).shape == (0, 8)


def test_no_image_counts():
    truth, predictions = tables([HAND_MADE["nothing at all"]] * 3)
    assert rsna_score(truth, predictions) == 0.0
    assert image_scores(truth, predictions).isna().all()
    assert rsna_score(pd.DataFrame(), pd.DataFrame()) == 0.0
    assert image_scores(pd.DataFrame(), pd.DataFrame()).empty


def test_a_confidence_above_all_predictions_leaves_none():
    truth, predictions = tables([HAND_MADE["found"], HAND_MADE["no truth, one prediction"]])
    assert rsna_score(truth, predictions, confidence=0.91) == 0.0
    assert rsna_score(truth, predictions, confidence=0.9) == 1.0
    assert rsna_score(truth, predictions, confidence=0.5) == 0.5


def test_without_a_confidence_all_predictions_count_also_logits(small):
    truth, predictions = small
    logits = predictions.assign(confidence=predictions["confidence"] - 5)
    assert (logits["confidence"] < 0).all()
    expected = rsna_score(truth, predictions)
    assert rsna_score(truth, logits) == confidence_sweep(truth, logits)["score"].iloc[-1] == expected > 0
    pd.testing.assert_series_equal(image_scores(truth, logits), image_scores(truth, predictions), rtol=0, atol=0)


def test_of_equally_good_confidences_the_highest_is_best():
    truth, predictions = tables(
        [([SQUARE, (50, 50, 9, 9)], [(0.9, SQUARE), (0.6, (80, 0, 5, 5)), (0.5, (50, 50, 9, 9))])]
    )
    assert confidence_sweep(truth, predictions)["score"].tolist() == pytest.approx([1 / 2, 1 / 3, 2 / 3])
    truth, predictions = tables([HAND_MADE["found"], ([SQUARE], [(0.5, (90, 90, 2, 2))])])
    assert confidence_sweep(truth, predictions)["score"].tolist() == [0.5, 0.5]
    assert best_confidence(truth, predictions) == (0.9, 0.5)


def test_the_tables_are_left_alone():
    truth, predictions = tables(random_images(50, seed=8))
    before = truth.copy(), predictions.copy()
    confidence_sweep(truth, predictions)
    pd.testing.assert_frame_equal(truth, before[0])
    pd.testing.assert_frame_equal(predictions, before[1])


# Properties.


whole = st.integers(0, 19)
boxes = st.tuples(whole, whole, st.integers(1, 20), st.integers(1, 20))
found_boxes = st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8, 0.9]), boxes)
image_lists = st.lists(
    st.tuples(st.lists(boxes, max_size=3), st.lists(found_boxes, max_size=5)), min_size=1, max_size=6
)


@given(images=image_lists, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_the_order_of_images_does_not_matter(images, seed):
    truth, predictions = tables(images)
    ids = np.random.default_rng(seed).permutation(truth["image_id"].unique())
    mixed_truth = pd.concat([truth[truth["image_id"] == image_id] for image_id in ids])
    mixed = pd.concat([predictions[predictions["image_id"] == image_id] for image_id in reversed(ids)])
    assert rsna_score(mixed_truth, mixed) == rsna_score(truth, predictions)
    pd.testing.assert_frame_equal(confidence_sweep(mixed_truth, mixed), confidence_sweep(truth, predictions), rtol=0)


@given(images=image_lists, extra=boxes, which=st.integers(0, 5))
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_a_less_confident_box_changes_no_earlier_match(images, extra, which):
    truth, predictions = tables(images)
    more = [(boxes, [*found, (0.05, extra)] if k == which else found) for k, (boxes, found) in enumerate(images)]
    _, longer = tables(more)
    after = match(truth, longer)[(longer["confidence"] > 0.05).to_numpy()]
    np.testing.assert_array_equal(after.to_numpy(), match(truth, predictions).to_numpy())


@given(images=image_lists, across=st.floats(1e-3, 1e3), down=st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_scaling_an_axis_changes_nothing(images, across, down):
    truth, predictions = tables(images)
    scale = np.array([across, down, across, down])
    scaled_truth, scaled = truth.copy(), predictions.copy()
    scaled_truth[BOX] = truth[BOX] * scale
    scaled[BOX] = predictions[BOX].astype(float) * scale
    pd.testing.assert_series_equal(image_scores(scaled_truth, scaled), image_scores(truth, predictions), rtol=0)


# Wrong input.


@pytest.fixture
def small():
    return tables([HAND_MADE["found"], ([], [])])


@pytest.mark.parametrize("thresholds", [(), (0.5, 1.5), (-0.1,), (math.nan,)])
def test_bad_iou_thresholds_are_refused(small, thresholds):
    with pytest.raises(UserError, match="iou_thresholds"):
        rsna_score(*small, iou_thresholds=thresholds)


def test_a_confidence_that_is_no_number_is_refused(small):
    with pytest.raises(UserError, match="confidence: found NaN"):
        rsna_score(*small, confidence=math.nan)


def test_the_examples_in_the_documentation():
    result = doctest.testmod(metric)
    assert result.attempted >= 4
    assert result.failed == 0
