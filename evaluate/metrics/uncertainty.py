"""How sure the score is: intervals and comparisons that respect patients, and scores of subgroups.

Images of one patient resemble each other, so they are no independent evidence: an interval that resamples images is
too narrow. Everything here resamples *patients* with all their images (the cluster bootstrap: Davison and Hinkley,
*Bootstrap Methods and their Application*, 1997, section 3.8) and takes percentiles of the resampled scores (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13).

Scores of images come from `evaluate.metrics.rsna.image_scores`: a Series by image_id, NaN for an image that does not
count. An image that does not count still belongs to its patient, and its patient can be drawn: how many images count is
part of what varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.names import OLDEST_AGE
from common.errors import UserError

Floats = NDArray[np.float64]

RESAMPLES = 2_000
LEVEL = 0.95

AGE_GROUPS = ("0-17", "18-39", "40-59", "60-79", "80+")
UNKNOWN = "unknown"


def score_interval(
    scores: pd.Series,
    patients: pd.Series | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Give an interval for the score, by resampling patients.

    Args:
        scores: Scores of the images by image_id, NaN where an image does not count.
        patients: Patient of each image by image_id; may hold other images as well. None: each image is its own patient.
        resamples: How many times the patients are drawn.
        level: Share of the resampled scores that the interval holds.
        seed: The same seed gives the same interval.

    Returns:
        Lower and upper end. Both are 0 where no image counts. With very few patients the interval is too narrow: one
        patient gives an interval of width 0.

    Raises:
        UserError: An image has no patient, or a number is out of range.
    """
    _check(resamples, level)
    totals = _totals_by_patient([scores], patients)
    drawn = _means(_resample(totals, resamples, seed))[:, 0]
    return _percentiles(drawn, level)


@dataclass(frozen=True)
class Difference:
    """How much higher one model scores than another on the same images."""

    difference: float
    """Score of the first less score of the second."""
    low: float
    high: float
    """Ends of the interval of the difference; the models differ beyond chance where it leaves 0 out."""
    first_better: float
    """Share of the resamples in which the first model scores higher; ties count half."""


