"""One box where several overlap: suppression within a voter, and fusion over voters.

A *voter* is a detector, run in one way. Every method deals with overlaps among a voter's own boxes first, then makes
one of the boxes of several voters, so a voter with two boxes on one opacity has one vote all the same. What is left has
the mean of the confidences that the voters gave, over all that have looked at the image: of each in a cluster its
highest, and 0 of those that found nothing there. So a confidence means the same for any number of voters, and what is
fused of several equal voters is what one of them gives.

Boxes of all images are worked on together, cluster after cluster: each step takes the first box of every image that
is in no cluster yet, and what overlaps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from common.data.names import COORDINATES
from common.data.tables import DETECTOR, PREDICTION_COLUMNS, VOTERS, make_predictions
from common.errors import UserError
from evaluate.metrics.arrays import Bools, Floats, Ints
from evaluate.metrics.matching import IOU_DECIMALS, iou, start_of_run

Method = Literal["none", "nms", "soft-nms", "wbf", "votes"]
METHODS: tuple[Method, ...] = get_args(Method)
SUPPRESSION_IOU = 0.4
"""True boxes of one image hardly touch. The challenge's best entries fused theirs at this IoU."""

_EQUAL = 1 - 10.0**-IOU_DECIMALS
_LEAST_WEIGHT = 1e-12
"""So that boxes of no confidence have a mean, too."""


