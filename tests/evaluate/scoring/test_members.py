"""Who may vote on which image."""

from __future__ import annotations

import shutil

import pandas as pd

from common.data.data_set import DataSet
from evaluate.scoring.members import known_images, voters_words


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
    known, are_patients_known = known_images(data, split, [data, DataSet(copy / "half.yaml")], not_seen)
    assert known == {f"val-{number:02}" for number in range(4)}
    assert are_patients_known
    assert known_images(data, split, [data], not_seen) == (set(), True)
    assert not_seen == []


def test_what_a_member_may_have_seen_is_told(own_data_set):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.assign(patient_id=manifest["image_id"]).to_csv(own_data_set / "manifest.csv", index=False)
    data = DataSet(own_data_set)
    not_seen: list[str] = []
    assert known_images(data, data.split("val"), [data], not_seen) == (set(), False)
    assert len(not_seen) == 1
    assert "patients are not known" in not_seen[0]


def test_voters_that_differ_between_the_splits_are_told():
    def voters(*counts: int) -> pd.Series:
        return pd.Series(counts, [str(number) for number in range(len(counts))], dtype=int)

    splits = {"val": voters(1, 2, 2), "test": voters(2, 2)}
    said = voters_words(splits, "val", "test")
    assert said.startswith("1 to 2 voters have looked at an image of 'val', 2 at one of 'test'. A mean of more is")
    assert voters_words(splits, "test", "test") == voters_words(splits, None, "test") == ""
    assert voters_words({**splits, "val": voters()}, "val", "test") == ""
