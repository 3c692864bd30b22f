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

from common.cli import console, parser, print_warning, run
from common.errors import UserError, WorkError
from evaluate.arguments import count_or_all, positive_int, share_or_auto

if TYPE_CHECKING:
    import pandas as pd

    from evaluate.detector.inference import Picture, Settings
    from evaluate.postprocess.choice import Choice

DEFAULT_CONFIDENCE = 0.25
RESEARCH_ONLY = "For research only: this is no medical device, and nothing here may decide about a patient."


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = parser(
        "python evaluate/predict.py",
        "Predict opacities on chest X-rays: DICOM files are rendered exactly as for training. Writes predictions.csv "
        "(everything down to confidence 0.001), submission.csv (one row per image, at the confidence that "
        "evaluate/score.py chose), rejected.csv if something could not be read, and pictures with the boxes drawn.",
        "  python evaluate/predict.py datasets/raw/rsna-pneumonia-detection-challenge.zip --only stage_2_test_images\n"
        "  python evaluate/predict.py datasets/rsna/images/test --truth datasets/rsna/truth.csv --overlays 50\n"
        "  python evaluate/predict.py scan.dcm --weights runs/detect/train/weights/best.pt --confidence 0.3",
    )
    add = arguments.add_argument
    add("source", nargs="+", type=Path, metavar="SOURCE", help="DICOM files, pictures, folders or zips of them")
    add("--weights", type=Path, default=Path("runs/best.pt"), help="weights; without this file the newest training's")
    add("--output", type=Path, default=Path("runs/predict"), help="folder for what is written")
    add(
        "--confidence",
        type=share_or_auto,
        default="auto",
        help="for the submission and the pictures: 0 to 1, or auto: as chosen by evaluate/score.py for these weights",
    )
    add("--only", metavar="TEXT", help="take only files with this text in their path below SOURCE")
    add(
        "--overlays",
        type=count_or_all,
        default="16",
        help="how many pictures to draw, the most confident: number, all, none",
    )
    add("--truth", type=Path, help="truth.csv, to draw its boxes as well")
    add("--batch", type=positive_int, default=16, help="images at a time")
    add("--imgsz", type=positive_int, help="side of the model's input in pixels; otherwise that of the training")
    add("--device", help="cpu, 0, cuda:1, mps; otherwise a GPU if there is one")
    add("--augment", action="store_true", help="average over flipped and scaled copies: slower, often better")
    add("--half", action="store_true", help="compute in 16 bits, on a GPU")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)

    from common.data.tables import read_truth, write_predictions, write_rejected, write_submission
    from common.paths import shown
    from evaluate.detector.inference import Settings, predict, warn_if_augment_is_idle
    from evaluate.detector.pictures import find_pictures, with_original_sizes
    from evaluate.detector.weights import find_weights, load_weights, run_folder
    from evaluate.postprocess.boxes import keep, scale_boxes

    pictures = with_original_sizes(find_pictures(args.source, args.only or ""))
    truth = read_truth(args.truth) if args.truth else None
    path, note = find_weights(args.weights)
    if note:
        print(note, file=sys.stderr)
    weights = load_weights(path)
    settings = Settings(imgsz=args.imgsz or weights.imgsz, augment=args.augment, half=args.half)
    choice, origin = _choose(args.confidence, run_folder(path), settings)
    _make_folder(args.output)

    predicted = predict(weights, pictures, settings, args.batch, args.device)
    warn_if_augment_is_idle(weights, settings)
    rejected_file = args.output / "rejected.csv"
    rejected_file.unlink(missing_ok=True)
    if predicted.rejected:
        write_rejected(rejected_file, predicted.rejected)
        _, name, reason = predicted.rejected[0]
        message = f"{len(predicted.rejected)} of {len(pictures)} files could not be used, first {name}: {reason}"
        if not predicted.image_ids:
            raise WorkError(f"{message}. Nothing was predicted; all reasons are in {shown(rejected_file)}.")
        print_warning(f"{message}; see {shown(rejected_file)}. They are in the submission without a prediction.")

    write_predictions(args.output / "predictions.csv", predicted.predictions)
    final = keep(scale_boxes(predicted.predictions, *choice.box_scale), choice.confidence)
    write_submission(args.output / "submission.csv", final, [picture.image_id for picture in pictures])
    usable = set(predicted.image_ids)
    drawn = _draw([picture for picture in pictures if picture.image_id in usable], final, truth, args)

    say = console().print
    found = final["image_id"].nunique()
    say(f"{len(usable):,} images, {found:,} with an opacity at confidence {choice.confidence:.6g} ({origin})")
    say(f"  {shown(args.output / 'predictions.csv')}  {len(predicted.predictions):,} predictions from confidence 0.001")
    say(f"  {shown(args.output / 'submission.csv')}  {len(pictures):,} images, {len(final):,} predictions")
    if drawn:
        say(f"  {shown(args.output / 'overlays')}  {drawn:,} pictures")
    say(RESEARCH_ONLY)
    return None


