from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from common.cli import execute
from tests.evaluate.classifier.conftest import LATER
from tests.train.conftest import ROOT
from train.gate import STOPPED, main

TINY = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]],
    "head": [[-1, 1, "Classify", ["nc"]]],
}
QUICK = {
    "imgsz": 64, "batch": 8, "nbs": 8, "device": "cpu", "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 0,
    "plots": False, "amp": False, "deterministic": False,
}  # fmt: skip


def words(data: Path, model: Path, project: Path, **more) -> list[str]:
    given = {"data": data, "model": model, "project": project, "epochs": 3, "wandb": False, **QUICK, **more}
    return [f"{name}={value}" for name, value in given.items() if value is not None]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """The YAML of a very small classifier."""
    file = tmp_path_factory.mktemp("models") / "tiny-cls.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return file


@pytest.fixture(scope="module")
def own_data(data_set, tmp_path_factory) -> Path:
    """A copy of the data set, to which views are added; two folds over train and val, and a challenge image."""
    root = shutil.copytree(data_set, tmp_path_factory.mktemp("gate") / "set")
    table = pd.read_csv(root / "manifest.csv")
    table["fold"] = [number % 8 // 4 if split != "test" else "" for number, split in enumerate(table["split"])]
    picture = Path("images/challenge/secret.png")
    (root / picture).parent.mkdir()
    shutil.copy(root / table["picture"].iloc[0], root / picture)
    extra = {"image_id": "secret", "split": "challenge", "label": "", "boxes": "", "picture": str(picture), "fold": ""}
    pd.concat([table, pd.DataFrame([extra])]).to_csv(root / "manifest.csv", index=False)
    for name, fold in (("fold1_train", 0), ("fold1_val", 1)):
        rows = table[table["fold"] == fold]
        (root / f"{name}.txt").write_text("".join(f"./{picture}\n" for picture in rows["picture"]))
    content = yaml.safe_load((root / "data.yaml").read_text())
    (root / "fold1.yaml").write_text(yaml.safe_dump({**content, "train": "fold1_train.txt", "val": "fold1_val.txt"}))
    return root


@pytest.fixture(scope="module")
def gate(own_data, classifier, tmp_path_factory, apart_once, wandb_service) -> tuple[Path, str]:
    """The folder of a trained gate, logged to W&B, and what the command said."""
    runs, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    with contextlib.redirect_stdout(said):
        assert execute(main, words(own_data, classifier, runs, wandb=True, group="night")) == 0
    return runs / "gate", said.getvalue()


def read(folder: Path) -> tuple[pd.DataFrame, dict]:
    return pd.read_csv(folder / "gate.csv"), json.loads((folder / "gate.json").read_text())


def failure(argv: list[str], capsys, status: int = 2) -> str:
    assert execute(main, argv) == status
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_every_image_gets_probabilities(gate, own_data):
    table, record = read(gate[0])
    manifest = pd.read_csv(own_data / "manifest.csv")
    assert list(table.columns) == ["image_id", "split", "Lung Opacity", "Normal", "p_opacity"]
    assert table["image_id"].tolist() == sorted(manifest["image_id"])
    assert dict(table[["image_id", "split"]].to_numpy()) == dict(manifest[["image_id", "split"]].to_numpy())
    np.testing.assert_allclose(table["Lung Opacity"] + table["Normal"], 1, atol=2e-6)
    assert table["p_opacity"].equals(table["Lung Opacity"])
    assert table["p_opacity"].nunique() > 10
    assert record["images"] == {"train": 16, "val": 8, "test": 4, "challenge": 1}


def test_probabilities_are_those_of_plain_ultralytics_calibrated(gate, own_data):
    from ultralytics import YOLO

    table, record = read(gate[0])
    manifest = pd.read_csv(own_data / "manifest.csv").set_index("image_id")
    model = YOLO(gate[0] / "weights" / "best.pt")
    opacity = next(index for index, name in model.names.items() if name == "Lung_Opacity")
    for image_id in ("val01", "test00", "secret", "train07"):
        (found,) = model.predict(own_data / manifest.loc[image_id, "picture"], imgsz=64, device="cpu", verbose=False)
        share = found.probs.data.double().numpy()[opacity]
        odds = (share / (1 - share)) ** record["slope"] * np.exp(record["intercept"])
        expected = odds / (1 + odds)
        assert table.set_index("image_id").loc[image_id, "p_opacity"] == pytest.approx(expected, abs=1e-4)


def test_the_same_probabilities_come_of_the_pictures_anywhere(gate, own_data):
    """Of a data set's split and of files that are handed in, by the gate's folder, its table or its weights."""
    from evaluate.classifier.inference import predict_opacity
    from evaluate.classifier.weights import load_classifier
    from evaluate.detector.pictures import find_pictures

    expected = read(gate[0])[0].set_index("image_id")["p_opacity"]
    for path in (gate[0], gate[0] / "gate.csv", gate[0] / "weights" / "best.pt"):
        classifier = load_classifier(path)
        assert classifier.path == gate[0] / "weights" / "best.pt"
        found = predict_opacity([classifier], find_pictures([own_data / "images"]), batch=5, device="cpu")
        assert sorted(found.index) == sorted(expected.index)
        np.testing.assert_allclose(found.to_numpy(), expected[found.index].to_numpy(), rtol=0, atol=1.01e-6)
        assert (found == expected[found.index]).mean() > 0.9  # but where the sixth digit was on the edge


def test_the_record_says_how_good_they_are(gate, own_data):
    from common.data.fingerprint import data_fingerprint

    table, record = read(gate[0])
    manifest = pd.read_csv(own_data / "manifest.csv")
    for split in ("val", "test"):
        rows = table.merge(manifest[manifest["split"] == split][["image_id", "label"]])
        chance, is_there = rows["p_opacity"].to_numpy(), (rows["label"] == "Lung Opacity").to_numpy()
        found = record[split]["after"]
        pairs = [(high > low) + (high == low) / 2 for high in chance[is_there] for low in chance[~is_there]]
        assert found["auc"] == pytest.approx(np.mean(pairs))
        assert found["accuracy"] == pytest.approx(((chance > 0.5) == is_there).mean())
        assert found["log_loss"] == pytest.approx(-np.log(np.where(is_there, chance, 1 - chance)).mean(), abs=1e-3)
        assert found["brier"] == pytest.approx(((chance - is_there) ** 2).mean(), abs=1e-5)
        assert record[split]["images"] == len(rows)
    assert record["val"]["after"]["log_loss"] <= record["val"]["before"]["log_loss"]
    data = {"val": str(own_data / "val.txt")}
    assert record["fingerprint"] == data_fingerprint(data)
    assert (record["positive"], record["fold"]) == ("Lung Opacity", None)
    assert record["weights"].endswith("best.pt")
    weights = (gate[0] / "weights" / "best.pt").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert record["arguments"]["epochs"] == 3
    assert record["command"].startswith("python train/gate.py data=")


def test_the_best_epoch_is_that_of_the_lowest_log_loss(gate):
    _, record = read(gate[0])
    results = pd.read_csv(gate[0] / "results.csv").set_index("epoch")
    assert list(results.filter(like="metrics/")) == [
        "metrics/accuracy_top1", "metrics/accuracy_top5", "metrics/AUC", "metrics/log_loss",
    ]  # fmt: skip
    assert results["metrics/log_loss"][record["epoch"]] == results["metrics/log_loss"].min()
    # What is written out is what that epoch was judged by; the checkpoint holds the weights in 16 bits.
    assert record["val"]["after"]["log_loss"] == pytest.approx(results["metrics/log_loss"].min(), abs=2e-3)


def test_what_the_command_says(gate):
    folder, said = gate
    _, record = read(folder)
    assert "P(Lung Opacity)" in said
    assert f"{record['val']['after']['brier']:.4f}" in said
    assert f"slope {record['slope']:.3f} and intercept {record['intercept']:.3f}" in said
    assert "is for a prevalence" not in said
    assert "train 16, val 8, test 4, challenge 1" in said
    assert said.rstrip().endswith(f"next: python evaluate/score.py --gate {folder / 'gate.csv'}")


def test_each_epoch_has_a_line_with_the_lowest_log_loss_so_far(gate):
    folder, said = gate
    results = pd.read_csv(folder / "results.csv")
    rows = [line.split() for line in said.splitlines() if line.strip().startswith(("1/3 ", "2/3 ", "3/3 "))]
    columns = ["train/loss", "metrics/accuracy_top1", "metrics/AUC", "metrics/log_loss"]
    printed = np.array([[float(cell) for cell in row[1:6]] for row in rows])
    assert printed[:, :4] == pytest.approx(results[columns].to_numpy(), abs=6e-4)
    # The likelihood that decides is rounded to five decimals.
    assert printed[:, 4] == pytest.approx(results["metrics/log_loss"].cummin().to_numpy(), abs=6e-4)


def test_defaults_suit_radiographs_and_can_be_changed(gate, own_data, classifier, tmp_path):
    from train.classifier.class_view import make_view
    from train.classifier.trainer import GateTrainer

    arguments = yaml.safe_load((gate[0] / "args.yaml").read_text())
    assert {name: arguments[name] for name in ("auto_augment", "erasing", "scale", "hsv_v", "fliplr")} == {
        "auto_augment": None, "erasing": 0.0, "scale": 0.2, "hsv_v": 0.2, "fliplr": 0.5,
    }  # fmt: skip
    view = make_view(own_data, "Lung Opacity")
    given = {**arguments, "project": str(tmp_path), "save_dir": None, "name": "direct"}
    trainer = GateTrainer(overrides={**given, "data": str(view.folder), "model": str(classifier)})
    trainer._setup_train()
    transforms = str(trainer.train_loader.dataset.torch_transforms)
    assert "RandAugment" not in transforms
    assert "scale=(0.8, 1.0)" in transforms
    assert "ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=None, hue=None)" in transforms
    image = trainer.test_loader.dataset[0]["img"]
    assert image.shape == (3, 64, 64)
    assert (image[0] == image[1]).all()


def test_best_weights_follow_the_opacity_and_not_the_accuracy(own_data, classifier, tmp_path, monkeypatch):
    import torch

    from evaluate.classifier.calibration import Quality
    from train.classifier import trainer as gate_trainer
    from train.classifier.class_view import make_view

    losses = iter([0.5, 0.3, 0.6, 0.4])  # the last is the closing validation
    monkeypatch.setattr(gate_trainer, "assess", lambda *_: Quality(0.7, 0.5, next(losses), 0.0, 0.0))
    view = make_view(own_data, "Lung Opacity")
    trainer = gate_trainer.GateTrainer(
        overrides={**QUICK, "model": str(classifier), "data": str(view.folder), "epochs": 3, "save_period": 1,
                   "project": str(tmp_path)}
    )  # fmt: skip
    trainer.train()
    weights = trainer.save_dir / "weights"
    state = {
        name: torch.load(weights / f"{name}.pt", weights_only=False)["ema" if name != "best" else "model"].state_dict()
        for name in ("best", "epoch1", "epoch2")
    }
    assert all(torch.equal(state["best"][key], state["epoch1"][key]) for key in state["best"])
    assert not all(torch.equal(state["best"][key], state["epoch2"][key]) for key in state["best"])
    assert pd.read_csv(trainer.save_dir / "results.csv")["metrics/AUC"].tolist() == [0.7] * 3


def test_plain_ultralytics_trains_on_the_view_and_validates_our_weights(gate, own_data, classifier, tmp_path):
    from ultralytics import YOLO

    view = own_data / "classes"
    model = YOLO(classifier, task="classify")
    model.train(data=str(view), epochs=1, project=str(tmp_path), name="plain", **QUICK)
    assert (tmp_path / "plain" / "weights" / "best.pt").is_file()
    assert model.names == {0: "Lung_Opacity", 1: "Normal"}
    metrics = YOLO(gate[0] / "weights" / "best.pt").val(
        data=str(view), imgsz=64, device="cpu", project=str(tmp_path), name="val", plots=False, verbose=False
    )
    assert metrics.top1 == pytest.approx(read(gate[0])[1]["val"]["before"]["accuracy"])
    assert sorted(path.name for path in own_data.glob("images/*/*") if path.suffix != ".png") == []


@pytest.mark.parametrize(
    ("sign", "size", "told"),
    [
        (-1, 1, "no better than by chance"),
        (1, 1, "the calibration knows no doubt"),
        (0, 1, ""),
        (0, 0.001, "says nearly the same of all"),
    ],
)
def test_a_calibration_at_its_end_is_told(sign, size, told, gate, own_data, tmp_path, monkeypatch, capsys):
    """A classifier that is always wrong, one always right, one that errs both ways, one that hardly says a thing."""
    run = shutil.copytree(gate[0], tmp_path / "gate")
    labels = pd.read_csv(own_data / "manifest.csv", index_col="image_id")["label"]

    def logits(network, pictures, *_):
        is_there = np.array([labels[picture.image_id] == "Lung Opacity" for picture in pictures])
        margin = np.where(is_there, 1, -1) * (sign or np.where(np.arange(len(pictures)) % 3 == 0, -1, 1))
        return size * np.column_stack([margin, -margin]).astype(float)

    monkeypatch.setattr("evaluate.classifier.inference.predict_logits", logits)
    assert execute(main, [f"resume={run}", f"data={own_data}", "wandb=False"]) == 0
    warnings = capsys.readouterr().err
    assert told in warnings
    assert ("warning" in warnings) == bool(told)


def test_classifiers_that_cannot_be_calibrated(gate, own_data, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(gate[0], tmp_path / "gate")

    def none(network, pictures, *_):
        return np.full((len(pictures), 2), np.nan)

    before = (run / "gate.csv").read_bytes()
    monkeypatch.setattr("evaluate.classifier.inference.predict_logits", none)
    message = failure([f"resume={run}", f"data={own_data}", "wandb=False"], capsys, status=1)
    assert "best.pt: gives no finite numbers" in message
    monkeypatch.undo()
    root = shutil.copytree(own_data, tmp_path / "set", symlinks=True)
    table = pd.read_csv(root / "manifest.csv")
    for picture in table.loc[(table["split"] == "val") & (table["label"] == "Lung Opacity"), "picture"]:
        (root / picture).unlink()
    message = failure([f"resume={run}", f"data={root}", "wandb=False"], capsys)
    assert "pictures of val that are there all have the gate's class, or all lack it" in message
    assert (run / "gate.csv").read_bytes() == before


def test_another_prevalence_is_kept_told_and_changed(own_data, classifier, tmp_path, capsys):
    def odds(table):
        return table["p_opacity"].to_numpy() / (1 - table["p_opacity"].to_numpy())

    run, again = tmp_path / "gate", [f"resume={tmp_path / 'gate'}", f"data={own_data}", "wandb=False"]
    assert execute(main, words(own_data, classifier, tmp_path, epochs=1, prevalence=0.35)) == 0
    manifest = pd.read_csv(own_data / "manifest.csv")
    share = (manifest.loc[manifest["split"] == "val", "label"] == "Lung Opacity").mean()
    told, record = read(run)
    assert (record["prevalence"], record["expected_prevalence"]) == (share, 0.35)
    said = " ".join(capsys.readouterr().out.split())
    assert f"The intercept is for a prevalence of 35.0%, while val has {share:.1%}" in said
    assert execute(main, again) == 0  # remembered
    assert read(run)[0].equals(told)
    assert execute(main, [*again, "prevalence=None"]) == 0
    plain, other = read(run)
    assert (other["slope"], other["expected_prevalence"]) == (record["slope"], None)
    factor = (0.35 / 0.65) / (share / (1 - share))
    assert record["intercept"] - other["intercept"] == pytest.approx(np.log(factor))
    np.testing.assert_allclose(odds(told), odds(plain) * factor, rtol=1e-3)


def test_the_mirror_image_is_looked_at_where_it_was_asked_for(gate, own_data, tmp_path):
    """A finished gate is given `flip`: both pictures' logits have a mean, and that is what is calibrated."""
    from ultralytics import YOLO

    from evaluate.classifier.calibration import binary_logits, fit_calibration

    run, again = shutil.copytree(gate[0], tmp_path / "gate"), [f"data={own_data}", "wandb=False"]
    assert execute(main, [f"resume={run}", "flip=True", *again]) == 0
    table, record = read(run)
    assert record["flip"] is True
    manifest = pd.read_csv(own_data / "manifest.csv").set_index("image_id").loc[table["image_id"]]
    model = YOLO(run / "weights" / "best.pt")
    opacity = next(index for index, name in model.names.items() if name == "Lung_Opacity")

    def logits(pixels) -> np.ndarray:  # of two classes: their difference is the logit of P
        found = model.predict(list(pixels), imgsz=64, device="cpu", verbose=False, batch=len(pixels))
        return np.array([binary_logits(np.log(one.probs.data.double().numpy()[None]), opacity)[0] for one in found])

    pixels = [cv2.imread(str(own_data / picture)) for picture in manifest["picture"]]
    mean = (logits(pixels) + logits([np.ascontiguousarray(one[:, ::-1]) for one in pixels])) / 2
    val = (manifest["split"] == "val").to_numpy()
    classes = (manifest["label"] != "Lung Opacity").to_numpy().astype(int)
    fitted = fit_calibration(np.column_stack([mean, -mean])[val] / 2, classes[val], 0)
    assert (record["slope"], record["intercept"]) == pytest.approx((fitted.slope, fitted.intercept), rel=2e-3, abs=2e-3)
    expected = 1 / (1 + np.exp(-(record["slope"] * mean + record["intercept"])))
    np.testing.assert_allclose(table["p_opacity"], expected, atol=1e-4)
    assert not np.allclose(table["p_opacity"], read(gate[0])[0]["p_opacity"], atol=1e-3)
    assert execute(main, [f"resume={run}", "flip=False", *again]) == 0
    assert read(run)[0].equals(read(gate[0])[0])


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Weights as a library publishes them: of the TorchXRayVision's name, so that it is known what they have seen."""
    import torch
    from torchvision.models import resnet50

    torch.manual_seed(0)
    made = resnet50(weights=None, num_classes=18)
    made.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    file = tmp_path_factory.mktemp("start") / "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt"
    torch.save({name: value.half() for name, value in made.state_dict().items()}, file)
    return file


def test_a_library_s_network_starts_from_its_weights_and_says_what_they_have_seen(own_data, start, tmp_path, capsys):
    import torch

    from evaluate.classifier.inference import predict_opacity
    from evaluate.classifier.networks import ImageNetwork
    from evaluate.classifier.weights import load_classifier
    from evaluate.detector.pictures import find_pictures

    asked = {"imgsz": 32, "epochs": 1, "optimizer": "SGD", "lr0": 0, "pretrained": start}
    assert execute(main, words(own_data, "xrv:resnet50-res512-all", tmp_path, **asked)) == 0
    assert "among which are the challenge's, those of its test set, too" in " ".join(capsys.readouterr().err.split())
    table, record = read(tmp_path / "gate")
    assert record["network"] == "xrv:resnet50-res512-all"
    assert "scores on them flatter" in record["pretrained_on"]
    classifier = load_classifier(tmp_path / "gate")
    made = classifier.network.model
    assert isinstance(made, ImageNetwork)
    given = torch.load(start, weights_only=True)["layer1.0.conv2.weight"].float()
    torch.testing.assert_close(made.network.state_dict()["layer1.0.conv2.weight"], given)  # nothing was learned at lr 0
    found = predict_opacity([classifier], find_pictures([own_data / "images"]), device="cpu")
    expected = table.set_index("image_id")["p_opacity"][found.index]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.01e-6)

    # What it began with is remembered by a gate that begins with it.
    more = {**asked, "pretrained": None, "name": "again"}
    assert execute(main, words(own_data, classifier.path, tmp_path, **more)) == 0
    _, again = read(tmp_path / "again")
    assert (again["network"], again["pretrained_on"]) == (record["network"], record["pretrained_on"])


def test_a_stopped_library_s_network_goes_on_as_if_nothing_had_happened(own_data, tmp_path, monkeypatch):
    """With one thread: several add up in another order in another process, which moves the last digits."""
    import torch

    from train.classifier.trainer import GateTrainer

    threads = torch.get_num_threads()
    monkeypatch.setattr("common.cores._ASKED", "1")
    monkeypatch.setattr("ultralytics.utils.torch_utils.NUM_THREADS", 1)
    save = GateTrainer.save_model
    asked = words(own_data, "shufflenet_v2_x0_5", tmp_path, imgsz=32, epochs=3, pretrained=False, batch=16)

    def stopped(self):
        save(self)
        if self.epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GateTrainer, "save_model", stopped)
        assert execute(main, asked) == 130
    # In a process that has not made the network.
    command = [sys.executable, ROOT / "train" / "gate.py", f"resume={tmp_path / 'gate'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert execute(main, [*asked, f"project={tmp_path / 'whole'}"]) == 0
    torch.set_num_threads(threads)
    first, whole = read(tmp_path / "gate"), read(tmp_path / "whole" / "gate")
    assert first[0].equals(whole[0])
    assert (first[1]["network"], first[1]["pretrained_on"]) == ("torchvision:shufflenet_v2_x0_5", "")


def test_arguments_that_do_nothing_for_a_classifier_are_told(own_data, classifier, tmp_path, capsys):
    from train.classifier.training import check_gate

    given = dict(word.split("=", 1) for word in words(own_data, classifier, tmp_path))
    given = {"model": given["model"], "project": given["project"], "scale": 0.3, "hsv_v": 0.1, "mosaic": 1.0}
    check_gate(given)
    assert capsys.readouterr().err == ""
    check_gate({**given, "multi_scale": 0.25, "degrees": 7, "hsv_s": 0.3})
    check_gate({**given, "multi_scale": 0.25, "degrees": 7, "hsv_s": 0.3})  # told once
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("degrees=7, multi_scale=0.25, hsv_s=0.3: no effect on a gate") == 1


def test_pretrained_biases_are_not_overwritten_in_the_warm_up(own_data, tmp_path):
    import torch
    from torchvision.models import shufflenet_v2_x0_5

    from evaluate.classifier.weights import load_network

    start = shufflenet_v2_x0_5(weights=None, num_classes=2)
    torch.save(start.state_dict(), tmp_path / "start.pt")
    asked = {"imgsz": 32, "epochs": 2, "lr0": 1e-5, "warmup_epochs": 1, "pretrained": tmp_path / "start.pt"}
    assert execute(main, words(own_data, "shufflenet_v2_x0_5", tmp_path, **asked)) == 0
    trained = load_network(tmp_path / "gate" / "weights" / "best.pt").model.network
    for name, value in trained.named_parameters():
        if name.endswith("bias"):
            assert (value - dict(start.named_parameters())[name]).abs().max() < 1e-3, name


def test_a_name_is_looked_up_before_ultralytics_is_imported():
    """It looks for the network once, when it is imported: first it has to be known whether it is to download."""
    program = (
        "import sys; from train.classifier.training import _find_architecture as find; "
        "print(find('resnet50'), find('yolov8n-cls.pt'), find('yolov8n-cls'), 'ultralytics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torchvision:resnet50", "None", "None", "False"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "timm:no_such_network"}, "no_such_network"),
        ({"model": "torchvision:resnet19"}, "torchvision has no such image classifier here. Check the name."),
        ({"model": "resnet19"}, "model: resnet19: no such file"),
        (
            {"model": "resnet18", "pretrained": "nowhere.pth"},
            "pretrained: nowhere.pth: no such file. Name a state",
        ),
        ({"model": "resnet18", "pretrained": "START"}, "expected (64, 64, 3, 3), for torchvision:resnet18 at imgsz=64"),
    ],
)
def test_a_library_s_network_that_cannot_be_had(given, message, own_data, start, tmp_path, capsys):
    given = {name: str(start) if value == "START" else value for name, value in given.items()}
    if given["model"].startswith("timm:"):
        pytest.importorskip("timm", reason="the extra [gate] is not installed")
    said = failure(words(**{"data": own_data, "project": tmp_path / "runs", **given}), capsys)
    assert message in said
    assert not (tmp_path / "runs").exists()


