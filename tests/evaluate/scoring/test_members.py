"""Who may vote on which image."""

from __future__ import annotations

import shutil

import pandas as pd

from common.data.data_set import DataSet
from evaluate.scoring.members import unseen


def test_a_member_of_another_conversion_has_seen_the_same_images(own_data_set, tmp_path):
    """Its patients have other names there, and `patient-1` of one conversion is nobody in another."""
    copy = shutil.copytree(own_data_set, tmp_path / "copy")
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest.assign(patient_id="other " + manifest["patient_id"]).to_csv(copy / "manifest.csv", index=False)
    half = (copy / "val.txt").read_text().splitlines()[:3]  # of two patients, of the second one image only
    (copy / "half.txt").write_text("\n".join(half) + "\n")
    (copy / "half.yaml").write_text("train: half.txt\nval: test.txt\nnames: [Lung Opacity]\n")
    data = DataSet(own_data_set)
    split = data.split("val")
    not_seen: list[str] = []
    part = unseen(split, data, [data, DataSet(copy / "half.yaml")], not_seen)
    assert list(part.pictures) == [f"val-{number:02}" for number in range(4, 12)]
    assert set(part.truth["image_id"]) == set(part.manifest["image_id"]) == set(part.pictures)
    assert list(unseen(split, data, [data], not_seen).pictures) == list(split.pictures)
    assert not_seen == []


def test_what_a_member_may_have_seen_is_told(own_data_set):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.assign(patient_id=manifest["image_id"]).to_csv(own_data_set / "manifest.csv", index=False)
    data = DataSet(own_data_set)
    not_seen: list[str] = []
    assert list(unseen(data.split("val"), data, [data], not_seen).pictures) == list(data.pictures("val"))
    assert len(not_seen) == 1
    assert "patients are not known" in not_seen[0]
