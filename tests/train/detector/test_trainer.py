from __future__ import annotations

import csv
import itertools
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.utils import SETTINGS, torch_utils  # noqa: E402

from common.errors import UserError  # noqa: E402
from tests.train.conftest import QUICK  # noqa: E402
from train import ultralytics_setup  # noqa: E402
from train.detector import resuming  # noqa: E402
from train.detector import trainer as ours  # noqa: E402
from train.detector.results import CONFIDENCE, FIXED_SCORE, SCORE  # noqa: E402
from train.settings.options import DEFAULTS  # noqa: E402


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def rows(run: Path) -> list[dict[str, float]]:
    with open(run / "results.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def force_scores(monkeypatch, scores):
    """Let the validations of a training give these RSNA scores; the rest of the metrics stay what they are."""
    coming = iter(scores)
    monkeypatch.setattr("train.detector.validation.score_images", lambda results: (next(coming), 0.5, 0.0))


def saved_epochs(monkeypatch, make):
    """Train with `make`; give the epochs (from 1) at which best.pt was written."""
    written = []
    save = ours.RSNATrainer.save_model

    def watched(self):
        before = self.best.stat().st_mtime_ns if self.best.exists() else None
        done = save(self)
        if self.best.exists() and self.best.stat().st_mtime_ns != before:
            written.append(self.epoch + 1)
        return done

    monkeypatch.setattr(ours.RSNATrainer, "save_model", watched)
    return make(), written


def test_results_have_the_rsna_score_beside_map_and_best_is_its_highest_epoch(trained):
    found = rows(trained.save_dir)
    assert [row["epoch"] for row in found] == [1, 2, 3]
    assert {SCORE, CONFIDENCE, FIXED_SCORE, "metrics/mAP50-95(B)"} <= found[0].keys()
    assert all(0 <= row[SCORE] <= 1 and row[FIXED_SCORE] <= row[SCORE] for row in found)
    assert trained.best_fitness == max(row[SCORE] for row in found)
    assert trained.metrics[SCORE] == pytest.approx(trained.best_fitness, abs=2e-2)  # best.pt in half precision
    assert sorted(file.name for file in trained.wdir.iterdir()) == ["best.pt", "last.pt", "state-2.pt"]
    best, last = (torch.load(file, weights_only=False) for file in (trained.best, trained.last))
    assert best["optimizer"] is None
    assert best["train_results"][SCORE] == last["train_results"][SCORE]
    assert last["epoch"] == 2


def test_checkpoint_tells_how_far_its_pictures_were_scaled_down(train, data_set, tmp_path):
    data = Path(shutil.copytree(data_set, tmp_path / "data"))
    (data / "conversion.json").write_text('{"size": 64}')
    made = train(tmp_path / "runs", data=str(data / "data.yaml"), epochs=1, val=False)
    checkpoint = torch.load(made.best if made.best.exists() else made.last, weights_only=False)
    assert (checkpoint.get("ema") or checkpoint["model"]).picture_size == 64


@pytest.mark.parametrize(
    ("scores", "written", "epochs"),
    [
        ([0.2, 0.5, 0.3, 0.4, 0.1], [1, 2], 4),  # stops two epochs after the best one
        ([0.2, 0.5, 0.5, 0.5, 0.5], [1, 2], 4),  # equals do not count
        ([0.0, 0.0, 0.1, 0.0, 0.0], [1, 2, 3], 5),  # while there is nothing to lose, the latest
    ],
)
def test_best_and_early_stopping_follow_the_rsna_score(train, tmp_path, monkeypatch, scores, written, epochs):
    # mAP says something else: it rises all the time.
    rising = itertools.count(1)
    monkeypatch.setattr("ultralytics.utils.metrics.Metric.mean_results", lambda self: [0, 0, 0, next(rising) / 100])
    monkeypatch.setattr("ultralytics.utils.metrics.Metric.fitness", lambda self: next(rising) / 100)
    force_scores(monkeypatch, [*scores[:epochs], 0.9])
    monkeypatch.setattr(ours.RSNATrainer, "final_eval", lambda self: None)
    _, found = saved_epochs(monkeypatch, lambda: train(tmp_path, epochs=5, patience=2))
    assert found == written
    kept = torch.load(tmp_path / "train" / "weights" / "best.pt", weights_only=False)
    assert kept["epoch"] + 1 == written[-1]
    found = rows(tmp_path / "train")
    assert [row[SCORE] for row in found] == scores[:epochs]
    assert max(found, key=lambda row: row["metrics/mAP50-95(B)"])["epoch"] == epochs  # mAP would have chosen the last


def test_own_arguments_reach_the_run_and_unknown_ones_are_refused(train, tmp_path):
    trainer = train(tmp_path, epochs=1, iou_loss="siou", cls_loss="focal")
    written = yaml.safe_load((trainer.save_dir / "args.yaml").read_text())
    assert written["iou_loss"] == "siou"
    assert written.keys() >= DEFAULTS.keys()
    assert type(trainer.model.criterion).__module__ == "train.detector.criterion"
    with pytest.raises(SyntaxError, match="iou_los"):
        train(tmp_path, iou_los="siou")


def test_a_loss_argument_changes_its_term_and_no_other(train, tmp_path):
    """With weights that do not move, so that the other terms have to stay exactly what they are."""
    found = {}
    for name, loss in {"stock": {}, "ciou": {"iou_loss": "ciou"}, "giou": {"iou_loss": "giou"}}.items():
        found[name] = rows(train(tmp_path / name, epochs=1, lr0=0.0, **loss).save_dir)[0]
    stock, ciou, giou = found["stock"], found["ciou"], found["giou"]
    for term in ("cls", "dfl"):
        assert giou[f"train/{term}_loss"] == pytest.approx(stock[f"train/{term}_loss"], rel=1e-4)
    assert ciou["train/box_loss"] == pytest.approx(stock["train/box_loss"], rel=1e-4)  # the head's own
    assert giou["train/box_loss"] != pytest.approx(stock["train/box_loss"], rel=1e-3)


def test_quiet_with_all_cores_and_without_a_download(monkeypatch):
    assert not any(SETTINGS[name] for name in ("sync", "clearml", "comet", "dvc", "mlflow", "wandb", "tensorboard"))
    assert torch_utils.NUM_THREADS >= 1
    monkeypatch.setattr(torch_utils, "NUM_THREADS", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    ultralytics_setup.use_all_cores()
    assert torch_utils.NUM_THREADS == 3

    monkeypatch.setattr("ultralytics.utils.downloads.is_url", lambda *_, **__: pytest.fail("asks the network"))
    from ultralytics.utils.checks import check_font

    assert Path(check_font("Arial.ttf")).is_file()


def kill_on_call(patch, owner, name, number, when=lambda *args: True):
    """Let the `number`-th call (from 1) that `when` is true for end like a kill, before it does anything."""
    original, calls = getattr(owner, name), [0]

    def call(*args, **kwargs):
        calls[0] += when(*args)
        if calls[0] == number:
            calls[0] += 1
            raise Killed
        return original(*args, **kwargs)

    patch.setattr(owner, name, call)


KILLS = {
    "in an epoch": (ours.RSNATrainer, "preprocess_batch", 6),
    "between the row and the checkpoint": (ours.RSNATrainer, "save_model", 2),
    "before last.pt is replaced": (resuming.os, "replace", 2, lambda source, target: Path(target).name == "last.pt"),
}


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_and_resumed_training_is_the_undisturbed_one(train, trained, tmp_path, monkeypatch, point):
    assert_resumes_exactly(train, trained, tmp_path, monkeypatch, KILLS[point])


def test_wious_running_mean_is_resumed_too(train, tmp_path, monkeypatch):
    loss = {"iou_loss": "wiou", "wiou_updates": 5}
    whole = train(tmp_path / "whole", **loss)
    assert_resumes_exactly(train, whole, tmp_path, monkeypatch, KILLS["in an epoch"], **loss)


@pytest.mark.parametrize("warmup", [0, 2])
def test_gradients_that_are_gathered_over_the_end_of_an_epoch_are_resumed_too(train, tmp_path, monkeypatch, warmup):
    """A step every five batches, of which an epoch has four; during the warm-up oftener: every 1 + 4 batch / 8."""
    given = {"nbs": 20, "warmup_epochs": warmup}
    steps: list[int] = []
    with monkeypatch.context() as patch:
        step = DetectionTrainer.optimizer_step
        patch.setattr(DetectionTrainer, "optimizer_step", lambda self: (steps.append(self._batch), step(self))[1])
        whole = train(tmp_path / "whole", **given)
        undisturbed = steps.copy()
        steps.clear()
        assert_resumes_exactly(train, whole, tmp_path, monkeypatch, KILLS["in an epoch"], **given)
    assert undisturbed == ([4, 9] if not warmup else [0, 2, 6, 11])
    assert steps == [batch for batch in undisturbed if batch < 5] + [batch for batch in undisturbed if batch >= 4]


def assert_resumes_exactly(train, whole, tmp_path, monkeypatch, kill, **given):
    with monkeypatch.context() as patch:
        kill_on_call(patch, *kill)
        with pytest.raises(Killed):
            train(tmp_path / "cut", **given)
    last = tmp_path / "cut" / "train" / "weights" / "last.pt"
    resumed = train(tmp_path / "cut", resume=str(last), **given)
    assert resumed.save_dir == last.parents[1]
    assert [row["epoch"] for row in rows(whole.save_dir)] == [1, 2, 3]
    assert [without_time(row) for row in rows(resumed.save_dir)] == [without_time(row) for row in rows(whole.save_dir)]
    assert_equal(*(torch.load(run.best, weights_only=False)["model"].state_dict() for run in (resumed, whole)))
    assert_equal(*(torch.load(run.wdir / "state-2.pt", weights_only=True) for run in (resumed, whole)))
    assert sorted(file.name for file in resumed.wdir.iterdir()) == ["best.pt", "last.pt", "state-2.pt"]


def without_time(row):
    return {name: value for name, value in row.items() if name != "time"}


def assert_equal(found, expected, where=""):
    """The same to the last bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_equal(found[name], value, f"{where}/{name}")
    elif isinstance(expected, list):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{where}/{number}")
    else:
        assert found == expected, where


def assert_same_curve(found: Path, expected: Path):
    assert [row["epoch"] for row in rows(found)] == [row["epoch"] for row in rows(expected)]
    for column in rows(expected)[0].keys() - {"time"}:
        values = [row[column] for row in rows(expected)]
        assert [row[column] for row in rows(found)] == pytest.approx(values, rel=1e-4, abs=2e-5), column


def test_a_loss_that_is_no_number_is_recovered_from_with_the_losss_state_of_then(train, tmp_path, monkeypatch):
    """Also in the first epoch after a resume, as the undisturbed training would."""
    given = {"iou_loss": "wiou", "wiou_updates": 5, "nbs": 20}
    shorter = train(tmp_path, epochs=2, **given)
    kept = torch.load(shorter.wdir / "state-1.pt", weights_only=True)["running_means"]
    validate, spoilt, seen = ours.RSNATrainer.validate, [], []

    def spoil(self):
        if self.epoch == 2 and not spoilt:
            spoilt.append(True)
            self.loss = self.loss * math.nan
            for mean in resuming._running_means(resuming._criterion(self)):
                mean.value = mean.value * math.nan
        return validate(self)

    def watch(self, event, callbacks=ours.RSNATrainer.run_callbacks):
        callbacks(self, event)
        if event == "on_train_epoch_start":
            means = resuming._running_means(resuming._criterion(self))
            seen.append((self.epoch, [float(mean.value) for mean in means], self._last_step))

    monkeypatch.setattr(ours.RSNATrainer, "validate", spoil)
    monkeypatch.setattr(ours.RSNATrainer, "run_callbacks", watch)
    resumed = train(tmp_path, epochs=3, resume=str(shorter.last), **given)
    assert [epoch for epoch, *_ in seen] == [2, 2]
    assert seen[0][1] == seen[1][1] == [float(mean) for mean in kept] != []
    assert [last for *_, last in seen] == [4, -1]  # the gradients went with the weights that they belonged to
    assert [row["epoch"] for row in rows(resumed.save_dir)] == [1, 2, 3]


def test_more_epochs_after_a_finished_training_are_those_of_a_longer_one(train, tmp_path):
    # With a learning rate that does not depend on the number of epochs, there must be no seam.
    constant = {"lrf": 1.0, "close_mosaic": 0}
    longer = train(tmp_path / "longer", epochs=3, **constant)
    shorter = train(tmp_path / "shorter", epochs=2, **constant)
    resumed = train(tmp_path / "shorter", epochs=3, resume=str(shorter.last), **constant)
    assert resumed.save_dir == shorter.save_dir
    assert_same_curve(resumed.save_dir, longer.save_dir)


def test_nothing_but_the_weights_is_left_if_the_state_is_not_to_be_kept(train, tmp_path):
    trainer = train(tmp_path, epochs=1, keep_state=False)
    assert sorted(file.name for file in trainer.wdir.iterdir()) == ["best.pt", "last.pt"]
    assert torch.load(trainer.last, weights_only=False)["optimizer"] is None


def test_checkpoints_every_n_epochs_are_weights_to_start_from(train, tmp_path):
    trainer = train(tmp_path / "first", save_period=2, lr0=0.0)
    assert {file.name for file in trainer.wdir.glob("epoch*.pt")} == {"epoch0.pt", "epoch2.pt"}
    started = train(tmp_path / "second", model=str(trainer.wdir / "epoch2.pt"), epochs=1, lr0=0.0)
    before, after = (torch.load(one.best, weights_only=False)["model"].state_dict() for one in (trainer, started))
    for name in before:
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(before[name], after[name]), name


def test_more_epochs_on_resume(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_on_call(patch, *KILLS["in an epoch"])
        with pytest.raises(Killed):
            train(tmp_path)
    resumed = train(tmp_path, epochs=4, resume=str(tmp_path / "train" / "weights" / "last.pt"))
    assert [row["epoch"] for row in rows(resumed.save_dir)] == [1, 2, 3, 4]


# The smallest of each kind of head; end-to-end heads are resumed too, with either loss.
@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_architectures(train, tmp_path, monkeypatch, model):
    trainer = train(tmp_path, model=model, epochs=2, imgsz=32, batch=16, nbs=16)
    assert len(rows(trainer.save_dir)) == 2
    assert SCORE in rows(trainer.save_dir)[0]


@pytest.mark.parametrize("loss", [{}, {"iou_loss": "siou", "cls_loss": "varifocal"}], ids=["stock", "ours"])
def test_an_end_to_end_head_is_resumed_with_its_loss(train, tmp_path, monkeypatch, loss):
    seen = []
    update = import_e2e().update
    monkeypatch.setattr(import_e2e(), "update", lambda self: (update(self), seen.append((self.updates, self.o2m)))[0])
    arguments = {"model": "yolo26n.yaml", "imgsz": 32, "epochs": 3, "batch": 16, "nbs": 16, **loss}
    with monkeypatch.context() as patch:
        kill_on_call(patch, ours.RSNATrainer, "optimizer_step", 2)
        with pytest.raises(Killed):
            train(tmp_path, **arguments)
    resumed = train(tmp_path, resume=str(tmp_path / "train" / "weights" / "last.pt"), **arguments)
    kinds = {type(part).__module__ for part in (resumed.model.criterion.one2many, resumed.model.criterion.one2one)}
    assert kinds == {"train.detector.criterion" if loss else "ultralytics.utils.loss"}
    assert resumed.model.criterion.updates == 3
    weights = dict(seen)
    assert [weights[n] for n in (1, 2, 3)] == pytest.approx([0.45, 0.1, 0.1])


def import_e2e():
    from ultralytics.utils.loss import E2ELoss

    return E2ELoss


def test_rt_detr(train, data_set, tmp_path):
    trainer = train(
        tmp_path, "RSNARTDETRTrainer", model="rtdetr-resnet50.yaml", data=str(data_set / "rgb.yaml"), epochs=2,
        imgsz=32, batch=16, nbs=16, mosaic=0.0,
    )  # fmt: skip
    assert [row["epoch"] for row in rows(trainer.save_dir)] == [1, 2]
    assert all(math.isfinite(row["train/giou_loss"]) and 0 <= row[SCORE] <= 1 for row in rows(trainer.save_dir))


def test_a_model_for_another_task_is_refused(train, tmp_path):
    with pytest.raises(UserError, match="its last layer is Segment"):
        train(tmp_path, model="yolov8n-seg.yaml")


@pytest.mark.parametrize(
    ("trainer", "name"), [("RSNATrainer", None), ("RSNARTDETRTrainer", "train/models/rtdetr-tiny.yaml")]
)
def test_weights_of_other_classes_are_gone_on_from(trainer, name, cnn, data_set, tmp_path):
    """From three classes, as of VinDr, to one: all but what tells the classes apart is as it was."""
    kind = getattr(ours, trainer)
    three = tmp_path / "three.yaml"
    content = yaml.safe_load((data_set / "data.yaml").read_text())
    three.write_text(
        yaml.safe_dump({**content, "path": str(data_set), "names": ["Consolidation", "Infiltration", "Lung Opacity"]})
    )
    given = {**QUICK, "project": str(tmp_path), "model": name or str(cnn)}
    before = kind(overrides={**given, "data": str(three)})
    before._setup_train()
    torch.save({"model": before.model, "ema": None, "train_args": vars(before.args)}, tmp_path / "best.pt")
    after = kind(
        overrides={**given, "data": str(data_set / "data.yaml"), "model": str(tmp_path / "best.pt"), "seed": 1}
    )
    after._setup_train()
    then, now = before.model.state_dict(), after.model.state_dict()
    assert dict(after.model.names) == {0: "Lung Opacity"}
    of_classes = {key for key in then if then[key].shape != now[key].shape}
    assert 0 < len(of_classes) <= 0.1 * len(then)
    for key in then.keys() - of_classes:
        torch.testing.assert_close(now[key], then[key], rtol=0, atol=0, msg=key)
