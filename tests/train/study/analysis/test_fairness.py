"""Whether trainings had ended and took as many steps: by hand."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from train.study.analysis.fairness import has_converged
from train.study.analysis.study_results import read_study
from train.study.analysis.summary import analyse
from train.study.report.tables import level_table, single_changes_table


@pytest.mark.parametrize(
    ("scores", "flat"),
    [
        ([0.1, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.41], True),  # 0.01 is 2.4 % of 0.41
        ([0.1, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.42], False),  # 0.02 is 4.8 % of 0.42
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.3, 0.2], True),  # best before the last two of ten
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.6, 0.2], False),
        ([0.1, 0.2, 0.3], False),  # of three epochs, the last one
        ([0.3, 0.3, 0.3], True),
        ([0.3], False),  # nothing to compare with
        ([0.0, 0.0, 0.0, 0.0], False),  # never learned
        ([], None),
    ],
)
def test_converged_is_flat_over_the_last_fifth(scores, flat):
    assert has_converged(pd.Series(scores, index=range(1, len(scores) + 1), dtype=float)) == flat


FLAT, RISING = [0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3], [number / 40 for number in range(1, 11)]


def test_an_effect_says_how_alike_its_trainings_were(tmp_path, write_study):
    blocks = [
        {"name": "batch", "parameters": {"batch": [8, 16]}},
        {"name": "optimizer", "parameters": {"optimizer": ["SGD", "Adam"]}},
    ]
    study = write_study(
        tmp_path / "study", blocks, lambda settings, seed: 0.3 + 0.01 * seed, seeds=(0, 1),
        costs=lambda settings: {"steps": 900 if settings.get("batch") == 16 else 1800},
        curve=lambda settings, seed: RISING if settings.get("batch") == 16 and seed else FLAT,
    )  # fmt: skip
    analysis = analyse(read_study(study))
    batch, optimizer = map(analysis.fairness, analysis.effects)
    assert batch.steps == {8: 1800, 16: 900}
    assert batch.step_range == (900, 1800)
    assert batch.converged == {8: (2, 2), 16: (1, 2)}
    assert batch.unconverged == (1, 4)
    assert (optimizer.step_range, optimizer.unconverged) == (None, (0, 4))
    (one,), (other,) = (effect.comparisons for effect in analysis.effects)
    assert (one.steps, one.step_ratio, one.has_unequal_steps) == ((900, 1800), 2, True)
    assert (other.step_ratio, other.has_unequal_steps) == (1, False)


def test_steps_of_an_older_study_are_not_known(tmp_path, write_study):
    blocks = [{"name": "batch", "parameters": {"batch": [8, 16]}}]
    analysis = analyse(read_study(write_study(tmp_path / "study", blocks, lambda *_: 0.3)))
    (effect,) = analysis.effects
    assert analysis.fairness(effect).step_range is None
    assert math.isnan(effect.comparisons[0].step_ratio)
    assert not effect.comparisons[0].has_unequal_steps


def test_the_parts_of_an_effect_add_up_to_it(tmp_path, write_study):
    blocks = [{"name": "optimizer", "parameters": {"optimizer": ["SGD", "AdamW"]}}]
    folder = write_study(tmp_path / "study", blocks, lambda settings, seed: 0.3, seeds=(0, 1, 2))
    lost = {
        "SGD": {"threshold": 0.05, "false_images": 0.15, "fit": 0.2, "extra_boxes": 0.0, "missed": 0.3},
        "AdamW": {"threshold": 0.05, "false_images": 0.2, "fit": 0.1, "extra_boxes": 0.05, "missed": 0.3},
    }
    for file in folder.glob("trials/*/trial.json"):
        content = json.loads(file.read_text())
        content["test"]["lost"] = lost[content["settings"]["optimizer"]]
        file.write_text(json.dumps(content))
    (effect,) = analyse(read_study(folder)).effects
    (one,) = effect.comparisons
    sign = 1 if one.level == "AdamW" else -1
    assert one.parts == pytest.approx(
        {"missed": 0.0, "false_images": -0.05 * sign, "extra_boxes": -0.05 * sign, "fit": 0.1 * sign, "threshold": 0.0}
    )


def test_what_is_changed_one_at_a_time_is_compared_with_the_base_alone(tmp_path, write_study):
    block = {"name": "augmentation", "singly": True, "parameters": {"mosaic": [0, 1], "fliplr": [0.5, 0]}}
    gains = {(0, 0.5): 0.0, (1, 0.5): 0.05, (0, 0): -0.1}
    folder = write_study(
        tmp_path / "study", [block], lambda settings, seed: 0.4 + gains[settings["mosaic"], settings["fliplr"]],
        settings=[("augmentation", {"mosaic": mosaic, "fliplr": flip}) for mosaic, flip in gains], seeds=(0, 1),
        base={"epochs": 10, "mosaic": 0, "fliplr": 0.5}, controls=[0, 1],
    )  # fmt: skip
    analysis = analyse(read_study(folder))
    mosaic, fliplr = analysis.effects
    assert {level: score.value for level, score in mosaic.scores.items()} == pytest.approx({0: 0.4, 1: 0.45})
    assert {level: score.value for level, score in fliplr.scores.items()} == pytest.approx({0.5: 0.4, 0: 0.3})
    assert [one.effect.value for effect in (mosaic, fliplr) for one in effect.comparisons] == pytest.approx(
        [0.05, -0.1]
    )
    table = single_changes_table(analysis, analysis.study.blocks[0])
    assert [row[:2] for row in table.rows] == [("the base", "2"), ("mosaic 1", "2"), ("fliplr 0", "2")]
    assert [heading for heading in table.columns if heading.startswith("to ")] == ["to the base"]
    assert analysis.interactions["augmentation"] == analysis.conditional["augmentation"] == []
    assert analysis.importance["augmentation"] is None


def test_each_value_is_compared_at_what_suits_it_best_on_val(tmp_path, write_study):
    """Adam is best at 0.01, SGD at 0.1: 0.5 against 0.45, and not the means over both rates."""
    block = {"name": "o", "parameters": {"optimizer": ["SGD", "Adam"], "lr0": [0.01, 0.1]}, "best_of": "lr0"}
    planted = {("SGD", 0.01): 0.2, ("SGD", 0.1): 0.45, ("Adam", 0.01): 0.5, ("Adam", 0.1): 0.1}
    folder = write_study(
        tmp_path / "study", [block], lambda settings, _: planted[settings["optimizer"], settings["lr0"]], seeds=(0, 1),
    )  # fmt: skip
    analysis = analyse(read_study(folder))
    (effect,) = analysis.effects
    assert {level: score.value for level, score in effect.scores.items()} == pytest.approx({"SGD": 0.45, "Adam": 0.5})
    (one,) = effect.comparisons
    assert (one.reference, one.level, one.runs) == ("Adam", "SGD", (2, 2))
    assert one.effect.value == pytest.approx(-0.05)
    assert analysis.interactions["o"] == analysis.conditional["o"] == []
    assert [row[0] for row in level_table(analysis, effect).rows] == ["SGD (lr0 0.1)", "Adam (lr0 0.01, best on val)"]
