"""Intervals against resampling written out patient by patient, against formulas, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from common.errors import UserError
from evaluate.metrics.ranking import Ranking, area_under
from evaluate.metrics.uncertainty import (
    FEW_PATIENTS,
    FEWEST_PATIENTS,
    counted_patients,
    group_differences,
    paired_difference,
    percentile_interval,
    resampled_figures,
    score_interval,
)
from evaluate.metrics.uncertainty import resampled_scores as together


def series(values):
    return pd.Series(np.asarray(values, dtype=float), index=[f"img{number}" for number in range(len(values))])


def random_scores(count, seed, uncounted=0.4):
    random = np.random.default_rng(seed)
    values = random.random(count)
    values[random.random(count) < uncounted] = math.nan
    return series(values)


def random_patients(scores, count, seed):
    return pd.Series(np.random.default_rng(seed).integers(0, count, len(scores)).astype(str), index=scores.index)


def resampled_scores(scores, patients, resamples, seed):
    """Lay out each resample's images in a list and take the mean: the definition, with the same draws."""
    names = list(dict.fromkeys(patients[scores.index]))
    images = {name: [scores[image] for image in scores.index if patients[image] == name] for name in names}
    random = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = [names[k] for k in random.integers(0, len(names), len(names), dtype=np.int32)]
        counted = [score for name in drawn for score in images[name] if not math.isnan(score)]
        means.append(math.fsum(counted) / len(counted) if counted else 0.0)
    return np.array(means)


def test_interval_equals_resampling_written_out():
    scores = random_scores(80, seed=1)
    patients = random_patients(scores, 25, seed=2)
    expected = np.quantile(resampled_scores(scores, patients, 300, seed=5), [0.025, 0.975])
    found = score_interval(scores, patients, resamples=300, seed=5)
    assert found == pytest.approx(tuple(expected), abs=1e-12)
    assert score_interval(scores, patients, resamples=300, seed=5) == found
    assert score_interval(scores, patients, resamples=300, seed=6) != found


def test_interval_of_independent_images_is_the_textbook_one():
    scores = random_scores(4_000, seed=3, uncounted=0)
    error = scores.std() / math.sqrt(len(scores))
    low, high = score_interval(scores)
    assert (low, high) == pytest.approx((scores.mean() - 1.96 * error, scores.mean() + 1.96 * error), abs=0.1 * error)
    low, high = score_interval(scores, level=0.8)
    assert high - low == pytest.approx(2 * 1.2816 * error, rel=0.07)


def test_images_that_do_not_count_make_the_interval_that_of_a_ratio():
    """With half of the images not counting, the standard error is that of the images that do."""
    scores = random_scores(4_000, seed=4, uncounted=0.5)
    error = scores.std() / math.sqrt(scores.count())
    low, high = score_interval(scores)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.07)


def test_copies_of_a_patients_images_add_no_certainty():
    scores = random_scores(500, seed=5)
    copies = pd.concat([scores.rename(lambda name, k=k: f"{name}-{k}") for k in range(9)])
    patients = pd.Series([name.split("-")[0] for name in copies.index], index=copies.index)
    alone = score_interval(scores)
    assert score_interval(copies, patients) == pytest.approx(alone, abs=1e-12)
    low, high = score_interval(copies)
    assert (alone[1] - alone[0]) / (high - low) == pytest.approx(3, rel=0.1)


def test_tiny_cases_by_hand():
    # Of two patients, one of whom does not count: both, either or neither is drawn; scores 1, 1 and (nothing counts) 0.
    assert score_interval(series([1.0, math.nan])) == (0.0, 1.0)
    assert score_interval(series([0.25])) == (0.25, 0.25)
    assert score_interval(series([math.nan, math.nan])) == (0.0, 0.0)
    assert score_interval(series([])) == (0.0, 0.0)


def test_patients_may_hold_other_images_in_any_order():
    scores = random_scores(60, seed=6)
    patients = random_patients(scores, 20, seed=7)
    more = pd.concat([patients, pd.Series(["p", "q"], index=["other1", "other2"])]).sample(frac=1, random_state=1)
    assert score_interval(scores, more) == score_interval(scores, patients)


def test_difference_equals_resampling_written_out():
    first, second = random_scores(70, seed=8), random_scores(70, seed=9)
    patients = random_patients(first, 20, seed=10)
    found = paired_difference(first, second, patients, resamples=250, seed=3)
    drawn = resampled_scores(first, patients, 250, seed=3) - resampled_scores(second, patients, 250, seed=3)
    assert found.difference == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    assert found.first_better == pytest.approx((drawn > 0).mean(), abs=1e-12)


