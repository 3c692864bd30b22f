"""What reaches Weights & Biases' files, read back with a reader written here, and what happens when W&B fails."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from evaluate.tracking import NullTracker, WandbTracker, start
from evaluate.wandb_runs import RunReference, find_run


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """A home, a working folder and an environment that know nothing of W&B; put back afterwards."""
    ours = {"NETRC", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ERROR_REPORTING"}
    for name in ours | {name for name in os.environ if name.startswith("WANDB_")}:
        monkeypatch.setenv(name, "")  # so that monkeypatch puts the variable back even if it was not there
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(autouse=True, scope="module")
def service():
    """Stop W&B's background process when the tests are through."""
    yield
    wandb.teardown()


def read_records(file):
    data = file.read_bytes()
    records, at, content = [], 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        content += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            records.append(Record.FromString(content))
            content = b""
    return records


def finished_records(folder):
    """Read an offline run's records. W&B's background process ends the file some milliseconds after `finish`."""
    (file,) = folder.glob("run-*.wandb")
    end = time.monotonic() + 20
    while True:
        records = read_records(file)
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        assert time.monotonic() < end, f"{file} was never finished"
        time.sleep(0.01)


def read_run(folder):
    """Read an offline run's id, project, job type, config, summary, history and artifacts."""
    found = {"config": {}, "summary": {}, "history": [], "artifacts": []}
    for record in finished_records(folder):
        name = record.WhichOneof("record_type")
        if name == "run":
            found |= {"id": record.run.run_id, "project": record.run.project, "job_type": record.run.job_type}
            found["config"] |= values(record.run.config.update)
        elif name == "config":
            found["config"] |= values(record.config.update)
        elif name == "summary":
            found["summary"] |= values(record.summary.update)
        elif name == "history":
            found["history"].append(values(record.history.item))
        elif name == "artifact":
            found["artifacts"].append((record.artifact.type, record.artifact.name))
    return found


def values(items):
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def train_like_ultralytics(run_dir, project="Ultralytics", run_id="train_20250101", folder=None, **more):
    """Open and close a run as Ultralytics' W&B callback does."""
    run_dir.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    config = {"model": "yolov8n.pt", **more, "save_dir": str(run_dir)}
    run = wandb.init(
        project=project, name="train", id=run_id, config=config, dir=str(folder or run_dir), settings=settings
    )
    run.log({"metrics/mAP50(B)": 0.1, "epoch": 1})
    run.finish()
    finished_records(Path(run.dir).parent)


def test_everything_logged_is_in_the_files(tmp_path, capfd):
    file = tmp_path / "work" / "predictions.csv"
    file.write_text("image_id,confidence\n")
    tracker = start(config={"confidence": 0.3, "split": "test"}, group="night", folder=tmp_path / "work" / "runs")
    assert isinstance(tracker, WandbTracker)
    tracker.log({"score": 0.5, "interval": [0.4, 0.6]})
    tracker.log({"score": 0.25})
    frame = pd.DataFrame({"score": [0.5, np.nan], "view": ["AP", None]}, index=pd.Index(["a", "b"], name="image_id"))
    tracker.table("views", frame)
    pixels = np.zeros((6, 9, 3), np.uint8)
    tracker.image("overlay", pixels, caption="a miss")
    tracker.artifact(file, "predictions of test", "predictions")
    tracker.summary({"rsna_score": 0.25, "map50": None})
    tracker.finish()
    assert capfd.readouterr() == ("", "")

    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*")
    found = read_run(folder)
    assert (found["id"], found["project"], found["job_type"]) == (tracker.run_id, "rsna-pneumonia", "score")
    assert found["config"].items() >= {"confidence": 0.3, "split": "test"}.items()
    assert [step["score"] for step in found["history"][:2]] == [0.5, 0.25]
    assert found["history"][0]["interval"] == [0.4, 0.6]
    assert found["summary"]["rsna_score"] == 0.25
    assert found["summary"]["map50"] is None
    assert ("predictions", "predictions-of-test") in found["artifacts"]
    assert found["history"][3]["overlay.caption"] == "a miss"
    assert (found["history"][3]["overlay.height"], found["history"][3]["overlay.width"]) == (6, 9)
    (table,) = folder.glob("files/media/table/*.json")
    logged = json.loads(table.read_text())
    assert logged["columns"] == ["image_id", "score", "view"]
    assert logged["data"] == [["a", 0.5, "AP"], ["b", None, None]]
    assert tracker.where == f"kept offline; upload it with: wandb sync runs/wandb/{folder.name}"

    # Nothing but the runs folder is written to: not the user's home, not the working folder.
    assert list((tmp_path / "home").rglob("*")) == []
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"runs", "predictions.csv"}


