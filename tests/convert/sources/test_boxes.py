from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from convert.sources.boxes import check_boxes, clip, is_image_id, to_yolo

TABLE = pd.DataFrame(
    [("a", 1.0, 2.0, 3.0, 4.0, "Opacity"), ("a", 5.0, -6.0, 7.0, 8.0, "Mass"), ("b", *[np.nan] * 4, "Normal")],
    columns=["image_id", "x", "y", "width", "height", "label"],
)


@pytest.mark.parametrize("bad", ["../x", "a/b", "a\\b", ".hidden", "..", "", " ", "a b", "x" * 129, "ü", "a\n", "-\0"])
def test_ids_that_are_no_file_names(bad):
    assert not is_image_id(bad)


@pytest.mark.parametrize("good", ["0004cfab-14fd-4e49-80ba-63a80b6bddd6", "a", "00000001_000", "x.y", "-a", "x" * 128])
def test_ids_that_are_file_names(good):
    assert is_image_id(good)


def test_a_valid_table_is_given_back():
    for table in (TABLE, TABLE.assign(readers=[1, 2, 3]), TABLE.iloc[:0], TABLE.astype({"image_id": object})):
        assert check_boxes(table) is table


def put(column: str, value: object, row: int = 0) -> pd.DataFrame:
    table = TABLE.astype({"image_id": object, "label": object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (TABLE.drop(columns="label"), "the columns"),
        (TABLE.assign(more=1), "the columns"),
        (TABLE[["label", *TABLE.columns[:-1]]], "the columns"),
        (TABLE.assign(readers=1)[["readers", *TABLE.columns]], "the columns"),
        (put("image_id", None), "ids and labels that are text"),
        (put("image_id", 7), "ids and labels that are text"),
        (put("label", np.nan), "ids and labels that are text"),
        (put("image_id", "../a"), "plain names"),
        (put("image_id", ""), "plain names"),
        (put("image_id", "a\n"), "plain names"),
        (TABLE.astype({"x": object}), "dtype float64"),
        (TABLE.astype({"x": "float32"}), "dtype float64"),
        (TABLE.iloc[:1].astype({"width": int}), "dtype float64"),
        (TABLE.assign(y="1"), "dtype float64"),
        (put("x", np.nan), "all or no coordinates"),
        (put("height", 1.0, 2), "all or no coordinates"),
        (put("width", 0.0), "sizes above zero"),
        (put("height", -1.0, 1), "sizes above zero"),
        (pd.concat([TABLE, TABLE.iloc[2:]]), "exactly one row"),
        (put("image_id", "b", 0), "exactly one row"),
        (TABLE.assign(readers=[1, 2, 0]), "readers from 1"),
        (TABLE.assign(readers=1.0), "readers from 1, of dtype int64"),
    ],
)
def test_a_table_that_is_none_is_refused(table, expected):
    with pytest.raises(ValueError, match=f"no boxes table: expected .*{expected}"):
        check_boxes(table)


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
