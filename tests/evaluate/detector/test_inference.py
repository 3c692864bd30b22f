from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.data.tables import make_predictions
from common.errors import UserError
from convert.pictures import read_picture
from convert.synthetic.dicom_writer import write_dicom
from evaluate.detector.inference import Settings, predict, warn_if_augment_is_idle
from evaluate.detector.loading import Loader, Picture, load_picture
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import load_weights
from evaluate.metrics.coco import average_precision

MODELS = Path(__file__).resolve().parents[3] / "train" / "models"


@pytest.fixture(scope="module")
def detector(trained):
    return load_weights(trained)


def pictures_of(data_set: Path, split: str = "val") -> list[Picture]:
    paths = DataSet(data_set).pictures(split)
    return [Picture(image_id, str(path), path.read_bytes) for image_id, path in paths.items()]


def as_dicom(pixels: np.ndarray, name: str, encoding: str) -> bytes:
    return write_dicom(pixels, encoding, image_id=name)


def by_ultralytics(model, path: Path, settings: Settings) -> pd.DataFrame:
    """The same through Ultralytics' own reading of the file."""
    result = model.predict(
        str(path), imgsz=settings.imgsz, conf=settings.confidence, iou=settings.nms_iou, max_det=100, rect=False,
        verbose=False,
    )[0]  # fmt: skip
    xyxy, confidence = result.boxes.xyxy.numpy().astype(float), result.boxes.conf.numpy().astype(float)
    xyxy = xyxy.clip(0, [result.orig_shape[1], result.orig_shape[0]] * 2)
    values = np.column_stack([confidence, xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])
    return make_predictions([path.stem] * len(values), values)


@pytest.mark.parametrize("kind", ["grey", "colour", "rtdetr"])
def test_same_boxes_as_ultralytics_reading_the_files(kind, data_set, untrained, detector, tmp_path, monkeypatch):
    if kind == "grey":
        weights = detector
    else:  # RT-DETR's pictures are stretched, not padded
        name = str(MODELS / "rtdetr-tiny.yaml") if kind == "rtdetr" else "yolov8n.yaml"
        weights = load_weights(untrained(name, channels=3 if kind == "colour" else 1))
    squares, load = [], Loader.load

    def watched(self, picture):
        loaded = load(self, picture)
        squares.append(loaded.square)
        return loaded

    monkeypatch.setattr(Loader, "load", watched)
    settings = Settings(imgsz=128)
    random = np.random.default_rng(1)
    paths = list(DataSet(data_set).pictures("val").values())[:3]
    for number, shape in enumerate([(128, 128), (90, 140), (200, 70)]):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), cv2.GaussianBlur(random.integers(0, 255, shape, dtype=np.uint8), (0, 0), 7))
    # One at a time, so that not even the order of additions differs.
    ours = predict(weights, [Picture(p.stem, p.name, p.read_bytes) for p in paths], settings, batch=1).predictions
    theirs = pd.concat([by_ultralytics(weights.model, path, settings) for path in paths])
    assert len(ours) > 5
    assert squares[0] is None  # read before there was a predictor
    assert squares[-1].shape[:2] == (128, 128)  # read ahead, and laid in the square there
    pd.testing.assert_frame_equal(
        ours, theirs.sort_values("image_id", kind="stable", ignore_index=True), check_exact=True
    )


def test_settings_say_that_nothing_of_rtdetr_is_suppressed(untrained):
    rtdetr, yolo = (load_weights(untrained(name)) for name in (str(MODELS / "rtdetr-tiny.yaml"), "yolov8n.yaml"))
    assert InferenceOptions().settings(yolo).as_dict()["nms_iou"] == 0.4
    settings = InferenceOptions().settings(rtdetr)
    assert "nms_iou" not in settings.as_dict()
    flat = [Picture("flat", "flat.png", lambda: cv2.imencode(".png", np.full((64, 64), 90, np.uint8))[1].tobytes())]
    pd.testing.assert_frame_equal(
        predict(rtdetr, flat, settings).predictions, predict(rtdetr, flat, Settings(64)).predictions, check_exact=True
    )


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml"])
def test_of_several_classes_a_box_counts_although_another_is_likelier(name, augment, untrained, data_set):
    """As in validation, against Ultralytics' own choice of boxes with several classes each."""
    import torch
    from ultralytics.utils.nms import non_max_suppression

    path = untrained(name, names=("Mass", "Lung Opacity", "Nodule"))
    checkpoint = torch.load(path, weights_only=False)
    head = checkpoint["model"].model[-1]
    for layer in [*head.cv3, *getattr(head, "one2one_cv3", [])]:
        layer[-1].bias.data = torch.tensor([-1.0, -2.0, -3.0])
    torch.save(checkpoint, path)
    weights, settings = load_weights(path), Settings(imgsz=64, augment=augment)
    picture = pictures_of(data_set)[0]
    ours = predict(weights, [picture], settings).predictions

    pixels = load_picture(picture)
    square = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR)
    with torch.inference_mode():
        network = weights.model.predictor.model.model
        raw = network(torch.from_numpy(square)[None, None].float() / 255, augment=augment)
    raw = raw[0] if isinstance(raw, tuple) else raw
    assert raw.shape[1] == 4 + 3
    (boxes,) = non_max_suppression(raw, 0.001, 0.4, multi_label=True, max_det=100_000)
    boxes = boxes[boxes[:, 5] == 1].numpy()[:100]
    assert 3 < len(ours) <= len(boxes)  # clipped to the picture, some have no area
    theirs = {round(float(value), 5) for value in boxes[:, 4]}
    assert {round(value, 5) for value in ours["confidence"]} <= theirs
    (best,) = non_max_suppression(raw, 0.001, 0.4, classes=[1])
    assert len(best) == 0  # what was found before


