"""One fingerprint for training and scoring: of what a training reads, and of the data YAML as it lies on the disk."""

from __future__ import annotations

import shutil

import pytest
import yaml

from common.data.fingerprint import data_fingerprint, yaml_fingerprint


@pytest.mark.parametrize("val", ["val.txt", ["val.txt"], ["val.txt", "test.txt"], "images/val"])
@pytest.mark.parametrize("key", ["val", "validation"])
def test_it_is_the_one_of_the_training(own_data_set, monkeypatch, val, key):
    pytest.importorskip("ultralytics", reason="Ultralytics is not installed")
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.data.utils import check_det_dataset

    monkeypatch.setattr("ultralytics.data.utils.check_font", lambda *_: None)
    path = own_data_set / "other.yaml"
    path.write_text(yaml.safe_dump({"names": ["Lung Opacity"], "train": "train.txt", key: val}))
    assert yaml_fingerprint(path) == data_fingerprint(check_det_dataset(str(path)))


def test_it_moves_with_the_folder_and_changes_with_the_images(own_data_set, tmp_path):
    first = yaml_fingerprint(own_data_set / "data.yaml")
    assert first is not None
    assert len(first) == 64
    moved = shutil.move(own_data_set, tmp_path / "moved")
    assert yaml_fingerprint(moved / "data.yaml") == first
    lines = (moved / "val.txt").read_text().splitlines()
    (moved / "val.txt").write_text("\n".join(lines[1:]) + "\n")
    assert yaml_fingerprint(moved / "data.yaml") != first


def test_data_without_validation_images_have_none(tmp_path):
    (tmp_path / "a.yaml").write_text("test: test.txt\nnames: [Lung Opacity]\n")
    (tmp_path / "b.yaml").write_text("val: gone.txt\nnames: [Lung Opacity]\n")
    assert yaml_fingerprint(tmp_path / "a.yaml") is yaml_fingerprint(tmp_path / "b.yaml") is None
