"""Outcomes and choices on images whose fate is known."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from common.pages.pictures import MISS_COLOUR, PREDICTION_COLOUR, TRUTH_COLOUR
from evaluate.report.gallery import (
    EMPTY,
    FALSE_ALARM,
    FOUND,
    GROUPS,
    MISPLACED,
    MISSED,
    choose,
    find_results,
    make_example,
)

NAN = float("nan")
TRUTH = pd.DataFrame(
    [
        ("exact", 10, 10, 40, 40, "Lung Opacity"),
        ("half", 10, 10, 40, 40, "Lung Opacity"),
        ("half", 60, 60, 30, 30, "Lung Opacity"),
        ("beside", 10, 10, 40, 40, "Lung Opacity"),
        ("unseen", 10, 10, 40, 40, "Lung Opacity"),
        ("alarm", NAN, NAN, NAN, NAN, "Normal"),
        ("quiet", NAN, NAN, NAN, NAN, "No Lung Opacity / Not Normal"),
    ],
    columns=["image_id", "x", "y", "width", "height", "label"],
)
PREDICTIONS = pd.DataFrame(
    [
        ("alarm", 0.7, 0, 0, 20, 20),
        ("beside", 0.8, 60, 60, 30, 30),
        ("exact", 0.9, 10, 10, 40, 40),
        ("half", 0.6, 10, 10, 40, 40),
        ("quiet", 0.2, 0, 0, 20, 20),
        ("unseen", 0.4, 10, 10, 40, 40),
    ],
    columns=["image_id", "confidence", "x", "y", "width", "height"],
)


@pytest.fixture
def results():
    return find_results(TRUTH, PREDICTIONS, 0.5)


def test_outcomes(results):
    assert results.images["outcome"].to_dict() == {
        "exact": FOUND, "half": FOUND, "beside": MISPLACED, "unseen": MISSED, "alarm": FALSE_ALARM, "quiet": EMPTY,
    }  # fmt: skip
    assert results.counts() == {FOUND: 2, MISPLACED: 1, MISSED: 1, FALSE_ALARM: 1, EMPTY: 1}
    assert results.images["score"].drop("quiet").to_dict() == {
        "exact": 1.0, "half": 0.5, "beside": 0.0, "unseen": 0.0, "alarm": 0.0,
    }  # fmt: skip
    assert np.isnan(results.images.loc["quiet", "score"])
    assert results.images.loc["half", "area"] == 40 * 40 + 30 * 30


def test_the_threshold_is_inclusive():
    at = find_results(TRUTH, PREDICTIONS, 0.7).images["outcome"]
    assert at["alarm"] == FALSE_ALARM
    assert at["half"] == MISSED


def test_choice(results):
    assert choose(results.images) == {
        "best": ["exact"], "typical": ["half"], "worst": ["beside"], "missed": ["unseen"],
        "false_alarms": ["alarm"], "empty": ["quiet"],
    }  # fmt: skip


def table(outcomes):
    rows = {f"{number:03d}": row for number, row in enumerate(outcomes)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["outcome", "score", "area", "confidence"])


def test_choice_takes_extremes_and_the_middle_and_no_image_twice():
    images = table([(FOUND, score / 100, 10, 0.5) for score in range(1, 100)])
    chosen = choose(images.sample(frac=1, random_state=0), each=3)
    assert chosen["best"] == ["098", "097", "096"]
    assert chosen["worst"] == ["000", "001", "002"]
    assert sorted(chosen["typical"]) == ["048", "049", "050"]
    assert [chosen[group] for group in ("missed", "false_alarms", "empty")] == [[], [], []]


def test_choice_orders_what_scores_alike():
    images = table(
        [(MISPLACED, 0.0, 10, 0.5), (MISPLACED, 0.0, 10, 0.9), (MISSED, 0.0, 10, 0.1), (MISSED, 0.0, 90, 0.0)]
        + [(FALSE_ALARM, 0.0, 0, 0.4), (FALSE_ALARM, 0.0, 0, 0.8)]
        + [(EMPTY, NAN, 0, 0.0)] * 9
    )
    chosen = choose(images, each=3)
    assert chosen["best"] == []  # nothing that scores 0 is anybody's best
    assert chosen["worst"] == ["001"]
    assert chosen["missed"] == ["003", "002"]
    assert chosen["false_alarms"] == ["005", "004"]
    assert chosen["empty"] == ["006", "010", "014"]


def test_choice_without_images():
    assert choose(table([]).astype({"score": float})) == {group: [] for group in GROUPS}


def decode(uri):
    encoded = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def near(pixel, colour):
    return np.abs(pixel - np.array(colour)).max() < 60


ONLY_THE_MIDDLE = [False, False, False, True, False, False, False]


def share(pixels, colour):
    """How many of a line's pixels have a colour; JPEG blurs the others."""
    return (np.abs(pixels - np.array(colour)).max(axis=1) < 60).mean()


