"""What a training leaves in Weights & Biases' offline files, and that no failure of W&B reaches it."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from common.cli import execute
from common.quiet_ultralytics import import_ultralytics
from evaluate.metrics.rsna import rsna_score

import_ultralytics()
import wandb  # noqa: E402

from common.data.fingerprint import data_fingerprint  # noqa: E402
from common.tracking.runs import find_run  # noqa: E402
from common.tracking.tracker import LoggedPicture, start  # noqa: E402
from train.detector import tracking  # noqa: E402
from train.detector import trainer as ours  # noqa: E402
from train.detector.results import CONFIDENCE, SCORE  # noqa: E402
from train.detector.validation import ImageResult, to_tables  # noqa: E402
from train.settings.options import DEFAULTS  # noqa: E402
from train.train import main  # noqa: E402

from ..conftest import kill_when  # noqa: E402

pytestmark = pytest.mark.usefixtures("apart", "wandb_service")
LOGGED = {"wandb": True, "group": "night", "mosaic": 0.0, "iou_loss": "siou"}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def logged(apart_once, train):
    """A training with W&B and plots, from a home that knows nothing of W&B."""
    trainer = train(apart_once / "runs", epochs=2, plots=True, **LOGGED)
    trainer.home = apart_once.parent / "home"
    return trainer


@pytest.fixture(scope="module")
def found(logged, wandb_files):
    """What W&B's file of that training holds."""
    (folder,) = wandb_files.parts(logged.save_dir)
    return wandb_files.read(folder) | {"folder": folder}


def test_the_run_is_the_trainings(logged, found, data_set):
    assert (found["name"], found["group"], found["job_type"]) == ("train", "night", "train")
    assert (found["project"], found["exit_code"]) == ("rsna-pneumonia", 0)
    assert find_run(logged.save_dir).id == found["id"]
    arguments = yaml.safe_load((logged.save_dir / "args.yaml").read_text())
    assert arguments.keys() > DEFAULTS.keys()
    places = {"data": "data.yaml", "project": "runs", "save_dir": "train"}  # by name alone: runs are shared
    assert found["config"].items() >= {**arguments, **places, "model": Path(arguments["model"]).name}.items()
    description = yaml.safe_load((data_set / "data.yaml").read_text())
    assert found["config"]["data_fingerprint"] == data_fingerprint({"val": str(data_set / description["val"])})
    assert (found["config"]["train_images"], found["config"]["val_images"]) == (16, 8)
    assert found["stats"] >= 1  # the machine's load
    assert not [file for file in logged.home.rglob("*") if "wandb" in file.name]
    assert [file.name for file in logged.home.with_name("work").iterdir()] == ["runs"]


def test_every_epoch_is_logged_as_it_stands_in_the_results(logged, found):
    epochs = [step for step in found["history"] if SCORE in step]
    assert [(step["step"], step["epoch"]) for step in epochs] == [(1, 1), (2, 2)]
    for step, row in zip(epochs, rows(logged.save_dir), strict=True):
        for name in row.keys() - {"time"}:
            assert step[name] == pytest.approx(float(row[name]), rel=1e-5), name
    assert found["axes"].items() >= {f"{group}/*": "epoch" for group in ("train", "val", "metrics", "lr")}.items()


def test_the_summary_is_the_best_epoch(logged, found):
    best = max(rows(logged.save_dir), key=lambda row: float(row[SCORE]))
    assert found["summary"]["best_epoch"] == int(best["epoch"])
    assert found["summary"]["best_rsna_score"] == float(best[SCORE]) > 0
    assert found["summary"]["best_confidence"] == float(best[CONFIDENCE])


