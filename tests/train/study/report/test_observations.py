"""Sentences: what they say of planted effects; facts, verdicts and every digit, however they are worded."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from train.study.analysis.block_view import Comparison
from train.study.analysis.effects import Effect
from train.study.analysis.noise import Estimate
from train.study.analysis.study_results import read_study
from train.study.analysis.summary import analyse
from train.study.report.observations import observe
from train.study.report.sentences import conditional_sentences, effect_sentences
from train.study.report.words import signed, signed_number, times, value_text

NBSP = "\N{NO-BREAK SPACE}"


def estimate(value, half_width=0.02, p=1.0):
    return Estimate(value, 0.008, 0.006, half_width, p)


def compare(reference, level, value, real, role="best", parameter="optimizer", family=1, **given):
    p_holm = 0.001 if real else 0.6
    return Comparison("block", parameter, reference, level, 2, estimate(value), role, p_holm, family, given)


def effect(parameter, levels, comparisons, best=None, ordered=False):
    scores = {level: estimate(0.3) for level in levels}
    return Effect(
        "block", parameter, ordered, tuple(levels), scores, dict.fromkeys(levels, 2), best, {}, tuple(comparisons)
    )


def said(*args, **kwargs):
    return [text.replace(NBSP, " ") for text in effect_sentences(effect(*args), **kwargs)]


def tells(text, *facts):
    """Whether a sentence has these facts, in this order, and no number besides."""
    place = 0
    for fact in facts:
        if (found := text.find(fact, place)) < 0:
            return False
        place = found + len(fact)
    numbers = re.compile(r"(?<![\w.])[+\N{MINUS SIGN}]?\d+(?:\.\d+)?")
    return numbers.findall(text) == numbers.findall(" ".join(facts))


def test_facts_are_told_in_order_and_completely():
    """What the tests below rely on."""
    text = "AdamW beat SGD by 0.120 ± 0.020; Adam is within noise."
    assert tells(text, "AdamW beat SGD", "0.120 ± 0.020", "Adam", "within noise")
    assert not tells(text, "SGD", "AdamW", "0.120 ± 0.020")
    assert not tells(text, "AdamW beat SGD", "0.120")  # 0.020 is said, too
    assert not tells("cost −0.120", "0.120")


def test_a_winner_is_said_to_beat_what_it_beats():
    comparisons = [compare("AdamW", "SGD", -0.12, True), compare("AdamW", "Adam", -0.004, False),
                   compare("AdamW", "NAdam", 0.003, False)]  # fmt: skip
    (text,) = said("optimizer", ["SGD", "Adam", "AdamW", "NAdam"], comparisons, "AdamW")
    beaten, equal = text.split(";")
    assert tells(beaten, "AdamW beat SGD", "0.120 ± 0.020")
    assert tells(equal, "Adam and NAdam", "within noise", "AdamW")


def test_the_best_on_val_may_be_beaten_on_test():
    comparisons = [compare("ciou", "siou", 0.05, True, parameter="iou_loss")]
    (text,) = said("iou_loss", ["ciou", "siou"], comparisons, "ciou")
    assert tells(text, "iou_loss ciou", "best on val", "beaten by siou", "0.050 ± 0.020")


def test_what_is_within_noise_is_called_so():
    one = [compare("ciou", "siou", -0.003, False, parameter="iou_loss")]
    (text,) = said("iou_loss", ["ciou", "siou"], one, "ciou")
    assert tells(text, "iou_loss ciou", "0.003 ± 0.020 more than siou", "within noise")
    two = [*one, compare("ciou", "giou", 0.01, False, parameter="iou_loss")]
    (text,) = said("iou_loss", ["ciou", "siou", "giou"], two, "ciou")
    assert tells(
        text, "iou_loss ciou", "best on val", "siou and giou", "within noise", "largest", "0.010 ± 0.020", "giou"
    )
    tie = [compare("ciou", "siou", 0.0, False, parameter="iou_loss")]
    (text,) = said("iou_loss", ["ciou", "siou"], tie, "ciou")
    assert tells(text, "iou_loss ciou", "siou", "exactly the same")
    assert not any("beat" in text for pairs in (one, two, tie) for text in said("iou_loss", ["ciou"], pairs, "ciou"))


def test_a_difference_that_only_the_number_of_comparisons_makes_noise_says_so():
    comparisons = [compare(8, 16, -0.03, False, "step", "batch", family=6)]
    (text,) = said("batch", [8, 16], comparisons, 8, True)
    assert tells(text, "batch from 8 to 16", "−0.030 ± 0.020", "within noise", "6 differences were looked at")


def test_numbers_are_raised_step_by_step():
    steps = [compare(0.001, 0.01, 0.04, True, "step", "lr0"), compare(0.01, 0.1, -0.2, True, "step", "lr0"),
             compare(0.1, 1, 0.001, False, "step", "lr0"), compare(0.001, 1, -0.15, True, "ends", "lr0")]  # fmt: skip
    levels = [0.001, 0.01, 0.1, 1]
    (text,) = said("lr0", levels, steps, 0.01, True)
    up, down, rest = text.split(";")
    assert tells(up, "Raising lr0 from 0.001 to 0.01 brought", "0.040 ± 0.020")
    assert tells(down, "from 0.01 to 0.1 cost", "0.200 ± 0.020")
    assert tells(rest, "other step", "within noise")
    small = [compare(1, 2, -0.01, False, "step", "lr0"), compare(2, 4, -0.012, False, "step", "lr0"),
             compare(1, 4, -0.022, True, "ends", "lr0")]  # fmt: skip
    (text,) = said("lr0", [1, 2, 4], small, 1, True)
    assert tells(text, "Raising lr0 from 1 to 4 cost", "0.022 ± 0.020", "no single step", "beyond noise")
    none = [*small[:2], compare(1, 4, -0.022, False, "ends", "lr0")]
    (text,) = said("lr0", [1, 2, 4], none, 1, True)
    assert tells(text, "Raising lr0", "nothing beyond noise", "largest difference", "−0.022 ± 0.020", "from 1 to 4")


def test_other_parameters_and_single_trainings_are_mentioned():
    steps = [compare(8, 16, 0.04, True, "step", "batch")]
    (text,) = said("batch", [8, 16], steps, 16, True, others=["lr0", "optimizer"], once=True)
    assert tells(
        text, "all values of lr0 and optimizer", "batch from 8 to 16 brought", "0.040 ± 0.020", "one training each"
    )


def test_models_are_a_ladder():
    comparisons = [
        compare("basic-cnn.yaml", "models/cnn-bn.yaml", 0.1, True, "step", "model"),
        compare("models/cnn-bn.yaml", "yolov8n.yaml", 0.01, False, "step", "model"),
        compare("yolov8n.yaml", "rtdetr-l.yaml", -0.2, True, "step", "model"),
        compare("yolov8n.yaml", "basic-cnn.yaml", -0.11, True, "best", "model"),
    ]
    levels = ["basic-cnn.yaml", "models/cnn-bn.yaml", "yolov8n.yaml", "rtdetr-l.yaml"]
    parameters = pd.Series(dict(zip(levels, [1000, 1010, 3000, 30_000], strict=True)))
    brought, below, equal, best = said("model", levels, comparisons, "yolov8n.yaml", parameters=parameters)
    assert tells(brought, "cnn-bn brought", "0.100 ± 0.020", "over basic-cnn", "same number of parameters")
    assert tells(below, "rtdetr-l scored", "0.200 ± 0.020", "below yolov8n", "10x the parameters")
    assert tells(equal, "ithin noise of the model before", "yolov8n")
    assert tells(best, "yolov8n beat rtdetr-l", "0.200 ± 0.020", "basic-cnn", "0.110 ± 0.020", "cnn-bn", "within noise")


def test_each_value_of_another_parameter_has_its_sentence():
    comparisons = [
        compare(0.001, 0.01, -0.04, True, "step", "lr0", optimizer="SGD"),
        compare(0.001, 0.01, 0.01, False, "step", "lr0", optimizer="AdamW"),
        compare("ciou", "siou", -0.04, True, "best", "iou_loss", cls_loss="bce"),
        compare("ciou", "siou", -0.01, False, "best", "iou_loss", cls_loss=None),
    ]
    sgd, adamw, bce, other = [text.replace(NBSP, " ") for text in conditional_sentences(comparisons)]
    assert tells(sgd, "Raising lr0 from 0.001 to 0.01 with SGD cost", "0.040 ± 0.020")
    assert tells(adamw, "Raising lr0 from 0.001 to 0.01 with AdamW", "+0.010 ± 0.020", "within noise")
    assert tells(bce, "iou_loss ciou", "best on val with cls_loss bce", "beat siou", "0.040 ± 0.020")
    assert tells(other, "iou_loss ciou", "best on val with cls_loss not set", "within noise of all others")


def test_a_value_none_of_whose_trials_finished_is_named():
    made = effect("optimizer", ["SGD", "AdamW"], [compare("AdamW", "SGD", -0.1, True)], "AdamW")
    gone = Effect(**{**vars(made), "levels": ("SGD", "AdamW", "Adam")})
    assert effect_sentences(gone)[-1] == "optimizer: no trial with Adam has finished."


# ---- whole studies


def ripple(seed):
    values = np.random.default_rng(seed).normal(0, 0.05, 60)
    return values - values[np.arange(60) % 3 > 0].mean()


def all_said(folder):
    return [one.text.replace(NBSP, " ") for one in observe(analyse(read_study(folder)))]


MODELS = {"basic-cnn.yaml": (0.1, 90_000), "cnn-csp.yaml": (0.3, 250_000), "yolov8n.yaml": (0.305, 3_000_000)}


@pytest.fixture(scope="module")
def planted(tmp_path_factory, write_study):
    """Exact differences; seeds shift all settings by +-0.005, in turn up and down."""
    blocks = [
        {"name": "models", "parameters": {"model": list(MODELS)}},
        {"name": "patience", "parameters": {"patience": [3, 10]}},
    ]

    def score(settings, seed):
        sign = (-1) ** (seed + len(settings.get("model", "")))
        base = MODELS[settings["model"]][0] if "model" in settings else 0.28
        return base + 0.005 * sign + ripple(seed)

    def curve(settings, _):
        whole = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
        return whole[:6] if settings.get("patience") == 3 else whole

    return write_study(
        tmp_path_factory.mktemp("planted") / "study", blocks, score, seeds=(0, 1), curve=curve,
        costs=lambda settings: {"parameters": MODELS.get(settings.get("model"), (0, 90_000))[1]},
        outcome=lambda *_: "finished",
    )  # fmt: skip


def test_planted_numbers_are_found(planted):
    texts = all_said(planted)
    # Each setting's two scores are 0.01 apart: a standard deviation of 0.01 / sqrt(2).
    assert any(tells(text, "in their seed only scatter by 0.007", "standard deviation", "5 settings") for text in texts)
    best = next(text for text in texts if text.startswith("Best on val"))
    assert best.startswith(
        "Best on val: model=yolov8n, all else as held fixed (t004 and t005, mean of 2), with 0.315; "
    )
    assert "on test it scores 0.305 ±" in best
    assert any(text.startswith("cnn-csp brought 0.200 ± ") and "with 2.8x the parameters" in text for text in texts)
    costs = next(text for text in texts if text.startswith("yolov8n has 12x the parameters of cnn-csp"))
    assert "and scores 0.005 ± " in costs
    assert costs.endswith(" more, which is within noise.")


def test_early_stopping_is_reckoned(planted):
    texts = all_said(planted)
    # The eight complete curves rise to epoch 3 and then stay: patience 1 stops after 4 epochs of 10.
    reckoned = ("Early stopping with patience 1", "saved 60 %", "8 trainings", "cost nothing that can be seen")
    assert any(tells(text, *reckoned) for text in texts)
    instead = "Early stopping with patience 3 instead of 10 cost nothing that can be seen (0.000 ± "
    assert sum(text.startswith(instead) for text in texts) == 1
    epochs = ("Epochs", "6.0 with patience 3", "10.0 with patience 10", "patience 3 saved 40 %")
    assert any(tells(text, *epochs) for text in texts)


def test_a_single_seed_is_no_ground_for_certainty(tmp_path, write_study):
    blocks = [{"name": "o", "parameters": {"optimizer": ["SGD", "AdamW"]}}]
    texts = all_said(
        write_study(
            tmp_path / "study",
            blocks,
            lambda s, _: (0.5 if s["optimizer"] == "AdamW" else 0.2) + ripple(len(s["optimizer"])),
        )
    )
    assert any("Each setting was trained once" in text for text in texts)
    assert any("AdamW beat SGD by 0.300" in text and "known from one training each" in text for text in texts)


def test_failures_and_stops_are_told(tmp_path, write_study):
    blocks = [{"name": "o", "parameters": {"optimizer": ["SGD", "AdamW", "Adam"]}}]
    states = {"SGD": "failed", "Adam": "stopped"}

    def outcome(settings, _):
        return states.get(settings["optimizer"], "finished")

    def curve(settings, _):
        return [0.1] * (4 if settings["optimizer"] == "Adam" else 10)

    texts = all_said(write_study(tmp_path / "some", blocks, lambda *_: 0.2, outcome=outcome, curve=curve))
    assert any(tells(text, "1 trial of 3 failed", "t000", "reason", "CUDA out of memory") for text in texts)
    assert any(text.startswith("The scheduler stopped 1 trial of 3 early.") for text in texts)
    texts = all_said(write_study(tmp_path / "all", blocks, lambda *_: 0.2, outcome=lambda *_: "failed"))
    assert tells(texts[0], "No trial has finished", "3 trials", "nothing to compare")
    texts = all_said(write_study(tmp_path / "stopped", blocks, lambda *_: 0.2, outcome=lambda *_: "stopped",
                                 curve=lambda *_: [0.1] * 4))  # fmt: skip
    assert texts[0].endswith("nothing to compare. The highest score on val so far is 0.210 (t000).")


def test_drawn_settings_have_a_forest_or_nothing(tmp_path, write_study):
    random = np.random.default_rng(1)
    blocks = [{"name": "search", "parameters": {"lr0": {"low": 1e-4, "high": 0.1, "log": True}}}]
    values = [float(10 ** random.uniform(-4, -1)) for _ in range(24)]

    def score(settings, _):
        return 0.3 - 0.05 * (np.log10(settings["lr0"]) + 2.5) ** 2

    many = [("search", {"lr0": value}) for value in values]
    texts = all_said(write_study(tmp_path / "many", blocks, score, settings=many, method="random"))
    assert any(text.startswith("A random forest predicts") and "(24 settings)" in text for text in texts)
    expected = next(text for text in texts if text.startswith("It expects most at lr0 "))
    assert 0.001 < float(expected.split()[5]) < 0.01
    texts = all_said(write_study(tmp_path / "few", blocks, score, settings=many[:5], method="tpe"))
    assert any("5 finished trials of settings drawn by tpe: with fewer than 10 settings" in text for text in texts)


def test_words():
    assert [value_text("optimizer", value) for value in (None, True, False, 0.01, 16, 1e-5)] == [
        "not set", "on", "off", "0.01", "16", "1e-05",
    ]  # fmt: skip
    assert value_text("model", "train/models/basic-cnn.yaml") == "basic-cnn"
    assert (times(1.234), times(12.3)) == ("1.2x", "12x")
    assert [signed_number(value) for value in (0.01, -0.01, -0.0001)] == ["+0.010", "−0.010", "0.000"]
    assert signed(Estimate(0.1, None, None, None, 1.0)).replace(NBSP, " ") == "+0.100 ± unknown"
