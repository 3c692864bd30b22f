from __future__ import annotations

from dataclasses import replace
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
from evaluate.detector.inference import Settings, _mirrored, predict
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
        str(path), imgsz=settings.imgsz, conf=settings.confidence, iou=settings.nms_iou, max_det=300, rect=False,
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
    assert InferenceOptions().settings(yolo).as_dict()["nms_iou"] == 0.8
    settings = InferenceOptions().settings(rtdetr)
    assert "nms_iou" not in settings.as_dict()
    flat = [Picture("flat", "flat.png", lambda: cv2.imencode(".png", np.full((64, 64), 90, np.uint8))[1].tobytes())]
    pd.testing.assert_frame_equal(
        predict(rtdetr, flat, settings).predictions, predict(rtdetr, flat, Settings(64)).predictions, check_exact=True
    )


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml"])
def test_of_several_classes_a_box_counts_although_another_is_likelier(name, untrained, data_set):
    """As in validation, against Ultralytics' own choice of boxes with several classes each."""
    import torch
    from ultralytics.utils.nms import non_max_suppression

    path = untrained(name, names=("Mass", "Lung Opacity", "Nodule"))
    checkpoint = torch.load(path, weights_only=False)
    head = checkpoint["model"].model[-1]
    for layer in [*head.cv3, *getattr(head, "one2one_cv3", [])]:
        layer[-1].bias.data = torch.tensor([-1.0, -2.0, -3.0])
    torch.save(checkpoint, path)
    weights, settings = load_weights(path), Settings(imgsz=64)
    picture = pictures_of(data_set)[0]
    ours = predict(weights, [picture], settings).predictions

    pixels = load_picture(picture)
    square = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR)
    with torch.inference_mode():
        network = weights.model.predictor.model.model
        raw = network(torch.from_numpy(square)[None, None].float() / 255)
    raw = raw[0] if isinstance(raw, tuple) else raw
    assert raw.shape[1] == 4 + 3
    (boxes,) = non_max_suppression(raw, 0.001, 0.8, multi_label=True, max_det=100_000)
    boxes = boxes[boxes[:, 5] == 1].numpy()[:300]
    assert 3 < len(ours) <= len(boxes)  # clipped to the picture, some have no area
    theirs = {round(float(value), 5) for value in boxes[:, 4]}
    assert {round(value, 5) for value in ours["confidence"]} <= theirs
    (best,) = non_max_suppression(raw, 0.001, 0.8, classes=[1])
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
            conf=0.001, iou=0.4, max_det=300, verbose=False, project=str(detector.path.parent / "val"),
        ).box  # fmt: skip
    split = DataSet(data_set).split("test")
    strict = replace(Settings(128), nms_iou=0.4)
    ours = average_precision(split.truth, predict(detector, pictures_of(data_set, "test"), strict).predictions)
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


def lively(path: Path) -> Path:
    """Make an untrained network's boxes depend on what it sees: else they are all the whole picture."""
    import torch

    generator = torch.Generator().manual_seed(3)
    checkpoint = torch.load(path, weights_only=False)
    for layer in checkpoint["model"].modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.requires_grad:  # not the decoder of distances
            scale = (2 / layer.weight[0].numel()) ** 0.5
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * scale
    torch.save(checkpoint, path)
    return path