def paired_difference(
    first: pd.Series,
    second: pd.Series,
    patients: pd.Series | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same images; both are scored on the same resampled patients.

    What makes an image easy or hard for both models cancels out, so that this finds differences which two separate
    intervals cannot tell apart. Arguments and errors as in `score_interval`.

    Raises:
        UserError: The two do not hold the same images.
    """
    _check(resamples, level)
    strangers = first.index.symmetric_difference(second.index)
    if len(strangers):
        raise UserError(
            f"scores to compare: {len(strangers)} images, such as {strangers[0]}, are in one of the two only; both "
            "models must be scored against the same truth"
        )
    totals = _totals_by_patient([first, second], patients)
    drawn = _means(_resample(totals, resamples, seed))
    differences = drawn[:, 0] - drawn[:, 1]
    low, high = _percentiles(differences, level)
    whole = _means(totals.sum(axis=0)[None])[0]
    better = float(((differences > 0) + 0.5 * (differences == 0)).mean())
    return Difference(float(whole[0] - whole[1]), low, high, better)


def resampled_scores(
    scores: pd.DataFrame, patients: pd.Series | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Give the scores of several models, each time on the same resampled patients: what any comparison is made of.

    The difference of two columns is what `paired_difference` takes its interval from, with the same seed.

    Args:
        scores: Scores of the images, one row per image_id and one column per model, NaN where an image does not count.
        patients: As in `score_interval`.
        resamples: As in `score_interval`.
        seed: As in `score_interval`.

    Returns:
        (resamples, models), 0 where no image counts.

    Raises:
        UserError: An image has no patient, or a number is out of range.
    """
    _check(resamples, LEVEL)
    totals = _totals_by_patient([scores[name] for name in scores], patients)
    return _means(_resample(totals, resamples, seed))


def age_groups(ages: pd.Series) -> pd.Series:
    """Sort ages into 0-17, 18-39, 40-59, 60-79 and 80+; a missing, negative or impossible age (above 120) is unknown.

    Args:
        ages: Age in years by image_id; numbers, NaN where unknown.

    Returns:
        Name of the group (str) by image_id.
    """
    years = pd.to_numeric(ages, errors="coerce").astype(float)
    groups = pd.cut(years, [0, 18, 40, 60, 80, OLDEST_AGE + 1], right=False, labels=AGE_GROUPS)
    return groups.astype(object).where(years.between(0, OLDEST_AGE), UNKNOWN).astype(str).rename("age")


def subgroups(manifest: pd.DataFrame, column: str) -> pd.Series:
    """Sort the images of a manifest into groups by one of its columns.

    Args:
        manifest: The data set's manifest, with a column image_id.
        column: `view`, `sex` or any other column whose values are the groups; `age` is sorted into age groups.

    Returns:
        Name of the group (str) by image_id; `unknown` where the manifest is empty.

    Raises:
        UserError: The manifest lacks the column.
    """
    if column not in manifest:
        raise UserError(f"manifest: no column {column}; found {', '.join(map(str, manifest.columns))}")
    values = manifest.set_index("image_id")[column]
    if column == "age":
        return age_groups(values)
    return values.astype(object).where(values.notna() & (values.astype(str) != ""), UNKNOWN).astype(str)


def subgroup_scores(
    scores: pd.Series,
    groups: pd.Series,
    patients: pd.Series | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the score of each group with its interval.

    Args:
        scores: Scores of the images by image_id, NaN where an image does not count.
        groups: Group of each image by image_id, as `subgroups` gives them; may hold other images as well.
        patients: As in `score_interval`.
        resamples: As in `score_interval`.
        level: As in `score_interval`.
        seed: As in `score_interval`.

    Returns:
        By group, in alphabetical order with `unknown` last: score, low, high (float64, 0 where no image counts), images
        and counted_images (int64).

    Raises:
        UserError: An image has no group or no patient.
    """
    group = _of_images(groups, scores.index, "group")
    rows = {}
    for name in sorted(group.unique(), key=lambda name: (name == UNKNOWN, name)):
        part = scores[(group == name).to_numpy()]
        low, high = score_interval(part, patients, resamples=resamples, level=level, seed=seed)
        counted = int(part.notna().sum())
        rows[name] = {
            "score": float(part.mean()) if counted else 0.0,
            "low": low,
            "high": high,
            "images": len(part),
            "counted_images": counted,
        }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["score", "low", "high", "images", "counted_images"])
    return table.rename_axis("group").astype({"images": np.int64, "counted_images": np.int64})


def _totals_by_patient(scores: list[pd.Series], patients: pd.Series | None) -> Floats:
    """Add up (patients, models, 2): the scores of a patient's images that count, and their number."""
    index = scores[0].index
    if patients is None:
        patient, count = np.arange(len(index)), len(index)
    else:
        codes, names = pd.factorize(_of_images(patients, index, "patient"))
        patient, count = codes, len(names)
    totals = np.zeros((count, len(scores), 2))
    for model, series in enumerate(scores):
        values = series.reindex(index).to_numpy(dtype=np.float64)
        counts = ~np.isnan(values)
        totals[:, model, 0] = np.bincount(patient, np.where(counts, values, 0.0), minlength=count)
        totals[:, model, 1] = np.bincount(patient, counts, minlength=count)
    return totals


def _of_images(values: pd.Series, index: pd.Index, what: str) -> pd.Series:
    """Look up each image's patient or group; an image without one is an error."""
    if values.index.has_duplicates:
        twice = values.index[values.index.duplicated()][0]
        raise UserError(f"{what}s of the images: image {twice} is there twice; expected one row for each image")
    found = values.reindex(index)
    missing = found.isna().to_numpy()
    if missing.any():
        raise UserError(
            f"{what}s of the images: none for {int(missing.sum())} images, such as {index[missing][0]}; expected a "
            f"{what} for every image that is scored"
        )
    return found


def _resample(totals: Floats, resamples: int, seed: int) -> Floats:
    """Draw as many patients as there are, with replacement, and add up their totals: (resamples, models, 2)."""
    random = np.random.default_rng(seed)
    patients = len(totals)
    flat = totals.reshape(patients, totals.shape[1] * 2)
    drawn = np.zeros((resamples, flat.shape[1]))
    if patients:
        for resample in drawn:
            times = np.bincount(random.integers(0, patients, patients, dtype=np.int32), minlength=patients)
            resample[:] = times @ flat
    return drawn.reshape(resamples, *totals.shape[1:])


def _means(totals: Floats) -> Floats:
    """Turn (..., 2) sums and counts into scores; 0 where nothing counts."""
    return np.divide(totals[..., 0], totals[..., 1], out=np.zeros(totals.shape[:-1]), where=totals[..., 1] > 0)


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(resamples: int, level: float) -> None:
    if resamples < 1:
        raise UserError(f"resamples: found {resamples}; expected 1 or more")
    if not 0 < level < 1:
        raise UserError(f"level: found {level}; expected a share between 0 and 1, such as 0.95")
