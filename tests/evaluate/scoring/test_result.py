"""score.json: what is written, what is read back, and what is read of older versions' files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from common.errors import UserError
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, GateRule, Sides
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import (
    Gain,
    Interval,
    Leakage,
    SplitLeakage,
    Step,
    Subgroup,
    write_score,
)
from evaluate.scoring.score_file import read_score
from tests.evaluate import sample_score
from tests.evaluate.sample_score import GATE, subgroup

TEST = sample_score.split_score(0.25)
LEAKAGE = Leakage(
    trained_on="rsna.yaml",
    earlier=("coco.yaml",),
    patients_known=True,
    not_seen=("all",),
    splits={"test": SplitLeakage(1, 2, 3, ("a", "b"), 4)},
)
SCORE = replace(
    sample_score.SCORE,
    splits={"test": TEST, "val": replace(TEST, score=0.26, interval_95=None, map50=None, map50_95=None)},
    subgroups={"view": {"AP": subgroup(0.2), "PA": Subgroup(None, None, 5, 0, 0)}},
    inference={"imgsz": 640, "augment": False},
    leakage=LEAKAGE,
)


def test_the_keys_of_the_file_in_their_order(tmp_path):
    content = json.loads(write_score(tmp_path, SCORE).read_text())
    assert list(content) == [
        "score", "interval_95", "weights", "weights_sha256", "data_fingerprint", "predictions", "data", "synthetic",
        "tuned_on", "reported_on", "confidence", "postprocess", "fitted", "steps", "splits", "subgroups",
        "subgroup_differences", "image_level", "box_level", "inference", "leakage", "versions", "command", "commit",
        "created",
    ]  # fmt: skip
    assert (content["score"], content["interval_95"]) == (0.25, [0.25 - 0.0123, 0.25 + 0.0234])
    assert (content["weights_sha256"], content["confidence"]) == (["ab" * 32], 0.5)
    assert content["postprocess"] == {
        "suppression": {"method": "nms", "iou": 0.3}, "most_boxes": {"boxes": 3},
        "rescoring": {"intercept": 0.1, "own": 1.5, "highest": 0.2, "area": -0.3},
        "box_scale": {"ap": [0.87, 0.8], "pa": [0.9, 0.85], "other": [0.87, 0.8]},
        "gate": {"mode": "none", "threshold": None}, "confidence": {"least": 0.5},
        "fitted_on": {
            "images": 1205, "score": 0.2445678, "split": "val", "weights": ["ab" * 32], "data_fingerprint": "cd" * 32,
        },
    }  # fmt: skip
    assert content["fitted"] == ["suppression", "most_boxes", "box_scale", "by_view", "confidence"]
    assert content["steps"] == [
        {
            "name": "confidence", "unseen": None,
            "reported": {"score": 0.2145678, "gain": 0.0, "gain_interval_95": None},
        },
        {
            "name": "box_scale", "unseen": {"score": 0.2245678, "gain": 0.021, "gain_interval_95": [0.001, 0.042]},
            "reported": {"score": 0.2345678, "gain": 0.02, "gain_interval_95": [0.004, 0.036]},
        },
    ]  # fmt: skip
    assert content["splits"]["test"] == {
        "score": 0.25, "interval_95": [0.25 - 0.0123, 0.25 + 0.0234], "images": 1205,
        "positive_images": 301, "counted_images": 417, "truth_boxes": 480, "predictions": 500,
        "true_positives_at_0.5": 240, "false_positives_at_0.5": 260,
        "false_negatives_at_0.5": 239, "map50": 0.3217, "map50_95": 0.1618, "counted_patients": 399,
    }  # fmt: skip
    assert content["subgroups"]["view"] == {
        "AP": {
            "score": 0.2, "interval_95": [0.2 - 0.0123, 0.2 + 0.0234], "images": 700, "counted_images": 417,
            "counted_patients": 200, "sensitivity": {"value": 0.8, "interval_95": [0.7, 0.9], "patients": 90},
            "specificity": {"value": 0.6, "interval_95": None, "patients": 19},
        },
        "PA": {"score": None, "interval_95": None, "images": 5, "counted_images": 0, "counted_patients": 0,
               "sensitivity": None, "specificity": None},
    }  # fmt: skip
    assert content["image_level"]["figures"]["sensitivity"] == {
        "value": 0.5, "interval_95": [0.45, 0.55], "patients": 150
    }  # fmt: skip
    assert content["image_level"]["reliability"] == [
        {"images": 900, "probability": 0.02, "frequency": 0.1}, {"images": 305, "probability": 0.6, "frequency": 0.7},
    ]  # fmt: skip
    assert content["box_level"]["froc"]["mean"]["value"] == 0.5
    assert content["box_level"]["errors"]["missed"] == 150
    assert content["subgroup_differences"] == {
        "view": {"higher": "PA", "lower": "AP", "difference": 0.06, "p": 0.012, "measure": "score"}
    }  # fmt: skip
    assert content["leakage"] == {
        "checked": True, "trained_on": "rsna.yaml", "earlier": ["coco.yaml"], "patients_known": True,
        "not_seen": ["all"],
        "test": {"images": 1, "patients": 2, "images_of_these_patients": 3, "examples": ["a", "b"], "chosen_on": 4},
    }  # fmt: skip


def test_a_gate_in_the_file(tmp_path):
    score = replace(SCORE, gate=GATE, pipeline=replace(SCORE.pipeline, gate=GateRule("keep", 0.31)))
    content = json.loads(write_score(tmp_path, score).read_text())
    keys = list(content)
    assert keys[keys.index("postprocess") : keys.index("splits")] == ["postprocess", "fitted", "steps", "gate"]
    assert content["postprocess"]["gate"] == {"mode": "keep", "threshold": 0.31}
    assert content["gate"] == {
        "files": ["runs/gate/gate.csv"], "asked": "tune", "tuned_on": "val", "seen_images": {"val": 3, "test": 0},
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": GATE},
        {"gate": replace(GATE, tuned_on=None), "pipeline": replace(SCORE.pipeline, gate=GateRule("weigh"))},
        {"pipeline": Pipeline(Suppression("none", None)), "fitted": (), "steps": ()},
        {"weights": None, "weights_sha256": (), "inference": None, "leakage": Leakage(reason="not said")},
        {"tuned_on": None, "synthetic": None, "data_fingerprint": None, "subgroups": {}, "subgroup_differences": {}},
    ],
)
def test_what_is_written_is_read(tmp_path, changes):
    score = replace(SCORE, **changes)
    assert read_score(write_score(tmp_path, score)) == score


def of_an_older_version(**changes):
    """The content of a file before post-processing was fitted as a whole."""
    content = SCORE.to_json()
    del content["fitted"], content["steps"]
    return {**content, "weights_sha256": "ab" * 32, "postprocess": {"box_scale": [0.87, 0.8]}, **changes}


def test_files_of_older_versions(tmp_path):
    content = of_an_older_version(inference={"imgsz": 640, "nms_iou": 0.4})
    del content["weights_sha256"], content["data_fingerprint"], content["subgroup_differences"]
    for entry in (*content["splits"].values(), *content["subgroups"]["view"].values()):
        del entry["counted_patients"]
        entry["score_without_predictions"] = 0.0
    for entry in content["subgroups"]["view"].values():
        del entry["score_without_predictions"]
    for name in ("earlier", "not_seen"):
        del content["leakage"][name]
    del content["leakage"]["test"]["chosen_on"]
    (tmp_path / "score.json").write_text(json.dumps(content))
    assert read_score(tmp_path / "score.json") == replace(
        SCORE,
        inference={"imgsz": 640, "nms_iou": 0.4},
        weights_sha256=(),
        data_fingerprint=None,
        pipeline=Pipeline(
            Suppression("nms", 0.4), box_scale=BoxScale.common(Sides(0.87, 0.8)), confidence=Confidence(0.5)
        ),
        fitted=None,
        steps=(),
        splits={name: replace(split, counted_patients=None) for name, split in SCORE.splits.items()},
        subgroups={
            "view": {name: replace(one, counted_patients=None) for name, one in SCORE.subgroups["view"].items()}
        },
        subgroup_differences=None,
        leakage=replace(LEAKAGE, earlier=(), not_seen=(), splits={"test": SplitLeakage(1, 2, 3, ("a", "b"))}),
    )


def test_a_gate_in_a_file_of_an_older_version(tmp_path):
    """There the gate came before the other steps, and what it brought stood beside it."""
    gain = {"score": 0.2145678, "gain": 0.02, "gain_interval_95": [-0.001, 0.041]}
    content = of_an_older_version(
        postprocess={"box_scale": [1, 1], "gate": {"files": ["g.csv"], "mode": "keep", "threshold": 0.31}},
        gate={
            "asked": "tune", "tuned_on": "val", "seen_images": {"val": 3, "test": 0},
            "without": {"confidence": 0.4, "splits": {"test": gain, "val": gain}},
        },
    )  # fmt: skip
    (tmp_path / "score.json").write_text(json.dumps(content))
    found = read_score(tmp_path / "score.json")
    assert found.weights_sha256 == ("ab" * 32,)
    assert (found.pipeline.gate, found.confidence) == (GateRule("keep", 0.31), 0.5)
    assert found.gate == replace(GATE, files=("g.csv",))
    assert found.steps == (
        Step("confidence", None, Gain(0.2145678, 0.0, None)),
        Step("gate", None, Gain(0.2145678 + 0.02, 0.02, Interval(-0.001, 0.041))),
    )


@pytest.mark.parametrize(("settings", "kept"), [({"nms_iou": 0.4}, False), ({"imgsz": 640}, True)])
def test_boxes_of_rtdetr_were_not_suppressed_in_older_versions(tmp_path, settings, kept):
    (tmp_path / "score.json").write_text(json.dumps(of_an_older_version(inference=settings)))
    assert (read_score(tmp_path / "score.json").pipeline.suppression.method == "none") == kept


def without(key):
    return json.dumps({name: value for name, value in SCORE.to_json().items() if name != key})


@pytest.mark.parametrize(
    "content",
    [
        None, "", "[]", "{}", "no JSON", '"text"', without("splits"), without("leakage"), without("versions"),
        json.dumps({**SCORE.to_json(), "reported_on": "val2"}),
        json.dumps({**SCORE.to_json(), "splits": {"test": {"score": 1}}}),
        json.dumps({**SCORE.to_json(), "subgroups": {"view": {"AP": {"score": 1, "strange": 2}}}}),
    ],
)  # fmt: skip
def test_unreadable_files_give_one_line(tmp_path, content):
    path = tmp_path / "score.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"score.json: not a readable score \(\w+: .*Run it again") as caught:
        read_score(path)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2