def test_the_run_of_the_training_is_continued(tmp_path, capfd):
    run_dir = tmp_path / "work" / "runs" / "detect" / "train"
    train_like_ultralytics(run_dir, data="rsna.yaml")
    # What else lies about: the training of another model, and the score of a third thing, which is no training at all.
    train_like_ultralytics(tmp_path / "work" / "runs" / "detect" / "train2", run_id="other")
    start(config={}, folder=tmp_path / "work" / "runs").finish()

    tracker = start(config={"data": "other.yaml"}, run_dir=run_dir, folder=tmp_path / "work" / "runs")
    tracker.log({"score": 0.2})
    tracker.finish()
    assert capfd.readouterr() == ("", "")
    assert tracker.run_id == "train_20250101"
    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*-train_20250101")
    found = read_run(folder)
    assert (found["id"], found["project"]) == ("train_20250101", "Ultralytics")
    assert found["config"]["score"] == {"data": "other.yaml"}
    assert "data" not in found["config"]  # the training's own setting stays
    assert found["job_type"] == ""
    assert found["history"][0]["score"] == 0.2


def test_runs_are_found_wherever_they_were_logged(tmp_path):
    work = tmp_path / "work"
    # A long setting makes the record span several blocks of the file.
    train_like_ultralytics(work / "a" / "train", run_id="inside", project="p", filler="x" * 100_000)
    train_like_ultralytics(work / "b" / "train", run_id="above", folder=work)
    assert find_run(work / "a" / "train") == RunReference("inside", "p", None)
    assert find_run(work / "b" / "train") == RunReference("above", "Ultralytics", None)
    assert find_run(work / "a") is None
    (work / "a" / "train").rename(work / "a" / "moved")
    assert find_run(work / "a" / "moved") == RunReference("inside", "p", None)

    # A killed training leaves a file without its end, or without its beginning.
    (file,) = (work / "b" / "train").parent.parent.glob("wandb/*above/run-*.wandb")
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    assert find_run(work / "b" / "train") == RunReference("above", "Ultralytics", None)
    for rest in (content[:60], content[:3], b"", b"something else"):
        file.write_bytes(rest)
        assert find_run(work / "b" / "train") is None


def test_a_run_file_in_the_training_folder_says_which_run(tmp_path):
    (tmp_path / "wandb_run.json").write_text('{"id": "abc", "project": "p", "entity": "us"}')
    assert find_run(tmp_path) == RunReference("abc", "p", "us")
    (tmp_path / "wandb_run.json").write_text('{"id": "abc"}')
    assert find_run(tmp_path) == RunReference("abc", None, None)
    for broken in ('{"id"', "[]", "{}", '"abc"'):
        (tmp_path / "wandb_run.json").write_text(broken)
        assert find_run(tmp_path) is None
    assert find_run(tmp_path / "missing") is None


@pytest.fixture
def asked_for(monkeypatch):
    """Catch what W&B is asked for, and refuse it."""
    calls = []

    def refuse(**arguments):
        calls.append(arguments)
        raise wandb.errors.CommError("no route to host\nsecond line")

    monkeypatch.setattr(wandb, "init", refuse)
    return calls


