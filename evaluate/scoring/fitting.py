"""The post-processing of a scoring: fitted on one split or given, and what each of its steps brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields, replace
from itertools import pairwise
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.fingerprint import yaml_fingerprint
from common.errors import UserError
from common.paths import shown
from evaluate.postprocess.fitting import STEPS, SUPPRESSIONS_OF_SEVERAL, fit
from evaluate.postprocess.gains import gains
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, GateMode, GateRule, Sides
from evaluate.postprocess.suppression import Suppression, count_voters
from evaluate.scoring.choice import misfit
from evaluate.scoring.inputs import Inputs
from evaluate.scoring.numbers import Judged, compare, judge
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.result import ALL, Gain, Interval, Step

_MODES: dict[str, tuple[GateMode, ...]] = {"tune": ("none", "weigh", "keep", "bayes"), "keep": ("none", "keep")}
"""Of what the gate is chosen, by what is asked for."""
_ATTRIBUTES = {"by_view": "box_scale"}
"""Of steps that are no attributes of the pipeline, the one that they change."""


def find_pipeline(inputs: Inputs, request: ScoringRequest, gate: pd.Series | None) -> Pipeline:
    """The post-processing that is asked for: fitted on the split to tune on, given, or chosen before.

    Args:
        inputs: What is scored.
        request: What is fitted, and what is given.
        gate: P(opacity) by image_id.

    Raises:
        UserError: A table is wrong, or the file that is asked for.
    """
    if request.pipeline is not None:
        pipeline = Pipeline.from_yaml(request.pipeline)
        if why := misfit(pipeline, inputs.detectors, inputs.classifiers):
            print_warning(f"{shown(request.pipeline)}: {why}, and may not suit these")
    elif inputs.tune_on is not None:
        return _fit(inputs, inputs.tune_on, request, gate)
    else:
        pipeline = inputs.pipeline or _start(inputs)
    pipeline = replace(pipeline, **_given(request, gate))
    if pipeline.gate.mode != "none" and gate is None:
        whose = "the post-processing" if request.pipeline is None else shown(request.pipeline)
        raise UserError(f"{whose} was fitted with a gate: name it with --gate, or give another one with --pipeline.")
    return pipeline if request.confidence is None else replace(pipeline, confidence=Confidence(request.confidence))


def fitted_steps(inputs: Inputs, request: ScoringRequest) -> tuple[str, ...]:
    """The steps that are fitted, as in `evaluate.postprocess.fitting.STEPS`."""
    steps = request.steps if inputs.tune_on is not None else ()
    return tuple(name for name in steps if name != "gate" or inputs.gate is not None)


def start_of(predictions: Iterable[pd.DataFrame], overlapping: bool) -> Pipeline:
    """What is done to predictions where nothing is fitted or given: one box is made of several, and no more.

    Args:
        predictions: Predictions tables.
        overlapping: Whether one opacity may have several boxes of one detector. Those that somebody hands in are left
            as they are, and so are those of a model that is trained to find everything once.
    """
    if any((count_voters(table) > 1).any() for table in predictions):
        return Pipeline(suppression=SUPPRESSIONS_OF_SEVERAL[0])
    return Pipeline() if overlapping else Pipeline(suppression=Suppression("none", None))


def _start(inputs: Inputs) -> Pipeline:
    return start_of(inputs.predictions.values(), inputs.overlapping)


def what_steps_bring(
    inputs: Inputs, request: ScoringRequest, pipeline: Pipeline, judged: Mapping[str, Judged], gate: pd.Series | None
) -> tuple[Step, ...]:
    """What each step adds to those before it; nothing where nothing was fitted.

    On the reported split, every step is judged with the confidence that is best on the split that was tuned on, with
    the steps so far. The last line is of all of them.

    Args:
        inputs: What is scored.
        request: What was fitted, and what was given.
        pipeline: As it was fitted.
        judged: What all of its steps leave, by split.
        gate: P(opacity) by image_id.
    """
    if inputs.tune_on is None:
        return ()
    reported, table = inputs.splits[inputs.report_on], inputs.predictions[inputs.report_on]
    parts = _prefixes(inputs, inputs.tune_on, request, pipeline, gate)
    stages = [
        judged[inputs.report_on] if part == pipeline else judge(reported, table, part, gate) for part in parts.values()
    ]
    gains = [Gain(stages[0].score, 0.0, None), *(compare(*pair) for pair in pairwise(stages))]
    names = list(parts)
    if len(names) > 2:
        names, gains = [*names, ALL], [*gains, compare(stages[0], stages[-1])]
    unseen = _on_unseen_patients(inputs, inputs.tune_on, request, gate) if len(names) > 1 else {}
    return tuple(Step(name, unseen.get(name), gain) for name, gain in zip(names, gains, strict=True))


def _prefixes(
    inputs: Inputs, tune_on: str, request: ScoringRequest, pipeline: Pipeline, gate: pd.Series | None
) -> dict[str, Pipeline]:
    """The pipelines that end with each step that was fitted or does something, after the confidence alone.

    Steps after it are as they are where nothing is fitted, and the confidence is always the best with what there is.
    """
    split, fitted = inputs.splits[tune_on], fitted_steps(inputs, request)
    start = start_of(inputs.predictions.values(), inputs.overlapping or "suppression" in fitted)  # as `fit` begins
    given = [part.name for part in fields(Pipeline) if part.name not in ("confidence", "fitted_on")]
    does = {name for name in given if getattr(pipeline, name) != getattr(start, name)}
    names = [name for name in STEPS if name != "confidence" and (name in fitted or name in does)]
    fixed = {name: getattr(start, name) for name in given}
    parts: dict[str, Pipeline] = {}
    for name in ["confidence", *names][: len(names)]:
        steps = {"confidence"}
        if name == "box_scale" and "by_view" in fitted and len({*astuple(pipeline.box_scale)}) > 1:
            fixed.pop(name)
            steps.add(name)  # the common one, which the pipeline has not kept
        elif name != "confidence":
            fixed[_ATTRIBUTES.get(name, name)] = getattr(pipeline, _ATTRIBUTES.get(name, name))
        parts[name] = fit(split.truth, inputs.predictions[tune_on], split.manifest, gate, steps=steps, fixed=fixed)
        fixed["box_scale"] = parts[name].box_scale
    return {**parts, (names or ["confidence"])[-1]: pipeline}


def _on_unseen_patients(
    inputs: Inputs, tune_on: str, request: ScoringRequest, gate: pd.Series | None
) -> dict[str, Gain]:
    """What each step brings on the patients of the split to tune on, each by what was fitted on others."""
    split = inputs.splits[tune_on]
    found = gains(split.truth, inputs.predictions[tune_on], split.manifest, gate, **_asked(inputs, request, gate))
    return {
        one.step: Gain(
            one.score, one.gain, None if one.low is None or one.high is None else Interval(one.low, one.high)
        )
        for one in found
    }


def _given(request: ScoringRequest, gate: pd.Series | None) -> dict[str, Any]:
    """The steps that the request gives, by name."""
    given: dict[str, Any] = {}
    if isinstance(request.box_scale, tuple):
        given["box_scale"] = BoxScale.common(Sides(*request.box_scale))
    if gate is not None and request.gives_gate:
        given["gate"] = GateRule("weigh") if request.gate_mode == "weigh" else GateRule("keep", request.gate_threshold)
    return given


def _asked(inputs: Inputs, request: ScoringRequest, gate: pd.Series | None) -> dict[str, Any]:
    """What is fitted and what is not, as `fit` takes it."""
    fixed = _given(request, gate)
    if "suppression" not in request.steps:
        fixed["suppression"] = _start(inputs).suppression
    return {
        "steps": fitted_steps(inputs, request),
        "fixed": fixed,
        "gate_modes": _MODES.get(request.gate_mode, ()),
    }


def _fit(inputs: Inputs, tune_on: str, request: ScoringRequest, gate: pd.Series | None) -> Pipeline:
    if tune_on == inputs.report_on:
        print_warning(f"tuned and reported on the same split {tune_on!r}: the score flatters")
    split = inputs.splits[tune_on]
    fitted = fit(
        split.truth,
        inputs.predictions[tune_on],
        split.manifest,
        gate,
        **_asked(inputs, request, gate),
        split=tune_on,
        data_fingerprint=yaml_fingerprint(inputs.data.yaml) or "",
    )
    if not fitted.fitted_on.score:
        print_warning(
            f"no confidence gives a score above 0 on {tune_on!r}: the choice means nothing. "
            "Has the model been trained, and on this data?"
        )
    # Of a classifier that nobody asks, nothing depends.
    weights = {*inputs.detectors, *(inputs.classifiers if fitted.gate.mode != "none" else ())}
    return replace(fitted, fitted_on=replace(fitted.fitted_on, weights=tuple(sorted(weights))))
