"""The report: one self-contained HTML page about a score, for people who were not there.

The page needs nothing beside itself: style, figures and pictures are inside, and it asks the browser to load nothing.
What it says comes from the score, the tables and the manifest; a part whose source is missing is left out or says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.files import write_atomic
from common.pages import data_charts
from common.pages.figures import Chart
from common.pages.page import template
from common.pages.wording import interval_text, score_text
from evaluate.metrics.ranking import Ranking
from evaluate.report import charts, curves, diagnosis, sentences
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
from evaluate.report.rows import ROWS
from evaluate.report.steps import step_headings, step_notes, step_rows, step_text
from evaluate.report.wording import interval_note, shown_interval
from evaluate.scoring.result import Score
from evaluate.scoring.run import Scored


@dataclass(frozen=True)
class ReportInput:
    """What a page is made of.

    Attributes:
        score: The score. Where its pictures are not drawn by a program, it is compared with published scores if the
            manifest names the challenge's files.
        truth: The boxes table of each split.
        predictions: The predictions table of each split, post-processed but with no confidence threshold applied.
        sweeps: Score by confidence of each split, as `evaluate.metrics.rsna.confidence_sweep` gives it.
        manifest: The data set's manifest; None, or one without some columns, leaves out what needs them.
        pictures: Gives the grey uint8 picture (height, width) of an image id, or the file that holds it. Boxes are in
            pixels of the original image, whose size the manifest has; without it, in pixels of the picture.
        run: The folder of the training run, whose `results.csv` is shown if there is one.
    """

    score: Score
    truth: Mapping[str, pd.DataFrame]
    predictions: Mapping[str, pd.DataFrame]
    sweeps: Mapping[str, pd.DataFrame]
    manifest: pd.DataFrame | None
    pictures: Pictures
    run: Path | None = None

    @classmethod
    def of(cls, scored: Scored) -> ReportInput:
        """What a scoring's page is made of."""
        judged = scored.judged
        return cls(
            score=scored.score,
            truth={name: one.split.truth for name, one in judged.items()},
            predictions={name: one.processed for name, one in judged.items()},
            sweeps={name: one.sweep.table() for name, one in judged.items()},
            manifest=scored.data.whole_manifest(list(judged)),
            pictures={image_id: path for one in judged.values() for image_id, path in one.split.pictures.items()},
            run=scored.run,
        )


def write_report(output: Path, given: ReportInput) -> Path:
    """Write the report.

    Args:
        output: The HTML file; its folder is made.
        given: What it is made of.

    Returns:
        `output`.

    Raises:
        UserError: A table is not what `evaluate.metrics.rsna` expects.
        WorkError: The page cannot be written.
    """
    score = given.score
    tuned_on, reported_on = score.tuned_on, score.reported_on
    splits = sorted(given.truth, key=lambda split: (split != reported_on, split != tuned_on))
    manifest = _with_index(given.manifest)
    results = None
    if reported_on in given.predictions:
        results = find_results(given.truth[reported_on], given.predictions[reported_on], score.confidence)
    sweeps = {split: given.sweeps[split] for split in splits if len(given.sweeps.get(split, ()))}
    has_true_box = results is None or bool((results.images["area"] > 0).any())

    interval = shown_interval(score.reported, score.was_tuned_on(reported_on))

    page = template(Path(__file__).parent / "templates", "report.html.j2", score=score_text).render(
        score=score,
        name=_name(score),
        data=str(Path(score.data)),
        tuned_on=tuned_on,
        reported_on=reported_on,
        interval=interval_text(interval) if interval else None,
        interval_note=interval_note(score.reported, score.was_tuned_on(reported_on)),
        created=score.origin.created[:16].replace("T", " "),
        context=sentences.context(score, given.manifest),
        scale=_scale(score, given.manifest),
        method=sentences.method(score),
        warnings=sentences.warnings(score, manifest, has_true_box),
        table=_table(score),
        steps=_steps(score),
        reading=sentences.reading(score),
        sweep=charts.sweep_curves(sweeps, score.confidence, tuned_on) if sweeps else None,
        diagnosis=_diagnosis(given, results),
        subgroups=charts.subgroup_dots(score.subgroups, score.score, score.subgroup_differences),
        outcomes=_outcomes(results),
        gallery=_gallery(results, manifest, given.pictures),
        training=_training(given.run),
        splits=data_charts.split_rows(manifest),
        charts=data_charts.draw_data(given.truth, manifest),
        details=_details(score),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, page)
    return output


