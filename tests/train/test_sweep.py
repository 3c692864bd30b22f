from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
import yaml

from common.cli import execute
from evaluate.metrics.rsna import image_scores, rsna_score
from evaluate.score import main as score
from tests.evaluate.scores import suppressed
from train.study.run.cluster import temporary_folder
from train.sweep import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(data_set, tmp_path_factory) -> Path:
    """The data set with all that scoring reads: two images of each patient."""
    root = tmp_path_factory.mktemp("datasets") / "tiny"
    shutil.copytree(data_set, root)
    manifest = pd.read_csv(root / "manifest.csv")
    manifest["patient_id"] = [f"p{number // 2}" for number in range(len(manifest))]
    manifest = manifest.assign(width=64, height=64, view="AP", sex="F", age=40)
    manifest.to_csv(root / "manifest.csv", index=False)
    return root


@pytest.fixture(scope="module")
def space(data, cnn, tmp_path_factory):
    """Writes a space of trainings that take a second."""
    folder = tmp_path_factory.mktemp("spaces")

    def write(name: str, base: dict | None = None, **content) -> Path:
        quick = {
            "data": str(data / "data.yaml"), "model": str(cnn), "imgsz": 64, "batch": 4, "nbs": 4, "device": "cpu",
            "workers": 0, "optimizer": "AdamW", "lr0": 0.02, "warmup_epochs": 0, "mosaic": 0.0, "plots": False,
            "amp": False, "deterministic": False, "epochs": 2, "wandb": False, **(base or {}),
        }  # fmt: skip
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name, "base": quick, **content}, sort_keys=False))
        return file

    return write


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster of two nodes on this machine, of one core each."""
    from ray.cluster_utils import Cluster

    folder = temporary_folder()
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        started = Cluster(initialize_head=True, head_node_args=node)
        try:
            started.add_node(**node)
            yield started.address
        finally:
            started.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


BLOCK = {
    "name": "grid",
    "parameters": {"optimizer": ["AdamW", "SGD", "RMSprop"]},
    "only": {"optimizer": {"RMSprop": {"freeze": 99}}},  # of a network without a free weight no training begins
}


@pytest.fixture(scope="module")
def study(space, cluster, tmp_path_factory) -> Path:
    """A study of three trials, one of which fails, on the cluster."""
    folder = tmp_path_factory.mktemp("studies") / "grid"
    file = space("grid", title="Grid", about="Which one", blocks=[BLOCK])
    assert execute(main, [str(file), "--output", str(folder), "--ray", cluster]) == 0
    return folder


def record(study: Path, trial: str = "t000") -> dict:
    return json.loads((study / "trials" / trial / "trial.json").read_text())


def results(study: Path, trial: str) -> list[dict[str, str]]:
    with open(study / "trials" / trial / "run" / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def processes() -> list[str]:
    return [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]


def wait_for(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within five minutes")


def state(study: Path, trial: str = "t000") -> dict:
    return json.loads((study / "trials" / trial / "state.json").read_text())


def test_what_a_study_says_about_itself(study, data):
    content = json.loads((study / "study.json").read_text())
    assert (content["name"], content["title"], content["about"]) == ("grid", "Grid", "Which one")
    assert list(content) == [
        "name", "title", "about", "method", "trials", "seed", "base", "seeds", "folds", "scheduler", "blocks",
        "controls", "versions", "command", "commit", "created", "data", "fingerprint", "synthetic", "machine",
        "threads",
    ]  # fmt: skip
    assert (content["method"], content["seeds"], content["folds"], content["scheduler"]) == ("grid", [0], None, None)
    assert content["data"] == str(data / "data.yaml")
    assert content["base"]["imgsz"] == 64
    assert content["blocks"][0]["parameters"] == BLOCK["parameters"]
    assert content["command"].startswith("python train/sweep.py ")
    assert len(content["fingerprint"]) == 64
    assert content["machine"].startswith("2 nodes with together 2 cores, no GPU (")
    assert content["machine"].endswith(f", {torch.backends.cpu.get_cpu_capability()})")
    assert {"python", "torch", "ultralytics", "ray", "optuna"} <= content["versions"].keys()
    assert {path.name for path in study.iterdir()} >= {"study.json", "trials"}
    assert not (study / ".tune").exists()


def test_what_a_trial_says_about_itself(study):
    trial = record(study)
    assert (trial["id"], trial["blocks"], trial["settings"]) == ("t000", ["grid"], {"optimizer": "AdamW"})
    assert (trial["seed"], trial["fold"], trial["status"], trial["error"]) == (0, None, "finished", None)
    rows = results(study, "t000")
    assert trial["epochs"] == len(rows) == 2
    assert trial["best_epoch"] == 1 + max((0, 1), key=lambda row: float(rows[row]["metrics/RSNA(B)"]))
    assert trial["steps"] == 2 * 16 / 4  # epochs x images / batch
    for split in ("val", "test"):
        assert sum(trial[split]["lost"].values()) == pytest.approx(1 - trial[split]["score"])
    assert trial["parameters"] == 93_545
    assert trial["gflops"] > 0
    assert trial["milliseconds"] > 0
    assert trial["seconds"] > 0
    assert trial["weights"] == "trials/t000/run/weights/best.pt"
    assert len(trial["weights_sha256"]) == 64
    assert trial["data_fingerprint"] == json.loads((study / "study.json").read_text())["fingerprint"]
    assert list(trial) == [
        "id", "setting", "blocks", "settings", "arguments", "seed", "fold", "status", "error", "epochs", "best_epoch",
        "steps", "val", "test", "map50_95", "seconds", "parameters", "gflops", "milliseconds", "command", "weights",
        "weights_sha256", "data_fingerprint",
    ]  # fmt: skip
    assert sorted(path.name for path in (study / "trials" / "t000" / "run" / "weights").iterdir()) == [
        "best.pt",
        "last.pt",
    ]
    assert "Starting training for 2 epochs" in (study / "trials" / "t000" / "log.txt").read_text()


def test_trials_score_as_the_command_does(study, data, tmp_path):
    trial = record(study)
    assert trial["val"]["score"] > 0
    argv = [str(study / trial["weights"]), "--output", str(tmp_path), "--no-report", "--no-wandb", "--device", "cpu"]
    argv += ["--fit", "confidence"]
    assert execute(score, argv) == 0
    wanted = json.loads((tmp_path / "score.json").read_text())
    assert trial["val"]["confidence"] == wanted["confidence"]
    for split in ("val", "test"):
        assert trial[split]["score"] == wanted["splits"][split]["score"]
        assert trial[split]["interval_95"] == (wanted["splits"][split]["interval_95"] or [None, None])
    assert trial["map50_95"] == wanted["splits"]["val"]["map50_95"]
    table = pd.read_csv(study / "trials" / "t000" / "scores.csv")
    assert list(table.columns) == ["image_id", "patient_id", "split", "score"]
    truth = pd.read_csv(data / "truth.csv")
    for split, count in (("val", 8), ("test", 4)):
        rows = table[table["split"] == split].set_index("image_id")
        predictions = suppressed(pd.read_csv(tmp_path / f"predictions_{split}.csv"))
        of_split = truth[truth["image_id"].isin(rows.index)]
        expected = image_scores(of_split, predictions, trial["val"]["confidence"])
        assert len(rows) == count
        pd.testing.assert_series_equal(rows["score"], expected.reindex(rows.index), check_names=False)
        assert rows["score"].mean() == pytest.approx(trial[split]["score"])
        assert rsna_score(of_split, predictions, trial["val"]["confidence"]) == trial[split]["score"]
    manifest = pd.read_csv(data / "manifest.csv").set_index("image_id")
    assert (table.set_index("image_id")["patient_id"] == manifest["patient_id"].reindex(table["image_id"])).all()


def test_trials_differ(study):
    import torch
    from ultralytics.nn.tasks import load_checkpoint

    first, second = record(study), record(study, "t001")
    assert first["arguments"]["optimizer"] != second["arguments"]["optimizer"]
    kept = [yaml.safe_load((study / "trials" / one / "run" / "args.yaml").read_text()) for one in ("t000", "t001")]
    assert [one["optimizer"] for one in kept] == ["AdamW", "SGD"]
    weights = [load_checkpoint(study / one["weights"])[0].state_dict() for one in (first, second)]
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert first["weights_sha256"] != second["weights_sha256"]


def test_a_command_repeats_the_trial_bit_by_bit_on_as_many_cores(study, tmp_path):
    from ultralytics.nn.tasks import load_checkpoint

    trial = record(study)
    argv = [sys.executable, str(ROOT / "train" / "train.py"), *shlex.split(trial["command"])[2:], f"project={tmp_path}"]
    # In a process of its own, with what the report says to export.
    threads = str(json.loads((study / "study.json").read_text())["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    repeated = load_checkpoint(tmp_path / "train" / "weights" / "best.pt")[0].state_dict()
    kept = load_checkpoint(study / trial["weights"])[0].state_dict()
    assert repeated.keys() == kept.keys()
    assert all(torch.equal(repeated[name], kept[name]) for name in kept)


def test_a_failure_is_recorded_and_not_fatal(study, capsys):
    trial = record(study, "t002")
    assert trial["status"] == "failed"
    assert trial["error"].startswith("freeze: found 99, which leaves nothing of the network to train")
    for name in ("epochs", "best_epoch", "val", "test", "map50_95", "seconds", "parameters", "gflops", "milliseconds"):
        assert trial[name] is None
    assert trial["weights"] is None
    assert "Traceback" in (study / "trials" / "t002" / "error.txt").read_text()


def test_a_finished_study_is_left_alone_and_a_failure_tried_again(study, space, cluster, capsys):
    before = {path: path.stat().st_mtime_ns for path in study.glob("trials/t00[01]/**/*")}
    file = space("grid", title="New title", about="Which one", blocks=[BLOCK])
    assert execute(main, [str(file), "--output", str(study), "--ray", cluster]) == 0
    said = capsys.readouterr().out
    assert "3 trials, 2 of them done" in said
    assert said.count("FAILED") == 1
    assert "3 trials: 2 finished, 0 stopped early, 1 failed" in said
    assert "best     optimizer=" in said
    assert "python train/train.py " in said
    assert {path: path.stat().st_mtime_ns for path in study.glob("trials/t00[01]/**/*")} == before
    assert [state(study, f"t00{number}")["starts"] for number in range(3)] == [1, 1, 2]
    assert json.loads((study / "study.json").read_text())["title"] == "New title"


def test_another_space_is_refused_with_what_changed(study, space, capsys):
    file = space("grid", base={"epochs": 3}, seeds=[0, 1], parameters={"optimizer": ["AdamW", "SGD"]})
    assert execute(main, [str(file), "--output", str(study)]) == 2
    error = capsys.readouterr().err
    assert "base.epochs was 2, now 3" in error
    assert "seeds was [0], now [0, 1]" in error
    assert 'blocks.grid.parameters.optimizer was ["AdamW", "SGD", "RMSprop"], now ["AdamW", "SGD"]' in error
    assert "Choose another --output" in error
    (study.parent / "other").mkdir()
    (study.parent / "other" / "mine.txt").write_text("mine")
    assert execute(main, [str(file), "--output", str(study.parent / "other"), "--overwrite"]) == 2
    assert "not a study made here (no study.json; found mine.txt)" in capsys.readouterr().err
    assert (study.parent / "other" / "mine.txt").exists()


@pytest.fixture
def temporary(monkeypatch):
    """Where Ray has its temporary folder."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)  # the cluster's
    folder = temporary_folder()
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield folder
    shutil.rmtree(folder)


