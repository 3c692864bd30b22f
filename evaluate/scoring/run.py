"""A scoring from its arguments to its files: predictions, `score.json`, report, Weights & Biases."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split, warn_unknown_patients
from common.errors import UserError
from common.files import write_json
from common.paths import PROJECT, shown
from common.provenance import describe_origin
from evaluate.detector.cache import predict_split
from evaluate.detector.inference import Settings
from evaluate.detector.weights import DEFAULT_WEIGHTS, find_training_data, find_weights, load_weights, run_folder
from evaluate.postprocess.boxes import scale_boxes
from evaluate.postprocess.choice import Choice
from evaluate.postprocess.gate import Gate, Rule, choose_gate, read_gates
from evaluate.report.page import write_report
from evaluate.report.terminal import log_score, print_score
from evaluate.scoring.leakage import find_leakage, warn_of_leakage
from evaluate.scoring.numbers import choose_box_scale, choose_confidence, compare_with, score_split, score_subgroups
from evaluate.scoring.predictions import read_by_split
from evaluate.scoring.result import SCORE_FILE

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Scored:
    """What is scored, before any number.

    Attributes:
        data: The data set.
        splits: The splits that there are predictions for.
        predictions: Their predictions tables, as the model made them; gated, once a gate is chosen.
        files: Where these lie.
        tune_on: The split to tune on; None tunes nothing.
        output: The folder to write to.
        entries: What `score.json` says about weights, inference and leakage.
        run: The training's folder.
    """

    data: DataSet
    splits: dict[str, Split]
    predictions: dict[str, pd.DataFrame]
    files: dict[str, Path]
    tune_on: str | None
    report_on: str
    output: Path
    entries: dict[str, Any] = field(default_factory=dict)
    run: Path | None = None


def score_weights(args: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Predict with weights and score; `args` as `score.build_parser` makes them, `argv` as typed.

    Raises:
        UserError: Weights or data are missing or wrong.
        WorkError: No picture could be read, or a file could not be written.
    """
    path, note = find_weights(args.weights or DEFAULT_WEIGHTS)
    if note:
        print(note, file=sys.stderr)
    weights = load_weights(path)
    trained, reason = None, ""
    try:
        training_data = find_training_data(weights)
        trained = DataSet(training_data)
    except UserError as error:
        if args.data is None:
            raise
        reason = str(error)
    data = trained if args.data is None and trained is not None else DataSet(args.data)

    names = list(dict.fromkeys([args.report_on] if args.confidence is not None else [args.tune_on, args.report_on]))
    splits = {name: _read_split(data, name) for name in names}
    leakage = find_leakage(trained, data, names, reason)
    warn_of_leakage(leakage, args.report_on)

    output = args.output or run_folder(path)
    _make_folder(output)
    settings = Settings(imgsz=args.imgsz or weights.imgsz, augment=args.augment, half=args.half)
    files: dict[str, Path] = {}
    predictions: dict[str, pd.DataFrame] = {}
    for name, split in splits.items():
        files[name], predictions[name] = predict_split(
            weights, split, settings, output, batch=args.batch, device=args.device, again=args.again
        )
    scored = Scored(
        data=data,
        splits=splits,
        predictions=predictions,
        files=files,
        tune_on=None if args.confidence is not None else args.tune_on,
        report_on=args.report_on,
        output=output,
        entries={"weights": shown(path), "inference": settings.as_dict(), "leakage": leakage},
        run=run_folder(path),
    )
    return _finish(scored, args, argv)


