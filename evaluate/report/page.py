"""The report: one self-contained HTML page about a score, for people who were not there.

The page needs nothing beside itself: style, figures and pictures are inside, and it asks the browser to load nothing.
What it says comes from the score, the tables and the manifest; a part whose source is missing is left out or says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.files import write_atomic
from common.pages import data_charts
from common.pages.data_charts import filled_column
from common.pages.figures import Chart
from common.pages.page import template
from common.pages.wording import count, interval_text, is_number, join, percent, score_text
from evaluate.metrics.rsna import confidence_sweep
from evaluate.report import charts
from evaluate.report.gallery import (
    EMPTY,
    FALSE_ALARM,
    FOUND,
    GROUPS,
    MISPLACED,
    MISSED,
    Example,
    Pictures,
    Results,
    choose,
    find_results,
    make_example,
)
from evaluate.report.wording import gain_text, gate_text

PUBLISHED = {"YOLOv8n": 0.115, "YOLOR, boxes shrunk": 0.189, "1st of the challenge": 0.25475}
"""Published scores on the challenge's private leaderboard, which is made of other images than the training set."""

_REAL_SOURCES = ("stage_1_", "stage_2_", "mdai_rsna_project")


@dataclass(frozen=True)
class _Row:
    key: str
    name: str
    explanation: str
    write: Callable[[Any], str]


_TABLE = (
    _Row("score", "RSNA score", "0 to 1, higher is better", score_text),
    _Row("interval_95", "95\N{NO-BREAK SPACE}% interval", "what other images of this kind might give", interval_text),
    _Row("images", "Images", "", count),
    _Row("positive_images", "… with opacity", "have at least one true box", count),
    _Row("counted_images", "… that count", "with a true box, a prediction, or both", count),
    _Row("truth_boxes", "True boxes", "drawn by radiologists", count),
    _Row("predictions", "Predicted boxes", "at or above the confidence threshold", count),
    _Row("true_positives_at_0.5", "Hits", "predictions that meet a true box, IoU > 0.5", count),
    _Row("false_positives_at_0.5", "False boxes", "predictions that meet none", count),
    _Row("false_negatives_at_0.5", "Missed boxes", "true boxes that nothing meets", count),
    _Row("map50", "mAP50", "COCO's measure at IoU 0.5, over all confidences", score_text),
    _Row("map50_95", "mAP50-95", "the same, mean over IoU 0.50 to 0.95", score_text),
    _Row("score_without_predictions", "Baseline", "the RSNA score when nothing is ever predicted", score_text),
)

_COUNTED = ("true_positives", "false_positives", "false_negatives")


def write_report(
    output: Path,
    score: Mapping[str, Any],
    data: Path,
    predictions: Mapping[str, pd.DataFrame],
    truth: Mapping[str, pd.DataFrame],
    manifest: pd.DataFrame | None,
    pictures: Pictures,
    run: Path | None,
) -> Path:
    """Write the report.

    Args:
        output: The HTML file; its folder is made.
        score: The content of `score.json`. `synthetic` may tell whether the pictures are drawn by a program: True says
            so in the page, False allows a comparison with published scores if the manifest names the challenge's files.
        data: The data set's YAML file, as the user gave it.
        predictions: The predictions table of each split, post-processed but with no confidence threshold applied.
        truth: The boxes table of each split.
        manifest: The data set's manifest; None, or one without some columns, leaves out what needs them.
        pictures: Gives the grey uint8 picture (height, width) of an image id, or the file that holds it. Boxes are in
            pixels of the original image, whose size the manifest has; without it, in pixels of the picture.
        run: The folder of the training run, whose `results.csv` is shown if there is one.

    Returns:
        `output`.

    Raises:
        UserError: A table is not what `evaluate.metrics.rsna` expects.
        WorkError: The page cannot be written.
    """
    tuned_on, reported_on = score.get("tuned_on"), str(score.get("reported_on") or "test")
    confidence = float(score["confidence"]) if is_number(score.get("confidence")) else 0.0
    splits = sorted(truth, key=lambda split: (split != reported_on, split != tuned_on))
    shown = _with_index(manifest)
    known = {split: predictions[split] for split in splits if split in predictions}
    results = find_results(truth[reported_on], known[reported_on], confidence) if reported_on in known else None

    page = template(Path(__file__).parent / "templates", "report.html.j2", score=score_text).render(
        score=score,
        name=_name(score),
        data=str(data),
        tuned_on=tuned_on,
        reported_on=reported_on,
        interval=interval_text(score.get("interval_95")),
        created=str(score.get("created") or "")[:16].replace("T", " "),
        context=_context(score, manifest),
        scale=_scale(score, manifest),
        method=_method(score, confidence),
        warnings=_warnings(score, shown, results),
        table=_table(score, reported_on),
        reading=_reading(score, tuned_on, reported_on),
        sweep=_sweep(score, known, truth, confidence),
        subgroups=_subgroups(score),
        outcomes=_outcomes(results),
        gallery=_gallery(results, shown, pictures),
        training=_training(run),
        splits=data_charts.split_rows(shown),
        charts=data_charts.draw_data(truth, shown),
        details=_details(score, data),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, page)
    return output