def test_the_curve_is_the_rsna_score_at_each_confidence(logged, found):
    last = found["history"][-1]
    assert last["step"] == 3
    curve = json.loads((found["folder"] / "files" / last["rsna/curve_table.path"]).read_text())
    assert curve["columns"] == ["confidence", "score"]
    assert 2 <= len(curve["data"]) <= 200
    truth, predictions = to_tables(logged.validator.metrics.results)
    for confidence, score in curve["data"][:: max(1, len(curve["data"]) // 10)]:
        assert score == pytest.approx(rsna_score(truth, predictions, confidence))
    assert max(score for _, score in curve["data"]) == pytest.approx(logged.validator.metrics.score)
    assert "rsna/curve_table.path" in found["history"][0]  # of the first epoch, the best so far


def test_example_pictures_have_their_boxes(logged, found, data_set):
    truth = pd.read_csv(data_set / "truth.csv").set_index("image_id")
    for step, row in zip(found["history"][:2], rows(logged.save_dir), strict=True):
        # 4 of 8 pictures with boxes, and the 2 without.
        assert step["examples.captions"] == ["val01", "val02", "val03", "val05", "val00", "val04"]
        scored = 0
        for name, file, layers in zip(
            step["examples.captions"], step["examples.filenames"], step["examples.all_boxes"], strict=True
        ):
            layers = {
                layer: json.loads((found["folder"] / "files" / layers[layer]["path"]).read_text())["box_data"]
                for layer in ("truth", "predictions")
            }
            drawn = [list(box["position"].values()) for box in layers["truth"]]
            expected = truth.loc[[name], ["x", "y", "width", "height"]].dropna()
            corners = np.column_stack([expected.iloc[:, :2], expected.iloc[:, :2] + expected.iloc[:, 2:].to_numpy()])
            assert np.array(drawn).reshape(-1, 4) == pytest.approx(corners, abs=0.01)
            confidences = [box["scores"]["confidence"] for box in layers["predictions"]]
            assert all(confidence >= float(row[CONFIDENCE]) - 1e-5 for confidence in confidences)
            scored += len(confidences)
            pixels = cv2.imread(str(found["folder"] / "files" / file), cv2.IMREAD_GRAYSCALE)
            original = cv2.imread(str(data_set / "images" / "val" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            assert np.abs(pixels.astype(int) - original).mean() < 8  # JPEG
        assert scored > 0


def test_plots_and_the_best_weights_are_kept(logged, found):
    last = found["history"][-1]
    for name in ("results", "confusion_matrix", "BoxPR_curve", "labels"):
        assert (found["folder"] / "files" / last[f"plots/{name}.path"]).is_file()
    assert [kind for kind, _ in found["artifacts"]].count("model") == 1
    artifact = found["model"]
    assert (artifact.name, "best" in artifact.aliases) == (f"model-{found['id']}", True)
    (entry,) = artifact.manifest.contents
    assert Path(entry.local_path).read_bytes() == logged.best.read_bytes()
    assert logged.save_dir in Path(entry.local_path).parents


def test_the_score_goes_into_the_same_run(logged, found):
    tracker = start(run_dir=logged.save_dir, folder=logged.save_dir)
    tracker.finish()
    assert tracker.reference.id == found["id"]
    assert tracker.where.endswith(f"offline-run-*-{found['id']}*")  # the training's and the score's


def test_large_pictures_are_reduced_with_their_boxes(tmp_path):
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((500, 1000), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.full((100, 50), 90, np.uint8))
    labels = [
        {"im_file": str(tmp_path / name), "cls": np.array(classes).reshape(-1, 1)}
        for name, classes in (("wide.png", [1]), ("small.png", [0, 0]), ("gone.png", [1]))
    ]
    examples = tracking.choose_examples(labels, positive=1)
    assert list(examples) == [str(tmp_path / "wide.png"), str(tmp_path / "small.png")]
    wide = ImageResult(
        str(tmp_path / "wide.png"),
        np.array([[100.0, 50, 200, 300]]),
        np.array([[0.9, 500, 250, 100, 50], [0.5, 0, 0, 1000, 500], [0.4, 1, 1, 1, 1]]),
    )
    small = ImageResult(str(tmp_path / "small.png"), np.empty((0, 4)), np.empty((0, 5)))
    first, second = tracking.draw_examples(examples, [small, wide], confidence=0.5)
    assert isinstance(first, LoggedPicture)
    assert (first.image.shape, second.image.shape) == ((192, 384), (100, 50))
    assert first.truth == pytest.approx(np.array([[38.4, 19.2, 76.8, 115.2]]))
    assert first.predictions == pytest.approx(np.array([[0.9, 192, 96, 38.4, 19.2], [0.5, 0, 0, 384, 192]]))
    assert (second.truth.shape, second.predictions.shape) == ((0, 4), (0, 5))


def train_until_killed(train, folder, monkeypatch, **arguments):
    """Train into `folder`, and be killed in the second epoch, of four steps as each."""
    step, calls = ours.RSNATrainer.optimizer_step, iter(range(100))

    def killed(self):
        if next(calls) == 6:
            raise Killed
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(ours.RSNATrainer, "optimizer_step", killed)
        with pytest.raises(Killed):
            train(folder, **arguments)


def test_wandb_can_be_left_out_of_a_resume(train, tmp_path, monkeypatch, wandb_files):
    train_until_killed(train, tmp_path, monkeypatch, epochs=2, **LOGGED)
    resumed = train(tmp_path, epochs=2, resume=str(tmp_path / "train" / "weights" / "last.pt"), wandb=False)
    assert len(rows(resumed.save_dir)) == 2
    assert len(wandb_files.parts(resumed.save_dir)) == 1
    assert yaml.safe_load((resumed.save_dir / "args.yaml").read_text())["wandb"] is False


def test_a_resumed_training_continues_its_run(train, tmp_path, monkeypatch, wandb_files):
    train_until_killed(train, tmp_path, monkeypatch, epochs=3, **LOGGED)
    run_dir = tmp_path / "train"
    known = find_run(run_dir)
    train(tmp_path, epochs=3, resume=str(run_dir / "weights" / "last.pt"), **LOGGED)
    first, second = (wandb_files.read(folder) for folder in wandb_files.parts(run_dir))
    assert first["id"] == second["id"] == known.id == find_run(run_dir).id
    assert (first["exit_code"], second["exit_code"]) == (1, 0)
    assert [step["step"] for step in first["history"]] == [1]
    assert [step["step"] for step in second["history"]] == [2, 3, 4]
    assert (second["group"], second["config"]["iou_loss"]) == ("night", "siou")
    assert first["config"]["model"].endswith("tiny-cnn.yaml")
    assert "model" not in second["config"]  # it would be last.pt
    assert ("model" in first, "model" in second) == (False, True)


def test_killed_in_the_last_validation(data_set, cnn, tmp_path, monkeypatch, wandb_files, capsys):
    argv = [f"data={data_set}", f"model={cnn}", f"project={tmp_path}", "imgsz=64", "batch=8", "epochs=1", "device=cpu"]
    argv += ["plots=False", "amp=False", "deterministic=False", "group=night"]
    with monkeypatch.context() as patch:
        patch.setattr("train.detector.trainer.RSNATrainer.final_eval", lambda self: sys.exit(9))
        with pytest.raises(SystemExit):
            main(argv)
    assert execute(main, ["resume", f"project={tmp_path}"]) == 0
    first, second = (wandb_files.read(folder) for folder in wandb_files.parts(tmp_path / "train"))
    assert (first["id"], first["exit_code"], second["exit_code"]) == (second["id"], 1, 0)
    assert "model" in second
    assert second["summary"]["best_epoch"] == 1
    assert second["group"] == "night"
    assert f"Weights & Biases: kept offline; upload it with: wandb sync {tmp_path / 'train'}" in capsys.readouterr().out


def test_a_killed_process_leaves_readable_files(data_set, cnn, tmp_path, wandb_files):
    argv = [f"data={data_set}", f"model={cnn}", f"project={tmp_path}", "imgsz=64", "epochs=500", "device=cpu"]
    argv += ["plots=False", "amp=False", "deterministic=False", "optimizer=SGD"]
    run_dir = tmp_path / "train"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kill_when(lambda: len(epochs_in_file(run_dir, wandb_files)) > 1, argv, tmp_path, environment)
    assert epochs_in_file(run_dir, wandb_files)[:2] == [1, 2]
    (folder,) = wandb_files.parts(run_dir)
    assert find_run(run_dir).id == folder.name.rsplit("-", 1)[1]


def epochs_in_file(run_dir, wandb_files):
    """The steps that W&B's file holds of a training that goes on or was killed."""
    records = [
        record
        for folder in wandb_files.parts(run_dir)
        for record in wandb_files.records(next(folder.glob("run-*.wandb")))
    ]
    return [record.history.step.num for record in records if record.WhichOneof("record_type") == "history"]


def fail(*_, **__):
    raise OSError("no space left on device")


@pytest.mark.parametrize("broken", ["import", "init", "log", "finish"])
def test_no_failure_of_wandb_reaches_the_training(broken, train, tmp_path, monkeypatch, capfd):
    if broken == "import":
        monkeypatch.setitem(sys.modules, "wandb", None)
    elif broken == "init":
        monkeypatch.setattr(wandb, "init", fail)
    else:
        run = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
        kind = type(run)
        run.finish()
        monkeypatch.setattr(kind, broken, fail)
    trainer = train(tmp_path, epochs=1, **LOGGED)
    monkeypatch.undo()
    wandb.teardown()  # with what `finish` has left open
    assert len(rows(trainer.save_dir)) == 1
    assert trainer.best.is_file()
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: Weights & Biases")]
    assert len(warnings) == 1
    assert "wandb=False leaves it out" in warnings[0]


@pytest.mark.parametrize("how", ["argument", "environment", "other process"])
def test_nothing_is_logged(how, train, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("W&B is asked for a run"))
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    if how == "other process":  # of several GPUs, not the first
        monkeypatch.setattr(ours, "RANK", 1)
        monkeypatch.setattr(ours.RSNATrainer, "_do_train", lambda self: self.run_callbacks("on_pretrain_routine_end"))
    trainer = train(tmp_path, epochs=1, wandb=how != "argument")
    assert not (trainer.save_dir / "wandb").exists()
    assert not (trainer.save_dir / "wandb_run.json").exists()
