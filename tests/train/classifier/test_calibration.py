from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from train.classifier import calibration


def case(images: int = 300, classes: int = 3, sure: float = 3.0, seed: int = 0):
    """Logits `sure` times as sharp as those that the classes are drawn from."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (images, classes))
    chance = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    drawn = np.array([random.choice(classes, p=row) for row in chance])
    return sure * honest, drawn


@pytest.mark.parametrize(("classes", "sure"), [(2, 0.4), (3, 1.0), (3, 4.0)])
def test_temperature_is_that_of_a_fine_grid(classes, sure):
    logits, truth = case(classes=classes, sure=sure, seed=classes)

    def loss(temperature):  # written out, image by image
        total = 0.0
        for row, label in zip(logits, truth, strict=True):
            powers = [math.exp(value / temperature) for value in row]
            total -= math.log(powers[label] / sum(powers))
        return total / len(truth)

    coarse = min(np.geomspace(0.05, 20, 60), key=loss)
    fine = min(np.linspace(coarse * 0.9, coarse * 1.1, 201), key=loss)
    found = calibration.fit_temperature(logits, truth)
    assert found == pytest.approx(fine, rel=2e-3)
    assert loss(found) <= loss(fine) + 1e-12
    assert calibration.likelihood_loss(logits, truth, found) == pytest.approx(loss(found), rel=1e-12)


def test_temperature_undoes_overconfidence():
    logits, truth = case(images=20_000, sure=4.0)
    found = calibration.fit_temperature(logits, truth)
    assert found == pytest.approx(4.0, rel=0.05)
    before = calibration.assess(calibration.softmax(logits), truth, 0)
    after = calibration.assess(calibration.softmax(logits, found), truth, 0)
    assert after.calibration_error < 0.02 < before.calibration_error
    assert after.log_loss < before.log_loss
    assert after.brier < before.brier
    assert after.accuracy == before.accuracy


def test_temperature_stays_within_its_bounds():
    logits = np.array([[5.0, -5.0], [-5.0, 5.0]])
    assert calibration.COLDEST <= calibration.fit_temperature(logits / 10, np.array([0, 1])) < 0.06
    assert calibration.COLDEST <= calibration.fit_temperature(logits, np.array([0, 1])) < 1  # as good as certain
    assert calibration.fit_temperature(logits, np.array([1, 0])) == pytest.approx(calibration.HOTTEST, rel=1e-3)


def test_softmax_of_known_values_and_huge_logits():
    shares = calibration.softmax(np.log([[1.0, 2.0, 7.0]]))
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.7]], rtol=1e-12)
    np.testing.assert_allclose(calibration.softmax(np.log([[1.0, 4.0]]), 2.0), [[1 / 3, 2 / 3]], rtol=1e-12)
    np.testing.assert_allclose(calibration.softmax(np.array([[1e4, -1e4]])), [[1.0, 0.0]])


def test_calibration_error_worked_by_hand():
    # Five bins of 0.2. (0, 0.2]: 0.0, 0.1 and 0.2 with one hit: |0.1 - 1/3| x 3/6. (0.2, 0.4]: 0.3 without: 0.3 x 1/6.
    # (0.8, 1]: 0.9 and 1.0 with both: |0.95 - 1| x 2/6. Together (0.7 + 0.3 + 0.1) / 6.
    chance = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    is_there = np.array([False, True, False, False, True, True])
    assert calibration.calibration_error(chance, is_there, bins=5) == pytest.approx(1.1 / 6)
    assert calibration.calibration_error(np.array([0.5, 0.5]), np.array([True, False])) == 0


def test_brier_score_and_log_loss_worked_by_hand():
    chance, is_there = np.array([0.8, 0.4]), np.array([True, False])
    assert calibration.brier_score(chance, is_there) == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert calibration.log_loss(chance, is_there) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert 20 < calibration.log_loss(np.array([0.0]), np.array([True])) < 30


def test_auc_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(1)
    chance, is_there = random.integers(0, 8, 60) / 8, random.random(60) < 0.3
    pairs = list(itertools.product(chance[is_there], chance[~is_there]))
    expected = sum((high > low) + 0.5 * (high == low) for high, low in pairs) / len(pairs)
    assert calibration.auc(chance, is_there) == pytest.approx(expected, rel=1e-12)
    assert calibration.auc(chance, np.ones(60, bool)) == 0.5


def test_assessment_looks_at_the_class_that_is_named():
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    found = calibration.assess(shares, np.array([0, 1, 1]), positive=1)
    assert (found.auc, found.accuracy) == (1.0, pytest.approx(2 / 3))
    assert found.brier == pytest.approx((0.2**2 + 0.7**2 + 0.5**2) / 3)
