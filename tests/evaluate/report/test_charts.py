"""Figures of results: what is drawn, looked up in the SVG, and sentences against hand-worked numbers."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from evaluate.report.charts import score_scale, subgroup_dots, sweep_curves, training_curves
from evaluate.scoring.result import Difference, Interval, Subgroup


def texts(chart):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(chart.svg).iter("text")]


def sweep(confidence, score):
    return pd.DataFrame({"confidence": confidence, "score": score})


def line_of(chart, name):
    """Points of the line with this label, in data units, read back from the SVG through the axes' tick labels."""
    root = ElementTree.fromstring(chart.svg)
    ticks = {"x": [], "y": []}
    for group in root.iter("g"):
        kind = (group.get("id") or "").removeprefix(f"{name}-")
        if kind.startswith(("xtick_", "ytick_")):
            use, text = next(group.iter("use")), next(group.iter("text"))
            ticks[kind[0]].append((float(use.get(kind[0])), float("".join(text.itertext()))))
    scale = {axis: np.polyfit(*zip(*pairs, strict=True), 1) for axis, pairs in ticks.items()}
    paths = [
        path.get("d")
        for path in root.iter("path")
        if "clip-path" in path.attrib and "fill: none" in path.get("style", "") and path.get("d").count("L") > 2
    ]
    lines = []
    for path in paths:
        values = np.array(path.replace("M", " ").replace("L", " ").split(), dtype=float).reshape(-1, 2)
        lines.append(np.column_stack([np.polyval(scale["x"], values[:, 0]), np.polyval(scale["y"], values[:, 1])]))
    return lines


def test_scale_shows_the_score_its_interval_and_what_it_is_compared_with():
    chart = score_scale(0.1834, [0.1712, 0.2021], {"a baseline": 0.115, "the winner": 0.25475})
    assert "this model 0.183" in texts(chart)
    assert {"a baseline 0.115", "the winner 0.255"} <= set(texts(chart))
    assert texts(chart)[:5] == ["0.0", "0.1", "0.2", "0.3", "0.4"]
    assert "0.183" in chart.sentence
    assert "0.171 to 0.202" in chart.sentence
    assert "ends at 0.4" in chart.sentence


@pytest.mark.parametrize("score", [0.0, 0.39, 1.0])
def test_scale_goes_to_one_without_comparison_or_above_it(score):
    for marks in ({}, {"the winner": 0.25} if score == 0.39 else {}):
        chart = score_scale(score, None, marks)
        assert "1.0" in texts(chart)
        assert "ends at" not in chart.sentence


def test_sweep_is_drawn_as_the_metric_defines_it():
    # Kept from 0.8 on: 0.1; from 0.5 on: 0.3; from 0.2 on: 0.2; above 0.8 nothing is left.
    table = sweep([0.8, 0.5, 0.2], [0.1, 0.3, 0.2])
    (line,) = line_of(sweep_curves({"test": table}, 0.4, "val"), "sweep")

    def drawn(threshold):
        on_level = [(a, b) for a, b in pairwise(line) if abs(a[1] - b[1]) < 1e-3]
        return next(a[1] for a, b in on_level if a[0] - 1e-3 <= threshold <= b[0] + 1e-3)

    for threshold, score in [(0.1, 0.2), (0.3, 0.3), (0.45, 0.3), (0.6, 0.1), (0.79, 0.1), (0.9, 0.0)]:
        assert drawn(threshold) == pytest.approx(score, abs=2e-3)


def test_sweep_tells_what_another_threshold_would_give():
    sweeps = {"test": sweep([0.8, 0.5, 0.2], [0.1, 0.3, 0.2]), "val": sweep([0.7, 0.4], [0.25, 0.2])}
    chart = sweep_curves(sweeps, 0.7, "val")
    assert "kept from confidence 0.70, chosen on val" in chart.sentence
    # At 0.70 the test split keeps the box of 0.8 alone: 0.1, and 0.3 would be the best.
    assert "on test that gives 0.100, 0.50 would give 0.200 more" in chart.sentence
    assert "on val that gives 0.250, the highest there is." in chart.sentence
    assert {"test", "val", "chosen 0.70", "RSNA score"} <= set(texts(chart))
    given = sweep_curves(sweeps, 0.9, None)
    assert "chosen" not in given.sentence
    assert "on val that gives 0.000, 0.70 would give 0.250 more." in given.sentence
    assert "used 0.90" in texts(given)


def test_of_thresholds_that_score_the_same_none_is_called_better():
    """From 0.9 down to 0.3 nothing changes: whichever was chosen is as good as any."""
    table = sweep([0.9, 0.6, 0.3, 0.1], [0.25, 0.25, 0.25, 0.1])
    for chosen in (0.9, 0.6, 0.3):
        sentence = sweep_curves({"val": table}, chosen, "val").sentence
        assert sentence.endswith(f"{chosen:.2f}, chosen on val: on val that gives 0.250, the highest there is.")


