"""Predictions in a frame that is not the original images': refused or warned of, without false alarms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import Split
from common.data.tables import make_predictions, write_predictions
from common.errors import UserError
from evaluate.scoring.frame import check_frame
from tests.evaluate.scores import QUICK, invented, run

SIDE = 1024


def detections(seed: int, boxes: int = 300) -> np.ndarray:
    """Boxes as a detector of opacities gives them: in both lungs, clipped to the picture, some at its edges."""
    random = np.random.default_rng(seed)
    width, height = random.uniform(60, 320, boxes), random.uniform(60, 450, boxes)
    centre = np.where(random.random(boxes) < 0.5, 300, 720) + random.normal(0, 70, boxes)
    start = np.column_stack([centre - width / 2, random.uniform(-40, 700, boxes)])
    end = np.minimum(start + np.column_stack([width, height]), SIDE)
    start = np.maximum(start, 0)
    return np.column_stack([start, end - start])


def make_split(truth_xywh: np.ndarray, images: int = 100, side: float = SIDE) -> Split:
    ids = [f"i{number:03}" for number in range(images)]
    truth = pd.DataFrame(truth_xywh, columns=["x", "y", "width", "height"])
    truth.insert(0, "image_id", [ids[number % images] for number in range(len(truth))])
    manifest = pd.DataFrame({"image_id": ids, "width": side, "height": side})
    return Split("test", {}, truth.assign(label="Lung Opacity"), manifest, has_patients=True)


def table(xywh: np.ndarray) -> pd.DataFrame:
    ids = [f"i{number % 100:03}" for number in range(len(xywh))]
    return make_predictions(ids, np.column_stack([np.full(len(xywh), 0.5), xywh]))


SPLIT = make_split(detections(seed=1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("boxes", [1, 3, 20, 300])
def test_a_detectors_boxes_are_let_through(seed, boxes, capsys):
    check_frame("p.csv", table(detections(seed, boxes)), [SPLIT])
    assert capsys.readouterr().err == ""


def test_boxes_of_a_detector_that_does_not_clip_are_let_through(capsys):
    boxes = detections(seed=3)
    boxes[:, :2] -= 12
    boxes[:, 2:] += 24  # those at the edges now leave the picture by 12 pixels
    check_frame("p.csv", table(boxes), [SPLIT])
    assert capsys.readouterr().err == ""


def test_boxes_in_one_corner_are_let_through_where_the_truth_is_there_too(capsys):
    boxes = detections(seed=3) * 0.5
    check_frame("p.csv", table(boxes), [make_split(detections(seed=4) * 0.5)])
    assert capsys.readouterr().err == ""


def test_without_boxes_or_sizes_nothing_is_said(capsys):
    check_frame("p.csv", table(np.empty((0, 4))), [SPLIT])
    check_frame("p.csv", table(detections(2) / SIDE), [make_split(detections(1), side=np.nan)])
    assert capsys.readouterr().err == ""


def as_corners(boxes: np.ndarray) -> np.ndarray:
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (
            np.array([[0.3, 0.4, 0.2, 0.3]]),
            "the only box ends within 2 pixels, such as 0.3, 0.4, 0.2, 0.3 on image i000",
        ),
        (detections(2)[:50] / SIDE, r"fractions of the picture; expected .* Multiply x and width by"),
        (as_corners(detections(2)), r"boxes end beyond their picture, such as .* Subtract x and y from them\."),
        (detections(2) * 2.2, r"boxes lie outside of their picture, such as .* of 1024 x 1024 pixels; expected"),
    ],
)
def test_boxes_that_cannot_be_pixels_are_refused(boxes, words):
    with pytest.raises(UserError, match=words) as caught:
        check_frame("p.csv", table(boxes), [SPLIT])
    assert str(caught.value).startswith("p.csv: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("factor", "reach"), [(512 / 1024, "50%"), (640 / 1024, "62%"), (224 / 1024, "22%")])
def test_boxes_of_smaller_pictures_are_warned_of(factor, reach, capsys):
    check_frame("p.csv", table(detections(2) * factor), [SPLIT])
    said = capsys.readouterr().err
    assert f"all 300 boxes stay within the upper left {reach} of their pictures" in said
    assert "Scale them by the size of the original image" in said


def test_boxes_that_often_leave_the_picture_are_warned_of(capsys):
    boxes = detections(2)
    boxes[:, 0] += 220
    check_frame("p.csv", table(boxes), [SPLIT])
    assert "boxes end beyond their picture" in capsys.readouterr().err


def test_the_command_refuses_them_and_writes_nothing(data_set, tmp_path):
    good = invented(data_set, "test")
    for name in ("x", "y", "width", "height"):
        good[name] /= 128
    write_predictions(tmp_path / "p.csv", good)
    with pytest.raises(UserError, match=r"p\.csv: all \d+ boxes end within 2 pixels"):
        run("--predictions", tmp_path / "p.csv", "--data", data_set, *QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv"]
