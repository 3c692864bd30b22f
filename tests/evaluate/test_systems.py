"""Several trainings, a gate and others' predictions through the commands: scored, and then predicted with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from common.cli import execute
from common.data.tables import read_predictions
from common.files import sha256
from evaluate.predict import main as predict
from evaluate.score import main as score
from evaluate.system import System, SystemClassifier, SystemDetector
from tests.evaluate.classifier.conftest import make_gate
from tests.evaluate.scores import read
from tests.evaluate.system.conftest import copy_training

__all__ = ["make_gate"]

QUIET = ("--no-wandb", "--no-report", "--device", "cpu")


@pytest.fixture(scope="module")
def folds(data_set, trained, tmp_path_factory) -> Path:
    """A data set with two folds of its training images, and in `runs/` a training of each; not to be changed."""
    root = Path(shutil.copytree(data_set, tmp_path_factory.mktemp("folds") / "tiny"))
    lines = (root / "train.txt").read_text().splitlines()
    halves = lines[:12], lines[12:]  # the patients of the tiny data set are pairs of images
    for fold in (0, 1):
        (root / f"fold{fold}_train.txt").write_text("\n".join(halves[1 - fold]) + "\n")
        (root / f"fold{fold}_val.txt").write_text("\n".join(halves[fold]) + "\n")
        content = yaml.safe_load((root / "data.yaml").read_text())
        content |= {"train": f"fold{fold}_train.txt", "val": f"fold{fold}_val.txt"}
        (root / f"fold{fold}.yaml").write_text(yaml.safe_dump(content))
        run = root.parent / "runs" / f"fold{fold}"
        copy_training(trained, run, noise=0.05 * fold, data=str(root / f"fold{fold}.yaml"))
    return root


@pytest.fixture
def winner(folds, make_gate, tmp_path) -> Path:
    """A recipe's folder as it leaves it: two detectors, a gate, and `system.yaml`."""
    folder = Path(shutil.copytree(folds.parent / "runs", tmp_path / "winner"))
    gate = folder / "gate"
    shutil.copytree(make_gate(manifest=sha256(folds / "manifest.csv")), gate)
    (gate / "args.yaml").write_text("task: classify\n")
    table = pd.read_csv(folds / "manifest.csv")[["image_id", "split"]].assign(p_opacity=0.5)
    table.to_csv(gate / "gate.csv", index=False)
    detectors = tuple(SystemDetector.of(folder / f"fold{fold}" / "weights" / "best.pt") for fold in (0, 1))
    System(detectors, (SystemClassifier.of(gate / "weights" / "best.pt"),), data=folds / "data.yaml").to_yaml(
        folder / "system.yaml"
    )
    return folder


def test_a_recipe_is_scored_and_predicts_what_was_scored(winner, folds, tmp_path, capsys):
    """By the two commands that a recipe prints: the test split's boxes are the same, kept and submitted."""
    assert execute(score, [str(winner), *QUIET]) == 0
    said = capsys.readouterr().err
    assert "LEAKAGE" not in said
    assert "voters have looked" not in said  # val was seen by none
    found = read(winner)
    assert found["tuned_on"] == "val"
    assert found["inference"]["voters"] == 2
    assert found["weights"].endswith("winner")
    system = System.from_yaml(winner / "system.yaml")
    assert found["weights_sha256"] == list(system.identity)
    table = read_predictions(winner / "votes_test.csv").predictions
    assert set(table["detector"]) == {"fold0", "fold1"}
    assert set(table["voters"]) == {2}
    assert (winner / "fold0" / "predictions_test.csv").is_file()
    fitted = (winner / "pipeline.yaml").read_text()

    output = tmp_path / "out"
    capsys.readouterr()
    pictures = folds / "images" / "test"
    assert execute(predict, [str(pictures), "--weights", str(winner), "--output", str(output), "--device", "cpu"]) == 0
    assert "winner/pipeline.yaml, on val of " in capsys.readouterr().out
    again = read_predictions(output / "predictions.csv").predictions
    pd.testing.assert_frame_equal(again, table)
    images = pd.read_csv(output / "images.csv")
    assert images["p_opacity"].between(0, 1).all()
    assert not list(output.glob("*.unfinished"))
    assert read_predictions(output / "submission.csv").image_ids == sorted(path.stem for path in pictures.iterdir())

    # Scored again nothing is predicted, and the same comes out; as predictions of others, too.
    predicted = [file for file in winner.rglob("*.csv") if file.name != "outcomes.csv"]
    before = {file: file.stat().st_mtime_ns for file in predicted}
    outcomes = (winner / "outcomes.csv").read_text()
    assert execute(score, [str(winner), *QUIET]) == 0
    assert {file: file.stat().st_mtime_ns for file in predicted} == before
    assert (winner / "outcomes.csv").read_text() == outcomes
    assert read(winner)["splits"] == found["splits"]
    assert (winner / "pipeline.yaml").read_text() == fitted


