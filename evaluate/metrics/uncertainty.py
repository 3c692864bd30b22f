"""How sure the score is: intervals and comparisons that respect patients, and scores of subgroups.

Images of one patient resemble each other, so they are no independent evidence: an interval that resamples images is
too narrow. Everything here resamples *patients* with all their images (the cluster bootstrap: Davison and Hinkley,
*Bootstrap Methods and their Application*, 1997, section 3.8) and takes percentiles of the resampled scores (Efron and
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13).

Scores of images come from `evaluate.metrics.rsna.image_scores`: a Series by image_id, NaN for an image that does not
count. An image that does not count still belongs to its patient, and its patient can be drawn: how many images count is
part of what varies.

Percentiles of few patients are too close together. In simulations an interval that is called a 95 % one holds the true
score in 85 % of cases with 10 patients that count, in 91 % with 20, 93 % with 40 and 94 % with 100; intervals that are
corrected for bias do no better. So below `FEWEST_PATIENTS` there is none to be shown, and below `FEW_PATIENTS` it is to
be marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from common.errors import UserError
from evaluate.metrics.arrays import Floats, Ints
from evaluate.metrics.grouping import UNKNOWN

RESAMPLES = 2_000
LEVEL = 0.95
FEWEST_PATIENTS = 20
"""With fewer patients that count, an interval says more than is known."""
FEW_PATIENTS = 40
"""With fewer patients that count, an interval is too narrow to be taken at its word."""


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


def resampled_figures(
    figures: Callable[[Floats], Floats],
    images: pd.Index,
    patients: pd.Series | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Give figures that are no mean over images, such as an area under a curve, each time on resampled patients.

    The draws are those of `resampled_scores` with the same seed, so that two models' figures can be subtracted.

    Args:
        figures: Gives (K,) figures of how often each image counts (I,); NaN for one that cannot be told.
        images: The image_ids (I,), in the order of these counts.
        patients: As in `score_interval`.
        resamples: As in `score_interval`.
        seed: As in `score_interval`.

    Returns:
        (resamples, K).

    Raises:
        UserError: An image has no patient, or a number is out of range.
    """
    _check(resamples, LEVEL)
    patient, count = _patients_of(images, patients)
    random = np.random.default_rng(seed)
    return np.array(
        [figures(_draw(random, count)[patient].astype(np.float64)) for _ in range(resamples)], dtype=np.float64
    )


