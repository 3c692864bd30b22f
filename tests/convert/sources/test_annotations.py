"""Rows of a source's table, judged: what is kept, what is rejected, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from convert.sources.annotations import Annotations, clean, spread

OPACITY, NORMAL = "Lung Opacity", "Normal"


def annotations(*rows: tuple) -> Annotations:
    """Rows of (image_id, x, y, width, height, label[, objection]); positive when the label is the opacity's."""
    columns = ["image_id", "x", "y", "width", "height", "label", "objection"]
    table = pd.DataFrame([(*row, "") if len(row) == 6 else row for row in rows], columns=columns)
    return Annotations.of(
        image_id=table["image_id"],
        boxes=table[["x", "y", "width", "height"]],
        label=table["label"],
        row=pd.Series(range(2, len(table) + 2)),
        positive=table["label"] == OPACITY,
        objection=table["objection"],
    )


def cleaned(*rows: tuple) -> tuple[list[tuple], dict[int, str]]:
    """The kept boxes as tuples, and the reason by line number."""
    result = clean(annotations(*rows), "labels.csv")
    assert (result.rejected["source"] == "labels.csv").all()
    kept = [tuple(row) for row in result.boxes.drop(columns="label").itertuples(index=False)]
    return kept, dict(zip(result.rejected["row"], result.rejected["reason"], strict=True))


def test_good_rows_stay_as_they_are_and_in_order():
    kept, rejected = cleaned(
        ("b", "264.0", "152.0", "213.0", "379.0", OPACITY),
        ("b", "562.0", "152.0", "256.0", "453.0", OPACITY),
        ("a", "", "", "", "", NORMAL),
    )
    assert kept[:2] == [("b", 264, 152, 213, 379), ("b", 562, 152, 256, 453)]
    assert kept[2][0] == "a"
    assert np.isnan(kept[2][1:]).all()
    assert rejected == {}


@pytest.mark.parametrize("missing", ["", None, float("nan"), "NaN", " ", "NA"])
def test_every_spelling_of_missing_is_a_negative(missing):
    kept, rejected = cleaned(("a", missing, missing, missing, missing, NORMAL))
    assert len(kept) == 1
    assert rejected == {}


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (("1", "2", "3", ""), "partly empty"),
        (("", "2", "", ""), "partly empty"),
        (("1", "2", "0", "5"), "no area: 0 x 5 pixels"),
        (("1", "2", "5", "-4"), "no area: 5 x -4 pixels"),
        (("1", "two", "3", "4"), "not a number"),
        (("1", "inf", "3", "4"), "not a number"),
    ],
)
def test_bad_box_rejects_its_row_and_leaves_the_images_other_box(box, reason):
    kept, rejected = cleaned(("a", *box, OPACITY), ("a", 1, 2, 3, 4, OPACITY))
    assert kept == [("a", 1, 2, 3, 4)]
    assert list(rejected) == [2]
    assert reason in rejected[2]


def test_image_whose_only_box_is_bad_never_becomes_a_negative():
    kept, rejected = cleaned(("a", 1, 2, 0, 4, OPACITY), ("b", "", "", "", "", OPACITY), ("c", 1, 1, 1, 1, OPACITY))
    assert kept == [("c", 1, 1, 1, 1)]
    assert "no area" in rejected[2]
    assert rejected[3] == "marked positive but has no box"


def test_contradictions_reject_the_whole_image():
    kept, rejected = cleaned(
        ("negative-with-box", 1, 2, 3, 4, NORMAL),
        ("two-labels", 1, 2, 3, 4, OPACITY),
        ("two-labels", "", "", "", "", NORMAL),
        ("box-and-none", 1, 2, 3, 4, OPACITY),
        ("box-and-none", "", "", "", "", OPACITY),
        ("objected", 1, 2, 3, 4, OPACITY, "has two classes"),
        ("fine", 1, 2, 3, 4, OPACITY),
    )
    assert [row[0] for row in kept] == ["fine"]
    assert rejected[2] == "marked negative but has a box"
    assert rejected[3] == rejected[4] == "image has two labels"
    assert rejected[5] == rejected[6] == "image has both a box and a row that says it has none"
    assert rejected[7] == "image has two classes"


