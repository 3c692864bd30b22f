from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convert.synthetic.anatomy import make_anatomy
from convert.synthetic.phantom import draw
from convert.synthetic.population import NORMAL, NOT_NORMAL, OPACITY, Case, make_population

SIZE = 192


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return make_population(100, seed=11)


@pytest.fixture(scope="module")
def pairs(cases: list[Case]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positive images: with opacities, without, and the boxes."""
    result = []
    for case in cases:
        if case.label == OPACITY:
            ill = draw(case, SIZE)
            result.append((ill.pixels.astype(float), draw(case, SIZE, opacities=False).pixels.astype(float), ill.boxes))
    return result


def _inside(boxes: np.ndarray, margin: float = 0.0) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    for x, y, width, height in boxes:
        dx, dy = margin * width, margin * height
        mask[max(0, int(y - dy)) : int(y + height + dy), max(0, int(x - dx)) : int(x + width + dx)] = True
    return mask


@pytest.mark.parametrize("size", [64, 192, 600])
def test_a_picture_is_grey_square_and_uses_the_range(cases: list[Case], size: int) -> None:
    pixels = draw(cases[0], size).pixels
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint8
    assert np.quantile(pixels, 0.05) < 135
    assert np.quantile(pixels, 0.9) > 180


def test_the_same_case_gives_the_same_picture_and_another_seed_another(cases: list[Case]) -> None:
    first = draw(cases[0], SIZE)
    again = draw(cases[0], SIZE)
    other = draw(replace(cases[0], image_seed=cases[0].image_seed + 1), SIZE)
    assert (first.pixels == again.pixels).all()
    assert (first.boxes == again.boxes).all()
    assert np.abs(first.pixels.astype(int) - other.pixels).mean() > 3


def test_a_patient_keeps_its_anatomy(cases: list[Case]) -> None:
    assert make_anatomy(5, "F", 60) == make_anatomy(5, "F", 60)
    assert make_anatomy(5, "F", 60) != make_anatomy(6, "F", 60)
    assert all(make_anatomy(seed, "M", 60).breast == 0 for seed in range(20))
    one = draw(replace(cases[0], boxes=(), findings=()), SIZE).pixels.astype(int)
    another = draw(replace(cases[0], boxes=(), findings=(), patient_seed=99), SIZE).pixels
    assert np.abs(one - another).mean() > 2


def test_lungs_are_darker_than_the_middle_and_the_middle_than_white(cases: list[Case]) -> None:
    healthy = [draw(case, SIZE).pixels / 255 for case in cases if case.label == NORMAL]
    mean = np.mean(healthy, axis=0)
    assert len(healthy) > 15
    row = mean[int(0.45 * SIZE)]
    left, middle, right = (row[int(share * SIZE) - 6 : int(share * SIZE) + 6].mean() for share in (0.28, 0.5, 0.72))
    assert max(left, right) + 0.15 < middle < 1.0


def test_boxes_are_whole_pixels_inside_the_picture_and_as_many_as_wanted(cases: list[Case]) -> None:
    for case in cases:
        boxes = draw(case, SIZE).boxes
        assert boxes.shape == (len(case.boxes), 4)
        assert (boxes == np.round(boxes)).all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= SIZE).all()


def test_boxes_stay_near_the_wanted_ones(cases: list[Case]) -> None:
    wanted = np.array([box for case in cases for box in case.boxes]) * SIZE / 1024
    drawn = np.concatenate([draw(case, SIZE).boxes for case in cases])
    # Sizes are kept on the whole; places give way to the lung that was drawn.
    assert np.median(drawn[:, 2:] / wanted[:, 2:], axis=0) == pytest.approx([1, 1], abs=0.1)
    shift = np.abs(drawn[:, :2] + drawn[:, 2:] / 2 - wanted[:, :2] - wanted[:, 2:] / 2) / SIZE
    assert np.quantile(shift, 0.9) < 0.12


def test_opacities_brighten_their_boxes_and_little_else(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    gains, shares = [], []
    for ill, healthy, boxes in pairs:
        assert len(boxes)
        added = ill - healthy
        gains += [added[_inside(box[None])].mean() for box in boxes]
        shares.append(added[_inside(boxes, 0.15)].sum() / np.abs(added).sum())
    assert min(gains) > 3
    assert np.median(shares) > 0.88
    assert min(shares) > 0.65
    # Mostly clear, some faint.
    assert 15 < np.median(gains) < 80


def test_a_box_bounds_what_can_be_seen(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    errors = []
    for ill, healthy, boxes in pairs:
        if len(boxes) != 1:
            continue
        added = ill - healthy
        rows, columns = np.nonzero(added > 0.4 * np.quantile(added[added > 2], 0.9))
        seen = np.array([np.quantile(columns, 0.01), np.quantile(rows, 0.01),
                         np.quantile(columns, 0.99) + 1, np.quantile(rows, 0.99) + 1])  # fmt: skip
        x, y, width, height = boxes[0]
        errors.append(np.abs(seen - [x, y, x + width, y + height]) / [width, height, width, height])
    assert len(errors) >= 6
    assert np.median(errors) < 0.07
    assert np.mean(np.array(errors).max(axis=1) < 0.25) > 0.85


def test_pictures_without_opacities_have_no_boxes(cases: list[Case]) -> None:
    positive = next(case for case in cases if case.boxes)
    assert draw(positive, SIZE, opacities=False).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "name", ["nodule", "mass", "effusion", "band", "scar", "congestion", "pacemaker", "large heart"]
)
def test_findings_brighten_the_picture(cases: list[Case], name: str) -> None:
    gains = []
    for case in [case for case in cases if case.label == NOT_NORMAL][:4]:
        plain = draw(replace(case, findings=()), SIZE).pixels.astype(int)
        shown = draw(replace(case, findings=(name,)), SIZE).pixels.astype(int)
        gains.append(np.sort((shown - plain).ravel())[-40:].mean())
    assert min(gains) > 4
    assert max(gains) > 10


def test_a_supine_heart_looks_wider(cases: list[Case]) -> None:
    differences = []
    for case in [case for case in cases if case.label == NORMAL][:12]:
        views = {}
        for view in ("AP", "PA"):
            rows = draw(replace(case, view=view, age=40), SIZE).pixels[int(0.62 * SIZE) : int(0.68 * SIZE)]
            middle = rows.mean(axis=0)[int(0.2 * SIZE) : int(0.85 * SIZE)]
            views[view] = (middle > 0.5 * (middle.min() + middle.max())).mean()
        differences.append(views["AP"] - views["PA"])
    assert np.mean(differences) > 0
