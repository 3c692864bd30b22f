"""Whether a probability means what it says: Brier score, log-loss, calibration error, and the curve to look at.

Here N images have a probability each, and each has the class or has not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BINS = 15
"""Bins of the calibration error, as in Guo et al."""

_NEVER_CERTAIN = 1e-12
"""Probabilities keep this distance from 0 and 1 in the log-loss: one certain error is dear, but not infinitely so."""


@dataclass(frozen=True)
class Bin:
    """Images of about the same probability.

    Attributes:
        images: How many.
        probability: The mean of their probabilities.
        frequency: The share of them that has the class; equal to the probability where that means what it says.
    """

    images: int
    probability: float
    frequency: float


def log_loss(chance: Floats, is_there: Bools) -> float:
    """Give the mean negative logarithm of the probability given to what was there. Arguments as in `brier_score`."""
    safe = np.clip(chance, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return float(-np.log(np.where(is_there, safe, 1 - safe)).mean())


def brier_score(chance: Floats, is_there: Bools) -> float:
    """Give the mean squared difference of probability and outcome (Brier 1950): 0 is best, always saying 0.5 gets 0.25.

    Args:
        chance: (N,) probabilities of the class.
        is_there: (N,) whether the class was there.
    """
    return float(((chance - is_there) ** 2).mean())


def calibration_error(chance: Floats, is_there: Bools, bins: int = BINS) -> float:
    """Give the expected calibration error of one class's probability.

    The images are sorted into bins of equal width, (0, 1/bins] and so on, 0 in the first. In each, the mean
    probability is compared with the share of the images where the class was there; the error is the mean difference,
    weighted by images. Guo et al. (*On Calibration of Modern Neural Networks*, 2017,
    arXiv:1706.04599) compare the confidence in the most probable class with the accuracy; here the probability of one
    class is judged, as that is what is used.

    Args:
        chance: (N,) probabilities of the class, 0 to 1.
        is_there: (N,) whether the class was there.
        bins: How many bins.
    """
    place = _places(chance, bins)
    gap = np.bincount(place, chance, bins) - np.bincount(place, is_there, bins)
    return float(np.abs(gap).sum() / len(chance))


def reliability(chance: Floats, is_there: Bools, bins: int = BINS) -> list[Bin]:
    """Give the reliability curve: the bins of `calibration_error` that hold images. Arguments as there."""
    place = _places(chance, bins)
    images, chances, there = (np.bincount(place, of, bins) for of in (None, chance, is_there))
    return [
        Bin(int(number), float(total / number), float(found / number))
        for number, total, found in zip(images, chances, there, strict=True)
        if number
    ]


def _places(chance: Floats, bins: int) -> Ints:
    return np.clip(np.ceil(chance * bins).astype(np.int64) - 1, 0, bins - 1)