def test_a_gate_for_each_fold_goes_on_where_it_was_stopped(own_data, classifier, tmp_path, capsys, monkeypatch):
    from train.classifier.trainer import GateTrainer

    save, runs = GateTrainer.save_model, tmp_path / "runs"
    asked = words(own_data, classifier, runs, folds=2, epochs=2, flip=True)

    def stopped(self):
        save(self)
        if self.save_dir.name == "fold1" and self.epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GateTrainer, "save_model", stopped)
        assert execute(main, asked, STOPPED) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    first = (runs / "gates" / "fold0" / "gate.csv").read_bytes()
    assert not (runs / "gates" / "fold1" / "gate.csv").exists()
    assert execute(main, asked) == 0
    said = capsys.readouterr().out
    assert (runs / "gates" / "fold0" / "gate.csv").read_bytes() == first
    manifest = pd.read_csv(own_data / "manifest.csv").set_index("image_id")
    for fold in (0, 1):
        folder = runs / "gates" / f"fold{fold}"
        table, record = read(folder)
        assert (record["fold"], record["flip"]) == (fold, True)
        assert set(table.loc[table["split"] == "val", "image_id"]) == set(manifest.index[manifest["fold"] == fold])
        assert f"{record['val']['after']['auc']:.4f}" in said
        assert pd.read_csv(folder / "results.csv")["epoch"].tolist() == [1, 2]
        assert f"--gate {folder / 'gate.csv'}" in said
    assert read(runs / "gates" / "fold0")[1]["command"].endswith("flip=True fold=0")
    alone = words(own_data, classifier, tmp_path / "alone", fold=1, epochs=2, flip=True)
    assert execute(main, alone) == 0
    assert read(tmp_path / "alone" / "gate")[0].equals(read(runs / "gates" / "fold1")[0])

    assert "its gates were begun otherwise (epochs was 2, now 3)" in failure([*asked, "epochs=3"], capsys)
    assert "expected 0 to 4. Convert it with --folds 5" in failure([*asked, "folds=5"], capsys)
    assert "fold: found beside folds=2" in failure([*asked, "fold=1"], capsys)
    (runs / "other").mkdir()
    (runs / "other" / "notes.txt").write_text("mine")
    assert "other: holds something else; expected gates of folds" in failure([*asked, "name=other"], capsys)
    assert execute(main, [*asked, "workers=1"]) == 0  # may differ; nothing is left to do


