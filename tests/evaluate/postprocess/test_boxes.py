from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.postprocess.boxes import drop_below, drop_unlikely_images, scale_boxes, weigh


def table() -> pd.DataFrame:
    return make_predictions(["a", "a", "b"], np.array([[0.9, 10, 20, 100, 50], [0.5, 0, 0, 8, 8], [0.3, 5, 5, 4, 2]]))


def test_dropping_is_inclusive_and_leaves_its_argument_alone():
    given = table()
    assert drop_below(given, 0.5)["confidence"].tolist() == [0.9, 0.5]
    assert drop_below(given, 0.500001)["confidence"].tolist() == [0.9]
    assert drop_below(given, 0.0).equals(given)
    assert len(given) == 3


def test_scaling_is_about_the_centre():
    scaled = scale_boxes(table(), 0.8, 0.5)
    # 100 x 50 at (10, 20) has its centre at (60, 45): 80 x 25 begins at (20, 32.5).
    assert scaled.iloc[0, 2:].tolist() == [20.0, 32.5, 80.0, 25.0]
    before, after = table(), scaled
    for start, size in (("x", "width"), ("y", "height")):
        np.testing.assert_allclose(before[start] + before[size] / 2, after[start] + after[size] / 2)
    assert scaled["confidence"].tolist() == before["confidence"].tolist()


def test_scale_of_one_changes_nothing_and_copies():
    given = table()
    same = scale_boxes(given, 1, 1)
    assert same.equals(given)
    same.loc[0, "x"] = -1
    assert given.loc[0, "x"] == 10


def test_scaled_boxes_are_rounded_and_vanished_ones_dropped():
    scaled = scale_boxes(
        make_predictions(["a", "a"], np.array([[0.9, 1, 1, 1, 1], [0.8, 0, 0, 0.02, 9]])), 1 / 3, 1 / 3
    )
    assert scaled.iloc[:, 1:].to_numpy().tolist() == [[0.9, 1.33, 1.33, 0.33, 0.33], [0.8, 0.01, 3.0, 0.01, 3.0]]
    assert scale_boxes(scaled, 0.1, 1)["confidence"].tolist() == [0.9]


PROBABILITIES = pd.Series({"a": 0.25, "b": 0.5, "unpredicted": 0.9})


def test_gate_is_exclusive_and_leaves_its_argument_alone():
    given = table()
    assert drop_unlikely_images(given, PROBABILITIES, 0.25)["image_id"].tolist() == ["b"]
    assert drop_unlikely_images(given, PROBABILITIES, 0.249999).equals(given)
    assert drop_unlikely_images(given, PROBABILITIES, 0.5).empty
    assert len(given) == 3


def test_weighing_multiplies_and_keeps_order_and_boxes():
    weighed = weigh(table(), PROBABILITIES)
    assert weighed["confidence"].tolist() == [0.9 * 0.25, 0.5 * 0.25, 0.3 * 0.5]
    assert weighed.drop(columns="confidence").equals(table().drop(columns="confidence"))
    tiny = weigh(make_predictions(["a", "a"], np.array([[2e-6, 0, 0, 1, 1], [1e-6, 0, 0, 1, 1]])), PROBABILITIES)
    assert tiny["confidence"].is_monotonic_decreasing
    assert tiny["confidence"].nunique() == 2


@pytest.mark.parametrize("known", [{"a": 0.5}, {"a": 0.5, "b": float("nan")}])
def test_a_prediction_without_probability(known):
    for function in (weigh, lambda predictions, probabilities: drop_unlikely_images(predictions, probabilities, 0.1)):
        with pytest.raises(UserError, match="no probability for image b"):
            function(table(), pd.Series(known))


def test_empty_tables_stay_empty():
    assert drop_unlikely_images(empty_predictions(), PROBABILITIES, 0.5).empty
    assert weigh(empty_predictions(), PROBABILITIES).empty
    assert drop_below(empty_predictions(), 0.5).empty
    assert scale_boxes(empty_predictions(), 0.8, 0.8).empty


@pytest.mark.parametrize("factors", [(0, 1), (1, -1), (float("nan"), 1)])
def test_impossible_factors(factors):
    with pytest.raises(ValueError, match="above 0"):
        scale_boxes(table(), *factors)
