"""Data and weights of several classes: which of them is scored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import UserError
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import load_weights
from evaluate.postprocess.operating_point import OperatingPoint
from evaluate.scoring.choice import choose_point
from tests.evaluate.scores import QUIET, read, run


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
    run(path, "--class", wanted, *QUIET)
    found = read(path.parent)
    assert found["splits"]["test"]["truth_boxes"] == boxes
    assert found["inference"]["class_name"] == (wanted if wanted == "all" else wanted.capitalize())
    said = capsys.readouterr().err
    assert "are not what truth.csv says" not in said
    assert (", all 2 classes as one" if wanted == "all" else f", class {wanted.capitalize()}") in said


def test_predictions_are_of_the_class_that_is_asked_for(two, untrained):
    """Against Ultralytics' own boxes of both classes."""
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    picture = next((two / "images" / "test").iterdir())
    options = {"imgsz": 64, "conf": 0.001, "iou": 0.4, "max_det": 100, "rect": False, "verbose": False, "save": False}
    seen = 0
    for number, name in enumerate(("Mass", "Nodule")):
        weights = load_weights(path, name)
        own = load_weights(path, "all").model.predict([str(picture)], classes=[number], **options)[0].boxes
        from evaluate.detector.inference import Picture, predict

        found = predict(weights, [Picture("a", picture.name, picture.read_bytes)], InferenceOptions().settings(weights))
        assert len(found.predictions) == len(own)
        seen += len(own)
        assert sorted(found.predictions["confidence"]) == pytest.approx(sorted(own.conf.tolist()), abs=1e-5)
    assert seen


def test_without_a_class_or_with_one_that_is_not_there(two, untrained):
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    with pytest.raises(UserError, match=r"found 2 classes \(Mass, Nodule, ...\); .* --class NAME, or all of them"):
        run(path, *QUIET)
    with pytest.raises(UserError, match=r"has no class 'Cyst'; it has Mass, Nodule\. Name one of these with --class"):
        run(path, "--class", "Cyst", *QUIET)
    assert DataSet(two, "Nodule").scored == (1,)


def test_a_training_with_single_cls_is_scored_on_all_classes(two, run_folder, capsys):
    """As it was trained and validated: the class's number in the labels did not count."""
    import torch

    weights = run_folder / "weights" / "best.pt"
    run(run_folder, *QUIET)  # of the same boxes, all of one class
    one = read(run_folder)["splits"]
    checkpoint = torch.load(weights, weights_only=False)
    checkpoint["train_args"] |= {"single_cls": True, "data": str(two / "data.yaml")}
    (checkpoint["ema"] or checkpoint["model"]).names = {0: "item"}
    torch.save(checkpoint, weights)
    capsys.readouterr()
    run(run_folder, *QUIET)
    assert read(run_folder)["splits"] == one
    assert "all 2 classes as one" in capsys.readouterr().err


def test_the_confidence_of_another_class_is_not_used(two, untrained, capsys):
    path = untrained(names=("Mass", "Nodule"), data=str(two / "data.yaml"))
    run(path, "--class", "Mass", *QUIET)
    for name, is_used in (("Mass", True), ("Nodule", False)):
        weights = load_weights(path, name)
        capsys.readouterr()
        point, origin = choose_point(None, weights, InferenceOptions().settings(weights))
        assert origin.startswith("chosen in ") == is_used
        assert ("is the score of class Mass, not of Nodule" in capsys.readouterr().err) != is_used
        assert is_used or point == OperatingPoint(0.25)


def test_classes_that_were_renamed_after_the_training_are_told(two, untrained, capsys):
    path = untrained(names=("Nodule", "Mass"), data=str(two / "data.yaml"))
    run(path, "--class", "Mass", *QUIET)
    assert "its classes are Mass, Nodule, and were Nodule, Mass when " in capsys.readouterr().err
