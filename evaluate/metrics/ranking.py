"""How well confidences tell images with an opacity from others (ROC), and boxes on one from others (FROC).

An image's confidence is that of its strongest box, 0 without any. *Sensitivity* is the share of the images with a truth
box that are called positive at a threshold, *specificity* the share of the others that are not. FROC is of boxes: its
sensitivity is the share of truth boxes that are hit (IoU greater than `matching.HIT_IOU`), against the false boxes per
image, all images counted (Bunch et al., *A free-response approach to the measurement and characterization of
radiographic-observer performance*, 1978).

The false boxes per image at which FROC is read are `FALSE_BOXES`. Those of LUNA16's nodules in CT, 1/8 to 8, do not
suit a radiograph, which has one or two opacities and whose reader would not look at eight false boxes.

Everything can be had with images weighted, as a bootstrap does: an image of weight 2 counts as if it were there twice.
Thresholds are the confidences that occur, and equal ones fall together. Nothing is interpolated but the area under the
ROC curve, where ties count half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluate.metrics.arrays import Bools, Floats, Ints, to_arrays
from evaluate.metrics.matching import HIT_IOU, find_hits

FIXED = (0.8, 0.9, 0.95)
"""Specificities at which sensitivity is told, and the reverse."""

FALSE_BOXES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""False boxes per image at which FROC's sensitivity is told."""

_ROUNDING = 1e-12
_MOST_NEEDED = 4
"""Boxes beyond so many times the highest of the false boxes per image are out of reach of any resample."""


