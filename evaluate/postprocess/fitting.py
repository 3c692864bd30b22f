"""Fit a pipeline to truth, directly on the RSNA score.

Confidence is exact in every comparison: each setting of the other steps is judged by its score at its own best one.
The other steps are chosen one after the other, each given the rest, until none changes: box scale (every pair of
factors of the grid), suppression, most boxes, gate. A setting has a cost, which it must gain: `LEAST_GAIN` for taking a
step at all; for the box scale as much for each tenth of a side. Of equally good settings the simplest is taken. Last,
each view's own box scale is searched, and drawn towards the common one.

What is fitted flatters on the images that it was fitted on. Report the score of other patients.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.names import COORDINATES
from common.data.tables import empty_predictions, sort_predictions
from evaluate.metrics.rsna import rsna_score
from evaluate.metrics.sweep import Sweep
from evaluate.postprocess.boxes import probability_of_each
from evaluate.postprocess.gate import GateRule, gated, thresholds_to_try
from evaluate.postprocess.pipeline import (
    VIEWS,
    BoxScale,
    Confidence,
    FittedOn,
    MostBoxes,
    Pictures,
    Pipeline,
    Sides,
    Suppression,
    resized_boxes,
)

FACTORS = tuple(round(0.80 + 0.025 * step, 3) for step in range(11))
"""Factors tried on each side of the boxes: 0.80 to 1.05."""
SIDES = tuple(
    sorted((Sides(*pair) for pair in itertools.product(FACTORS, FACTORS)), key=lambda s: abs(s[0] - 1) + abs(s[1] - 1))
)
"""All pairs of them, that which leaves the boxes first."""
SUPPRESSIONS = tuple(Suppression(iou) for iou in (None, 0.4, 0.3, 0.2, 0.1))
MOST_BOXES = tuple(MostBoxes(boxes) for boxes in (None, 6, 5, 4, 3, 2, 1))
LEAST_GAIN = 0.002
"""What a step must gain: a quarter of the standard error that the score has on the challenge's 1,500 counted images."""
SCALE_COST = LEAST_GAIN / 0.1
"""What a box scale must gain by how far it is from 1, over both sides: what is hardly told apart stays near 1."""
IMAGES_FOR_HALF = 100
"""With so many images with truth boxes, a view's factors lie half-way between the common ones and its own best ones."""
_ROUNDS = 3


def fit(
    truth: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame, gate: pd.Series | None = None
) -> Pipeline:
    """Choose all steps of a pipeline for the highest RSNA score. The same tables give the same pipeline.

    Args:
        truth: The truth table, with the images that count.
        predictions: The predictions table of these images, as the model made it.
        manifest: The manifest table with at least these images; image_id, view, width and height are used.
        gate: P(opacity) by image_id, of every image with predictions; None: the pipeline has no gate.

    Returns:
        The pipeline; its `fitted_on.score` is the score of what `apply` leaves of these predictions. Without a truth
        box or without predictions there is nothing to choose by: a warning says so, and all steps leave everything.

    Raises:
        UserError: A table is wrong; an image is not in the manifest, or has no size there, or no probability.
    """
    Pictures.of(truth["image_id"] if "image_id" in truth else pd.Series([], dtype=object), manifest)
    table = empty_predictions() if predictions.empty else predictions
    sweep = Sweep.from_tables(truth, table)  # checks both
    table = sort_predictions(table)
    if not sweep.has_truth.any() or table.empty:
        print_warning(
            f"post-processing: nothing to fit it on ({sweep.has_truth.sum():,} images with truth boxes, {len(table):,} "
            "predictions); it leaves everything as it is"
        )
        return Pipeline(fitted_on=FittedOn(len(sweep.images), sweep.score(-np.inf)))

    search = _Search(truth, table, manifest, gate, sweep.images)
    best = Pipeline()
    for _ in range(_ROUNDS):
        before = best
        best = search.step(
            best, "box_scale", [BoxScale.common(sides) for sides in SIDES], [scale_cost(sides) for sides in SIDES]
        )
        best = search.step(best, "suppression", SUPPRESSIONS)
        best = search.step(best, "most_boxes", MOST_BOXES)
        best = search.step(best, "gate", search.gates())
        if best == before:
            break
    best = search.step(best, "box_scale", [best.box_scale, search.by_view(best)], [0.0, 0.0])
    best = replace(best, confidence=Confidence(search.sweep(best).best()[0]))
    score = rsna_score(truth, best.apply(table, manifest, gate))
    return replace(best, fitted_on=FittedOn(len(sweep.images), score))


