"""What a study's headline names, with planted truths: seldom nothing as something, and what is large enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from train.study.analysis.block_view import BlockView
from train.study.analysis.effects import correct_over_study, find_effects
from train.study.analysis.noise import Measured, estimate, noise_by_model, training_noise
from train.study.analysis.study_results import Study
from train.study.plan import identity
from train.study.study_record import BlockRecord, Origin, StudyRecord

IMAGES, CONTROLS, STUDIES = 80, 4, 300
TRAINING, TASTE = 0.02, 0.1
BASE = {"model": "basic-cnn.yaml", "optimizer": "SGD"}
VARIED = ("box", "cls", "dfl", "lrf", "momentum", "weight_decay", "warmup_epochs", "mosaic", "mixup", "scale", "shear",
          "fliplr")  # fmt: skip
"""Twelve arguments, each varied in a block of its own: three values, the first of which is the base's."""
BLOCKS = tuple(BlockRecord(name, name, "", {name: [0.1, 0.2, 0.3]}) for name in VARIED)
RECORD = StudyRecord("s", "S", "", "grid", None, 0, {**BASE, **dict.fromkeys(VARIED, 0.1)}, (0,), None, None, BLOCKS,
                     Origin({}, "", None, None, None, None, None), controls=tuple(range(CONTROLS)))  # fmt: skip


def rows():
    """The trials that such a study has: the repeated base, and two trainings of each other setting of every block."""
    control = {**RECORD.base, "seed": 0}
    found = [
        {"blocks": list(VARIED), "settings": dict.fromkeys(VARIED, 0.1), "arguments": control, "setting": 0}
        for _ in range(CONTROLS)
    ]
    for name in VARIED:
        for value in (0.2, 0.3):
            one = {"blocks": [name], "settings": {name: value}, "arguments": {**control, name: value}}
            found += [{**one, "setting": len(found)}] * 2
    table = pd.DataFrame(found).assign(fold=None, steps=100.0, seed=0)
    table.index = pd.Index([f"t{number:03}" for number in range(len(table))])
    keys = {setting: identity(part["arguments"].iloc[0], repeats=False) for setting, part in table.groupby("setting")}
    return table.assign(key=table["setting"].map(keys))


ROWS = rows()


def simulated(random, planted=()):
    """One study on fresh patients and trainings.

    Args:
        random: NumPy's generator.
        planted: (row of a trial, how much better it is) of settings that do something.
    """
    hard = random.normal(0, 0.2, IMAGES)  # for all alike
    own = random.normal(0, TASTE, (ROWS["setting"].max() + 1, IMAGES))  # what a setting does to single images
    own -= own.mean(axis=1, keepdims=True)  # on all patients that there are it does nothing
    own += random.normal(0, TASTE / np.sqrt(IMAGES), (len(own), 1))
    own[0] = 0
    luck = random.normal(0, TRAINING, (len(ROWS), 1))
    scores = 0.4 + hard + own[ROWS["setting"]] + luck
    for row, gain in planted:
        scores[row] += gain
    trials = ROWS.assign(test=scores.mean(axis=1), val=random.normal(0, 1, len(ROWS)))
    draws = random.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), 200) @ scores.T / IMAGES
    noise = training_noise(trials, "test")
    found = Measured("test", True, trials, trials["test"].to_numpy(), draws, IMAGES, noise, False)
    return replace(found, noise_of=noise_by_model(trials, "test"))


def effects_of(measured):
    study = Study(Path(), RECORD, measured.trials)
    return correct_over_study(
        [effect for block in BLOCKS for effect in find_effects(BlockView(study, measured, block))]
    )


def test_every_setting_is_compared_with_the_mean_of_all_controls():
    measured = simulated(np.random.default_rng(0))
    effects = effects_of(measured)
    assert len(effects) == len(VARIED)
    for effect in effects:
        trials = measured.trials[[effect.parameter in names for names in measured.trials["blocks"]]]
        control = trials.loc[trials["setting"] == 0, "test"].mean()
        for one in effect.comparisons:
            assert (one.role, one.reference, one.runs) == ("control", 0.1, (2, CONTROLS))
            own = trials.loc[[row.get(effect.parameter) == one.level for row in trials["settings"]], "test"].mean()
            assert one.effect.value == pytest.approx(own - control)
            assert one.effect.training == pytest.approx(measured.noise.deviation * np.sqrt(1 / 2 + 1 / CONTROLS))