@dataclass(frozen=True)
class Suppression:
    """What becomes of boxes that overlap.

    Attributes:
        method: `none`: a voter's boxes all stay. `nms`: the most confident of a cluster stays. `soft-nms`: a voter's
            boxes all stay, but lose confidence by their overlap with more confident ones (linear; Bodla et al. 2017).
            `votes`: the mean of the most confident one and those that overlap it, weighted by confidence. `wbf`: the
            same, but a box joins the cluster whose mean it overlaps most (weighted boxes fusion; Solovyev et al. 2021);
            a voter's own boxes go as for `nms`.
        iou: Boxes overlap if their IoU is greater; None for `none`, where boxes of several voters are one if equal.
    """

    method: Method = "nms"
    iou: float | None = SUPPRESSION_IOU

    def __post_init__(self) -> None:
        """Refuse what is no method.

        Raises:
            UserError: It is none, or the IoU does not go with it.
        """
        if self.method not in METHODS:
            raise UserError(f"suppression: found the method {self.method!r}; expected one of {', '.join(METHODS)}")
        if (self.method == "none") != (self.iou is None):
            raise UserError(
                f"suppression: found the IoU {self.iou} with the method {self.method}; expected one with all but none"
            )
        if self.iou is not None and not 0 <= self.iou < 1:
            raise UserError(f"suppression: found the IoU {self.iou}; expected 0 or more and below 1")

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Take the step.

        Args:
            predictions: (P) rows sorted by `sort_predictions`: of equally confident boxes the first goes first.

        Returns:
            A predictions table of the same order, without the columns on voters. What was fused is rounded as
            predictions are.

        Raises:
            UserError: The numbers of voters cannot be.
        """
        if predictions.empty:
            return predictions[PREDICTION_COLUMNS]
        votes = _Votes.of(predictions)
        several = bool((votes.voters > 1).any())
        if not several and self.iou is None:
            return predictions[PREDICTION_COLUMNS].reset_index(drop=True)
        least = _EQUAL if self.iou is None else self.iou
        if self.method == "soft-nms":
            votes = votes.softened(least)
        elif self.method == "votes":
            votes = votes.means_of_own(least)
        elif self.method != "none":
            votes = votes.take(_leaders(votes.owner, votes.boxes, least) == np.arange(len(votes.boxes)))
            if not several:
                return predictions.iloc[votes.row][PREDICTION_COLUMNS].sort_index().reset_index(drop=True)
        votes = votes.sorted(votes.image)
        if self.method == "wbf":
            cluster = _nearest_means(votes.image, votes.boxes, votes.confidence, least)
        elif self.method in ("none", "soft-nms"):  # a voter's own boxes stay apart
            cluster = _leaders(votes.image, votes.boxes, least, votes.voter)
        else:
            cluster = _leaders(votes.image, votes.boxes, least)
        boxes = votes.means(cluster) if self.method in ("votes", "wbf") else votes.boxes
        first = np.flatnonzero(cluster == np.arange(len(cluster)))
        values = np.column_stack([votes.mean_confidence(cluster)[first], boxes[first]])
        return make_predictions(predictions["image_id"].to_numpy(object)[votes.row[first]].tolist(), values)


def count_voters(predictions: pd.DataFrame) -> Ints:
    """Give for each of (P,) predictions how many voters have looked at its image; see `common.data.tables`.

    Raises:
        UserError: One is no whole number above 0.
    """
    if VOTERS not in predictions:
        every = int(predictions[DETECTOR].nunique()) if DETECTOR in predictions else 1
        return np.full(len(predictions), every)
    voters = pd.to_numeric(predictions[VOTERS], errors="coerce").to_numpy(float, na_value=np.nan)
    wrong = ~((voters >= 1) & (voters == np.floor(voters)))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"predictions: row {predictions.index[row]} (image {predictions['image_id'].iloc[row]}): voters is "
            f"{predictions[VOTERS].iloc[row]}; expected a whole number, 1 or more"
        )
    return voters.astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Votes:
    """N boxes with those who gave them.

    Attributes:
        row: (N,) row of the table that it comes from.
        image: (N,) number of its image.
        voter: (N,) number of its voter.
        voters: (N,) how many have looked at the image.
        confidence: (N,)
        boxes: (N, 4)
    """

    row: Ints
    image: Ints
    voter: Ints
    voters: Ints
    confidence: Floats
    boxes: Floats

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> _Votes:
        """Take them from a sorted table, and give them voter by voter."""
        rows = len(predictions)
        voter = pd.factorize(predictions[DETECTOR])[0] if DETECTOR in predictions else np.zeros(rows, np.int64)
        votes = cls(
            row=np.arange(rows),
            image=pd.factorize(predictions["image_id"])[0],
            voter=voter,
            voters=count_voters(predictions),
            confidence=predictions["confidence"].to_numpy(float),
            boxes=predictions[COORDINATES].to_numpy(float),
        )
        return votes.sorted(votes.owner)

    @property
    def owner(self) -> Ints:
        """(N,) a number for its image and voter."""
        return self.image * (int(self.voter.max(initial=0)) + 1) + self.voter

    def take(self, which: Ints | Bools) -> _Votes:
        """Give these of them."""
        return _Votes(
            self.row[which],
            self.image[which],
            self.voter[which],
            self.voters[which],
            self.confidence[which],
            self.boxes[which],
        )

    def sorted(self, group: Ints) -> _Votes:
        """Give them group by group, by falling confidence, then as the table has them."""
        return self.take(np.lexsort((self.row, -self.confidence, group)))

    def softened(self, least: float) -> _Votes:
        """Let each voter's boxes lose confidence by their overlap with its more confident ones."""
        confidence, left = self.confidence.copy(), np.arange(len(self.boxes))
        owner = self.owner
        while len(left):
            start = np.flatnonzero(np.diff(owner[left], prepend=-1))
            sizes = np.diff(np.append(start, len(left)))
            highest = np.repeat(np.maximum.reduceat(confidence[left], start), sizes)
            at_most = np.flatnonzero(confidence[left] == highest)
            judge = at_most[np.unique(owner[left[at_most]], return_index=True)[1]]  # of equals the first
            overlap = np.round(iou(self.boxes[left], self.boxes[np.repeat(left[judge], sizes)]), IOU_DECIMALS)
            overlap[judge] = 0.0
            confidence[left] *= np.where(overlap > round(least, IOU_DECIMALS), 1 - overlap, 1.0)
            left = np.delete(left, judge)
        return _Votes(self.row, self.image, self.voter, self.voters, confidence, self.boxes)

    def means_of_own(self, least: float) -> _Votes:
        """Make one of those of a voter's boxes that overlap: their mean, with the highest confidence."""
        cluster = _leaders(self.owner, self.boxes, least)
        boxes = self.means(cluster)
        means = _Votes(self.row, self.image, self.voter, self.voters, self.confidence, boxes)
        return means.take(cluster == np.arange(len(cluster)))

    def means(self, cluster: Ints) -> Floats:
        """(N, 4), at the row of each cluster's first box the mean of its boxes, weighted by confidence."""
        weight = np.maximum(self.confidence, _LEAST_WEIGHT)
        total = np.bincount(cluster, weight, minlength=len(cluster))
        sums = np.column_stack([np.bincount(cluster, weight * side, minlength=len(cluster)) for side in self.boxes.T])
        return np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0)

    def mean_confidence(self, cluster: Ints) -> Floats:
        """(N,), at the row of each cluster's first box what its voters gave at most, over all who looked."""
        order = np.lexsort((-self.confidence, self.voter, cluster))
        of = cluster[order] * (int(self.voter.max(initial=0)) + 1) + self.voter[order]
        highest = order[np.flatnonzero(np.diff(of, prepend=-1))]
        return np.bincount(cluster[highest], self.confidence[highest], minlength=len(cluster)) / self.voters


