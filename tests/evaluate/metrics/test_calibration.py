from __future__ import annotations

import math

import numpy as np
import pytest

from evaluate.metrics.calibration import Bin, brier_score, calibration_error, log_loss, reliability


def test_calibration_error_worked_by_hand():
    # Five bins of 0.2. (0, 0.2]: 0.0, 0.1 and 0.2 with one hit: |0.1 - 1/3| x 3/6. (0.2, 0.4]: 0.3 without: 0.3 x 1/6.
    # (0.8, 1]: 0.9 and 1.0 with both: |0.95 - 1| x 2/6. Together (0.7 + 0.3 + 0.1) / 6.
    chance = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    is_there = np.array([False, True, False, False, True, True])
    assert calibration_error(chance, is_there, bins=5) == pytest.approx(1.1 / 6)
    assert calibration_error(np.array([0.5, 0.5]), np.array([True, False])) == 0


def test_brier_score_and_log_loss_worked_by_hand():
    chance, is_there = np.array([0.8, 0.4]), np.array([True, False])
    assert brier_score(chance, is_there) == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert log_loss(chance, is_there) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert 20 < log_loss(np.array([0.0]), np.array([True])) < 30


def test_reliability_worked_by_hand():
    chance = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    is_there = np.array([False, True, False, False, True, True])
    found = reliability(chance, is_there, bins=5)
    assert [one.images for one in found] == [3, 1, 2]
    assert [one.probability for one in found] == pytest.approx([0.1, 0.3, 0.95])
    assert [one.frequency for one in found] == pytest.approx([1 / 3, 0, 1])
    assert reliability(np.array([0.05]), np.array([True])) == [Bin(1, 0.05, 1.0)]


def test_brier_score_log_loss_and_reliability_are_those_of_scikit_learn():
    metrics, calibration = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.calibration")
    random = np.random.default_rng(2)
    chance = random.uniform(0.001, 0.999, 500)
    is_there = random.random(500) < chance**2
    assert brier_score(chance, is_there) == pytest.approx(metrics.brier_score_loss(is_there, chance), abs=1e-12)
    assert log_loss(chance, is_there) == pytest.approx(metrics.log_loss(is_there, chance), abs=1e-12)
    frequency, probability = calibration.calibration_curve(is_there, chance, n_bins=15)
    found = reliability(chance, is_there)
    np.testing.assert_allclose([one.frequency for one in found], frequency)
    np.testing.assert_allclose([one.probability for one in found], probability)
    error = sum(one.images * abs(one.frequency - one.probability) for one in found) / 500
    assert calibration_error(chance, is_there) == pytest.approx(error)
