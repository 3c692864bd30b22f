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
from collections.abc import Collection, Mapping, Sequence
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
from evaluate.postprocess.gate import gated, thresholds_to_try
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import (
    GATE_MODES,
    VIEWS,
    BoxScale,
    Confidence,
    FittedOn,
    GateMode,
    GateRule,
    MostBoxes,
    Pictures,
    Sides,
    resized_boxes,
)
from evaluate.postprocess.suppression import Suppression, count_voters

STEPS = ("suppression", "most_boxes", "box_scale", "by_view", "gate", "confidence")
"""What can be fitted, in the order of the pipeline; `by_view` is that each view has a box scale of its own."""
FACTORS = tuple(round(0.80 + 0.025 * step, 3) for step in range(11))
"""Factors tried on each side of the boxes: 0.80 to 1.05."""
SIDES = tuple(
    sorted((Sides(*pair) for pair in itertools.product(FACTORS, FACTORS)), key=lambda s: abs(s[0] - 1) + abs(s[1] - 1))
)
"""All pairs of them, that which leaves the boxes first."""
SUPPRESSIONS_OF_ONE = (
    Suppression("nms", 0.4), Suppression("none", None), Suppression("nms", 0.3), Suppression("nms", 0.2),
    Suppression("nms", 0.1), Suppression("votes", 0.4), Suppression("votes", 0.55), Suppression("soft-nms", 0.3),
)  # fmt: skip
"""Tried with one voter; the first is the simple one."""
SUPPRESSIONS_OF_SEVERAL = (
    Suppression("votes", 0.4), Suppression("votes", 0.3), Suppression("votes", 0.5), Suppression("wbf", 0.4),
    Suppression("wbf", 0.55), Suppression("nms", 0.4), Suppression("soft-nms", 0.4),
)  # fmt: skip
"""Tried with several; the first is what the challenge's best entries did."""
MOST_BOXES = tuple(MostBoxes(boxes) for boxes in (None, 6, 5, 4, 3, 2, 1))
LEAST_GAIN = 0.002
"""What a step must gain: a quarter of the standard error that the score has on the challenge's 1,500 counted images."""
SCALE_COST = LEAST_GAIN / 0.1
"""What a box scale must gain by how far it is from 1, over both sides: what is hardly told apart stays near 1."""
IMAGES_FOR_HALF = 100
"""With so many images with truth boxes, a view's factors lie half-way between the common ones and its own best ones."""
_ROUNDS = 3


def fit(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    gate: pd.Series | None = None,
    *,
    steps: Collection[str] = STEPS,
    fixed: Mapping[str, Suppression | MostBoxes | BoxScale | GateRule | Confidence] | None = None,
    gate_modes: Collection[GateMode] = GATE_MODES,
    split: str = "",
    weights: Collection[str] = (),
    data_fingerprint: str = "",
) -> Pipeline:
    """Choose the steps of a pipeline for the highest RSNA score. The same tables give the same pipeline.

    Args:
        truth: The truth table, with the images that count.
        predictions: The predictions table of these images, as the model made it; with `detector` and `voters` if it is
            of several voters.
        manifest: The manifest table with at least these images; image_id, view, width and height are used.
        gate: P(opacity) by image_id, of every image with predictions; None: the pipeline has no gate.
        steps: What is chosen, of `STEPS`; the others stay as they are in `Pipeline()`, but for several voters, whose
            boxes are fused by votes.
        fixed: Steps that are given, by the name of the `Pipeline`'s attribute, such as
            `{"gate": GateRule("weigh")}`; they are not chosen, and the others are chosen to go with them.
        gate_modes: Modes of the gate to choose from.
        split: The split's name, kept in the pipeline, as are the following.
        weights: SHA-256 of the weights of all detectors and classifiers.
        data_fingerprint: The data set's.

    Returns:
        The pipeline; its `fitted_on.score` is the score of what `apply` leaves of these predictions. Without a truth
        box or without predictions there is nothing to choose by: a warning says so, and only what is fixed is done.

    Raises:
        UserError: A table is wrong; an image is not in the manifest, or has no size there, or no probability.
        ValueError: A step has no such name.
    """
    fixed = dict(fixed or {})
    if unknown := ({*steps} - {*STEPS}) | (fixed.keys() - ({*STEPS} - {"by_view"})):
        raise ValueError(f"steps to fit: found {min(unknown)!r}; expected some of {', '.join(STEPS)}")
    if unknown := {*gate_modes} - {*GATE_MODES}:
        raise ValueError(f"modes of a gate: found {min(unknown)!r}; expected some of {', '.join(GATE_MODES)}")
    Pictures.of(truth["image_id"] if "image_id" in truth else pd.Series([], dtype=object), manifest)
    table = empty_predictions() if predictions.empty else predictions
    sweep = Sweep.from_tables(truth, table)  # checks both
    table = sort_predictions(table)
    several = bool((count_voters(table) > 1).any())
    suppressions = SUPPRESSIONS_OF_SEVERAL if several else SUPPRESSIONS_OF_ONE
    best = replace(Pipeline(suppression=suppressions[0]), **fixed)
    on = FittedOn(len(sweep.images), 0.0, split, tuple(sorted(set(weights))), data_fingerprint)
    if not sweep.has_truth.any() or table.empty:
        print_warning(
            f"post-processing: nothing to fit it on ({sweep.has_truth.sum():,} images with truth boxes, {len(table):,} "
            "predictions); it leaves everything as it is"
        )
        return replace(best, fitted_on=replace(on, score=rsna_score(truth, best.apply(table, manifest, gate))))

    chosen = {*steps} - fixed.keys()
    search = _Search(truth, table, manifest, gate, sweep.images, fixed.get("confidence"))
    gates = search.gates(gate_modes)
    for _ in range(_ROUNDS):
        before = best
        if "box_scale" in chosen:
            best = search.step(
                best, "box_scale", [BoxScale.common(sides) for sides in SIDES], [scale_cost(sides) for sides in SIDES]
            )
        if "suppression" in chosen:
            best = search.step(best, "suppression", suppressions)
        if "most_boxes" in chosen:
            best = search.step(best, "most_boxes", MOST_BOXES)
        if "gate" in chosen:
            best = search.step(best, "gate", gates)
        if best == before:
            break
    if {"box_scale", "by_view"} <= chosen:
        best = search.step(best, "box_scale", [best.box_scale, search.by_view(best)], [0.0, 0.0])
    if "confidence" in chosen:
        best = replace(best, confidence=Confidence(search.sweep(best).best()[0]))
    score = rsna_score(truth, best.apply(table, manifest, gate))
    return replace(best, fitted_on=replace(on, score=score))


class _Search:
    """Scores settings of the steps before the confidence. Keeps what was matched, for the boxes that are looked at."""

    def __init__(
        self,
        truth: pd.DataFrame,
        predictions: pd.DataFrame,
        manifest: pd.DataFrame,
        gate: pd.Series | None,
        images: pd.Index,
        confidence: Confidence | None,
    ) -> None:
        self.confidence = confidence
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
        """The score at the best confidence, or at the one that is given."""
        sweep = self.sweep(pipeline)
        return sweep.best()[1] if self.confidence is None else sweep.score(self.confidence.least)

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

    def gates(self, modes: Collection[GateMode]) -> list[GateRule]:
        """No gate, and with probabilities all others, the simplest first."""
        if self.gate is None:
            return [GateRule("none")]
        rules = [GateRule(mode) for mode in ("none", "weigh") if mode in modes]
        if "keep" in modes:
            rules += [GateRule("keep", value) for value in thresholds_to_try(self.predictions, self.gate)]
        return rules

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
