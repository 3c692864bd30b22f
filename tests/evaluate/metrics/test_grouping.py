from __future__ import annotations

import math

import pandas as pd
import pytest

from common.errors import UserError
from evaluate.metrics.grouping import age_groups, box_sizes, negative_kinds, subgroups


def test_age_groups_at_their_edges():
    ages = pd.Series([0, 17, 17.9, 18, 39, 40, 59, 60, 79, 80, 120, 121, 148, 155, -1, math.nan])
    assert age_groups(ages).tolist() == (
        ["0-17"] * 3 + ["18-39"] * 2 + ["40-59"] * 2 + ["60-79"] * 2 + ["80+"] * 2 + ["unknown"] * 5
    )
    assert age_groups(pd.Series(["34", "", None], index=list("abc"))).tolist() == ["18-39", "unknown", "unknown"]
    assert age_groups(pd.Series([34, None], dtype="Int64")).tolist() == ["18-39", "unknown"]


def test_subgroups_of_a_manifest():
    manifest = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "view": ["AP", None, ""], "sex": ["F", "M", "F"], "age": [34, 150, None]}
    )
    assert subgroups(manifest, "view").to_dict() == {"a": "AP", "b": "unknown", "c": "unknown"}
    assert subgroups(manifest, "sex").to_dict() == {"a": "F", "b": "M", "c": "F"}
    assert subgroups(manifest, "age").to_dict() == {"a": "18-39", "b": "unknown", "c": "unknown"}
    with pytest.raises(UserError, match="manifest: no column device; found image_id, view, sex, age"):
        subgroups(manifest, "device")


def test_box_sizes_are_those_of_the_largest_box():
    # Pictures of 100 x 100 but d, of 200 x 100; c's larger box is 20 x 50.
    truth = pd.DataFrame(
        {"image_id": ["a", "b", "c", "c", "d", "e", "f"], "x": [0, 0, 0, 0, 0, math.nan, 0], "y": 0,
         "width": [39, 40, 20, 3, 41, math.nan, 9], "height": [10, 10, 50, 3, 50, math.nan, 9]}
    )  # fmt: skip
    manifest = pd.DataFrame(
        {"image_id": list("abcdefg"), "width": [100, 100, 100, 200, 100, None, 100], "height": [100.0] * 7}
    )
    small, medium, large = "below 4 %", "4 to 10 %", "above 10 %"
    expected = [small, medium, medium, large, "unknown", "unknown", "unknown"]
    assert box_sizes(truth, manifest).to_dict() == dict(zip("abcdefg", expected, strict=True))


def test_negative_kinds_are_the_labels_of_images_without_box():
    truth = pd.DataFrame({"image_id": list("abc"), "x": [1.0, math.nan, math.nan]})
    labels = pd.Series({"a": "Lung Opacity", "b": "Normal", "c": "", "d": "Other"})
    expected = {"a": "unknown", "b": "Normal", "c": "unknown", "d": "Other"}
    assert negative_kinds(truth, labels).to_dict() == expected
