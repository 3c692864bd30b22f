"""The RSNA score at every confidence, from one matching.

Raising the confidence threshold removes the last predictions of an image, and matching never looks ahead, so what
remains is matched as before. The score of an image after its first, second, ... prediction is therefore a running
count; each prediction *changes* its image's score by a known amount; and adding up these changes in falling confidence
over all images gives the score at every confidence there is.

The same changes serve whatever leaves the order of the predictions *within* each image as it is: all predictions of
some images taken away, or all confidences of an image multiplied by one factor. That is what gates do, and why tuning
one reads and matches the tables once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from common.errors import UserError
from evaluate.metrics.arrays import Bools, BoxArrays, Floats, Ints, to_arrays
from evaluate.metrics.matching import IOU_THRESHOLDS, find_hits, start_of_run
from evaluate.metrics.sorting import falling_order


@dataclass(frozen=True, eq=False)
class Sweep:
    """What each of P predictions does to the score of I images, in falling confidence; equal ones in matching order.

    Attributes:
        images: (I,) image_id.
        has_truth: (I,) whether the image has truth boxes, and so counts from the beginning.
        image: (P,) the prediction's image, an index into `images`.
        confidence: (P,) falling.
        image_score: (P,) score of its image with this prediction and the more confident ones of the image.
        change: (P,) by how much it changes its image's score, in units of 1 / `unit`.
        begins_to_count: (P,) whether it is the first of an image without truth boxes, which counts from here.
    """

    images: pd.Index
    has_truth: Bools
    image: Ints
    confidence: Floats
    image_score: Floats
    change: Ints
    begins_to_count: Bools

    @classmethod
    def from_tables(
        cls, truth: pd.DataFrame, predictions: pd.DataFrame, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
    ) -> Sweep:
        """Match once. Arguments and errors as in `evaluate.metrics.rsna.rsna_score`."""
        return cls.from_arrays(to_arrays(truth, predictions), iou_thresholds)

    @classmethod
    def from_arrays(cls, arrays: BoxArrays, iou_thresholds: Sequence[float] = IOU_THRESHOLDS) -> Sweep:
        """The same from tables that have been turned into arrays."""
        after = _score_after_each_prediction(arrays, find_hits(arrays, iou_thresholds))
        after_in_units = _in_units(after, _unit_bits(len(arrays.images)))
        opens_image = np.append(True, arrays.image[1:] != arrays.image[:-1])[: len(arrays.image)]
        before = np.where(opens_image, 0, np.roll(after_in_units, 1))
        begins_to_count = opens_image & (arrays.truths[arrays.image] == 0)
        falling = arrays.by_confidence
        return cls(
            images=arrays.images,
            has_truth=arrays.truths > 0,
            image=arrays.image[falling],
            confidence=arrays.confidence[falling],
            image_score=after[falling],
            change=(after_in_units - before)[falling],
            begins_to_count=begins_to_count[falling],
        )

    @property
    def unit(self) -> float:
        """A score of 1 in the units of `change`, 2 ** (62 - bits of I); see `_unit_bits`."""
        return 2.0 ** _unit_bits(len(self.images))

    def table(self) -> pd.DataFrame:
        """Give the score at every confidence threshold that makes a difference.

        Returns:
            Columns confidence and score (float64), one row for each distinct confidence, falling; each row is exactly
            `score` at that confidence. Without predictions there is no row.
        """
        total = np.cumsum(self.change)
        counted = np.count_nonzero(self.has_truth) + np.cumsum(self.begins_to_count)
        # A confidence threshold admits all predictions of that confidence or none: read off where the value ends.
        last = np.append(self.confidence[1:] != self.confidence[:-1], True)[: len(self.confidence)]
        return pd.DataFrame({"confidence": self.confidence[last], "score": self._mean(total[last], counted[last])})

    def best(self) -> tuple[float, float]:
        """Find the confidence threshold of highest score.

        Returns:
            The confidence and the score with `confidence >=` it; of several equally good ones, the highest. Without
            predictions (1.0, 0.0): there is nothing to tune on, and a threshold of 1 lets hardly anything pass.
        """
        table = self.table()
        if table.empty:
            return 1.0, 0.0
        best = int(table["score"].to_numpy().argmax())  # the first of equals, and confidence falls
        return float(table["confidence"].iloc[best]), float(table["score"].iloc[best])

    def score(self, confidence: float) -> float:
        """Give the score of the predictions with at least this confidence; 0 where no image counts.

        Raises:
            UserError: The confidence is no number.
        """
        admitted = self._admitted(confidence)
        counted = int(np.count_nonzero(self.has_truth) + np.count_nonzero(self.begins_to_count[:admitted]))
        return float(self._mean(self.change[:admitted].sum(), counted)) if counted else 0.0

    def image_scores(self, confidence: float) -> pd.Series:
        """Give the score of each image, of the predictions with at least this confidence.

        Returns:
            float64 by image_id, in the order of `images`; NaN for an image that does not count.

        Raises:
            UserError: The confidence is no number.
        """
        admitted = self._admitted(confidence)
        scores = np.where(self.has_truth, 0.0, np.nan)
        scores[self.image[:admitted]] = self.image_score[:admitted]  # the last of an image's stays
        return pd.Series(scores, index=self.images, name="score")

    def only_on(self, images: Bools) -> Sweep:
        """Take away all predictions on some images; these images are still scored.

        Args:
            images: (I,) whether an image keeps its predictions.
        """
        kept = images[self.image]
        return replace(
            self,
            image=self.image[kept],
            confidence=self.confidence[kept],
            image_score=self.image_score[kept],
            change=self.change[kept],
            begins_to_count=self.begins_to_count[kept],
        )

    def weighted(self, factors: Floats) -> Sweep:
        """Multiply all confidences of an image by one factor.

        Predictions of an image that become equally confident by it (all of them, with a factor of 0) stay in the order
        that they had.

        Args:
            factors: (I,) 0 or more; looked at for images with predictions only.

        Raises:
            ValueError: A factor is negative or no number.
        """
        factor = factors[self.image]
        if not (factor >= 0).all():
            raise ValueError("factors on confidences must be 0 or more")
        confidence = self.confidence * factor
        order = falling_order(confidence)  # stable, so an image's predictions keep their order
        return replace(
            self,
            image=self.image[order],
            confidence=confidence[order],
            image_score=self.image_score[order],
            change=self.change[order],
            begins_to_count=self.begins_to_count[order],
        )

    def _admitted(self, confidence: float) -> int:
        if np.isnan(confidence):
            raise UserError("confidence: found NaN; expected a number")
        return int(np.count_nonzero(self.confidence >= confidence))

    def _mean(self, total: Ints, counted: Ints | int) -> Floats:
        return total / self.unit / counted


def thin_sweep(sweep: pd.DataFrame, most: int = 1_000) -> pd.DataFrame:
    """At most so many rows of a confidence sweep, evenly spread, with the first, the last and the best one."""
    if len(sweep) <= most:
        return sweep
    rows = np.linspace(0, len(sweep) - 1, most - 1).round().astype(int)
    return sweep.iloc[np.union1d(rows, [int(sweep["score"].to_numpy().argmax())])].reset_index(drop=True)


def _score_after_each_prediction(arrays: BoxArrays, hits: Bools) -> Floats:
    """Give (P,) the score of the prediction's image when this prediction and those before it are all there are."""
    rows = np.flatnonzero(arrays.truths[arrays.image])  # elsewhere the score is 0
    first = start_of_run(arrays.image[rows])
    # TP + FP is the number of predictions so far; FN that of truth boxes, less TP. So TP + FP + FN is this, less TP:
    boxes = np.arange(len(rows)) - first + 1 + arrays.truths[arrays.image[rows]]
    total = np.zeros(len(rows))
    for hit in hits[rows].T:
        running = np.cumsum(hit)
        true_positives = running - (running - hit)[first]
        total += true_positives / (boxes - true_positives)
    scores = np.zeros(len(arrays.image))
    scores[rows] = total / hits.shape[1]
    return scores


def _unit_bits(images: int) -> int:
    """Give the number of bits after the binary point with which the scores of so many images add up within 63 bits.

    Scores are added as integers, so that adding and taking back 200,000 changes loses nothing and no order of rows
    changes the result. With 26,684 images the unit is 2 ** -47: the mean is right to 4e-15.
    """
    return 62 - int(images).bit_length()


def _in_units(scores: Floats, bits: int) -> Ints:
    return np.rint(scores * 2.0**bits).astype(np.int64)
