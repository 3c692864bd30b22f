"""The score of settings of post-processing, on any part of the images, from what is matched once.

Suppression decides which boxes there are. Everything after it leaves the order of an image's boxes as it is: fewer
boxes of an image, other confidences by image, images left out. So one matching for each suppression and each box scale
gives, for each prediction, how much it changes its image's score (see `evaluate.metrics.sweep`), and a setting's score
at every confidence is a running sum of these. A box's scale is no matter to other images, so that scales by view are
put together, and parts of the images, such as the folds of a cross-validation, share all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from common.data.names import COORDINATES
from evaluate.metrics.arrays import Bools, BoxArrays, Floats, Ints, to_arrays
from evaluate.metrics.matching import IOU_THRESHOLDS, find_hits, start_of_run
from evaluate.metrics.sorting import falling_order
from evaluate.metrics.sweep import Sweep
from evaluate.postprocess.boxes import probability_of_each
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import VIEWS, BoxScale, Confidence, GateRule, Pictures, Sides, context, resized_boxes
from evaluate.postprocess.suppression import Suppression


class Search:
    """Truth and predictions with what was matched.

    Attributes:
        images: (I,) image_id, in the truth's order.
        has_truth: (I,) whether the image has truth boxes.
        view: (I,) its view, an index into `VIEWS`.
        probabilities: (I,) P(opacity); NaN where it is not known or there is no gate.
    """

    def __init__(
        self, truth: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame, gate: pd.Series | None
    ) -> None:
        """Take tables that go together; `predictions` sorted.

        Raises:
            UserError: A table is wrong; an image is not in the manifest, has no size there, or no probability.
        """
        sweep = Sweep.from_tables(truth, predictions)  # checks both
        self.images, self.has_truth, self.unit = sweep.images, sweep.has_truth, sweep.unit
        self.view = Pictures.of(self.images.to_series(), manifest).view
        self.probabilities = np.full(len(self.images), np.nan)
        if gate is not None:
            probability_of_each(predictions, gate)  # there is one
            self.probabilities = gate.reindex(self.images).to_numpy(dtype=float)
        self._truth, self._predictions, self._manifest = truth, predictions, manifest
        self._matched: dict[Suppression, Matched] = {}

    def matched(self, suppression: Suppression) -> Matched:
        """What this suppression leaves, matched."""
        if suppression not in self._matched:
            left = suppression.apply(self._predictions)
            self._matched[suppression] = Matched.of(self._truth, left, self._manifest, self)
        return self._matched[suppression]


@dataclass(frozen=True, eq=False)
class Matched:
    """P predictions, sorted by image and falling confidence, of which Q are of images with truth boxes.

    Attributes:
        image: (P,) index into the images.
        confidence: (P,)
        rank: (P,) place among the image's predictions.
        begins: (P,) whether an image without truth boxes counts from here.
        boxes: (P, 4)
        size: (P, 2) the picture's.
        places: (Q,) those of images with truth boxes: no other box changes a score by its size.
        arrays: Truth and the Q predictions.
        view: (Q,) their image's view.
        falling: (P,) the order of falling confidence.
    """

    image: Ints
    confidence: Floats
    rank: Ints
    begins: Bools
    boxes: Floats
    size: Floats
    places: Ints
    arrays: BoxArrays
    view: Ints
    falling: Ints
    _changes: dict[Sides, Ints] = field(default_factory=dict)
    _contexts: dict[int | None, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, truth: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame, search: Search) -> Matched:
        """Match them as they are; tables as of `Search`."""
        image = search.images.get_indexer(pd.Index(predictions["image_id"]))
        places = np.flatnonzero(search.has_truth[image])
        rank = np.arange(len(image)) - start_of_run(image)
        confidence = predictions["confidence"].to_numpy(float)
        return cls(
            image=image,
            confidence=confidence,
            rank=rank,
            begins=(rank == 0) & ~search.has_truth[image],
            boxes=predictions[COORDINATES].to_numpy(float),
            size=Pictures.of(predictions["image_id"], manifest).size,
            places=places,
            arrays=to_arrays(truth, predictions.iloc[places]),
            view=search.view[image[places]],
            falling=falling_order(confidence),
        )

    def change(self, box_scale: BoxScale) -> Ints:
        """(P,) by how much each prediction, resized so, changes its image's score, in units of the `Sweep`."""
        change = np.zeros(len(self.image), dtype=np.int64)
        found = [self._change(getattr(box_scale, view)) for view in VIEWS]
        change[self.places] = found[0] if all(one is found[0] for one in found) else np.choose(self.view, found)
        return change

    def hit_share(self, box_scale: BoxScale) -> Floats:
        """(P,) the share of the metric's IoU thresholds at which each prediction, resized so, is a true positive."""
        factors = np.array([getattr(box_scale, view) for view in VIEWS])[self.view]
        hits = find_hits(self._resized(factors), IOU_THRESHOLDS).mean(axis=1)
        share = np.zeros(len(self.image))
        share[self.places[self.arrays.order]] = hits
        return share

    def context(self, most: int | None) -> Floats:
        """(P, 3) what `Rescoring` looks at, where so many boxes of an image stay at most; NaN for the others."""
        if most not in self._contexts:
            stays = self.rank < (np.inf if most is None else most)
            about = np.full((len(stays), 3), np.nan)
            about[stays] = context(self.image[stays], self.confidence[stays], self.boxes[stays], self.size[stays])
            self._contexts[most] = about
        return self._contexts[most]

    def _resized(self, factors: Floats) -> BoxArrays:
        return replace(self.arrays, boxes=resized_boxes(self.boxes[self.places], factors, self.size[self.places]))

    def _change(self, sides: Sides) -> Ints:
        """(Q,) by how much each of the Q changes its image's score."""
        if sides not in self._changes:
            change = np.empty(len(self.places), dtype=np.int64)
            change[falling_order(self.confidence[self.places])] = Sweep.from_arrays(
                self._resized(np.array(sides))
            ).change
            self._changes[sides] = change
        return self._changes[sides]


