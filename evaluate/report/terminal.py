"""A score on the terminal and in Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import console
from common.pages.wording import count, interval_text, score_text
from common.paths import shown
from common.tracking import tracker as tracking
from evaluate.metrics.rsna import confidence_sweep, thin_sweep
from evaluate.report.wording import gain_text, gate_text

_ROWS = (
    ("RSNA score", "score", score_text),
    ("95 % interval", "interval_95", interval_text),
    ("score if nothing were predicted", "score_without_predictions", score_text),
    ("images", "images", count),
    ("  with truth boxes", "positive_images", count),
    ("  that count in the score", "counted_images", count),
    ("truth boxes", "truth_boxes", count),
    ("predictions at the confidence", "predictions", count),
    ("  hits (IoU > 0.5)", "true_positives_at_0.5", count),
    ("  false alarms", "false_positives_at_0.5", count),
    ("missed truth boxes", "false_negatives_at_0.5", count),
    ("mAP50", "map50", score_text),
    ("mAP50-95", "map50_95", score_text),
)


def log_score(
    score: Mapping[str, Any],
    predictions: Mapping[str, pd.DataFrame],
    truth: Mapping[str, pd.DataFrame],
    files: Sequence[Path],
    folder: Path,
    run: Path | None,
) -> str:
    """Log a score to Weights & Biases, into the training's run where there is one.

    Args:
        score: The content of `score.json`.
        predictions: The predictions table of each split, rescaled, at all confidences.
        truth: The boxes table of each split.
        files: Files to keep with the run.
        folder: Where W&B's own files go.
        run: The training's folder.

    Returns:
        Where the run can be seen, or how to upload it; empty where nothing is logged.
    """
    choice = {key: score[key] for key in ("data", "tuned_on", "reported_on", "confidence", "postprocess")}
    tracker = tracking.start(config=choice, run_dir=run, folder=folder)
    numbers = {
        f"{split}/{name}": value
        for split, entry in score["splits"].items()
        for name, value in {**entry, "low_95": entry["interval_95"][0], "high_95": entry["interval_95"][1]}.items()
        if isinstance(value, int | float)
    }
    numbers |= {
        f"{score['reported_on']}/{group}/{level}": entry["score"]
        for group, levels in score["subgroups"].items()
        for level, entry in levels.items()
        if entry["score"] is not None
    }
    tracker.log(numbers)
    low, high = score["interval_95"]
    tracker.summary({"rsna_score": score["score"], "low_95": low, "high_95": high, "confidence": score["confidence"]})
    for split, table in predictions.items():
        tracker.log({f"sweep/{split}": thin_sweep(confidence_sweep(truth[split], table))})
    for path in files:
        tracker.artifact(path, f"{folder.name}-{path.stem}", "predictions" if path.suffix == ".csv" else "score")
    tracker.finish()
    return tracker.where


def print_score(score: Mapping[str, Any], written: Sequence[Path], link: str) -> None:
    """Print the closing table, the score in one line, and where everything is."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for split in score["splits"]:
        role = "reported" if split == score["reported_on"] else "tuned on"
        table.add_column(f"{split} ({role})", justify="right")
    for name, key, write in _ROWS:
        table.add_row(name, *(write(entry[key]) for entry in score["splits"].values()))
    out = console()
    out.print(table)
    tuned = f"chosen on {score['tuned_on']}" if score["tuned_on"] else "given, not tuned"
    across, down = score["postprocess"]["box_scale"]
    scale = "" if across == down == 1 else f", boxes scaled by {across:g} x {down:g}"
    out.print(
        f"RSNA score on {score['reported_on']}: {score_text(score['score'])} "
        f"(95 % interval {interval_text(score['interval_95'])}), confidence {score['confidence']:.6g} {tuned}{scale}"
    )
    if rule := score["postprocess"].get("gate"):
        before = score["gate"]["without"]["splits"][score["reported_on"]]
        out.print(f"gate: {gate_text(rule)}")
        if rule["mode"] != "none":
            out.print(f"  without it {score_text(before['score'])}; the gate changed the score by {gain_text(before)}")
    for path in written:
        out.print(f"  {shown(path)}")
    if link:
        out.print(f"  Weights & Biases: {link}")
    out.print("For research only: this is no medical device.")
