"""Fit a pipeline to truth, directly on the RSNA score.

Confidence is exact in every comparison: each setting of the other steps is judged by its score at its own best one. The
other steps are chosen one after the other, each given the rest, until none changes: box scale, suppression, most boxes,
gate; then each view's own box scale, the rescoring, and the gate again.

What is searched by score alone varies with the images: the score has steps, and the best of many settings is in part
luck. So one of several settings is taken in place of the simple one only if it gains `LEAST_GAIN`, and more than chance
gives. A box scale is not the best one of its grid but the mean of all, weighted by how near to the best their scores
are: the middle of the plateau. A view's own one is drawn towards the common one. Rescoring is fitted by likelihood, and
drawn towards none. What is drawn towards the simple setting like this need not gain more than anything.

What is fitted flatters on the images that it was fitted on: `evaluate.postprocess.gains` says what other patients get.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.tables import empty_predictions, sort_predictions
from evaluate.metrics.arrays import to_arrays
from evaluate.metrics.rsna import rsna_score
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.search import Part, Search
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
    Rescoring,
    Sides,
)
from evaluate.postprocess.suppression import Suppression, count_voters

STEPS = ("confidence", "suppression", "most_boxes", "box_scale", "by_view", "rescoring", "gate")
"""What can be fitted, as `gains` adds one to the other; `by_view` is that each view has a box scale of its own."""

FACTORS = tuple(round(0.70 + 0.05 * step, 2) for step in range(9))
"""Factors tried on each side of the boxes: 0.70 to 1.10."""
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
BEYOND_CHANCE = 1.645
"""And so many standard errors of the gain itself: what chance alone gives one setting in twenty times."""
SCALE_COST = 0.01
"""What a box scale must gain by how far it is from 1, over both sides: what is hardly told apart stays near 1."""
PLATEAU = 0.08
"""A box scale whose score is this / sqrt(images with truth) below the best has 1 / e of its weight in the mean: about a
third of the standard error that the score has on as many images, since the scores of two scales vary together."""
IMAGES_FOR_HALF = 50
"""With so many images with truth boxes, a view's factors lie half-way between the common ones and its own ones."""
RIDGE = 50.0
"""Penalty on what rescoring makes of the image, in standard deviations: a prior of 1 / sqrt(RIDGE) about 0."""
THRESHOLDS = 500
"""At most so many thresholds of a gate are tried: every distinct probability, or so many, evenly in their order."""
_ROUNDS = 3

Step = Suppression | MostBoxes | Rescoring | BoxScale | GateRule | Confidence