def test_example_shows_the_boxes_in_the_pictures_own_pixels(results):
    # The original image is 100 pixels wide and stored at twice that.
    manifest = pd.DataFrame({"width": [100.0], "height": [100.0], "view": ["AP"]}, index=["half"])
    example = make_example("half", results, manifest, lambda image_id: np.full((200, 200), 128, np.uint8))
    picture = decode(example.uri)
    turned = picture.transpose(1, 0, 2)
    for lines in (picture, turned):  # rows, then columns
        # The second true box, which nothing hits, goes from 60 to 90: dashes on its first and its last pixel.
        assert [share(line[124:176], TRUTH_COLOUR) > 0.4 for line in lines[117:124]] == ONLY_THE_MIDDLE
        assert [share(line[124:176], TRUTH_COLOUR) > 0.4 for line in lines[176:183]] == ONLY_THE_MIDDLE
        # The prediction goes from 10 to 50, between the dashes of the first true box.
        assert [share(line[50:96], PREDICTION_COLOUR) > 0.2 for line in lines[96:103]] == ONLY_THE_MIDDLE
    assert near(picture[150, 150], (128, 128, 128))
    assert (example.view, example.label, example.score) == ("AP", "Lung Opacity", 0.5)
    assert example.note == "1 of 2 true boxes hit by 1 prediction."


def test_example_marks_a_false_alarm(results):
    example = make_example("alarm", results, None, lambda image_id: np.full((100, 100), 128, np.uint8))
    picture = decode(example.uri)
    assert near(picture[19, 5], MISS_COLOUR)
    assert near(picture[80, 80], (128, 128, 128))
    assert (example.note, example.score, example.view) == ("1 prediction and nothing there.", 0.0, "")


def test_notes_name_the_strongest_rejected_prediction(results):
    def note(image_id):
        return make_example(image_id, results, None, lambda _: np.zeros((100, 100), np.uint8)).note

    assert note("unseen") == "No prediction for 1 box; the strongest rejected one had 0.40."
    assert note("quiet") == "No prediction; the strongest rejected one had 0.20."
    assert note("beside") == "0 of 1 true box hit by 1 prediction."


def test_pictures_may_be_files(results, tmp_path):
    path = tmp_path / "exact.png"
    cv2.imwrite(str(path), np.full((1000, 800), 60, np.uint8))
    picture = decode(make_example("exact", results, None, {"exact": path}).uri)
    assert picture.shape == (384, 307, 3)  # shrunk to 384 pixels
    assert near(picture[-1, -1], (60, 60, 60))


@pytest.mark.parametrize("error", [OSError, KeyError, ValueError, UserError])
def test_a_picture_that_fails_leaves_the_rest(results, error):
    def fail(image_id):
        raise error(image_id)

    example = make_example("exact", results, None, fail)
    assert example.uri is None
    assert example.score == 1.0


def test_files_that_are_missing_or_no_pictures(results, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "empty.png", "absent.png"):
        assert make_example("exact", results, None, {"exact": tmp_path / name}).uri is None
    assert make_example("exact", results, None, {}).uri is None
    for wrong in (np.zeros((4, 4)), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)):
        assert make_example("exact", results, None, lambda image_id, wrong=wrong: wrong).uri is None
    for good in (np.zeros((90, 90, 1), np.uint8), np.zeros((90, 90, 3), np.uint8)):
        assert make_example("exact", results, None, lambda image_id, good=good: good).uri is not None
