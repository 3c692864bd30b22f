"""The numbers of a split: which get an interval, and which groups are compared."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import Split
from common.data.tables import make_predictions
from evaluate.metrics.uncertainty import group_differences, paired_difference, score_interval
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence
from evaluate.scoring.numbers import Judged, compare, compare_subgroups, judge, score_split, score_subgroups


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
    assert vars(compare_subgroups(judged)["view"]) == vars(wanted)


def test_a_gain_of_few_patients_has_no_interval():
    plain, changed = make_judged(30, confidence=0.5), make_judged(30, confidence=0.7)
    gain, wanted = compare(plain, changed), paired_difference(changed.scores, plain.scores, plain.patients)
    assert gain.score == changed.score
    assert (gain.gain, *gain.gain_interval_95) == (wanted.difference, wanted.low, wanted.high)
    few = compare(make_judged(19, confidence=0.5), make_judged(19, confidence=0.7))
    assert few.gain_interval_95 is None