def fit(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    gate: pd.Series | None = None,
    *,
    steps: Collection[str] = STEPS,
    fixed: Mapping[str, Step] | None = None,
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
            `{"gate": GateRule("weigh")}`; they are not chosen, and the others are chosen to go with them. With a fixed
            confidence there is no rescoring, which would give confidences another meaning.
        gate_modes: Modes of the gate to choose from.
        split: The split's name, kept in the pipeline, as are the following.
        weights: SHA-256 of the weights of all detectors and classifiers.
        data_fingerprint: The data set's.

    Returns:
        The pipeline; its `fitted_on.score` is the score of what `apply` leaves of these predictions. Without a truth
        box or without predictions there is nothing to choose by: a warning says so, and only what is fixed is done.

    Raises:
        UserError: A table is wrong; an image is not in the manifest, or has no size there, or no probability.
        ValueError: A step or a mode has no such name.
    """
    fitting = Fitting(steps, fixed or {}, gate_modes)
    Pictures.of(truth["image_id"] if "image_id" in truth else pd.Series([], dtype=object), manifest)
    table = sort_predictions(empty_predictions() if predictions.empty else predictions)
    if table.empty or not to_arrays(truth, table).truths.any():
        best, images = fitting.start(table), truth["image_id"].nunique() if "image_id" in truth else 0
        positive = truth.loc[truth["x"].notna(), "image_id"].nunique() if images else 0
        print_warning(
            f"post-processing: nothing to fit it on ({positive:,} images with truth boxes, {len(table):,} predictions)"
            "; it leaves everything as it is"
        )
    else:
        search = Search(truth, table, manifest, gate)
        images = len(search.images)
        best = fitting.choose(Part(search, np.ones(images, dtype=bool), fitting.least), fitting.start(table))
    score = rsna_score(truth, best.apply(table, manifest, gate))
    on = FittedOn(images, score, split, tuple(sorted(set(weights))), data_fingerprint)
    return replace(best, fitted_on=on)


class Fitting:
    """What is to be chosen, and how."""

    def __init__(self, steps: Collection[str], fixed: Mapping[str, Step], gate_modes: Collection[GateMode]) -> None:
        """Arguments and errors as of `fit`."""
        known = {*STEPS}
        if unknown := ({*steps} - known) | (fixed.keys() - (known - {"by_view"})):
            raise ValueError(f"steps to fit: found {min(unknown)!r}; expected some of {', '.join(STEPS)}")
        if strange := {*gate_modes} - {*GATE_MODES}:
            raise ValueError(f"modes of a gate: found {min(strange)!r}; expected some of {', '.join(GATE_MODES)}")
        self.steps, self.fixed, self.gate_modes = {*steps} - fixed.keys(), dict(fixed), gate_modes
        confidence = fixed.get("confidence")
        self.least = confidence.least if isinstance(confidence, Confidence) else None
        if self.least is not None:
            self.steps.discard("rescoring")  # a confidence that is given is one of the model's

    def start(self, predictions: pd.DataFrame) -> Pipeline:
        """The pipeline without any step that is chosen."""
        several = bool((count_voters(predictions) > 1).any())
        simple: dict[str, Any] = {"suppression": (SUPPRESSIONS_OF_SEVERAL if several else SUPPRESSIONS_OF_ONE)[0]}
        return replace(Pipeline(), **{**simple, **self.fixed})

    def choose(self, part: Part, best: Pipeline) -> Pipeline:
        """Choose the steps for a part of the images, which has truth boxes."""
        simple, thresholds = best.suppression, self._thresholds(part)
        one_voter = simple in SUPPRESSIONS_OF_ONE[:1]
        suppressions = SUPPRESSIONS_OF_ONE if one_voter else SUPPRESSIONS_OF_SEVERAL
        for _ in range(_ROUNDS):
            before = best
            if "box_scale" in self.steps:
                best = _common_scale(part, best)
            if "suppression" in self.steps:
                best = _step(part, best, "suppression", suppressions)
            if "most_boxes" in self.steps:
                best = _step(part, best, "most_boxes", MOST_BOXES)
            if "gate" in self.steps:
                best = self._gate(part, best, thresholds)
            if best == before:
                break
        if {"box_scale", "by_view"} <= self.steps:
            best = _scale_by_view(part, best)
        if "rescoring" in self.steps:
            best = max([best, *(replace(best, rescoring=one) for one in _rescoring(part, best))], key=part.score)
            if "gate" in self.steps:
                best = self._gate(part, best, thresholds)
        if "confidence" in self.steps:
            best = replace(best, confidence=Confidence(part.best(best)[0]))
        return best

    def _thresholds(self, part: Part) -> list[GateRule]:
        """Gates whose threshold is tuned, the lowest first: every probability but the highest, which leaves nothing."""
        values = np.unique(part.search.probabilities[part.images])
        values = values[~np.isnan(values)][:-1]
        if len(values) > THRESHOLDS:
            values = values[np.linspace(0, len(values) - 1, THRESHOLDS).round().astype(int)]
        return [GateRule("keep", float(value)) for value in values] if "keep" in self.gate_modes else []

    def _gate(self, part: Part, best: Pipeline, thresholds: Sequence[GateRule]) -> Pipeline:
        """Choose the gate: one without a tuned number by what it gains, and one with it if that is beyond chance."""
        if np.isnan(part.search.probabilities[part.images]).all():
            return best
        simple = [GateRule(mode) for mode in ("none", "weigh") if mode in self.gate_modes]
        simple += [_bayes(part, best)] if "bayes" in self.gate_modes else []
        if simple:
            costs = [0.0 if rule.mode == "none" else LEAST_GAIN for rule in simple]
            values = [part.score(replace(best, gate=one)) - cost for one, cost in zip(simple, costs, strict=True)]
            simple = [simple[int(np.argmax(values))]]
        settings = [*simple, *thresholds]
        return _step(part, best, "gate", settings, beyond_chance=bool(simple)) if settings else best


def _step(part: Part, pipeline: Pipeline, name: str, settings: Sequence[Any], beyond_chance: bool = True) -> Pipeline:
    """Give the pipeline with the best setting of one step; all but the first must gain enough, and beyond chance."""
    simple, *others = (replace(pipeline, **{name: one}) for one in settings)
    best = max(others, key=part.score, default=simple)  # of equals the first
    least = BEYOND_CHANCE * part.error(best, simple) if beyond_chance else 0.0
    return best if part.score(best) - part.score(simple) > max(LEAST_GAIN, least) else simple


def scale_cost(sides: Sides) -> float:
    """What these factors must gain."""
    return SCALE_COST * (abs(1 - sides.scale_x) + abs(1 - sides.scale_y))


def _common_scale(part: Part, pipeline: Pipeline) -> Pipeline:
    """The middle of the plateau of all pairs of factors, the same for every view, if it gains enough."""
    values = [part.score(replace(pipeline, box_scale=BoxScale.common(sides))) - scale_cost(sides) for sides in SIDES]
    middle = BoxScale.common(_middle(values, SIDES, part.with_truth))
    return max((replace(pipeline, box_scale=scale) for scale in (BoxScale(), middle)), key=part.score)


def _scale_by_view(part: Part, pipeline: Pipeline) -> Pipeline:
    """Each view's own factors, the other views having the common ones, drawn towards these; if they gain anything."""
    common, shrunk = pipeline.box_scale, {}
    with_truth = part.search.has_truth & part.images
    for index, view in enumerate(VIEWS):
        start: Sides = getattr(common, view)
        images = int(np.count_nonzero(with_truth & (part.search.view == index)))
        share = images / part.with_truth  # a view that few images have gains as little for its cost
        if share in (0, 1):
            shrunk[view] = start
            continue
        values = [
            part.score(replace(pipeline, box_scale=replace(common, **{view: sides}))) - share * scale_cost(sides)
            for sides in SIDES
        ]
        own, weight = _middle(values, SIDES, part.with_truth), images / (images + IMAGES_FOR_HALF)
        shrunk[view] = Sides(*(round(weight * o + (1 - weight) * c, 3) for c, o in zip(start, own, strict=True)))
    return max([pipeline, replace(pipeline, box_scale=BoxScale(**shrunk))], key=part.score)


def _middle(values: Sequence[float], settings: Sequence[Sides], images: int) -> Sides:
    """Mean of all settings, weighted by how near to the best their values are; rounded to 0.001."""
    weights = np.exp((np.array(values) - max(values)) * np.sqrt(images) / PLATEAU)
    return Sides(*(round(float(side), 3) for side in weights @ np.array(settings) / weights.sum()))


def _bayes(part: Part, pipeline: Pipeline) -> GateRule:
    """Predict on an image if that is expected to raise the score: P > S / (S + s).

    S is the score that is reached, s the mean score of an image with truth that gets predictions. One without truth
    enters the mean with a 0 instead of not at all, which costs S; one with truth gets s instead of 0. As both follow
    from the threshold, it is found by repetition (Dinkelbach, Management Science 1967;13:492-498).
    """
    rule = GateRule("none")
    for _ in range(20):
        score, flagged = part.flagged(replace(pipeline, gate=rule))
        threshold = round(score / (score + flagged), 6) if flagged else 0.0
        if threshold == rule.threshold:
            break
        rule = GateRule("bayes", threshold)
    return rule


def _rescoring(part: Part, pipeline: Pipeline) -> list[Rescoring]:
    """Logistic regression of the share of IoU thresholds at which a box hits; none where confidence says nothing.

    It looks at the most confident boxes, twice as many as the best confidence lets pass: the others are many, and none
    of the choice's business.
    """
    pipeline = replace(pipeline, rescoring=Rescoring(), gate=GateRule())
    least, _ = part.best(pipeline)
    admitted, matched = part.admitted(pipeline), part.search.matched(pipeline.suppression)
    rows = admitted.rows[: 2 * np.count_nonzero(admitted.confidence >= least)]
    about, hits = matched.context(pipeline.most_boxes.boxes)[rows], matched.hit_share(pipeline.box_scale)[rows]
    if not len(rows):
        return []
    mean, spread = about.mean(axis=0), np.maximum(about.std(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(rows)), (about - mean) / spread])
    found = _logistic(design, hits, np.array([1e-3, 1e-3, RIDGE, RIDGE]))
    slopes = found[1:] / spread
    own, highest, area = (round(float(slope), 6) for slope in slopes)
    return [Rescoring(round(float(found[0] - slopes @ mean), 6), own, highest, area)] if own > 0 else []


def _logistic(design: np.ndarray, share: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Coefficients (C,) of a logistic regression of shares (N,) on (N, C), each with a penalty on its square."""

    def loss(coefficients: np.ndarray) -> float:
        z = design @ coefficients
        return float(np.sum(np.logaddexp(0, z) - share * z) + 0.5 * penalty @ coefficients**2)

    found = np.zeros(design.shape[1])
    for _ in range(50):  # Newton's method, with shorter steps where a whole one leads too far
        p = 1 / (1 + np.exp(-(design @ found)))
        slope = design.T @ (p - share) + penalty * found
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design + np.diag(penalty), slope)
        while loss(found - step) > loss(found) and np.abs(step).max() > 1e-9:
            step = step / 2
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return found