@pytest.mark.parametrize("asked", [{"fold": 1}, {"data": "fold1.yaml"}])
def test_a_fold_is_left_out_of_the_training(asked, own_data, classifier, tmp_path):
    more = {**asked, "data": own_data / asked.get("data", "data.yaml"), "epochs": 1}
    assert execute(main, words(**{"model": classifier, "project": tmp_path, **more})) == 0
    table, record = read(tmp_path / "gate")
    manifest = pd.read_csv(own_data / "manifest.csv").set_index("image_id")
    roles = manifest["fold"].map({0: "train", 1: "val"}).fillna(manifest["split"])
    assert table.set_index("image_id")["split"].to_dict() == roles.to_dict()
    assert record["fold"] == 1
    assert record["val"]["images"] == (manifest["fold"] == 1).sum()
    assert record["arguments"]["data"] == "classes-fold1"


def test_a_gate_of_a_fold_is_calibrated_on_val_where_folds_divide_train(own_data, classifier, tmp_path, capsys):
    """Platt's intercept makes the mean probability the share of opacities of what it was fitted on: of val's images."""
    root = shutil.copytree(own_data, tmp_path / "set", symlinks=True)
    manifest = pd.read_csv(root / "manifest.csv")
    manifest.loc[manifest["split"] == "val", "fold"] = None
    pool = manifest["split"] == "train"
    manifest.loc[pool, "fold"] = manifest[pool].groupby("label").cumcount() % 2
    manifest.to_csv(root / "manifest.csv", index=False)
    assert execute(main, words(root, classifier, tmp_path, fold=0, epochs=1)) == 0
    table, record = read(tmp_path / "gate")
    val = manifest[manifest["split"] == "val"].set_index("image_id")["label"] == "Lung Opacity"
    used = table.set_index("image_id")
    assert set(used.index[used["split"] == "calibration"]) == set(val.index)
    assert set(used.index[used["split"] == "val"]) == set(manifest.loc[manifest["fold"] == 0, "image_id"])
    assert record["prevalence"] == pytest.approx(val.mean())
    assert used.loc[val.index, "p_opacity"].mean() == pytest.approx(val.mean(), abs=2e-3)
    assert record["calibration"]["images"] == len(val)
    assert "The epoch was chosen on fold 0, and these two on val" in " ".join(capsys.readouterr().out.split())


