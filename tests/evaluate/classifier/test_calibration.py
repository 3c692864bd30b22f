from __future__ import annotations

import math

import numpy as np
import pytest

from evaluate.classifier import calibration
from evaluate.metrics.calibration import calibration_error, log_loss


def case(images: int = 300, classes: int = 3, sure: float = 3.0, seed: int = 0):
    """Logits `sure` times as sharp as those that the classes are drawn from."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (images, classes))
    chance = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    drawn = np.array([random.choice(classes, p=row) for row in chance])
    return sure * honest, drawn


def loss_of(slope, intercept, scores, is_there):
    """Mean log-loss, written out."""
    signs = np.where(is_there, 1, -1)
    return float(np.logaddexp(0, -signs * (slope * scores + intercept)).mean())


def two_negatives(images: int = 4000, seed: int = 5):
    """Three classes, far too sure between the two that are not looked at, and nearly honest about class 0."""
    random = np.random.default_rng(seed)
    score = random.normal(-1, 1.5, images)
    there = random.random(images) < 1 / (1 + np.exp(-score))
    between = random.normal(0, 2, images)
    second = random.random(images) < 1 / (1 + np.exp(-between))
    # The sum of the others' powers is 1, so that the logit of class 0 is 1.5 times the honest one.
    others = np.column_stack([-np.logaddexp(0, -4 * between), -np.logaddexp(0, 4 * between)])
    return np.column_stack([1.5 * score, others]), np.where(there, 0, np.where(second, 1, 2))


@pytest.mark.parametrize(("classes", "sure"), [(2, 0.4), (3, 1.0), (3, 4.0)])
@pytest.mark.parametrize("positive", [0, 1])
def test_slope_and_intercept_are_those_of_logistic_regression(classes, sure, positive):
    linear_model = pytest.importorskip("sklearn.linear_model")
    logits, truth = case(classes=classes, sure=sure, seed=classes)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = np.log(shares[:, positive] / (1 - shares[:, positive]))
    model = linear_model.LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    model.fit(scores[:, None], truth == positive)
    found = calibration.fit_calibration(logits, truth, positive)
    assert found.slope == pytest.approx(model.coef_[0, 0], abs=1e-5)
    assert found.intercept == pytest.approx(model.intercept_[0], abs=1e-5)
    assert found.prevalence == (truth == positive).mean()
    expected = model.predict_proba(scores[:, None])[:, 1]
    np.testing.assert_allclose(found.apply(logits, positive)[:, positive], expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_no_point_of_a_grid_fits_better(seed):
    random = np.random.default_rng(seed)
    images = int(random.integers(2, 30))
    logits, truth = case(images=images, sure=float(random.choice([0.01, 0.3, 2, 40])), seed=seed)
    truth[:2] = 0, 1
    others = np.log(np.exp(logits[:, 1]) + np.exp(logits[:, 2]))
    scores, is_there = logits[:, 0] - others, truth == 0
    found = calibration.fit_calibration(logits, truth, 0)
    assert 0.05 <= found.slope <= 20
    assert math.isfinite(found.intercept)
    best = loss_of(found.slope, found.intercept, scores, is_there)
    for slope in [1.0, *np.geomspace(0.05, 20, 20)]:
        for share in np.linspace(0, 1, 15):
            intercept = -slope * np.quantile(scores, share)
            assert best <= loss_of(slope, intercept, scores, is_there) + 1e-12
        assert best <= loss_of(slope, 0, scores, is_there) + 1e-12
    again = calibration.fit_calibration(logits, truth, 0)
    assert (again.slope, again.intercept) == (found.slope, found.intercept)  # to the last bit


def test_the_other_classes_do_not_decide_about_this_one():
    optimize = pytest.importorskip("scipy.optimize")
    logits, truth = two_negatives()
    is_there = truth == 0

    def shares(temperature):
        scaled = logits / temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def likelihood(temperature):
        return -np.log(shares(temperature)[np.arange(len(truth)), truth]).mean()

    temperature = optimize.minimize_scalar(likelihood, bounds=(0.05, 20), method="bounded").x
    assert 2 < temperature < 4  # more than the 1.5 of this class, for the sake of the two others
    by_temperature = log_loss(shares(temperature)[:, 0], is_there)
    found = calibration.fit_calibration(logits, truth, 0)
    ours = log_loss(found.apply(logits, 0)[:, 0], is_there)
    assert ours < by_temperature - 0.01
    assert ours < log_loss(shares(1)[:, 0], is_there)
    assert found.slope == pytest.approx(1 / 1.5, rel=0.1)
    assert found.intercept == pytest.approx(0, abs=0.15)


def test_calibration_undoes_overconfidence():
    logits, truth = case(images=20_000, sure=4.0)
    found = calibration.fit_calibration(logits, truth, 0)
    before = calibration.assess(calibration.softmax(logits), truth, 0)
    after = calibration.assess(found.apply(logits, 0), truth, 0)
    assert found.slope < 0.4
    assert after.calibration_error < 0.02 < before.calibration_error
    assert after.log_loss < before.log_loss
    assert after.brier < before.brier
    assert after.auc == before.auc  # in the same order


def test_the_intercept_repairs_another_prevalence():
    """Honest logits of two classes, of which the images with the first are seen half as often as they are there."""
    logits, truth = case(images=40_000, classes=2, sure=1.0, seed=3)
    random = np.random.default_rng(4)
    kept = (truth == 1) | (random.random(len(truth)) < 0.5)
    found = calibration.fit_calibration(logits[kept], truth[kept], 0)
    assert found.slope == pytest.approx(1, abs=0.05)
    assert found.intercept == pytest.approx(math.log(0.5), abs=0.05)
    # Told how many there are, it knows what holds for all of them.
    told = found.expecting(float((truth == 0).mean()))
    assert told.intercept == pytest.approx(0, abs=0.05)
    assert told.slope == found.slope
    chance = told.apply(logits, 0)[:, 0]
    assert chance.mean() == pytest.approx((truth == 0).mean(), abs=0.01)
    assert calibration_error(chance, truth == 0) < 0.015


def test_another_prevalence_worked_by_hand():
    # With 1 of 5 expected a chance of 0.2 is the prior itself; with 1 of 2 it is 0.5. Odds of 3 (0.75) become 12.
    was = calibration.Calibration(1.0, 0.0, 0.2)
    logits = np.log([[0.2, 0.8], [0.75, 0.25]])
    np.testing.assert_allclose(was.expecting(0.5).apply(logits, 0)[:, 0], [0.5, 12 / 13])
    again = was.expecting(0.5).expecting(0.2)
    assert (again.intercept, again.prevalence) == (pytest.approx(0, abs=1e-12), 0.2)


def test_slope_and_intercept_stay_finite():
    flattest, steepest = calibration.FLATTEST, calibration.STEEPEST
    logits = np.array([[5.0, -5.0], [-5.0, 5.0], [6.0, -6.0]])

    def fitted(factor, truth):
        found = calibration.fit_calibration(logits * factor, np.array(truth), 0)
        assert np.isfinite(found.apply(logits * factor, 0)).all()
        return found.slope, found.intercept

    for factor in (0.001, 0.1, 1, 1000):  # told apart without error, also where the loss is 0 as a number
        slope, intercept = fitted(factor, [0, 1, 0])
        assert slope == steepest
        assert abs(intercept) < slope * 10 * factor + 1
    assert fitted(1, [1, 0, 1])[0] == flattest  # always wrong
    # Told apart at another place than 0.5. One image on either side: the middle between their logits, 10 and 12.
    found = calibration.fit_calibration(logits[[0, 2]], np.array([1, 0]), 0)
    assert (found.slope, found.intercept) == (steepest, pytest.approx(-steepest * 11))


def test_images_of_one_kind_change_nothing():
    logits, _ = case(images=5)
    for truth, share in ((0, 1.0), (2, 0.0)):
        found = calibration.fit_calibration(logits, np.full(5, truth), 0)
        assert (found.slope, found.intercept, found.prevalence) == (1, 0, share)
        np.testing.assert_allclose(found.apply(logits, 0), calibration.softmax(logits), rtol=1e-12)


def test_equal_logits_get_the_prevalence():
    found = calibration.fit_calibration(np.full((10, 3), 0.1), np.array([0] * 3 + [1] * 7), 0)
    assert found.slope == calibration.FLATTEST
    np.testing.assert_allclose(found.apply(np.full((1, 3), 0.1), 0), [[0.3, 0.35, 0.35]])


def test_the_other_classes_share_what_is_left():
    shares = np.array([[0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    found = calibration.Calibration(2.0, -1.0).apply(np.log(shares) + 7, 1)
    odds = (shares[:, 1] / (1 - shares[:, 1])) ** 2 / math.e
    np.testing.assert_allclose(found[:, 1], odds / (1 + odds))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[:, 0] / found[:, 2], [5, 1 / 3])


def test_logits_of_probabilities_that_are_0_or_1_as_numbers():
    found = calibration.binary_logits(np.array([[1000.0, 0.0, 0.0], [0.0, 0.0, 900.0]]), 0)
    np.testing.assert_allclose(found, [1000 - math.log(2), -900])
    chance = calibration.Calibration(0.05, 0.0).apply(np.array([[0.0, 0.0, 900.0]]), 0)[0, 0]
    assert chance == pytest.approx(math.exp(-45), rel=1e-9)


def test_softmax_of_known_values_and_huge_logits():
    shares = calibration.softmax(np.log([[1.0, 2.0, 7.0]]))
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.7]], rtol=1e-12)
    np.testing.assert_allclose(calibration.softmax(np.array([[1e4, -1e4]])), [[1.0, 0.0]])


def test_assessment_looks_at_the_class_that_is_named():
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    found = calibration.assess(shares, np.array([0, 1, 1]), positive=1)
    assert (found.auc, found.accuracy) == (1.0, pytest.approx(2 / 3))
    assert found.brier == pytest.approx((0.2**2 + 0.7**2 + 0.5**2) / 3)