def test_a_killed_study_goes_on_where_it_was(space, tmp_path, temporary):
    """On this machine alone: Ray is started and ended by the command."""
    # The second of three trials takes long enough to be in its middle when the workers notice that the command is gone.
    block = {"name": "b", "parameters": {"lr0": [0.02, 0.01, 0.005]}, "only": {"lr0": {0.01: {"epochs": 80}}}}
    file = space("killed", base={"epochs": 15}, blocks=[block])
    study = tmp_path / "study"
    # In processes of their own: one process cannot belong to the cluster and then start its own Ray.
    argv = [sys.executable, str(ROOT / "train" / "sweep.py"), str(file), "--output", str(study)]
    argv += ["--trials-at-once", "1", "--cpus-per-trial", "1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        half_done = study / "trials" / "t001" / "run" / "weights" / "last.pt"
        wait_for(lambda: half_done.exists() or process.poll() is not None)
        process.kill()
    wait_for(lambda: not [line for line in processes() if temporary in line])  # its workers follow it
    first = study / "trials" / "t000" / "trial.json"
    made = first.stat().st_mtime_ns
    assert half_done.exists()
    assert not (study / "trials" / "t001" / "trial.json").exists()
    assert not (study / "trials" / "t002").exists()
    assert not state(study, "t001")["trained"]
    assert 0 < len(results(study, "t001")) < 80
    again = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "3 trials, 1 of them done" in again.stdout
    assert "Traceback" not in again.stderr
    assert "WARNING" not in again.stderr
    assert "should differ" not in again.stderr  # its own last.pt is what the second one is kept to have started from
    assert len(list(Path(temporary).iterdir())) == 1  # of the killed one
    assert first.stat().st_mtime_ns == made
    assert [state(study, f"t00{number}")["starts"] for number in range(3)] == [1, 2, 1]
    assert [int(row["epoch"]) for row in results(study, "t001")] == list(range(1, 81))
    assert f"Resuming training {study}" in (study / "trials" / "t001" / "log.txt").read_text()
    assert {record(study, f"t00{number}")["status"] for number in range(3)} == {"finished"}
    assert not (study / ".tune").exists()


def test_tpe_with_early_termination(space, cluster, tmp_path, capsys):
    file = space(
        "tpe",
        base={"epochs": 4},
        method="tpe",
        trials=4,
        scheduler={"type": "asha", "grace": 1, "reduction": 2},
        parameters={"optimizer": ["SGD", "AdamW"], "lr0": {"low": 1e-5, "high": 1e-1, "log": True}},
    )
    study = tmp_path / "tpe"
    argv = [str(file), "--output", str(study), "--ray", cluster, "--trials-at-once", "1"]
    assert execute(main, argv) == 0
    records = [record(study, f"t00{number}") for number in range(4)]
    assert len({json.dumps(one["settings"]) for one in records}) == 4
    assert all(1e-5 <= one["settings"]["lr0"] <= 1e-1 for one in records)
    assert {one["status"] for one in records} <= {"finished", "stopped"}
    for one in records:
        assert (one["status"] == "stopped") == (one["epochs"] < 4)
        assert one["val"]["score"] >= 0
        folder = study / "trials" / one["id"] / "run" / "weights"
        assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "last.pt"]
    # The last that finished, done again: what is over stays, and counts for the sampler.
    shutil.rmtree(study / "trials" / "t003")
    before = {one["id"]: (study / "trials" / one["id"] / "trial.json").stat().st_mtime_ns for one in records[:3]}
    assert execute(main, argv) == 0
    assert "4 trials, 3 of them done" in capsys.readouterr().out
    assert {i: (study / "trials" / i / "trial.json").stat().st_mtime_ns for i in before} == before
    again = [record(study, f"t00{number}")["settings"] for number in range(4)]
    assert len({json.dumps(one) for one in again}) == 4
