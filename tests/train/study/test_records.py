"""trial.json, state.json and study.json: their keys in order, and files of older studies, which lack some."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from common.errors import UserError
from train.study.plan import Trial
from train.study.run.trial_files import Work, begin, mark_stopped, record_failure
from train.study.study_record import find_study_record, read_study_record, write_study_record
from train.study.trial_record import SplitOutcome, TrialRecord, find_state, find_trial, read_trial, write_trial

FINISHED = {
    "id": "t003", "setting": 1, "blocks": ["rates", "losses"], "settings": {"lr0": 0.01, "iou_loss": None},
    "arguments": {"data": "rsna.yaml", "lr0": 0.01, "iou_loss": None, "freeze": [0, 1], "seed": 2}, "seed": 2,
    "fold": None, "status": "finished", "error": None, "epochs": 12, "best_epoch": 11,
    "steps": 360,
    "val": {"score": 0.25, "confidence": 0.31, "interval_95": [0.2, 0.3]},
    "test": {"score": 0.125, "interval_95": [0.1, 0.15],
             "lost": {"threshold": 0.0625, "false_images": 0.25, "fit": 0.25, "extra_boxes": 0.0625, "missed": 0.25}},
    "map50_95": 0.5, "seconds": 30.25, "parameters": 93545,
    "gflops": 0.5, "milliseconds": 9.75,
    "command": "python train/train.py data=rsna.yaml", "weights": "trials/t003/run/weights/best.pt",
    "weights_sha256": "ab" * 32, "data_fingerprint": "cd" * 32,
}  # fmt: skip
PLANNED = Trial("t003", 1, ("rates",), {"lr0": 0.01}, {"lr0": 0.01, "freeze": (0, 1), "seed": 2}, 2, None)

STUDY = {
    "name": "rates", "title": "Rates", "about": "Which one", "method": "grid", "trials": None, "seed": 0,
    "base": {"model": "basic-cnn.yaml", "negatives": 1.0}, "seeds": [0, 1], "folds": None,
    "scheduler": {"type": "asha", "grace": 2, "reduction": 3},
    "blocks": [{"name": "rates", "title": "Rates", "about": "", "parameters": {"lr0": [0.1, None]},
                "base": {"box": 7.5}, "seeds": [3], "only": {"lr0": {"0.1": {"epochs": 3}}}, "controls": [0, 3],
                "singly": False, "best_of": None}],
    "controls": [0, 1, 2],
    "versions": {"python": "3.11"}, "command": "python train/sweep.py rates", "commit": "0123abc",
    "created": "2025-03-04T05:06:07+00:00", "data": "rsna.yaml", "fingerprint": "f00d", "synthetic": None,
    "machine": "2 cores", "threads": 1, "setup": ["python convert/sample.py"],
}  # fmt: skip


def written(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file.parent


def ordered(file):
    """The content with the order of its keys."""
    return json.dumps(json.loads(file.read_text()))


def test_a_trials_file_is_read_and_written_as_it_was(tmp_path):
    folder = written(tmp_path / "t003" / "trial.json", FINISHED)
    record = read_trial(folder)
    assert (record.id, record.val_score, record.test.interval_95) == ("t003", 0.25, (0.1, 0.15))
    write_trial(folder, record)
    assert ordered(folder / "trial.json") == json.dumps(FINISHED)


def test_a_failed_trials_file_says_that_nothing_is_known(tmp_path):
    work = Work(tmp_path, "study", 1, 0)
    assert record_failure(PLANNED, work, "out of memory", "Traceback") == replace(
        TrialRecord.of(PLANNED, "failed"), error="out of memory"
    )
    content = json.loads((tmp_path / "trials" / "t003" / "trial.json").read_text())
    assert list(content) == list(FINISHED)
    unknown = {name for name, value in content.items() if value is None}
    planned = {"id", "setting", "blocks", "settings", "arguments", "seed", "status", "error", "command"}
    assert unknown == set(FINISHED) - planned
    assert find_trial(tmp_path / "trials" / "t003").has_failed


def test_older_trials_lack_newer_keys_and_a_file_of_a_killed_one_is_none(tmp_path):
    needed = ("id", "blocks", "settings", "arguments", "status", "command")
    folder = written(tmp_path / "t003" / "trial.json", {name: FINISHED[name] for name in needed})
    record = read_trial(folder)
    assert (record.setting, record.val, record.weights_sha256, record.data_fingerprint) == (None,) * 4
    (folder / "trial.json").write_text('{"id": "t0')
    assert find_trial(folder) is None
    with pytest.raises(UserError, match=r"t003/trial\.json: cannot be read"):
        read_trial(folder)


def test_a_score_that_is_not_finite_is_null_in_the_file(tmp_path):
    nan = float("nan")
    (tmp_path / "t003").mkdir()
    write_trial(tmp_path / "t003", TrialRecord.of(PLANNED, "stopped", val=SplitOutcome(nan, (nan, 0.5), 0.1)))
    content = json.loads((tmp_path / "t003" / "trial.json").read_text())
    assert content["val"] == {"score": None, "confidence": 0.1, "interval_95": [None, 0.5]}


def test_the_state_counts_starts_and_is_forgotten_with_other_arguments(tmp_path):
    folder = tmp_path / "t003"
    assert find_state(folder) is None
    begin(PLANNED, folder, again=False)
    mark_stopped(PLANNED, folder)
    state = json.loads((folder / "state.json").read_text())
    assert list(state) == ["starts", "seconds", "trained", "stopped", "setting", "settings", "arguments", "steps"]
    assert state["arguments"] == {"lr0": 0.01, "freeze": [0, 1], "seed": 2}
    assert (state["starts"], state["stopped"]) == (1, True)
    (folder / "run").mkdir()
    again = begin(PLANNED, folder, again=False)
    assert (again.starts, again.stopped, (folder / "run").exists()) == (2, True, True)
    other = begin(replace(PLANNED, arguments={"lr0": 0.02, "seed": 2}), folder, again=False)
    assert (other.starts, other.stopped, (folder / "run").exists()) == (3, False, False)


def test_a_studys_file_is_read_and_written_as_it_was(tmp_path):
    folder = written(tmp_path / "study.json", STUDY)
    write_study_record(folder, read_study_record(folder))
    assert ordered(folder / "study.json") == json.dumps(STUDY)
    (folder / "study.json").write_text(json.dumps({name: value for name, value in STUDY.items() if name != "setup"}))
    write_study_record(folder, read_study_record(folder))
    assert list(json.loads((folder / "study.json").read_text())) == list(STUDY)[:-1]


def test_older_studies_lack_newer_keys_and_what_is_no_study_is_none(tmp_path):
    blocks = [{"name": "rates", "parameters": {"lr0": [0.1]}}]
    folder = written(tmp_path / "study.json", {"name": "rates", "command": "x", "blocks": blocks})
    record = read_study_record(folder)
    assert (record.method, record.seeds, record.origin.threads, record.setup) == ("grid", (), None, ())
    assert (record.blocks[0].title, record.blocks[0].only, record.blocks[0].seeds) == ("rates", {}, None)
    written(tmp_path / "study.json", {"name": "something else"})
    assert find_study_record(folder) is None
    assert find_study_record(tmp_path / "nowhere") is None