def test_a_stopped_gate_goes_on_and_a_finished_one_is_only_looked_at(
    own_data, classifier, tmp_path, capsys, monkeypatch
):
    from train.classifier.trainer import GateTrainer

    save, gathering = GateTrainer.save_model, {"nbs": 24, "workers": 2, "erasing": 0.4}

    def stopped(self):
        save(self)
        if self.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GateTrainer, "save_model", stopped)
        assert execute(main, words(own_data, classifier, tmp_path, epochs=4, **gathering)) == 130
    assert not (tmp_path / "gate" / "gate.csv").exists()
    assert execute(main, ["resume", f"project={tmp_path}"]) == 0
    assert pd.read_csv(tmp_path / "gate" / "results.csv")["epoch"].tolist() == [1, 2, 3, 4]
    first, record = read(tmp_path / "gate")
    assert record["arguments"]["epochs"] == 4
    assert sorted(file.name for file in (tmp_path / "gate" / "weights").iterdir()) == ["best.pt", "last.pt"]

    # It is the undisturbed training to the last digit, with whichever processes that load the pictures.
    assert execute(main, words(own_data, classifier, tmp_path / "whole", epochs=4, **{**gathering, "workers": 0})) == 0
    assert read(tmp_path / "whole" / "gate")[0].equals(first)
    tables = [pd.read_csv(run / "gate" / "results.csv").drop(columns="time") for run in (tmp_path, tmp_path / "whole")]
    assert tables[0].equals(tables[1])

    (tmp_path / "gate" / "gate.csv").unlink()
    trained = (tmp_path / "gate" / "weights" / "best.pt").read_bytes()
    monkeypatch.setattr(GateTrainer, "train", lambda self: pytest.fail("nothing is left to train"))
    assert execute(main, [f"resume={tmp_path / 'gate'}"]) == 0
    assert read(tmp_path / "gate")[0].equals(first)
    assert (tmp_path / "gate" / "weights" / "best.pt").read_bytes() == trained
    capsys.readouterr()
    (tmp_path / "gate" / "weights" / "last.pt").write_bytes(trained[:5000])
    assert "last.pt: not a training's checkpoint, or a damaged one" in failure([f"resume={tmp_path / 'gate'}"], capsys)
    assert "expected a training's weights/last.pt" in failure([f"resume={tmp_path / 'nothing'}"], capsys)
    assert "start the training without resume" in failure(["resume", f"project={tmp_path / 'empty'}"], capsys)