def _name(score: Score) -> str:
    """Name what is scored; Ultralytics calls all weights `best.pt`, and it is their run's folder that tells."""
    weights = Path(score.weights or "")
    if weights.parent.name == "weights" and weights.parent.parent.name:
        return f"{weights.parent.parent.name}, {weights.name}"
    return weights.name or "Predictions"


def _with_index(manifest: pd.DataFrame | None) -> pd.DataFrame | None:
    if manifest is None or "image_id" not in manifest or manifest.empty:
        return None
    return manifest.assign(image_id=manifest["image_id"].astype(str)).set_index("image_id")


def _scale(score: Score, manifest: pd.DataFrame | None) -> Chart:
    marks = sentences.PUBLISHED if sentences.is_challenge_data(score, manifest) else {}
    interval = shown_interval(score.reported, score.was_tuned_on(score.reported_on))
    return charts.score_scale(score.score, interval, marks)


def _table(score: Score) -> dict[str, Any]:
    splits = [(split, score.was_tuned_on(name)) for name, split in score.splits.items()]
    rows = [
        {
            "name": row.page,
            "explanation": row.explanation,
            "cells": [(row.value(*split), row.text(*split)) for split in splits],
        }
        for row in ROWS
        if any(row.value(*split) is not None for split in splits)
    ]
    return {"columns": list(score.splits), "rows": rows}


def _steps(score: Score) -> dict[str, Any] | None:
    """What each step of the post-processing brought; None where nothing was fitted, or nothing but the confidence."""
    if len(score.steps) < 2:
        return None
    rows = [
        {
            "name": f"{name[0].upper()}{name[1:]}",
            "explanation": step_text(step.name, score.pipeline)
            if place
            else "the threshold alone, and the usual way with overlaps",
            "cells": cells,
        }
        for place, (step, (name, cells)) in enumerate(zip(score.steps, step_rows(score), strict=True))
    ]
    return {"columns": step_headings(score), "rows": rows, "notes": step_notes(score)}


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


def _diagnosis(given: ReportInput, results: Results | None) -> dict[str, Any] | None:
    """What is said of images and boxes beside the score; None of a score of an older version."""
    score = given.score
    level = score.image_level
    if level is None:
        return None
    drawn: list[Chart | None] = []
    if results is not None:
        confidence = results.images["confidence"].to_numpy(dtype=float)
        of_images = Ranking.of_images(confidence, (results.images["area"] > 0).to_numpy())
        of_boxes = Ranking.of_boxes(results.truth, given.predictions[score.reported_on])
        drawn = [
            curves.roc_curve(of_images, score.confidence),
            curves.froc_curve(of_boxes, score.confidence),
            curves.precision_recall_curve(of_images, score.confidence),
        ]
    error = level.figures.get("calibration_error")
    drawn.append(curves.reliability_curve(level.reliability, error.value if error else None))
    return {
        "confusion": diagnosis.confusion(level),
        "images": diagnosis.image_rows(score),
        "boxes": diagnosis.box_rows(score),
        "errors": diagnosis.error_rows(score),
        "groups": diagnosis.group_rows(score),
        "intervals": "" if diagnosis.is_tuned(score) else diagnosis.INTERVALS,
        "charts": [chart for chart in drawn if chart is not None],
    }


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


def _details(score: Score) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of name and value, for whoever wants to repeat this; as they are called in `score.json`."""
    content = score.to_json()
    groups = {
        "Where it comes from": {
            "data": Path(score.data),
            **{name: content[name] for name in ("weights", "predictions", "commit", "created")},
        },
        "Post-processing": content["postprocess"],
        "Gate": content.get("gate"),
        "Have the weights seen these images?": content["leakage"],
        "Versions": content["versions"],
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
