"""Predictions on pictures that belong to no data set, or of others, post-processed as a scoring has chosen it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from common.cli import print_warning
from common.data.csv_files import write_csv
from common.data.data_set import DataSet
from common.data.tables import (
    read_gate,
    read_predictions,
    read_truth,
    write_predictions,
    write_rejected,
    write_submission,
)
from common.errors import UserError, WorkError
from common.files import make_folder
from common.paths import default_data, shown
from evaluate.detector.finding import DEFAULT_WEIGHTS
from evaluate.detector.loading import NO_IMAGE, PREDICTED, UNREADABLE, Outcome
from evaluate.detector.options import InferenceOptions
from evaluate.detector.pictures import find_pictures, with_originals
from evaluate.detector.plausibility import NO_CHEST, is_no_chest
from evaluate.dicom_out.algorithm import algorithm_of, finding_of
from evaluate.dicom_out.place import OPTION, check_sources
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.scoring.choice import choose_pipeline, size_of_scoring
from evaluate.scoring.handed_in import check_columns
from evaluate.scoring.overlays import draw_overlays
from evaluate.scoring.result import PIPELINE_FILE
from evaluate.system.finding import find_system, home_of, typed_words_of
from evaluate.system.gates import find_gates
from evaluate.system.loading import load_system
from evaluate.system.voting import Votes, forget, predict_pictures

if TYPE_CHECKING:
    from evaluate.dicom_out.writing import Written

PREDICTIONS_FILE, SUBMISSION_FILE, IMAGES_FILE, REJECTED_FILE, OVERLAYS = (
    "predictions.csv",
    "submission.csv",
    "images.csv",
    "rejected.csv",
    "overlays",
)
IMAGE_COLUMNS = [
    "image_id", "source", "status", "reason", "doubt", "class", "boxes",
    "study_instance_uid", "series_instance_uid", "sop_instance_uid",
]  # fmt: skip
_MOST_DOUBTS = 6


@dataclass(frozen=True)
class PredictionRequest:
    """Pictures to predict on.

        predict_files(PredictionRequest((Path("scans"),))).submitted

    Attributes:
        sources: DICOM files, pictures, folders or zips of them.
        weights: What `evaluate.system.finding.find_system` takes, one or several; where `runs/best.pt` is not there,
            the newest training's.
        output: The folder to write to.
        confidence: For the submission and the pictures; None: as chosen by a scoring of these weights.
        pipeline: The file of a fitted post-processing; None: the one beside the weights.
        only: Take only files with this text in their path below the source.
        overlays: How many pictures to draw, the most confident; None: all.
        truth: A `truth.csv`, to draw its boxes as well.
        class_name: Of weights of several classes the one to predict, or `all` for all as one; None: `Lung Opacity`, or
            the only one.
        inference: How predictions are made.
        gates: Gates whose classifiers look at the pictures, besides those of the system: folders or weights.
        dicom_out: The folder for a Structured Report and a Secondary Capture of each DICOM file; None: none are made.
    """

    sources: tuple[Path, ...]
    weights: Path | Sequence[Path] = DEFAULT_WEIGHTS
    output: Path = Path("runs/predict")
    confidence: float | None = None
    pipeline: Path | None = None
    only: str = ""
    overlays: int | None = 16
    truth: Path | None = None
    class_name: str | None = None
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    gates: tuple[Path, ...] = ()
    dicom_out: Path | None = None

    @property
    def named(self) -> tuple[Path, ...]:
        """The weights that were named."""
        return (self.weights,) if isinstance(self.weights, Path) else tuple(self.weights)


@dataclass(frozen=True)
class PredictedFiles:
    """What came out.

    Attributes:
        pictures: How many pictures there are, of which the submission has a row each.
        unreadable: How many of them could not be read.
        no_images: How many other files are DICOM objects that hold no image; the submission does not have them.
        predictions: The predictions table at all confidences, as in `predictions.csv`.
        submitted: What is left of it, as in `submission.csv`.
        pipeline: What was done to them.
        origin: Where these come from, in words.
        drawn: How many pictures lie in `overlays/`.
        dicoms: What was written for the archive; None, if that was not asked for.
    """

    pictures: int
    unreadable: int
    no_images: int
    predictions: pd.DataFrame
    submitted: pd.DataFrame
    pipeline: Pipeline
    origin: str
    drawn: int
    dicoms: Written | None = None

    @property
    def usable(self) -> int:
        """How many pictures were predicted on."""
        return self.pictures - self.unreadable


def predict_files(request: PredictionRequest) -> PredictedFiles:
    """Predict; write predictions, a submission, what became of each file, and pictures with their boxes.

    After a stop, the same call goes on.

    Raises:
        UserError: Pictures, weights or truth are missing or wrong.
        WorkError: No picture could be read, or a file could not be written. One that could not be read among others
            is no error: see `unreadable`.
    """
    if request.dicom_out is not None:
        check_sources(request.dicom_out, request.sources)
    pictures = with_originals(find_pictures(request.sources, request.only))
    truth = read_truth(request.truth) if request.truth else None
    found, gates = find_system(request.named), find_gates(request.gates)
    if gates.files:
        raise UserError(
            f"--gate {shown(gates.files[0])}: a table of probabilities, which cannot look at new pictures; expected a "
            "gate as train/gate.py writes it. Name its folder."
        )
    whole = replace(found, classifiers=(*found.classifiers, *gates.classifiers))
    system = load_system(whole, request.inference, request.class_name, size_of_scoring(whole))
    for member in system.members:
        print(f"weights: {member.weights.description}", file=sys.stderr)
    pipeline, origin = choose_pipeline(request.confidence, system, request.pipeline)
    if pipeline.gate.mode != "none" and not system.classifiers:
        raise UserError(
            f"{shown(request.pipeline or home_of(whole) / PIPELINE_FILE)}: was fitted with a gate, whose classifier "
            "must look at these pictures, too: name it with --gate, or fit it without: python evaluate/score.py "
            f"{typed_words_of(whole)}"
        )
    output = request.output
    make_folder(output, remedy="Choose another --output.")
    if request.dicom_out is not None:
        make_folder(request.dicom_out, OPTION)
    predicted = predict_pictures(system, pictures, output)
    ids = {one.image_id for one in predicted.outcomes if one.status == PREDICTED}
    if not ids:
        forget(output)  # nothing was kept
    submitted = pipeline.apply(predicted.predictions, predicted.manifest, predicted.opacity)
    _write_images(output / IMAGES_FILE, predicted, submitted, finding_of(system))
    _write_rejected(output / REJECTED_FILE, predicted.outcomes)
    _warn_of_doubts(predicted.outcomes, output / IMAGES_FILE)
    write_predictions(output / PREDICTIONS_FILE, predicted.predictions)
    images = [one.image_id for one in predicted.outcomes if one.status != NO_IMAGE]
    write_submission(output / SUBMISSION_FILE, submitted, images)
    usable = [picture for picture in pictures if picture.image_id in ids]
    drawn = draw_overlays(output / OVERLAYS, usable, submitted, truth, request.overlays)
    dicoms = None
    if request.dicom_out is not None:
        from evaluate.dicom_out.writing import write_dicoms

        outcomes = {one.image_id: one for one in predicted.outcomes}
        dicoms = write_dicoms(request.dicom_out, usable, outcomes, submitted, algorithm_of(system, pipeline))
        for why, (count, first) in dicoms.left_out.items():
            print_warning(
                f"{shown(request.dicom_out)}: lacks {count:,} of {len(usable):,} images, first {first}: {why}"
            )
    forget(output)
    return PredictedFiles(
        pictures=len(images),
        unreadable=len(images) - len(usable),
        no_images=len(pictures) - len(images),
        predictions=predicted.predictions,
        submitted=submitted,
        pipeline=pipeline,
        origin=origin,
        drawn=drawn,
        dicoms=dicoms,
    )


def _write_images(file: Path, predicted: Votes, submitted: pd.DataFrame, finding: str) -> None:
    """Write down what became of each file: columns `IMAGE_COLUMNS`, `boxes` empty where nothing was predicted.

    The status of what its header says to be no chest radiograph is that, though it was predicted.

    Where a gate has looked at the images, there is a last column, `p_opacity`.
    """
    counts = submitted["image_id"].value_counts()
    rows = [
        (
            one.image_id,
            one.source,
            NO_CHEST if is_no_chest(one.doubt) else one.status,
            one.reason,
            one.doubt,
            finding if one.status == PREDICTED else "",
            int(counts.get(one.image_id, 0)) if one.status == PREDICTED else "",
            one.study_instance_uid,
            one.series_instance_uid,
            one.sop_instance_uid,
        )
        for one in predicted.outcomes
    ]
    table = pd.DataFrame(rows, columns=IMAGE_COLUMNS)
    if predicted.opacity is not None:
        table["p_opacity"] = table["image_id"].map(predicted.opacity)
    write_csv(file, table)


def _write_rejected(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Write down what could not be read; nothing is left of an earlier run."""
    file.unlink(missing_ok=True)
    rejected = [(one.image_id, one.source, one.reason) for one in outcomes if one.status == UNREADABLE]
    is_any_usable = any(one.status == PREDICTED for one in outcomes)
    if rejected:
        write_rejected(file, rejected)
        _, name, reason = rejected[0]
        message = f"{len(rejected):,} of {len(outcomes):,} files could not be used, first {name}: {reason}"
        if not is_any_usable:
            raise WorkError(f"{message}. Nothing was predicted; all reasons are in {shown(file)}.")
        print_warning(f"{message}; see {shown(file)}. They are in the submission without a prediction.")
    elif not is_any_usable:
        one = outcomes[0]
        raise WorkError(f"none of the {len(outcomes):,} files is an image, first {one.source}: {one.reason}.")