def test_dicom_gives_the_predictions_of_its_converted_picture(detector, data_set):
    settings, expected, given = Settings(imgsz=128), [], []
    for number, path in enumerate(list(DataSet(data_set).pictures("val").values())[:6]):
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        data = as_dicom(pixels, path.stem, ("jpeg-baseline", "explicit-vr")[number % 2])
        stored = read_picture(data)
        expected.append(Picture(path.stem, f"{path.stem}{stored.suffix}", lambda encoded=stored.encoded: encoded))
        given.append(Picture(path.stem, f"{path.stem}.dcm", lambda data=data: data))
    converted, direct = (predict(detector, some, settings).predictions for some in (expected, given))
    assert len(direct) > 6
    pd.testing.assert_frame_equal(direct, converted, check_exact=True)


def test_neighbours_in_the_batch_do_not_matter(detector, data_set, tmp_path):
    """One of another shape would change the padding of the whole batch in Ultralytics' `rect` mode."""
    odd = tmp_path / "odd.png"
    cv2.imwrite(str(odd), np.full((40, 128), 90, np.uint8))
    pictures = [*pictures_of(data_set), Picture("odd", "odd.png", odd.read_bytes)]
    together = predict(detector, pictures, Settings(imgsz=128), batch=16).predictions
    alone = predict(detector, pictures, Settings(imgsz=128), batch=1).predictions
    assert together["image_id"].tolist() == alone["image_id"].tolist()
    np.testing.assert_allclose(together.iloc[:, 1:], alone.iloc[:, 1:], atol=0.05)


def test_order_of_pictures_does_not_matter(detector, data_set):
    pictures = pictures_of(data_set)
    forwards, backwards = (predict(detector, some, Settings(128), batch=1) for some in (pictures, pictures[::-1]))
    pd.testing.assert_frame_equal(forwards.predictions, backwards.predictions, check_exact=True)


def test_boxes_are_in_original_pixels_and_inside(detector, data_set):
    pictures = pictures_of(data_set)
    plain = predict(detector, pictures, Settings(imgsz=128)).predictions
    original = [Picture(one.image_id, one.name, one.read, size=(256.0, 384.0)) for one in pictures]
    scaled = predict(detector, original, Settings(imgsz=128)).predictions
    np.testing.assert_allclose(scaled["x"], plain["x"] * 2, atol=0.011)
    np.testing.assert_allclose(scaled["height"], plain["height"] * 3, atol=0.016)
    assert (plain["x"] >= 0).all()
    assert (plain["x"] + plain["width"] <= 128.011).all()
    assert (plain[["width", "height"]] > 0).all().all()
    assert (plain["confidence"] >= 0.001).all()


def test_average_precision_is_that_of_ultralytics_validation(detector, data_set):
    """Ultralytics interpolates precision and recall in its own way, and pads with other pixels: hence the 0.03."""
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ultralytics.data.utils.check_font", lambda *_: None)
        theirs = load_weights(detector.path).model.val(
            data=str(data_set / "data.yaml"), split="test", imgsz=128, batch=4, workers=0, device="cpu", plots=False,
            conf=0.001, iou=0.4, max_det=100, verbose=False, project=str(detector.path.parent / "val"),
        ).box  # fmt: skip
    split = DataSet(data_set).split("test")
    ours = average_precision(split.truth, predict(detector, pictures_of(data_set, "test"), Settings(128)).predictions)
    assert ours["map50"] > 0.5
    assert ours["map50"] == pytest.approx(theirs.map50, abs=0.03)
    assert ours["map50_95"] == pytest.approx(theirs.map, abs=0.03)