def test_what_is_submitted_scores_what_was_reported(winner, folds, tmp_path):
    assert execute(score, [str(winner), *QUIET]) == 0
    arguments = [str(folds / "images" / "test"), "--weights", str(winner), "--output", str(tmp_path / "out")]
    assert execute(predict, [*arguments, "--device", "cpu", "--overlays", "none"]) == 0
    submission = ["--predictions", str(tmp_path / "out/submission.csv"), "--data", str(folds), "--confidence", "0"]
    assert execute(score, [*submission, "--output", str(tmp_path / "handed-in"), *QUIET]) == 0
    assert read(tmp_path / "handed-in")["score"] == pytest.approx(read(winner)["score"], abs=1e-9)


def test_votes_can_be_handed_in(winner, folds, tmp_path):
    """The table of all voters holds all that a scoring needs besides the gate."""
    assert execute(score, [str(winner), *QUIET, "--fit", "confidence", "--gate-mode", "tune"]) == 0
    files = [str(winner / f"votes_{split}.csv") for split in ("val", "test")]
    handed = ["--predictions", *files, "--data", str(folds), "--gate", str(winner / "gate"), "--fit", "confidence"]
    assert execute(score, [*handed, "--output", str(tmp_path / "out"), *QUIET]) == 0
    assert read(tmp_path / "out")["splits"] == read(winner)["splits"]


def test_several_trainings_are_named_and_then_their_folder(folds, tmp_path, capsys):
    """A new folder takes the score; named instead of the trainings, it is the same system."""
    runs = Path(shutil.copytree(folds.parent / "runs", tmp_path / "runs"))
    named = [str(runs / "fold0"), str(runs / "fold1")]
    assert execute(score, [*named, "--data", str(folds), *QUIET]) == 0
    (folder,) = runs.glob("system-*")
    found = read(folder)
    assert found["weights"].endswith(f"runs/{folder.name}")
    picture = str(folds / "images" / "test" / "test-00.jpg")
    outputs = [tmp_path / "named", tmp_path / "folder"]
    for words, output in zip((named, [str(folder)]), outputs, strict=True):
        capsys.readouterr()
        arguments = [picture, "--weights", *words, "--output", str(output), "--overlays", "none", "--device", "cpu"]
        assert execute(predict, arguments) == 0
        assert f"chosen in {folder}/pipeline.yaml" in capsys.readouterr().out
    assert (outputs[0] / "predictions.csv").read_bytes() == (outputs[1] / "predictions.csv").read_bytes()
    assert execute(score, [str(folder), "--data", str(folds), *QUIET]) == 0
    assert read(folder)["splits"] == found["splits"]

    # One of them alone is another thing.
    capsys.readouterr()
    alone = [picture, "--weights", named[0], "--pipeline", str(folder / "pipeline.yaml"), "--overlays", "none"]
    assert execute(predict, [*alone, "--output", str(tmp_path / "alone"), "--device", "cpu"]) == 0
    assert "of these and of other weights together" in capsys.readouterr().err


def test_members_of_folds_vote_only_on_what_they_have_not_seen(folds, tmp_path, capsys):
    """Out of fold: a training image has the vote of the one training that did not see its patient."""
    runs = Path(shutil.copytree(folds.parent / "runs", tmp_path / "runs"))
    arguments = [str(runs), "--data", str(folds), *QUIET]
    assert execute(score, [*arguments, "--out-of-fold"]) == 0
    said = capsys.readouterr().err
    assert "member fold0 was trained on 12 of the 24 images of 'train' or on others of their patients" in said
    assert f"{runs}/out_of_fold.csv, 1 voters to an image" in said
    table = read_predictions(runs / "out_of_fold.csv").predictions
    assert set(table["voters"]) == {1}
    by_detector = table.groupby("detector")["image_id"].agg(set)
    lists = {f"fold{fold}": (folds / f"fold{fold}_val.txt").read_text() for fold in (0, 1)}
    for name, images in by_detector.items():
        assert all(f"/{image_id}.jpg" in lists[name] for image_id in images)
    scored = read(runs)
    assert set(scored["splits"]) == {"val", "test"}
    assert scored["predictions"]["out_of_fold.csv"].endswith("runs/out_of_fold.csv")
    # A fold's own predictions of its images, made alone, are these.
    alone = read_predictions(runs / "fold0" / "predictions_train-unseen.csv").predictions
    ours = table[table["detector"] == "fold0"][alone.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, alone)

    # Tuned on images that one of two knows: said, and on the record.
    assert execute(score, [*arguments, "--tune-on", "train"]) == 0
    said = capsys.readouterr().err
    assert (
        "1 voters have looked at an image of 'train', 2 at one of 'test'. A mean of more is less often extreme" in said
    )
    leakage = read(runs)["leakage"]
    assert leakage["train"]["images"] == 0
    assert [text.split(" was trained")[0] for text in leakage["abstained"]] == ["member fold0", "member fold1"]


