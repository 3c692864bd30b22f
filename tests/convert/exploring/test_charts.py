"""Sentences of the figures, on tables small enough to count by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd

from convert.exploring import charts


def texts(chart):
    return {"".join(element.itertext()) for element in ElementTree.fromstring(chart.svg).iter("text")}


def test_class_counts():
    chart = charts.class_counts(pd.Series(["Normal", "Normal", "Normal", "Lung Opacity", None]))
    assert chart.sentence == "3 Normal (75\xa0%) and 1 Lung Opacity (25\xa0%)."
    assert {"Normal", "Lung Opacity", "images"} <= texts(chart)
    assert charts.class_counts(pd.Series([None, None], dtype=object)) is None


def test_boxes_per_image():
    chart = charts.boxes_per_image(pd.Series([0, 0, 0, 1, 2, 2, 4, np.nan]))
    assert (
        chart.sentence
        == "4 of 7 images (57\xa0%) have boxes, mostly 2 (50\xa0% of them) and at most 4; 9 boxes in all."
    )
    assert charts.boxes_per_image(pd.Series([0.0, np.nan])) is None


def test_aspect_ratios_and_areas():
    chart = charts.aspect_ratios(pd.Series([10.0, 20, 30, 10]), pd.Series([20.0, 40, 30, 40]))
    assert chart.sentence.startswith(
        "75\xa0% of the boxes are higher than wide; the median box is 0.50 times as wide as high"
    )
    chart = charts.box_areas(pd.Series([0.1, 0.2, 0.3, np.nan]))
    assert "The median box covers 20\xa0% of the picture" in chart.sentence
    assert "the largest 30\xa0%" in chart.sentence
    assert charts.box_areas(pd.Series([np.nan])) is None
    assert charts.aspect_ratios(pd.Series(dtype=float), pd.Series(dtype=float)) is None


def test_ages_by_class():
    ages = pd.Series([20, 40, 60, 30, 151, 148, np.nan])
    labels = pd.Series(["Lung Opacity"] * 3 + ["Normal"] * 4)
    chart = charts.ages_by_class(ages, labels)
    assert chart.sentence == (
        "The median age is 40 for Lung Opacity and 30 for Normal. 2 ages are impossible (148 and 151 years), surely "
        "typing errors, and not drawn. The age of 1 images is not known."
    )
    assert charts.ages_by_class(ages * np.nan, labels) is None


def test_values_by_class():
    views = pd.Series(["AP", "AP", "AP", "PA", "PA", "PA", "AP", None])
    labels = pd.Series(["Lung Opacity"] * 4 + ["Normal"] * 4)
    chart = charts.values_by_class("view", "View", views, labels)
    assert chart.sentence == (
        "AP: 75\xa0% of Lung Opacity and 33\xa0% of Normal. A model can learn the class from this, without looking at "
        "the lungs. Of 1 images it is not known."
    )
    same = charts.values_by_class("view", "View", pd.Series(["AP", "PA"] * 4), labels)
    assert same.sentence == "AP: 50\xa0% of Lung Opacity and 50\xa0% of Normal."
    assert charts.values_by_class("sex", "Sex", pd.Series([None] * 8), labels) is None


def test_pixel_spacings():
    chart = charts.pixel_spacings(pd.Series([0.1, 0.1, 0.2, np.nan]))
    assert chart.sentence == (
        "2 values from 0.100 to 0.200 mm; most often 0.1 mm (67\xa0%) and 0.2 mm (33\xa0%). The same lung is up to "
        "2.00 times as large in one picture as in another for this."
    )
    assert charts.pixel_spacings(pd.Series([np.nan])) is None


def test_intensities():
    histograms = np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [0.5, 0, 0, 0.5]])
    chart = charts.intensities(histograms, ["Normal", "Lung Opacity", None])
    assert chart.sentence == (
        "The mean grey value is 224 for Lung Opacity and 32 for Normal. In the median picture 50\xa0% of the pixels "
        "are black (below 64); 2 pictures are black in more than a quarter."
    )
    assert "for all" in charts.intensities(histograms, [None] * 3).sentence
    assert charts.intensities(np.empty((0, 4)), []) is None


def test_images_per_patient():
    chart = charts.images_per_patient(pd.Series(["a"] * 7 + ["b", "b", "c", None]))
    assert chart.sentence == (
        "10 images are of 3 patients; 2 patients have several, up to 7, and 9 images (90\xa0%) are of such a patient."
    )
    assert {"1", "2", "6–10"} <= texts(chart)
    assert "21+" not in texts(chart)
    assert charts.images_per_patient(pd.Series([None], dtype=object)) is None
