"""Sentences of the figures, on tables small enough to count by hand."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from common.pages.data_charts import box_sizes
from convert.exploring import charts


def texts(chart):
    return {"".join(element.itertext()) for element in ElementTree.fromstring(chart.svg).iter("text")}


def numbers(chart):
    """The numbers in a figure's sentence, in their order, however the rest is worded."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", chart.sentence)]


def in_order(chart, *parts):
    """Whether the sentence has all these parts, one after the other."""
    return re.search(".*".join(map(re.escape, parts)), chart.sentence) is not None


def test_class_counts():
    chart = charts.class_counts(pd.Series(["Normal", "Normal", "Normal", "Lung Opacity", None]))
    assert numbers(chart) == [3, 75, 1, 25]
    assert in_order(chart, "3 Normal", "1 Lung Opacity")
    assert {"Normal", "Lung Opacity", "images"} <= texts(chart)
    assert charts.class_counts(pd.Series([None, None], dtype=object)) is None


def test_boxes_per_image():
    chart = charts.boxes_per_image(pd.Series([0, 0, 0, 1, 2, 2, 4, np.nan]))
    # Images with boxes, of all, in percent; the most frequent number and its share; the largest; all boxes.
    assert numbers(chart) == [4, 7, 57, 2, 50, 4, 9]
    assert charts.boxes_per_image(pd.Series([0.0, np.nan])) is None


def test_aspect_ratios_and_areas():
    chart = charts.aspect_ratios(pd.Series([10.0, 20, 30, 10]), pd.Series([20.0, 40, 30, 40]))
    assert numbers(chart)[:2] == [75, 0.5]  # percent higher than wide; median of 0.5, 0.5, 1 and 0.25
    chart = charts.box_areas(pd.Series([0.1, 0.2, 0.3, np.nan]))
    assert numbers(chart) == [20, 12, 28, 30]  # percent: median, tenth and ninetieth percentile, largest
    assert "one in ten less than 0.1\xa0%," in charts.box_areas(pd.Series([1e-5, 1e-4, 0.2, 0.3])).sentence
    assert charts.box_areas(pd.Series([np.nan])) is None
    assert charts.aspect_ratios(pd.Series(dtype=float), pd.Series(dtype=float)) is None


def test_aspect_ratios_of_a_table_that_has_images_without_boxes():
    """As in RSNA's own CSV: what is missing, or has no area, has no shape."""
    widths = pd.Series([10.0, np.nan, 20, 30, np.nan, 10, 0, 5])
    heights = pd.Series([20.0, np.nan, 40, 30, np.nan, 40, 7, 0])
    chart = charts.aspect_ratios(widths, heights)
    assert chart.sentence == charts.aspect_ratios(*(sizes[[0, 2, 3, 5]] for sizes in (widths, heights))).sentence
    assert numbers(chart)[:2] == [75, 0.5]
    assert charts.aspect_ratios(pd.Series([np.nan, 0]), pd.Series([np.nan, 3])) is None


def test_box_sizes_of_such_a_table():
    sizes = pd.Series([10.0, np.nan, 20, 30])
    assert box_sizes(sizes, sizes, "pixels").sentence == box_sizes(sizes.dropna(), sizes.dropna(), "pixels").sentence


def test_a_notebook_shows_a_chart_and_what_it_says():
    chart = charts.class_counts(pd.Series(["a < b", "Normal", "Normal"]))
    shown = chart._repr_html_()
    root = ElementTree.fromstring(shown.replace("<br>", "<br/>").replace("\xa0", " "))
    svg = root.find("{http://www.w3.org/2000/svg}svg")
    assert float(svg.get("width")) > 300
    assert "var(--" not in shown  # a notebook does not know the page's colours
    assert root.find("figcaption").text == chart.sentence.replace("\xa0", " ")
    assert root.find("strong").text == "Images of each class"


def test_ages_by_class():
    ages = pd.Series([20, 40, 60, 30, 151, 148, np.nan])
    labels = pd.Series(["Lung Opacity"] * 3 + ["Normal"] * 4)
    chart = charts.ages_by_class(ages, labels)
    assert numbers(chart) == [40, 30, 2, 148, 151, 1]  # medians; how many are impossible, and which; unknown ones
    assert in_order(chart, "40 for Lung Opacity", "30 for Normal", "impossible", "not known")
    assert charts.ages_by_class(ages * np.nan, labels) is None


def test_values_by_class():
    views = pd.Series(["AP", "AP", "AP", "PA", "PA", "PA", "AP", None])
    labels = pd.Series(["Lung Opacity"] * 4 + ["Normal"] * 4)
    chart = charts.values_by_class("view", "View", views, labels)
    assert numbers(chart) == [75, 33, 1]  # 3 of 4, 1 of 3; one is unknown
    assert in_order(chart, "AP", "Lung Opacity", "Normal", "A model can learn the class from this")
    same = charts.values_by_class("view", "View", pd.Series(["AP", "PA"] * 4), labels)
    assert numbers(same) == [50, 50]
    assert "A model can learn" not in same.sentence
    assert charts.values_by_class("sex", "Sex", pd.Series([None] * 8), labels) is None


def test_pixel_spacings():
    chart = charts.pixel_spacings(pd.Series([0.1, 0.1, 0.2, np.nan]))
    # How many values, from, to; the most frequent ones with their share in percent; largest over smallest.
    assert numbers(chart) == [2, 0.1, 0.2, 0.1, 67, 0.2, 33, 2]
    assert charts.pixel_spacings(pd.Series([np.nan])) is None


def test_intensities():
    histograms = np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [0.5, 0, 0, 0.5]])
    chart = charts.intensities(histograms, ["Normal", "Lung Opacity", None])
    # Means of classes; percent black in the median picture; what black is; pictures with more than a quarter of it.
    assert numbers(chart) == [224, 32, 50, 64, 2]
    assert in_order(chart, "224 for Lung Opacity", "32 for Normal")
    assert "for all" in charts.intensities(histograms, [None] * 3).sentence
    assert charts.intensities(np.empty((0, 4)), []) is None


def test_images_per_patient():
    chart = charts.images_per_patient(pd.Series(["a"] * 7 + ["b", "b", "c", None]))
    # Images, patients; patients with several, their most, their images, in percent.
    assert numbers(chart) == [10, 3, 2, 7, 9, 90]
    assert {"1", "2", "6–10"} <= texts(chart)
    assert "21+" not in texts(chart)
    assert charts.images_per_patient(pd.Series([None], dtype=object)) is None


def test_an_image_of_several_classes_counts_in_each():
    """Three images, of A and B, A, and none; a class of its own for `A; B` would hide the first."""
    labels = pd.Series(["A", "B", "A", "none"], index=["x", "x", "y", "z"])
    chart = charts.class_counts(labels)
    # Images and percent of them, by class; those of several.
    assert numbers(chart) == [2, 67, 1, 33, 1, 33, 1, 3]
    assert in_order(chart, "2 A", "1 B", "1 of 3 images have several")
    ages = pd.Series([150.0, 150, 40, np.nan], index=labels.index)
    assert in_order(charts.ages_by_class(ages, labels), "40 for A", "1 age is impossible", "The age of 1 images")
    views = pd.Series([None, None, "PA", "PA"], index=labels.index, dtype=object)
    assert "Of 1 images it is not known" in charts.values_by_class("view", "View", views, labels).sentence
    chart = charts.intensities(np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [0.5, 0, 0, 0.5]]), [["A", "B"], ["A"], None])
    assert in_order(chart, "128 for A", "32 for B", "2 pictures are black")
