"""A study read from disk: what is in it, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from train.study.analysis.study_results import read_study

BLOCKS = [
    {"name": "optimizer", "parameters": {"optimizer": ["SGD", "AdamW"]}},
    {"name": "batch", "parameters": {"batch": [8, 16]}, "base": {"optimizer": "SGD"}},
]


@pytest.fixture
def folder(tmp_path, write_study):
    return write_study(
        tmp_path / "study", BLOCKS, lambda settings, _: 0.3, seeds=(0, 1),
        outcome=lambda settings, _: "failed" if settings.get("batch") == 16 else "finished",
    )  # fmt: skip


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_study_is_read_whole(folder):
    study = read_study(folder)
    assert [block.name for block in study.blocks] == ["optimizer", "batch"]
    assert study.blocks[1].base == {"optimizer": "SGD"}
    assert study.record.origin.machine == "2 cores"
    assert list(study.trials.index) == [f"t{number:03}" for number in range(8)]
    first = study.trials.loc["t000"]
    assert (first["status"], first["seed"], first["fold"]) == ("finished", 0, None)
    assert (first["val"], first["test"]) == pytest.approx((0.31, 0.3))
    assert (first["test_low"], first["test_high"]) == pytest.approx((0.25, 0.35))
    assert (first["confidence"], first["gflops"]) == (0.25, 1.5)
    failed = study.trials.loc["t006"]
    assert (failed["status"], failed["error"]) == ("failed", "CUDA out of memory")
    assert np.isnan([failed["val"], failed["test"], failed["seconds"]]).all()
    assert study.setting("t006", "batch") == 16
    assert study.setting("t000", "imgsz") == 256  # held, not varied
    assert study.setting("t000", "momentum") is None
    assert list(study.trials_of("batch").index) == ["t004", "t005", "t006", "t007"]
    assert study.unfinished == ()


def test_scores_and_curves_are_read_when_asked_for(folder):
    study = read_study(folder)
    scores = study.scores("t000")
    written = pd.read_csv(folder / "trials" / "t000" / "scores.csv").set_index("image_id")
    assert scores["score"].isna().sum() == written["score"].isna().sum() == 40
    assert scores["score"].to_numpy() == pytest.approx(written["score"].to_numpy(), nan_ok=True)
    assert scores.groupby("split").size().to_dict() == {"test": 60, "val": 60}
    assert scores["patient_id"].nunique() == 60
    assert study.curve("t000").index.tolist() == list(range(1, 11))
    assert study.curve("t000").max() == pytest.approx(0.31)
    assert study.curve("t006").empty  # it failed before an epoch


def test_trials_without_a_result_are_named(folder):
    (folder / "trials" / "t099").mkdir()
    assert read_study(folder).unfinished == ("t099",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda study: study.pop("blocks"), ["study.json", "no 'blocks'"]),
        (lambda study: study.update(blocks=[]), ["no blocks"]),
        (lambda study: study["blocks"][0].pop("parameters"), ["no 'parameters'"]),
        (lambda study: study["blocks"][0].update(parameters={"lr0": {"low": 0.1}}), ["optimizer: lr0", "high"]),
        (lambda study: study["blocks"].pop(), ["trial.json", "block 'batch'", "optimizer"]),
    ],
)
def test_a_wrong_study_file_is_refused(folder, change, words):
    edit(folder / "study.json", change)
    with pytest.raises(UserError) as caught:
        read_study(folder)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda trial: trial.update(id="t001"), ["t000/trial.json", "'t001'", "'t000'"]),
        (lambda trial: trial.update(status="done"), ["'done'", "finished, stopped or failed"]),
        (lambda trial: trial.update(seconds="long"), ["seconds is 'long'", "number"]),
        (lambda trial: trial.update(val=None), ["no score on val"]),
        (lambda trial: trial.update(test=[1, 2]), ["test is [1, 2]"]),
        (lambda trial: trial.pop("command"), ["no 'command'"]),
    ],
)
def test_a_wrong_trial_is_refused(folder, change, words):
    edit(folder / "trials" / "t000" / "trial.json", change)
    with pytest.raises(UserError) as caught:
        read_study(folder)
    assert all(word in str(caught.value) for word in words)


def test_what_is_no_study_is_refused(tmp_path, folder):
    with pytest.raises(UserError, match=r"study\.json: no such file"):
        read_study(tmp_path / "nowhere")
    (folder / "study.json").write_text("{half")
    with pytest.raises(UserError, match=r"study\.json: cannot be read"):
        read_study(folder)


def test_a_study_without_trials_is_refused(tmp_path, write_study):
    folder = write_study(tmp_path / "empty", BLOCKS, lambda *_: 0.3, settings=[])
    with pytest.raises(UserError, match=r"no trial\.json"):
        read_study(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_id,score\na,1\n", "patient_id"),
        ("image_id,patient_id,split,score\na,p,val,1.5\n", "1.5"),
        ("image_id,patient_id,split,score\na,p,val,high\n", "high"),
        ("image_id,patient_id,split,score\na,p,train,1\n", "train"),
        ("image_id,patient_id,split,score\na,p,val,1\na,p,val,1\n", "image a twice"),
    ],
)
def test_wrong_scores_are_refused(folder, text, words):
    (folder / "trials" / "t000" / "scores.csv").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_study(folder).scores("t000")
    assert "t000/scores.csv" in str(caught.value)


def test_lists_as_values_can_be_compared(tmp_path, write_study):
    blocks = [{"name": "scale", "parameters": {"scale": [[0, 1], [1, 1]]}}]
    study = read_study(write_study(tmp_path / "study", blocks, lambda *_: 0.3))
    assert study.setting("t000", "scale") == "[0, 1]"


def test_a_trial_that_was_stopped_after_its_last_epoch_has_finished(folder):
    for name, epochs in (("t000", 10), ("t001", 9)):
        edit(
            folder / "trials" / name / "trial.json",
            lambda trial, epochs=epochs: trial.update(status="stopped", epochs=epochs),
        )
    assert read_study(folder).trials["status"][["t000", "t001"]].tolist() == ["finished", "stopped"]
