"""The numbers of a scoring: what is chosen on one split, and what comes out on another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from common.data.data_set import Split
from common.data.tables import sort_predictions
from evaluate.metrics.coco import average_precision
from evaluate.metrics.errors import ErrorKinds, find_errors
from evaluate.metrics.matching import HIT_IOU
from evaluate.metrics.outcomes import outcomes
from evaluate.metrics.rsna import match
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
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import Difference, Gain, Interval, SplitScore, Subgroup

SUBGROUPS = ("view", "sex", "age")


@dataclass(frozen=True)
class Judged:
    """A split and what a pipeline leaves of its predictions; made once, for all that is said about it.

    Attributes:
        split: Truth and patients.
        confidence: Predictions below do not count.
        processed: The predictions table after all steps but the confidence.
        final: Those from the confidence on, with the column `hit`, see `mark_hits`.
        sweep: The score at every confidence.
        scores: Scores of the images at the confidence, by image_id; NaN where an image does not count.
    """

    split: Split
    confidence: float
    processed: pd.DataFrame
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

    @property
    def labels(self) -> pd.Series:
        """Label of each image by image_id; empty where the data set says none."""
        manifest = self.split.manifest.set_index("image_id")
        return manifest["label"].fillna("") if "label" in manifest else pd.Series("", index=manifest.index)

    @cached_property
    def errors(self) -> ErrorKinds:
        """What is wrong with the final predictions, and with the truth boxes that none hits."""
        return find_errors(self.split.truth, self.final, self.labels)


def judge(split: Split, predictions: pd.DataFrame, pipeline: Pipeline, gate: pd.Series | None = None) -> Judged:
    """Take all steps, and score what is left.

    Args:
        split: Its truth, patients, and the views and sizes of its images.
        predictions: Its predictions table as the model made it.
        pipeline: What is done to them; where that is nothing, and nothing was fitted, boxes are not even cut off at
            their picture's edge, as the challenge does not.
        gate: P(opacity) by image_id, where the pipeline has a gate.

    Raises:
        UserError: See `Pipeline.apply`.
    """
    before = replace(pipeline, confidence=Confidence())
    is_nothing = before == Pipeline(suppression=Suppression("none", None))
    processed = sort_predictions(predictions) if is_nothing else before.apply(predictions, split.manifest, gate)
    sweep = Sweep.from_tables(split.truth, processed)
    final = mark_hits(split.truth, pipeline.confidence.apply(processed))
    least = pipeline.confidence.least
    return Judged(split, least, processed, final, sweep, sweep.image_scores(least))


def mark_hits(truth: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Add the column `hit` (bool): whether a prediction hits a truth box, with an IoU greater than `HIT_IOU`."""
    return predictions.assign(hit=match(truth, predictions, (HIT_IOU,)).iloc[:, 0].to_numpy(dtype=bool))


def outcome_table(judged: Judged) -> pd.DataFrame:
    """What became of each image; see `outcomes`."""
    truth, name = judged.split.truth, judged.split.name
    return outcomes(name, judged.labels, truth, judged.processed, judged.final, judged.scores, judged.errors)


def score_split(judged: Judged) -> SplitScore:
    """Everything that is said about a split."""
    truth, final = judged.split.truth, judged.final
    boxes, hits = int(truth["x"].notna().sum()), int(final["hit"].sum())
    precision = average_precision(truth, judged.processed)
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
    return Gain(changed.score, difference.difference, interval)
