"""What reaches Weights & Biases' files, read back with a reader written here, and what happens when W&B fails."""

from __future__ import annotations

import getpass
import json
import re
import socket
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.paths import PROJECT
from common.tracking.runs import RunReference, find_run, logged_at, write_run
from common.tracking.tracker import Line, LoggedPicture, Tracker, is_configured, start

wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed")
CliRunner = pytest.importorskip("click.testing").CliRunner
pytestmark = pytest.mark.usefixtures("apart", "wandb_service")


@pytest.fixture
def train_like_ultralytics(wandb_files):
    """Opens and closes a run as Ultralytics' W&B callback does."""

    def train(run_dir, project="Ultralytics", run_id="train_20250101", folder=None, **more):
        run_dir.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
        config = {"model": "yolov8n.pt", **more, "save_dir": str(run_dir)}
        run = wandb.init(
            project=project, name="train", id=run_id, config=config, dir=str(folder or run_dir), settings=settings
        )
        run.log({"metrics/mAP50(B)": 0.1, "epoch": 1})
        run.finish()
        wandb_files.finished(Path(run.dir).parent)

    return train


def test_everything_logged_is_in_the_files(tmp_path, capfd, wandb_files):
    file = tmp_path / "work" / "predictions.csv"
    file.write_text("image_id,confidence\n")
    tracker = start(config={"confidence": 0.3, "split": "test"}, group="night", folder=tmp_path / "work" / "runs")
    tracker.log({"score": 0.5, "interval": [0.4, 0.6]})
    tracker.log({"score": 0.25})
    frame = pd.DataFrame({"score": [0.5, np.nan], "view": ["AP", None]}, index=pd.Index(["a", "b"], name="image_id"))
    tracker.log({"views": frame})
    pixels = np.zeros((6, 9, 3), np.uint8)
    tracker.log({"overlay": LoggedPicture(pixels, "a miss")})
    tracker.artifact(file, "predictions of test", "predictions")
    tracker.summary({"rsna_score": 0.25, "map50": None})
    tracker.finish()
    assert capfd.readouterr() == ("", "")

    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*")
    found = wandb_files.read(folder)
    assert (found["id"], found["project"], found["job_type"]) == (tracker.reference.id, "rsna-pneumonia", "score")
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


def test_the_run_of_the_training_is_continued(tmp_path, capfd, wandb_files, train_like_ultralytics):
    run_dir = tmp_path / "work" / "runs" / "detect" / "train"
    train_like_ultralytics(run_dir, data="rsna.yaml")
    # What else lies about: the training of another model, and the score of a third thing, which is no training at all.
    train_like_ultralytics(tmp_path / "work" / "runs" / "detect" / "train2", run_id="other")
    start(config={}, folder=tmp_path / "work" / "runs").finish()

    tracker = start(config={"data": "other.yaml"}, run_dir=run_dir, folder=tmp_path / "work" / "runs")
    tracker.log({"score": 0.2})
    tracker.finish()
    assert capfd.readouterr() == ("", "")
    assert tracker.reference.id == "train_20250101"
    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*-train_20250101")
    found = wandb_files.read(folder)
    assert (found["id"], found["project"]) == ("train_20250101", "Ultralytics")
    assert found["config"]["score"] == {"data": "other.yaml"}
    assert "data" not in found["config"]  # the training's own setting stays
    assert found["job_type"] == ""
    assert found["history"][0]["score"] == 0.2


