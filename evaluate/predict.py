"""Command: predict boxes on pictures or DICOM files; write predictions, a Kaggle submission and pictures of both."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.argument_types import positive_int
from common.cli import GO_ON, console, parser, print_error, run
from evaluate.arguments import count_or_all, share_or_auto

if TYPE_CHECKING:
    import pandas as pd

    from evaluate.postprocess.pipeline import Pipeline

RESEARCH_ONLY = "For research only: this is no medical device, and nothing here may decide about a patient."

_OF_TABLES = ("source", "pipeline", "data", "confidence", "gate", "output")
"""Options that act on predictions."""

STOPPED = f"{GO_ON}: what was predicted so far is kept"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = parser(
        "python evaluate/predict.py",
        "Predict opacities on chest X-rays: DICOM files are rendered exactly as for training. Writes predictions.csv "
        "(everything down to confidence 0.001), submission.csv (one row per image, at the confidence that "
        "evaluate/score.py chose), images.csv (what became of each file), rejected.csv if something could not be read, "
        "which also makes the exit status 1, and pictures with the boxes drawn.",
        "  python evaluate/predict.py datasets/raw/rsna-pneumonia-detection-challenge.zip --only stage_2_test_images\n"
        "  python evaluate/predict.py datasets/rsna/images/test --truth datasets/rsna/truth.csv --overlays 50\n"
        "  python evaluate/predict.py other.csv --pipeline val-score/pipeline.yaml --data datasets/rsna\n"
        "  python evaluate/predict.py scan.dcm --weights runs/detect/train/weights/best.pt --confidence 0.3",
    )
    add = arguments.add_argument
    add(
        "source",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="DICOM files, pictures, folders or zips of them; or predictions.csv of any detector, for --pipeline",
    )
    add(
        "--weights",
        nargs="+",
        type=Path,
        default=[Path("runs/best.pt")],
        help="weights, a training's folder, that of a recipe, or several of these, which vote together (default: "
        "runs/best.pt; without it the newest training's)",
    )
    add("--output", type=Path, default=Path("runs/predict"), help="folder for what is written")
    add(
        "--confidence",
        type=share_or_auto,
        default="auto",
        help="for the submission and the pictures: 0 to 1, or auto: as chosen by evaluate/score.py for these weights",
    )
    add(
        "--pipeline",
        type=Path,
        metavar="FILE",
        help="the fitted post-processing, as evaluate/score.py writes it; otherwise pipeline.yaml beside the weights",
    )
    add(
        "--gate",
        type=Path,
        action="append",
        metavar="GATE",
        help="the folder of a gate, as train/gate.py writes it, which looks at the images, too; given again for "
        "further ones: their mean counts. The gates of a recipe's folder need not be named",
    )
    add("--data", type=Path, help="of predictions.csv: data YAML or data set folder, for sizes and views of the images")
    add("--only", metavar="TEXT", help="take only files with this text in their path below SOURCE")
    add(
        "--overlays",
        type=count_or_all,
        default="16",
        help="how many pictures to draw, the most confident: number, all, none",
    )
    add("--truth", type=Path, help="truth.csv, to draw its boxes as well")
    add(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="of several classes the one to predict, or all (without it: Lung Opacity, or the only class)",
    )
    add("--batch", type=positive_int, default=16, help="images at a time")
    add("--imgsz", type=positive_int, help="side of the model's input in pixels; otherwise that of the training")
    add("--device", help="cpu, 0, cuda:1, mps; otherwise a GPU if there is one")
    add(
        "--augment",
        action="store_true",
        help="look at each image mirrored and at two other sizes, too: four times as slow, often better",
    )
    add(
        "--dicom-out",
        type=Path,
        metavar="DIR",
        help="folder for a Structured Report (TID 1500) and a Secondary Capture with the boxes of each DICOM file, "
        "for research only; needs the extra dicom-out",
    )
    add("--allow-unreadable", action="store_true", help="exit status 0 even if some of the files could not be read")
    add("--half", action="store_true", help="compute in 16 bits, on a GPU")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)
    tables = [path for path in args.source if path.suffix.lower() == ".csv"]
    if tables:
        _check_options(args, tables)
        _apply(args)
        return None

    from common.errors import UserError
    from common.paths import shown
    from evaluate.detector.options import InferenceOptions
    from evaluate.scoring.prediction import (
        IMAGES_FILE,
        OVERLAYS,
        PREDICTIONS_FILE,
        REJECTED_FILE,
        SUBMISSION_FILE,
        PredictionRequest,
        predict_files,
    )

    if args.data is not None:
        raise UserError(
            "--data: tells the sizes and views of predictions (.csv); pictures have their own. Leave it out."
        )
    done = predict_files(
        PredictionRequest(
            sources=tuple(args.source),
            weights=tuple(args.weights),
            gates=tuple(args.gate or ()),
            output=args.output,
            confidence=None if args.confidence == "auto" else args.confidence,
            pipeline=args.pipeline,
            only=args.only or "",
            overlays=args.overlays,
            truth=args.truth,
            class_name=args.class_name,
            dicom_out=args.dicom_out,
            inference=InferenceOptions(args.imgsz, args.augment, args.half, args.batch, args.device),
        )
    )
    say = console().print
    _say_found(done.usable, done.submitted, done.pipeline, done.origin)
    say(f"  {shown(args.output / PREDICTIONS_FILE)}  {len(done.predictions):,} predictions from confidence 0.001")
    say(f"  {shown(args.output / SUBMISSION_FILE)}  {done.pictures:,} images, {len(done.submitted):,} predictions")
    apart = f", {done.no_images:,} no images (reports and the like)" if done.no_images else ""
    say(f"  {shown(args.output / IMAGES_FILE)}  {done.usable:,} predicted, {done.unreadable:,} unreadable{apart}")
    if done.unreadable:
        say(f"  {shown(args.output / REJECTED_FILE)}  {done.unreadable:,} that could not be read, and why")
    if done.drawn:
        say(f"  {shown(args.output / OVERLAYS)}  {done.drawn:,} pictures")
    if done.dicoms:
        kept = f" ({done.dicoms.kept:,} of them were there before)" if done.dicoms.kept else ""
        say(
            f"  {shown(args.dicom_out)}  {done.dicoms.reports:,} Structured Reports, "
            f"{done.dicoms.captures:,} Secondary Captures{kept}"
        )
    say(RESEARCH_ONLY)
    if done.unreadable and not args.allow_unreadable:
        print_error(
            f"{done.unreadable:,} of {done.pictures:,} images could not be read and look like negatives in the "
            "submission; the exit status is 1 for it, or 0 with --allow-unreadable"
        )
        return 1
    return None


def _check_options(args: argparse.Namespace, tables: Sequence[Path]) -> None:
    """Refuse what cannot act on predictions, which are there already."""
    from common.errors import UserError
    from common.paths import shown

    if len(tables) < len(args.source):
        raise UserError(f"{shown(tables[0])}: predictions, among pictures. Name either of them at a time.")
    usual = vars(build_parser().parse_args([str(path) for path in tables]))
    idle = [name for name, value in vars(args).items() if value != usual[name] and name not in _OF_TABLES]
    if idle:
        option = f"--{idle[0].removesuffix('_name').replace('_', '-')}"
        raise UserError(f"{option}: {shown(tables[0])} holds predictions, on which it cannot act. Leave it out.")


def _apply(args: argparse.Namespace) -> None:
    """Make a submission of predictions."""
    from common.errors import UserError
    from common.paths import shown
    from evaluate.scoring.prediction import ApplyingRequest, apply_to_predictions

    if args.pipeline is None:
        raise UserError(
            f"{shown(args.source[0])}: predictions need a post-processing: name it with --pipeline. To fit one, score "
            "predictions of the same detector whose truth is known: python evaluate/score.py --predictions FILE"
        )
    done = apply_to_predictions(
        ApplyingRequest(
            predictions=tuple(args.source),
            pipeline=args.pipeline,
            data=args.data,
            confidence=None if args.confidence == "auto" else args.confidence,
            gates=tuple(args.gate or ()),
            output=args.output,
        )
    )
    _say_found(done.images, done.submitted, done.pipeline, f"as in {shown(args.pipeline)}")
    console().print(f"  {shown(done.file)}  {done.images:,} images, {len(done.submitted):,} predictions")
    console().print(RESEARCH_ONLY)


def _say_found(images: int, submitted: pd.DataFrame, pipeline: Pipeline, origin: str) -> None:
    """Say how many images have an opacity, and what was done to the boxes."""
    from evaluate.report.steps import pipeline_text

    found, least = submitted["image_id"].nunique(), pipeline.confidence.least
    console().print(f"{images:,} images, {found:,} with an opacity at confidence {least:.6g} ({origin})")
    console().print(f"post-processing: {pipeline_text(pipeline)}")


if __name__ == "__main__":
    run(main, STOPPED)