def score_predictions(args: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Score predictions files; `args` as `score.build_parser` makes them, `argv` as typed.

    Raises:
        UserError: A file or the data set is wrong, or they do not belong together.
        WorkError: A file could not be written.
    """
    data = DataSet(args.data or _default_data())
    names = list(dict.fromkeys([args.tune_on, args.report_on]))
    predictions = read_by_split(args.predictions, data, names)
    splits = {name: _read_split(data, name) for name in predictions}
    report_on = args.report_on if args.report_on in predictions else next(iter(predictions))
    tune_on = args.tune_on if args.confidence is None and args.tune_on in predictions and len(predictions) > 1 else None
    if tune_on is None and args.box_scale is None:
        raise UserError("--box-scale tune: needs predictions for a split to tune on; give the factors instead.")
    if tune_on is None and args.gate and args.gate_mode != "weigh" and args.gate_threshold is None:
        raise UserError(
            f"--gate-mode {args.gate_mode}: needs predictions for a split to tune on; choose weigh, or keep with "
            "--gate-threshold."
        )
    if tune_on is None and args.confidence is None:
        print_warning(
            f"only images of split {report_on!r}: scored as submitted, at every confidence; not tuned. "
            "Add predictions for another split, or give --confidence"
        )
    first = args.predictions[0]
    output = args.output or first.parent / f"{first.stem}-score"
    _make_folder(output)
    scored = Scored(
        data=data,
        splits=splits,
        predictions=predictions,
        files=dict.fromkeys(predictions, first) if len(args.predictions) == 1 else _origins(args.predictions),
        tune_on=tune_on,
        report_on=report_on,
        output=output,
        entries={
            "weights": None,
            "leakage": {"checked": False, "reason": "predictions do not tell what they were trained on"},
        },
    )
    return _finish(scored, args, argv)


def _finish(scored: Scored, args: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Tune, score, write and print."""
    gate = read_gates(args.gate, scored.data, scored.splits) if args.gate else None
    choice = _choose(scored, args)
    rule: dict[str, Any] = {}
    comparison: dict[str, Any] = {}
    if gate is not None:
        scored, choice, rule, comparison = _gate(scored, choice, gate, args)
    results = {
        name: score_split(split, scored.predictions[name], choice)
        for name, split in sorted(scored.splits.items(), key=lambda one: one[0] != scored.report_on)
    }
    reported = results[scored.report_on]
    if not reported["positive_images"]:
        print_warning(f"no image of split {scored.report_on!r} has a truth box: the score can only be 0")
    names = list(scored.splits)
    score: dict[str, Any] = {
        "score": reported["score"],
        "interval_95": reported["interval_95"],
        "weights": None,
        "predictions": {name: shown(path) for name, path in scored.files.items()},
        "data": shown(scored.data.yaml),
        "synthetic": scored.data.is_synthetic(names),
        "tuned_on": scored.tune_on,
        "reported_on": scored.report_on,
        "confidence": choice.confidence,
        "postprocess": {"box_scale": list(choice.box_scale), **rule},
        **comparison,
        "splits": results,
        "subgroups": score_subgroups(scored.splits[scored.report_on], scored.predictions[scored.report_on], choice),
        **scored.entries,
        **describe_origin("evaluate/score.py", argv),
    }
    write_json(scored.output / SCORE_FILE, score)
    written = [scored.output / SCORE_FILE]
    scaled = {name: scale_boxes(table, *choice.box_scale) for name, table in scored.predictions.items()}
    if not args.no_report:
        written.append(_write_report(scored, score, scaled))
    link = ""
    if not args.no_wandb:
        truth = {name: split.truth for name, split in scored.splits.items()}
        kept = [*dict.fromkeys(scored.files.values()), *written]
        link = log_score(score, scaled, truth, kept, scored.output, scored.run)
    print_score(score, written, link)
    return score


def _choose(scored: Scored, args: argparse.Namespace) -> Choice:
    if scored.tune_on is None:
        return Choice(args.confidence or 0.0, args.box_scale or (1.0, 1.0))
    if scored.tune_on == scored.report_on:
        print_warning(f"tuned and reported on the same split {scored.tune_on!r}: the score flatters")
    truth, predictions = scored.splits[scored.tune_on].truth, scored.predictions[scored.tune_on]
    if args.box_scale is None:
        choice, score = choose_box_scale(truth, predictions)
    else:
        choice, score = choose_confidence(truth, predictions, args.box_scale)
    if not score:
        print_warning(
            f"no confidence gives a score above 0 on {scored.tune_on!r}: the choice means nothing. "
            "Has the model been trained, and on this data?"
        )
    return choice


def _gate(
    scored: Scored, choice: Choice, gate: Gate, args: argparse.Namespace
) -> tuple[Scored, Choice, dict[str, Any], dict[str, Any]]:
    """Put the gate before everything else.

    Returns:
        What is scored, with gated predictions; the choice for these; what `score.json` says about the gate among the
        post-processing; and beside it: what was asked, and the scores without the gate.
    """
    raw, tune_on = scored.predictions, scored.tune_on
    given = Rule("weigh") if args.gate_mode == "weigh" else Rule("keep", args.gate_threshold)
    is_tuned = tune_on is not None and args.gate_mode != "weigh" and args.gate_threshold is None
    if tune_on is None:
        rule, chosen = given, choice
    elif is_tuned:
        rule, chosen, _ = choose_gate(
            scored.splits[tune_on].truth, raw[tune_on], gate.probabilities, args.gate_mode, choice.box_scale
        )
    else:
        weighed = given.apply(raw[tune_on], gate.probabilities)
        rule, (chosen, _) = given, choose_confidence(scored.splits[tune_on].truth, weighed, choice.box_scale)
    gated = {name: rule.apply(table, gate.probabilities) for name, table in raw.items()}
    comparison = {
        "asked": args.gate_mode,
        "tuned_on": tune_on if is_tuned else None,
        "seen_images": gate.seen,
        "without": {"confidence": choice.confidence, **compare_with(scored.splits, raw, choice, gated, chosen)},
    }
    files = [shown(path) for path in gate.files]
    used = {"files": files, "mode": rule.mode, "threshold": rule.threshold}
    return replace(scored, predictions=gated), chosen, {"gate": used}, {"gate": comparison}


def _write_report(scored: Scored, score: Mapping[str, Any], scaled: Mapping[str, pd.DataFrame]) -> Path:
    return write_report(
        scored.output / REPORT_FILE,
        score,
        Path(score["data"]),
        scaled,
        {name: split.truth for name, split in scored.splits.items()},
        scored.data.whole_manifest(list(scored.splits)),
        {image_id: path for split in scored.splits.values() for image_id, path in split.pictures.items()},
        scored.run,
    )


def _read_split(data: DataSet, name: str) -> Split:
    split = data.split(name)
    warn_unknown_patients(split)
    return split


def _default_data() -> Path:
    for path in (Path("rsna.yaml"), PROJECT / "rsna.yaml"):
        if path.is_file():
            return path
    raise UserError("--predictions: name the data set that holds the truth with --data.")


def _origins(paths: Sequence[Path]) -> dict[str, Path]:
    """Several files: each under its own name."""
    return {path.stem: path for path in paths}


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: not a folder that can be written ({error.strerror}).") from error