def test_no_file_names_the_machine_its_user_or_a_folder(tmp_path, wandb_files):
    config = {"data": str(tmp_path / "data.yaml"), "members": [tmp_path / "a.pt"], "save_dir": str(PROJECT / "runs/x")}
    tracker = start(config={**config, "lr0": 0.1, "ratio": "/"}, folder=tmp_path / "work", stats=True)
    tracker.log({"score": 0.5})
    tracker.finish()
    (folder,) = (tmp_path / "work" / "wandb").glob("offline-run-*")
    found = wandb_files.read(folder)["config"]
    assert found.items() >= {"data": "data.yaml", "members": ["a.pt"], "save_dir": "runs/x", "lr0": 0.1}.items()
    private = {str(tmp_path), str(PROJECT), sys.executable, getpass.getuser(), socket.gethostname()}
    uploaded = [*folder.glob("*.wandb"), *(folder / "files").rglob("*")]
    texts = [file.read_bytes() for file in uploaded if file.is_file() and file.name != "requirements.txt"]
    for word in private:
        whole = re.compile(rb"(?<![A-Za-z])" + re.escape(word.encode()) + rb"(?![A-Za-z])")
        assert not any(whole.search(text) for text in texts), word


def test_lines_boxes_steps_axes_and_aliases(tmp_path, wandb_files):
    tracker = start(job_type="train", name="quick", group="night", folder=tmp_path / "runs", stats=True)
    tracker.axis("epoch", ["train", "lr"])
    tracker.log({"epoch": 7, "train/loss": 0.5}, step=7)
    curve = pd.DataFrame({"confidence": [0.9, 0.1], "score": [0.25, 0.5]})
    truth, predictions = np.array([[1.0, 2, 3, 4]]), np.array([[0.75, 2, 2, 4, 3]])
    pictures = [LoggedPicture(np.full((8, 10), 100, np.uint8), name, truth, predictions) for name in ("a", "b")]
    tracker.log({"curve": Line(curve, "confidence", "score", "a curve"), "examples": pictures}, step=9)
    (tmp_path / "best.pt").write_bytes(b"weights")
    tracker.artifact(tmp_path / "best.pt", "weights", "model", aliases=["best"])
    tracker.finish()

    (folder,) = (tmp_path / "runs" / "wandb").glob("offline-run-*")
    found = wandb_files.read(folder)
    assert (found["name"], found["group"], found["job_type"]) == ("quick", "night", "train")
    assert found["axes"] == {"train/*": "epoch", "lr/*": "epoch"}
    assert [step["step"] for step in found["history"]] == [7, 9]
    assert found["stats"] >= 1
    assert "best" in found["model"].aliases
    (table,) = folder.glob("files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [[0.9, 0.25], [0.1, 0.5]]
    step = found["history"][1]
    assert step["examples.captions"] == ["a", "b"]
    shown = step["examples.all_boxes"][0]
    layers = {name: json.loads((folder / "files" / shown[name]["path"]).read_text()) for name in shown}
    (box,) = layers["truth"]["box_data"]
    assert box["position"] == {"minX": 1, "minY": 2, "maxX": 4, "maxY": 6}
    (other,) = layers["predictions"]["box_data"]
    assert other["position"] == {"minX": 2, "minY": 2, "maxX": 6, "maxY": 5}
    assert (other["scores"], other["domain"]) == ({"confidence": 0.75}, "pixel")
    assert layers["truth"]["class_labels"][str(box["class_id"])] == "truth"
    assert layers["truth"]["class_labels"][str(other["class_id"])] == "prediction"


def test_a_resumed_training_goes_on_in_its_own_run(tmp_path, wandb_files):
    folder = tmp_path / "work" / "run"
    for epoch in (1, 2):
        tracker = start(config={"lr": 0.5}, run_dir=folder, job_type="train", name="run", group="g", folder=folder)
        write_run(folder, tracker.reference, tracker.where)
        tracker.log({"epoch": epoch}, step=epoch)
        tracker.finish(failed=epoch == 1)
    first, second = (wandb_files.read(part) for part in wandb_files.parts(folder))
    assert (first["exit_code"], second["exit_code"]) == (1, 0)
    assert [step["step"] for step in first["history"] + second["history"]] == [1, 2]
    for found in (first, second):
        assert (found["id"], found["config"]["lr"], found["group"]) == (first["id"], 0.5, "g")
    assert logged_at(folder) == f"kept offline; upload it with: wandb sync run/wandb/offline-run-*-{first['id']}*"
    assert logged_at(tmp_path) == ""


def test_a_folder_is_that_of_the_moment_wherever_wandb_was_started(tmp_path, monkeypatch, wandb_files):
    """W&B's background process outlives a run, and keeps the working folder that it was started in."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        tracker = start(folder=Path("runs"), name=name)
        tracker.log({"value": 1}, step=1)
        tracker.finish()
        (part,) = wandb_files.parts(tmp_path / name / "runs")
        assert wandb_files.read(part)["name"] == name


def test_each_run_of_a_process_keeps_its_artifacts_in_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    for name in ("one", "two"):
        tracker = start(folder=tmp_path / name)
        tracker.artifact(tmp_path / "a.txt", "a", "text")
        tracker.finish()
        assert [file.read_text() for file in (tmp_path / name / "wandb" / "staging").rglob("tmp*")] == ["a"]
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "theirs"))
    tracker = start(folder=tmp_path / "three")
    tracker.artifact(tmp_path / "a.txt", "a", "text")
    tracker.finish()
    assert [file.read_text() for file in (tmp_path / "theirs").rglob("tmp*")] == ["a"]


def test_runs_are_found_wherever_they_were_logged(tmp_path, train_like_ultralytics):
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


def log_in(tmp_path, server):
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text(f"machine {server}\n  login user\n  password {'x' * 40}\n")
    netrc.chmod(0o600)


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
        log_in(tmp_path, login)
    start(config={})
    assert asked_for[0]["settings"].mode == mode
    assert ("WANDB_MODE=online, but there is no login" in capfd.readouterr().err) == warns


@pytest.fixture
def logged_in(tmp_path, apart):
    """A login for W&B's own server, and a writer of W&B's settings files."""
    log_in(tmp_path, "api.wandb.ai")

    def settings(path, *lines):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["[default]", *lines, ""]))

    return settings


USER = "home/.config/wandb/settings"
WORKSPACE = "work/wandb/settings"


@pytest.mark.parametrize(
    ("environment", "files", "mode", "warning"),
    [
        ({}, {}, "online", ""),
        ({"WANDB_MODE": "run"}, {}, "run", ""),
        ({"WANDB_MODE": "shared"}, {}, "shared", ""),
        ({"WANDB_MODE": "dryrun"}, {}, "offline", ""),
        ({"WANDB_MODE": " 'Disabled' "}, {}, None, ""),
        ({"WANDB_MODE": "off"}, {}, None, ""),
        ({"WANDB_MODE": "onlin"}, {}, "offline", "WANDB_MODE=onlin; logging offline"),
        ({"WANDB_SILENT": "true"}, {}, "online", ""),
        *(({"WANDB_DISABLED": value}, {}, None, "") for value in ("true", "True", "1", "yes", "on", "t", "ja")),
        *(({"WANDB_DISABLED": value}, {}, "online", "") for value in ("", "false", "0", "No", "off")),
        ({"WANDB_DISABLED": "true", "WANDB_MODE": "offline"}, {}, None, ""),
        ({"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, {}, None, "WANDB_MODE=online, but WANDB_DISABLED=1"),
        ({}, {USER: ["mode = offline"]}, "offline", ""),
        ({}, {USER: ["mode = disabled"]}, None, ""),
        ({}, {WORKSPACE: ["mode = offline"]}, "offline", ""),
        ({}, {WORKSPACE: ["mode = disabled"]}, None, ""),
        ({}, {WORKSPACE: ["disabled = true"]}, None, ""),
        ({}, {WORKSPACE: ["mode = online", "entity = 100%us"]}, "online", ""),
        ({}, {WORKSPACE: ["entity = us"]}, "online", ""),
        ({}, {WORKSPACE: ["mode = of line"]}, "offline", "mode = of line; logging offline"),
        ({}, {WORKSPACE: ["neither this nor that"]}, "offline", "wandb/settings cannot be read; logging offline"),
        ({}, {"work/.wandb/settings": ["mode = offline"]}, "offline", ""),
        ({}, {USER: ["mode = disabled"], WORKSPACE: ["mode = online"]}, None, ""),
        ({}, {USER: ["mode = offline"], WORKSPACE: ["mode = disabled"]}, None, ""),
        ({"WANDB_MODE": "online"}, {USER: ["mode = disabled"]}, None, "mode = disabled; logging nothing"),
        ({"WANDB_MODE": "online"}, {WORKSPACE: ["mode = offline"]}, "offline", "mode = offline; logging offline"),
        ({"WANDB_MODE": "disabled"}, {WORKSPACE: ["mode = online"]}, None, ""),
        ({"WANDB_CONFIG_DIR": "../theirs"}, {"theirs/settings": ["mode = offline"]}, "offline", ""),
        ({"WANDB_DIR": "../there"}, {"there/wandb/settings": ["mode = disabled"]}, None, ""),
        ({"WANDB_DIR": "../there"}, {WORKSPACE: ["mode = disabled"]}, None, ""),
    ],
)
def test_every_switch_counts_and_only_towards_less(
    environment, files, mode, warning, asked_for, logged_in, monkeypatch, capfd
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for path, lines in files.items():
        logged_in(path, *lines)
    assert is_configured() == (mode is not None)
    assert capfd.readouterr() == ("", "")
    start()
    assert [call["settings"].mode for call in asked_for][:1] == ([mode] if mode else [])
    told = [line for line in capfd.readouterr().err.splitlines() if "no route to host" not in line]
    assert len(told) == bool(warning)
    assert warning in "".join(told)


@pytest.mark.parametrize(
    ("variable", "mode"),
    [(None, "offline"), ("https://wandb.example.org", "offline"), ("https://api.wandb.ai", "online")],
)
def test_a_login_counts_for_the_server_that_would_be_uploaded_to(variable, mode, asked_for, logged_in, monkeypatch):
    if variable:
        monkeypatch.setenv("WANDB_BASE_URL", variable)
    logged_in(USER, "base_url = https://wandb.example.org")
    start()
    assert asked_for[0]["settings"].mode == mode
    assert is_configured() == (mode == "online")


@pytest.mark.parametrize(
    ("commands", "mode"),
    [
        (["offline"], "offline"),
        (["disabled"], None),
        (["disabled", "enabled"], "online"),
        (["offline", "online"], "online"),
    ],
)
def test_commands_of_wandb_are_understood(commands, mode, asked_for, logged_in):
    """Not what the files look like today, but what the installed W&B writes."""
    wandb.teardown()
    for command in commands:
        CliRunner().invoke(import_module("wandb.cli.cli").cli, [command], catch_exceptions=False)
    wandb.teardown()
    start()
    assert [call["settings"].mode for call in asked_for][:1] == ([mode] if mode else [])


def test_settings_files_make_no_report_wanted(logged_in, tmp_path):
    """Without a login they are no reason to keep a page, whatever they say."""
    (tmp_path / "home" / ".netrc").unlink()
    logged_in(USER, "mode = online")
    assert not is_configured()


def test_an_offline_switch_logs_to_files_without_a_warning(logged_in, tmp_path, capfd, wandb_files):
    wandb.teardown()
    logged_in(WORKSPACE, "mode = offline")
    tracker = start(folder=tmp_path / "runs")
    tracker.log({"score": 0.5})
    tracker.finish()
    assert "warning" not in capfd.readouterr().err
    (folder,) = (tmp_path / "runs" / "wandb").glob("offline-run-*")
    assert wandb_files.read(folder)["history"][0]["score"] == 0.5


def test_an_open_run_that_is_online_is_left_alone_where_offline_is_asked_for(logged_in, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(wandb, "run", BrokenRun())
    logged_in(WORKSPACE, "mode = offline")
    tracker = start(config={"a": 1}, folder=tmp_path / "runs")
    assert tracker.reference is None
    assert "mode = offline, but the open run is online; nothing is logged to it" in capfd.readouterr().err


def test_a_server_out_of_reach_leaves_the_run_in_files(monkeypatch, tmp_path, capfd, wandb_files):
    init = wandb.init

    def unreachable(**arguments):
        if arguments["settings"].mode == "online":
            raise wandb.errors.CommError("no route to host")
        return init(**arguments)

    monkeypatch.setattr(wandb, "init", unreachable)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    tracker = start(folder=tmp_path / "runs")
    tracker.log({"score": 0.5})
    tracker.finish()
    assert capfd.readouterr().err == (
        "warning: Weights & Biases: cannot go online (no route to host); logging offline\n"
    )
    (folder,) = (tmp_path / "runs" / "wandb").glob("offline-run-*")
    assert wandb_files.read(folder)["history"][0]["score"] == 0.5


def use_all(tracker, tmp_path):
    tracker.log({"score": 1.0})
    tracker.axis("epoch", ["train"])
    tracker.log({"t": pd.DataFrame({"a": [1]})}, step=3)
    tracker.log({"i": LoggedPicture(tmp_path / "missing.png")})
    tracker.artifact(tmp_path / "missing", "a", "predictions")
    tracker.summary({"score": 1.0})
    tracker.finish()


def test_a_start_that_fails_is_told_once(asked_for, tmp_path, capfd):
    tracker = start(config={"a": 1}, project="mine", name="n")
    assert (tracker.where, tracker.reference) == ("", None)
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
    assert tracker.reference is None
    use_all(tracker, tmp_path)
    assert capfd.readouterr().err.count("warning:") == 1


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_switched_off(how, asked_for, tmp_path, monkeypatch, capfd):
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = start(enabled=how == "environment", folder=tmp_path / "runs")
    use_all(tracker, tmp_path)
    assert tracker.reference is None
    assert asked_for == []
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "runs").exists()


class BrokenRun:
    """A run of which nothing works."""

    id, project, entity = "broken", "p", ""
    offline = False
    url = "https://wandb.example.org/broken"
    dir = "somewhere"

    def __getattr__(self, name):
        raise OSError(f"{name}: no space left on device")


def test_failures_while_logging_are_told_once(tmp_path, capfd):
    tracker = Tracker(BrokenRun(), leave_out="wandb=False")
    assert tracker.where == "https://wandb.example.org/broken"
    use_all(tracker, tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("warning:") == 1
    assert "logging failed (log: no space left on device)" in err


def test_one_failure_does_not_stop_the_others(tmp_path, capfd, wandb_files):
    tracker = start(folder=tmp_path / "work" / "runs")
    tracker.log({"i": LoggedPicture(tmp_path / "missing.png"), "score": 0.75})
    tracker.summary({"score": 0.5})
    tracker.finish()
    assert "logging i failed" in capfd.readouterr().err
    (folder,) = (tmp_path / "work" / "runs" / "wandb").glob("offline-run-*")
    assert wandb_files.read(folder)["summary"]["score"] == 0.5


def test_a_run_that_is_already_open_is_used_and_left_open(tmp_path, wandb_files):
    settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
    mine = wandb.init(project="mine", dir=str(tmp_path), config={"a": 1}, settings=settings)
    tracker = start(config={"b": 2}, folder=tmp_path / "runs")
    tracker.log({"score": 0.75})
    tracker.finish()
    assert wandb.run is mine
    assert tracker.reference.id == mine.id
    mine.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    found = wandb_files.read(folder)
    assert found["config"].items() >= {"a": 1, "score": {"b": 2}}.items()
    assert found["history"][0]["score"] == 0.75