def _name(score: Mapping[str, Any]) -> str:
    """Name what is scored; Ultralytics calls all weights `best.pt`, and it is their run's folder that tells."""
    weights = Path(str(score.get("weights") or ""))
    if weights.parent.name == "weights" and weights.parent.parent.name:
        return f"{weights.parent.parent.name}, {weights.name}"
    return weights.name or "Predictions"


def _with_index(manifest: pd.DataFrame | None) -> pd.DataFrame | None:
    if manifest is None or "image_id" not in manifest or manifest.empty:
        return None
    return manifest.assign(image_id=manifest["image_id"].astype(str)).set_index("image_id")


def _is_challenge_data(score: Mapping[str, Any], manifest: pd.DataFrame | None) -> bool:
    sources = filled_column(manifest, "source")
    if score.get("synthetic") is not False or sources is None:
        return False
    return bool(sources.dropna().astype(str).str.startswith(_REAL_SOURCES).all())


def _context(score: Mapping[str, Any], manifest: pd.DataFrame | None) -> str:
    if score.get("synthetic"):
        return (
            "These are synthetic pictures, drawn by a program. The score shows that everything works together; it is "
            "not comparable with published scores and says nothing about real radiographs."
        )
    if _is_challenge_data(score, manifest):
        return (
            "For orientation: the highest score published for the challenge is 0.255, a plain YOLOv8n reached 0.115. "
            "Those were measured on the challenge's private test images, and this score on other images of the same "
            "release, so that small differences mean nothing."
        )
    return "No comparison with published scores is made: these are not known to be the challenge's own images."


def _scale(score: Mapping[str, Any], manifest: pd.DataFrame | None) -> Chart | None:
    if not is_number(score.get("score")):
        return None
    bounds = score.get("interval_95") if interval_text(score.get("interval_95"))[0].isdigit() else None
    return charts.score_scale(score["score"], bounds, PUBLISHED if _is_challenge_data(score, manifest) else {})


def _method(score: Mapping[str, Any], confidence: float) -> list[str]:
    tuned_on, reported_on = score.get("tuned_on"), score.get("reported_on")
    source = (
        "The weights named below looked" if score.get("weights") else "The predictions came from a file: a model looked"
    )
    steps = [
        f"{source} at every image; all boxes down to a very low confidence were kept.",
        *_gating(score),
        _postprocessing(score.get("postprocess") or {}),
    ]
    if tuned_on:
        steps.append(
            f"On the images of split {tuned_on}, the confidence threshold was chosen that gives the highest score: "
            f"{confidence:.3f}. Boxes below it are dropped."
        )
    elif confidence <= 0:
        steps.append("No confidence threshold was applied: every box counts.")
    else:
        steps.append(f"The confidence threshold, {confidence:.3f}, was given, not tuned. Boxes below it are dropped.")
    steps.append(
        f"The score is that of split {reported_on}"
        + (", whose images had no part in that choice." if tuned_on and tuned_on != reported_on else ".")
    )
    return steps


