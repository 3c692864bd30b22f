"""What a training sees of a picture, held against what the predictor of its weights sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from common.cli import execute
from evaluate.detector.inference import Settings, predict
from evaluate.detector.pictures import find_pictures
from evaluate.detector.weights import load_weights
from evaluate.metrics.rsna import confidence_sweep
from evaluate.postprocess.suppression import Suppression
from tests.train.conftest import QUICK
from train.detector.results import SCORE
from train.train import main


@pytest.fixture(scope="module")
def oblong(tmp_path_factory):
    """Two pictures that are no squares, on train and val; their sides divide evenly, as ours are rounded up."""
    root = tmp_path_factory.mktemp("oblong")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for name, shape in (("tall", (200, 100)), ("wide", (50, 200))):
            pixels = cv2.GaussianBlur(random.integers(0, 255, shape, dtype=np.uint8), (9, 9), 0)
            cv2.imwrite(str(root / "images" / split / f"{name}.png"), pixels)
            (root / "labels" / split / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text(
        yaml.safe_dump(
            {"path": str(root), "train": "images/train", "val": "images/val", "names": ["Lung Opacity"], "channels": 1}
        )
    )
    return root


@pytest.mark.parametrize(
    ("trainer", "model"),
    [("RSNATrainer", "train/models/basic-cnn.yaml"), ("RSNARTDETRTrainer", "train/models/rtdetr-tiny.yaml")],
)
def test_validation_sees_what_the_predictor_sees(oblong, tmp_path, trainer, model):
    from ultralytics import RTDETR, YOLO

    import train.detector.trainer

    given = {**QUICK, "model": model, "data": str(oblong / "data.yaml"), "project": str(tmp_path), "batch": 2}
    made = getattr(train.detector.trainer, trainer)(overrides=given)
    made._setup_train()
    validated = next(iter(made.test_loader))
    torch.save({"model": made.model, "train_args": vars(made.args)}, tmp_path / "weights.pt")

    seen = []
    detector = (RTDETR if "DETR" in trainer else YOLO)(str(tmp_path / "weights.pt"))
    detector.add_callback("on_predict_start", lambda predictor: _note(predictor, seen))
    files = [str(file) for file in validated["im_file"]]
    detector.predict(
        [cv2.imread(file, cv2.IMREAD_GRAYSCALE) for file in files], imgsz=64, rect=False, verbose=False, save=False,
        project=str(tmp_path),
    )  # fmt: skip
    assert len(seen) == 1
    torch.testing.assert_close(validated["img"].float() / 255, seen[0].float().cpu(), atol=1e-6, rtol=0)


def _note(predictor, seen):
    preprocess = predictor.preprocess
    predictor.preprocess = lambda pictures: (seen.append(found := preprocess(pictures)), found)[1]


def test_the_score_in_training_is_that_of_evaluation(train, data_set, tmp_path):
    trainer = train(tmp_path, iou=0.4)
    weights = load_weights(trainer.save_dir / "weights" / "best.pt")
    predicted = predict(weights, find_pictures([data_set / "images" / "val"], ""), Settings(imgsz=64))
    suppressed = Suppression("nms", 0.4).apply(predicted.predictions)
    truth = pd.read_csv(data_set / "truth.csv")
    sweep = confidence_sweep(truth[truth["image_id"].isin(predicted.image_ids)], suppressed)
    assert trainer.metrics[SCORE] > 0.1
    # best.pt is in half precision, so a box on a threshold may fall to the other side.
    assert sweep["score"].max() == pytest.approx(trainer.metrics[SCORE], abs=0.02)


def test_labels_beside_the_pictures_are_refused_and_not_negatives(data_set, cnn, tmp_path, capsys):
    root = shutil.copytree(data_set, tmp_path / "beside")
    for label in root.glob("labels/*/*.txt"):
        label.rename(root / "images" / label.parent.name / label.name)
    for cache in root.glob("labels/*.cache"):
        cache.unlink()
    words = {**QUICK, "data": root, "model": cnn, "project": tmp_path / "runs", "epochs": 1}
    assert execute(main, [f"{name}={value}" for name, value in words.items()]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "none of the 16 pictures has a label file, and there are labels beside the pictures" in said[0]
    assert f"{root}/labels/train/train00.txt" in said[0]
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(("scale", "factors"), [(0.5, (0.5, 0.5)), ([0.8, 1.5], (0.8, 1.5)), (1.0, (1.0, 1.0))])
def test_boxes_of_another_size_are_trained_on_and_those_of_the_labels_validated_on(scale, factors, data_set):
    """Against the label files, each side by hand."""
    from train.detector.dataset import build_dataset
    from train.settings.arguments import check_values
    from train.settings.options import DEFAULTS

    data = {**yaml.safe_load((data_set / "data.yaml").read_text()), "channels": 1, "nc": 1}
    args = check_values({"box_scale": scale, "imgsz": 64}, DEFAULTS)
    count = 0
    for mode, (across, down) in (("train", factors), ("val", (1.0, 1.0))):
        made = build_dataset(args, str(data_set / f"{mode}.txt"), 4, data, mode, stride=32)
        for file, label in zip(made.label_files, made.labels, strict=True):
            expected = []
            for line in Path(file).read_text().splitlines():
                _, x, y, width, height = map(float, line.split())
                left, right = max(x - width * across / 2, 0), min(x + width * across / 2, 1)
                top, bottom = max(y - height * down / 2, 0), min(y + height * down / 2, 1)
                expected.append([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
            np.testing.assert_allclose(label["bboxes"], np.reshape(expected, (-1, 4)), atol=1e-6)
            count += len(expected)
    assert count > 20


@pytest.mark.parametrize("trainer", ["RSNATrainer", "RSNARTDETRTrainer"])
def test_multi_scale_gives_batches_of_several_sizes(trainer):
    """The boxes are shares of the picture's sides, so they stay."""
    from types import SimpleNamespace

    import train.detector.trainer

    kind = getattr(train.detector.trainer, trainer)
    made = SimpleNamespace(args=SimpleNamespace(multi_scale=0.5, imgsz=128), device=torch.device("cpu"), stride=32)
    boxes, sides = torch.tensor([[0.5, 0.5, 0.25, 0.125]]), set()
    for _ in range(60):
        batch = kind.preprocess_batch(made, {"img": torch.zeros(2, 1, 128, 128, dtype=torch.uint8), "bboxes": boxes})
        assert batch["bboxes"] is boxes
        sides.add(tuple(batch["img"].shape[2:]))
    assert sides == {(side, side) for side in (64, 96, 128, 160, 192)}
