"""What a report says of images and boxes beside the score: tables, as texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.pages.wording import count, percent, score_text
from evaluate.metrics import errors
from evaluate.metrics.figures import Figure
from evaluate.metrics.ranking import FALSE_BOXES, FIXED
from evaluate.metrics.uncertainty import FEW_PATIENTS, FEWEST_PATIENTS
from evaluate.report.wording import is_few
from evaluate.scoring.result import ImageLevel, Score, Subgroup

Write = Callable[[Any], str]
_NBSP = "\N{NO-BREAK SPACE}"

_OTHER = "at another confidence"
_ROWS: tuple[tuple[str, str, str, Write], ...] = (
    ("sensitivity", "Sensitivity", "of the images with opacity, the share with a box", percent),
    ("specificity", "Specificity", "of those without, the share left empty", percent),
    ("positive_predictive_value", "Positive predictive value", "of images with a box, those with opacity", percent),
    ("negative_predictive_value", "Negative predictive value", "of images left empty, those without", percent),
    ("auc", "AUC", "area under the ROC curve; chance is 0.5", score_text),
    ("average_precision", "Average precision", "area under the precision-recall curve", score_text),
    *((f"sensitivity_at_specificity_{at:g}", f"Sensitivity at specificity {at:g}", _OTHER, percent) for at in FIXED),
    *((f"specificity_at_sensitivity_{at:g}", f"Specificity at sensitivity {at:g}", _OTHER, percent) for at in FIXED),
    ("brier", "Brier score", "of the strongest box's confidence taken for a probability; 0 is best", score_text),
    ("calibration_error", "Calibration error", "mean distance of that from the frequency, in bins (ECE)", score_text),
)

_ERRORS = {
    errors.MISSED: "a true box that no prediction means",
    errors.MISPLACED: "a box that overlaps a true one, but too little to hit it (IoU 0.1 to 0.5)",
    errors.SPLIT: "several boxes in one true box, none of which hits it",
    errors.MERGED: "one box over several true ones",
    errors.DUPLICATED: "a box on an opacity that a surer box hits",
    errors.ELSEWHERE: "a box beside the opacities of its image",
    errors.ON_DISTRACTOR: "a box on an image with something else (No Lung Opacity / Not Normal)",
    errors.ON_NORMAL: "a box on a normal image",
    errors.ON_NEGATIVE: "a box on an image without opacity of no known kind",
}

INTERVALS = (
    "Intervals come from resampling patients, and hold what other patients would change. They do not hold what another "
    "choice of the threshold or of the post-processing on another validation split would change, nor a training with "
    f"another seed. With fewer than {FEWEST_PATIENTS} patients there is none; “few” are fewer than {FEW_PATIENTS}, "
    "whose intervals are somewhat too narrow. Predictive values are those of this mix of images: where opacities are "
    "rarer, fewer boxes are right."
)


def confusion(level: ImageLevel) -> list[tuple[str, list[tuple[int, str]]]]:
    """The confusion matrix: rows of the truth, columns with a box and without, each a number and its share."""

    def row(name: str, boxed: int, empty: int) -> tuple[str, list[tuple[int, str]]]:
        total = boxed + empty
        return name, [(number, percent(number / total) if total else "") for number in (boxed, empty)]

    return [
        row("With opacity", level.true_positives, level.false_negatives),
        row("Without", level.false_positives, level.true_negatives),
    ]


def image_rows(score: Score) -> list[dict[str, str]]:
    """Name, explanation, number and interval of what is said of images; what cannot be told is left out."""
    figures = score.image_level.figures if score.image_level else {}
    return [
        {"name": name, "explanation": explanation, **cell(figures[key], write, is_tuned(score))}
        for key, name, explanation, write in _ROWS
        if key in figures and figures[key].value is not None
    ]


def box_rows(score: Score) -> list[dict[str, str]]:
    """The same of boxes: FROC."""
    froc: Mapping[str, Figure] = score.box_level.froc if score.box_level else {}
    names = {f"{rate:g}": f"{rate:g} per image" for rate in FALSE_BOXES} | {"mean": "Mean of these"}
    return [
        {"name": names.get(key, key), "explanation": "", **cell(figure, percent, is_tuned(score))}
        for key, figure in froc.items()
        if figure.value is not None
    ]


def error_rows(score: Score) -> list[tuple[str, str, int]]:
    """Kind, explanation and number of each kind of error that occurs."""
    found = score.box_level.errors if score.box_level else {}
    return [(f"{kind[0].upper()}{kind[1:]}", _ERRORS.get(kind, ""), number) for kind, number in found.items() if number]


def group_rows(score: Score) -> list[dict[str, Any]]:
    """Sensitivity and specificity by subgroup: of each property its name alone, then its groups."""
    rows: list[dict[str, Any]] = []
    for name, levels in score.subgroups.items():
        told = {level: group for level, group in levels.items() if _is_told(group)}
        if told:
            rows.append({"property": name})
        for level, group in told.items():
            cells = [cell(one, percent, is_tuned(score)) for one in (group.sensitivity, group.specificity)]
            rows.append({"name": level, "images": count(group.images), "cells": cells})
    return rows


def is_tuned(score: Score) -> bool:
    """Whether the reported split is the one that the threshold was chosen on, so that intervals would mislead."""
    return score.was_tuned_on(score.reported_on)


def cell(figure: Figure | None, write: Write, without_interval: bool = False) -> dict[str, str]:
    """A number as text, and its interval, or why there is none."""
    if figure is None or figure.value is None:
        return {"value": write(None), "interval": ""}
    interval = ""
    if figure.interval_95 is not None and not without_interval:
        low, high = map(write, figure.interval_95)
        interval = f"{low}{_NBSP}to{_NBSP}{high}{', few' if is_few(figure.patients) else ''}"
    return {"value": write(figure.value), "interval": interval}


def summary(score: Score) -> list[str]:
    """The most telling of it in two lines, for the terminal."""
    lines = []
    if score.image_level and (told := _told(score, score.image_level.figures, _SHORT)):
        lines.append(f"images: {told}")
    if score.box_level and (told := _told(score, score.box_level.froc, _SHORT_OF_BOXES)):
        lines.append(f"boxes hit at 0.05 to 1 false ones per image: {told}")
    return lines


_SHORT: dict[str, tuple[str, Write]] = {
    "auc": ("AUC", score_text),
    "sensitivity": ("sensitivity", percent),
    "specificity": ("specificity", percent),
}
_SHORT_OF_BOXES: dict[str, tuple[str, Write]] = {"mean": ("mean", percent)}


def _told(score: Score, figures: Mapping[str, Figure], names: Mapping[str, tuple[str, Write]]) -> str:
    texts = []
    for key, (name, write) in names.items():
        if key in figures and figures[key].value is not None:
            found = cell(figures[key], write, is_tuned(score))
            texts.append(f"{name} {found['value']}" + (f" ({found['interval']})" if found["interval"] else ""))
    return ", ".join(texts)


def _is_told(group: Subgroup) -> bool:
    return any(one is not None and one.value is not None for one in (group.sensitivity, group.specificity))
