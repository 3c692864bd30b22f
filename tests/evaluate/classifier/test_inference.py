from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import UserError, WorkError
from convert.pictures import read_picture
from convert.synthetic.dicom_writer import write_dicom
from evaluate.classifier import inference
from evaluate.classifier.inference import predict_logits, predict_opacity
from evaluate.classifier.weights import load_classifier
from evaluate.detector.cache import pictures_of
from evaluate.detector.loading import Picture
from evaluate.detector.pictures import find_pictures


@pytest.fixture(scope="module")
def classifier(make_gate):
    return load_classifier(make_gate())


@pytest.fixture(scope="module")
def pictures(data_set) -> list[Picture]:
    return pictures_of(DataSet(data_set).split("test"))


def by_hand(classifier, file: Path, mirrored: bool = False) -> np.ndarray:
    """The logits of a picture, through OpenCV's and PIL's plain functions."""
    import torch
    from PIL import Image

    pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    pixels = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR)) / np.float32(255)
    pixels = pixels[:, ::-1] if mirrored else pixels
    image = torch.tensor(np.stack([pixels] * 3).copy())[None]
    with torch.inference_mode():
        return classifier.network.model(image)[1][0].double().numpy()


def probability(logits: np.ndarray, slope: float, intercept: float) -> float:
    odds = np.exp(logits[0] - np.logaddexp(logits[1], logits[2])) ** slope * np.exp(intercept)
    return odds / (1 + odds)


def test_probabilities_are_the_calibrated_ones_of_the_training_s_pixels(classifier, pictures, data_set):
    found = predict_opacity([classifier], pictures, batch=5, device="cpu")
    assert found.index.tolist() == [picture.image_id for picture in pictures]
    assert (found.name, found.index.name, found.dtype) == ("p_opacity", "image_id", float)
    assert found.nunique() > 6
    for image_id, value in found.items():
        logits = by_hand(classifier, data_set / "images" / "test" / f"{image_id}.jpg")
        assert value == pytest.approx(probability(logits, 0.75, -0.25), abs=2e-5)
    assert (found == found.round(6)).all()


def test_the_batch_is_of_no_influence(classifier, pictures):
    one, all_at_once = (predict_opacity([classifier], pictures, batch=batch, device="cpu") for batch in (1, 99))
    np.testing.assert_allclose(one, all_at_once, rtol=0, atol=1.01e-6)


def test_several_gates_give_their_mean(classifier, make_gate, pictures):
    other = load_classifier(make_gate(seed=1, imgsz=96, slope=2.0))
    each = [predict_opacity([one], pictures, device="cpu") for one in (classifier, other)]
    assert not np.allclose(*each, atol=0.05)
    both = predict_opacity([classifier, other], pictures, device="cpu")
    pd.testing.assert_series_equal(both, (each[0] + each[1]) / 2, rtol=1e-9)


def test_a_gate_that_was_calibrated_with_the_mirror_image_looks_at_it(classifier, make_gate, pictures, data_set):
    flipping = load_classifier(make_gate(flip=True))
    found = predict_opacity([flipping], pictures, device="cpu")
    assert not np.allclose(found, predict_opacity([classifier], pictures, device="cpu"), atol=1e-3)
    for image_id, value in found.items():
        file = data_set / "images" / "test" / f"{image_id}.jpg"
        logits = (by_hand(classifier, file) + by_hand(classifier, file, mirrored=True)) / 2
        assert value == pytest.approx(probability(logits, 0.75, -0.25), abs=2e-5)
    pd.testing.assert_series_equal(predict_opacity([flipping], pictures, flip=True, device="cpu"), found)
    with pytest.raises(UserError, match="was calibrated with flip=True; expected to be used so, and found flip=False"):
        predict_opacity([flipping], pictures, flip=False, device="cpu")


def test_dicoms_in_a_zip_give_what_their_converted_pictures_give(make_gate, data_set, tmp_path):
    """Where the training's pictures had been scaled down, so are new ones, before they are shown to the gate."""
    gate = load_classifier(make_gate(picture_size=48))
    (tmp_path / "converted").mkdir()
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for path in sorted((data_set / "images" / "test").iterdir())[:4]:
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            data = write_dicom(pixels, "jpeg-baseline", image_id=path.stem, jpeg_quality=95)
            archive.writestr(f"{path.stem}.dcm", data)
            picture = read_picture(data, 48)
            (tmp_path / "converted" / f"{path.stem}{picture.suffix}").write_bytes(picture.encoded)
    raw = predict_opacity([gate], find_pictures([tmp_path / "raw.zip"]), device="cpu")
    converted = predict_opacity([gate], find_pictures([tmp_path / "converted"]), device="cpu")
    pd.testing.assert_series_equal(raw, converted)
    whole = predict_opacity([load_classifier(make_gate())], find_pictures([tmp_path / "raw.zip"]), device="cpu")
    assert not np.allclose(raw, whole, atol=1e-4)


def test_pictures_that_cannot_be_read_are_told_and_left_out(classifier, pictures, capsys):
    bad = Picture("bad", "somewhere/bad.png", lambda: b"no picture")
    found = predict_opacity([classifier], [pictures[0], bad, pictures[1]], device="cpu")
    assert found.index.tolist() == [pictures[0].image_id, pictures[1].image_id]
    assert "1 of 3 pictures cannot be looked at by the gate, first somewhere/bad.png: " in capsys.readouterr().err
    with pytest.raises(WorkError, match=r"bad\.png: cannot be decoded as a picture\. Convert the data again"):
        predict_logits(classifier.network, [pictures[0], bad], None)
    assert predict_opacity([classifier], [bad], device="cpu").empty
    assert predict_opacity([classifier], [], device="cpu").empty
    assert predict_logits(classifier.network, [], None).shape == (0, 3)


def test_it_goes_on_after_it_was_stopped(classifier, make_gate, pictures, tmp_path, monkeypatch, capsys):
    gates = [classifier, load_classifier(make_gate(seed=1))]
    whole = predict_opacity(gates, pictures, batch=5, device="cpu")
    look, looks = inference._logits, []

    def fourth_stops(*arguments):
        looks.append(len(arguments[1]))
        if len(looks) == 4:
            raise KeyboardInterrupt
        return look(*arguments)

    keep = tmp_path / "opacity.unfinished"
    monkeypatch.setattr(inference, "_logits", fourth_stops)
    with pytest.raises(KeyboardInterrupt):
        predict_opacity(gates, pictures, batch=5, device="cpu", keep=keep)
    assert predict_opacity(gates, pictures, batch=5, device="cpu", keep=keep).equals(whole)
    assert looks == [5, 5, 5, 5, 5, 5, 2, 2]  # two gates: the first five were kept
    assert "going on: 5 of 12 images were looked at before" in capsys.readouterr().err
    other = predict_opacity(gates[:1], pictures, batch=5, device="cpu", keep=keep)  # nothing of other gates is taken
    pd.testing.assert_series_equal(other, predict_opacity(gates[:1], pictures, batch=5, device="cpu"))


def test_a_device_that_is_not_there(classifier, pictures):
    with pytest.raises(UserError, match="--device 97: not available"):
        predict_opacity([classifier], pictures, device="97")
