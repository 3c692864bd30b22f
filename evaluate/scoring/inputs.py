"""What a scoring starts from: a data set's splits with the votes of a system, or with predictions handed in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split, warn_unknown_patients
from common.data.fingerprint import yaml_fingerprint
from common.data.yolo_labels import name_of
from common.errors import UserError
from common.files import make_folder
from common.paths import brief, default_data, shown
from common.trainings import find_fingerprint
from evaluate.detector.cache import fingerprint_of
from evaluate.detector.weights import Weights, run_folder
from evaluate.postprocess.gate import GateProbabilities, read_gates
from evaluate.postprocess.pipeline import Pipeline
from evaluate.scoring.choice import choose_pipeline
from evaluate.scoring.frame import check_frame
from evaluate.scoring.handed_in import read_by_split
from evaluate.scoring.leakage import warn_of_leakage
from evaluate.scoring.members import (
    NOT_KNOWN,
    Knowledge,
    look_back,
    opacity_of_classifiers,
    range_of,
    trained_on,
    voters_in,
    voters_words,
)
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.result import Leakage
from evaluate.system.finding import find_system, has_own_home, holds_weights, home_of
from evaluate.system.gates import find_gates
from evaluate.system.loading import LoadedSystem, load_system
from evaluate.system.record import SYSTEM_FILE, System
from evaluate.system.voting import OTHER_OUTPUT, Votes, make_folders, opacity_of_split, predict_split, write_votes

OUT_OF_FOLD = "out_of_fold.csv"
"""Predictions of the training images, each by those members that were not trained on its patient."""
_TRAIN = "train"


@dataclass(frozen=True)
class Inputs:
    """What is scored, before any number.

    Attributes:
        data: The data set.
        splits: The splits that there are predictions for.
        predictions: Their predictions tables, as the voters made them.
        files: Where these lie, by split; several that were handed in are under their own names.
        tune_on: The split to tune on; None tunes nothing.
        report_on: The split whose score is reported.
        output: The folder to write to.
        leakage: Whether the weights know the images.
        name: What is scored, in words; None where predictions were handed in.
        inference: How detectors were run, as `LoadedSystem.inference`.
        run: The training's folder, where there is one detector.
        detectors: SHA-256 of the detectors' weights, and of the files that vote with them, as far as they are known.
        classifiers: Likewise of the gate's.
        overlapping: Whether one opacity may have several boxes of one detector: of weights, unless they were trained to
            find everything once.
        pipeline: What is used where there is nothing to tune on, as it was chosen before.
        gate: What the gate says about the images; None without one.
    """

    data: DataSet
    splits: dict[str, Split]
    predictions: dict[str, pd.DataFrame]
    files: dict[str, Path]
    tune_on: str | None
    report_on: str
    output: Path
    leakage: Leakage
    name: str | None = None
    inference: Mapping[str, Any] | None = None
    run: Path | None = None
    detectors: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    overlapping: bool = False
    pipeline: Pipeline | None = None
    gate: GateProbabilities | None = None


def from_system(request: ScoringRequest) -> Inputs:
    """Predict with weights, one or several, or read what they have predicted before.

    All that can be refused is refused before the first of them predicts.

    Raises:
        UserError: Weights or data are missing or wrong, or an image was trained on by every one of several detectors.
        WorkError: No picture could be read, or a file could not be written.
    """
    found, gates = find_system(request.named), find_gates(request.gates)
    system = load_system(
        replace(found, classifiers=(*found.classifiers, *gates.classifiers)), request.inference, request.class_name
    )
    request.check_gate(bool(system.classifiers or gates.files))
    data = _data_of(system, request)
    for member in system.members:
        print(f"weights: {member.weights.description}", file=sys.stderr)
    print(f"data: {shown(data.yaml)}{_class_words(data)}", file=sys.stderr)
    tune_on = request.tune_on if request.tunes else None
    pipeline = None
    if tune_on is not None and not data.has(tune_on) and data.has(request.report_on):
        _refuse_to_tune(request, is_known=True)
        pipeline = _chosen_before(system, tune_on)
        tune_on = None
    names = [name for name in (tune_on, request.report_on, _TRAIN if request.out_of_fold else None) if name is not None]
    splits = {name: _read_split(data, name) for name in dict.fromkeys(names)}
    knowledge = look_back(system, data, splits)
    _check_out_of_fold(request, system)
    scored = {name: split for name, split in splits.items() if name in (tune_on, request.report_on)}
    warn_of_leakage(knowledge.leakage, request.report_on)
    tables = read_gates(gates.files, data, scored) if gates.files else None
    _check_files(system, scored)
    home = home_of(found)
    output = request.output or home
    make_folder(output, *(() if request.output else ("the weights' folder", OTHER_OUTPUT)))
    make_folders(system, request.output)
    _keep_system(system.as_run, output)
    for split in splits.values():
        fingerprint_of(split)  # no picture is missing

    votes = {
        name: predict_split(system, split, request.output, request.again, knowledge.abstains[name])
        for name, split in splits.items()
    }
    files = {name: _written(system, name, one, output) for name, one in votes.items() if name in scored}
    if request.out_of_fold:
        files[OUT_OF_FOLD] = output / OUT_OF_FOLD
        write_votes(files[OUT_OF_FOLD], votes[_TRAIN])
        print(
            f"{_TRAIN}: {shown(files[OUT_OF_FOLD])}, {range_of(votes[_TRAIN].voters)} voters to an image",
            file=sys.stderr,
        )
    if words := voters_words({name: votes[name].voters for name in scored}, tune_on, request.report_on):
        print_warning(words)
    opacity = {name: votes[name].opacity for name in scored}
    return Inputs(
        data=data,
        splits=scored,
        predictions={name: votes[name].predictions for name in scored},
        files=files,
        tune_on=tune_on,
        report_on=request.report_on,
        output=output,
        leakage=knowledge.leakage,
        name=_name_of(system.system, output),
        inference=system.inference,
        run=run_folder(system.members[0].path) if len(system.members) == 1 else None,
        detectors=system.detector_checksums,
        classifiers=tuple(one.sha256 for one in system.classifiers),
        overlapping=system.overlapping,
        pipeline=pipeline,
        gate=tables or opacity_of_classifiers(system, opacity, knowledge),
    )


def from_predictions(request: ScoringRequest) -> Inputs:
    """Read predictions files; a gate's classifier looks at the images.

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
    tune_on = request.tune_on if can_tune else None
    if words := voters_words({name: voters_in(table) for name, table in predictions.items()}, tune_on, report_on):
        print_warning(words)
    first, *others = request.predictions
    output = request.output or first.parent / f"{first.stem}-score"
    gates = find_gates(request.gates)
    system = load_system(System((), gates.classifiers), request.inference)
    knowledge = look_back(system, data, splits) if system.classifiers else Knowledge(Leakage(reason=NOT_KNOWN))
    tables = read_gates(gates.files, data, splits) if gates.files else None
    make_folder(output, *(() if request.output else ("beside the predictions,", OTHER_OUTPUT)))
    make_folders(system, request.output)
    opacity = {
        name: opacity_of_split(system, split, request.output, request.again, knowledge.abstains.get(name))
        for name, split in splits.items()
    }
    return Inputs(
        data=data,
        splits=splits,
        predictions=predictions,
        files={path.stem: path for path in request.predictions} if others else dict.fromkeys(predictions, first),
        tune_on=tune_on,
        report_on=report_on,
        output=output,
        leakage=knowledge.leakage,
        classifiers=tuple(one.sha256 for one in system.classifiers),
        gate=tables or opacity_of_classifiers(system, opacity, knowledge),
    )