def _leaders(group: Ints, boxes: Floats, least: float, voter: Ints | None = None) -> Ints:
    """Cluster greedily: a group's first box that is in no cluster leads one, and takes those that overlap it.

    Args:
        group: (N,) rising; only boxes of one group have to do with each other.
        boxes: (N, 4), within a group the most confident first.
        least: They overlap if their IoU is greater.
        voter: (N,) or None. Of each voter a cluster takes one box only, the first.

    Returns:
        (N,) the row of its cluster's leader.
    """
    leader, left = np.arange(len(boxes)), np.arange(len(boxes))
    while len(left):
        first = start_of_run(group[left])
        leads = first == np.arange(len(left))
        overlap = np.round(iou(boxes[left], boxes[left[first]]), IOU_DECIMALS)
        joins = np.flatnonzero((overlap > round(least, IOU_DECIMALS)) | leads)
        if voter is not None:
            owner = group[left[joins]] * (int(voter.max()) + 1) + voter[left[joins]]
            joins = joins[np.sort(np.unique(owner, return_index=True)[1])]
        leader[left[joins]] = left[first[joins]]
        left = np.delete(left, joins)
    return leader


def _nearest_means(group: Ints, boxes: Floats, confidence: Floats, least: float) -> Ints:
    """Cluster by moving means, as weighted boxes fusion does. Arguments and result as in `_leaders`.

    A box joins the cluster of its group whose mean it overlaps most, if by more than `least`, and moves this mean.
    """
    start = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(start, len(group)))
    order = np.argsort(-sizes, kind="stable")  # those of n boxes or more are the first ones
    start, sizes = start[order], sizes[order]
    leader = np.arange(len(boxes))
    slots = 0
    leads, opened = np.empty((len(start), 0), np.int64), np.zeros(len(start), np.int64)
    sums, weights = np.empty((len(start), 0, 4)), np.empty((len(start), 0))
    for rank in range(int(sizes.max(initial=0))):
        active = int(np.count_nonzero(sizes > rank))
        row = start[:active] + rank
        weight = np.maximum(confidence[row], _LEAST_WEIGHT)
        slot = opened[:active].copy()
        if slots:
            known = np.arange(slots) < opened[:active, None]
            means = np.divide(
                sums[:active], weights[:active, :, None], out=np.zeros((active, slots, 4)), where=known[..., None]
            )
            overlap = np.where(known, np.round(iou(means, boxes[row][:, None]), IOU_DECIMALS), -1.0)
            nearest = overlap.argmax(axis=1)
            slot = np.where(overlap[np.arange(active), nearest] > round(least, IOU_DECIMALS), nearest, slot)
        if slot.max() == slots:
            slots += 1
            leads = np.pad(leads, ((0, 0), (0, 1)))
            sums = np.pad(sums, ((0, 0), (0, 1), (0, 0)))
            weights = np.pad(weights, ((0, 0), (0, 1)), constant_values=0.0)
        each, opens = np.arange(active), slot == opened[:active]
        leads[each[opens], slot[opens]] = row[opens]
        opened[:active] += opens
        sums[each, slot] += weight[:, None] * boxes[row]
        weights[each, slot] += weight
        leader[row] = leads[each, slot]
    return leader
