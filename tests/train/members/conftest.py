from __future__ import annotations

import shutil

import pandas as pd
import pytest
import yaml

from tests.train.conftest import QUICK


@pytest.fixture(scope="session")
def folds(data_set, tmp_path_factory):
    """The tiny data set with two folds of train."""
    root = tmp_path_factory.mktemp("folds") / "tiny"
    shutil.copytree(data_set, root)
    manifest = pd.read_csv(root / "manifest.csv")
    train = manifest["split"] == "train"
    manifest["fold"] = pd.Series(range(len(manifest)))[train] // 4 % 2
    manifest.astype({"fold": "Int64"}).to_csv(root / "manifest.csv", index=False)
    content = yaml.safe_load((root / "data.yaml").read_text())
    for fold in (0, 1):
        for name, rows in (("train", manifest["fold"] == 1 - fold), ("val", manifest["fold"] == fold)):
            pictures = manifest.loc[train & rows, "picture"]
            (root / f"fold{fold}_{name}.txt").write_text("".join(f"./{picture}\n" for picture in pictures))
        own = {"train": f"fold{fold}_train.txt", "val": f"fold{fold}_val.txt"}
        (root / f"fold{fold}.yaml").write_text(yaml.safe_dump({**content, **own}))
    return root


@pytest.fixture(scope="session")
def recipe(cnn, tmp_path_factory):
    """A recipe of two folds at one size, and a gate for one of them."""
    quick = {**QUICK, "model": str(cnn), "epochs": 2, "keep_state": False}
    del quick["imgsz"], quick["device"]
    members = {"folds": [0, 1], "imgsz": [64], "augment": True}
    gate = {"model": "basic-cnn-cls.yaml", "imgsz": 32, "epochs": 2, "batch": 8, "folds": [0], "flip": True}
    parts = {"arguments": quick, "members": members, "gate": gate}
    content = {
        part: {name: {"value": value, "why": "quick"} for name, value in values.items()}
        for part, values in parts.items()
    }
    file = tmp_path_factory.mktemp("recipes") / "pair.yaml"
    file.write_text(yaml.safe_dump({"about": "Two.", **content}))
    return file
