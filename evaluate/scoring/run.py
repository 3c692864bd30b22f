"""A scoring from what is asked to `score.json`: tune on one split, judge both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet
from common.data.fingerprint import yaml_fingerprint
from common.paths import brief, brief_text
from common.provenance import describe_origin
from evaluate.postprocess.gate import GateProbabilities, GateRule, choose_gate, read_gates
from evaluate.postprocess.operating_point import OperatingPoint
from evaluate.scoring.earlier import keep_earlier
from evaluate.scoring.inputs import Inputs, from_predictions, from_weights
from evaluate.scoring.numbers import (
    Judged,
    choose_box_scale,
    choose_confidence,
    compare,
    compare_subgroups,
    judge,
    score_split,
    score_subgroups,
)
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.result import GateComparison, Leakage, Origin, Score, write_score


@dataclass(frozen=True)
class Scored:
    """What came out.

    Attributes:
        score: The numbers, as in `score.json`.
        data: The data set.
        judged: By split, what the numbers come from: truth, predictions, score at every confidence.
        predictions: The predictions files.
        file: `score.json`.
        run: The training's folder; None where predictions were handed in.
    """

    score: Score
    data: DataSet
    judged: dict[str, Judged]
    predictions: list[Path]
    file: Path
    run: Path | None


def score(request: ScoringRequest) -> Scored:
    """Score weights or predictions; write `score.json`, and the predictions of weights.

    Raises:
        UserError: Weights, predictions, gate or data are missing or wrong, or do not belong together.
        WorkError: No picture could be read, or a file could not be written.
    """
    inputs = from_predictions(request) if request.predictions else from_weights(request)
    probabilities = read_gates(request.gates, inputs.data, inputs.splits) if request.gates else None
    point = _choose(inputs, request)
    if probabilities is None:
        judged = _judge(inputs, inputs.predictions, point)
        comparison = None
    else:
        gated = _gate(inputs, point, probabilities, request)
        plain, judged = _judge(inputs, inputs.predictions, point), _judge(inputs, gated.predictions, gated.point)
        comparison = GateComparison(
            files=tuple(brief(path) for path in probabilities.files),
            rule=gated.rule,
            asked=request.gate_mode,
            tuned_on=gated.tuned_on,
            seen_images=probabilities.seen,
            confidence_without=point.confidence,
            gains={name: compare(plain[name], judged[name]) for name in judged},
        )
        point = gated.point
    splits = {
        name: score_split(one) for name, one in sorted(judged.items(), key=lambda one: one[0] != inputs.report_on)
    }
    if not splits[inputs.report_on].positive_images:
        print_warning(f"no image of split {inputs.report_on!r} has a truth box: the score can only be 0")
    result = Score(
        weights=brief(inputs.weights.path) if inputs.weights else None,
        weights_sha256=inputs.weights.sha256 if inputs.weights else None,
        data_fingerprint=yaml_fingerprint(inputs.data.yaml),
        predictions={name: brief(path) for name, path in inputs.files.items()},
        data=brief(inputs.data.yaml),
        synthetic=inputs.data.is_synthetic(list(judged)),
        tuned_on=inputs.tune_on,
        reported_on=inputs.report_on,
        confidence=point.confidence,
        box_scale=point.box_scale,
        gate=comparison,
        splits=splits,
        subgroups=score_subgroups(judged[inputs.report_on]),
        subgroup_differences=compare_subgroups(judged[inputs.report_on]),
        inference=inputs.inference,
        leakage=_without_places(inputs.leakage),
        origin=Origin(**describe_origin("evaluate/score.py", request.argv)),
    )
    keep_earlier(inputs.output, result)
    return Scored(
        score=result,
        data=inputs.data,
        judged=judged,
        predictions=list(dict.fromkeys(inputs.files.values())),
        file=write_score(inputs.output, result),
        run=inputs.run,
    )


def _without_places(leakage: Leakage) -> Leakage:
    """For the record: what is said at once names paths as they are."""
    return replace(
        leakage,
        reason=None if leakage.reason is None else brief_text(leakage.reason),
        trained_on=None if leakage.trained_on is None else brief_text(leakage.trained_on),
        earlier=tuple(map(brief_text, leakage.earlier)),
        not_seen=tuple(map(brief_text, leakage.not_seen)),
    )


def _judge(inputs: Inputs, predictions: dict[str, pd.DataFrame], point: OperatingPoint) -> dict[str, Judged]:
    return {name: judge(split, predictions[name], point) for name, split in inputs.splits.items()}


def _choose(inputs: Inputs, request: ScoringRequest) -> OperatingPoint:
    """Confidence and box scale, without a gate."""
    if inputs.tune_on is None:
        return inputs.point or OperatingPoint(request.confidence or 0.0, request.box_scale or (1.0, 1.0))
    if inputs.tune_on == inputs.report_on:
        print_warning(f"tuned and reported on the same split {inputs.tune_on!r}: the score flatters")
    truth, predictions = inputs.splits[inputs.tune_on].truth, inputs.predictions[inputs.tune_on]
    if request.box_scale is None:
        point, best = choose_box_scale(truth, predictions)
    else:
        point, best = choose_confidence(truth, predictions, request.box_scale)
    if not best:
        print_warning(
            f"no confidence gives a score above 0 on {inputs.tune_on!r}: the choice means nothing. "
            "Has the model been trained, and on this data?"
        )
    return point


@dataclass(frozen=True)
class _Gated:
    """What a gate left of the predictions.

    Attributes:
        rule: What it did.
        tuned_on: The split that the rule was chosen on; None if it was given.
        point: The operating point for what is left.
        predictions: What is left, by split.
    """

    rule: GateRule
    tuned_on: str | None
    point: OperatingPoint
    predictions: dict[str, pd.DataFrame]


def _gate(inputs: Inputs, plain: OperatingPoint, gate: GateProbabilities, request: ScoringRequest) -> _Gated:
    """Put the gate before everything else: the rule chosen or given, then the confidence chosen anew."""
    rule = GateRule("weigh") if request.gate_mode == "weigh" else GateRule("keep", request.gate_threshold)
    point, raw, tune_on = plain, inputs.predictions, inputs.tune_on
    if tune_on is not None:
        truth = inputs.splits[tune_on].truth
        if request.tunes_gate:
            rule, point, _ = choose_gate(truth, raw[tune_on], gate.probabilities, request.gate_mode, plain.box_scale)
        else:
            point, _ = choose_confidence(truth, rule.apply(raw[tune_on], gate.probabilities), plain.box_scale)
    return _Gated(
        rule=rule,
        tuned_on=tune_on if request.tunes_gate else None,
        point=point,
        predictions={name: rule.apply(table, gate.probabilities) for name, table in raw.items()},
    )
