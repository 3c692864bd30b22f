"""What a conversion prints at its end."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from convert.yolo_set.layout import Tables
from convert.yolo_set.summary import print_summary

RSNA = ["Lung Opacity", "No Lung Opacity / Not Normal", "Normal"]


def tables(labels: list[str], sizes: dict[str, int]) -> Tables:
    """A data set of so many images by split; the labels take turns, and all with "opacity" in it have two boxes."""
    split = np.repeat(list(sizes), list(sizes.values()))
    label = pd.Series(np.resize(np.array(labels, dtype=object), len(split)))
    boxes = label.str.lower().str.contains(r"opacity(?! /)", regex=True).astype("Int64") * 2
    label[split == "challenge"] = None
    boxes[split == "challenge"] = pd.NA
    columns = {"split": split, "label": label, "boxes": boxes, "patient_id": np.arange(len(split)) // 2}
    manifest = pd.DataFrame({**columns, "stored": "passed through", "note": "", "fold": pd.NA})
    return Tables(manifest, pd.DataFrame(), pd.DataFrame())


def cells(line: str) -> list[str]:
    return [cell for cell in re.split(r"\s{2,}|\s*[│┃]\s*", line.strip("│┃ ")) if cell]


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_the_terminal_and_breaks_no_label(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(tables(RSNA, {"train": 21348, "val": 2667, "test": 2670, "challenge": 3000}), 0, RSNA[:1])
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= width
    rows = [cells(line) for line in printed]
    assert ["images", "21,348", "2,667", "2,670", "3,000", "29,685"] in rows
    counts, shares = ["7,116", "889", "890", "8,895"], ["(33.3%)"] * 4
    for label in RSNA:
        if width == 80:
            assert rows[rows.index([label, *counts]) + 1] == shares
        else:
            assert [label, *(f"{count} {share}" for count, share in zip(counts, shares, strict=True))] in rows


def test_of_images_with_several_classes_each_class_is_counted(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_summary(tables(["Mass", "Mass; Opacity", "none"], {"train": 30, "val": 3}), 0, ["Mass", "Opacity"])
    found = {row[0]: row[1:] for line in capsys.readouterr().out.splitlines() if (row := cells(line))}
    assert found["Mass"] == ["20 (66.7%)", "2 (66.7%)", "22 (66.7%)"]
    assert found["Opacity"] == ["10 (33.3%)", "1 (33.3%)", "11 (33.3%)"]
    assert found["none"] == ["10 (33.3%)", "1 (33.3%)", "11 (33.3%)"]


def test_of_very_many_classes_the_most_frequent_are_shown(capsys):
    labels = [f"class{number}" for number in range(30) for _ in range(31 - number)]
    print_summary(tables(labels, {"train": len(labels)}), 0, sorted(set(labels)))
    printed = capsys.readouterr().out
    assert "class19 " in printed
    assert "class20 " not in printed
    assert "10 rarer classes are not shown." in printed


def test_what_negatives_left_is_told(capsys):
    print_summary(tables(["Opacity", "none", "none"], {"train": 30, "val": 3}), 0, ["Opacity"], listed=15)
    said = "With --negatives, train.txt lists 15 of train's 30 images: 10 with boxes and 5 without."
    assert said in " ".join(capsys.readouterr().out.split())


def test_folds_are_told_with_their_sizes(capsys):
    made = tables(RSNA, {"train": 5, "val": 2})
    made.manifest["fold"] = pd.array([0, 1, 0, 1, 0, pd.NA, pd.NA], dtype="Int64")
    print_summary(made, 0, RSNA[:1])
    assert (
        "train is divided into 2 folds of 2 to 3 images (fold0.yaml, ...); val is in none." in capsys.readouterr().out
    )
    print_summary(tables(RSNA, {"train": 5}), 0, RSNA[:1])
    assert "fold" not in capsys.readouterr().out