def percentile_interval(drawn: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Give the ends of the interval that resampled figures (N,) make; those that could not be told are left out.

    Raises:
        UserError: The level is out of range.
    """
    _check(1, level)
    return _percentiles(drawn[~np.isnan(drawn)], level)


def counted_patients(scores: pd.Series, patients: pd.Series | None = None) -> int:
    """How many patients have an image that counts; arguments as in `score_interval`."""
    counted = scores.index[scores.notna().to_numpy()]
    return len(counted) if patients is None else int(_of_images(patients, counted, "patient").nunique())


@dataclass(frozen=True)
class GroupDifference:
    """How much higher the images of one group score than those of another.

    Attributes:
        higher: The group with the higher score.
        lower: The other one.
        difference: Score of the first less score of the second.
        p: Probability of a difference as large as this by chance, corrected for all pairs that were compared.
    """

    higher: str
    lower: str
    difference: float
    p: float


def group_differences(
    scores: pd.Series,
    groupings: Mapping[str, pd.Series],
    patients: pd.Series | None = None,
    *,
    instead: Mapping[str, pd.Series] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, GroupDifference]:
    """Compare groups of images with each other, such as views: for each property the pair that is least likely chance.

    Every pair of groups of the same property is compared, as far as they have `FEWEST_PATIENTS` patients that count.
    All groups are resampled together, so that patients with images in several of them count as what they are. A
    difference over its standard error is held against Student's t with the smaller group's patients less one as its
    degrees of freedom; p values are corrected for all pairs of all properties (Holm, Scandinavian Journal of Statistics
    1979;6:65-70). So without any true difference, at most 5 % of all tables have one with a p below 0.05.

    Args:
        scores: As in `score_interval`.
        groupings: By property, the group of each image as `subgroups` gives it; `unknown` is not compared.
        patients: As in `score_interval`.
        instead: By property, what is compared in place of the scores, such as whether an image is left empty; of the
            same images, NaN for those that do not count.
        resamples: As in `score_interval`.
        seed: As in `score_interval`.

    Returns:
        By property; those with fewer than two groups that are large enough are left out.

    Raises:
        UserError: An image has no group or no patient.
    """
    columns: dict[tuple[str, str], pd.Series] = {}
    counted: dict[tuple[str, str], int] = {}
    for name, groups in groupings.items():
        group = _of_images(groups, scores.index, "group")
        for level in sorted(set(group.unique()) - {UNKNOWN}):
            part = (instead or {}).get(name, scores).where((group == level).to_numpy())
            number = counted_patients(part, patients)
            if number >= FEWEST_PATIENTS:
                columns[name, level], counted[name, level] = part, number
    pairs = [(one, other) for one, other in combinations(columns, 2) if one[0] == other[0]]
    if not pairs:
        return {}
    table = pd.DataFrame(dict(enumerate(columns.values())))
    draws = dict(zip(columns, resampled_scores(table, patients, resamples=resamples, seed=seed).T, strict=True))
    found: list[tuple[str, GroupDifference]] = []
    for one, other in pairs:
        difference = float(columns[one].mean() - columns[other].mean())
        higher, lower = (one, other) if difference >= 0 else (other, one)
        error = float(np.std(draws[higher] - draws[lower], ddof=1))
        p = _tail(abs(difference), error, min(counted[one], counted[other]) - 1)
        found.append((one[0], GroupDifference(higher[1], lower[1], abs(difference), p)))
    corrected = holm([one.p for _, one in found])
    least: dict[str, GroupDifference] = {}
    for (name, pair), p in zip(found, corrected, strict=True):
        if name not in least or (p, -pair.difference) < (least[name].p, -least[name].difference):
            least[name] = replace(pair, p=p)
    return least


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number; the order is kept."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected.tolist()


def _totals_by_patient(scores: list[pd.Series], patients: pd.Series | None) -> Floats:
    """Add up (patients, models, 2): the scores of a patient's images that count, and their number."""
    index = scores[0].index
    patient, count = _patients_of(index, patients)
    totals = np.zeros((count, len(scores), 2))
    for model, series in enumerate(scores):
        values = series.reindex(index).to_numpy(dtype=np.float64)
        counts = ~np.isnan(values)
        totals[:, model, 0] = np.bincount(patient, np.where(counts, values, 0.0), minlength=count)
        totals[:, model, 1] = np.bincount(patient, counts, minlength=count)
    return totals


def _patients_of(index: pd.Index, patients: pd.Series | None) -> tuple[Ints, int]:
    """Number the patients: that of each image, and how many there are."""
    if patients is None:
        return np.arange(len(index)), len(index)
    codes, names = pd.factorize(_of_images(patients, index, "patient"))
    return codes, len(names)


def _draw(random: np.random.Generator, patients: int) -> Ints:
    """Draw as many patients as there are, with replacement, and tell how often each was drawn."""
    return np.bincount(random.integers(0, patients, patients, dtype=np.int32), minlength=patients)


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
            resample[:] = _draw(random, patients) @ flat
    return drawn.reshape(resamples, *totals.shape[1:])


def _means(totals: Floats) -> Floats:
    """Turn (..., 2) sums and counts into scores; 0 where nothing counts."""
    return np.divide(totals[..., 0], totals[..., 1], out=np.zeros(totals.shape[:-1]), where=totals[..., 1] > 0)


def _tail(distance: float, error: float, degrees: int) -> float:
    """Probability that Student's t is further from 0 than a distance with its standard error, on either side."""
    from scipy.special import stdtr  # takes as long to import as all of the above

    if not error:
        return float(distance == 0)
    return float(2 * stdtr(degrees, -distance / error))


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(resamples: int, level: float) -> None:
    if resamples < 1:
        raise UserError(f"resamples: found {resamples}; expected 1 or more")
    if not 0 < level < 1:
        raise UserError(f"level: found {level}; expected a share between 0 and 1, such as 0.95")
