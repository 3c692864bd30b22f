"""The numbers of a scoring: what is chosen on one split, and what comes out on another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from common.cli import progress
from common.data.data_set import Split
from common.data.tables import empty_predictions
from evaluate.metrics.coco import average_precision
from evaluate.metrics.rsna import best_confidence, image_scores, match, rsna_score
from evaluate.metrics.uncertainty import paired_difference, score_interval, subgroup_scores, subgroups
from evaluate.postprocess.boxes import keep, scale_boxes
from evaluate.postprocess.choice import Choice

SUBGROUPS = ("view", "sex", "age")
BOX_SCALES = tuple(round(0.70 + 0.05 * step, 2) for step in range(8))
"""Factors tried on each side of the boxes: 0.70 to 1.05."""

_IOU_OF_COUNTS = 0.5


def choose_confidence(
    truth: pd.DataFrame, predictions: pd.DataFrame, box_scale: tuple[float, float] = (1.0, 1.0)
) -> tuple[Choice, float]:
    """The confidence of highest score, from the metric's exact sweep, for boxes resized by given factors.

    Args:
        truth: The boxes table of the split to tune on.
        predictions: Its predictions table.
        box_scale: Factors on width and height.

    Returns:
        The choice and its score on this split, which flatters.
    """
    confidence, score = best_confidence(truth, scale_boxes(predictions, *box_scale))
    return Choice(confidence, box_scale), score


def choose_box_scale(truth: pd.DataFrame, predictions: pd.DataFrame) -> tuple[Choice, float]:
    """The box scale, with its confidence, of highest score: both sides alike first, then each side by itself.

    Args:
        truth: The boxes table of the split to tune on.
        predictions: Its predictions table.

    Returns:
        The choice and its score on this split. Of equally good scales, the one nearest to leaving boxes alone.
    """

    def best_of(scales: Iterable[tuple[float, float]], what: str) -> tuple[Choice, float]:
        tried = [choose_confidence(truth, predictions, scale) for scale in progress(list(scales), what, unit="scales")]
        return max(tried, key=lambda one: (one[1], -abs(one[0].box_scale[0] - 1) - abs(one[0].box_scale[1] - 1)))

    both = best_of(((scale, scale) for scale in BOX_SCALES), "tuning box size")[0].box_scale[0]
    width = best_of(((scale, both) for scale in BOX_SCALES), "tuning box width")[0].box_scale[0]
    return best_of(((width, scale) for scale in BOX_SCALES), "tuning box height")


def score_split(split: Split, predictions: pd.DataFrame, choice: Choice) -> dict[str, Any]:
    """Everything that is said about a split.

    Args:
        split: Its truth and patients.
        predictions: Its predictions table as the model made it.
        choice: Confidence and box scale.

    Returns:
        `score` and `interval_95` (patients resampled); `images`, `positive_images` (with truth boxes),
        `counted_images` (that count in the score), `truth_boxes`, `predictions` (at the confidence);
        `true_positives_at_0.5` and so on (IoU greater than 0.5); `score_without_predictions`; `map50` and `map50_95` of
        the rescaled boxes at all confidences, None without truth boxes.
    """
    truth = split.truth
    scaled = scale_boxes(predictions, *choice.box_scale)
    final = keep(scaled, choice.confidence)
    scores = image_scores(truth, final)
    boxes = int(truth["x"].notna().sum())
    hits = int(match(truth, final, (_IOU_OF_COUNTS,)).to_numpy().sum())
    precision = average_precision(truth, scaled)
    return {
        "score": rsna_score(truth, final),
        "interval_95": list(score_interval(scores, _patients(split))),
        "images": len(split.pictures),
        "positive_images": int(truth.loc[truth["x"].notna(), "image_id"].nunique()),
        "counted_images": int(scores.notna().sum()),
        "truth_boxes": boxes,
        "predictions": len(final),
        "true_positives_at_0.5": hits,
        "false_positives_at_0.5": len(final) - hits,
        "false_negatives_at_0.5": boxes - hits,
        "score_without_predictions": rsna_score(truth, empty_predictions()),
        "map50": precision["map50"],
        "map50_95": precision["map50_95"],
    }


def score_subgroups(split: Split, predictions: pd.DataFrame, choice: Choice) -> dict[str, dict[str, Any]]:
    """Scores by view, sex and age group: `score`, `interval_95`, `images`, `counted_images`.

    A property that is unknown for all images is left out; the score of a group of which no image counts is None.
    """
    scores = image_scores(split.truth, keep(scale_boxes(predictions, *choice.box_scale), choice.confidence))
    found: dict[str, dict[str, Any]] = {}
    for column in SUBGROUPS:
        groups = subgroups(split.manifest, column)
        if groups.nunique() == 1 and groups.iloc[0] == "unknown":
            continue
        table = subgroup_scores(scores, groups, _patients(split))
        found[column] = {
            str(name): {
                "score": float(row["score"]) if row["counted_images"] else None,
                "interval_95": [float(row["low"]), float(row["high"])] if row["counted_images"] else None,
                "images": int(row["images"]),
                "counted_images": int(row["counted_images"]),
            }
            for name, row in table.to_dict("index").items()
        }
    return found


def compare_with(
    splits: Mapping[str, Split],
    plain: Mapping[str, pd.DataFrame],
    plain_choice: Choice,
    changed: Mapping[str, pd.DataFrame],
    changed_choice: Choice,
) -> dict[str, dict[str, Any]]:
    """What plain predictions score, and what a change to them gained on the very same images.

    Args:
        splits: Truth and patients of each split.
        plain: Its predictions table without the change.
        plain_choice: The choice for these.
        changed: Its predictions table with the change.
        changed_choice: The choice for these.

    Returns:
        `splits`: by split `score` of the plain predictions, the `gain` of the changed ones over it, and the gain's
        `gain_interval_95` (the same patients resampled for both).
    """
    found: dict[str, Any] = {}
    for name, split in splits.items():
        before = image_scores(split.truth, _final(plain[name], plain_choice))
        after = image_scores(split.truth, _final(changed[name], changed_choice))
        difference = paired_difference(after, before, _patients(split))
        found[name] = {
            "score": rsna_score(split.truth, _final(plain[name], plain_choice)),
            "gain": difference.difference,
            "gain_interval_95": [difference.low, difference.high],
        }
    return {"splits": found}


def _final(predictions: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    return keep(scale_boxes(predictions, *choice.box_scale), choice.confidence)


def _patients(split: Split) -> pd.Series:
    return split.manifest.set_index("image_id")["patient_id"]
