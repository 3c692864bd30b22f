"""The numbers of a scoring: what is chosen on one split, and what comes out on another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from common.cli import progress
from common.data.data_set import Split
from evaluate.metrics.coco import average_precision
from evaluate.metrics.matching import HIT_IOU
from evaluate.metrics.rsna import best_confidence, match
from evaluate.metrics.sweep import Sweep
from evaluate.metrics.uncertainty import (
    FEWEST_PATIENTS,
    UNKNOWN,
    counted_patients,
    group_differences,
    paired_difference,
    score_interval,
    subgroups,
)
from evaluate.postprocess.boxes import drop_below, scale_boxes
from evaluate.postprocess.operating_point import OperatingPoint
from evaluate.scoring.result import Difference, Gain, Interval, SplitScore, Subgroup

SUBGROUPS = ("view", "sex", "age")
BOX_SCALES = tuple(round(0.70 + 0.05 * step, 2) for step in range(8))
"""Factors tried on each side of the boxes: 0.70 to 1.05."""


def choose_confidence(
    truth: pd.DataFrame, predictions: pd.DataFrame, box_scale: tuple[float, float] = (1.0, 1.0)
) -> tuple[OperatingPoint, float]:
    """The confidence of highest score, from the metric's exact sweep, for boxes resized by given factors.

    Args:
        truth: The boxes table of the split to tune on.
        predictions: Its predictions table.
        box_scale: Factors on width and height.

    Returns:
        The choice and its score on this split, which flatters.
    """
    confidence, score = best_confidence(truth, scale_boxes(predictions, *box_scale))
    return OperatingPoint(confidence, box_scale), score


def choose_box_scale(truth: pd.DataFrame, predictions: pd.DataFrame) -> tuple[OperatingPoint, float]:
    """The box scale, with its confidence, of highest score: both sides alike first, then each side by itself.

    Args:
        truth: The boxes table of the split to tune on.
        predictions: Its predictions table.

    Returns:
        The choice and its score on this split. Of equally good scales, the one nearest to leaving boxes alone.
    """

    def best_of(scales: Iterable[tuple[float, float]], what: str) -> tuple[OperatingPoint, float]:
        tried = [choose_confidence(truth, predictions, scale) for scale in progress(list(scales), what, unit="scales")]
        return max(tried, key=lambda one: (one[1], -abs(one[0].box_scale[0] - 1) - abs(one[0].box_scale[1] - 1)))

    both = best_of(((scale, scale) for scale in BOX_SCALES), "tuning box size")[0].box_scale[0]
    width = best_of(((scale, both) for scale in BOX_SCALES), "tuning box width")[0].box_scale[0]
    return best_of(((width, scale) for scale in BOX_SCALES), "tuning box height")


@dataclass(frozen=True)
class Judged:
    """A split and what is left of its predictions at an operating point; made once, for all that is said about it.

    Attributes:
        split: Truth and patients.
        confidence: Predictions below do not count.
        scaled: The predictions table with boxes resized, at all confidences.
        final: Those from the confidence on, with the column `hit`, see `mark_hits`.
        sweep: The score at every confidence.
        scores: Scores of the images at the confidence, by image_id; NaN where an image does not count.
    """

    split: Split
    confidence: float
    scaled: pd.DataFrame
    final: pd.DataFrame
    sweep: Sweep
    scores: pd.Series

    @property
    def score(self) -> float:
        """The RSNA score at the confidence."""
        return self.sweep.score(self.confidence)

    @property
    def patients(self) -> pd.Series:
        """Patient of each image by image_id."""
        return self.split.manifest.set_index("image_id")["patient_id"]


def judge(split: Split, predictions: pd.DataFrame, point: OperatingPoint) -> Judged:
    """Resize boxes, leave out those of too little confidence, and score what is left.

    Args:
        split: Its truth and patients.
        predictions: Its predictions table as the model made it, or as a gate left it.
        point: Confidence and box scale.
    """
    scaled = scale_boxes(predictions, *point.box_scale)
    sweep = Sweep.from_tables(split.truth, scaled)
    final = mark_hits(split.truth, drop_below(scaled, point.confidence))
    return Judged(split, point.confidence, scaled, final, sweep, sweep.image_scores(point.confidence))


def mark_hits(truth: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Add the column `hit` (bool): whether a prediction hits a truth box, with an IoU greater than `HIT_IOU`."""
    return predictions.assign(hit=match(truth, predictions, (HIT_IOU,)).iloc[:, 0].to_numpy(dtype=bool))


def score_split(judged: Judged) -> SplitScore:
    """Everything that is said about a split."""
    truth, final = judged.split.truth, judged.final
    boxes, hits = int(truth["x"].notna().sum()), int(final["hit"].sum())
    precision = average_precision(truth, judged.scaled)
    return SplitScore(
        score=judged.score,
        interval_95=_interval(judged.scores, judged.patients),
        images=len(judged.split.pictures),
        positive_images=int(truth.loc[truth["x"].notna(), "image_id"].nunique()),
        counted_images=int(judged.scores.notna().sum()),
        truth_boxes=boxes,
        predictions=len(final),
        true_positives=hits,
        false_positives=len(final) - hits,
        false_negatives=boxes - hits,
        map50=precision["map50"],
        map50_95=precision["map50_95"],
        counted_patients=counted_patients(judged.scores, judged.patients),
    )


def score_subgroups(judged: Judged) -> dict[str, dict[str, Subgroup]]:
    """Scores by view, sex and age group; a property that is unknown for all images is left out."""
    found: dict[str, dict[str, Subgroup]] = {}
    for column, groups in _groupings(judged).items():
        names = sorted(groups.unique(), key=lambda name: (name == UNKNOWN, name))
        of_images = groups.reindex(judged.scores.index)
        found[column] = {str(name): _subgroup(judged, of_images == name) for name in names}
    return found


def compare_subgroups(judged: Judged) -> dict[str, Difference]:
    """By view, sex and age, the two groups that differ most surely; see `group_differences`."""
    compared = group_differences(judged.scores, _groupings(judged), judged.patients)
    return {name: Difference(one.higher, one.lower, one.difference, one.p) for name, one in compared.items()}


def _groupings(judged: Judged) -> dict[str, pd.Series]:
    """The group of each image by property; without those that are unknown for all images."""
    found = {column: subgroups(judged.split.manifest, column) for column in SUBGROUPS}
    return {column: groups for column, groups in found.items() if (groups != UNKNOWN).any()}


def _subgroup(judged: Judged, belongs: pd.Series) -> Subgroup:
    scores = judged.scores[belongs.to_numpy()]
    counted = int(scores.notna().sum())
    return Subgroup(
        score=float(scores.mean()) if counted else None,
        interval_95=_interval(scores, judged.patients),
        images=len(scores),
        counted_images=counted,
        counted_patients=counted_patients(scores, judged.patients),
    )


def _interval(scores: pd.Series, patients: pd.Series) -> Interval | None:
    """The interval of a score; None where too few patients count for one."""
    if counted_patients(scores, patients) < FEWEST_PATIENTS:
        return None
    return Interval(*score_interval(scores, patients))


def compare(plain: Judged, changed: Judged) -> Gain:
    """What a change to predictions gained over the plain ones on the very same images, the same patients resampled."""
    difference = paired_difference(changed.scores, plain.scores, plain.patients)
    # An image that counts in either of them is part of the comparison.
    patients = counted_patients(changed.scores.fillna(plain.scores), plain.patients)
    interval = Interval(difference.low, difference.high) if patients >= FEWEST_PATIENTS else None
    return Gain(plain.score, difference.difference, interval)