def test_difference_finds_what_separate_intervals_cannot():
    random = np.random.default_rng(11)
    second = random_scores(400, seed=12) * 0.9
    first = second + random.normal(0.01, 0.02, len(second))
    found = paired_difference(first, second)
    assert found.low > 0
    assert found.first_better > 0.99
    assert score_interval(first)[0] < score_interval(second)[1]


def test_difference_of_a_model_to_itself():
    scores = random_scores(50, seed=13)
    same = paired_difference(scores, scores.sample(frac=1, random_state=1))
    assert (same.difference, same.low, same.high, same.first_better) == (0, 0, 0, 0.5)


def test_patients_that_count():
    scores = series([1.0, 0.5, math.nan, math.nan])
    patients = pd.Series(["a", "a", "b", "c"], index=scores.index)
    assert (counted_patients(scores, patients), counted_patients(scores)) == (1, 2)
    assert counted_patients(scores.iloc[2:], patients) == 0


def cohort(sizes, seed, shift=0.0):
    """Groups of so many patients with images that resemble each other; scores are often 0, as real ones are.

    Returns scores, the group of each image and its patient; the second group's scores are higher by `shift`.
    """
    random = np.random.default_rng(seed)
    scores, groups, patients = [], [], []
    for group, size in enumerate(sizes):
        for patient in range(size):
            ease = random.random()
            for _ in range(random.geometric(0.6)):
                score = 0.0 if random.random() < 0.7 - 0.5 * ease else random.beta(2, 3)
                scores.append(math.nan if random.random() < 0.3 else min(1.0, score + shift * (group == 1)))
                groups.append(f"g{group}")
                patients.append(f"{group}-{patient}")
    values = series(scores)
    return values, pd.Series(groups, index=values.index), pd.Series(patients, index=values.index)


@pytest.mark.parametrize("sizes", [(3, 60, 80, 60, 8), (30, 30), (25, 25, 25, 150)])
def test_without_a_true_difference_hardly_any_is_found(sizes):
    """The sentence of the report stands on p < 0.05; of 300 such reports at most 5 % may have it, and chance on top."""
    found = 0
    for seed in range(300):
        scores, groups, patients = cohort(sizes, seed)
        differences = group_differences(scores, {"age": groups}, patients, resamples=150, seed=seed)
        found += any(one.p < 0.05 for one in differences.values())
    assert found <= 0.05 * 300 + 2 * math.sqrt(300 * 0.05 * 0.95)


def test_without_a_true_difference_hardly_any_is_found_in_a_whole_report():
    """All properties at once, one of which compares whether images are left empty: 95 % are, so that few tell."""
    found = 0
    for seed in range(300):
        scores, views, patients = cohort((40, 70), seed)
        random = np.random.default_rng(seed + 1_000)
        by_patient = pd.Series(patients.unique(), index=patients.unique())
        sexes = patients.map(dict(zip(by_patient, random.choice(["F", "M"], len(by_patient)), strict=True)))
        kinds = pd.Series(random.choice(["normal", "not normal", "unknown"], len(scores)), index=scores.index)
        is_empty = pd.Series((random.random(len(scores)) < 0.95).astype(float), index=scores.index)
        groupings = {"view": views, "sex": sexes, "negative kind": kinds}
        differences = group_differences(
            scores, groupings, patients, instead={"negative kind": is_empty}, resamples=150, seed=seed
        )
        assert list(differences) == list(groupings)
        found += any(one.p < 0.05 for one in differences.values())
    assert found <= 0.05 * 300 + 2 * math.sqrt(300 * 0.05 * 0.95)


def test_what_is_compared_in_place_of_the_scores():
    scores = series(np.ones(80))
    groups = pd.Series(["a", "b"] * 40, index=scores.index)
    empty = series([1, 0, 1, 1] * 20)
    found = group_differences(scores, {"x": groups, "y": groups}, instead={"y": empty})
    assert (found["x"].difference, found["x"].p) == (0, 1)
    assert (found["y"].higher, found["y"].difference) == ("a", 0.5)


def test_a_true_difference_is_found_between_the_groups_that_have_it():
    scores, groups, patients = cohort((80, 80, 80), seed=1, shift=0.35)
    found = group_differences(scores, {"view": groups}, patients)["view"]
    means = {name: scores[groups == name].mean() for name in ("g0", "g1", "g2")}
    assert found.higher == "g1"
    assert found.difference == pytest.approx(means["g1"] - means[found.lower])
    assert found.p < 0.001


def test_p_values_of_two_groups_are_those_of_the_textbook():
    """One image of each patient and equal groups: Welch's test, but for the degrees of freedom."""
    random = np.random.default_rng(3)
    scores = series(random.random(1_000) + 0.03 * (np.arange(1_000) < 500))
    groups = pd.Series(np.where(np.arange(1_000) < 500, "a", "b"), index=scores.index)
    found = group_differences(scores, {"view": groups}, resamples=20_000)["view"]
    textbook = stats.ttest_ind(scores[:500], scores[500:], equal_var=False).pvalue
    assert 0.01 < textbook < 0.6
    assert found.p == pytest.approx(textbook, rel=0.1)
    twice = group_differences(scores, {"view": groups, "sex": groups}, resamples=20_000)
    assert twice["view"].p == twice["sex"].p == pytest.approx(2 * found.p)  # corrected for two comparisons


