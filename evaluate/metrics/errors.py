"""What kind of error a box is: missed, duplicated, poorly placed, split or merged, or where nothing is.

Every prediction that hits no truth box (IoU greater than `matching.HIT_IOU`) has one kind, the first that fits:

- `duplicated`: it would hit a truth box that a more confident prediction has hit already;
- `merged`: it covers at least half of each of several truth boxes, of which at least one is not hit;
- `split`: at least half of it lies in a truth box that is not hit, and so does that of another such prediction;
- `poorly placed`: its IoU with some truth box is at least `TOUCHING`;
- `elsewhere`: none of these, on an image that has an opacity;
- `on a distractor`, `on a normal`: on an image without one, which the readers called abnormal for something else, or
  normal; `on a negative` where the label says neither.

Every truth box that is not hit has one, too: `merged`, `split` or `poorly placed` if a prediction of that kind has it,
else `missed`. An image has all kinds that occur on it. The IoU that tells a poorly placed box from one elsewhere is
that of TIDE (Bolya et al., *TIDE: A General Toolbox for Identifying Object Detection Errors*, 2020, arXiv:2008.08115).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.names import BETWEEN_LABELS, DISTRACTOR, NORMAL
from evaluate.metrics.arrays import BoxArrays, Floats, Ints, to_arrays
from evaluate.metrics.matching import HIT_IOU, IOU_DECIMALS, find_matches, iou

TOUCHING = 0.1
"""From this IoU on a prediction means the truth box."""
_MOSTLY = 0.5

MISSED, DUPLICATED, MISPLACED, SPLIT, MERGED = "missed", "duplicated", "poorly placed", "split", "merged"
ELSEWHERE = "elsewhere"
ON_DISTRACTOR, ON_NORMAL, ON_NEGATIVE = "on a distractor", "on a normal", "on a negative"
KINDS = (MISSED, MISPLACED, SPLIT, MERGED, DUPLICATED, ELSEWHERE, ON_DISTRACTOR, ON_NORMAL, ON_NEGATIVE)
HIT = ""
"""The kind of what is no error."""


@dataclass(frozen=True)
class ErrorKinds:
    """What is wrong with the boxes of some images.

    Attributes:
        predictions: (P,) the kind of each prediction, by the table's index.
        truth: (T,) the kind of each truth box, by the index of the truth table's rows that have one.
        images: By image_id, all kinds that occur, in the order of `KINDS`; an empty text for none.
    """

    predictions: pd.Series
    truth: pd.Series
    images: pd.Series

    def counts(self) -> dict[str, int]:
        """How many boxes are of each kind: truth boxes that are missed, and of the others predictions.

        Of merged, split and poorly placed boxes the predictions are counted, not what they should have hit.
        """
        found = self.predictions.value_counts()
        missed = int((self.truth == MISSED).sum())
        return {kind: missed if kind == MISSED else int(found.get(kind, 0)) for kind in KINDS}


def find_errors(truth: pd.DataFrame, predictions: pd.DataFrame, labels: pd.Series) -> ErrorKinds:
    """Sort errors by kind.

    Args:
        truth: The truth table.
        predictions: The predictions table, of which all count.
        labels: Label of each image by image_id, which tells distractors from normal images.

    Raises:
        UserError: See `evaluate.metrics.rsna.rsna_score`.
    """
    arrays = to_arrays(truth, predictions)
    hit, taken = (found[:, 0] for found in find_matches(arrays, (HIT_IOU,)))
    pairs = _Pairs.of(arrays)
    is_free, is_wrong = ~taken[pairs.truth], ~hit[pairs.prediction]

    duplicated = _any(pairs.prediction, is_wrong & (pairs.overlap > HIT_IOU), len(hit))
    covers = pairs.of_truth >= _MOSTLY
    covered = np.bincount(pairs.prediction[covers], minlength=len(hit))
    merging = (covered > 1) & _any(pairs.prediction, covers & is_free, len(hit))
    lies_in = is_wrong & is_free & (pairs.of_prediction >= _MOSTLY) & ~merging[pairs.prediction]
    is_split = np.bincount(pairs.truth[lies_in], minlength=len(taken)) > 1
    splitting = _any(pairs.prediction, lies_in & is_split[pairs.truth], len(hit))
    touches = is_wrong & (pairs.overlap >= TOUCHING)

    label = labels.reindex(arrays.images).fillna("").to_numpy(dtype=object)
    nowhere = np.where(label == DISTRACTOR, ON_DISTRACTOR, np.where(label == NORMAL, ON_NORMAL, ON_NEGATIVE))
    nowhere = np.where(arrays.truths > 0, ELSEWHERE, nowhere)[arrays.image]
    are = [hit, duplicated, merging, splitting, _any(pairs.prediction, touches, len(hit))]
    kind = np.select(are, [HIT, DUPLICATED, MERGED, SPLIT, MISPLACED], nowhere)
    merged = _any(pairs.truth, covers & merging[pairs.prediction], len(taken))
    touched = _any(pairs.truth, touches & (kind == MISPLACED)[pairs.prediction], len(taken))
    of_truth = np.select([taken, merged, is_split, touched], [HIT, MERGED, SPLIT, MISPLACED], MISSED)

    rows = truth.index[truth["x"].notna()] if len(truth) else truth.index
    image_of_truth = np.repeat(np.arange(len(arrays.images)), arrays.truths)
    # Truth boxes are image after image here, and row by row in the table.
    order = np.argsort(pd.Index(arrays.images).get_indexer(truth.loc[rows, "image_id"]), kind="stable")
    by_row = np.empty(len(rows), dtype=object)
    by_row[order] = of_truth
    by_prediction = np.empty(len(hit), dtype=object)
    by_prediction[arrays.order] = kind
    return ErrorKinds(
        predictions=pd.Series(by_prediction, index=predictions.index, dtype=object),
        truth=pd.Series(by_row, index=rows, dtype=object),
        images=_of_images(
            arrays.images, np.concatenate([arrays.image, image_of_truth]), np.concatenate([kind, of_truth])
        ),
    )


@dataclass(frozen=True)
class _Pairs:
    """A prediction and a truth box of the same image that overlap: places in matching order, IoU, shares of each."""

    prediction: Ints
    truth: Ints
    overlap: Floats
    of_prediction: Floats
    of_truth: Floats

    @classmethod
    def of(cls, arrays: BoxArrays) -> _Pairs:
        number = arrays.truths[arrays.image]
        prediction = np.repeat(np.arange(len(arrays.image)), number)
        first = np.repeat(np.cumsum(number) - number, number)
        truth = np.repeat(arrays.first_truth[arrays.image], number) + np.arange(len(prediction)) - first
        one, other = arrays.boxes[arrays.order[prediction]], arrays.truth_boxes[truth]
        overlap = iou(one, other)
        size, true_size = one[:, 2] * one[:, 3], other[:, 2] * other[:, 3]
        shared = overlap * (size + true_size) / (1 + overlap)
        rounded = [np.round(share, IOU_DECIMALS) for share in (overlap, shared / size, shared / true_size)]
        keep = rounded[0] > 0
        return cls(prediction[keep], truth[keep], *(share[keep] for share in rounded))


def _any(place: Ints, is_so: NDArray[np.bool_], number: int) -> NDArray[np.bool_]:
    return np.bincount(place[is_so], minlength=number) > 0


def _of_images(images: pd.Index, place: Ints, kinds: NDArray[np.str_]) -> pd.Series:
    """All kinds of each image as one text."""
    texts = np.full(len(images), "", dtype=object)
    for kind in KINDS:
        for image in np.unique(place[kinds == kind]):
            texts[image] = f"{texts[image]}{BETWEEN_LABELS if texts[image] else ''}{kind}"
    return pd.Series(texts, index=images, dtype=object)
