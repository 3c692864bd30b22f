from __future__ import annotations

import zipfile

import pandas as pd
import pytest

from train.members import raw_data
from train.members.raw_data import PLACEHOLDER, challenge_pictures


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """A converted data set whose challenge images are of stage_2_test_images, and no raw data elsewhere."""
    for name in ("RAW", "RSNA_FOLDER", "RSNA_ZIP"):
        monkeypatch.setattr(raw_data, name, tmp_path / "project" / name)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "datasets" / "own"
    root.mkdir(parents=True)
    rows = [("a", "train", "stage_2_train_images/a.dcm")]
    rows += [(name, "challenge", f"stage_2_test_images/{name}.dcm") for name in ("x", "y")]
    pd.DataFrame(rows, columns=["image_id", "split", "source"]).to_csv(root / "manifest.csv", index=False)
    return root


def write(folder, *names):
    for name in names:
        (folder / "stage_2_test_images").mkdir(parents=True, exist_ok=True)
        (folder / "stage_2_test_images" / f"{name}.dcm").write_bytes(b"dicom")


def test_a_folder_of_raw_data_beside_the_data_set(data_set):
    write(data_set.parent / "raw" / "another", "x")  # not all of them
    assert challenge_pictures(data_set) == PLACEHOLDER
    write(data_set.parent / "raw" / "my sample", "x", "y")
    assert challenge_pictures(data_set) == "'datasets/raw/my sample/stage_2_test_images'"


def test_of_several_that_have_all_the_one_with_the_fewest_others(data_set):
    write(data_set.parent / "raw" / "a larger sample", "x", "y", "z")
    write(data_set.parent / "raw" / "this one", "x", "y")
    assert challenge_pictures(data_set) == "'datasets/raw/this one/stage_2_test_images'"


def test_a_zip_where_the_download_puts_it(data_set, tmp_path, monkeypatch):
    zipped = tmp_path / "rsna.zip"
    monkeypatch.setattr(raw_data, "RSNA_ZIP", zipped)
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in ("stage_2_train_images/a.dcm", "stage_2_test_images/x.dcm", "stage_2_test_images/y.dcm"):
            archive.writestr(name, b"dicom")
    assert challenge_pictures(data_set) == "rsna.zip --only stage_2_test_images"
    zipped.write_bytes(b"no zip")
    assert challenge_pictures(data_set) == PLACEHOLDER


def test_a_data_set_without_test_pictures_or_manifest(data_set, tmp_path):
    write(data_set.parent / "raw" / "sample", "x", "y")
    table = pd.read_csv(data_set / "manifest.csv")
    table[table["split"] == "train"].to_csv(data_set / "manifest.csv", index=False)
    assert challenge_pictures(data_set) == PLACEHOLDER
    (data_set / "manifest.csv").unlink()
    assert challenge_pictures(data_set) == PLACEHOLDER
