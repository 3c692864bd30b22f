from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.tables import make_predictions
from evaluate.postprocess.fusion import fuse

SIZES = {"a": (200.0, 100.0), "b": (100.0, 100.0)}


def table(*rows):
    ids = [row[0] for row in rows]
    return make_predictions(ids, np.array([row[1:] for row in rows], dtype=float).reshape(-1, 5))


def found(fused: pd.DataFrame) -> list[list[float]]:
    return fused[["confidence", "x", "y", "width", "height"]].to_numpy().tolist()


def test_two_detectors_that_agree_by_hand():
    first = table(("a", 0.8, 20, 10, 40, 40))
    second = table(("a", 0.4, 26, 10, 40, 40))
    fused = fuse([first, second], [{"a"}, {"a"}], SIZES)
    # Corners weighted 2:1: x from 22 to 62; confidence the average.
    assert found(fused) == [pytest.approx([0.6, 22, 10, 40, 40], abs=0.01)]


def test_a_box_that_only_one_of_those_who_looked_has_found_loses_confidence():
    first, nothing = table(("a", 0.8, 20, 10, 40, 40)), table()
    assert fuse([first, nothing], [{"a"}, {"a"}], SIZES)["confidence"].tolist() == pytest.approx([0.4])
    # The second detector has not looked at the image, so it has no vote.
    assert fuse([first, nothing], [{"a"}, {"b"}], SIZES)["confidence"].tolist() == pytest.approx([0.8])


def test_a_detector_has_one_vote_in_a_result_however_many_boxes_it_has_there():
    # Each overlaps the fused box by more than the IoU of 0.4; apart from the second detector, which found nothing.
    twice, nothing = table(("b", 0.8, 0, 0, 40, 40), ("b", 0.8, 10, 0, 40, 40)), table()
    assert found(fuse([twice, nothing], [{"b"}, {"b"}], SIZES)) == [pytest.approx([0.4, 5, 0, 40, 40], abs=0.01)]
    once = table(("b", 0.2, 5, 0, 40, 40))
    # The mean of the three boxes, as all who looked have one.
    assert fuse([twice, once], [{"b"}, {"b"}], SIZES)["confidence"].tolist() == pytest.approx([0.6])
    assert fuse([twice], [{"b"}], SIZES)["confidence"].tolist() == pytest.approx([0.8])


def test_boxes_apart_stay_apart_and_images_do_not_mix():
    first = table(("a", 0.8, 0, 0, 40, 40), ("a", 0.6, 100, 0, 40, 40), ("b", 0.5, 0, 0, 40, 40))
    fused = fuse([first], [{"a", "b"}], SIZES)
    pd.testing.assert_frame_equal(fused, first)


@pytest.mark.parametrize(("shift", "boxes"), [(16, 1), (18, 2)])  # IoU 24/56 = 0.43 and 22/58 = 0.38
def test_the_iou_decides_what_is_one_box(shift, boxes):
    first, second = table(("b", 0.5, 0, 0, 40, 40)), table(("b", 0.5, shift, 0, 40, 40))
    assert len(fuse([first, second], [{"b"}, {"b"}], SIZES)) == boxes


def test_boxes_are_clipped_to_their_image_and_those_outside_dropped():
    first = table(("b", 0.5, -10, 80, 40, 40), ("b", 0.4, 100, 10, 20, 20))
    assert found(fuse([first], [{"b"}], SIZES)) == [pytest.approx([0.5, 0, 80, 30, 20])]


def test_nothing_from_nothing_and_from_little():
    assert fuse([table()], [{"a"}], SIZES).empty
    assert fuse([table(("a", 0.005, 0, 0, 9, 9))], [{"a"}], SIZES).empty
    assert len(fuse([table(("a", 0.005, 0, 0, 9, 9))], [{"a"}], SIZES, least=0.001)) == 1


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected as many"):
        fuse([table()], [], SIZES)
    with pytest.raises(ValueError, match="image a, which is not among"):
        fuse([table(("a", 0.5, 0, 0, 9, 9))], [{"b"}], SIZES)