def _warn_of_doubts(outcomes: Sequence[Outcome], file: Path) -> None:
    """Say once how many images may be none of those that the models know."""
    doubtful = [one for one in outcomes if one.doubt]
    if not doubtful:
        return
    kinds = Counter(doubt for one in doubtful for doubt in one.doubt.split("; ")).most_common()
    first = {doubt: one.source for one in reversed(doubtful) for doubt in one.doubt.split("; ")}
    named = [f"{doubt} ({count:,}, first {first[doubt]})" for doubt, count in kinds[:_MOST_DOUBTS]]
    if len(kinds) > len(named):
        named.append(f"{len(kinds) - len(named)} other reasons")
    print_warning(
        f"{len(doubtful):,} of {len(outcomes):,} files may be no frontal chest X-rays, and were predicted as if they "
        f"were: {', '.join(named)}; see {shown(file)}"
    )


@dataclass(frozen=True)
class ApplyingRequest:
    """Predictions to make a submission of.

        apply_to_predictions(ApplyingRequest((Path("new.csv"),), Path("old-score/pipeline.yaml"))).submitted

    Attributes:
        predictions: Files of predictions; no image may be in two of them.
        pipeline: The file of a fitted post-processing.
        data: Data YAML or data set folder that the images are in, for their sizes and views; None: `rsna.yaml`.
        confidence: Instead of the fitted one.
        gates: Files with probabilities of an opacity of these images, where the post-processing has a gate.
        output: The folder to write to.
    """

    predictions: tuple[Path, ...]
    pipeline: Path
    data: Path | None = None
    confidence: float | None = None
    gates: tuple[Path, ...] = ()
    output: Path = Path("runs/predict")