def _gating(score: Mapping[str, Any]) -> list[str]:
    """What an image classifier's probabilities did to the boxes, and what that was worth."""
    rule = (score.get("postprocess") or {}).get("gate")
    if not rule:
        return []
    found, reported_on = score.get("gate") or {}, score.get("reported_on")
    chosen = f" This is what scores highest on split {found['tuned_on']}." if found.get("tuned_on") else ""
    text = f"An image classifier gives each image a probability of an opacity. The gate: {gate_text(rule)}.{chosen}"
    without = ((found.get("without") or {}).get("splits") or {}).get(reported_on)
    if without and rule.get("mode") != "none":
        text += f" Without it the score on {reported_on} is {score_text(without.get('score'))}; "
        text += f"the gate changes it by {gain_text(without)}."
    return [text]


def _postprocessing(settings: Mapping[str, Any]) -> str:
    scale = settings.get("box_scale")
    others = {name: value for name, value in settings.items() if name not in ("box_scale", "gate")}
    texts = [f"{name} {value}" for name, value in _flat(others)]
    if isinstance(scale, (list, tuple)) and len(scale) == 2 and all(is_number(factor) for factor in scale):
        if scale[0] != 1 or scale[1] != 1:
            texts.append(f"boxes resized to {percent(scale[0])} of their width and {percent(scale[1])} of their height")
    elif scale is not None:
        texts += [f"{name} {value}" for name, value in _flat({"box_scale": scale})]
    if texts:
        return f"Post-processing: {join(texts)}."
    is_gated = (settings.get("gate") or {}).get("mode", "none") != "none"
    return "The boxes are used as they came, " + ("apart from that." if is_gated else "without post-processing.")


def _warnings(score: Mapping[str, Any], manifest: pd.DataFrame | None, results: Results | None) -> list[str]:
    """What a reader must know before believing the score."""
    texts = []
    tuned_on, reported_on = score.get("tuned_on"), score.get("reported_on")
    if tuned_on and tuned_on == reported_on:
        texts.append(f"The threshold was chosen on {tuned_on}, the very split that is reported: the score flatters.")
    leakage = score.get("leakage") or {}
    if leakage.get("checked") is False:
        texts.append(
            f"Whether the weights have seen these images is not known: {leakage.get('reason') or 'not checked'}."
        )
    for split, images in ((score.get("gate") or {}).get("seen_images") or {}).items():
        if images:
            texts.append(f"Leakage: the gate was trained on {count(images)} images of split {split}.")
    for split, found in leakage.items():
        if isinstance(found, Mapping) and (found.get("images") or found.get("patients")):
            texts.append(
                f"Leakage: of split {split}, {count(found.get('images'))} images were trained on, and "
                f"{count(found.get('patients'))} patients have images that were."
            )
    patients, split_column = filled_column(manifest, "patient_id"), filled_column(manifest, "split")
    if patients is not None and split_column is not None:
        several = split_column.groupby(patients).nunique()
        if (several > 1).any():
            texts.append(
                f"{count((several > 1).sum())} patients have images in more than one split: the score flatters."
            )
    if results is not None and not (results.images["area"] > 0).any():
        texts.append(f"No image of split {reported_on} has a true box, so the score can only be 0.")
    return [text.replace("..", ".") for text in texts]


def _table(score: Mapping[str, Any], reported_on: str) -> dict[str, Any]:
    entries = {str(split): entry for split, entry in (score.get("splits") or {}).items()}
    columns = sorted(entries, key=lambda split: split != reported_on)
    rows = [
        {
            "name": row.name,
            "explanation": row.explanation,
            "cells": [(entries[split].get(row.key), row.write(entries[split].get(row.key))) for split in columns],
        }
        for row in _TABLE
        if any(entries[split].get(row.key) is not None for split in columns)
    ]
    return {"columns": columns, "rows": rows}


