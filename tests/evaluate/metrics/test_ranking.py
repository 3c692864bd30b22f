from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from evaluate.metrics import ranking
from evaluate.metrics.ranking import FALSE_BOXES, FIXED, IMAGE_FIGURES, Ranking, image_figures
from tests.evaluate.metrics.reference import BOX, brute_force_hits, fraction_iou

metrics = pytest.importorskip("sklearn.metrics")


def images(seed: int, number: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences with many ties, some of them 0; whether positive; and weights like those of a bootstrap."""
    random = np.random.default_rng(seed)
    positive = random.random(number) < 0.3
    confidence = np.clip(random.normal(0.3 + 0.25 * positive, 0.3), 0, 1).round(2)
    return confidence, positive, random.poisson(1, number).astype(float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_weighted", [False, True])
def test_areas_and_operating_points_are_those_of_scikit_learn(seed, is_weighted):
    confidence, positive, weights = images(seed)
    used = weights if is_weighted else np.ones(len(weights))
    found = dict(zip(IMAGE_FIGURES, image_figures(Ranking.of_images(confidence, positive), used), strict=True))
    false, sensitivity, _ = metrics.roc_curve(positive, confidence, sample_weight=used, drop_intermediate=False)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(positive, confidence, sample_weight=used), abs=1e-12)
    expected = metrics.average_precision_score(positive, confidence, sample_weight=used)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
    for fixed in FIXED:
        best = sensitivity[false <= 1 - fixed + 1e-9].max()
        assert found[f"sensitivity_at_specificity_{fixed:g}"] == pytest.approx(best, abs=1e-12)
        best = 1 - false[sensitivity >= fixed - 1e-9].min()
        assert found[f"specificity_at_sensitivity_{fixed:g}"] == pytest.approx(best, abs=1e-12)


def test_the_curves_are_those_of_scikit_learn():
    confidence, positive, _ = images(7)
    ranked = Ranking.of_images(confidence, positive)
    false, sensitivity, thresholds = metrics.roc_curve(positive, confidence, drop_intermediate=False)
    ours = ranked.curve()
    np.testing.assert_allclose(ours, [sensitivity, false], atol=1e-12)
    np.testing.assert_array_equal(ranked.thresholds, thresholds[1:])
    precision, recall, rising = metrics.precision_recall_curve(positive, confidence)
    np.testing.assert_allclose(ranking.precision_recall(ranked), [precision[-2::-1], recall[-2::-1]], atol=1e-12)
    np.testing.assert_array_equal(ranked.thresholds, rising[::-1])


def test_a_weight_of_two_is_an_image_that_is_there_twice():
    confidence, positive, weights = images(3)
    times = weights.astype(int)
    repeated = Ranking.of_images(np.repeat(confidence, times), np.repeat(positive, times))
    weighted = image_figures(Ranking.of_images(confidence, positive), weights)
    np.testing.assert_allclose(weighted, image_figures(repeated), atol=1e-12)


def test_operating_points_worked_by_hand():
    # Falling: 0.9 positive, 0.8 negative, 0.7 positive, 0.6 negative, 0.6 positive, 0.0 negative twice, positive.
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0, 0, 0])
    positive = np.array([1, 0, 1, 0, 1, 0, 0, 1], dtype=bool)
    curve = Ranking.of_images(confidence, positive).curve()
    assert ranking.sensitivity_at(*curve, 0.2) == 1 / 4
    assert ranking.sensitivity_at(*curve, 0.25) == 2 / 4
    assert ranking.sensitivity_at(*curve, 0.5) == 3 / 4
    assert ranking.specificity_at(*curve, 0.5) == 3 / 4
    assert ranking.specificity_at(*curve, 0.75) == 2 / 4
    assert ranking.specificity_at(*curve, 0.76) == 0


def test_auc_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(1)
    chance, is_there = random.integers(0, 8, 60) / 8, random.random(60) < 0.3
    pairs = list(itertools.product(chance[is_there], chance[~is_there]))
    expected = sum((high > low) + 0.5 * (high == low) for high, low in pairs) / len(pairs)
    assert ranking.auc(chance, is_there) == pytest.approx(expected, rel=1e-12)
    assert ranking.auc(chance, np.ones(60, bool)) == 0.5


@pytest.mark.parametrize("kind", [True, False])
def test_with_one_kind_of_image_there_is_nothing_to_tell_apart(kind):
    ranked = Ranking.of_images(np.array([0.2, 0.4]), np.array([kind, kind]))
    found = dict(zip(IMAGE_FIGURES, image_figures(ranked), strict=True))
    assert np.isnan([value for name, value in found.items() if name != "average_precision"]).all()
    assert ranking.auc(np.array([0.2, 0.4]), np.array([kind, kind])) == 0.5


def boxes(rows: list[tuple[str, float | None, int | None]]) -> pd.DataFrame:
    """(image, confidence, x of a 10 x 10 box)."""
    table = pd.DataFrame(rows, columns=["image_id", "confidence", "x"])
    size = table["x"].notna().map({True: 10.0, False: np.nan})
    return table.assign(x=table["x"].astype(float), y=size * 0, width=size, height=size)


def test_froc_worked_by_hand():
    # Ten images; a has two true boxes, b and c one each.
    names = "abcdefghij"
    truth = boxes(
        [("a", None, 0), ("a", None, 50), ("b", None, 0), ("c", None, 0), *((n, None, None) for n in names[3:])]
    )
    predictions = boxes(
        [
            ("a", 0.9, 1),
            ("d", 0.8, 0),
            ("b", 0.7, 0),
            ("a", 0.7, 2),
            ("a", 0.6, 50),
            ("e", 0.5, 0),
            ("c", 0.4, 30),
            ("c", 0.3, 0),
        ]
    )
    ranked = Ranking.of_boxes(truth, predictions.sample(frac=1, random_state=0))
    sensitivity, false = ranked.curve()
    assert ranked.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    # The second box on a's first opacity, at 0.7, is a false one: it is taken already.
    assert sensitivity.tolist() == [0, 1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4, 3 / 4, 1]
    np.testing.assert_allclose(false, [0, 0, 0.1, 0.2, 0.2, 0.3, 0.4, 0.4])
    assert FALSE_BOXES == (0.05, 0.1, 0.2, 0.5, 1.0)
    assert ranking.froc_figures(ranked).tolist() == [0.25, 0.25, 0.75, 1, 1, pytest.approx(0.65)]


def count_hits(truth: pd.DataFrame, predictions: pd.DataFrame) -> int:
    """Hits on one image, from the definition."""
    true = truth[BOX].dropna().astype(int).values.tolist()
    overlaps = [[fraction_iou(box, other) for other in true] for box in predictions[BOX].astype(int).values.tolist()]
    return sum(brute_force_hits(overlaps, predictions["confidence"].tolist(), 0.5))


def test_froc_equals_counting_at_every_threshold():
    random = np.random.default_rng(5)
    names = [f"i{number}" for number in range(30)]
    truth = boxes([(name, None, int(x)) for name in names[:20] for x in random.choice(5, 2, replace=False) * 14])
    truth = pd.concat([truth, boxes([(name, None, None) for name in names[20:]])], ignore_index=True)
    many = [
        (str(random.choice(names)), float(random.integers(1, 30) / 30), int(random.integers(0, 70))) for _ in range(150)
    ]
    predictions = boxes(many)
    ranked = Ranking.of_boxes(truth, predictions, most=100)
    sensitivity, false = ranked.curve()
    for place, threshold in enumerate(ranked.thresholds, 1):
        kept = predictions[predictions["confidence"] >= threshold]
        hits = sum(count_hits(truth[truth["image_id"] == name], kept[kept["image_id"] == name]) for name in names)
        assert sensitivity[place] == pytest.approx(hits / 40)
        assert false[place] == pytest.approx((len(kept) - hits) / 30)


def test_boxes_that_nobody_asks_for_are_left_out_and_change_nothing():
    truth = boxes([("a", None, 0), ("b", None, None)])
    predictions = boxes([("b", 0.9 - number / 1000, 20 * number) for number in range(500)] + [("a", 0.95, 0)])
    ranked = Ranking.of_boxes(truth, predictions)
    assert len(ranked.image) == 10
    assert (
        ranking.froc_figures(ranked).tolist()
        == ranking.froc_figures(Ranking.of_boxes(truth, predictions, 1000)).tolist()
    )


def test_without_predictions_or_truth():
    truth, nothing = boxes([("a", None, 0), ("b", None, None)]), boxes([]).iloc[:0]
    assert ranking.froc_figures(Ranking.of_boxes(truth, nothing)).tolist() == [0] * 6
    alone = Ranking.of_boxes(boxes([("a", None, None)]), boxes([("a", 0.5, 0)]))
    assert np.isnan(ranking.froc_figures(alone)).all()
