"""Who may vote on which image."""

from __future__ import annotations

import shutil

import pandas as pd

from common.data.data_set import DataSet
from evaluate.scoring import members
from evaluate.scoring.members import Comparison, voters_words
from evaluate.scoring.recognition import recognise


def test_a_member_of_another_conversion_has_seen_the_same_images(own_data_set, tmp_path):
    """Its patients have other names there, and `patient-1` of one conversion is nobody in another."""
    copy = shutil.copytree(own_data_set, tmp_path / "copy")
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest.assign(patient_id="other " + manifest["patient_id"]).to_csv(copy / "manifest.csv", index=False)
    half = (copy / "val.txt").read_text().splitlines()[:3]  # of two patients, of the second one image only
    (copy / "half.txt").write_text("\n".join(half) + "\n")
    (copy / "half.yaml").write_text("train: half.txt\nval: test.txt\nnames: [Lung Opacity]\n")
    data = DataSet(own_data_set)
    not_seen: list[str] = []
    compare = Comparison(data, not_seen)
    assert compare.known("val", [data, DataSet(copy / "half.yaml")]) == {f"val-{number:02}" for number in range(4)}
    assert compare.known("val", [data]) == set()
    assert compare.validated("val", data) == set(data.pictures("val"))
    assert (compare.patients_known, not_seen) == (True, [])


def test_what_a_member_may_have_seen_is_told(own_data_set):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.assign(patient_id=manifest["image_id"]).to_csv(own_data_set / "manifest.csv", index=False)
    data = DataSet(own_data_set)
    not_seen: list[str] = []
    compare = Comparison(data, not_seen)
    assert compare.known("val", [data]) == set()
    assert len(not_seen) == 1
    assert "patients are not known" in not_seen[0]
    assert not compare.patients_known


def test_data_that_are_gone_are_told_and_stop_nothing(own_data_set):
    (own_data_set / "gone.yaml").write_text("train: gone.txt\nval: gone.txt\nnames: [Lung Opacity]\n")
    gone, not_seen = DataSet(own_data_set / "gone.yaml"), []
    compare = Comparison(DataSet(own_data_set), not_seen)
    assert compare.known("val", [gone]) == compare.validated("val", gone) == set()
    assert "'train' of " in not_seen[0]
    assert "gone.yaml could not be compared (" in not_seen[0]
    assert len(not_seen) == 2


def test_each_data_set_is_compared_once(own_data_set, monkeypatch):
    """Members of one fold, at several sizes, were trained on the same images."""
    calls = []
    monkeypatch.setattr(members, "recognise", lambda *given: calls.append(given) or recognise(*given))
    data = DataSet(own_data_set)
    compare = Comparison(data, [])
    for _ in range(3):
        compare.known("val", [DataSet(own_data_set)])
        compare.validated("val", DataSet(own_data_set))
    assert [(given[1], given[3]) for given in calls] == [("val", "train"), ("val", "val")]


def test_voters_that_differ_between_the_splits_are_told():
    def voters(*counts: int) -> pd.Series:
        return pd.Series(counts, [str(number) for number in range(len(counts))], dtype=int)

    splits = {"val": voters(1, 2, 2), "test": voters(2, 2)}
    said = voters_words(splits, "val", "test")
    assert said.startswith("1 to 2 voters have looked at an image of 'val', 2 at one of 'test'. A mean of more is")
    assert voters_words(splits, "test", "test") == voters_words(splits, None, "test") == ""
    assert voters_words({**splits, "val": voters()}, "val", "test") == ""
