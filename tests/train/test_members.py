from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import yaml

from common.cli import execute
from train.train import main

from .conftest import QUICK


@pytest.fixture(scope="module")
def folds(data_set, tmp_path_factory):
    """The tiny data set with two folds."""
    root = tmp_path_factory.mktemp("folds") / "tiny"
    shutil.copytree(data_set, root)
    lines = [line for name in ("train", "val") for line in (root / f"{name}.txt").read_text().splitlines()]
    for fold in (0, 1):
        (root / f"fold{fold}_train.txt").write_text("\n".join(lines[fold::2]) + "\n")
        (root / f"fold{fold}_val.txt").write_text("\n".join(lines[1 - fold :: 2]) + "\n")
        content = yaml.safe_load((root / "data.yaml").read_text())
        content |= {"train": f"fold{fold}_train.txt", "val": f"fold{fold}_val.txt"}
        (root / f"fold{fold}.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.fixture(scope="module")
def recipe(cnn, tmp_path_factory):
    file = tmp_path_factory.mktemp("recipes") / "pair.yaml"
    quick = {name: {"value": value, "why": "quick"} for name, value in {**QUICK, "model": str(cnn)}.items()}
    del quick["imgsz"]
    members = {"folds": {"value": [0, 1], "why": "two"}, "imgsz": {"value": [64, 32], "why": "two"}}
    gate = {"model": "basic-cnn-cls.yaml", "imgsz": 32, "epochs": 1, "batch": 8, "plots": False, "amp": False}
    gate = {name: {"value": value, "why": "quick"} for name, value in gate.items()}
    file.write_text(yaml.safe_dump({"about": "Two.", "arguments": quick, "members": members, "gate": gate}))
    return file


def test_members_over_folds_and_sizes_go_on_where_they_were_stopped(folds, recipe, tmp_path, capsys, monkeypatch):
    words = [f"recipe={recipe}", f"data={folds}", f"project={tmp_path}", "epochs=2"]
    with monkeypatch.context() as patch:
        from train.detector.trainer import RSNATrainer

        save, calls = RSNATrainer.save_model, []

        def killed(self):
            calls.append(self.save_dir.name)
            if len(calls) == 6:  # in the third member, after its first epoch
                raise SystemExit(9)
            return save(self)

        patch.setattr(RSNATrainer, "save_model", killed)
        with pytest.raises(SystemExit):
            main(words)
    folder = tmp_path / "pair"
    record = json.loads((folder / "members.json").read_text())
    assert list(record["members"]) == ["fold0-64", "fold0-32"]
    before = (folder / "fold0-64" / "weights" / "best.pt").stat().st_mtime_ns

    capsys.readouterr()
    assert execute(main, [*words, "workers=1"]) == 0
    assert yaml.safe_load((folder / "fold1-64" / "args.yaml").read_text())["workers"] == 1  # which was resumed
    said = capsys.readouterr().out
    assert f"next: python evaluate/ensemble.py {folder} --data {folds / 'data.yaml'}" in said
    assert f"--gate {folder / 'gate' / 'gate.csv'}" in said
    assert len(pd.read_csv(folder / "gate" / "gate.csv")) == 28  # all images
    assert (folder / "fold0-64" / "weights" / "best.pt").stat().st_mtime_ns == before
    record = json.loads((folder / "members.json").read_text())
    assert list(record["members"]) == ["fold0-64", "fold0-32", "fold1-64", "fold1-32"]
    for name in record["members"]:
        arguments = yaml.safe_load((folder / name / "args.yaml").read_text())
        assert arguments["data"] == str(folds / f"{name.split('-')[0]}.yaml")
        assert arguments["imgsz"] == int(name.split("-")[1])
        assert len((folder / name / "results.csv").read_text().splitlines()) == 3
    assert not (tmp_path / "best.pt").exists()

    assert execute(main, [*words, "lr0=0.5"]) == 2
    assert "trained with other arguments (lr0 was 0.02, now 0.5)" in capsys.readouterr().err


def test_weights_that_cannot_be_had_are_said_before_anything_trains(folds, recipe, tmp_path, capsys):
    content = yaml.safe_load(recipe.read_text())
    content["gate"]["model"]["value"] = "nowhere/cls.pt"
    (tmp_path / "offline.yaml").write_text(yaml.safe_dump(content))
    words = [f"recipe={tmp_path / 'offline.yaml'}", f"data={folds}", f"project={tmp_path / 'runs'}", "epochs=1"]
    assert execute(main, words) == 2
    assert "model: nowhere/cls.pt: no such file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_data_set_without_folds_is_refused(data_set, recipe, tmp_path, capsys):
    assert execute(main, [f"recipe={recipe}", f"data={data_set}", f"project={tmp_path}"]) == 2
    assert "has no fold0.yaml, and recipe pair trains on 2 folds. Convert the data with --folds 2" in (
        capsys.readouterr().err
    )
    assert execute(main, [f"recipe={recipe}", f"data={data_set}", f"project={tmp_path}", "resume"]) == 2
    assert "goes on by itself" in capsys.readouterr().err