def test_images_that_every_member_was_trained_on_are_refused(folds, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluate.scoring.inputs.predict_split", lambda *_: pytest.fail("predicted"))
    runs = Path(shutil.copytree(folds.parent / "runs", tmp_path / "runs"))
    for name in ("b", "again"):
        copy_training(runs / "fold1/weights/best.pt", tmp_path / "same" / name, noise=0.01 * len(name))
    same = [str(tmp_path / "same"), "--data", str(folds), "--tune-on", "train", *QUIET]
    assert execute(score, same) == 2
    assert "12 of 24 images of 'train', first train-00, were trained on, or others of their" in capsys.readouterr().err
    assert execute(score, [str(runs / "fold0"), "--data", str(folds), "--out-of-fold", *QUIET]) == 2
    assert "--out-of-fold: predicts the training images by members" in capsys.readouterr().err


def test_a_gate_that_knows_the_images_is_told(winner, folds, capsys):
    record = winner / "gate" / "gate.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "pretrained_on": "it has seen images of the NIH"}))
    table = pd.read_csv(winner / "gate" / "gate.csv")
    table.loc[table["image_id"] == "test-03", "split"] = "train"
    table.to_csv(winner / "gate" / "gate.csv", index=False)
    assert execute(score, [str(winner), *QUIET]) == 0
    said = capsys.readouterr().err
    assert "LEAKAGE: 2 images of split 'test', or others of their patients, were trained on by the gate" in said
    assert "gate: it has seen images of the NIH" in " ".join(said.split())
    assert read(winner)["gate"]["seen_images"] == {"val": 0, "test": 2}


def test_with_a_gate_and_without_are_two_scores(winner, folds, capsys):
    alone = [str(winner / "fold0"), "--data", str(folds), *QUIET]
    for words in (alone, [*alone, "--gate", str(winner / "gate")]):
        assert execute(score, words) == 0
    assert "was another score (it differs in: weights, " in capsys.readouterr().err
    assert len(list((winner / "fold0").glob("score-*.json"))) == 1
    assert read(winner / "fold0")["weights"].endswith("fold0/weights/best.pt")


def test_predictions_of_another_detector_vote(folds, tmp_path, capsys):
    runs = Path(shutil.copytree(folds.parent / "runs", tmp_path / "runs"))
    assert execute(score, [str(runs / "fold1"), "--data", str(folds), *QUIET]) == 0
    parts = [read_predictions(runs / "fold1" / f"predictions_{split}.csv").predictions for split in ("val", "test")]
    pd.concat(parts).to_csv(tmp_path / "theirs.csv", index=False)
    both = [
        str(runs / "fold0"),
        str(tmp_path / "theirs.csv"),
        "--data",
        str(folds),
        "--output",
        str(tmp_path / "mixed"),
    ]
    assert execute(score, [*both, *QUIET]) == 0
    assert execute(score, [str(runs), "--data", str(folds), *QUIET]) == 0
    assert read(tmp_path / "mixed")["splits"] == read(runs)["splits"]
    assert "theirs.csv: predictions do not tell what they were trained on" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("image_id,confidence,x,y,width,height\nnobody,0.5,1,1,9,9\n")
    assert execute(score, [str(runs), str(tmp_path / "other.csv"), "--data", str(folds), *QUIET]) == 2
    assert "other.csv: has no image of val or test, so it would not vote" in capsys.readouterr().err


def test_members_that_lie_where_nothing_can_be_written(folds, tmp_path, read_only, capsys):
    shutil.copytree(folds.parent / "runs", tmp_path / "input")
    read_only(tmp_path / "input")
    arguments = [str(tmp_path / "input"), "--data", str(folds), *QUIET]
    assert execute(score, arguments) == 2
    said = capsys.readouterr().err.rstrip()
    assert said.endswith("(Read-only file system). Name another one with --output.")
    assert execute(score, [*arguments, "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "members").glob("fold*/predictions_val.csv"))) == 2
    pictures = [str(folds / "images" / "test" / "test-00.jpg"), "--weights", str(tmp_path / "out"), "--device", "cpu"]
    assert execute(predict, [*pictures, "--output", str(tmp_path / "predicted")]) == 0
    assert f"chosen in {tmp_path}/out/pipeline.yaml" in capsys.readouterr().out


def test_the_folder_of_a_training_takes_no_system(folds, tmp_path, capsys):
    runs = Path(shutil.copytree(folds.parent / "runs", tmp_path / "runs"))
    words = [str(runs / "fold0"), str(runs / "fold1"), "--data", str(folds), "--output", str(runs / "fold0"), *QUIET]
    assert execute(score, words) == 2
    assert "is the folder of weights, which would be taken instead of the system" in capsys.readouterr().err
    assert not (runs / "fold0" / "score.json").exists()


def test_a_table_of_probabilities_cannot_look_at_new_pictures(winner, folds, tmp_path, capsys):
    table = tmp_path / "p.csv"
    shutil.copy(winner / "gate" / "gate.csv", table)
    words = [str(folds / "images" / "test"), "--weights", str(winner / "fold0"), "--output", str(tmp_path / "out")]
    assert execute(predict, [*words, "--gate", str(table)]) == 2
    assert (
        "--gate p.csv: a table of probabilities, which cannot look at new pictures"
        in capsys.readouterr().err.replace(f"{tmp_path}/", "")
    )
    assert json.loads((winner / "gate" / "gate.json").read_text())["flip"] is False