def _data_of(system: LoadedSystem, request: ScoringRequest) -> DataSet:
    """The data set to score on: named, that of the system, or else the one that the first detector was trained on."""
    named = request.data or system.system.data
    if not system.members:
        return DataSet(named or _default_data(), request.class_name)
    leading = system.members[0].weights
    found = {member.path: trained_on(member) for member in system.members}
    for member in system.members:
        if (trained := found[member.path][0]) is not None:
            _warn_of_change(member.weights, trained)
    if request.data is None and system.system.data is not None and not system.system.data.exists():
        raise UserError(f"{shown(system.system.data)}: the system's data set is not there. Name it with --data.")
    if named is not None:
        return DataSet(named, leading.data_class)
    data, reason = found[leading.path]
    if data is None:
        raise UserError(reason)
    _warn_of_names(leading, data)
    others = [one.yaml for one, _ in found.values() if one is not None and one.yaml.resolve() != data.yaml.resolve()]
    if others:
        print_warning(
            f"{shown(others[0])} was trained on, too, by another member; scored on {shown(data.yaml)}, that of the "
            "first. --data names the data set that all are to be scored on"
        )
    return data


def _warn_of_change(weights: Weights, trained: DataSet) -> None:
    """Say so where a data set is not what it was when it was trained on."""
    then = find_fingerprint(run_folder(weights.path), weights.sha256)
    now = yaml_fingerprint(trained.yaml) if then else None
    if then and now and then != now:
        print_warning(
            f"{shown(trained.yaml)}: the data set is another one than when {shown(weights.path)} was trained on it (val"
            " or the manifest has changed); images of val and test may have been trained on, which cannot be seen now"
        )


