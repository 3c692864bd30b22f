"""Wrong tables, through the metric: the message names the table and the row."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from common.errors import UserError
from evaluate.metrics.rsna import confidence_sweep, rsna_score
from tests.evaluate.metrics.reference import BOX, SQUARE, random_images, tables


@pytest.fixture
def small():
    return tables([([SQUARE], [(0.9, SQUARE), (0.8, (5, 5, 5, 5))]), ([], [])])


def changed(table, row, column, value):
    table = table.astype({column: object}) if isinstance(value, str) else table.copy()
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("image_id", "elsewhere", "'elsewhere' is not in the truth"),
        ("confidence", math.nan, r"row 1 \(image img0\): confidence is nan"),
        ("confidence", math.inf, "row 1 .*confidence is inf"),
        ("width", 0, "row 1 .*5, 5, 0, 5; expected"),
        ("height", -3, "row 1 .*5, 5, 5, -3; expected"),
        ("x", math.nan, "row 1 .*nan, 5, 5, 5; expected"),
        ("y", math.inf, "row 1 .*5, inf, 5, 5; expected"),
        ("y", "five", "must be numbers"),
    ],
)
def test_bad_predictions_are_named(small, column, value, says):
    truth, predictions = small
    with pytest.raises(UserError, match=says):
        rsna_score(truth, changed(predictions.astype(dict.fromkeys(BOX, float)), 1, column, value))


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("x", math.nan, r"truth: row 0 \(image img0\).*nan, 0, 10, 10"),
        ("width", -1.0, "truth: row 0 .*expected finite numbers"),
        ("image_id", None, "truth: row 0 has no image_id"),
        ("image_id", "img1", "truth: image img1 has a row without box beside other rows"),
    ],
)
def test_bad_truth_is_named(small, column, value, says):
    truth, _ = small
    with pytest.raises(UserError, match=says):
        rsna_score(changed(truth, 0, column, value), pd.DataFrame())


def test_two_empty_rows_of_one_image_are_refused(small):
    truth, _ = small
    with pytest.raises(UserError, match="image img1 has a row without box beside other rows"):
        rsna_score(pd.concat([truth, truth.tail(1)]), pd.DataFrame())


def test_missing_columns_are_named(small):
    truth, predictions = small
    with pytest.raises(UserError, match="truth: no column x, width; found image_id, y, height"):
        rsna_score(truth.drop(columns=["x", "width"]), predictions)
    with pytest.raises(UserError, match="predictions: no column confidence"):
        confidence_sweep(truth, predictions.drop(columns="confidence"))


@pytest.mark.parametrize("kind", ["str", object])
@pytest.mark.parametrize("ids", [["img0", None], [None, None], ["img0", "elsewhere"], ["elsewhere", "img1"]])
def test_an_image_that_is_not_in_the_truth_is_named(small, ids, kind):
    truth, predictions = small
    unknown = next(name for name in ids if name not in ("img0", "img1"))
    with pytest.raises(UserError, match=f"image '?{'nan|None' if unknown is None else unknown}'? is not in the truth"):
        rsna_score(truth, predictions.assign(image_id=pd.Series(ids, dtype=kind)))


@pytest.mark.parametrize("of_predictions", ["str", object])
@pytest.mark.parametrize("of_truth", ["str", object])
def test_ids_of_any_text_type_are_the_same_ids(of_truth, of_predictions):
    truth, predictions = tables(random_images(80, seed=1))
    expected = confidence_sweep(truth, predictions)
    found = confidence_sweep(truth.astype({"image_id": of_truth}), predictions.astype({"image_id": of_predictions}))
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=0)