def test_unreadable_pictures_are_rejected_with_their_reason(detector, data_set):
    def vanished() -> bytes:
        raise FileNotFoundError(2, "No such file")

    good = pictures_of(data_set)[:2]
    bad = [
        Picture("text", "text.jpg", lambda: b"hello"),
        Picture("empty", "empty.png", lambda: b""),
        Picture("gone", "gone.png", vanished),
        Picture("broken", "broken.dcm", lambda: as_dicom(np.zeros((8, 8), np.uint8), "broken", "explicit-vr")[:200]),
    ]
    result = predict(detector, [bad[0], good[0], *bad[1:], good[1]], Settings(imgsz=128), batch=2)
    assert result.image_ids == [one.image_id for one in good]
    assert [row[0] for row in result.rejected] == ["text", "empty", "gone", "broken"]
    reasons = dict(row[::2] for row in result.rejected)
    assert reasons["text"] == "cannot be decoded as a picture"
    assert reasons["empty"] == "the file is empty"
    assert reasons["gone"] == "cannot be read: No such file"
    assert all("\n" not in reason for reason in reasons.values())
    assert predict(detector, bad, Settings(imgsz=128)).predictions.empty


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_too_large_for_any_radiograph_is_not_decoded(suffix, monkeypatch):
    """As in a conversion; a megabyte of PNG can hold gigabytes."""
    monkeypatch.setattr("convert.pictures.raster.MAX_PIXELS", 29 * 20)
    pictures = {width: cv2.imencode(suffix, np.full((20, width), 90, np.uint8))[1].tobytes() for width in (29, 30)}
    assert load_picture(Picture("a", "a" + suffix, lambda: pictures[29])).shape == (20, 29)
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="20 x 30 pixels, expected at most 580"):
        load_picture(Picture("a", "a" + suffix, lambda: pictures[30]))


def test_picture_is_decoded_as_for_training(tmp_path):
    colour = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "colour.png"
    cv2.imwrite(str(path), colour)
    one = Picture("colour", path.name, path.read_bytes)
    np.testing.assert_array_equal(load_picture(one, 3), colour)
    np.testing.assert_array_equal(load_picture(one, 1), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_look_as_they_do_converted(channels):
    twelve_bits = np.linspace(0, 4095, 30 * 20).round().astype(np.uint16).reshape(30, 20)
    data = cv2.imencode(".png", twelve_bits)[1].tobytes()
    converted = cv2.imdecode(np.frombuffer(read_picture(data).encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert converted.max() == 255  # divided by 256 it would be 15
    shown = load_picture(Picture("deep", "deep.png", lambda: data), channels)
    np.testing.assert_array_equal(shown, converted if channels == 1 else np.dstack([converted] * 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("encoding", "shape"), [("jpeg-baseline", (300, 200)), ("explicit-vr", (91, 177))])
def test_pictures_are_scaled_down_as_they_were_for_training(encoding, shape, channels, untrained, tmp_path):
    pixels = np.random.default_rng(4).integers(0, 256, shape, np.uint8)
    data = as_dicom(pixels, "large", encoding)
    (tmp_path / "large.png").write_bytes(read_picture(data, 80).encoded)
    trained_on = cv2.imread(str(tmp_path / "large.png"), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    loader = Loader(load_weights(untrained(channels=channels)), size=80)
    loaded = loader.load(Picture("large", "large.dcm", lambda: data))
    np.testing.assert_array_equal(loaded.pixels, trained_on)
    assert max(trained_on.shape) == 80
    assert loaded.size == shape[::-1]
    stored = loader.load(Picture("large", "large.png", (tmp_path / "large.png").read_bytes))
    np.testing.assert_array_equal(stored.pixels, trained_on)


def test_augmentation_changes_boxes_or_warns(detector, untrained, data_set, capsys):
    pictures = pictures_of(data_set)[:2]
    plain, augmented = (predict(detector, pictures, Settings(128, augment=flag)).predictions for flag in (False, True))
    warn_if_augment_is_idle(detector, Settings(128, augment=True))
    assert not plain.equals(augmented)
    assert "--augment" not in capsys.readouterr().err
    idle = load_weights(untrained("yolov10n.yaml"))
    predict(idle, pictures, Settings(64, augment=True))
    warn_if_augment_is_idle(idle, Settings(64, augment=True))
    assert "--augment does nothing for this model" in capsys.readouterr().err


def test_device_and_half_that_do_not_exist(detector, data_set):
    pictures = pictures_of(data_set)[:1]
    with pytest.raises(UserError, match=r"^--device 97: not available.*--device cpu") as caught:
        predict(detector, pictures, Settings(128), device="97")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="needs a GPU"):
        predict(detector, pictures, Settings(128, half=True), device="cpu")