def _check_out_of_fold(request: ScoringRequest, system: LoadedSystem) -> None:
    if request.out_of_fold and len(system.members) < 2:
        raise UserError(
            "--out-of-fold: predicts the training images by members that were not trained on them; expected several "
            "detectors, trained on different folds. Name the folder of a recipe, or leave it out."
        )


def _check_files(system: LoadedSystem, splits: Mapping[str, Split]) -> None:
    """Refuse files that vote on nothing, or whose boxes are no pixels of the images."""
    for file in system.files.values():
        ids = {image_id for split in splits.values() for image_id in split.pictures}
        table = file.predictions[file.predictions["image_id"].isin(ids)]
        if ids.isdisjoint(file.image_ids):
            raise UserError(
                f"{shown(file.path)}: has no image of {' or '.join(splits)}, so it would not vote. Name predictions of "
                "the data set that is scored."
            )
        check_frame(shown(file.path), table, splits.values())


def _keep_system(system: System, output: Path) -> None:
    """Write down what was put together here, so that the folder can be named instead; a folder of its own has one.

    Raises:
        UserError: The folder is that of a training, which would be taken for the system.
    """
    home, is_alone = home_of(system), len(system.identity) == 1
    if output.resolve() == home.resolve() and (has_own_home(system) or holds_weights(home)):
        return
    if not holds_weights(output):
        system.to_yaml(output / SYSTEM_FILE)
    elif not is_alone:
        raise UserError(
            f"--output {shown(output)}: is the folder of weights, which would be taken instead of the system that is "
            "scored there. Name another one."
        )


def _written(system: LoadedSystem, split: str, votes: Votes, output: Path) -> Path:
    """The file of a split's predictions: the only voter's, or all voters' in one table."""
    if system.voters == 1:
        return next(iter(votes.files.values()))
    file = output / f"votes_{split}.csv"
    write_votes(file, votes)
    return file


def _name_of(system: System, output: Path) -> str:
    """What is scored, for the record: weights that are alone, or the folder whose `system.yaml` names all."""
    if has_own_home(system):
        return brief(home_of(system))
    is_alone = len(system.detectors) == 1 and not system.predictions
    return brief(system.detectors[0].weights if is_alone else output)


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


def _chosen_before(system: LoadedSystem, tune_on: str) -> Pipeline:
    """What was chosen when the weights were scored on data with a split to tune on."""
    pipeline, source = choose_pipeline(None, system)
    print_warning(
        f"split {tune_on!r} has no pictures to tune on: scored at confidence {pipeline.confidence.least:.6g} "
        f"({source}). --confidence gives another one"
    )
    return pipeline


def _check_nothing_to_tune(request: ScoringRequest, report_on: str) -> None:
    _refuse_to_tune(request, is_known=not request.tunes)
    if request.tunes:
        print_warning(
            f"only images of split {report_on!r}: scored as submitted, at every confidence; not tuned. "
            "Add predictions for another split, or give --confidence"
        )


def _refuse_to_tune(request: ScoringRequest, is_known: bool) -> None:
    """Refuse what needs a split to tune on; what to do with a gate may be known from before."""
    if request.box_scale == "tune":
        raise UserError("--box-scale tune: needs predictions for a split to tune on; give the factors instead.")
    if request.gates and not request.gives_gate and (request.gate_mode == "keep" or not is_known):
        raise UserError(
            f"--gate-mode {request.gate_mode}: needs predictions for a split to tune on; choose weigh, or keep with "
            "--gate-threshold."
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
