from __future__ import annotations

import math
import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.augment import Format, RandomFlip, RandomPerspective  # noqa: E402
from ultralytics.utils.instance import Instances  # noqa: E402

from common.cli import execute  # noqa: E402
from train.detector import augmentation  # noqa: E402
from train.detector.augmentation import RandomIntensity, RandomNoise, RandomRotation, grey_transforms  # noqa: E402
from train.detector.dataset import RSNADataset, build_dataset  # noqa: E402
from train.detector.starting import warn_of_idle  # noqa: E402
from train.settings.options import AUGMENTATION  # noqa: E402
from train.train import main  # noqa: E402

ASKED = {"rotation": 10.0, "gamma": 0.5, "contrast": 0.3, "noise": 0.02}


def labels(pixels: np.ndarray, boxes=(), normalized: bool = False) -> dict:
    """Ultralytics' dictionary; boxes as x1, y1, x2, y2 in pixels, kept as `xywh`."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    instances = Instances(corners, bbox_format="xyxy", normalized=False)
    instances.convert_bbox("xywh")
    if normalized:
        instances.normalize(pixels.shape[1], pixels.shape[0])
    return {"img": pixels, "instances": instances, "cls": np.zeros((len(corners), 1), np.float32)}


def corners(found: dict) -> np.ndarray:
    found["instances"].convert_bbox("xyxy")
    assert not found["instances"].normalized
    assert len(found["cls"]) == len(found["instances"])
    return found["instances"].bboxes


def drawn(monkeypatch, *values: float) -> None:
    """Let `random.uniform` give these."""
    coming = iter(values)
    monkeypatch.setattr(augmentation.random, "uniform", lambda low, high: next(coming))


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.8])
def test_gamma_is_its_formula_on_every_grey_level(monkeypatch, channels, exponent):
    drawn(monkeypatch, math.log(exponent), 1.0)
    found = RandomIntensity(gamma=1.0)(labels(np.repeat(RAMP, channels, axis=2)))["img"]
    expected = [round(255 * (level / 255) ** exponent) for level in range(256)]
    assert found.dtype == np.uint8
    assert found.shape == (16, 16, channels)
    for channel in range(channels):
        assert found[..., channel].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (0.5, [55, 60, 65, 140]),  # the mean is 80
        (1.5, [5, 20, 35, 255]),  # 260 is beyond white
        (0.0, [80, 80, 80, 80]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_scales_the_distance_from_the_mean(monkeypatch, factor, expected, channels):
    drawn(monkeypatch, 0.0, factor)
    pixels = np.repeat(np.array([[30, 40], [50, 200]], np.uint8)[..., None], channels, axis=2)
    found = RandomIntensity(contrast=1.0)(labels(pixels))["img"]
    assert (found == np.array(expected, np.uint8).reshape(2, 2, 1)).all()


def test_contrast_is_about_the_mean_after_the_gamma(monkeypatch):
    drawn(monkeypatch, math.log(2), 0.0)
    pixels = np.array([[[51], [204]]], np.uint8)  # 0.2 and 0.8 of white: squared 0.04 and 0.64
    found = RandomIntensity(gamma=1, contrast=1)(labels(pixels))["img"]
    assert found.ravel().tolist() == [87, 87]  # 0.34 of white


def test_exponents_are_log_uniform_and_factors_uniform():
    random.seed(0)
    transform = RandomIntensity(gamma=1.0, contrast=0.4)
    params = [transform.get_params({}) for _ in range(4000)]
    logs = np.log2([p["exponent"] for p in params])  # uniform in -1 .. 1
    factors = np.array([p["factor"] for p in params])
    assert -1 <= logs.min() < -0.99
    assert 0.99 < logs.max() <= 1
    assert abs(logs.mean()) < 4 * math.sqrt(1 / 3 / 4000)
    assert 0.6 <= factors.min() < 0.605
    assert 1.395 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 4 * 0.4 / math.sqrt(3 * 4000)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_noise_has_the_drawn_deviation(monkeypatch, channels, share):
    drawn(monkeypatch, share)
    random.seed(1)
    before = np.full((400, 400, channels), 128, np.uint8)
    after = RandomNoise(share)(labels(before))["img"]
    assert after.shape == before.shape
    assert (before == 128).all()
    noise = after.astype(int) - 128
    sigma, count = share * 255, 400 * 400
    rounding = 1 / 12  # variance
    assert abs(noise[..., 0].mean()) < 5 * sigma / math.sqrt(count)
    assert noise[..., 0].var() == pytest.approx(sigma**2 + rounding, rel=5 * math.sqrt(2 / count))
    assert (np.abs(noise[..., 0]) > 2 * sigma).mean() == pytest.approx(0.0455, abs=0.012 if share == 0.05 else 0.03)
    assert abs(np.corrcoef(noise[:, :-1, 0].ravel(), noise[:, 1:, 0].ravel())[0, 1]) < 5 / math.sqrt(count)
    assert (after == after[..., :1]).all()  # grey stays grey
    drawn(monkeypatch, share)
    assert (RandomNoise(share)(labels(before))["img"] != after).mean() > 0.5  # other noise on the next picture


def test_noise_stops_at_black_and_white_and_is_repeatable(monkeypatch):
    pixels = np.repeat(np.array([0, 255], np.uint8), 5000).reshape(100, 100, 1)
    found = []
    for _ in range(2):
        random.seed(7)
        found.append(RandomNoise(0.2)(labels(pixels))["img"])
    assert (found[0] == found[1]).all()
    assert found[0].ravel()[:5000].max() < 128 < found[0].ravel()[5000:].min()
    random.seed(0)
    sigmas = [RandomNoise(0.1).get_params({})["sigma"] for _ in range(2000)]
    assert 0 <= min(sigmas) < 0.1
    assert 25.4 < max(sigmas) <= 25.5
    assert np.mean(sigmas) == pytest.approx(12.75, abs=4 * 25.5 / math.sqrt(12 * 2000))


def ellipse(width: int, height: int, box, channels: int = 1, fine: int = 8) -> np.ndarray:
    """A white ellipse inscribed in `box` on black, its edge smoothed."""
    x1, y1, x2, y2 = (fine * side for side in box)
    y, x = np.mgrid[: height * fine, : width * fine] + 0.5
    inside = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1
    pixels = 255 * inside.reshape(height, fine, width, fine).mean((1, 3))
    return np.repeat(np.rint(pixels).astype(np.uint8)[..., None], channels, axis=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("angle", [-30, -7, 0, 4, 12, 45])
@pytest.mark.parametrize(
    ("size", "box"), [((120, 120), (30, 20, 60, 90)), ((160, 100), (85, 30, 125, 52)), ((101, 120), (40, 60, 75, 80))]
)
def test_boxes_are_those_of_the_rotated_ellipse(monkeypatch, channels, angle, size, box):
    drawn(monkeypatch, angle)
    monkeypatch.setattr(augmentation, "PAD", 0)
    pixels = ellipse(*size, box, channels)
    found = RandomRotation(45)(labels(pixels, [box], normalized=channels == 3))
    assert found["img"].shape == pixels.shape
    rows, columns = np.nonzero(found["img"][..., 0] >= 128)  # half covered: the edge runs through these pixels
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    (fitted,) = corners(found)
    assert fitted == pytest.approx(seen, abs=1.0)
    middle = np.average(np.indices(found["img"].shape[:2]), axis=(1, 2), weights=found["img"][..., 0])[::-1] + 0.5
    assert [(fitted[0] + fitted[2]) / 2, (fitted[1] + fitted[3]) / 2] == pytest.approx(middle, abs=0.1)
    # Ultralytics' own way is no tighter, and wider where the angle is wide.
    stock = RandomPerspective().apply_bboxes(
        np.array([box], np.float32), np.vstack([cv2.getRotationMatrix2D((0, 0), angle, 1), [0, 0, 1]])
    )[0]
    assert stock[2] - stock[0] >= fitted[2] - fitted[0] - 1e-3
    if abs(angle) > 10:
        assert stock[2] - stock[0] > fitted[2] - fitted[0] + 2


def test_a_box_that_leaves_the_frame_is_clipped_and_then_dropped():
    # In a wide frame turned by a quarter, a circle at 100 from the centre comes to lie above or below it.
    circle = np.array([[180, 40, 220, 80]], np.float32)  # its centre is (200, 60), the frame's (100, 60)
    visible = {}
    for height, down in [(200, 40), (170, 25), (168, 24), (162, 21), (120, 0)]:  # down: to the frame's middle
        shifted = circle + np.array([0, down, 0, down], np.float32)
        visible[height] = augmentation.rotate_boxes(shifted, 90, 200, height)
    for height, (boxes, kept) in visible.items():
        top = height / 2 - 100  # of its centre: anticlockwise, the right comes up
        assert boxes[0] == pytest.approx([80, max(top - 20, 0), 120, max(top + 20, 0)], abs=1e-3)
        share = (max(top + 20, 0) - max(top - 20, 0)) / 40
        assert kept[0] == (share >= 0.1), height
    assert [bool(kept[0]) for _, kept in visible.values()] == [True, True, True, False, False]


def test_classes_stay_with_their_boxes(monkeypatch):
    drawn(monkeypatch, 45)
    given = labels(np.zeros((100, 100, 1), np.uint8), [(0, 0, 4, 4), (45, 45, 55, 55), (96, 0, 100, 4)])
    given["cls"] = np.array([[1], [2], [3]], np.float32)
    found = RandomRotation(45)(given)  # what is in a corner leaves the frame
    assert found["cls"].tolist() == [[2]]
    assert corners(found)[0] == pytest.approx([45, 45, 55, 55], abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_comes_in_is_ultralytics_grey_and_no_boxes_are_fine(monkeypatch, channels):
    drawn(monkeypatch, 20)
    found = RandomRotation(20)(labels(np.full((50, 60, channels), 200, np.uint8)))
    assert corners(found).shape == (0, 4)
    assert found["cls"].shape == (0, 1)
    assert (found["img"][0, 0] == 114).all()
    assert (found["img"][25, 30] == 200).all()


def made(data_set, mode="train", **arguments) -> RSNADataset:
    hyp = get_cfg(overrides={"imgsz": 64, "mosaic": 1.0, "fliplr": 0.5})
    for name, argument in AUGMENTATION.items():
        setattr(hyp, name, arguments.get(name, argument.default))
    data = {**yaml.safe_load((data_set / "data.yaml").read_text()), "nc": 1, "path": data_set}
    return build_dataset(hyp, str(data_set / "images" / "train"), 4, data, mode, stride=32)


def kinds(dataset) -> list[type]:
    return [type(transform) for transform in dataset.transforms.transforms]


def test_the_data_set_has_them_before_the_tensors_and_after_closing_mosaic(data_set):
    plain, dataset = made(data_set), made(data_set, **ASKED)
    ours = [RandomRotation, RandomIntensity, RandomNoise]
    for _ in range(2):
        assert kinds(plain)[-2:] == [RandomFlip, Format]
        assert kinds(dataset) == [*kinds(plain)[:-1], *ours, Format]
        plain.close_mosaic(get_cfg())
        dataset.close_mosaic(SimpleNamespace(**vars(get_cfg()), **ASKED))
    assert not set(ours) & set(kinds(made(data_set, mode="val", **ASKED)))
    assert made(data_set, contrast=0.1).transforms.transforms[-2].contrast == 0.1
    assert grey_transforms(get_cfg()) == []  # as arguments of plain Ultralytics


def test_pictures_differ_and_are_repeatable_and_the_stored_ones_stay(data_set):
    dataset = made(data_set, **ASKED)
    dataset.close_mosaic(SimpleNamespace(**{**vars(get_cfg()), "translate": 0, "scale": 0, "fliplr": 0}, **ASKED))
    stored = dataset.load_image(1)[0].copy()

    def item(seed: int):
        random.seed(seed)
        return dataset[1]

    first, again, other = item(0), item(0), item(1)
    assert first["img"].shape == (1, 64, 64)
    assert (first["img"] == again["img"]).all()
    assert (first["bboxes"] == again["bboxes"]).all()
    assert (first["img"] != other["img"]).float().mean() > 0.5
    assert first["bboxes"].shape == (1, 4)
    assert ((first["bboxes"] >= 0) & (first["bboxes"] <= 1)).all()
    assert (dataset.load_image(1)[0] == stored).all()


def test_a_training_uses_them_to_the_end(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(augmentation, "rotate_boxes", count(seen, augmentation.rotate_boxes))
    trainer = train(tmp_path, epochs=2, **ASKED)
    assert len(seen) == 2 * 16  # mosaic is closed for the second epoch
    assert yaml.safe_load((trainer.save_dir / "args.yaml").read_text())["rotation"] == 10.0


def count(seen: list, function):
    def counted(*arguments):
        seen.append(arguments)
        return function(*arguments)

    return counted


@pytest.mark.parametrize(
    ("data", "words", "warned"),
    [
        ("data.yaml", ["hsv_v=0.2", "hsv_h=0.1", "hsv_s=0"], "hsv_h=0.1, hsv_v=0.2: no effect on pictures of one"),
        ("data.yaml", ["hsv_v=0.4", "hsv_h=0"], ""),  # the default
        ("rgb.yaml", ["hsv_v=0.2"], ""),
    ],
)
def test_colour_augmentation_on_grey_pictures_is_warned_of(data_set, capsys, monkeypatch, data, words, warned):
    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr("train.detector.training.trainer_class", stop)
    with pytest.raises(InterruptedError):
        execute(main, [f"data={data_set / data}", "model=basic-cnn.yaml", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == bool(warned)
    assert all(warned in line and "gamma= and contrast=" in line for line in lines)


def test_augmentation_that_does_nothing_with_boxes_is_warned_of(capsys):
    grey = {"channels": 1}
    warn_of_idle({"copy_paste": 0.5, "erasing": 0.3, "degrees": 5, "mosaic": 0.5, "erasing_": 1}, grey)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["copy_paste=0.5", "erasing=0.3", "degrees=5"]
    assert "rotation=" in lines[2]
    warn_of_idle({"copy_paste": 0.0, "erasing": 0.4, "degrees": 0.0}, grey)  # its defaults
    assert capsys.readouterr().err == ""
