"""Command: predict boxes on pictures or DICOM files; write predictions, a Kaggle submission and pictures of both."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.argument_types import positive_int
from common.cli import GO_ON, console, parser, print_error, run
from evaluate.arguments import count_or_all, share_or_auto

RESEARCH_ONLY = "For research only: this is no medical device, and nothing here may decide about a patient."


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
        "  python evaluate/predict.py scan.dcm --weights runs/detect/train/weights/best.pt --confidence 0.3",
    )
    add = arguments.add_argument
    add("source", nargs="+", type=Path, metavar="SOURCE", help="DICOM files, pictures, folders or zips of them")
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
    add("--allow-unreadable", action="store_true", help="exit status 0 even if some of the files could not be read")
    add("--half", action="store_true", help="compute in 16 bits, on a GPU")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)

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
            inference=InferenceOptions(args.imgsz, args.augment, args.half, args.batch, args.device),
        )
    )
    say = console().print
    found = done.submitted["image_id"].nunique()
    least = done.pipeline.confidence.least
    say(f"{done.usable:,} images, {found:,} with an opacity at confidence {least:.6g} ({done.origin})")
    say(f"  {shown(args.output / PREDICTIONS_FILE)}  {len(done.predictions):,} predictions from confidence 0.001")
    say(f"  {shown(args.output / SUBMISSION_FILE)}  {done.pictures:,} images, {len(done.submitted):,} predictions")
    apart = f", {done.no_images:,} no images (reports and the like)" if done.no_images else ""
    say(f"  {shown(args.output / IMAGES_FILE)}  {done.usable:,} predicted, {done.unreadable:,} unreadable{apart}")
    if done.unreadable:
        say(f"  {shown(args.output / REJECTED_FILE)}  {done.unreadable:,} that could not be read, and why")
    if done.drawn:
        say(f"  {shown(args.output / OVERLAYS)}  {done.drawn:,} pictures")
    say(RESEARCH_ONLY)
    if done.unreadable and not args.allow_unreadable:
        print_error(
            f"{done.unreadable:,} of {done.pictures:,} images could not be read and look like negatives in the "
            "submission; the exit status is 1 for it, or 0 with --allow-unreadable"
        )
        return 1
    return None


if __name__ == "__main__":
    run(main, STOPPED)
