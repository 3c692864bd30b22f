"""Figures with their intervals, of images and of boxes, as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from evaluate.metrics.calibration import Bin


class Interval(NamedTuple):
    """Lower and upper end of a 95 % interval; a pair, as in the file."""

    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """A number, and how sure it is.

    Attributes:
        value: The number; None where it cannot be told, as with images of one kind alone.
        interval_95: Its interval, patients resampled; None where it rests on too few, or has none.
        patients: Patients whom it rests on; where two kinds of images are told apart, those of the rarer kind.
    """

    value: float | None
    interval_95: Interval | None
    patients: int


@dataclass(frozen=True)
class ImageLevel:
    """What is said of images: whether there is an opacity, by the confidence of the strongest box, 0 without any.

    Attributes:
        true_positives: Images with a truth box and a prediction at the confidence, wherever that is.
        false_negatives: Those with a truth box and none.
        false_positives: Those without a truth box and with a prediction.
        true_negatives: Those with neither.
        figures: At the confidence `sensitivity`, `specificity`, `positive_predictive_value` and
            `negative_predictive_value`; the figures of `evaluate.metrics.ranking.IMAGE_FIGURES`; `brier` and
            `calibration_error` of the confidence taken for a probability.
        reliability: How frequent opacities are by that confidence, in bins; empty where one is no probability.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    figures: Mapping[str, Figure]
    reliability: tuple[Bin, ...]


@dataclass(frozen=True)
class BoxLevel:
    """What is said of boxes.

    Attributes:
        froc: By false boxes per image (as text), the share of truth boxes that are hit (IoU greater than 0.5); `mean`
            is the mean of these.
        errors: How many boxes at the confidence are of each kind of `evaluate.metrics.errors.KINDS`.
    """

    froc: Mapping[str, Figure]
    errors: Mapping[str, int]