def test_wandb_has_the_epochs_and_what_came_out(gate, wandb_files):
    run_dir, said = gate
    (folder,) = wandb_files.parts(run_dir)
    found, results = wandb_files.read(folder), pd.read_csv(run_dir / "results.csv")
    assert (found["name"], found["group"], found["job_type"], found["exit_code"]) == ("gate", "night", "train", 0)
    assert f"wandb sync {folder}" in said.replace("\n", "")
    assert (found["config"]["task"], found["config"]["imgsz"]) == ("classify", 64)
    assert [found["config"][f"{split}_images"] for split in ("train", "val", "test")] == [16, 8, 4]
    for step, (_, row) in zip(found["history"], results.iterrows(), strict=True):
        assert step["step"] == step["epoch"] == row["epoch"]
        for name in ("train/loss", "val/loss", "metrics/accuracy_top1", "metrics/AUC", "metrics/log_loss", "lr/pg0"):
            assert step[name] == pytest.approx(row[name])
    record = read(run_dir)[1]
    assert found["config"]["data_fingerprint"] == record["fingerprint"]
    assert found["summary"]["best_epoch"] == record["epoch"]
    assert found["summary"]["test/auc"] == record["test"]["after"]["auc"]
    assert found["summary"]["val/log_loss_uncalibrated"] == record["val"]["before"]["log_loss"]
    assert {kind for kind, _ in found["artifacts"]} >= {"model", "gate"}


