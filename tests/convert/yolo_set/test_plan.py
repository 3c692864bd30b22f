"""From what a parser says to what is converted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from convert.sources.boxes import COORDINATES, REJECTED_COLUMNS
from convert.sources.files import FolderSource
from convert.sources.parsed import Parsed
from convert.yolo_set.plan import make_plan
from convert.yolo_set.splits import Splitting

CLASSES = [f"class{number}" for number in range(8)]


@pytest.fixture(scope="module")
def parsed(tmp_path_factory) -> Parsed:
    """3,000 images of one patient each, a third of them with boxes of some of eight classes."""
    rng = np.random.default_rng(1)
    rows: list[tuple] = []
    for number in range(3000):
        found = [name for name in CLASSES if number % 3 == 0 and rng.random() < 0.35]
        rows += [(f"i{number}", 1.0, 2.0, 3.0, 4.0, name) for name in found for _ in range(rng.integers(1, 3))]
        if not found:
            rows.append((f"i{number}", *[np.nan] * 4, rng.choice(["No finding", "Other finding"])))
    boxes = pd.DataFrame(rows, columns=["image_id", *COORDINATES, "label"])
    files = {image_id: f"{image_id}.png" for image_id in boxes["image_id"].unique()}
    source = FolderSource(tmp_path_factory.mktemp("source"))
    return Parsed(source, boxes, pd.DataFrame(columns=REJECTED_COLUMNS), files, CLASSES)


def test_every_class_is_balanced_where_images_have_several(parsed):
    images = make_plan(parsed, Splitting(folds=4)).images
    labels = parsed.boxes[["image_id", "label"]].drop_duplicates()
    for column, shares in (("split", {"train": 0.8, "val": 0.1, "test": 0.1}), ("fold", dict.fromkeys(range(4), 0.25))):
        where = labels["image_id"].map(images[column]).dropna()
        placed = pd.crosstab(labels["label"], where)
        for name, share in shares.items():
            off = (placed[name] - share * placed.sum(axis=1)).abs()
            assert (off <= (0.01 * share * placed.sum(axis=1)).clip(lower=2)).all()
    assert images["split"].value_counts().to_dict() == {"train": 2400, "val": 300, "test": 300}


def test_folds_are_of_train_alone_also_where_ids_give_the_split(tmp_path, parsed):
    """Val is seen by no member of an ensemble, so that all vote on it."""
    listed = tmp_path / "val.txt"
    listed.write_text("".join(f"i{number}\n" for number in range(0, 3000, 6)))  # 500, with twice the share of boxes
    patients = pd.Series({f"i{number}": f"p{number // 2}" for number in range(3000)})
    images = make_plan(replace(parsed, patients=patients), Splitting(val_ids=listed, folds=5)).images
    train = images[images["split"] == "train"]
    assert images.loc[images["split"] != "train", "fold"].isna().all()
    assert (images["split"] == "val").sum() == 500
    assert (train.groupby("patient_id")["fold"].nunique() == 1).all()
    assert (train["fold"].value_counts(normalize=True) - 0.2).abs().max() < 0.002
    positive = (train["boxes"] > 0).groupby(train["fold"]).mean()
    assert (positive - (train["boxes"] > 0).mean()).abs().max() < 0.005
