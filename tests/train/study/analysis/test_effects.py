"""Effects and their noise: by hand, against textbook formulas, and by simulation with planted effects."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from common.errors import UserError
from evaluate.metrics.uncertainty import holm, paired_difference
from train.study.analysis.block_view import BlockView
from train.study.analysis.effects import conditional_comparisons, find_effects
from train.study.analysis.importance import find_dependence, find_importance
from train.study.analysis.interactions import find_interactions
from train.study.analysis.noise import Measured, estimate, measure, training_noise
from train.study.analysis.study_results import Study, read_study
from train.study.analysis.summary import analyse
from train.study.analysis.tradeoffs import complete_curves, pareto_front, patience_costs, stopping_epoch
from train.study.study_record import BlockRecord, Origin, StudyRecord


def view(study, measured=None, block=0):
    """A block of a study, with all that was measured."""
    return BlockView(study, measured or measure(study), study.blocks[block])


OPTIMIZER = [{"name": "optimizer", "parameters": {"optimizer": ["SGD", "AdamW", "Adam"]}}]
PLANTED = {"SGD": 0.2, "AdamW": 0.35, "Adam": 0.34}
SEED_SHIFT = {0: -0.01, 1: 0.01}


def ripple(seed):
    """Differences between images that add up to nothing over those that count."""
    values = np.random.default_rng(seed).normal(0, 0.05, 60)
    counted = np.arange(60) % 3 > 0
    return values - values[counted].mean()


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_study):
    def score(settings, seed):
        name = settings["optimizer"]
        # The seeds' shifts differ from setting to setting, so that pairs do not cancel them.
        shift = SEED_SHIFT[seed] * {"SGD": 1, "AdamW": -1, "Adam": 1}[name]
        return PLANTED[name] + shift + ripple(list(PLANTED).index(name))

    return read_study(write_study(tmp_path_factory.mktemp("studies") / "one", OPTIMIZER, score, seeds=(0, 1)))


@pytest.fixture(scope="module")
def measured(study):
    return measure(study)


def by_levels(comparisons):
    return {(one.reference, one.level): one for one in comparisons}


def test_training_noise_is_the_pooled_spread_over_seeds(measured):
    # Each setting has two scores, 0.02 apart: variance 2 x 0.01^2 with one degree of freedom each.
    assert measured.noise.deviation == pytest.approx(math.sqrt(2 * 0.01**2))
    assert (measured.noise.degrees, measured.noise.settings) == (3, 3)
    assert (measured.split, measured.chosen_apart, measured.patients) == ("test", True, 30)


def test_a_difference_is_the_mean_of_matched_pairs_with_both_noises(study, measured):
    (effect,) = find_effects(view(study, measured))
    assert (effect.best, effect.ordered) == ("AdamW", False)
    found = by_levels(effect.comparisons)
    assert set(found) == {("AdamW", "SGD"), ("AdamW", "Adam")}
    one = found["AdamW", "SGD"].effect
    assert one.value == pytest.approx(0.2 - 0.35)
    assert found["AdamW", "SGD"].runs == (2, 2)
    assert one.training == pytest.approx(measured.noise.deviation * math.sqrt(1 / 2 + 1 / 2))
    # Sampling noise of the mean over seeds: both seeds have the same images, so it is that of one pair.
    scores = {name: study.scores(name).query("split == 'test'") for name in ("t000", "t002")}
    pair = paired_difference(*(scores[name]["score"] for name in ("t000", "t002")), scores["t000"]["patient_id"])
    assert pair.difference == pytest.approx(one.value - 0.02)  # seed 0 alone
    assert (pair.high - pair.low) / 2 == pytest.approx(1.96 * one.sampling, rel=0.1)
    halves = stats.t.ppf(0.975, 29) * one.sampling, stats.t.ppf(0.975, 3) * one.training
    assert one.half_width == pytest.approx(math.hypot(*halves))
    # The interval of the level that p stands for just reaches 0.
    quantiles = stats.t.isf(one.p / 2, [29, 3])
    assert math.hypot(quantiles[0] * one.sampling, quantiles[1] * one.training) == pytest.approx(abs(one.value))
    assert found["AdamW", "SGD"].is_real
    assert not found["AdamW", "Adam"].is_real


def test_holm_by_hand():
    # Smallest 0.01 x 4, then 0.02 x 3 = 0.06, 0.03 x 2 = 0.06, 0.5 x 1.
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.04, 0.03]) == pytest.approx([0.06, 0.06])  # never below that of a smaller p
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_with_one_seed_only_the_noise_of_images_is_known(tmp_path, write_study):
    study = read_study(
        write_study(tmp_path / "study", OPTIMIZER, lambda settings, _: PLANTED[settings["optimizer"]] + ripple(1))
    )
    found = measure(study)
    assert found.noise is None
    one = by_levels(find_effects(view(study, found))[0].comparisons)["AdamW", "Adam"].effect
    assert one.training is None
    # The ripple is the same for all: on these images the difference is beyond doubt.
    assert (one.value, one.half_width) == pytest.approx((-0.01, 0), abs=1e-9)


def test_folds_of_other_images_are_compared_fold_by_fold(tmp_path, write_study):
    hard = {0: 0.0, 1: 0.15, 2: -0.1}  # what a fold's images add to every setting is no noise

    def score(settings, fold):
        return PLANTED[settings["optimizer"]] + hard[fold] + ripple(fold)

    study = read_study(write_study(tmp_path / "study", OPTIMIZER, score, folds=3, test=False))
    found = measure(study)
    assert (found.split, found.chosen_apart, found.folds_differ, found.patients) == ("val", False, True, 90)
    assert found.noise.deviation == pytest.approx(0, abs=1e-12)
    assert found.noise.degrees == 9 - 3 - 3 + 1
    one = by_levels(find_effects(view(study, found))[0].comparisons)["AdamW", "SGD"]
    assert one.effect.value == pytest.approx(-0.15)
    assert one.runs == (3, 3)
    assert one.family == 3  # chosen on the same scores: the third pair might have been the one


def test_numbers_that_do_not_belong_together_are_refused(tmp_path, write_study):
    folder = write_study(tmp_path / "study", OPTIMIZER, lambda settings, _: PLANTED[settings["optimizer"]])
    table = pd.read_csv(folder / "trials" / "t001" / "scores.csv")
    table.assign(score=table["score"] / 2).to_csv(folder / "trials" / "t001" / "scores.csv", index=False)
    with pytest.raises(UserError, match=r"t001/scores\.csv: found a mean of 0.1750 over 60 images.*0.3500"):
        measure(read_study(folder))


def test_failed_and_stopped_trials_are_in_no_comparison(tmp_path, write_study):
    states = {("Adam", 0): "failed", ("Adam", 1): "stopped", ("SGD", 1): "failed"}
    study = read_study(
        write_study(
            tmp_path / "study", OPTIMIZER, lambda settings, seed: PLANTED[settings["optimizer"]] + SEED_SHIFT[seed],
            seeds=(0, 1), outcome=lambda settings, seed: states.get((settings["optimizer"], seed), "finished"),
            curve=lambda settings, _: [0.1] * (4 if settings["optimizer"] == "Adam" else 10),
        )
    )  # fmt: skip
    found = measure(study)
    assert list(found.trials.index) == ["t000", "t002", "t003"]
    (effect,) = find_effects(view(study, found))
    assert effect.levels == ("SGD", "AdamW", "Adam")
    assert dict(effect.runs) == {"SGD": 1, "AdamW": 2}
    (only,) = effect.comparisons
    assert (only.level, only.runs) == ("SGD", (1, 2))
    # With the mean of both of AdamW's trainings.
    assert only.effect.value == pytest.approx(PLANTED["SGD"] + SEED_SHIFT[0] - PLANTED["AdamW"])


def test_numbers_are_compared_in_order_and_a_none_is_no_number(tmp_path, write_study):
    blocks = [
        {"name": "lr", "parameters": {"lr0": [0.1, 0.001, 0.01]}},
        {"name": "negatives", "parameters": {"negatives": [None, 0, 1]}},
    ]

    def score(settings, _):
        return 0.3 + ripple(1) - (0.1 if settings.get("lr0") == 0.1 else 0)

    study = read_study(write_study(tmp_path / "study", blocks, score))
    (lr,), (negatives,) = (find_effects(view(study, block=number)) for number in range(2))
    assert (lr.ordered, lr.levels) == (True, (0.001, 0.01, 0.1))
    roles = {pair: one.role for pair, one in by_levels(lr.comparisons).items()}
    assert roles == {(0.001, 0.01): "step", (0.01, 0.1): "step", (0.001, 0.1): "ends"}
    assert by_levels(lr.comparisons)[0.01, 0.1].effect.value == pytest.approx(-0.1)
    assert (negatives.ordered, negatives.levels, negatives.best) == (False, (None, 0, 1), None)
    assert {one.role for one in negatives.comparisons} == {"best"}


def test_ties_take_the_first_and_differ_by_nothing(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", OPTIMIZER, lambda *_: 0.0, seeds=(0, 1)))
    found = measure(study)
    (effect,) = find_effects(view(study, found))
    assert effect.best == "SGD"
    assert [(one.effect.value, one.effect.half_width, one.p_holm) for one in effect.comparisons] == [(0, 0, 1)] * 2


GRID = [{"name": "lr", "parameters": {"optimizer": ["SGD", "AdamW"], "lr0": [0.001, 0.01]}}]


def crossed(settings, seed):
    up = settings["lr0"] == 0.01
    planted = {("SGD", False): 0.18, ("SGD", True): 0.25, ("AdamW", False): 0.30, ("AdamW", True): 0.22}
    noise = np.random.default_rng([seed, up, settings["optimizer"] == "SGD"]).normal(0, 0.004)
    return planted[settings["optimizer"], up] + noise + ripple(2)


def test_an_interaction_is_the_difference_of_differences(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", GRID, crossed, seeds=(0, 1, 2)))
    found = measure(study)
    (interaction,) = find_interactions(view(study, found))
    assert (interaction.parameter, interaction.other) == ("lr0", "optimizer")
    score = found.trials["test"].groupby([study.setting(name, "optimizer") for name in found.trials.index])
    by_hand = {
        name: part[[study.setting(trial, "lr0") == 0.01 for trial in part.index]].mean()
        - part[[study.setting(trial, "lr0") == 0.001 for trial in part.index]].mean()
        for name, part in score
    }
    assert interaction.values == ("SGD", "AdamW")
    assert interaction.effect.value == pytest.approx(by_hand["AdamW"] - by_hand["SGD"])
    assert interaction.effect.training == pytest.approx(found.noise.deviation * math.sqrt(4 / 3))
    assert interaction.is_real
    given = {one.given["optimizer"]: one for one in conditional_comparisons(view(study, found))}
    assert {name: one.effect.value for name, one in given.items()} == pytest.approx(by_hand)
    assert all(one.is_real and one.family == 2 for one in given.values())


# ---- importance


def test_shares_of_a_grid_are_those_of_the_analysis_of_variance(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "study", GRID, crossed, seeds=(0, 1, 2)))
    found = measure(study)
    importance = find_importance(view(study, found))
    cells = found.scores.reshape(2, 2, 3)  # optimizer, lr0, seed
    mean, total = cells.mean(), ((cells - cells.mean()) ** 2).sum()
    by_hand = {
        "optimizer": 6 * ((cells.mean(axis=(1, 2)) - mean) ** 2).sum() / total,
        "lr0": 6 * ((cells.mean(axis=(0, 2)) - mean) ** 2).sum() / total,
    }
    inside = ((cells - cells.mean(axis=2, keepdims=True)) ** 2).sum() / total
    assert dict(importance.shares) == pytest.approx(by_hand)
    assert importance.together == pytest.approx(1 - sum(by_hand.values()) - inside)
    assert dict(importance.by_chance) == pytest.approx({"optimizer": 1 / 11, "lr0": 1 / 11})
    assert importance.predicted is None


def drawn_study(folder, write_study, score, count=60):
    random = np.random.default_rng(4)
    ranges = {"lr0": {"low": 1e-4, "high": 1e-1, "log": True}, "momentum": {"low": 0.5, "high": 0.99}}
    blocks = [{"name": "search", "parameters": {**ranges, "optimizer": ["SGD", "AdamW"]}}]
    settings = [
        ("search", {"lr0": float(10 ** random.uniform(-4, -1)), "optimizer": str(random.choice(["SGD", "AdamW"])),
                    "momentum": float(random.uniform(0.5, 0.99))})
        for _ in range(count)
    ]  # fmt: skip
    return read_study(write_study(folder / "study", blocks, score, settings=settings, method="random"))


def test_a_forest_finds_planted_shares_and_where_the_optimum_lies(tmp_path, write_study):
    def score(settings, _):  # lr0 peaks at 0.003; AdamW is 0.05 better; momentum does nothing
        away = math.log10(settings["lr0"]) - math.log10(0.003)
        return 0.3 - 0.08 * away**2 + (0.05 if settings["optimizer"] == "AdamW" else 0)

    study = drawn_study(tmp_path, write_study, score)
    found = measure(study)
    importance = find_importance(view(study, found))
    lr0 = np.array([study.setting(name, "lr0") for name in found.trials.index])
    planted = np.var(-0.08 * (np.log10(lr0) - math.log10(0.003)) ** 2) / np.var(found.scores)
    assert importance.trials == 60
    assert 0.7 < importance.predicted < 1
    assert importance.shares["lr0"] == pytest.approx(planted, abs=0.2)
    assert importance.shares["lr0"] > 2 * importance.shares["optimizer"] > 0.05
    assert importance.shares["momentum"] < 0.03
    curves = {one.parameter: one for one in find_dependence(view(study, found))}
    assert 0.001 < curves["lr0"].values[int(curves["lr0"].scores.argmax())] < 0.01
    assert curves["lr0"].log
    assert not curves["momentum"].log
    assert curves["optimizer"].values == ["AdamW", "SGD"]
    assert curves["optimizer"].scores[0] - curves["optimizer"].scores[1] == pytest.approx(0.05, abs=0.02)
    assert (curves["lr0"].low < curves["lr0"].high).all()


def test_a_forest_that_learns_nothing_says_so(tmp_path, write_study):
    random = np.random.default_rng(0)
    study = drawn_study(tmp_path, write_study, lambda *_: 0.3 + random.normal(0, 0.03), count=30)
    assert find_importance(view(study)).predicted < 0.1


def test_too_few_or_equal_settings_have_no_importance(tmp_path, write_study):
    few = drawn_study(tmp_path / "few", write_study, lambda settings, _: settings["lr0"], count=9)
    assert find_importance(view(few)) is None
    assert find_dependence(view(few)) == []
    equal = drawn_study(tmp_path / "equal", write_study, lambda *_: 0.25, count=20)
    assert find_importance(view(equal)) is None


# ---- costs and early stopping


def test_the_front_is_what_nothing_beats():
    costs, scores = [1, 2, 2, 3, 4, math.nan], [0.1, 0.3, 0.2, 0.3, 0.5, 0.9]
    assert pareto_front(costs, scores).tolist() == [True, True, False, False, True, False]
    assert pareto_front([1, 1], [0.2, 0.2]).tolist() == [True, True]


def test_stopping_is_that_of_ultralytics():
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.utils.torch_utils import EarlyStopping

    random = np.random.default_rng(0)
    for patience in (1, 2, 3, 5):
        for _ in range(30):
            curve = pd.Series(np.maximum(0, random.normal(0.05, 0.1, 15)))
            stopper = EarlyStopping(patience)
            stops = [stopper(epoch, score) for epoch, score in enumerate(curve)]
            expected = stops.index(True) + 1 if True in stops else len(curve)
            assert stopping_epoch(curve, patience) == expected


def test_what_a_patience_saves_and_costs_by_hand():
    first = pd.Series([0.1, 0.2, 0.15, 0.15, 0.3, 0.3])  # patience 2 stops after epoch 4 and misses 0.3
    second = pd.Series([0.1, 0.2, 0.3, 0.1, 0.1, 0.1])  # patience 2 stops after epoch 5 and misses nothing
    two, three = patience_costs([first, second], (2, 3, 6))
    assert (two.patience, two.runs, two.harmed) == (2, 2, 1)
    assert (two.saved, two.lost, two.worst) == pytest.approx((1 - 9 / 12, 0.05, 0.1))
    assert (three.saved, three.lost, three.harmed) == pytest.approx((0, 0, 0))
    assert patience_costs([], (1,)) == []


def test_trainings_cut_short_say_nothing_about_patience(tmp_path, write_study):
    study = read_study(
        write_study(
            tmp_path / "study", OPTIMIZER, lambda *_: 0.3,
            curve=lambda settings, _: [0.1] * (4 if settings["optimizer"] == "SGD" else 10),
        )
    )  # fmt: skip
    assert set(complete_curves(study)) == {"t001", "t002"}


# ---- simulation


def simulated(gains, seeds, images, random, taste=0.1):
    """Settings on fresh patients, trained with fresh seeds: what a study of them would measure.

    Args:
        gains: What each setting scores more than the first, which is not listed.
        seeds: Trainings of each.
        images: Images, each of a patient of its own.
        random: NumPy's generator.
        taste: How much a setting does better or worse on an image, as a standard deviation.
    """
    hard = random.normal(0, 0.2, images)  # the same for all settings
    rows, columns = [], {}
    for setting, gain in enumerate([0.0, *gains]):
        own = random.normal(0, taste, images) if setting else 0.0
        for seed in range(seeds):
            trial = f"{setting}-{seed}"
            columns[trial] = 0.4 + hard + gain + own + random.normal(0, 0.02)
            settings = {"optimizer": f"s{setting}"}
            rows.append({"id": trial, "blocks": ["o"], "settings": settings, "arguments": {**settings, "seed": seed},
                         "seed": seed, "fold": None})  # fmt: skip
    table = pd.DataFrame(columns)
    trials = pd.DataFrame(rows).set_index("id").assign(test=table.mean(), val=random.normal(0, 1, len(rows)))
    draws = random.multinomial(images, np.full(images, 1 / images), 200) @ table.to_numpy() / images
    noise = training_noise(trials, "test")
    return Measured("test", True, trials, trials["test"].to_numpy(), draws, images, noise, False)


@pytest.mark.parametrize("seeds", [2, 5])
def test_intervals_cover_the_planted_effect_as_often_as_they_say(seeds):
    random = np.random.default_rng(seeds)
    covered, images_alone, trials = 0, 0, 400
    for _ in range(trials):
        found = simulated([0.03], seeds, 150, random)
        weights = {f"{setting}-{seed}": (2 * setting - 1) / seeds for setting in range(2) for seed in range(seeds)}
        one = estimate(found, weights)
        assert one.half_width is not None
        covered += abs(one.value - 0.03) <= one.half_width
        images_alone += abs(one.value - 0.03) <= 1.96 * one.sampling
    # Binomial standard error 0.011: a wrong formula is out of this, chance is not.
    assert 0.93 < covered / trials < 0.99
    assert images_alone / trials < 0.85  # what leaving the noise of training out would do


@pytest.mark.parametrize(
    ("taste", "least", "most"),
    # Where training alone is at work, the t distribution is exact: Holm allows 5 % of the studies, and the binomial
    # standard error is 0.9 %. With the noise of images besides, intervals are rather too wide (see noise.py). At twice
    # the level, 8.5 % and 5.3 % of these very studies have an alarm.
    [(0.0, 0.03, 0.068), (0.1, 0.005, 0.05)],
    ids=["noise of training", "noise of training and images"],
)
def test_equal_settings_are_called_different_no_more_often_than_allowed(taste, least, most):
    """Five settings that differ by nothing but chance; any of the four comparisons called real is a false alarm."""
    random = np.random.default_rng(3)
    block = BlockRecord("o", "O", "", {"optimizer": [f"s{number}" for number in range(5)]})
    origin = Origin({}, "", None, None, None, None, None)
    record = StudyRecord("o", "O", "", "grid", None, 0, {}, (0, 1), None, None, (block,), origin)
    studies, alarms, uncorrected = 600, 0, 0
    for _ in range(studies):
        found = simulated([0.0] * 4, 2, 40, random, taste)
        (effect,) = find_effects(BlockView(Study(Path(), record, found.trials), found, block))
        assert len(effect.comparisons) == 4
        alarms += any(one.is_real for one in effect.comparisons)
        uncorrected += any(one.effect.p < 0.05 for one in effect.comparisons)
    assert least < alarms / studies < most
    assert uncorrected / studies > most  # what leaving the correction out would do


def test_settings_are_ranked_by_val_and_compared_with_the_first(study):
    analysis = analyse(study)
    first, second, third = analysis.settings
    assert first.trials == ("t002", "t003")
    assert first.behind is None
    assert (second.behind.value, third.behind.value) == pytest.approx((0.01, 0.15))
    assert (second.is_behind, third.is_behind) == (False, True)
