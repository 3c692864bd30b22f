from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.errors
import pytest

from convert.sources.boxes import clean, clip, is_image_id, schema, to_yolo

OPACITY, NORMAL = "Lung Opacity", "Normal"


def raw(*rows: tuple) -> pd.DataFrame:
    """Rows of (image_id, x, y, width, height, label[, objection]); positive when the label is the opacity's."""
    table = pd.DataFrame([(*row, "") if len(row) == 6 else row for row in rows])
    table.columns = ["image_id", "x", "y", "width", "height", "label", "objection"]
    table["positive"] = table["label"] == OPACITY
    table["row"] = range(2, len(table) + 2)
    return table


def cleaned(*rows: tuple) -> tuple[list[tuple], dict[int, str]]:
    """The kept boxes as tuples, and the reason by line number."""
    result = clean(raw(*rows), "labels.csv")
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


@pytest.mark.parametrize("bad", ["../x", "a/b", "a\\b", ".hidden", "..", "", " ", "a b", "x" * 129, "ü", "a\n", "-\0"])
def test_ids_that_are_no_file_names(bad):
    assert not is_image_id(bad)
    kept, rejected = cleaned((bad.rstrip("\n") + "/", 1, 2, 3, 4, OPACITY), ("ok", 1, 2, 3, 4, OPACITY))
    assert [row[0] for row in kept] == ["ok"]
    assert list(rejected) == [2]


@pytest.mark.parametrize("good", ["0004cfab-14fd-4e49-80ba-63a80b6bddd6", "a", "00000001_000", "x.y", "-a", "x" * 128])
def test_ids_that_are_file_names(good):
    assert is_image_id(good)


def test_every_row_is_kept_or_rejected_exactly_once():
    rng = np.random.default_rng(0)
    values = ["", "1", "-1", "0", "x", "30"]
    rows = [
        (f"i{rng.integers(40)}", *rng.choice(values, 4), str(rng.choice([OPACITY, NORMAL, ""]))) for _ in range(400)
    ]
    result = clean(raw(*rows), "labels.csv")
    assert len(result.boxes) + len(result.rejected) == len(rows)
    assert result.rejected["row"].is_unique
    assert (result.rejected["reason"] != "").all()


def test_empty_table():
    empty = raw(("a", 1, 2, 3, 4, OPACITY)).iloc[:0]
    result = clean(empty, "labels.csv")
    assert len(result.boxes) == len(result.rejected) == 0


def test_schema_refuses_two_rows_of_an_image_without_boxes():
    table = clean(raw(("a", "", "", "", "", NORMAL)), "x").boxes
    with pytest.raises(pandera.errors.SchemaError, match="exactly one row"):
        schema().validate(pd.concat([table, table], ignore_index=True))


def test_schema_refuses_half_a_box():
    table = clean(raw(("a", 1, 2, 3, 4, OPACITY)), "x").boxes
    table.loc[0, "x"] = np.nan
    with pytest.raises(pandera.errors.SchemaError, match="all or no coordinates"):
        schema().validate(table)


def test_clip_by_hand():
    boxes = np.array(
        [
            [0, 0, 100, 50],  # exactly the picture
            [-10, -5, 30, 20],  # over the upper left corner
            [90.5, 40, 20, 20],  # over the lower right corner
            [100, 10, 5, 5],  # touches the right edge from outside
            [-20, -20, 5, 5],  # far outside
        ]
    )
    clipped, cut, outside = clip(boxes, width=100, height=50)
    assert clipped[:3].tolist() == [[0, 0, 100, 50], [0, 0, 20, 15], [90.5, 40, 9.5, 10]]
    assert cut.tolist() == [False, True, True, False, False]
    assert outside.tolist() == [False, False, False, True, True]


def test_clip_does_not_touch_boxes_inside():
    rng = np.random.default_rng(1)
    boxes = rng.uniform(0, 50, (1000, 4))
    clipped, cut, outside = clip(boxes, 100, 100)
    assert not cut.any()
    assert not outside.any()
    assert (clipped == boxes).all()  # to the last bit


def test_clip_takes_no_boxes():
    clipped, cut, outside = clip(np.empty((0, 4)), 10, 10)
    assert clipped.shape == (0, 4)
    assert cut.shape == outside.shape == (0,)


def test_to_yolo_by_hand_on_a_picture_that_is_not_square():
    text = to_yolo(np.array([[10.0, 20, 30, 40], [0, 0, 200, 100]]), [0, 2], width=200, height=100)
    assert text == "0 0.125000 0.400000 0.150000 0.400000\n2 0.500000 0.500000 1.000000 1.000000\n"
    assert to_yolo(np.empty((0, 4)), [], 10, 10) == ""
