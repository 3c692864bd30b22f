"""A scoring from what is asked to `score.json`: tune on one split, judge both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.csv_files import write_csv
from common.data.data_set import DataSet
from common.data.fingerprint import yaml_fingerprint
from common.paths import brief, brief_text
from common.provenance import describe_origin
from evaluate.postprocess.gate import GateProbabilities
from evaluate.scoring.earlier import keep_earlier
from evaluate.scoring.fitting import find_pipeline, fitted_steps, what_steps_bring
from evaluate.scoring.inputs import Inputs, from_predictions, from_system
from evaluate.scoring.numbers import (
    Judged,
    compare_subgroups,
    judge,
    judge_boxes,
    judge_images,
    outcome_table,
    score_split,
    score_subgroups,
)
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.result import OUTCOMES_FILE, PIPELINE_FILE, GateUse, Leakage, Origin, Score, write_score


@dataclass(frozen=True)
class Scored:
    """What came out.

    Attributes:
        score: The numbers, as in `score.json`.
        data: The data set.
        judged: By split, what the numbers come from: truth, predictions, score at every confidence.
        predictions: The predictions files.
        written: `score.json`, `outcomes.csv`, and `pipeline.yaml` where anything was fitted.
        run: The training's folder; None where predictions were handed in.
    """

    score: Score
    data: DataSet
    judged: dict[str, Judged]
    predictions: list[Path]
    written: list[Path]
    run: Path | None

    @property
    def file(self) -> Path:
        """`score.json`."""
        return self.written[0]


def score(request: ScoringRequest) -> Scored:
    """Score weights or predictions; write `score.json`, `outcomes.csv`, the fitted `pipeline.yaml` and predictions.

    Raises:
        UserError: Weights, predictions, gate or data are missing or wrong, or do not belong together.
        WorkError: No picture could be read, or a file could not be written.
    """
    inputs = from_predictions(request) if request.predictions else from_system(request)
    gate = inputs.gate
    probabilities = gate.probabilities if gate else None
    pipeline = find_pipeline(inputs, request, probabilities)
    judged = {
        name: judge(split, inputs.predictions[name], pipeline, probabilities) for name, split in inputs.splits.items()
    }
    splits = {
        name: score_split(one) for name, one in sorted(judged.items(), key=lambda one: one[0] != inputs.report_on)
    }
    if not splits[inputs.report_on].positive_images:
        print_warning(f"no image of split {inputs.report_on!r} has a truth box: the score can only be 0")
    result = Score(
        weights=inputs.name,
        weights_sha256=tuple(sorted({*inputs.detectors, *inputs.classifiers})),
        data_fingerprint=yaml_fingerprint(inputs.data.yaml),
        predictions={name: brief(path) for name, path in inputs.files.items()},
        data=brief(inputs.data.yaml),
        synthetic=inputs.data.is_synthetic(list(judged)),
        tuned_on=inputs.tune_on,
        reported_on=inputs.report_on,
        pipeline=pipeline,
        fitted=fitted_steps(inputs, request),
        steps=what_steps_bring(inputs, request, pipeline, judged, probabilities),
        gate=_gate_use(gate, request, inputs) if gate else None,
        splits=splits,
        subgroups=score_subgroups(judged[inputs.report_on]),
        subgroup_differences=compare_subgroups(judged[inputs.report_on]),
        inference=inputs.inference,
        image_level=judge_images(judged[inputs.report_on]),
        box_level=judge_boxes(judged[inputs.report_on]),
        leakage=_without_places(inputs.leakage),
        origin=Origin(**describe_origin("evaluate/score.py", request.argv)),
    )
    keep_earlier(inputs.output, result)
    written = [write_score(inputs.output, result), inputs.output / OUTCOMES_FILE]
    write_csv(written[-1], pd.concat([outcome_table(judged[name]) for name in splits], ignore_index=True))
    if inputs.tune_on is not None:
        written.append(inputs.output / PIPELINE_FILE)
        pipeline.to_yaml(written[-1])
    return Scored(
        score=result,
        data=inputs.data,
        judged=judged,
        predictions=list(dict.fromkeys(inputs.files.values())),
        written=written,
        run=inputs.run,
    )


def _gate_use(gate: GateProbabilities, request: ScoringRequest, inputs: Inputs) -> GateUse:
    return GateUse(
        files=tuple(brief(path) for path in gate.files),
        asked=request.gate_mode,
        tuned_on=inputs.tune_on if "gate" in fitted_steps(inputs, request) else None,
        seen_images=gate.seen,
    )


def _without_places(leakage: Leakage) -> Leakage:
    """For the record: what is said at once names paths as they are."""
    return replace(
        leakage,
        reason=None if leakage.reason is None else brief_text(leakage.reason),
        trained_on=None if leakage.trained_on is None else brief_text(leakage.trained_on),
        earlier=tuple(map(brief_text, leakage.earlier)),
        not_seen=tuple(map(brief_text, leakage.not_seen)),
        abstained=tuple(map(brief_text, leakage.abstained)),
    )
