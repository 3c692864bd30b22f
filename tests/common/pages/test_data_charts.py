"""Figures of the data, on tables small enough to count by hand."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd

from common.pages.data_charts import (
    ages,
    box_heatmap,
    box_sizes,
    class_shares,
    draw_data,
    filled_column,
    relative_boxes,
    split_rows,
)


def texts(chart):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(chart.svg).iter("text")]


def boxes(*rows):
    return pd.DataFrame(rows, columns=["image_id", "x", "y", "width", "height"])


def manifest():
    return pd.DataFrame(
        {
            "split": ["train", "train", "test", "challenge"], "patient_id": ["p", "p", "q", "r"],
            "label": ["Normal", "Lung Opacity", "Lung Opacity", ""], "boxes": [0, 2, 1, np.nan],
            "width": [100, 100, 200, 100], "height": [100, 100, 400, 100], "age": [30, 50, 151, np.nan],
        },
        index=pd.Index(["a", "b", "c", "d"], name="image_id"),
    )  # fmt: skip


def test_split_rows():
    rows = split_rows(manifest())
    assert rows[0] == {"name": "train", "images": 2, "patients": 1, "positive": 1, "boxes": 2}
    assert rows[1] == {"name": "test", "images": 1, "patients": 1, "positive": 1, "boxes": 1}
    assert rows[2] == {"name": "challenge", "images": 1, "patients": 1, "positive": None, "boxes": None}
    assert split_rows(None) == split_rows(manifest().drop(columns="split")) == []
    assert split_rows(manifest()[["split"]])[0] == {
        "name": "train", "images": 2, "patients": None, "positive": None, "boxes": None,
    }  # fmt: skip


def test_filled_column():
    table = pd.DataFrame({"full": ["a", ""], "empty": ["", ""]})
    assert filled_column(table, "full").tolist()[0] == "a"
    assert filled_column(table, "full").isna().tolist() == [False, True]
    assert filled_column(table, "empty") is None
    assert filled_column(table, "absent") is None
    assert filled_column(None, "full") is None


def test_class_shares():
    shares = pd.DataFrame({"Lung Opacity": [1, 0], "Normal": [3, 5]}, index=["train", "test"])
    chart = class_shares(shares)
    assert chart.sentence == "Lung Opacity: 25\xa0% of train and 0\xa0% of test."
    assert {"train", "test", "Lung Opacity", "Normal"} <= set(texts(chart))


def test_heatmap_is_brightest_where_most_images_have_a_box():
    # Two boxes of one image over each other count once; the right half is covered on one image of two.
    chart = box_heatmap(boxes(("a", 0, 0, 1, 1), ("a", 0, 0, 1, 1), ("b", 0, 0, 0.5, 1), ("b", 0, 0.5, 0.25, 0.25)))
    assert "in 100\xa0% of 2 images with boxes" in chart.sentence
    assert "50\xa0% of the boxes have their centre in the picture's left half" in chart.sentence
    images = [element.get("href") for element in ElementTree.fromstring(chart.svg).iter("image")]
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), 1) for uri in images]
    picture = max(pictures, key=lambda one: one.shape[1])
    height, width = picture.shape[:2]
    left, right = picture[height // 2, width // 4].astype(int), picture[height // 2, 3 * width // 4].astype(int)
    assert left.sum() > right.sum() + 100


def test_heatmap_says_where():
    chart = box_heatmap(boxes(("a", 0.5, 0.25, 0.02, 0.02), ("b", 0.5, 0.25, 0.02, 0.02)))
    assert (
        "51\xa0% across and 26\xa0% down" in chart.sentence
    )  # the first cell's centre: (24 + 1/2) / 48, (12 + 1/2) / 48
    assert "; 0\xa0% of the boxes" in chart.sentence


def test_box_sizes():
    chart = box_sizes(pd.Series([100.0, 200, 300]), pd.Series([50.0, 150, 250]), "pixels")
    assert "median box is 200 wide and 150 high (pixels)" in chart.sentence
    assert "narrower than 120 and one in ten is wider than 280" in chart.sentence
    assert "pixels of the original image" in texts(chart)


def test_ages():
    chart = ages(pd.Series([20.0, 40, 60, 151, 148, np.nan]), pd.Series([True, False, True, False, False, True]))
    assert "median age is 40 years; half of the images are of patients of 30 to 50." in chart.sentence
    assert "2 above 120 years" in chart.sentence
    assert "The age of 1 image is not known" in chart.sentence
    assert "age in years" in texts(chart)
    assert ages(pd.Series([np.nan, 151]), pd.Series([True, False])) is None


def test_draw_data_draws_what_it_can():
    truth = {
        "val": boxes(("b", 10.0, 10.0, 20.0, 30.0), ("b", 50.0, 50.0, 20.0, 30.0)),
        "test": boxes(("c", 100.0, 100.0, 20.0, 40.0), ("e", np.nan, np.nan, np.nan, np.nan)),
    }
    charts = {chart.name: chart for chart in draw_data(truth, manifest())}
    assert list(charts) == ["classes", "sizes", "heatmap", "ages"]
    assert "Lung Opacity: 50\xa0% of train and 100\xa0% of test" in charts["classes"].sentence
    assert "median box is 20 wide and 30 high" in charts["sizes"].sentence
    assert "of 2 images with boxes; 33\xa0% of the boxes" in charts["heatmap"].sentence
    assert [chart.name for chart in draw_data(truth, None)] == ["sizes"]
    assert [chart.name for chart in draw_data(truth, manifest()[["age"]])] == ["sizes", "ages"]
    assert draw_data({}, None) == []
    empty = {"test": boxes(("e", np.nan, np.nan, np.nan, np.nan))}
    assert [chart.name for chart in draw_data(empty, manifest())] == ["classes", "ages"]


def test_relative_boxes():
    images = pd.DataFrame({"width": [100, np.nan], "height": [400, 100]}, index=["a", "b"])
    found = relative_boxes(boxes(("a", 10, 20, 50, 100), ("b", 1, 1, 1, 1), ("c", 1, 1, 1, 1)), images)
    assert found.to_numpy().tolist() == [["a", 0.1, 0.05, 0.5, 0.25]]
