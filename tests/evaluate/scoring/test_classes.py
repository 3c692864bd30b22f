"""Data and weights of several classes: which of them is scored."""

from __future__ import annotations

from pathlib import Path

import cv2
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import UserError
from evaluate.detector.inference import Picture, predict
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import load_weights
from evaluate.scoring.choice import DEFAULT, choose_pipeline
from tests.evaluate.scores import QUICK, read, run, system_of


@pytest.fixture
def two(own_data_set) -> Path:
    """The tiny data set, its second box of an image (3 of the 9 of test) of a class of its own."""
    truth = pd.read_csv(own_data_set / "truth.csv")
    is_second = truth["x"].notna() & truth.duplicated("image_id")
    truth.loc[truth["x"].notna(), "label"] = "Mass"
    truth.loc[is_second, "label"] = "Nodule"
    truth.to_csv(own_data_set / "truth.csv", index=False)
    for label in own_data_set.glob("labels/*/*.txt"):
        lines = label.read_text().splitlines()
        label.write_text("".join(f"{number}{line[1:]}\n" for number, line in enumerate(lines)))
    (own_data_set / "data.yaml").write_text(
        "train: train.txt\nval: val.txt\ntest: test.txt\nchannels: 1\nnames: {0: Mass, 1: Nodule}\n"
    )
    return own_data_set


@pytest.mark.parametrize(("wanted", "boxes"), [("Mass", 6), ("nodule", 3), ("all", 9)])
def test_the_class_that_is_asked_for(two, untrained, wanted, boxes, capsys):
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    run(path, "--class", wanted, *QUICK)
    found = read(path.parent)
    assert found["splits"]["test"]["truth_boxes"] == boxes
    assert found["inference"]["class_name"] == (wanted if wanted == "all" else wanted.capitalize())
    said = capsys.readouterr().err
    assert "are not what truth.csv says" not in said
    assert (", all 2 classes as one" if wanted == "all" else f", class {wanted.capitalize()}") in said


@pytest.mark.parametrize(("wanted", "classes"), [("Mass", [0]), ("Nodule", [1]), ("all", [0, 1])])
def test_predictions_are_of_the_class_that_is_asked_for(two, untrained, wanted, classes):
    """Against torchvision's suppression of the network's own boxes, with the confidence of the likeliest class."""
    import torch
    from torchvision.ops import box_convert, nms

    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    checkpoint = torch.load(path, weights_only=False)
    for layer in checkpoint["model"].model[-1].cv3:
        layer[-1].bias.data = torch.tensor([-1.0, -1.1])
    torch.save(checkpoint, path)
    weights = load_weights(path, wanted)
    file = two / "images" / "test" / "test-00.jpg"
    found = predict(weights, [Picture("a", file.name, file.read_bytes)], InferenceOptions().settings(weights))
    square = cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (64, 64), interpolation=cv2.INTER_LINEAR)
    with torch.inference_mode():
        raw = weights.model.predictor.model.model(torch.from_numpy(square)[None, None].float() / 255)[0][0].T
    confidence = raw[:, [4 + number for number in classes]].amax(1)
    boxes = box_convert(raw[:, :4], "cxcywh", "xyxy")
    kept = nms(boxes, confidence, 0.8)[:300]
    inside = (boxes[kept].clamp(0, 64)[:, 2:] > boxes[kept].clamp(0, 64)[:, :2]).all(1)
    wanted_confidences = sorted(confidence[kept][inside].tolist())
    assert len(wanted_confidences) > 3
    assert sorted(found.predictions["confidence"]) == pytest.approx(wanted_confidences, abs=1e-5)


def test_without_a_class_or_with_one_that_is_not_there(two, untrained):
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    with pytest.raises(UserError, match=r"found 2 classes \(Mass, Nodule, ...\); .* --class NAME, or all of them"):
        run(path, *QUICK)
    with pytest.raises(UserError, match=r"has no class 'Cyst'; it has Mass, Nodule\. Name one of these with --class"):
        run(path, "--class", "Cyst", *QUICK)
    assert DataSet(two, "Nodule").scored == (1,)


def test_a_training_with_single_cls_is_scored_on_all_classes(two, run_folder, capsys):
    """As it was trained and validated: the class's number in the labels did not count."""
    import torch

    weights = run_folder / "weights" / "best.pt"
    run(run_folder, *QUICK)  # of the same boxes, all of one class
    one = read(run_folder)["splits"]
    checkpoint = torch.load(weights, weights_only=False)
    checkpoint["train_args"] |= {"single_cls": True, "data": str(two / "data.yaml")}
    (checkpoint["ema"] or checkpoint["model"]).names = {0: "item"}
    torch.save(checkpoint, weights)
    capsys.readouterr()
    run(run_folder, *QUICK)
    assert read(run_folder)["splits"] == one
    assert "all 2 classes as one" in capsys.readouterr().err


def test_the_confidence_of_another_class_is_not_used(two, untrained, capsys):
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    run(path, "--class", "Mass", *QUICK)
    for name, is_used in (("Mass", True), ("Nodule", False)):
        system = system_of(path, class_name=name)
        capsys.readouterr()
        pipeline, origin = choose_pipeline(None, system)
        assert origin.startswith("chosen in ") == is_used
        assert ("is the score of class Mass, not of Nodule" in capsys.readouterr().err) != is_used
        assert is_used or pipeline == DEFAULT


def test_classes_that_were_renamed_after_the_training_are_told(two, untrained, capsys):
    path = untrained(names=("Nodule", "Mass"), data=str(two / "data.yaml"))
    run(path, "--class", "Mass", *QUICK)
    assert "its classes are Mass, Nodule, and were Nodule, Mass when " in capsys.readouterr().err
