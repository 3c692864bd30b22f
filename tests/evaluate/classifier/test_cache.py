from __future__ import annotations

import os

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import UserError, WorkError
from evaluate.classifier import cache
from evaluate.classifier.cache import predict_opacity_of_split
from evaluate.classifier.inference import predict_opacity
from evaluate.classifier.weights import load_classifier
from evaluate.detector.cache import pictures_of


@pytest.fixture
def looked(monkeypatch) -> list[str]:
    """The gates that pictures were shown to, in their order."""
    shown: list[str] = []

    def counting(classifiers, *arguments):
        shown.append(classifiers[0].sha256)
        return predict_opacity(classifiers, *arguments)

    monkeypatch.setattr(cache, "predict_opacity", counting)
    return shown


def test_kept_probabilities_are_used_until_something_changes(make_gate, own_data_set, tmp_path, looked, capsys):
    gates = [load_classifier(make_gate()), load_classifier(make_gate(seed=1)), load_classifier(make_gate(slope=2.0))]
    split = DataSet(own_data_set).split("test")
    first = [predict_opacity_of_split(gate, split, tmp_path, device="cpu") for gate in gates]
    assert len({path for path, _ in first}) == 3
    for gate, (_, found) in zip(gates, first, strict=True):
        pd.testing.assert_series_equal(found, predict_opacity([gate], pictures_of(split), device="cpu"))
    assert len(looked) == 3
    capsys.readouterr()
    for gate, (path, found) in zip(gates, first, strict=True):
        again = predict_opacity_of_split(gate, split, tmp_path, batch=3, device="cpu")
        assert again[0] == path
        assert again[1].equals(found)
    assert len(looked) == 3
    assert capsys.readouterr().out.count("test: using ") == 3
    predict_opacity_of_split(gates[0], split, tmp_path, device="cpu", again=True)
    picture = split.pictures["test-03"]
    cv2.imwrite(str(picture), np.full((128, 128), 80, np.uint8))
    os.utime(picture, ns=(1, 1))
    path, changed = predict_opacity_of_split(gates[0], split, tmp_path, device="cpu")
    assert path == first[0][0]
    assert changed.drop("test-03").equals(first[0][1].drop("test-03"))
    assert changed["test-03"] != first[0][1]["test-03"]
    assert len(looked) == 5
    assert not list(tmp_path.glob("*.unfinished*"))


def test_edited_probabilities_are_not_the_gates(make_gate, data_set, tmp_path, looked, capsys):
    gate, split = load_classifier(make_gate()), DataSet(data_set).split("val")
    path, found = predict_opacity_of_split(gate, split, tmp_path, device="cpu")
    path.write_text(path.read_text().replace("val-03", "val-33"))
    assert predict_opacity_of_split(gate, split, tmp_path, device="cpu")[1].equals(found)
    assert "was changed since it was predicted" in capsys.readouterr().err
    assert path.with_suffix(".edited.csv").is_file()


def test_pictures_that_cannot_be_read(make_gate, own_data_set, tmp_path, looked, capsys):
    gate, split = load_classifier(make_gate()), DataSet(own_data_set).split("test")
    split.pictures["test-03"].write_bytes(b"no picture")
    for _ in range(2):  # tried again
        _, found = predict_opacity_of_split(gate, split, tmp_path, device="cpu")
        assert sorted(set(split.pictures) - set(found.index)) == ["test-03"]
        assert "1 of 12 pictures cannot be looked at by the gate" in capsys.readouterr().err
    assert len(looked) == 2
    for picture in split.pictures.values():
        picture.write_bytes(b"no picture")
    with pytest.raises(WorkError, match="test: none of its 12 pictures can be read"):
        predict_opacity_of_split(gate, split, tmp_path, device="cpu")
    split.pictures["test-03"].unlink()
    with pytest.raises(UserError, match=r"test-03\.jpg: no such picture"):
        predict_opacity_of_split(gate, split, tmp_path, device="cpu")