def mirrored(picture: Picture) -> Picture:
    """The picture's mirror image, as a file."""
    pixels = cv2.imdecode(np.frombuffer(picture.read(), np.uint8), cv2.IMREAD_GRAYSCALE)[:, ::-1]
    return Picture(picture.image_id, "mirrored.png", lambda: cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml", str(MODELS / "rtdetr-tiny.yaml")])
def test_what_is_found_on_the_mirror_image_is_mirrored_back(name, untrained, data_set, tmp_path):
    """Against predictions on a file with the mirror image, whose boxes are mirrored by hand."""
    weights = load_weights(lively(untrained(name)))
    pictures = pictures_of(data_set)[:2]
    for number, shape in enumerate([(90, 141), (201, 70)]):  # padded by an odd number of pixels
        pixels = cv2.GaussianBlur(np.random.default_rng(number).integers(0, 255, shape, np.uint8), (0, 0), 7)
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        pictures.append(Picture(f"odd{number}", path.name, path.read_bytes, size=(2.0 * shape[1], 3.0 * shape[0])))
    settings = Settings(64, confidence=1e-6)
    ours = predict(weights, pictures, replace(settings, flip=True), batch=1)
    others = predict(weights, [replace(mirrored(one), size=one.size) for one in pictures], settings, batch=1)
    widths = {one.image_id: one.width for one in ours.outcomes}
    assert widths == {"val-00": 128, "val-01": 128, "odd0": 282, "odd1": 140}
    expected = others.predictions
    expected["x"] = expected["image_id"].map(widths) - expected["x"] - expected["width"]
    assert len(expected) > 20
    # Row by row, since equals stay in the network's order; coordinates were rounded before they were mirrored.
    pd.testing.assert_frame_equal(ours.predictions, expected, check_exact=False, rtol=0, atol=0.0101)
    assert ours.predictions["confidence"].equals(expected["confidence"])
    plain = predict(weights, pictures, settings, batch=1).predictions
    assert not plain.equals(ours.predictions)


def test_a_mirrored_box_by_hand():
    boxes = np.array([[0.9, 10.0, 5.0, 30.0, 20.0]])
    assert _mirrored(boxes, 100).tolist() == [[0.9, 70.0, 5.0, 90.0, 20.0]]
    np.testing.assert_array_equal(_mirrored(_mirrored(boxes, 100), 100), boxes)


@pytest.mark.parametrize(
    ("asked", "sides"), [(640, [512, 768]), (100, [96, 160]), (64, [32, 96]), (32, [64]), (8192, [6560])]
)
def test_voters_are_plain_mirrored_and_of_two_other_sides(asked, sides, untrained):
    weights = load_weights(untrained())
    plain = InferenceOptions(imgsz=asked).settings(weights)
    assert InferenceOptions(imgsz=asked).voters(weights) == (plain,)
    voters = InferenceOptions(imgsz=asked, augment=True).voters(weights)
    assert voters[:2] == (plain, replace(plain, flip=True))
    assert list(voters[2:]) == [replace(plain, imgsz=side) for side in sides]


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml", str(MODELS / "rtdetr-tiny.yaml")])
def test_every_head_looks_at_squares_of_other_sides(name, untrained, data_set):
    """Each as by a fresh predictor, and another than that before."""
    path = lively(untrained(name))
    weights, pictures = load_weights(path), pictures_of(data_set)[:1]
    found = {}
    for voter in InferenceOptions(imgsz=64, augment=True).voters(weights):
        settings = replace(voter, confidence=1e-6)
        found[settings] = predict(weights, pictures, settings, batch=1).predictions
        alone = predict(load_weights(path), pictures, settings, batch=1).predictions
        pd.testing.assert_frame_equal(found[settings], alone, check_exact=True)
    assert len(found) == 4
    assert len({table.to_csv() for table in found.values()}) == 4


def test_only_repetitions_are_suppressed_and_so_many_boxes_kept(detector, data_set):
    """From what is kept, every stricter suppression can be had: as Ultralytics' own, but for rare chains of boxes."""
    from evaluate.postprocess.suppression import Suppression

    path = next(iter(DataSet(data_set).pictures("test").values()))
    kept = predict(detector, [Picture(path.stem, path.name, path.read_bytes)], Settings(128)).predictions
    strict = by_ultralytics(detector.model, path, replace(Settings(128), nms_iou=0.4))
    assert len(kept) > 2 * len(strict) > 4
    ours = Suppression("nms", 0.4).apply(kept)
    best = strict[strict["confidence"] > 0.05]
    assert len(best) > 0
    pd.testing.assert_frame_equal(ours[ours["confidence"] > 0.05], best, check_exact=True)


def test_of_very_many_candidates_the_best_are_compared(untrained):
    """One for each place of the network, against torchvision's suppression of the best."""
    import torch
    from torchvision.ops import box_convert, nms

    weights = load_weights(lively(untrained("yolov10n.yaml")))
    pixels = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (640, 640), np.uint8), (0, 0), 7)
    given = Picture("a", "a.png", lambda: cv2.imencode(".png", pixels)[1].tobytes())
    found = predict(weights, [given], Settings(640, confidence=1e-9)).predictions
    with torch.inference_mode():
        raw = weights.model.predictor.model.model(torch.from_numpy(pixels)[None, None].float() / 255)
    raw = (raw[0] if isinstance(raw, tuple) else raw)[0].T
    assert len(raw) == 8400
    best = raw[raw[:, 4].argsort(descending=True)[:5000]]
    boxes = box_convert(best[:, :4], "cxcywh", "xyxy")
    kept = nms(boxes, best[:, 4], 0.8)[:300]
    inside = (boxes[kept].clamp(0, 640)[:, 2:] - boxes[kept].clamp(0, 640)[:, :2] > 0.005).all(1)
    assert sorted(found["confidence"]) == pytest.approx(sorted(best[kept, 4][inside].tolist()), abs=1e-6)


def test_view_and_size_of_new_pictures_are_known(detector, data_set):
    pixels = np.zeros((90, 60), np.uint8)
    given = [
        Picture("dicom", "a.dcm", lambda: write_dicom(pixels, "explicit-vr", image_id="a", view="AP")),
        Picture("file", "b.png", lambda: cv2.imencode(".png", pixels)[1].tobytes()),
        Picture("known", "c.png", lambda: cv2.imencode(".png", pixels)[1].tobytes(), size=(120.0, 180.0), view="PA"),
        Picture("none", "d.png", lambda: b""),
    ]
    predicted = predict(detector, given, Settings(128, picture_size=64))
    assert predicted.manifest.to_dict("list") == {
        "image_id": ["dicom", "file", "known"], "width": [60.0, 60.0, 120.0], "height": [90.0, 90.0, 180.0],
        "view": ["AP", "", "PA"],
    }  # fmt: skip
    assert [one.width for one in predicted.outcomes] == [60.0, 60.0, 120.0, None]


def test_device_and_half_that_do_not_exist(detector, data_set):
    pictures = pictures_of(data_set)[:1]
    with pytest.raises(UserError, match=r"^--device 97: not available.*--device cpu") as caught:
        predict(detector, pictures, Settings(128), device="97")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="needs a GPU"):
        predict(detector, pictures, Settings(128, half=True), device="cpu")