def test_a_stopped_gate_goes_on_in_its_wandb_run(own_data, classifier, apart, wandb_service, wandb_files, monkeypatch):
    from train.classifier.trainer import GateTrainer

    save = GateTrainer.save_model

    def stopped(self):
        if self.epoch == 2:
            raise KeyboardInterrupt
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(GateTrainer, "save_model", stopped)
        assert execute(main, words(own_data, classifier, apart, epochs=4, wandb=True, prevalence=0.5)) == 130
    assert execute(main, [f"resume={apart / 'gate'}"]) == 0
    first, second = (wandb_files.read(folder) for folder in wandb_files.parts(apart / "gate"))
    assert first["id"] == second["id"]
    assert [step["epoch"] for step in first["history"]] == [1, 2]
    assert [step["epoch"] for step in second["history"]] == [3, 4]
    assert (first["exit_code"], second["exit_code"]) == (1, 0)
    record = read(apart / "gate")[1]
    assert record["expected_prevalence"] == 0.5
    assert [second["summary"][name] for name in ("slope", "intercept")] == [record["slope"], record["intercept"]]


def test_a_failure_of_wandb_is_a_warning(own_data, classifier, apart, wandb_service, monkeypatch, capsys):
    import wandb

    def refused(*args, **kwargs):
        raise wandb.Error("no room left")

    monkeypatch.setattr(wandb, "init", refused)
    assert execute(main, words(own_data, classifier, apart, epochs=1, wandb=True)) == 0
    assert (apart / "gate" / "gate.csv").is_file()
    assert "no room left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("fould=3", "fould: no such argument; did you mean fold?"),
        ("iou_loss=siou", "iou_loss: no such argument"),
        ("fold=1.5", "fold: found 1.5; expected a whole number"),
        ("fold=7", "fold=7: "),
        ("prevalence=35", "prevalence: found 35; expected a number, more than 0, at most 0.99"),
        ("prevalence=0", "prevalence: found 0; expected a number, more than 0"),
        ("task=detect", "task: expected classify; this command trains classifiers"),
        ("model=basic-cnn.yaml", "its last layer is Detect; expected an image classifier (Classify)"),
        ("model=nowhere-cls.yaml", "nowhere-cls.yaml: no such file"),
        ("epochs=many", "'epochs=many' is of invalid type"),
        ("single_cls=True", "a gate tells classes apart"),
        ("data=nowhere.yaml", "data: nowhere.yaml: no such data YAML"),
        ("optimizer=Addam", "optimizer: found 'Addam'; expected one of"),
        ("device=97", "device: found 97; PyTorch"),
        ("pretrained=nowhere.pt", "pretrained: nowhere.pt: no such file"),
    ],
)
def test_wrong_words_end_in_one_line_and_leave_nothing(word, message, own_data, classifier, tmp_path, capsys):
    argv = [
        given for given in words(own_data, classifier, tmp_path / "runs") if given.split("=")[0] != word.split("=")[0]
    ]
    assert message in failure([*argv, word], capsys)
    assert not (tmp_path / "runs").exists()


