from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import WorkError
from evaluate.detector.inference import Settings, predict
from evaluate.detector.loading import Picture
from evaluate.detector.unfinished import unfinished
from evaluate.detector.weights import load_weights


class Reading:
    """Pictures of a data set that count how often they are read; the one at `stop` interrupts."""

    def __init__(self, data_set, stop: int | None = None) -> None:
        self.read: list[str] = []
        self.pictures = []
        for place, (image_id, path) in enumerate(DataSet(data_set).pictures("test").items()):
            reader = self._reader(image_id, path, place == stop)
            self.pictures.append(Picture(image_id, path.name, reader, stamp=str(path.stat().st_mtime_ns)))

    def _reader(self, image_id, path, stops):
        def read() -> bytes:
            if stops:
                raise KeyboardInterrupt
            self.read.append(image_id)
            return path.read_bytes()

        return read


@pytest.fixture(scope="module")
def detector(trained):
    return load_weights(trained)


def test_stopped_prediction_goes_on_to_the_same_outcome(detector, data_set, tmp_path, capsys):
    whole = predict(detector, Reading(data_set).pictures, Settings(128), batch=2)
    file = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        predict(detector, Reading(data_set, stop=9).pictures, Settings(128), batch=2, keep=file)
    assert not (tmp_path / "kept.lock").exists()
    with open(file, "ab") as opened:
        opened.write(b'["half a li')  # as a kill leaves it
    again = Reading(data_set)
    capsys.readouterr()
    resumed = predict(detector, again.pictures, Settings(128), batch=2, keep=file)
    assert 0 < len(again.read) < 12
    assert f"going on: {12 - len(again.read)} of 12 images were predicted before" in capsys.readouterr().err
    pd.testing.assert_frame_equal(resumed.predictions, whole.predictions, check_exact=True)
    assert resumed.outcomes == whole.outcomes
    nothing = Reading(data_set)
    finished = predict(detector, nothing.pictures, Settings(128), batch=2, keep=file)
    assert nothing.read == []
    pd.testing.assert_frame_equal(finished.predictions, whole.predictions, check_exact=True)


def test_only_what_was_made_from_the_same_is_used(detector, data_set, tmp_path):
    file = tmp_path / "kept"
    predict(detector, Reading(data_set).pictures, Settings(128), keep=file)
    changed = Reading(data_set)
    changed.pictures[3] = dataclasses.replace(changed.pictures[3], stamp="another time")
    predict(detector, changed.pictures, Settings(128), keep=file)
    assert changed.read == [changed.pictures[3].image_id]
    other = Reading(data_set)
    predict(detector, other.pictures, Settings(64), keep=file)
    assert len(other.read) == 12


def test_unreadable_pictures_are_tried_again(detector, data_set, tmp_path):
    reading = Reading(data_set)
    bad = dataclasses.replace(reading.pictures[0], read=lambda: b"")
    first = predict(detector, [bad, *reading.pictures[1:]], Settings(128), keep=tmp_path / "kept")
    assert len(first.rejected) == 1
    second = predict(detector, reading.pictures, Settings(128), keep=tmp_path / "kept")
    assert not second.rejected
    assert reading.read[11:] == ["test-00"]


def test_two_predictions_into_one_folder(tmp_path):
    first, second = (unfinished(tmp_path / "kept", {"weights": 1}) for _ in range(2))
    with first, pytest.raises(WorkError, match="another prediction is at work"), second:
        pass
    with unfinished(tmp_path / "kept", {"weights": 1}) as kept:
        assert kept.known == {}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"{}\n[1, 2]\n"])
def test_a_file_of_anything_else_is_replaced(content, tmp_path):
    (tmp_path / "kept").write_bytes(content)
    with unfinished(tmp_path / "kept", {"weights": 1}) as kept:
        assert kept.known == {}
    assert (tmp_path / "kept").read_bytes() == b'{"format": 3, "weights": 1}\n'


def test_boxes_come_back_bit_for_bit(tmp_path):
    from evaluate.detector.loading import Outcome
    from evaluate.detector.unfinished import Found, key_of

    rows = np.random.default_rng(0).normal(size=(3, 5)) / 3
    picture = Picture("a", "é/a.dcm", bytes, (3.0, 4.5), stamp="1")
    outcome = Outcome("a", "é/a.dcm", "predicted", doubt="Modality CT", sop_instance_uid="1.2")
    with unfinished(tmp_path / "kept", {}) as kept:
        kept.add([picture], [Found(outcome, rows)])
    with unfinished(tmp_path / "kept", {}) as kept:
        found = kept.known[key_of(picture)]
    np.testing.assert_array_equal(found.rows, rows)
    assert found.outcome == outcome