def test_groups_that_are_not_compared():
    scores, groups, patients = cohort((80, 10, 60), seed=2)
    few = groups.replace({"g1": "unknown", "g2": "unknown"})
    assert group_differences(scores, {"view": few}, patients) == {}
    assert group_differences(scores, {}, patients) == {}
    found = group_differences(scores, {"view": groups}, patients)["view"]
    assert {found.higher, found.lower} == {"g0", "g2"}
    same = group_differences(scores * 0 + 0.5, {"view": groups}, patients)["view"]
    assert (same.difference, same.p) == (0, 1)


@pytest.mark.parametrize(("size", "least"), [(FEWEST_PATIENTS, 0.87), (FEW_PATIENTS, 0.90), (100, 0.91)])
def test_the_interval_holds_the_true_score_about_as_often_as_it_says(size, least):
    """300 splits of so many patients that count; with fewer than 20 the interval would hold it in 85 % or less."""
    truth = 0.5
    held = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(size), 2)
        ease = np.repeat(random.uniform(0, 1, size), 2)
        scores = series((random.random(2 * size) < ease).astype(float))  # half of the images are found on average
        low, high = score_interval(scores, pd.Series(patients, index=scores.index), resamples=300, seed=seed)
        held += low <= truth <= high
    assert least <= held / 300 <= 0.99


def test_the_interval_of_an_area_holds_the_true_one_about_as_often_as_it_says():
    """150 splits of 40 patients with and 40 without; docs/scoring.md has more. Known: P(N(1, 2) > 0), independent."""
    truth = stats.norm.cdf(1 / math.sqrt(2))
    held = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        is_positive = np.arange(80) < 40
        scores = series(random.normal(is_positive.astype(float), 1))
        ranking = Ranking.of_images(scores.to_numpy(), is_positive)
        drawn = resampled_figures(
            lambda weights, of=ranking: [area_under(*of.curve(weights))], scores.index, resamples=200
        )
        low, high = percentile_interval(drawn[:, 0])
        held += low <= truth <= high
    assert 0.88 <= held / 150 <= 0.99


def test_figures_are_resampled_with_the_draws_of_scores():
    scores = random_scores(80, seed=1, uncounted=0)
    patients = random_patients(scores, 25, seed=2)
    values = scores.to_numpy()
    ours = resampled_figures(lambda weights: [weights @ values / weights.sum()], scores.index, patients, resamples=50)
    np.testing.assert_allclose(ours, together(scores.to_frame(), patients, resamples=50), atol=1e-12)


def test_resampled_figures_that_could_not_be_told_are_left_out():
    drawn = np.append(np.linspace(0, 1, 101), [np.nan] * 50)
    assert percentile_interval(drawn) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"patients": pd.Series(["p"], index=["img0"])}, "none for 2 images, such as img1; expected a patient"),
        ({"patients": pd.Series(["p", None, "q"], index=["img0", "img1", "img2"])}, "none for 1 images, such as img1"),
        ({"patients": pd.Series(["p"] * 4, index=["img0", "img0", "img1", "img2"])}, "image img0 is there twice"),
        ({"resamples": 0}, "resamples: found 0"),
        ({"level": 95}, "level: found 95"),
    ],
)
def test_wrong_use_is_named(arguments, says):
    with pytest.raises(UserError, match=says):
        score_interval(series([0.1, 0.2, 0.3]), **arguments)


def test_models_scored_on_different_images_are_not_compared():
    with pytest.raises(UserError, match="1 images, such as img2, are in one of the two only"):
        paired_difference(series([0.1, 0.2]), series([0.1, 0.2, 0.3]))


def test_resampled_scores_are_what_paired_comparisons_are_made_of():
    first, second = random_scores(60, seed=1), random_scores(60, seed=2)
    patients = random_patients(first, 20, seed=3)
    drawn = together(pd.DataFrame({"first": first, "second": second}), patients, resamples=300, seed=5)
    assert drawn.shape == (300, 2)
    assert drawn[:, 0] == pytest.approx(resampled_scores(first, patients, 300, seed=5), abs=1e-12)
    assert drawn[:, 1] == pytest.approx(resampled_scores(second, patients, 300, seed=5), abs=1e-12)
    pair = paired_difference(first, second, patients, resamples=300, seed=5)
    assert (pair.low, pair.high) == pytest.approx(tuple(np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])))