def test_a_network_that_cannot_be_built_ends_in_one_line_and_leaves_nothing(own_data, tmp_path, capsys):
    strange = copy.deepcopy(TINY)
    strange["backbone"][0][2] = "NoLayer"
    (tmp_path / "strange.yaml").write_text(yaml.safe_dump(strange))
    message = failure(words(own_data, tmp_path / "strange.yaml", tmp_path / "runs"), capsys)
    assert "strange.yaml: no network can be built from it (KeyError: 'NoLayer')" in message
    assert not list((tmp_path / "runs").glob("*"))


def test_a_model_is_asked_for_and_a_manifest(own_data, classifier, tmp_path, capsys):
    assert "model: missing; name an image classifier" in failure([f"data={own_data}"], capsys)
    foreign = shutil.copytree(own_data, tmp_path / "foreign", symlinks=True)
    (foreign / "manifest.csv").unlink()
    message = failure(words(foreign, classifier, tmp_path / "runs"), capsys)
    assert "no manifest.csv above" in message
    assert "convert/rsna_to_yolo.py" in message
    (tmp_path / "w.pt").write_text("no weights")
    assert "no classifier" in failure(words(own_data, tmp_path / "w.pt", tmp_path / "runs"), capsys)
    assert not (tmp_path / "runs").exists()


