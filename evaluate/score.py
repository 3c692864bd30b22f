"""Command: the RSNA score of weights or predictions, tuned on one split and reported on another."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.argument_types import positive_int
from common.cli import parser, run
from evaluate.arguments import box_scale, kept_predictions, share
from evaluate.detector.options import InferenceOptions
from evaluate.scoring.request import ScoringRequest

STOPPED = kept_predictions


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = parser(
        "python evaluate/score.py",
        "Score weights, or anybody's predictions, with the RSNA 2018 challenge's metric: predict val and test, fit the "
        "post-processing on val, report the score on test with its 95 % interval and what each step brought. Writes "
        "score.json, pipeline.yaml (which evaluate/predict.py applies), the predictions and a report beside the "
        "weights, and logs to Weights & Biases (offline unless you are logged in).",
        "  python evaluate/score.py\n"
        "  python evaluate/score.py runs/detect/train/weights/best.pt --fit confidence\n"
        "  python evaluate/score.py --gate runs/gate/gate.csv\n"
        "  python evaluate/score.py --predictions submission.csv --data rsna.yaml --confidence 0.3",
    )
    add = arguments.add_argument
    add(
        "weights",
        nargs="*",
        type=Path,
        help="weights, a training's folder, that of a recipe, predictions of other detectors, or several of these, "
        "which vote together (default: runs/best.pt; without it the newest training's)",
    )
    add("--data", type=Path, help="data YAML or data set folder; otherwise the one that the weights were trained on")
    add(
        "--predictions",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="score these predictions or Kaggle "
        "submissions instead of weights; with images of both splits they are tuned, with one scored as they are",
    )
    add("--tune-on", default="val", metavar="SPLIT", help="split on which the post-processing is fitted")
    add("--report-on", default="test", metavar="SPLIT", help="split whose score is reported")
    add(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="of several classes the one to score, or all: a box of any class counts, as one class (without it: Lung "
        "Opacity, or the only class)",
    )
    add(
        "--fit",
        choices=("all", "confidence"),
        default="all",
        help="which steps of the post-processing are chosen: all (overlapping boxes, most boxes of an image, box scale "
        "by side and view, gate, confidence), or the confidence alone",
    )
    add(
        "--pipeline",
        type=Path,
        metavar="FILE",
        help="use this post-processing, a pipeline.yaml that was fitted before, and tune nothing",
    )
    add(
        "--confidence",
        type=share,
        metavar="X",
        help="use this confidence, 0 to 1, and tune nothing; with --pipeline instead of its own",
    )
    add(
        "--box-scale",
        type=box_scale,
        metavar="W[,H]",
        help="resize boxes about their centre by these factors; or tune: choose them even with --fit confidence",
    )
    add(
        "--gate",
        type=Path,
        action="append",
        metavar="FILE",
        help="probabilities of an opacity, as train/gate.py writes them; given again for further ones, such as those "
        "of other folds: their mean counts, of those that were not trained on the image if there are any",
    )
    add(
        "--gate-mode",
        choices=("tune", "weigh", "keep"),
        default="tune",
        help="weigh: multiply confidences by the probability; keep: boxes only where it exceeds a threshold; tune: "
        "what scores best on the split to tune on, no gate included",
    )
    add("--gate-threshold", type=share, metavar="P", help="threshold of --gate-mode keep; otherwise tuned")
    add("--batch", type=positive_int, default=16, help="images at a time")
    add("--imgsz", type=positive_int, help="side of the model's input in pixels; otherwise that of the training")
    add("--device", help="cpu, 0, cuda:1, mps; otherwise a GPU if there is one")
    add(
        "--augment",
        action="store_true",
        help="look at each image mirrored and at two other sizes, too: four times as slow, often better",
    )
    add("--half", action="store_true", help="compute in 16 bits, on a GPU")
    add(
        "--out-of-fold",
        action="store_true",
        help="predict the training images, too, each by the members that were not trained on its patient, into "
        "out_of_fold.csv",
    )
    add("--again", action="store_true", help="predict anew even if kept predictions are still right")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where everything is written; otherwise beside the weights, or "
        "beside the first predictions file in a folder named after it",
    )
    add("--no-wandb", action="store_true", help="log nothing to Weights & Biases")
    add("--no-report", action="store_true", help="write no report.html")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Score, write and log the report, print."""
    typed = tuple(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(typed)
    request = ScoringRequest(
        weights=tuple(args.weights),
        predictions=tuple(args.predictions or ()),
        data=args.data,
        tune_on=args.tune_on,
        report_on=args.report_on,
        fit=args.fit,
        pipeline=args.pipeline,
        confidence=args.confidence,
        box_scale=args.box_scale,
        gates=tuple(args.gate or ()),
        gate_mode=args.gate_mode,
        gate_threshold=args.gate_threshold,
        class_name=args.class_name,
        inference=InferenceOptions(args.imgsz, args.augment, args.half, args.batch, args.device),
        out_of_fold=args.out_of_fold,
        again=args.again,
        output=args.output,
        argv=typed,
    )

    from evaluate.report.page import ReportInput, write_report
    from evaluate.report.terminal import print_score
    from evaluate.report.tracking import log_score
    from evaluate.scoring.result import REPORT_FILE
    from evaluate.scoring.run import score

    scored = score(request)
    written = list(scored.written)
    if not args.no_report:
        written.append(write_report(scored.file.with_name(REPORT_FILE), ReportInput.of(scored)))
    link = "" if args.no_wandb else log_score(scored, [*scored.predictions, *written])
    print_score(scored.score, written, link)
    return None


if __name__ == "__main__":
    run(main, STOPPED)
