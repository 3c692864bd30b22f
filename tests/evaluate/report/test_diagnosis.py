"""What the report says of images and boxes beside the score, as texts and as curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.metrics.calibration import Bin
from evaluate.metrics.figures import Figure, Interval
from evaluate.metrics.ranking import Ranking
from evaluate.report import curves, diagnosis
from evaluate.scoring.result import Subgroup
from tests.evaluate.sample_score import IMAGE_LEVEL, SCORE

NBSP = "\N{NO-BREAK SPACE}"


def test_the_confusion_matrix_with_shares_of_its_rows():
    assert diagnosis.confusion(IMAGE_LEVEL) == [
        ("With opacity", [(211, f"70{NBSP}%"), (90, f"30{NBSP}%")]),
        ("Without", [(206, f"23{NBSP}%"), (698, f"77{NBSP}%")]),
    ]
    nothing = diagnosis.confusion(replace(IMAGE_LEVEL, true_positives=0, false_negatives=0))
    assert nothing[0] == ("With opacity", [(0, ""), (0, "")])


@pytest.mark.parametrize(
    ("figure", "interval"),
    [
        (Figure(0.5, Interval(0.25, 0.75), 40), f"0.250{NBSP}to{NBSP}0.750"),
        (Figure(0.5, Interval(0.25, 0.75), 39), f"0.250{NBSP}to{NBSP}0.750, few"),
        (Figure(0.5, None, 19), ""),
    ],
)
def test_an_interval_of_few_patients_is_marked(figure, interval):
    score = replace(SCORE, image_level=replace(IMAGE_LEVEL, figures={"auc": figure}))
    (row,) = diagnosis.image_rows(score)
    assert (row["name"], row["value"], row["interval"]) == ("AUC", "0.500", interval)
    (tuned,) = diagnosis.image_rows(replace(score, tuned_on="test"))
    assert (tuned["value"], tuned["interval"]) == ("0.500", "")  # the threshold was chosen on these images


def test_what_cannot_be_told_is_left_out():
    figures = {"auc": Figure(None, None, 0), "specificity": Figure(0.9, None, 10)}
    score = replace(SCORE, image_level=replace(IMAGE_LEVEL, figures=figures))
    assert [row["name"] for row in diagnosis.image_rows(score)] == ["Specificity"]
    assert diagnosis.summary(score)[0] == f"images: specificity 90{NBSP}%"
    old = replace(SCORE, image_level=None, box_level=None)
    assert diagnosis.image_rows(old) == diagnosis.box_rows(old) == diagnosis.error_rows(old) == []
    assert diagnosis.summary(old) == []


def test_two_lines_for_the_terminal():
    share = f"50{NBSP}% (45{NBSP}%{NBSP}to{NBSP}55{NBSP}%)"
    assert diagnosis.summary(SCORE) == [
        f"images: AUC 0.850 (0.800{NBSP}to{NBSP}0.900), sensitivity {share}, specificity {share}",
        f"boxes hit at 0.05 to 1 false ones per image: mean {share}",
    ]


def test_errors_and_groups():
    assert [(name, number) for name, _, number in diagnosis.error_rows(SCORE)] == [
        ("Missed", 150), ("Poorly placed", 89), ("On a distractor", 123)
    ]  # fmt: skip
    assert all(explanation for _, explanation, _ in diagnosis.error_rows(SCORE))
    silent = {"Normal": Subgroup(None, None, 20, 0, 0, Figure(None, None, 0), Figure(0.9, None, 19))}
    unknown = {"x": Subgroup(0.3, None, 20, 5, 5)}  # of an older version
    rows = diagnosis.group_rows(replace(SCORE, subgroups={"negative kind": silent, "old": unknown}))
    assert rows[0] == {"property": "negative kind"}
    assert (rows[1]["name"], rows[1]["images"]) == ("Normal", "20")
    assert [cell["value"] for cell in rows[1]["cells"]] == ["–", f"90{NBSP}%"]
    assert len(rows) == 2


def test_the_curves_say_what_the_used_confidence_gives():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.0])
    positive = np.array([True, False, True, False, False, True])
    ranking = Ranking.of_images(confidence, positive)
    roc = curves.roc_curve(ranking, 0.7)
    assert "area under the curve is 0.556" in roc.sentence  # 5 of 9 pairs in order
    assert f"sensitivity 67{NBSP}%, specificity 67{NBSP}%" in roc.sentence
    found = curves.precision_recall_curve(ranking, 0.7)
    assert f"67{NBSP}% of the images with a box have an opacity" in found.sentence
    assert "The dot" not in curves.precision_recall_curve(ranking, 0.95).sentence
    assert f"sensitivity 0{NBSP}%, specificity 100{NBSP}%" in curves.roc_curve(ranking, 0.95).sentence
    alone = Ranking.of_images(confidence, positive | True)
    assert curves.roc_curve(alone, 0.5) is curves.precision_recall_curve(alone, 0.5) is None


def test_the_calibrations_sentence_says_on_which_side_confidences_are_off():
    sure, unsure = Bin(10, 0.9, 0.5), Bin(30, 0.2, 0.25)
    assert "off, by 0.100 on average (ECE), and on the whole surer" in curves.reliability_curve([sure], 0.1).sentence
    assert "on the whole less sure" in curves.reliability_curve([unsure], None).sentence
    assert "surer" in curves.reliability_curve([sure, unsure], None).sentence  # 10 x 0.4 is more than 30 x 0.05
    assert curves.reliability_curve([], None) is None