def test_a_picture_that_cannot_be_read(own_data, gate, tmp_path, capsys):
    """Training passes over damaged pictures; a probability for one would be made up."""
    root, run = tmp_path / "set", tmp_path / "gate"
    shutil.copytree(own_data, root, symlinks=True)
    shutil.copytree(gate[0], run)
    (root / "images" / "challenge" / "secret.png").write_bytes(b"not a picture")
    message = failure([f"resume={run}", f"data={root}"], capsys, status=1)
    assert "secret.png: cannot be decoded as a picture. Convert the data again." in message


def test_the_basic_classifier_is_found_by_name_and_small():
    from train.detector.locating import find_model

    model, download = find_model("basic-cnn-cls.yaml")
    from ultralytics.nn.tasks import ClassificationModel

    made = ClassificationModel(str(model), nc=3, verbose=False)
    assert not download
    assert sum(parameter.numel() for parameter in made.parameters()) < 500_000


def test_what_is_said_of_a_calibration_of_an_earlier_version(gate, tmp_path):
    from evaluate.classifier.record import read_record
    from train.gate import _calibration

    content = read(gate[0])[1]
    for name in LATER:
        del content[name]
    (tmp_path / "gate.json").write_text(json.dumps({**content, "temperature": 1.25, "epoch": 2}))
    assert _calibration(read_record(tmp_path)) == "epoch 2, temperature 1.250."
