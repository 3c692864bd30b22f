"""The numbers of a scoring: what is chosen on one split, and what comes out on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pandas as pd

from common.data.data_set import Split
from common.data.tables import sort_predictions
from evaluate.metrics.arrays import Floats
from evaluate.metrics.calibration import Bin, calibration_error, reliability
from evaluate.metrics.coco import average_precision
from evaluate.metrics.errors import ErrorKinds, find_errors
from evaluate.metrics.figures import BoxLevel, Figure, ImageLevel, Interval
from evaluate.metrics.grouping import BOX_SIZES, UNKNOWN, box_sizes, negative_kinds, subgroups
from evaluate.metrics.matching import HIT_IOU
from evaluate.metrics.outcomes import outcomes
from evaluate.metrics.ranking import FALSE_BOXES, IMAGE_FIGURES, Ranking, froc_figures, image_figures
from evaluate.metrics.rsna import match
from evaluate.metrics.sweep import Sweep
from evaluate.metrics.uncertainty import (
    FEWEST_PATIENTS,
    counted_patients,
    group_differences,
    paired_difference,
    percentile_interval,
    resampled_figures,
    score_interval,
)
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import (
    Difference,
    Gain,
    SplitScore,
    Subgroup,
)

SUBGROUPS = ("view", "sex", "age", "site", "institution", "hospital", "scanner", "manufacturer")
"""Columns of a manifest whose values are groups; those that it lacks are passed over."""
BOX_SIZE, NEGATIVE_KIND = "box size", "negative kind"


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

    @cached_property
    def patients(self) -> pd.Series:
        """Patient of each image by image_id."""
        return self.split.manifest.set_index("image_id")["patient_id"]

    @cached_property
    def labels(self) -> pd.Series:
        """Label of each image by image_id; empty where the data set says none."""
        manifest = self.split.manifest.set_index("image_id")
        return manifest["label"].fillna("") if "label" in manifest else pd.Series("", index=manifest.index)

    @cached_property
    def is_positive(self) -> pd.Series:
        """Whether each image has a truth box, by image_id in the order of `scores`."""
        truth = self.split.truth
        images = self.scores.index
        return pd.Series(images.isin(truth.loc[truth["x"].notna(), "image_id"]), index=images)

    @cached_property
    def is_called(self) -> pd.Series:
        """Whether each image has a prediction at the confidence, in the same order."""
        images = self.scores.index
        return pd.Series(images.isin(self.final["image_id"]), index=images)

    @cached_property
    def strongest(self) -> pd.Series:
        """Confidence of each image's strongest prediction, whether it is kept or not, 0 without; in the same order."""
        return self.processed.groupby("image_id")["confidence"].max().reindex(self.scores.index).fillna(0.0)

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


def judge_images(judged: Judged) -> ImageLevel:
    """Say of images what is said of boxes: whether there is an opacity."""
    positive, called, strongest = judged.is_positive, judged.is_called, judged.strongest
    figures = {name: _share(judged, *found) for name, found in _called_rightly(judged).items()}
    ranking = Ranking.of_images(strongest.to_numpy(dtype=float), positive.to_numpy())
    rarer = min(counted_patients(positive.where(positive == kind), judged.patients) for kind in (True, False))
    figures |= _resampled(judged, IMAGE_FIGURES, partial(image_figures, ranking), rarer)
    bins: list[Bin] = []
    if strongest.between(0, 1).all():
        chance, is_there = strongest.to_numpy(dtype=float), positive.to_numpy()
        figures["brier"] = _share(judged, (strongest - positive) ** 2, positive | True)
        patients = figures["brier"].patients
        figures["calibration_error"] = Figure(calibration_error(chance, is_there), None, patients)
        bins = reliability(chance, is_there)
    return ImageLevel(
        true_positives=int((positive & called).sum()),
        false_negatives=int((positive & ~called).sum()),
        false_positives=int((~positive & called).sum()),
        true_negatives=int((~positive & ~called).sum()),
        figures=figures,
        reliability=tuple(bins),
    )