def test_p_values_are_corrected_over_all_that_was_looked_at():
    effects = effects_of(simulated(np.random.default_rng(1), [(CONTROLS, 0.5), (CONTROLS + 1, 0.5)]))
    every = [one for effect in effects for one in effect.comparisons]
    p = np.array([one.effect.p for one in every])
    order = np.argsort(p)
    by_hand = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    assert [every[place].p_study for place in order] == pytest.approx(by_hand.tolist())
    assert {one.looked_at for one in every} == {2 * len(VARIED)}
    assert [one.level for one in every if one.is_named] == [0.2]


def test_the_smallest_difference_is_where_the_corrected_p_value_reaches_the_limit():
    one = effects_of(simulated(np.random.default_rng(2)))[0].comparisons[0]
    (sampling, patients), (training, degrees) = one.effect.parts
    tail = 0.05 / (2 * len(VARIED)) / 2
    by_hand = np.hypot(stats.t.isf(tail, patients) * sampling, stats.t.isf(tail, degrees) * training)
    assert one.smallest == pytest.approx(by_hand)


def test_a_model_that_is_repeated_often_has_a_noise_of_its_own():
    """Spreads of ±0.01 and ±0.05: pooled they are neither's."""
    spread = {"a.yaml": 0.01, "b.yaml": 0.05}
    found = [
        {"test": 0.4 + sign * spread[model], "fold": None, "arguments": {"model": model, "box": box}, "val": 0.4}
        for model in spread for box in (1, 2, 3) for sign in (-1, 1)
    ]  # fmt: skip
    trials = pd.DataFrame([*found, {**found[0], "arguments": {"model": "c.yaml"}}])
    trials.index = pd.Index([f"t{number}" for number in range(len(trials))])
    own, pooled = noise_by_model(trials, "test"), training_noise(trials, "test")
    assert {name: noise.degrees for name, noise in own.items()} == {"a.yaml": 3, "b.yaml": 3}
    assert {name: noise.deviation for name, noise in own.items()} == pytest.approx(
        {"a.yaml": 0.01 * np.sqrt(2), "b.yaml": 0.05 * np.sqrt(2)}
    )
    draws = np.zeros((2, len(trials)))
    measured = Measured("test", True, trials, trials["test"].to_numpy(), draws, 80, pooled, False, own)
    one = estimate(measured, {"t0": 0.5, "t1": 0.5, "t6": -1.0})
    parts = [(0.01 * np.sqrt(2) * np.sqrt(0.5), 3), (0.05 * np.sqrt(2), 3)]
    assert one.parts == ((0.0, 79), *(pytest.approx(part) for part in parts))
    assert one.half_width == pytest.approx(stats.t.ppf(0.975, 3) * np.hypot(*(error for error, _ in parts)))
    (_, (training, degrees)) = estimate(measured, {"t12": 1.0}).parts  # of a model that was trained once
    assert (training, degrees) == (pytest.approx(pooled.deviation), 6)


def test_few_studies_of_nothing_name_anything():
    """At most 5 % of 300 studies whose settings differ by nothing but chance."""
    random = np.random.default_rng(3)
    named, within_blocks = 0, 0
    for _ in range(STUDIES):
        every = [one for effect in effects_of(simulated(random)) for one in effect.comparisons]
        named += any(one.is_named for one in every)
        within_blocks += any(one.is_real for one in every)
    assert named / STUDIES <= 0.05
    assert within_blocks / STUDIES > 0.1  # what correcting each block for itself would name


def test_an_effect_of_twice_the_stated_smallest_difference_is_found():
    random = np.random.default_rng(4)
    found = 0
    for _ in range(100):
        seed = int(random.integers(2**32))
        before = simulated(np.random.default_rng(seed))
        (first,) = find_effects(BlockView(Study(Path(), RECORD, before.trials), before, BLOCKS[0]))
        stated = next(one for one in first.comparisons if one.level == 0.2).effect.smallest(0.05 / (2 * len(VARIED)))
        # The same study, with an effect as large as that in addition: its noise, and so what it states, are the same.
        measured = simulated(np.random.default_rng(seed), [(row, 2 * stated) for row in (CONTROLS, CONTROLS + 1)])
        one = next(one for one in effects_of(measured)[0].comparisons if one.level == 0.2)
        # Where others are named beside it, less would do.
        assert one.smallest == pytest.approx(stated) if one.named == 0 else one.smallest < stated
        found += one.is_named
    assert found >= 90
