"""score.json: what is written, what is read back, and what is read of older versions' files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from common.errors import UserError
from evaluate.postprocess.gate import GateRule
from evaluate.scoring.result import (
    Gain,
    Leakage,
    SplitLeakage,
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
        "tuned_on", "reported_on", "confidence", "postprocess", "splits", "subgroups",
        "subgroup_differences", "inference", "leakage", "versions", "command", "commit", "created",
    ]  # fmt: skip
    assert (content["score"], content["interval_95"]) == (0.25, [0.25 - 0.0123, 0.25 + 0.0234])
    assert content["postprocess"] == {"box_scale": [0.87, 0.8]}
    assert content["splits"]["test"] == {
        "score": 0.25, "interval_95": [0.25 - 0.0123, 0.25 + 0.0234], "images": 1205,
        "positive_images": 301, "counted_images": 417, "truth_boxes": 480, "predictions": 500,
        "true_positives_at_0.5": 240, "false_positives_at_0.5": 260,
        "false_negatives_at_0.5": 239, "map50": 0.3217, "map50_95": 0.1618, "counted_patients": 399,
    }  # fmt: skip
    assert content["subgroups"]["view"] == {
        "AP": {
            "score": 0.2, "interval_95": [0.2 - 0.0123, 0.2 + 0.0234], "images": 700, "counted_images": 417,
            "counted_patients": 200,
        },
        "PA": {"score": None, "interval_95": None, "images": 5, "counted_images": 0, "counted_patients": 0},
    }  # fmt: skip
    assert content["subgroup_differences"] == {"view": {"higher": "PA", "lower": "AP", "difference": 0.06, "p": 0.012}}
    assert content["leakage"] == {
        "checked": True, "trained_on": "rsna.yaml", "earlier": ["coco.yaml"], "patients_known": True,
        "not_seen": ["all"],
        "test": {"images": 1, "patients": 2, "images_of_these_patients": 3, "examples": ["a", "b"], "chosen_on": 4},
    }  # fmt: skip


def test_a_gate_in_the_file(tmp_path):
    content = json.loads(write_score(tmp_path, replace(SCORE, gate=GATE)).read_text())
    keys = list(content)
    assert keys[keys.index("postprocess") : keys.index("splits")] == ["postprocess", "gate"]
    assert content["postprocess"]["gate"] == {"files": ["runs/gate/gate.csv"], "mode": "keep", "threshold": 0.31}
    gain = {"score": 0.2145678, "gain": 0.02, "gain_interval_95": [-0.001, 0.041]}
    assert content["gate"] == {
        "asked": "tune", "tuned_on": "val", "seen_images": {"val": 3, "test": 0},
        "without": {"confidence": 0.4, "splits": {"test": gain}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": GATE},
        {"gate": replace(GATE, rule=GateRule("none"), gains={"test": Gain(0.2, 0.0, None)})},
        {"weights": None, "weights_sha256": None, "inference": None, "leakage": Leakage(reason="not said")},
        {"tuned_on": None, "synthetic": None, "data_fingerprint": None, "subgroups": {}, "subgroup_differences": {}},
    ],
)
def test_what_is_written_is_read(tmp_path, changes):
    score = replace(SCORE, **changes)
    assert read_score(write_score(tmp_path, score)) == score


def test_files_of_older_versions(tmp_path):
    content = SCORE.to_json()
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
        weights_sha256=None,
        data_fingerprint=None,
        splits={name: replace(split, counted_patients=None) for name, split in SCORE.splits.items()},
        subgroups={
            "view": {name: replace(one, counted_patients=None) for name, one in SCORE.subgroups["view"].items()}
        },
        subgroup_differences=None,
        leakage=replace(LEAKAGE, earlier=(), not_seen=(), splits={"test": SplitLeakage(1, 2, 3, ("a", "b"))}),
    )


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