def judge_boxes(judged: Judged) -> BoxLevel:
    """Say how many truth boxes are hit at how many false ones, and what is wrong with the others."""
    ranking = Ranking.of_boxes(judged.split.truth, judged.processed)
    patients = counted_patients(judged.is_positive.where(judged.is_positive), judged.patients)
    names = (*(f"{rate:g}" for rate in FALSE_BOXES), "mean")
    return BoxLevel(_resampled(judged, names, partial(froc_figures, ranking), patients), judged.errors.counts())


def _called_rightly(judged: Judged) -> dict[str, tuple[pd.Series, pd.Series]]:
    """By share: whether an image is a case of it, and which images count."""
    positive, called = judged.is_positive, judged.is_called
    return {
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "positive_predictive_value": (positive, called),
        "negative_predictive_value": (~positive, ~called),
    }


def _share(judged: Judged, cases: pd.Series, counted: pd.Series) -> Figure:
    """The mean of what is said of the images that count."""
    values = cases.astype(float).where(counted)
    value = float(values.mean()) if counted.any() else None
    return Figure(value, _interval(values, judged.patients), counted_patients(values, judged.patients))


def _resampled(
    judged: Judged, names: Sequence[str], figures: Callable[[Floats], Floats], patients: int
) -> dict[str, Figure]:
    """Figures that are no mean over images, with their intervals."""
    images = judged.scores.index
    values = figures(np.ones(len(images)))
    intervals: list[Interval | None] = [None] * len(names)
    if patients >= FEWEST_PATIENTS:
        drawn = resampled_figures(figures, images, judged.patients)
        intervals = [Interval(*percentile_interval(column)) for column in drawn.T]
    return {
        name: Figure(None if np.isnan(value) else float(value), interval, patients)
        for name, value, interval in zip(names, values, intervals, strict=True)
    }


def score_subgroups(judged: Judged) -> dict[str, dict[str, Subgroup]]:
    """Scores by every property of `_groupings`."""
    found: dict[str, dict[str, Subgroup]] = {}
    for column, groups in _groupings(judged).items():
        names = sorted(groups.unique(), key=lambda name: (name == UNKNOWN, name))
        if column == BOX_SIZE:
            names = [name for name in BOX_SIZES if name in names]
        elif column == NEGATIVE_KIND:
            names = [name for name in names if name != UNKNOWN]
        of_images = groups.reindex(judged.scores.index)
        found[column] = {str(name): _subgroup(judged, of_images == name, column) for name in names}
    return found


def compare_subgroups(judged: Judged) -> dict[str, Difference]:
    """By property, the two groups that differ most surely; see `group_differences`.

    Compared is the RSNA score; of kinds of negatives, which score 0 or do not count, the specificity.
    """
    cases, counted = _called_rightly(judged)["specificity"]
    instead = {NEGATIVE_KIND: cases.astype(float).where(counted)}
    compared = group_differences(judged.scores, _groupings(judged), judged.patients, instead=instead)
    return {
        name: Difference(
            one.higher, one.lower, one.difference, one.p, "specificity" if name == NEGATIVE_KIND else "score"
        )
        for name, one in compared.items()
    }


def _groupings(judged: Judged) -> dict[str, pd.Series]:
    """The group of each image by property; without those that are unknown for all images, or that make no groups."""
    manifest, truth = judged.split.manifest, judged.split.truth
    found = {column: subgroups(manifest, column) for column in SUBGROUPS if column in manifest}
    made = {BOX_SIZE: box_sizes(truth, manifest), NEGATIVE_KIND: negative_kinds(truth, judged.labels)}
    found |= {name: groups for name, groups in made.items() if len({*groups} - {UNKNOWN}) > 1}
    return {column: groups for column, groups in found.items() if (groups != UNKNOWN).any()}


def _subgroup(judged: Judged, belongs: pd.Series, column: str) -> Subgroup:
    scores = judged.scores[belongs.to_numpy()]
    has_score = column != NEGATIVE_KIND and scores.notna().any()
    shares = _called_rightly(judged)
    figures = {
        name: _share(judged, cases, counted & belongs)
        for name, (cases, counted) in shares.items()
        if name in ("sensitivity", "specificity")
    }
    return Subgroup(
        score=float(scores.mean()) if has_score else None,
        interval_95=_interval(scores, judged.patients) if has_score else None,
        images=len(scores),
        counted_images=int(scores.notna().sum()),
        counted_patients=counted_patients(scores, judged.patients),
        **figures,
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
