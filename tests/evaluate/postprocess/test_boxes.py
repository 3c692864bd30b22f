from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.postprocess.boxes import drop_below, drop_unlikely_images, weigh


def table() -> pd.DataFrame:
    return make_predictions(["a", "a", "b"], np.array([[0.9, 10, 20, 100, 50], [0.5, 0, 0, 8, 8], [0.3, 5, 5, 4, 2]]))


def test_dropping_is_inclusive_and_leaves_its_argument_alone():
    given = table()
    assert drop_below(given, 0.5)["confidence"].tolist() == [0.9, 0.5]
    assert drop_below(given, 0.500001)["confidence"].tolist() == [0.9]
    assert drop_below(given, 0.0).equals(given)
    assert len(given) == 3


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
