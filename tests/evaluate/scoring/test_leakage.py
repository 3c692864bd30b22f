from __future__ import annotations

import shutil

import pandas as pd
import yaml

from common.data.data_set import DataSet
from evaluate.scoring.leakage import find_leakage, warn_of_leakage
from evaluate.scoring.result import Leakage, SplitLeakage


def yaml_of(folder, name, **splits):
    path = folder / name
    path.write_text(yaml.safe_dump({"names": ["Lung Opacity"], **splits}))
    return DataSet(path)


def test_clean_splits(data_set, capsys):
    data = DataSet(data_set)
    found = find_leakage(data, data, ["val", "test"])
    nothing = SplitLeakage(images=0, patients=0, images_of_these_patients=0)
    assert (found.splits, found.patients_known) == ({"val": nothing, "test": nothing}, True)
    warn_of_leakage(found, "test")
    assert capsys.readouterr().err == ""


def test_images_that_were_trained_on(own_data_set, capsys):
    trained = yaml_of(own_data_set, "both.yaml", train=["train.txt", "test.txt"], val="val.txt")
    found = find_leakage(trained, DataSet(own_data_set), ["val", "test"])
    assert found.splits["val"].images == 0
    assert (found.splits["test"].images, found.splits["test"].patients) == (12, 6)
    warn_of_leakage(found, "test")
    assert "LEAKAGE: of split 'test', 12 images were trained on" in capsys.readouterr().err


def test_patient_on_both_sides(own_data_set):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.loc[manifest["image_id"].isin(["test-03", "test-04", "test-05"]), "patient_id"] = "train-patient-2"
    manifest.to_csv(own_data_set / "manifest.csv", index=False)
    data = DataSet(own_data_set)
    found = find_leakage(data, data, ["test"]).splits["test"]
    assert found == SplitLeakage(
        images=0, patients=1, images_of_these_patients=3, examples=("test-03", "test-04", "test-05")
    )


def test_known_images_whose_patients_have_other_names(own_data_set, tmp_path, capsys):
    """Two conversions of the same pictures, one of which did not know the patients."""
    copy = shutil.copytree(own_data_set, tmp_path / "copy")
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest["patient_id"] = "other " + manifest["patient_id"]
    manifest.to_csv(copy / "manifest.csv", index=False)
    trained = yaml_of(own_data_set, "tests.yaml", train="test.txt", val="val.txt")
    found = find_leakage(trained, DataSet(copy / "data.yaml"), ["val", "test"])
    assert found.splits["val"] == SplitLeakage(images=0, patients=0, images_of_these_patients=0)
    leaked = found.splits["test"]
    assert (leaked.images, leaked.patients, leaked.images_of_these_patients) == (12, 6, 12)
    assert leaked.examples[0] == "test-00"
    warn_of_leakage(found, "test")
    assert "12 images belong to 6 patients that were trained on (such as test-00)" in capsys.readouterr().err


def test_equal_file_names_of_foreign_data_sets_are_no_leakage(own_data_set, tmp_path):
    for name in ("manifest.csv", "conversion.json"):
        (own_data_set / name).unlink()
    copy = shutil.copytree(own_data_set, tmp_path / "copy")
    other = yaml_of(copy, "other.yaml", train="test.txt", val="val.txt")
    found = find_leakage(other, DataSet(own_data_set / "data.yaml"), ["test"])
    assert found.splits["test"].images == 0
    assert found.patients_known is False
    same = yaml_of(own_data_set, "same.yaml", train="test.txt", val="val.txt")
    assert find_leakage(same, DataSet(own_data_set / "data.yaml"), ["test"]).splits["test"].images == 12


def test_unknown_training_data(data_set, capsys):
    found = find_leakage(None, DataSet(data_set), ["test"], "it is gone")
    assert found == Leakage(reason="it is gone")
    assert not found.checked
    warn_of_leakage(found, "test")
    assert "leakage was not checked: it is gone" in capsys.readouterr().err