@dataclass(frozen=True, eq=False)
class Admitted:
    """N predictions that a pipeline lets pass before the confidence, in falling confidence.

    Attributes:
        rows: (N,) their rows in `Matched`.
        confidence: (N,) as the pipeline gives it.
        counted: (N,) how many images count if these and the ones before are all there are.
        last: Where a confidence ends: a threshold lets all predictions of one confidence pass or none.
    """

    rows: Ints
    confidence: Floats
    counted: Ints
    last: Ints


class Part:
    """Some of the images: the score of any pipeline on these."""

    def __init__(self, search: Search, images: Bools, least: float | None = None) -> None:
        """Look at some images.

        Args:
            search: All images.
            images: (I,) whether the image is among them.
            least: The confidence at which pipelines are judged; None: each at its best one.
        """
        self.search, self.images, self.least = search, images, least
        self.with_truth = int(np.count_nonzero(search.has_truth & images))
        self._scores: dict[Pipeline, tuple[float, float]] = {}
        self._admitted: tuple[Pipeline, Admitted] | None = None

    def score(self, pipeline: Pipeline) -> float:
        """The score at the confidence of `best`; the pipeline's own is not looked at."""
        return self.best(pipeline)[1]

    def best(self, pipeline: Pipeline) -> tuple[float, float]:
        """The confidence of highest score, of equals the highest, and the score there; or at the one that is given."""
        key = replace(pipeline, confidence=_NO.confidence, fitted_on=_NO.fitted_on)
        if key not in self._scores:
            admitted, scores = self._sweep(key)
            if self.least is None:
                at = int(scores.argmax()) if len(scores) else -1
                found = (
                    (float(admitted.confidence[admitted.last[at]]), float(scores[at])) if len(scores) else (1.0, 0.0)
                )
            else:
                at = int(np.count_nonzero(admitted.confidence[admitted.last] >= self.least)) - 1
                found = self.least, float(scores[at]) if at >= 0 else 0.0
            self._scores[key] = found
        return self._scores[key]

    def admitted(self, pipeline: Pipeline) -> Admitted:
        """What the pipeline lets pass before the confidence, of these images."""
        key = replace(pipeline, box_scale=_NO.box_scale, confidence=_NO.confidence, fitted_on=_NO.fitted_on)
        if self._admitted is None or self._admitted[0] != key:
            self._admitted = key, self._admit(key)
        return self._admitted[1]

    def flagged(self, pipeline: Pipeline) -> tuple[float, float]:
        """The score at the best confidence, and the mean score of images with truth that have predictions there."""
        least, score = self.best(pipeline)
        admitted, matched = self.admitted(pipeline), self.search.matched(pipeline.suppression)
        rows = admitted.rows[admitted.confidence >= least]
        images = np.count_nonzero((matched.rank[rows] == 0) & self.search.has_truth[matched.image[rows]])
        total = matched.change(pipeline.box_scale)[rows].sum() / self.search.unit
        return score, float(total / images) if images else 0.0

    def image_scores(self, pipeline: Pipeline) -> Floats:
        """(I,) the score of each image at the pipeline's confidence; NaN for those that do not count or are others."""
        admitted, matched = self.admitted(pipeline), self.search.matched(pipeline.suppression)
        rows = admitted.rows[admitted.confidence >= pipeline.confidence.least]
        scores = np.where(self.search.has_truth & self.images, 0.0, np.nan)
        scores[matched.image[rows[matched.begins[rows]]]] = 0.0
        change = matched.change(pipeline.box_scale)[rows] / self.search.unit
        return scores + np.bincount(matched.image[rows], change, minlength=len(scores))

    def error(self, first: Pipeline, second: Pipeline) -> float:
        """The standard error of the difference of their scores, each at its best confidence."""
        one, other = (
            self.image_scores(replace(pipeline, confidence=Confidence(self.best(pipeline)[0])))
            for pipeline in (first, second)
        )
        # A score is a ratio, of the sum over the images to how many count; its error is that of the images' deviations.
        parts = []
        for scores in (one, other):
            counts = ~np.isnan(scores)
            parts.append(np.where(counts, scores - np.nanmean(scores), 0.0) / max(np.count_nonzero(counts), 1))
        return float(np.sqrt(np.sum((parts[0] - parts[1]) ** 2)))

    def _sweep(self, pipeline: Pipeline) -> tuple[Admitted, Floats]:
        admitted = self.admitted(pipeline)
        change = self.search.matched(pipeline.suppression).change(pipeline.box_scale)
        total = np.cumsum(change[admitted.rows])[admitted.last]
        return admitted, total / self.search.unit / admitted.counted[admitted.last]

    def _admit(self, pipeline: Pipeline) -> Admitted:
        matched, rule = self.search.matched(pipeline.suppression), pipeline.gate
        stays, confidence = self.images[matched.image], matched.confidence
        if pipeline.most_boxes.boxes is not None:
            stays = stays & (matched.rank < pipeline.most_boxes.boxes)
        if pipeline.rescoring != _NO.rescoring:
            confidence = pipeline.rescoring.confidence(matched.context(pipeline.most_boxes.boxes))
        confidence, stays = _gated(rule, self.search.probabilities[matched.image], confidence, stays)
        falling = matched.falling
        if confidence is not matched.confidence:
            falling = falling_order(np.where(stays, confidence, -1.0))
        rows = falling[stays[falling]]
        confidence = confidence[rows]
        return Admitted(
            rows=rows,
            confidence=confidence,
            counted=self.with_truth + np.cumsum(matched.begins[rows]),
            last=np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(rows)]),
        )


_NO = Pipeline()


def _gated(rule: GateRule, probabilities: Floats, confidence: Floats, stays: Bools) -> tuple[Floats, Bools]:
    """What `rule.apply` does; (P,) each."""
    if rule.mode == "weigh":
        return confidence * probabilities, stays
    if rule.threshold is not None:
        return confidence, stays & (probabilities > rule.threshold)
    return confidence, stays