def test_long_sweeps_are_thinned_but_keep_the_best():
    confidence = np.linspace(1, 0.0001, 60_000)
    score = 0.2 - 0.1 * np.abs(confidence - 0.3)
    score[12_345] = 0.9
    chart = sweep_curves({"test": sweep(confidence, score)}, 0.3, None)
    (line,) = line_of(chart, "sweep")
    assert line[:, 1].max() == pytest.approx(0.9, abs=5e-3)
    assert len(chart.svg) < 60_000
    assert f"{confidence[12_345]:.2f} would give 0.700 more" in chart.sentence


def results(**columns):
    return pd.DataFrame({f"   {name}": values for name, values in {"epoch": [1, 2, 3, 4], **columns}.items()})


def test_training_curves():
    losses, metrics = training_curves(
        results(
            **{
                "train/box_loss": [4.0, 3.0, 2.0, 1.5], "train/cls_loss": [2.0, 1.0, 0.5, 0.25],
                "val/box_loss": [4.0, 3.0, 2.0, 2.5], "val/cls_loss": [2.0, 1.0, 0.5, 0.5],
                "metrics/mAP50(B)": [0.1, 0.2, 0.4, 0.3], "metrics/mAP50-95(B)": [0.0, 0.1, np.nan, 0.2],
                "metrics/RSNA(B)": [0.05, 0.15, 0.1, 0.1],
            }
        )
    )  # fmt: skip
    assert {"box", "cls", "epoch"} <= set(texts(losses))
    assert "4 epochs of training; the training loss went from 6.00 to 1.75" in losses.sentence
    assert "lowest at epoch 3 and ended 20\xa0% higher" in losses.sentence
    assert "RSNA score is highest at epoch 2 (0.150)" in metrics.sentence
    assert "mAP50 is highest at epoch 3 (0.400)" in metrics.sentence
    assert "mAP50-95 is highest at epoch 4 (0.200)" in metrics.sentence


def test_training_curves_of_what_there_is():
    assert training_curves(pd.DataFrame()) == []
    assert training_curves(pd.DataFrame({"step": [1]})) == []
    assert training_curves(results()) == []
    (only,) = training_curves(results(**{"metrics/mAP50(B)": [np.nan, 0.5, np.inf, 0.25]}))
    assert "mAP50 is highest at epoch 2 (0.500)" in only.sentence
    (losses,) = training_curves(results(**{"train/box_loss": ["nan", "oops", "2", "1"], "val/box_loss": [np.nan] * 4}))
    assert "validation loss" not in losses.sentence


def entry(score, low, high, images=1000, patients=300):
    return Subgroup(score, Interval(low, high), images, counted_images=images, counted_patients=patients)


GROUPS = {
    "view": {"AP": entry(0.1, 0.05, 0.15, 1234), "PA": entry(0.3, 0.2, 0.4)},
    "sex": {"F": entry(0.2, 0.1, 0.3, 50, 39), "M": entry(0.22, 0.1, 0.3), "?": Subgroup(None, None, 3, 0, 0)},
    "age": {"$40$ <60": Subgroup(0.2, None, 10, 10, 10)},
    "site": {},
}


def test_subgroups():
    differences = {"view": Difference("PA", "AP", 0.2, 0.0004), "sex": Difference("M", "F", 0.02, 0.6)}
    chart = subgroup_dots(GROUPS, 0.2, differences)
    assert {"view", "AP  (1,234)", "PA  (1,000)", "sex", "F  (50, few)", "M  (1,000)", "age", "$40$ <60  (10)"} <= set(
        texts(chart)
    )
    assert not {"site", "?  (3)"} & set(texts(chart))
    assert "By view, PA scores 0.200 higher than AP, which is beyond chance (p < 0.001, corrected" in chart.sentence
    assert "Between groups of sex no difference is beyond chance." in chart.sentence
    assert "Few: of fewer than 40 patients that count, an interval that is too narrow." in chart.sentence
    assert "Hollow: of fewer than 20 patients that count, too few for an interval or a comparison." in chart.sentence
    assert "RSNA score, 95 % interval (dashed: all images)" in texts(chart)
    alone = subgroup_dots({"age": GROUPS["age"]}, 0.2, None)
    assert "RSNA score (dashed: all images)" in texts(alone)


def test_nothing_is_said_of_differences_that_were_not_looked_at():
    for differences in (None, {}):
        sentence = subgroup_dots({"view": GROUPS["view"]}, 0.2, differences).sentence
        assert sentence == "Numbers in brackets are images."


def test_a_difference_at_the_threshold_is_chance():
    assert "beyond chance (p" not in subgroup_dots(GROUPS, 0.2, {"view": Difference("PA", "AP", 0.2, 0.05)}).sentence
    assert "(p = 0.049," in subgroup_dots(GROUPS, 0.2, {"view": Difference("PA", "AP", 0.2, 0.049)}).sentence


def test_no_subgroup_no_figure():
    assert subgroup_dots({}, 0.1, None) is None
    assert subgroup_dots({"view": {"AP": Subgroup(None, None, 3, 0)}}, 0.1, {}) is None
