from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import yaml

from common.cli import execute
from common.data.tables import read_predictions
from evaluate.ensemble import main
from evaluate.postprocess.fusion import fuse
from evaluate.score import main as score
from evaluate.scoring.members import find_members


@pytest.fixture(scope="module")
def folds(data_set, trained, tmp_path_factory):
    """Two trainings of different folds: each has train, and the half of val that is not its own, for training."""
    root = tmp_path_factory.mktemp("folds") / "tiny"
    shutil.copytree(data_set, root)
    lines = {name: (root / f"{name}.txt").read_text().splitlines() for name in ("train", "val")}
    halves = lines["val"][:6], lines["val"][6:]  # the patients of the tiny data set are pairs of images
    runs = root.parent / "runs"
    for fold in (0, 1):
        (root / f"fold{fold}_train.txt").write_text("\n".join([*lines["train"], *halves[1 - fold]]) + "\n")
        (root / f"fold{fold}_val.txt").write_text("\n".join(halves[fold]) + "\n")
        content = yaml.safe_load((root / "data.yaml").read_text())
        content |= {"train": f"fold{fold}_train.txt", "val": f"fold{fold}_val.txt"}
        (root / f"fold{fold}.yaml").write_text(yaml.safe_dump(content))
        weights = runs / f"fold{fold}" / "weights" / "best.pt"
        weights.parent.mkdir(parents=True)
        _copy_trained_on(trained, weights, root / f"fold{fold}.yaml")
    return root, runs


def _copy_trained_on(source, target, data):
    import torch

    checkpoint = torch.load(source, weights_only=False)
    checkpoint["train_args"]["data"] = str(data)
    torch.save(checkpoint, target)


def test_members_of_folds_vote_only_on_what_they_have_not_seen(folds, capsys):
    root, runs = folds
    assert execute(main, [str(runs), "--data", str(root)]) == 0
    said = capsys.readouterr().out
    assert "val   12 images, each seen by 1 to 1 of the members" in said
    assert "test  12 images, each seen by 2 to 2 of the members" in said
    fused = read_predictions(runs / "predictions.csv").predictions
    kept = json.loads((runs / "ensemble.json").read_text())
    assert kept["images_predicted"] == {"val": [6, 6], "test": [12, 12]}

    # Both members have the same weights: on an image of val one's boxes, on one of test the average of equals.
    sizes = {f"{split}-{number:02}": (128.0, 128.0) for split in ("val", "test") for number in range(12)}
    for split in ("val", "test"):
        parts = [runs / f"fold{fold}" / "ensemble" / f"predictions_{split}.csv" for fold in (0, 1)]
        tables = [suppressed(read_predictions(part).predictions) for part in parts]
        if split == "val":
            assert not set(tables[0]["image_id"]) & set(tables[1]["image_id"])
            alone = fuse([pd.concat(tables)], [set(sizes)], sizes)
        else:
            pd.testing.assert_frame_equal(tables[0], tables[1])
            alone = fuse([tables[0]], [set(sizes)], sizes)
        ours = fused[fused["image_id"].str.startswith(split)].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, alone, atol=0.011)

    assert execute(score, ["--predictions", str(runs / "predictions.csv"), "--data", str(root), "--no-wandb"]) == 0
    assert json.loads((runs / "predictions-score" / "score.json").read_text())["tuned_on"] == "val"
    assert "1 of the members have looked at an image of 'val', 2 at one of 'test'" in capsys.readouterr().err
    assert "what is tuned on one of these splits may not suit the other" in said
    both = ["--predictions", str(runs / "predictions.csv"), "--data", str(root), "--no-wandb", "--no-report"]
    assert execute(score, [*both, "--confidence", "0.3"]) == 0  # nothing is tuned
    other = runs / "other.csv"
    other.write_text((runs / "predictions.csv").read_text().rsplit("\n", 2)[0] + "\n")  # not what the ensemble made
    assert execute(score, ["--predictions", str(other), *both[2:]]) == 0
    assert "of the members" not in capsys.readouterr().err


