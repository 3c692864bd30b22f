"""The numbers of a split: which get an interval, and which groups are compared."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import Split
from common.data.tables import make_predictions
from evaluate.metrics.ranking import Ranking, image_figures
from evaluate.metrics.uncertainty import group_differences, paired_difference, resampled_figures, score_interval
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.numbers import (
    Judged,
    compare,
    compare_subgroups,
    judge,
    judge_boxes,
    judge_images,
    mark_hits,
    score_split,
    score_subgroups,
)


def make_judged(patients: int, confidence: float = 0.5) -> Judged:
    """Two images of every patient with a box each: found in every second one, in the others a box is elsewhere."""
    random = np.random.default_rng(0)
    ids = [f"i{number:03}" for number in range(2 * patients)]
    truth = pd.DataFrame(
        {"image_id": ids, "x": 10.0, "y": 10.0, "width": 40.0, "height": 40.0, "label": "Lung Opacity"}
    )
    manifest = pd.DataFrame(
        {
            "image_id": ids, "patient_id": np.arange(len(ids)) // 2, "width": 128.0, "height": 128.0,
            "view": np.where(np.arange(len(ids)) < len(ids) // 4, "PA", "AP"), "sex": "", "age": math.nan,
        }
    )  # fmt: skip
    found = random.random(len(ids)) < 0.5
    boxes = np.where(found[:, None], [[10, 10, 40, 40]], [[70, 70, 40, 40]])
    predictions = make_predictions(ids, np.column_stack([random.uniform(0.4, 1, len(ids)), boxes]))
    split = Split("test", dict.fromkeys(ids), truth, manifest, has_patients=True)
    return judge(split, predictions, Pipeline(confidence=Confidence(confidence)))


@pytest.mark.parametrize(("patients", "has_interval"), [(19, False), (20, True), (60, True)])
def test_a_score_of_few_patients_has_no_interval(patients, has_interval):
    judged = make_judged(patients)
    found = score_split(judged)
    assert found.counted_patients == patients
    assert found.interval_95 == (score_interval(judged.scores, judged.patients) if has_interval else None)


def test_groups_of_few_patients_have_no_interval_and_are_not_compared():
    judged = make_judged(60)
    groups = score_subgroups(judged)
    assert set(groups) == {"view"}  # sex and age are not known
    small, large = groups["view"]["PA"], groups["view"]["AP"]
    assert (small.images, small.counted_patients, small.interval_95) == (30, 15, None)
    assert (large.images, large.counted_patients) == (90, 45)
    of_large = judged.scores[judged.split.manifest.set_index("image_id")["view"] == "AP"]
    assert large.score == pytest.approx(of_large.mean())
    assert large.interval_95 == score_interval(of_large, judged.patients)
    assert compare_subgroups(judged) == {}
    judged = make_judged(120)
    views = judged.split.manifest.set_index("image_id")["view"]
    wanted = group_differences(judged.scores, {"view": views}, judged.patients)["view"]
    assert vars(compare_subgroups(judged)["view"]) == {**vars(wanted), "measure": "score"}


def test_a_gain_of_few_patients_has_no_interval():
    plain, changed = make_judged(30, confidence=0.5), make_judged(30, confidence=0.7)
    gain, wanted = compare(plain, changed), paired_difference(changed.scores, plain.scores, plain.patients)
    assert gain.score == changed.score
    assert (gain.gain, *gain.gain_interval_95) == (wanted.difference, wanted.low, wanted.high)
    few = compare(make_judged(19, confidence=0.5), make_judged(19, confidence=0.7))
    assert few.gain_interval_95 is None


def make_mixed(patients: int, site: bool = False) -> Judged:
    """Two images of every patient; of these a third has a box, small or large, the others are of two kinds."""
    random = np.random.default_rng(4)
    ids = [f"i{number:03}" for number in range(2 * patients)]
    kind = np.arange(len(ids)) % 3
    side = np.where(kind == 0, random.choice([20.0, 60.0], len(ids)), math.nan)
    label = np.array(["Lung Opacity", "No Lung Opacity / Not Normal", "Normal"])[kind]
    start = np.where(kind == 0, 10.0, math.nan)
    truth = pd.DataFrame({"image_id": ids, "x": start, "y": start, "width": side, "height": side, "label": label})
    manifest = pd.DataFrame(
        {"image_id": ids, "patient_id": np.arange(len(ids)) // 2, "width": 128.0, "height": 128.0, "label": label,
         "view": "", "sex": "", "age": math.nan}
    )  # fmt: skip
    if site:
        manifest["site"] = np.where(np.arange(len(ids)) % 4 < 2, "north", "south")
    confidence = np.clip(random.normal(0.4 + 0.2 * (kind == 0) + 0.15 * (kind == 1), 0.15), 0.01, 0.99).round(3)
    shown = random.random(len(ids)) < 0.8
    boxes = np.column_stack([confidence, np.tile([10.0, 10, 22, 22], (len(ids), 1))])[shown]
    predictions = make_predictions(np.array(ids)[shown].tolist(), boxes)
    split = Split("test", dict.fromkeys(ids), truth, manifest, has_patients=True)
    return judge(split, predictions, Pipeline(Suppression("none", None), confidence=Confidence(0.5)))


def test_what_is_said_of_images_is_what_scikit_learn_says():
    metrics = pytest.importorskip("sklearn.metrics")
    judged = make_mixed(100)
    found = judge_images(judged)
    truth, predictions = judged.split.truth, judged.processed
    positive = truth.set_index("image_id")["x"].notna()
    strongest = predictions.set_index("image_id")["confidence"].reindex(positive.index).fillna(0.0)
    matrix = metrics.confusion_matrix(positive, strongest >= 0.5).ravel().tolist()
    counts = [found.true_negatives, found.false_positives, found.false_negatives, found.true_positives]
    assert counts == matrix
    values = {name: figure.value for name, figure in found.figures.items()}
    assert values["sensitivity"] == pytest.approx(metrics.recall_score(positive, strongest >= 0.5))
    assert values["positive_predictive_value"] == pytest.approx(metrics.precision_score(positive, strongest >= 0.5))
    assert values["specificity"] == pytest.approx(metrics.recall_score(~positive, strongest < 0.5))
    assert values["negative_predictive_value"] == pytest.approx(metrics.precision_score(~positive, strongest < 0.5))
    assert values["auc"] == pytest.approx(metrics.roc_auc_score(positive, strongest))
    assert values["average_precision"] == pytest.approx(metrics.average_precision_score(positive, strongest))
    assert values["brier"] == pytest.approx(metrics.brier_score_loss(positive, strongest))
    assert sum(one.images for one in found.reliability) == len(positive)
    for name, figure in found.figures.items():
        if name != "calibration_error":
            assert figure.interval_95.low <= figure.value <= figure.interval_95.high
    patients = truth["image_id"].str[1:].astype(int) // 2
    assert found.figures["auc"].patients == patients[positive.to_numpy()].nunique()


def test_intervals_of_areas_are_those_of_resampled_patients():
    metrics = pytest.importorskip("sklearn.metrics")
    judged = make_mixed(60)
    positive, strongest = judged.is_positive.to_numpy(), judged.strongest.to_numpy()
    random, drawn = np.random.default_rng(0), []
    for _ in range(2_000):
        patients = random.integers(0, 60, 60, dtype=np.int32)
        images = np.concatenate([2 * patients, 2 * patients + 1])
        drawn.append(metrics.roc_auc_score(positive[images], strongest[images]) if len(drawn) < 50 else math.nan)
    ours = resampled_figures(
        partial(image_figures, Ranking.of_images(strongest, positive)), judged.scores.index, judged.patients
    )
    np.testing.assert_allclose(ours[:50, 0], drawn[:50], atol=1e-12)
    low, high = judge_images(judged).figures["auc"].interval_95
    assert (low, high) == pytest.approx(tuple(np.quantile(ours[:, 0], [0.025, 0.975])))


def test_figures_of_few_patients_have_no_interval():
    judged = make_mixed(25)  # 17 images of as many patients have a box
    images, boxes = judge_images(judged), judge_boxes(judged)
    assert images.figures["auc"].patients == boxes.froc["mean"].patients == 17
    assert images.figures["auc"].interval_95 is images.figures["sensitivity"].interval_95 is None
    assert boxes.froc["mean"].interval_95 is None
    assert images.figures["specificity"].interval_95 is not None


def test_what_is_said_of_boxes():
    judged = make_mixed(100)
    found = judge_boxes(judged)
    hit = mark_hits(judged.split.truth, judged.processed)["hit"].to_numpy()
    confidence = judged.processed["confidence"].to_numpy()
    boxes, images = judged.split.truth["x"].notna().sum(), judged.split.truth["image_id"].nunique()
    for rate in (0.05, 0.1, 0.2, 0.5):
        allowed = [one for one in confidence if (~hit[confidence >= one]).sum() <= rate * images]
        expected = hit[confidence >= min(allowed)].sum() / boxes if allowed else 0
        assert found.froc[f"{rate:g}"].value == pytest.approx(expected)
    assert found.errors["on a distractor"] == judged.final["image_id"].str[1:].astype(int).mod(3).eq(1).sum()
    assert found.errors["on a normal"] == judged.final["image_id"].str[1:].astype(int).mod(3).eq(2).sum()


def test_groups_by_box_size_kind_of_negatives_and_a_column_of_the_manifest():
    judged = make_mixed(150, site=True)
    found = score_subgroups(judged)
    assert list(found) == ["site", "box size", "negative kind"]
    assert list(found["site"]) == ["north", "south"]
    assert list(found["box size"]) == ["below 4 %", "above 10 %"]
    small, large = found["box size"].values()
    assert small.score > 0.5 > large.score == 0  # predictions are of the small size
    kinds = found["negative kind"]
    assert list(kinds) == ["No Lung Opacity / Not Normal", "Normal"]
    called = judged.strongest >= 0.5
    for name, group in kinds.items():
        images = judged.labels.index[judged.labels == name]
        assert group.score is group.interval_95 is None
        assert group.specificity.value == pytest.approx(1 - called[images].mean())
        assert (group.sensitivity.value, group.images) == (None, len(images))
    differences = compare_subgroups(judged)
    assert (differences["box size"].higher, differences["box size"].measure) == ("below 4 %", "score")
    found = differences["negative kind"]
    assert (found.higher, found.measure) == ("Normal", "specificity")
    distractors = kinds["No Lung Opacity / Not Normal"].specificity.value
    assert found.difference == pytest.approx(kinds["Normal"].specificity.value - distractors)
    assert found.p < 0.01
    assert differences["site"].p > 0.05
