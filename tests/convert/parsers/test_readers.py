from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from convert.parsers.readers import fuse


def table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "reader", "x", "y", "width", "height", "label"])


def test_a_fused_box_is_the_mean_and_counts_distinct_readers():
    boxes = table(
        ("a", "R1", 100, 200, 50, 60, "o"),
        ("a", "R2", 104, 200, 50, 64, "o"),
        ("a", "R2", 106, 202, 50, 62, "o"),
        ("a", "R3", 900, 900, 10, 10, "o"),
        ("a", "R3", 100, 200, 50, 60, "other"),
    )
    found = fuse(boxes, pd.Series({"a": 5}))
    assert found.to_numpy().tolist() == [
        ["a", pytest.approx(103.33), pytest.approx(200.67), 50, 62, "o", 2],
        ["a", 900, 900, 10, 10, "o", 1],
        ["a", 100, 200, 50, 60, "other", 1],
    ]


@pytest.mark.parametrize("scale", [0.1, 1, 30])
def test_scale_and_place_do_not_matter(scale):
    first = table(("a", "R1", 10, 10, 10, 10, "o"), ("a", "R2", 14, 10, 10, 10, "o"))  # IoU 6 / 14 = 0.43
    moved = first.assign(x=(first["x"] - 30) * scale, y=first["y"] * scale, width=10 * scale, height=10 * scale)
    found = fuse(moved, pd.Series({"a": 2}))
    assert found[["x", "y", "width", "height", "readers"]].to_numpy().tolist() == [
        pytest.approx([-18 * scale, 10 * scale, 10 * scale, 10 * scale, 2], abs=0.006)
    ]
    assert len(fuse(moved, pd.Series({"a": 2}), iou=0.45)) == 2


def test_single_readers_boxes_stay_as_they_are():
    rng = np.random.default_rng(0)
    rows = [(f"i{n}", "R1", *rng.integers(0, 2000, 2), *rng.integers(20, 900, 2), "o") for n in range(50)]
    found = fuse(table(*rows), pd.Series({f"i{n}": 1 for n in range(50)})).set_index("image_id")
    for image_id, _, *box, _ in rows:
        assert found.loc[image_id, ["x", "y", "width", "height"]].tolist() == pytest.approx(box, abs=0.011)


def test_nothing_to_fuse():
    assert len(fuse(table(), pd.Series(dtype=int))) == 0