def test_a_recipe_is_fused_by_its_record_without_its_gate(folds, tmp_path, capsys):
    """As train/train.py leaves it and prints the next command: two detectors, a gate, the whole data set's name."""
    root, runs = folds
    winner = tmp_path / "winner"
    for name in ("fold0", "fold1", "unfinished"):
        shutil.copytree(runs / name.replace("unfinished", "fold0") / "weights", winner / name / "weights")
    gate = winner / "gate" / "weights" / "best.pt"
    gate.parent.mkdir(parents=True)
    gate.write_bytes(b"no detector")
    record = {"arguments": {"data": str(root / "data.yaml")}, "members": {"fold0": {}, "fold1": {}}}
    (winner / "members.json").write_text(json.dumps(record))
    assert execute(main, [str(winner)]) == 0
    assert f"next: python evaluate/score.py --predictions {winner}/predictions.csv --data {root}/data.yaml" in (
        capsys.readouterr().out
    )
    members = json.loads((winner / "ensemble.json").read_text())["members"]
    assert members == [f"{winner}/{name}/weights/best.pt" for name in ("fold0", "fold1")]

    for content, words in (
        ("{", "members.json: not a record of a recipe's members"),
        ('{"members": {}}', "names no finished member. Run the recipe's command again"),
        ('{"members": {"fold7": {}}}', "winner/fold7/weights/best.pt, which is not there"),
    ):
        (winner / "members.json").write_text(content)
        assert execute(main, [str(winner)]) == 2
        assert words in capsys.readouterr().err

    (winner / "members.json").unlink()  # a folder of trainings, a gate among them
    shutil.rmtree(winner / "unfinished")
    (winner / "gate" / "args.yaml").write_text("task: classify\n")
    assert find_members([winner]) == [winner / name / "weights" / "best.pt" for name in ("fold0", "fold1")]
    assert "passing over gate, a gate" in capsys.readouterr().out


def test_members_that_lie_where_nothing_can_be_written(folds, tmp_path, read_only, capsys):
    root, runs = folds
    shutil.copytree(runs, tmp_path / "input", ignore=shutil.ignore_patterns("*.json", "*.csv"))
    read_only(tmp_path / "input")
    assert execute(main, [str(tmp_path / "input"), "--data", str(root)]) == 2
    assert "the members' folder" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("(Read-only file system). Name another one with --output.")
    assert execute(main, [str(tmp_path / "input"), "--data", str(root), "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "members").glob("fold*/predictions_val.csv"))) == 2


def test_what_is_no_detector_is_refused_before_anything_is_predicted(folds, tmp_path, capsys, monkeypatch):
    root, runs = folds
    monkeypatch.setattr("evaluate.scoring.members.predict_split", lambda *_: pytest.fail("predicted"))
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"PK no checkpoint")
    assert execute(main, [str(runs), str(bad), "--data", str(root)]) == 2
    assert "bad.pt" in capsys.readouterr().err


def test_images_that_every_member_was_trained_on_are_refused(folds, capsys):
    root, runs = folds
    assert execute(main, [str(runs / "fold0"), "--data", str(root)]) == 2
    assert "6 of 12 images of 'val', first val-06, were trained on" in capsys.readouterr().err
    assert not (runs / "fold0" / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["."], "no weights there; expected a .pt file"),
        (["{runs}", "{runs}/fold0"], "named twice"),
        (["{runs}", "--iou", "1"], "--iou: found 1.0"),
    ],
)
def test_wrong_words(folds, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert execute(main, [word.format(runs=folds[1]) for word in words]) == 2
    assert message in capsys.readouterr().err


def test_what_members_may_have_seen_is_told(folds, trained, tmp_path, capsys):
    """One began with weights that are gone: what these had seen nobody knows."""
    import torch

    root, _ = folds
    weights = tmp_path / "runs" / "one" / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    checkpoint = torch.load(trained, weights_only=False)
    checkpoint["train_args"] |= {"data": str(root / "data.yaml"), "model": "/gone/chexnet.pt"}
    torch.save(checkpoint, weights)
    assert execute(main, [str(tmp_path / "runs"), "--data", str(root)]) == 0
    said = capsys.readouterr().err
    assert "not all of that can be seen: " in said
    assert "began with /gone/chexnet.pt, which is not there any more" in said
