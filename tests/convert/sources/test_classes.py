from __future__ import annotations

import pandas as pd
import pytest

from common.errors import UserError
from convert.sources.annotations import Annotations, clean
from convert.sources.classes import choose_classes, from_corners, take

KNOWN = ["Heart", "Opacity", "Mass"]


def test_names_keep_the_sources_order_whatever_is_asked_first():
    chosen = choose_classes(KNOWN, ["mass", "1"], None, "x", {"1": "Heart"})
    assert chosen.names == ["Heart", "Mass"]
    assert chosen.name_of == {"Heart": "Heart", "Mass": "Mass"}
    assert choose_classes(KNOWN, None, "All", "x").name_of == dict.fromkeys(KNOWN, "All")
    with pytest.raises(UserError, match="--classes Lung: not in x, which has Heart, Opacity, Mass"):
        choose_classes(KNOWN, ["Lung", "Mass"], None, "x")
    with pytest.raises(UserError, match="no class to take"):
        choose_classes([], None, None, "x")


def rows(*rows: tuple) -> Annotations:
    table = pd.DataFrame(rows, columns=["image_id", "x", "y", "width", "height", "label", "row"])
    return Annotations.of(image_id=table["image_id"], boxes=table, label=table["label"], row=table["row"])


def test_images_without_a_taken_class_become_negatives():
    raw = rows(
        ("a", 1, 2, 3, 4, "Opacity", 2),
        ("a", 5, 6, 7, 8, "Heart", 3),
        ("b", 1, 2, 3, 4, "Heart", 4),
        ("b", 1, 2, 3, 4, "Heart", 5),
        ("c", "", "", "", "", "", 6),
    )
    cleaned = clean(take(choose_classes(KNOWN, ["Opacity"], "Lung Opacity", "x"), raw, ["a", "d"]), "x.csv")
    assert len(cleaned.rejected) == 0
    table = cleaned.boxes.set_index("image_id")
    assert table["label"].to_dict() == {
        "a": "Lung Opacity", "b": "Other finding", "c": "No finding", "d": "No finding",
    }  # fmt: skip
    assert table.loc["a", ["x", "y", "width", "height"]].tolist() == [1, 2, 3, 4]
    assert table.loc[["b", "c", "d"], "x"].isna().all()


def test_a_row_that_says_there_is_nothing_beside_a_box_is_a_contradiction():
    raw = rows(("a", 1, 2, 3, 4, "Opacity", 2), ("a", "", "", "", "", "", 3))
    cleaned = clean(take(choose_classes(KNOWN, None, None, "x"), raw), "x.csv", several_labels=True)
    assert len(cleaned.boxes) == 0
    assert set(cleaned.rejected["reason"]) == {"image has both a box and a row that says it has none"}


def test_the_same_box_with_two_labels_is_no_duplicate():
    raw = rows(*[("a", 1, 2, 3, 4, label, 2) for label in ("Opacity", "Mass", "Mass")])
    cleaned = clean(take(choose_classes(KNOWN, None, None, "x"), raw), "x.csv", several_labels=True)
    assert cleaned.boxes["label"].tolist() == ["Opacity", "Mass"]
    assert cleaned.rejected["reason"].tolist() == ["duplicate of an earlier row"]


def test_no_rows_at_all():
    assert len(take(choose_classes(KNOWN, None, None, "x"), rows())) == 0


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        (("1", "2", "11", "22"), None),
        (("1", "2", "", "22"), "box is partly empty"),
        (("", "2", "11", "22"), "box is partly empty"),
        (("", "", "11", "22"), "box is partly empty"),
        (("1", "2", "x", "22"), "box has a coordinate that is not a number"),
        (("x", "2", "11", "22"), "box has a coordinate that is not a number"),
        (("11", "2", "1", "22"), "box has no area: -10 x 20"),
        (("", "", "", ""), "marked positive but has no box"),
    ],
)
def test_corners_that_cannot_be_right_are_found(corners, reason):
    table = from_corners(pd.DataFrame([corners], columns=["x_min", "y_min", "x_max", "y_max"]))
    raw = table.assign(image_id="a", label="o", row=2)
    cleaned = clean(Annotations.of(image_id=raw["image_id"], boxes=table, label=raw["label"], row=raw["row"]), "x.csv")
    if reason is None:
        assert cleaned.boxes[["x", "y", "width", "height"]].to_numpy().tolist() == [[1, 2, 10, 20]]
    else:
        assert cleaned.rejected["reason"].iloc[0].startswith(reason)
