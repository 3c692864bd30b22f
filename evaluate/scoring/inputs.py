"""What a scoring starts from: a data set's splits with predictions of weights, or with those that somebody hands in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split, warn_unknown_patients
from common.data.fingerprint import yaml_fingerprint
from common.data.yolo_labels import name_of
from common.errors import UserError
from common.files import make_folder
from common.paths import default_data, shown
from common.trainings import find_fingerprint
from evaluate.detector.finding import DEFAULT_WEIGHTS, find_weights
from evaluate.detector.lineage import trace
from evaluate.detector.weights import (
    Weights,
    find_training_data,
    load_weights,
    run_folder,
)
from evaluate.postprocess.pipeline import Pipeline
from evaluate.scoring.choice import choose_pipeline
from evaluate.scoring.frame import check_frame
from evaluate.scoring.handed_in import read_by_split
from evaluate.scoring.leakage import find_leakage, warn_of_leakage
from evaluate.scoring.members import find_voters, predict_split
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.result import Leakage

OTHER_OUTPUT = "Name another one with --output."
"""What to do where what nobody has named cannot be written."""


@dataclass(frozen=True)
class Inputs:
    """What is scored, before any number.

    Attributes:
        data: The data set.
        splits: The splits that there are predictions for.
        predictions: Their predictions tables, as the model made them.
        files: Where these lie, by split; several that were handed in are under their own names.
        tune_on: The split to tune on; None tunes nothing.
        detectors: SHA-256 of the detectors' weights, as far as they are known.
        classifiers: Likewise of the gate's.
        overlapping: Whether one opacity may have several boxes of one detector: of weights, unless they were trained to
            find everything once.
        pipeline: What is used where there is nothing to tune on, as it was chosen before.
        report_on: The split whose score is reported.
        output: The folder to write to.
        leakage: Whether the weights know the images.
        weights: The weights; None where predictions were handed in.
        inference: How they were run, as `inference.Settings`.
        run: The training's folder.
    """

    data: DataSet
    splits: dict[str, Split]
    predictions: dict[str, pd.DataFrame]
    files: dict[str, Path]
    tune_on: str | None
    report_on: str
    output: Path
    leakage: Leakage
    weights: Weights | None = None
    inference: Mapping[str, Any] | None = None
    run: Path | None = None
    detectors: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    overlapping: bool = False
    pipeline: Pipeline | None = None


def from_weights(request: ScoringRequest) -> Inputs:
    """Predict with weights, or read what they have predicted before.

    Raises:
        UserError: Weights or data are missing or wrong.
        WorkError: No picture could be read, or a file could not be written.
    """
    path, note = find_weights(request.weights or DEFAULT_WEIGHTS)
    if note:
        print(note, file=sys.stderr)
    weights = load_weights(path, request.class_name)
    data, trained, reason = _data_of(weights, request.data)
    print(f"weights: {weights.description}\ndata: {shown(data.yaml)}{_class_words(data)}", file=sys.stderr)
    if request.data is None:
        _warn_of_names(weights, data)
    tune_on = request.tune_on if request.tunes else None
    pipeline = None
    if tune_on is not None and not data.has(tune_on) and data.has(request.report_on):
        _refuse_to_tune(request)
        pipeline = _chosen_before(request, weights, tune_on)
        tune_on = None
    names = list(dict.fromkeys(name for name in (tune_on, request.report_on) if name is not None))
    splits = {name: _read_split(data, name) for name in names}
    lineage = trace(weights)
    leakage = find_leakage(trained, data, names, reason, lineage.data, lineage.not_seen)
    warn_of_leakage(leakage, request.report_on)

    output = request.output or run_folder(path)
    make_folder(output, *(() if request.output else ("the weights' folder", OTHER_OUTPUT)))
    predicted = {
        name: predict_split(weights, split, output, request.inference, request.again) for name, split in splits.items()
    }
    return Inputs(
        data=data,
        splits=splits,
        predictions={name: table for name, (_, table) in predicted.items()},
        files={name: file for name, (file, _) in predicted.items()},
        tune_on=tune_on,
        report_on=request.report_on,
        output=output,
        leakage=leakage,
        weights=weights,
        inference=request.inference.settings(weights).as_dict() | {"augment": request.inference.augment},
        run=run_folder(path),
        detectors=(weights.sha256,),
        overlapping=weights.suppresses,
        pipeline=pipeline,
    )


def from_predictions(request: ScoringRequest) -> Inputs:
    """Read predictions files.

    Raises:
        UserError: A file or the data set is wrong, they do not belong together, or something is to be tuned and there
            is nothing to tune on.
    """
    data = DataSet(request.data or _default_data(), request.class_name)
    names = list(dict.fromkeys([request.tune_on, request.report_on]))
    predictions = read_by_split(request.predictions, data, names)
    splits = {name: _read_split(data, name) for name in predictions}
    check_frame(", ".join(map(shown, request.predictions)), pd.concat(predictions.values()), splits.values())
    report_on = request.report_on if request.report_on in predictions else next(iter(predictions))
    asked_to_tune = len(predictions) > 1 or request.tune_on == request.report_on
    can_tune = request.tunes and request.tune_on in predictions and asked_to_tune
    if not can_tune:
        _check_nothing_to_tune(request, report_on)
    if can_tune and report_on != request.tune_on:
        _warn_of_voters(request.predictions, request.tune_on, report_on)
    first, *others = request.predictions
    output = request.output or first.parent / f"{first.stem}-score"
    make_folder(output, *(() if request.output else ("beside the predictions,", OTHER_OUTPUT)))
    return Inputs(
        data=data,
        splits=splits,
        predictions=predictions,
        files={path.stem: path for path in request.predictions} if others else dict.fromkeys(predictions, first),
        tune_on=request.tune_on if can_tune else None,
        report_on=report_on,
        output=output,
        leakage=Leakage(reason="predictions do not tell what they were trained on"),
    )


def _data_of(weights: Weights, asked: Path | None) -> tuple[DataSet, DataSet | None, str]:
    """The data set to score on, the one that was trained on, and why that one is not known."""
    try:
        trained = DataSet(find_training_data(weights), weights.data_class)
    except UserError as error:
        if asked is None:
            raise
        return DataSet(asked, weights.data_class), None, str(error)
    then, now = find_fingerprint(run_folder(weights.path), weights.sha256), yaml_fingerprint(trained.yaml)
    if then and now and then != now:
        print_warning(
            f"{shown(trained.yaml)}: the data set is another one than when {shown(weights.path)} was trained on it (val"
            " or the manifest has changed); images of val and test may have been trained on, which cannot be seen now"
        )
    return trained if asked is None else DataSet(asked, weights.data_class), trained, ""


def _class_words(data: DataSet) -> str:
    """Which classes are scored, where there are several."""
    if len(data.names) == 1:
        return ""
    whole = len(data.scored) == len(data.names)
    return f", all {len(data.names)} classes as one" if whole else f", class {name_of(data.names, data.scored)}"


def _warn_of_names(weights: Weights, data: DataSet) -> None:
    """Say so where classes were renamed since the training: labels have numbers, and are scored by name."""
    several = len(data.names) > 1 and not weights.train_args.get("single_cls")
    if several and dict(weights.names) != data.names:
        print_warning(
            f"{shown(data.yaml)}: its classes are {', '.join(data.names.values())}, and were "
            f"{', '.join(weights.names.values())} when {shown(weights.path)} was trained; the score is of class "
            f"{name_of(weights.names, weights.classes)} there and {name_of(data.names, data.scored)} here"
        )


def _chosen_before(request: ScoringRequest, weights: Weights, tune_on: str) -> Pipeline:
    """What was chosen when the weights were scored on data with a split to tune on."""
    pipeline, source = choose_pipeline(None, weights, request.inference.voters(weights)[0])
    print_warning(
        f"split {tune_on!r} has no pictures to tune on: scored at confidence {pipeline.confidence.least:.6g} "
        f"({source}). --confidence gives another one"
    )
    return pipeline


def _check_nothing_to_tune(request: ScoringRequest, report_on: str) -> None:
    _refuse_to_tune(request)
    if request.tunes:
        print_warning(
            f"only images of split {report_on!r}: scored as submitted, at every confidence; not tuned. "
            "Add predictions for another split, or give --confidence"
        )


def _refuse_to_tune(request: ScoringRequest) -> None:
    if request.box_scale == "tune":
        raise UserError("--box-scale tune: needs predictions for a split to tune on; give the factors instead.")
    if request.tunes_gate:
        raise UserError(
            f"--gate-mode {request.gate_mode}: needs predictions for a split to tune on; choose weigh, or keep with "
            "--gate-threshold."
        )


def _warn_of_voters(files: Sequence[Path], tune_on: str, report_on: str) -> None:
    """Say so where fused predictions are tuned on images that more or fewer members have looked at."""
    for file in files:
        voters = find_voters(file)
        if tune_on in voters and report_on in voters and voters[tune_on] != voters[report_on]:
            tuned, reported = (
                str(low) if low == high else f"{low} to {high}" for low, high in (voters[tune_on], voters[report_on])
            )
            print_warning(
                f"{shown(file)}: {tuned} of the members have looked at an image of {tune_on!r}, {reported} at one of "
                f"{report_on!r}. Fused confidences depend on that, so the one chosen on {tune_on!r} may not suit "
                f"{report_on!r}; to avoid it, tune on images that no member has trained on"
            )


def _read_split(data: DataSet, name: str) -> Split:
    split = data.split(name)
    warn_unknown_patients(split)
    return split


def _default_data() -> Path:
    for path in (Path("rsna.yaml"), default_data()):
        if path.is_file():
            return path
    raise UserError("--predictions: name the data set that holds the truth with --data.")