def test_negative_image_with_one_row_too_many_is_rejected_whole():
    kept, rejected = cleaned(("a", 1, 2, 3, 4, NORMAL), ("a", 5, 6, 7, 8, NORMAL))
    assert kept == []
    assert set(rejected) == {2, 3}


def test_duplicate_rows_are_kept_once():
    kept, rejected = cleaned(
        ("a", 1, 2, 3, 4, OPACITY),
        ("a", "1.0", 2, 3, 4, OPACITY),
        ("b", "", "", "", "", NORMAL),
        ("b", "", "", "", "", NORMAL),
    )
    assert [row[0] for row in kept] == ["a", "b"]
    assert rejected == {3: "duplicate of an earlier row", 5: "duplicate of an earlier row"}


@pytest.mark.parametrize("bad", ["../x", "a/b", ".hidden", "", " ", "a b", "x" * 129, "\u00fc"])
def test_a_row_whose_id_is_no_file_name_is_rejected(bad):
    kept, rejected = cleaned((bad, 1, 2, 3, 4, OPACITY), ("ok", 1, 2, 3, 4, OPACITY))
    assert [row[0] for row in kept] == ["ok"]
    assert list(rejected) == [2]


def test_every_row_is_kept_or_rejected_exactly_once():
    rng = np.random.default_rng(0)
    values = ["", "1", "-1", "0", "x", "30"]
    rows = [
        (f"i{rng.integers(40)}", *rng.choice(values, 4), str(rng.choice([OPACITY, NORMAL, ""]))) for _ in range(400)
    ]
    result = clean(annotations(*rows), "labels.csv")
    assert len(result.boxes) + len(result.rejected) == len(rows)
    assert result.rejected["row"].is_unique
    assert (result.rejected["reason"] != "").all()


def test_empty_table():
    result = clean(annotations(), "labels.csv")
    assert len(result.boxes) == len(result.rejected) == 0


def test_no_column_can_be_forgotten_or_be_of_another_index():
    table = annotations(("a", 1, 2, 3, 4, OPACITY)).table
    for column in table.columns:
        with pytest.raises(ValueError, match="columns are"):
            Annotations(table.drop(columns=column))
    with pytest.raises(ValueError, match="dtype int64, expected bool"):
        Annotations(table.assign(positive=1))
    with pytest.raises(ValueError, match="an objection or a note is missing"):
        Annotations(table.assign(objection=None))
    with pytest.raises(ValueError, match="label, positive: another index"):
        Annotations.of(
            image_id=table["image_id"], boxes=table, label=table["label"].rename(index={0: 1}), row=table["row"]
        )
    with pytest.raises(TypeError):
        Annotations.of(image_id=table["image_id"], boxes=table, label=table["label"])


def test_without_being_told_what_has_a_label_is_positive():
    table = annotations(*[("a", 1, 2, 3, 4, label) for label in ("Heart", "", None)]).table
    found = Annotations.of(image_id=table["image_id"], boxes=table, label=table["label"], row=table["row"])
    assert found.table["positive"].tolist() == [True, False, False]


def test_the_first_objection_speaks_against_all_rows_of_its_image():
    objections, images = pd.Series(["", "first", "second", "", ""]), pd.Series(["a", "a", "a", "b", None])
    assert spread(objections, images).tolist() == ["first", "first", "first", "", ""]


@pytest.mark.parametrize(
    "value", [[4], {"x": 4}, 10**400, True, -(10**400), float("inf"), "4e999", (4,)], ids=lambda value: repr(value)[:9]
)
def test_a_coordinate_may_be_anything_and_is_a_reason_at_most(value):
    kept, rejected = cleaned(("a", 1, 2, 3, value, OPACITY), ("a", 1, 2, 3, 4, OPACITY))
    assert kept == [("a", 1, 2, 3, 4)]
    assert rejected == {2: "box has a coordinate that is not a number"}
