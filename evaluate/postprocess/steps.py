"""The steps of post-processing but for suppression, as frozen values: most boxes, box scale, gate, confidence.

Each is a pure function of a predictions table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from common.data.names import COORDINATES
from common.data.tables import COORDINATE_DECIMALS
from common.errors import UserError
from evaluate.metrics.arrays import Floats, Ints
from evaluate.metrics.matching import start_of_run
from evaluate.postprocess.boxes import drop_below, drop_unlikely_images, weigh

GateMode = Literal["none", "weigh", "keep", "bayes"]
GATE_MODES: tuple[GateMode, ...] = get_args(GateMode)
SMALLEST_SIDE = 10.0**-COORDINATE_DECIMALS
"""Pixels that are left of a side at least: a box that lies beside its picture is a false one, but does not vanish."""


class Sides(NamedTuple):
    """Factors on a box's width and height; above 0, and 1 leaves the side."""

    scale_x: float
    scale_y: float


UNCHANGED = Sides(1.0, 1.0)


@dataclass(frozen=True)
class MostBoxes:
    """The most confident boxes of each image.

    Attributes:
        boxes: How many of an image stay at most, 1 or more; None: all.
    """

    boxes: int | None = None

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Give those that stay; rows sorted as for `Suppression`."""
        if self.boxes is None or predictions.empty:
            return predictions
        return predictions[_ranks(predictions)[1] < self.boxes].reset_index(drop=True)


@dataclass(frozen=True)
class Rescoring:
    """Confidence anew, from a box's own and what else there is in its image.

    A box is the more probably right, the more confident the image's most confident box is and the more of the image its
    boxes cover (contextual rescoring: Felzenszwalb et al., IEEE TPAMI 2010;32:1627-1645). The new confidence is
    1 / (1 + exp(-z)), with z = intercept + own * logit(confidence) + highest * logit(highest confidence of the image) +
    area * log(square root of the expected area of the image's boxes, as a share of the picture). It estimates the share
    of the metric's IoU thresholds at which the box hits. The order of an image's boxes stays.

    Attributes:
        intercept: As above. The values of `Rescoring()` leave confidences as they are.
        own: Above 0.
        highest: As above.
        area: As above.
    """

    intercept: float = 0.0
    own: float = 1.0
    highest: float = 0.0
    area: float = 0.0

    def apply(self, predictions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
        """Give the same boxes with their new confidences, not rounded; rows sorted as for `MostBoxes`.

        Raises:
            UserError: As for `BoxScale`.
        """
        if self == Rescoring() or predictions.empty:
            return predictions
        size = Pictures.of(predictions["image_id"], manifest).size
        image = pd.factorize(predictions["image_id"])[0]
        boxes = predictions[COORDINATES].to_numpy(float)
        about = context(image, predictions["confidence"].to_numpy(float), boxes, size)
        return predictions.assign(confidence=self.confidence(about))

    def confidence(self, about: Floats) -> Floats:
        """Give (P,) new confidences of P boxes; their (P, 3) `context`."""
        return 1 / (1 + np.exp(-(self.intercept + about @ np.array([self.own, self.highest, self.area]))))


LEAST_LOGIT_OF, LEAST_AREA = 0.01, 1e-4
"""Confidences are taken for this at least and for 1 less this at most: nearer to 0 or 1, logits tell of how a detector
rounds rather than of what it has seen. Shares of the picture are taken for this at least."""


def context(image: Ints, confidence: Floats, boxes: Floats, size: Floats) -> Floats:
    """What `Rescoring` looks at.

    Args:
        image: (P,) number of the image.
        confidence: (P,)
        boxes: (P, 4): x, y, width, height in pixels.
        size: (P, 2), the picture's.

    Returns:
        (P, 3): logit of the box's confidence, that of the image's highest, log of the square root of the sum of all its
        boxes' shares of the picture, each times its confidence.
    """
    limited = np.clip(confidence, LEAST_LOGIT_OF, 1 - LEAST_LOGIT_OF)
    own = np.log(limited / (1 - limited))
    highest = np.full(int(image.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(highest, image, own)
    area = np.bincount(image, confidence * boxes[:, 2:].prod(axis=1) / size.prod(axis=1))
    return np.column_stack([own, highest[image], 0.5 * np.log(np.maximum(area[image], LEAST_AREA))])


@dataclass(frozen=True)
class BoxScale:
    """Boxes resized about their centres by side and view, then clipped to their picture.

    Attributes:
        ap: Factors on the boxes of images whose view is AP.
        pa: Of those whose view is PA.
        other: Of all other images, also those whose view is not known.
    """

    ap: Sides = UNCHANGED
    pa: Sides = UNCHANGED
    other: Sides = UNCHANGED

    @classmethod
    def common(cls, sides: Sides) -> BoxScale:
        """The same factors for every view."""
        return cls(sides, sides, sides)

    def apply(self, predictions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
        """Give as many boxes, rounded to 0.01 pixel; none has a side below `SMALLEST_SIDE`.

        Raises:
            UserError: An image with predictions is not in the manifest, or its width or height is not known there.
        """
        if predictions.empty:
            return predictions
        pictures = Pictures.of(predictions["image_id"], manifest)
        factors = np.array([getattr(self, view) for view in VIEWS])[pictures.view]
        resized = predictions.copy()
        resized[COORDINATES] = resized_boxes(predictions[COORDINATES].to_numpy(float), factors, pictures.size)
        return resized


VIEWS = tuple(one.name for one in fields(BoxScale))
"""The views that have factors of their own, in lower case, and last the one that stands for the others."""


@dataclass(frozen=True)
class GateRule:
    """What a classifier of whole images does to predictions.

    Attributes:
        mode: `weigh` multiplies confidences by P(opacity). `keep` and `bayes` keep the boxes of images whose P exceeds
            the threshold; with `keep` it was tuned, with `bayes` it follows from the score (see
            `evaluate.postprocess.fitting`). `none` leaves everything.
        threshold: Of `keep` and `bayes`.
    """

    mode: GateMode = "none"
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no rule.

        Raises:
            UserError: The mode is none, or the threshold does not go with it.
        """
        if self.mode not in GATE_MODES:
            raise UserError(f"gate: found the mode {self.mode!r}; expected one of {', '.join(GATE_MODES)}")
        if (self.mode in ("keep", "bayes")) != (self.threshold is not None):
            raise UserError(
                f"gate: found the threshold {self.threshold} with mode {self.mode}; only keep and bayes have one"
            )

    def apply(self, predictions: pd.DataFrame, probabilities: pd.Series) -> pd.DataFrame:
        """Give the predictions that are left, with the confidences they then have."""
        if self.mode == "weigh":
            return weigh(predictions, probabilities)
        if self.threshold is not None:
            return drop_unlikely_images(predictions, probabilities, self.threshold)
        return predictions


@dataclass(frozen=True)
class Confidence:
    """The least confidence.

    Attributes:
        least: Predictions below are left out.
    """

    least: float = 0.0

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Give those of at least this confidence."""
        return drop_below(predictions, self.least)


@dataclass(frozen=True)
class FittedOn:
    """What a pipeline was fitted on.

    Attributes:
        images: How many images.
        score: The RSNA score that it reaches on them. It flatters: report one of other patients.
        split: The split's name; empty if it was none.
        weights: SHA-256 of the weights of all detectors and classifiers, sorted; empty for predictions handed in.
        data_fingerprint: The data set's, as in `common.data.fingerprint`; empty if unknown.
    """

    images: int = 0
    score: float = 0.0
    split: str = ""
    weights: tuple[str, ...] = ()
    data_fingerprint: str = ""


@dataclass(frozen=True)
class Pictures:
    """What the manifest says of the picture of each of N rows.

    Attributes:
        view: (N,) int, an index into `VIEWS`.
        size: (N, 2) float64, width and height in pixels of the original image.
    """

    view: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, image_ids: pd.Series, manifest: pd.DataFrame) -> Pictures:
        """Look images up.

        Raises:
            UserError: One is not in the manifest, has no size there, or is there twice.
        """
        missing = [column for column in ("image_id", "view", "width", "height") if column not in manifest]
        if missing:
            raise UserError(f"manifest: no column {', '.join(missing)}; expected image_id, view, width and height")
        known = pd.Index(manifest["image_id"])
        if known.has_duplicates:
            raise UserError(
                f"manifest: image {known[known.duplicated()][0]} is there more than once; expected every image once"
            )
        row = known.get_indexer(pd.Index(image_ids))
        if (row < 0).any():
            raise UserError(
                f"manifest: image {image_ids.iloc[int((row < 0).argmax())]} is not among its {len(known):,} images; "
                "expected all images. Take the manifest of the data set that was predicted on."
            )
        size = manifest[["width", "height"]].to_numpy(float)[row]
        bad = ~(np.isfinite(size) & (size > 0)).all(axis=1)
        if bad.any():
            at = int(bad.argmax())
            raise UserError(
                f"manifest: image {image_ids.iloc[at]}: width and height are {size[at, 0]:g} and {size[at, 1]:g}; "
                "expected pixels above 0, to which its boxes are clipped. Convert the data set again."
            )
        own = {view: index for index, view in enumerate(VIEWS[:-1])}
        text = manifest["view"].astype(object).where(manifest["view"].notna(), "").astype(str)
        view = text.str.strip().str.lower().map(own).fillna(len(own)).to_numpy(int)
        return cls(view[row], size)


def resized_boxes(boxes: np.ndarray, factors: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Resize about the centre, round as predictions are, and clip.

    Args:
        boxes: (N, 4): x, y, width, height in pixels.
        factors: On width and height; (2,) or (N, 2).
        size: (N, 2), the picture's.

    Returns:
        (N, 4) float64.
    """
    start = np.round(boxes[:, :2] + boxes[:, 2:] * (1 - factors) / 2, COORDINATE_DECIMALS)
    end = np.minimum(start + np.round(boxes[:, 2:] * factors, COORDINATE_DECIMALS), size)
    start = np.round(np.clip(start, 0, size - SMALLEST_SIDE), COORDINATE_DECIMALS)
    return np.hstack([start, np.maximum(np.round(end - start, COORDINATE_DECIMALS), SMALLEST_SIDE)])


def _ranks(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give for each of (P,) sorted rows the row of its image's first box, and the place among its image's boxes."""
    first = start_of_run(pd.factorize(predictions["image_id"])[0])
    return first, np.arange(len(first)) - first