@dataclass(frozen=True)
class Applied:
    """What came out.

    Attributes:
        images: How many images the submission has: all of the splits that the predictions are of.
        submitted: The predictions that are left.
        pipeline: What was done to them.
        file: The submission.
    """

    images: int
    submitted: pd.DataFrame
    pipeline: Pipeline
    file: Path


def apply_to_predictions(request: ApplyingRequest) -> Applied:
    """Take all steps, and write a submission.

    Raises:
        UserError: A file is wrong, or an image is not in the data set, or in two files.
        WorkError: The submission cannot be written.
    """
    pipeline = Pipeline.from_yaml(request.pipeline)
    if request.confidence is not None:
        pipeline = replace(pipeline, confidence=Confidence(request.confidence))
    files = [read_predictions(path) for path in request.predictions]
    check_columns(files)
    named = pd.Series([image_id for file in files for image_id in file.image_ids], dtype=object)
    names = ", ".join(shown(path) for path in request.predictions)
    if named.duplicated().any():
        raise UserError(f"{names}: image {named[named.duplicated()].iloc[0]} is in two of them. Hand in one of these.")
    data = DataSet(request.data or default_data())
    manifest = _manifest(data)
    strangers = named[~named.isin(manifest["image_id"])]
    if len(strangers):
        raise UserError(
            f"{names}: {len(strangers):,} of {len(named):,} images, first {strangers.iloc[0]}, are not in "
            f"{shown(data.yaml)}, which knows sizes and views. Name the data set that they belong to with --data."
        )
    gate = _opacity(request.gates, named, request.pipeline) if pipeline.gate.mode != "none" else None
    submitted = pipeline.apply(pd.concat([file.predictions for file in files], ignore_index=True), manifest, gate)
    splits = manifest.loc[manifest["image_id"].isin(named), "split"].unique()
    images = manifest.loc[manifest["split"].isin(splits), "image_id"].tolist()
    make_folder(request.output, remedy="Choose another --output.")
    file = request.output / SUBMISSION_FILE
    write_submission(file, submitted, images)
    return Applied(len(images), submitted, pipeline, file)


def _manifest(data: DataSet) -> pd.DataFrame:
    """Split, size and view of every image of a data set."""
    names = [name for name in ("train", "val", "test") if data.has(name)]
    whole = data.whole_manifest(names)
    if whole is None:
        whole = pd.concat([data.split(name).manifest.assign(split=name) for name in names], ignore_index=True)
    return whole


def _opacity(gates: Sequence[Path], images: pd.Series, pipeline: Path) -> pd.Series:
    """P(opacity) by image_id, the mean of all gates."""
    if not gates:
        raise UserError(
            f"{shown(pipeline)}: was fitted with a gate: name the file of its probabilities of the images with --gate."
        )
    tables = [read_gate(path).set_index("image_id")["p_opacity"] for path in gates]
    for path, table in zip(gates, tables, strict=True):
        missing = images[~images.isin(table.index)]
        if len(missing):
            raise UserError(
                f"{shown(path)}: {len(missing):,} of the {len(images):,} images are not in it, first "
                f"{missing.iloc[0]}; expected a probability for each."
            )
    return pd.concat(tables).groupby(level=0).mean()
