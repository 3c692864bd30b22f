"""The command: from weights to a score, and what it says about wrong use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.tables import make_predictions, read_predictions, write_submission
from common.errors import UserError
from evaluate import score
from evaluate.metrics.rsna import rsna_score
from tests.evaluate.scores import QUICK, read, run, suppressed, truth_of


def test_score_is_the_metric_of_the_files_it_names(run_folder, data_set, capsys):
    run(run_folder / "weights/best.pt", *QUICK)
    found = read(run_folder)
    predictions = {name: pd.read_csv(run_folder / f"predictions_{name}.csv") for name in ("val", "test")}
    assert {name: Path(path).name for name, path in found["predictions"].items()} == {
        "val": "predictions_val.csv",
        "test": "predictions_test.csv",
    }
    predictions = {name: suppressed(table) for name, table in predictions.items()}
    # The confidence of highest score on val, by brute force, then test at that confidence.
    val, test = truth_of(data_set, "val"), truth_of(data_set, "test")
    tried = {value: rsna_score(val, predictions["val"], value) for value in predictions["val"]["confidence"]}
    assert found["confidence"] == max(value for value in tried if tried[value] == max(tried.values()))
    assert found["splits"]["val"]["score"] == max(tried.values())
    assert found["score"] == rsna_score(test, predictions["test"], found["confidence"]) > 0.2
    assert found["interval_95"] is None  # of six patients

    entry = found["splits"]["test"]
    kept = predictions["test"].query("confidence >= @found['confidence']")
    assert entry["interval_95"] == found["interval_95"]
    assert (entry["images"], entry["positive_images"], entry["truth_boxes"]) == (12, 6, 9)
    assert entry["predictions"] == len(kept)
    assert entry["counted_images"] == len(set(kept["image_id"]) | set(test.dropna()["image_id"]))
    assert entry["true_positives_at_0.5"] + entry["false_negatives_at_0.5"] == 9
    assert entry["true_positives_at_0.5"] + entry["false_positives_at_0.5"] == len(kept)
    assert 0 < entry["map50_95"] <= entry["map50"] <= 1
    assert set(found["subgroups"]["view"]) == {"AP", "PA"}
    assert found["subgroups"]["sex"]["F"] == {
        "score": None, "interval_95": None, "images": 6, "counted_images": 0,
        "counted_patients": 0, "sensitivity": {"value": None, "interval_95": None, "patients": 0},
        "specificity": {"value": 1.0, "interval_95": None, "patients": 6},
    }  # fmt: skip
    assert found["subgroups"]["sex"]["M"]["score"] == pytest.approx(found["score"], rel=1e-12)
    assert sum(group["images"] for group in found["subgroups"]["age"].values()) == 12
    assert found["leakage"]["test"]["images"] == found["leakage"]["test"]["patients"] == 0
    assert (found["tuned_on"], found["reported_on"], found["synthetic"]) == ("val", "test", True)
    assert (found["postprocess"]["suppression"], found["fitted"]) == ({"method": "nms", "iou": 0.4}, ["confidence"])
    assert found["command"].startswith("python evaluate/score.py ")
    assert found["versions"]["ultralytics"]

    said = capsys.readouterr()
    assert f"RSNA score on test: {found['score']:.3f} (no interval: fewer than 20 patients" in said.out
    assert "chosen on val" in said.out
    assert f"weights {run_folder.name}/weights/best.pt, data {data_set.name}/data.yaml" in said.out
    assert f"weights: {run_folder}/weights/best.pt (epoch 12 of 12), trained " in said.err
    assert "LEAKAGE" not in said.err


def test_kept_predictions_can_be_submitted_and_score_the_same(run_folder, data_set, tmp_path):
    run(run_folder, *QUICK)
    found = read(run_folder)
    table = suppressed(read_predictions(run_folder / "predictions_test.csv").predictions)
    kept = table[table["confidence"] >= found["confidence"]]
    write_submission(tmp_path / "s.csv", kept, [f"test-{number:02}" for number in range(12)])
    run("--predictions", tmp_path / "s.csv", "--data", data_set, "--output", tmp_path / "out", *QUICK)
    assert read(tmp_path / "out")["score"] == found["score"]


def test_leakage_is_shouted_and_kept(run_folder, own_data_set, data_set, capsys):
    """The weights were trained on the train list of another copy with the same image ids."""
    (own_data_set / "leaky.yaml").write_text("train: test.txt\nval: val.txt\ntest: train.txt\nnames: [Lung Opacity]\n")
    run(run_folder, "--data", own_data_set / "leaky.yaml", *QUICK)
    assert "LEAKAGE: of split 'test', 24 images were trained on" in capsys.readouterr().err
    assert read(run_folder)["leakage"]["test"]["patients"] == 12


def test_untrained_model_and_unknown_training_data(untrained, data_set, capsys):
    path = untrained(data="gone.yaml")
    run(path, "--data", data_set, *QUICK)
    found = read(path.parent)
    assert found["score"] == 0.0
    assert found["leakage"]["checked"] is False
    said = capsys.readouterr().err
    assert "no confidence gives a score above 0 on 'val'" in said
    assert "leakage was not checked" in said
    with pytest.raises(UserError, match=r"was trained on gone.yaml.*--data"):
        run(path, *QUICK)


def test_split_without_any_box(run_folder, own_data_set, capsys):
    truth = pd.read_csv(own_data_set / "truth.csv")
    empty = truth["image_id"].str.startswith("test")
    truth.loc[empty, ["x", "y", "width", "height"]] = np.nan
    truth.drop_duplicates(["image_id", "x", "y"]).to_csv(own_data_set / "truth.csv", index=False)
    for label in (own_data_set / "labels" / "test").iterdir():
        label.write_text("")
    run(run_folder, "--data", own_data_set, *QUICK)
    found = read(run_folder)
    assert found["score"] == 0.0
    assert found["splits"]["test"]["map50"] is None
    assert "has a truth box: the score can only be 0" in capsys.readouterr().err


def test_weights_that_lie_where_nothing_can_be_written(run_folder, tmp_path, read_only, monkeypatch):
    """As in Kaggle's input folder: refused before anything is predicted, and done with --output."""
    read_only(run_folder)
    before = sorted(run_folder.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("evaluate.scoring.inputs.predict_split", lambda *_: pytest.fail("predicted"))
        with pytest.raises(UserError, match=r"the weights' folder .* Name another one with --output\.$"):
            run(run_folder, "--no-wandb")
    run(run_folder, "--no-wandb", "--output", tmp_path / "out")
    assert {"predictions_test.csv", "predictions_val.csv", "report.html", "score.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert sorted(run_folder.rglob("*")) == before


def test_report_and_tracking(run_folder, data_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(run_folder, "--data", data_set)
    page = (run_folder / "report.html").read_text()
    found = read(run_folder)
    assert f"{found['score']:.3f}" in page
    assert list((run_folder / "wandb").glob("offline-run-*/*.wandb"))
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "wandb sync" in said


def wrong_use(kind: str, data_set: Path, folder: Path, trained: Path) -> list[object]:
    def file(*ids: str, name: str = "p.csv") -> Path:
        write_submission(folder / name, make_predictions([], np.empty((0, 5))), ids)
        return folder / name

    unfinished = folder / "unfinished"
    if kind == "unfinished data set":
        shutil.copytree(data_set, unfinished)
        (unfinished / "manifest.csv").unlink()
    if kind == "pictures are gone":
        shutil.copytree(data_set, unfinished)
        shutil.rmtree(unfinished / "images" / "val")
    return {
        "both": lambda: ["some.pt", "--predictions", file("test-00")],
        "unknown ids": lambda: ["--predictions", file("test-00", "stranger", "other"), "--data", data_set],
        "challenge ids": lambda: ["--predictions", file("challenge-00", "challenge-01"), "--data", data_set],
        "challenge split": lambda: [
            "--predictions",
            file("challenge-00"),
            "--data",
            data_set,
            "--report-on",
            "challenge",
        ],
        "train only": lambda: ["--predictions", file("train-00"), "--data", data_set],
        "same image twice": lambda: [
            "--predictions",
            file("test-00"),
            file("test-00", name="q.csv"),
            "--data",
            data_set,
        ],
        "no data set": lambda: ["--predictions", file("test-00"), "--data", folder / "none.yaml"],
        "unfinished data set": lambda: [trained, "--data", unfinished],
        "pictures are gone": lambda: [trained, "--data", unfinished],
        "unknown split": lambda: [trained, "--report-on", "fold9"],
        "no split": lambda: [trained, "--report-on", "names"],
        "tune what is given": lambda: [trained, "--confidence", 0.5, "--box-scale", "tune"],
        "nothing to tune on": lambda: ["--predictions", file("test-00"), "--data", data_set, "--box-scale", "tune"],
        "no weights": lambda: [folder / "none.pt"],
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("both", "one of them at a time"),
        ("unknown ids", "2 of its 3 images, first other, are not in "),
        (
            "challenge ids",
            "2 of its 2 images, first challenge-00, are of the challenge's own test set, whose truth is not",
        ),
        ("challenge split", "whose truth is not public"),
        ("train only", "covers no image of val or test .* its images are in train: name it with --report-on"),
        ("same image twice", "q.csv: image test-00 is in .*p.csv as well"),
        ("no data set", "no such data YAML"),
        ("unfinished data set", "did not finish"),
        ("pictures are gone", "no such picture, nor 11 others"),
        ("unknown split", "no split 'fold9'"),
        ("no split", "has no split 'names'; it has train, val, test"),
        ("tune what is given", "leave out --confidence"),
        ("nothing to tune on", "needs predictions for a split to tune on"),
        ("no weights", "no such weights file"),
    ],
)
def test_wrong_use_gives_one_line(kind, words, data_set, tmp_path, trained):
    output = tmp_path / "out"
    arguments = wrong_use(kind, data_set, tmp_path, trained)
    with pytest.raises(UserError, match=words) as caught:
        run(*arguments, "--output", output, *QUICK)
    assert caught.value.status == 2
    assert "\n" not in str(caught.value)
    assert not (output / "score.json").exists()


@pytest.mark.parametrize(
    "option", [("--confidence", "1.5"), ("--box-scale", "1,2,3"), ("--box-scale", "0"), ("--batch", "x")]
)
def test_arguments_out_of_range(option, capsys):
    with pytest.raises(SystemExit) as caught:
        score.main([*option])
    assert caught.value.code == 2
    assert f"found '{option[1]}'" in capsys.readouterr().err