@pytest.mark.parametrize(
    ("environment", "login", "mode", "warns"),
    [
        ({}, None, "offline", False),
        ({"WANDB_API_KEY": "x" * 40}, None, "online", False),
        ({}, "api.wandb.ai", "online", False),
        ({}, "example.org", "offline", False),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, "wandb.example.org", "online", False),
        ({"WANDB_MODE": "offline"}, "api.wandb.ai", "offline", False),
        ({"WANDB_MODE": "online"}, "api.wandb.ai", "online", False),
        ({"WANDB_MODE": "online"}, None, "offline", True),
    ],
)
def test_online_or_offline(environment, login, mode, warns, asked_for, tmp_path, monkeypatch, capfd):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if login:
        (tmp_path / "home" / ".netrc").write_text(f"machine {login}\n  login user\n  password {'x' * 40}\n")
        (tmp_path / "home" / ".netrc").chmod(0o600)
    start(config={})
    assert asked_for[0]["settings"].mode == mode
    assert ("WANDB_MODE=online, but there is no login" in capfd.readouterr().err) == warns


def use_all(tracker, tmp_path):
    tracker.log({"score": 1.0})
    tracker.table("t", pd.DataFrame({"a": [1]}))
    tracker.image("i", tmp_path / "missing.png")
    tracker.artifact(tmp_path / "missing", "a", "predictions")
    tracker.summary({"score": 1.0})
    tracker.finish()


def test_a_start_that_fails_is_told_once(asked_for, tmp_path, capfd):
    tracker = start(config={"a": 1}, project="mine", name="n")
    assert isinstance(tracker, NullTracker)
    assert (tracker.where, tracker.run_id) == ("", None)
    use_all(tracker, tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        "warning: Weights & Biases: it could not be started (no route to host); going on without it. "
        "--no-wandb leaves it out\n"
    )
    assert (asked_for[0]["project"], asked_for[0]["name"], asked_for[0]["config"]) == ("mine", "n", {"a": 1})


def test_a_project_set_in_the_environment_is_used(asked_for, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    start()
    assert asked_for[0]["project"] == "theirs"


def test_wandb_that_cannot_be_imported_is_done_without(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = start()
    assert isinstance(tracker, NullTracker)
    use_all(tracker, tmp_path)
    assert capfd.readouterr().err.count("warning:") == 1


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_switched_off(how, asked_for, tmp_path, monkeypatch, capfd):
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = start(enabled=how == "environment", folder=tmp_path / "runs")
    use_all(tracker, tmp_path)
    assert isinstance(tracker, NullTracker)
    assert asked_for == []
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "runs").exists()


class BrokenRun:
    """A run of which nothing works."""

    id = "broken"
    offline = False
    url = "https://wandb.example.org/broken"
    dir = "somewhere"

    def __getattr__(self, name):
        raise OSError(f"{name}: no space left on device")


def test_failures_while_logging_are_told_once(tmp_path, capfd):
    tracker = WandbTracker(BrokenRun())
    assert tracker.where == "https://wandb.example.org/broken"
    use_all(tracker, tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("warning:") == 1
    assert "logging failed (log: no space left on device)" in err


def test_one_failure_does_not_stop_the_others(tmp_path, capfd):
    tracker = start(folder=tmp_path / "work" / "runs")
    tracker.image("i", tmp_path / "missing.png")
    tracker.summary({"score": 0.5})
    tracker.finish()
    assert "logging picture i failed" in capfd.readouterr().err
    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*")
    assert read_run(folder)["summary"]["score"] == 0.5


def test_a_run_that_is_already_open_is_used_and_left_open(tmp_path):
    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    mine = wandb.init(project="mine", dir=str(tmp_path), config={"a": 1}, settings=settings)
    tracker = start(config={"b": 2}, folder=tmp_path / "runs")
    tracker.log({"score": 0.75})
    tracker.finish()
    assert wandb.run is mine
    assert tracker.run_id == mine.id
    mine.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    found = read_run(folder)
    assert found["config"].items() >= {"a": 1, "score": {"b": 2}}.items()
    assert found["history"][0]["score"] == 0.75
