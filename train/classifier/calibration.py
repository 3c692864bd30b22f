"""Probabilities that mean what they say: temperature scaling, and how well probabilities fit what was there.

A classifier that is trained to the end is too sure of itself. Temperature scaling (Guo et al., *On Calibration of
Modern Neural Networks*, 2017, arXiv:1706.04599) divides its logits by one number, found on images that were not trained
on. The order of the classes in an image stays as it is; that of the images by one class's probability stays with two
classes and hardly changes with three.

Here N images have C classes; logits may be any scores whose softmax gives the probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature. Where all images are told apart without error, the likelihood rises up to certainty."""

BINS = 15
"""Bins of the calibration error, as in the paper."""

_NEVER_CERTAIN = 1e-12
"""Probabilities keep this distance from 0 and 1 in the log-loss: one certain error is dear, but not infinitely so."""


@dataclass(frozen=True)
class Quality:
    """How good the probabilities of a class are on N images.

    Attributes:
        auc: Chance that an image of the class has a higher probability than one of another class.
        accuracy: Share of the images whose most probable class is right, of all classes.
        log_loss: Mean negative logarithm of the probability given to what was there: class or not.
        calibration_error: See `calibration_error`.
        brier: See `brier_score`.
    """

    auc: float
    accuracy: float
    log_loss: float
    calibration_error: float
    brier: float


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Give the probabilities (N, C) of logits (N, C) divided by the temperature."""
    return np.exp(_log_softmax(logits, temperature))


def likelihood_loss(logits: Floats, classes: Ints, temperature: float = 1.0) -> float:
    """Give the mean negative log-likelihood of the true classes.

    Args:
        logits: (N, C).
        classes: (N,) index of each image's true class.
        temperature: Divides the logits.
    """
    return float(-_log_softmax(logits, temperature)[np.arange(len(classes)), classes].mean())


def fit_temperature(logits: Floats, classes: Ints) -> float:
    """Find the temperature of greatest likelihood. Arguments as in `likelihood_loss`; at least one image.

    The loss is convex in 1 / temperature, so there is one minimum.

    Returns:
        The temperature, from `COLDEST` to `HOTTEST`; above 1 the classifier was too sure.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: likelihood_loss(logits, classes, float(np.exp(log))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


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


def auc(chance: Floats, is_there: NDArray[np.bool_]) -> float:
    """Give the area under the ROC curve, from ranks (Mann and Whitney): ties count half; 0.5 with one kind of image.

    Args:
        chance: (N,) probabilities, or any scores.
        is_there: (N,) whether the class was there.
    """
    from scipy.stats import rankdata

    positive = int(is_there.sum())
    negative = len(is_there) - positive
    if not positive or not negative:
        return 0.5
    ranks = rankdata(chance)[is_there].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def log_loss(chance: Floats, is_there: NDArray[np.bool_]) -> float:
    """Give the mean negative logarithm of the probability given to what was there. Arguments as in `brier_score`."""
    safe = np.clip(chance, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return float(-np.log(np.where(is_there, safe, 1 - safe)).mean())


def brier_score(chance: Floats, is_there: NDArray[np.bool_]) -> float:
    """Give the mean squared difference of probability and outcome (Brier 1950): 0 is best, always saying 0.5 gets 0.25.

    Args:
        chance: (N,) probabilities of the class.
        is_there: (N,) whether the class was there.
    """
    return float(((chance - is_there) ** 2).mean())


def calibration_error(chance: Floats, is_there: NDArray[np.bool_], bins: int = BINS) -> float:
    """Give the expected calibration error of one class's probability.

    The images are sorted into bins of equal width, (0, 1/bins] and so on, 0 in the first. In each, the mean
    probability is compared with the share of the images where the class was there; the error is the mean difference,
    weighted by images. The paper compares the confidence in the most probable class with the accuracy; a gate uses the
    probability of one class, so that this one is judged.

    Args:
        chance: (N,) probabilities of the class.
        is_there: (N,) whether the class was there.
        bins: How many bins.
    """
    place = np.clip(np.ceil(chance * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, chance, bins) - np.bincount(place, is_there, bins)
    return float(np.abs(gap).sum() / len(chance))


def _log_softmax(logits: Floats, temperature: float) -> Floats:
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