@dataclass(frozen=True)
class Ranking:
    """What is called positive as the threshold falls: images, or boxes.

    Attributes:
        image: (K,) place of the image of each item (the image itself, or a box on it), in falling confidence.
        is_right: (K,) whether calling it positive is right.
        starts: (G,) where each run of equal confidence begins.
        thresholds: (G,) these confidences, falling.
        wanted: (I,) by image, how many there are to be found: 1 or 0, or its truth boxes.
        others: (I,) by image, what false ones are a share of: 1 for one without an opacity, or 1 for every image.
    """

    image: Ints
    is_right: Bools
    starts: Ints
    thresholds: Floats
    wanted: Floats
    others: Floats

    @classmethod
    def of_images(cls, confidence: Floats, is_positive: Bools) -> Ranking:
        """Rank images.

        Args:
            confidence: (I,) of the strongest box, or any score.
            is_positive: (I,) whether there is an opacity.
        """
        order = np.argsort(-confidence, kind="stable")
        positive = is_positive.astype(np.float64)
        return cls(order, is_positive[order], *_runs(confidence[order]), positive, 1 - positive)

    @classmethod
    def of_boxes(cls, truth: pd.DataFrame, predictions: pd.DataFrame, most: float = FALSE_BOXES[-1]) -> Ranking:
        """Rank predicted boxes; those after so many false ones that nobody asks for them are left out.

        Args:
            truth: The truth table; its images are in the order in which it first names them.
            predictions: The predictions table, at all confidences.
            most: The most false boxes per image that will be asked for.

        Raises:
            UserError: See `evaluate.metrics.rsna.rsna_score`.
        """
        arrays = to_arrays(truth, predictions)
        hits = find_hits(arrays, (HIT_IOU,))[:, 0]
        order = np.argsort(-arrays.confidence, kind="stable")
        false = np.cumsum(~hits[order])
        order = order[false <= _MOST_NEEDED * most * len(arrays.images) + 1]
        runs = _runs(arrays.confidence[order])
        images = len(arrays.images)
        return cls(arrays.image[order], hits[order], *runs, arrays.truths.astype(np.float64), np.ones(images))

    def curve(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Give (G + 1,) shares: of what there is to be found, and of the others; both begin at 0, with nothing called.

        Args:
            weights: (I,) by image; each counts once unless they are given.

        Returns:
            For images sensitivity and 1 - specificity, for boxes sensitivity and false boxes per image; NaN where
            there is nothing to be found, or there are no others.
        """
        if weights is None:
            weights = np.ones(len(self.wanted))
        of_items = weights[self.image]
        right = _sums(np.where(self.is_right, of_items, 0.0), self.starts)
        false = _sums(np.where(self.is_right, 0.0, of_items), self.starts)
        wanted, others = float(weights @ self.wanted), float(weights @ self.others)
        return right / (wanted or np.nan), false / (others or np.nan)


def auc(chance: Floats, is_there: Bools) -> float:
    """Give the area under the ROC curve, from ranks (Mann and Whitney): ties count half; 0.5 with one kind of image.

    Args:
        chance: (N,) probabilities, or any scores.
        is_there: (N,) whether the class was there.
    """
    area = area_under(*Ranking.of_images(chance, is_there).curve())
    return 0.5 if np.isnan(area) else area


def area_under(sensitivity: Floats, false: Floats) -> float:
    """Give the area under a ROC curve as `Ranking.curve` gives it; NaN with one kind of image."""
    return float(np.trapezoid(sensitivity, false))


def sensitivity_at(sensitivity: Floats, false: Floats, most: float) -> float:
    """Give the highest sensitivity with at most so many false ones: 1 - specificity, or false boxes per image."""
    if np.isnan(sensitivity[-1]) or np.isnan(false[-1]):
        return np.nan
    return float(sensitivity[np.searchsorted(false, most + _ROUNDING, side="right") - 1])


def specificity_at(sensitivity: Floats, false: Floats, least: float) -> float:
    """Give the highest specificity with at least this sensitivity; NaN with one kind of image."""
    if np.isnan(sensitivity[-1]) or np.isnan(false[-1]):
        return np.nan
    return float(1 - false[np.searchsorted(sensitivity, least - _ROUNDING, side="left")])


def average_precision(
    ranking: Ranking, weights: Floats | None = None, curve: tuple[Floats, Floats] | None = None
) -> float:
    """Give the mean of the precision over the recall of images, as steps: the area under the precision-recall curve.

    Args:
        ranking: Of images.
        weights: As in `Ranking.curve`.
        curve: What `ranking.curve(weights)` gives, where it is at hand.
    """
    precision, recall = precision_recall(ranking, weights, curve)
    return float(np.nansum(np.diff(recall, prepend=0.0) * precision)) if not np.isnan(recall).all() else np.nan


def precision_recall(
    ranking: Ranking, weights: Floats | None = None, curve: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """Give (G,) the share of the images called positive that are, and the share of the positive ones that are called.

    Args:
        ranking: Of images.
        weights: As in `Ranking.curve`.
        curve: What `ranking.curve(weights)` gives, where it is at hand.
    """
    weights = np.ones(len(ranking.wanted)) if weights is None else weights
    sensitivity, false = curve or ranking.curve(weights)
    right, wrong = sensitivity[1:] * (weights @ ranking.wanted), np.nan_to_num(false[1:]) * (weights @ ranking.others)
    called = right + wrong
    return np.divide(right, called, out=np.full_like(right, np.nan), where=called > 0), sensitivity[1:]


IMAGE_FIGURES = (
    "auc",
    "average_precision",
    *(f"sensitivity_at_specificity_{fixed:g}" for fixed in FIXED),
    *(f"specificity_at_sensitivity_{fixed:g}" for fixed in FIXED),
)
"""What `image_figures` gives, in its order."""


def image_figures(ranking: Ranking, weights: Floats | None = None) -> Floats:
    """Give all figures that need no threshold, of images; NaN with one kind of image.

    Args:
        ranking: Of images.
        weights: As in `Ranking.curve`.

    Returns:
        In the order of `IMAGE_FIGURES`.
    """
    curve = ranking.curve(weights)
    return np.array(
        [
            area_under(*curve),
            average_precision(ranking, weights, curve),
            *(sensitivity_at(*curve, 1 - fixed) for fixed in FIXED),
            *(specificity_at(*curve, fixed) for fixed in FIXED),
        ]
    )


def froc_figures(ranking: Ranking, weights: Floats | None = None, rates: Sequence[float] = FALSE_BOXES) -> Floats:
    """Give FROC's sensitivity at each rate of false boxes per image, and last the mean of these; NaN without truth.

    Args:
        ranking: Of boxes.
        weights: As in `Ranking.curve`.
        rates: False boxes per image.
    """
    curve = ranking.curve(weights)
    found = [sensitivity_at(*curve, rate) for rate in rates]
    return np.array([*found, np.mean(found)])


def _runs(falling: Floats) -> tuple[Ints, Floats]:
    """Where each run of equal numbers begins, and the numbers."""
    starts = np.flatnonzero(np.diff(falling, prepend=np.inf) != 0)
    return starts, falling[starts]


def _sums(values: Floats, starts: Ints) -> Floats:
    """Running sums at the end of each run, with 0 before the first."""
    ends = np.append(starts[1:], len(values))
    return np.concatenate([[0.0], np.cumsum(values)[ends - 1] if len(values) else []])