class _Search:
    """Scores settings of the steps before the confidence. Keeps what was matched, for the boxes that are looked at."""

    def __init__(
        self,
        truth: pd.DataFrame,
        predictions: pd.DataFrame,
        manifest: pd.DataFrame,
        gate: pd.Series | None,
        images: pd.Index,
    ) -> None:
        self.truth, self.predictions, self.manifest, self.gate = truth, predictions, manifest, gate
        self.view = Pictures.of(images.to_series(), manifest).view
        self.probabilities = np.empty(0)
        if gate is not None:
            probability_of_each(predictions, gate)  # there is one
            self.probabilities = gate.reindex(images).to_numpy(dtype=float)
        self.kept: tuple[Suppression, MostBoxes, _Matched] | None = None

    def step(
        self, pipeline: Pipeline, name: str, settings: Sequence[Any], costs: Sequence[float] | None = None
    ) -> Pipeline:
        """Give the pipeline with the best setting of one step; without costs, all but the first must gain."""
        if costs is None:
            costs = [0.0, *[LEAST_GAIN] * (len(settings) - 1)]
        values = [
            self.score(replace(pipeline, **{name: one})) - cost for one, cost in zip(settings, costs, strict=True)
        ]
        return replace(pipeline, **{name: settings[int(np.argmax(values))]})  # of equals the first

    def score(self, pipeline: Pipeline) -> float:
        """The score at the best confidence."""
        return self.sweep(pipeline).best()[1]

    def sweep(self, pipeline: Pipeline) -> Sweep:
        """The score at every confidence, of what the steps before it leave."""
        by_view = [getattr(pipeline.box_scale, view) for view in VIEWS]
        sweep = self.matched(pipeline).sweep(by_view)
        return sweep if self.gate is None else gated(sweep, pipeline.gate, self.probabilities)

    def matched(self, pipeline: Pipeline) -> _Matched:
        chosen = pipeline.suppression, pipeline.most_boxes
        if self.kept is None or self.kept[:2] != chosen:
            left = pipeline.most_boxes.apply(pipeline.suppression.apply(self.predictions))
            self.kept = (*chosen, _Matched.of(self.truth, left, self.manifest, self.view))
        return self.kept[2]

    def gates(self) -> list[GateRule]:
        """No gate, and with probabilities all others, the simplest first."""
        if self.gate is None:
            return [GateRule("none")]
        thresholds = thresholds_to_try(self.predictions, self.gate)
        return [GateRule("none"), GateRule("weigh"), *(GateRule("keep", value) for value in thresholds)]

    def by_view(self, pipeline: Pipeline) -> BoxScale:
        """Each view's best factors, the other views having the common ones, drawn towards these."""
        common, has_truth = pipeline.box_scale, self.sweep(pipeline).has_truth
        shrunk = {}
        for index, view in enumerate(VIEWS):
            images = int(np.count_nonzero(has_truth & (self.view == index)))
            share = images / np.count_nonzero(has_truth)  # a view that few images have gains as little for its cost
            start: Sides = getattr(common, view)
            if not images:
                shrunk[view] = start
                continue
            candidates = (start, *SIDES)
            own = self.step(
                pipeline,
                "box_scale",
                [replace(common, **{view: sides}) for sides in candidates],
                [scale_cost(sides) * share for sides in candidates],
            )
            shrunk[view] = shrink(start, getattr(own.box_scale, view), images)
        return BoxScale(**shrunk)


def scale_cost(sides: Sides) -> float:
    """What these factors must gain."""
    return SCALE_COST * (abs(1 - sides.scale_x) + abs(1 - sides.scale_y))


def shrink(common: Sides, own: Sides, images: int) -> Sides:
    """Draw a view's own factors towards the common ones, the more, the fewer images with truth boxes speak for it.

    Returns:
        Their mean, weighted n to `IMAGES_FOR_HALF`, rounded to 0.001.
    """
    weight = images / (images + IMAGES_FOR_HALF)
    return Sides(*(round(weight * o + (1 - weight) * c, 3) for c, o in zip(common, own, strict=True)))


@dataclass(frozen=True)
class _Matched:
    """Predictions matched once for each pair of factors.

    A box's factors are no matter to other images, so the sweep of any choice by view is put together from these. Boxes
    of images without truth boxes change no score, whatever their size: only the others are matched again.

    Attributes:
        base: The sweep of P predictions as they are.
        places: (Q,) those of `base` whose image has truth boxes.
        view: (Q,) their image's view, an index into `VIEWS`.
        truth: The truth table.
        predictions: The Q predictions, as a table.
        size: (Q, 2) of each row of the table, its picture's width and height.
        changes: By pair of factors, (Q,) int64 as `Sweep.change`; filled as they are asked for.
    """

    base: Sweep
    places: np.ndarray
    view: np.ndarray
    truth: pd.DataFrame
    predictions: pd.DataFrame
    size: np.ndarray
    changes: dict[Sides, np.ndarray]

    @classmethod
    def of(cls, truth: pd.DataFrame, predictions: pd.DataFrame, manifest: pd.DataFrame, view: np.ndarray) -> _Matched:
        base = Sweep.from_tables(truth, predictions)
        positive = base.has_truth[base.image]
        looked_at = predictions[predictions["image_id"].isin(base.images[base.has_truth])].reset_index(drop=True)
        size = Pictures.of(looked_at["image_id"], manifest).size
        return cls(base, np.flatnonzero(positive), view[base.image[positive]], truth, looked_at, size, {})

    def sweep(self, by_view: Sequence[Sides]) -> Sweep:
        """The sweep with these factors, one pair for each of `VIEWS`; its image_score is not filled."""
        change = np.zeros_like(self.base.change)
        found = [self.change(sides) for sides in by_view]
        change[self.places] = found[0] if len(set(by_view)) == 1 else np.choose(self.view, found)
        return replace(self.base, change=change, image_score=np.full(len(change), np.nan))

    def change(self, sides: Sides) -> np.ndarray:
        """(Q,) what each prediction does, resized so."""
        if sides not in self.changes:
            boxes = resized_boxes(self.predictions[COORDINATES].to_numpy(float), np.array(sides), self.size)
            resized = self.predictions.assign(**dict(zip(COORDINATES, boxes.T, strict=True)))
            self.changes[sides] = Sweep.from_tables(self.truth, resized).change
        return self.changes[sides]