def _reading(score: Mapping[str, Any], tuned_on: str | None, reported_on: str) -> str:
    """Say in words what the table's most telling numbers are."""
    entries = score.get("splits") or {}
    entry = entries.get(reported_on) or {}
    hits, wrong, missed = (entry.get(f"{name}_at_0.5") for name in _COUNTED)
    texts = []
    if is_number(hits) and is_number(missed) and hits + missed > 0:
        texts.append(f"On {reported_on}, {percent(hits / (hits + missed))} of the true boxes are met")
        if is_number(wrong) and hits + wrong > 0:
            texts[-1] += f", and {percent(hits / (hits + wrong))} of the predicted boxes meet one"
        texts[-1] += " (IoU > 0.5)."
    other = (entries.get(tuned_on) or {}).get("score") if tuned_on and tuned_on != reported_on else None
    if is_number(other) and is_number(entry.get("score")):
        gap = other - entry["score"]
        side = "higher" if gap > 0 else "lower"
        texts.append(
            f"The score on {tuned_on}, where the threshold was chosen, is "
            + (f"{score_text(abs(gap))} {side}." if abs(gap) >= 5e-4 else "the same.")
        )
    return " ".join(texts)


def _sweep(
    score: Mapping[str, Any],
    predictions: Mapping[str, pd.DataFrame],
    truth: Mapping[str, pd.DataFrame],
    confidence: float,
) -> Chart | None:
    sweeps = {split: confidence_sweep(truth[split], table) for split, table in predictions.items()}
    sweeps = {split: table for split, table in sweeps.items() if len(table)}
    return charts.sweep_curves(sweeps, confidence, score.get("tuned_on")) if sweeps else None


def _subgroups(score: Mapping[str, Any]) -> Chart | None:
    overall = (score.get("splits") or {}).get(score.get("reported_on")) or {"score": score.get("score")}
    return charts.subgroup_dots(score.get("subgroups") or {}, overall)


def _outcomes(results: Results | None) -> list[dict[str, Any]]:
    if results is None:
        return []
    counts = results.counts()
    positive = counts[FOUND] + counts[MISPLACED] + counts[MISSED]
    negative = counts[FALSE_ALARM] + counts[EMPTY]
    with_opacity, without = ("with opacity", positive), ("without", negative)
    texts = {
        FOUND: ("found", "at least one box hits", *with_opacity),
        MISPLACED: ("in the wrong place", "boxes, but none hits", *with_opacity),
        MISSED: ("missed", "no box at all", *with_opacity),
        FALSE_ALARM: ("false alarms", "a box where nothing is", *without),
        EMPTY: ("rightly left empty", "no box, and none needed", *without),
    }
    return [
        {
            "name": name,
            "explanation": explanation,
            "count": counts[outcome],
            "share": counts[outcome] / total if total else None,
            "of": of,
        }
        for outcome, (name, explanation, of, total) in texts.items()
    ]


def _gallery(results: Results | None, manifest: pd.DataFrame | None, pictures: Pictures) -> list[dict[str, Any]]:
    if results is None:
        return []
    groups = []
    for group, image_ids in choose(results.images).items():
        heading, explanation = GROUPS[group]
        examples: list[Example] = [make_example(name, results, manifest, pictures) for name in image_ids]
        groups.append({"key": group, "heading": heading, "explanation": explanation, "examples": examples})
    return groups


def _training(run: Path | None) -> list[Chart]:
    path = run / "results.csv" if run else None
    if path is None or not path.is_file():
        return []
    try:
        return charts.training_curves(pd.read_csv(path, skipinitialspace=True))
    except (OSError, ValueError):
        # Half-written or of another program: the rest of the page is none the worse.
        return []


def _details(score: Mapping[str, Any], data: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of name and value, for whoever wants to repeat this."""
    origin = {"data": data, **{name: score.get(name) for name in ("weights", "predictions", "commit", "created")}}
    groups = {
        "Where it comes from": origin,
        "Post-processing": score.get("postprocess") or {},
        "Gate": score.get("gate") or {},
        "Have the weights seen these images?": score.get("leakage") or {},
        "Versions": score.get("versions") or {},
    }
    return [(heading, _flat(group)) for heading, group in groups.items() if group]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Name and text of every value, those of inner mappings as `outer inner`; absent ones are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{title} ")
        elif isinstance(value, bool):
            pairs.append((title, "yes" if value else "no"))
        elif isinstance(value, (list, tuple)):
            pairs.append((title, ", ".join(map(str, value)) or "none"))
        elif value is not None:
            pairs.append((title, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return pairs