def _choose(confidence: float | str, run: Path, settings: Settings) -> tuple[Choice, str]:
    """Confidence and box scale, and where they come from."""
    from common.paths import shown
    from evaluate.postprocess.choice import Choice
    from evaluate.scoring.result import SCORE_FILE, read_choice

    if not isinstance(confidence, str):
        return Choice(confidence), "--confidence"
    path = run / SCORE_FILE
    if not path.is_file():
        return Choice(DEFAULT_CONFIDENCE), "not tuned: run evaluate/score.py to choose it"
    choice = read_choice(path)
    if choice.gated:
        print_warning(
            f"{shown(path)}: its score was reached with a gate, whose classifier does not look at these pictures; "
            "going on without, at the confidence that was best without"
        )
    before, now = choice.inference or {}, settings.as_dict()
    changed = [key for key in before if key in now and before[key] != now[key] and key != "half"]
    if changed:
        differences = ", ".join(f"{key} {before[key]} there, {now[key]} here" for key in changed)
        print_warning(f"{shown(path)}: the confidence was chosen on other predictions ({differences}) and may not suit")
    return choice, f"chosen in {shown(path)}"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: not a folder that can be written ({error.strerror}).") from error


def _draw(pictures: list[Picture], final: pd.DataFrame, truth: pd.DataFrame | None, args: argparse.Namespace) -> int:
    """Write overlays of the images with the most confident predictions; return how many."""
    import cv2
    import numpy as np

    from common.cli import progress
    from common.data.tables import COORDINATES
    from common.files import write_atomic
    from common.pages.pictures import overlay
    from evaluate.detector.inference import load_picture

    folder = args.output / "overlays"
    for old in folder.glob("*.jpg"):  # an earlier run's, of other images or boxes
        old.unlink()
    highest = final.groupby("image_id")["confidence"].max()
    chosen = sorted(pictures, key=lambda picture: (-highest.get(picture.image_id, 0.0), picture.image_id))[
        : args.overlays
    ]
    if not chosen:
        return 0
    _make_folder(folder)
    boxes = dict(iter(final.groupby("image_id")))
    known = dict(iter(truth.groupby("image_id"))) if truth is not None else {}
    for picture in progress(chosen, "drawing"):
        image_id = picture.image_id
        found = boxes.get(image_id, final.iloc[:0])[["confidence", *COORDINATES]].to_numpy(float, copy=True)
        true = known[image_id][COORDINATES].to_numpy(float) if image_id in known else None
        pixels = load_picture(picture)
        factors = np.tile(pixels.shape[1::-1], 2) / np.tile(picture.size or pixels.shape[1::-1], 2)
        found[:, 1:] *= factors
        drawn = overlay(pixels, None if true is None else true * factors, found)
        encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        write_atomic(folder / f"{image_id}.jpg", encoded.tobytes())
    return len(chosen)


if __name__ == "__main__":
    run(main)
