"""Probabilities that mean what they say: Platt scaling, and how well probabilities fit what was there.

A classifier that is trained to the end is too sure of itself, and expects its class as often as it was in training.
What a gate uses is the probability of one class, so that this one is calibrated and no other: its logit is multiplied
by a slope and raised by an intercept (Platt, *Probabilistic outputs for support vector machines*, 1999), found on
images that were not trained on. The order of the images stays as it is, since the slope is positive.

The loss that is minimised is the log-loss itself, not Platt's with smoothed targets. So no temperature of the same
logit (a slope alone) fits these images better, and the probabilities as they came do not, either; one that divides
the logits of three classes or more bends the logit, too, and may now and then. In place of the smoothing the slope has
bounds; with these, and images of both kinds, the intercept is finite, too.

Here N images have C classes, at least two; logits may be any scores whose softmax gives the probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluate.metrics.calibration import brier_score, calibration_error, log_loss
from evaluate.metrics.ranking import auc

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLATTEST, STEEPEST = 0.05, 20.0
"""Bounds of the slope. Where all images are told apart without error, the likelihood rises up to certainty."""


@dataclass(frozen=True)
class Quality:
    """How good the probabilities of a class are on N images.

    Attributes:
        auc: Chance that an image of the class has a higher probability than one of another class.
        accuracy: Share of the images whose most probable class is right, of all classes.
        log_loss: Mean negative logarithm of the probability given to what was there: class or not.
        calibration_error: See `evaluate.metrics.calibration.calibration_error`.
        brier: See `evaluate.metrics.calibration.brier_score`.
    """

    auc: float
    accuracy: float
    log_loss: float
    calibration_error: float
    brier: float


@dataclass(frozen=True)
class Calibration:
    """What makes logits calibrated probabilities: P(class) = 1 / (1 + exp(-(slope * logit + intercept))).

    Attributes:
        slope: From `FLATTEST` to `STEEPEST`; below 1 the classifier was too sure.
        intercept: Above 0 the class was more frequent than the classifier thought.
        prevalence: Share of images with the class that the probabilities suit.
    """

    slope: float = 1.0
    intercept: float = 0.0
    prevalence: float = 0.5

    def apply(self, logits: Floats, positive: int) -> Floats:
        """Give calibrated probabilities (N, C) of logits (N, C); those of the other classes keep their proportions.

        Args:
            logits: (N, C).
            positive: Index of the class that is calibrated.
        """
        score = self.slope * binary_logits(logits, positive) + self.intercept
        others = np.delete(logits, positive, axis=1)
        others = others - np.logaddexp.reduce(others, axis=1, keepdims=True)  # given that it is one of them
        log_shares = np.insert(others + _log_sigmoid(-score)[:, None], positive, _log_sigmoid(score), axis=1)
        return np.exp(log_shares)

    def expecting(self, prevalence: float) -> Calibration:
        """The same for images of which another share has the class, and that look alike otherwise.

        The prior odds are changed, so that the difference of their logarithms is added to the intercept (Saerens et
        al., *Adjusting the outputs of a classifier to new a priori probabilities*, 2002).

        Args:
            prevalence: That share, between 0 and 1; ours must be, too.
        """
        shift = _log_odds(prevalence) - _log_odds(self.prevalence)
        return replace(self, intercept=self.intercept + shift, prevalence=prevalence)


def softmax(logits: Floats) -> Floats:
    """Give the probabilities (N, C) of logits (N, C)."""
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def binary_logits(logits: Floats, positive: int) -> Floats:
    """Give log P(class) - log P(not the class), (N,), of logits (N, C), also where a probability is 0 or 1 as a number.

    Args:
        logits: (N, C).
        positive: Index of the class.
    """
    return logits[:, positive] - np.logaddexp.reduce(np.delete(logits, positive, axis=1), axis=1)


def fit_calibration(logits: Floats, classes: Ints, positive: int) -> Calibration:
    """Find the slope and the intercept of least log-loss of one class's probability.

    The loss is convex in both, so there is one minimum. For every slope the best intercept is that at which the
    probabilities add up to the images with the class; with it, the loss falls towards the best slope from either side.

    Args:
        logits: (N, C), finite; at least one image.
        classes: (N,) index of each image's true class.
        positive: Index of the class that is calibrated.

    Returns:
        Slope and intercept, and the share of these images that has the class. Images of one kind alone say nothing of
        the other: slope 1 and intercept 0, which change nothing. Where the best slope is beyond its bounds, it is the
        nearer bound; where all logits are equal, `FLATTEST`.
    """
    from scipy.optimize import brentq

    scores, is_there = binary_logits(logits, positive), classes == positive
    prevalence = float(is_there.mean())
    with_class, without = scores[is_there], scores[~is_there]
    if not len(with_class) or not len(without):
        return Calibration(prevalence=prevalence)

    def intercept(slope: float) -> float:
        def surplus(level: float) -> float:  # of the probabilities' sum, as a ratio: exact where they are all but 0
            too_high = np.logaddexp.reduce(_log_sigmoid(slope * without + level))
            too_low = np.logaddexp.reduce(_log_sigmoid(-(slope * with_class + level)))
            return float(too_high - too_low)

        room = 1 + np.log(len(scores))
        return float(brentq(surplus, -slope * scores.max() - room, -slope * scores.min() + room, xtol=1e-10))

    def ascent(slope: float) -> float:  # of the loss, but for a positive factor
        level = intercept(slope)
        too_high = _mean(without, _log_sigmoid(slope * without + level))
        return too_high - _mean(with_class, _log_sigmoid(-(slope * with_class + level)))

    if np.ptp(scores) == 0 or ascent(FLATTEST) >= 0:
        slope = FLATTEST
    elif ascent(STEEPEST) <= 0:
        slope = STEEPEST
    else:
        slope = float(brentq(ascent, FLATTEST, STEEPEST, xtol=1e-10))
    return Calibration(slope, intercept(slope), prevalence)


def assess(probabilities: Floats, classes: Ints, positive: int) -> Quality:
    """Compare probabilities with what was there.

    Args:
        probabilities: (N, C), at least one image.
        classes: (N,) index of each image's true class.
        positive: Index of the class that is looked at.
    """
    chance, is_there = probabilities[:, positive], classes == positive
    return Quality(
        auc=auc(chance, is_there),
        accuracy=float((probabilities.argmax(axis=1) == classes).mean()),
        log_loss=log_loss(chance, is_there),
        calibration_error=calibration_error(chance, is_there),
        brier=brier_score(chance, is_there),
    )


def _log_sigmoid(scores: Floats) -> Floats:
    return -np.logaddexp(0, -scores)


def _log_odds(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


def _mean(values: Floats, log_weights: Floats) -> float:
    return float(np.average(values, weights=np.exp(log_weights - log_weights.max())))
