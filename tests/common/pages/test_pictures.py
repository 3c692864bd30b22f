"""Pixels of the overlays, looked up where geometry says they must be."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from common.pages.pictures import (
    MISS_COLOUR,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    casing_width,
    data_uri,
    line_width,
    overlay,
    thumbnail,
)

NONE = np.empty((0, 5))


@pytest.fixture
def noise():
    return np.random.default_rng(3).integers(0, 256, (240, 300), dtype=np.uint8)


def grey(pixels):
    return np.stack([pixels] * 3, axis=2)


def changed(picture, pixels):
    return (picture != grey(pixels)).any(axis=2)


def band(shape, x, y, width, height):
    """Where the lines of this box may be, counted from its edges: inside by the line, on both sides by the casing."""
    line = line_width(shape)
    casing = casing_width(line)
    rows, columns = np.mgrid[: shape[0], : shape[1]]

    def inside(grow):
        return (
            (columns >= x - grow) & (columns < x + width + grow) & (rows >= y - grow) & (rows < y + height + grow)
        )  # fmt: skip

    return inside(casing) & ~inside(-line - casing)


def label_of(picture, pixels, box):
    """The patch of the label: the bounding rectangle of what changed away from the lines."""
    rows, columns = np.nonzero(changed(picture, pixels) & ~band(pixels.shape, *box))
    return picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def holds(picture, patch):
    """Whether `patch` is anywhere in `picture`, whole and exact."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, patch.shape)[:, :, 0]
    candidates = np.argwhere((windows[:, :, 0, 0] == patch[0, 0]).all(axis=2))
    return any(np.array_equal(windows[row, column], patch) for row, column in candidates)


def test_without_boxes_the_picture_is_grey_and_untouched(noise):
    picture = overlay(noise, np.full((1, 4), np.nan), NONE)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, grey(noise))
    assert np.array_equal(overlay(noise, None, []), grey(noise))


def test_truth_lies_on_its_edge_and_nowhere_else(noise):
    before = noise.copy()
    picture = overlay(noise, np.array([[40.0, 50.0, 120.0, 90.0]]), NONE)
    for row, column in [(50, 40), (50, 159), (139, 40), (139, 159)]:  # the box's outermost pixels at its corners
        assert tuple(picture[row, column]) == TRUTH_COLOUR
    assert not (changed(picture, noise) & ~band(noise.shape, 40, 50, 120, 90)).any()
    assert np.array_equal(noise, before)


def test_truth_is_dashed_and_predictions_are_solid(noise):
    truth = overlay(noise, np.array([[40.0, 50.0, 120.0, 90.0]]), NONE)
    predicted = overlay(noise, None, np.array([[0.5, 40.0, 50.0, 120.0, 90.0]]))
    bottom = (139, slice(40, 160))
    drawn = (truth[bottom] == TRUTH_COLOUR).all(axis=1)
    untouched = (truth[bottom] == grey(noise)[bottom]).all(axis=1)
    assert 0.35 < drawn.mean() < 0.75
    assert untouched.mean() > 0.15
    assert (predicted[bottom] == PREDICTION_COLOUR).all()
    assert (predicted[50:140, 40] == PREDICTION_COLOUR).all()
    assert (predicted[50:140, 159] == PREDICTION_COLOUR).all()


def test_casing_is_black(noise):
    picture = overlay(noise, None, np.array([[0.5, 40.0, 50.0, 120.0, 90.0]]))
    assert (picture[140, 40:160] == 0).all()
    assert (picture[60:130, 160] == 0).all()


def test_prediction_changes_only_lines_and_one_label(noise):
    box = (60, 80, 100, 90)
    picture = overlay(noise, None, np.array([[0.87, *box]]))
    patch = label_of(picture, noise, box)
    away = changed(picture, noise) & ~band(noise.shape, *box)
    # The lowest row of the label may lie in the band; the rest is a full rectangle in label colours.
    assert away.sum() <= patch.shape[0] * patch.shape[1]
    shades = patch.reshape(-1, 3) / np.array(PREDICTION_COLOUR)
    assert np.abs(shades - shades.mean(axis=1, keepdims=True)).max() < 0.02  # between black and the colour
    assert shades.max() == 1
    assert shades.min() < 0.2


@pytest.mark.parametrize(
    "box",
    [(0, 0, 60, 70), (240, 0, 60, 70), (0, 170, 60, 70), (240, 170, 60, 70), (285, 100, 15, 20), (0, 0, 300, 240)],
)
def test_label_is_whole_wherever_the_box_is(noise, box):
    middle = (100, 100, 80, 70)
    patch = label_of(overlay(noise, None, np.array([[0.64, *middle]])), noise, middle)
    patch = patch[: patch.shape[0] - casing_width(line_width(noise.shape))]
    assert min(patch.shape[:2]) >= 9
    assert holds(overlay(noise, None, np.array([[0.64, *box]])), patch)


def test_labels_do_not_cover_each_other(noise):
    box = (100, 100, 80, 70)
    patches = []
    for confidence in (0.91, 0.35):
        patch = label_of(overlay(noise, None, np.array([[confidence, *box]])), noise, box)
        patches.append(patch[: patch.shape[0] - casing_width(line_width(noise.shape))])
    both = overlay(noise, None, np.array([[0.35, *box], [0.91, *box]]))
    assert all(holds(both, patch) for patch in patches)


def test_lines_and_letters_grow_with_the_picture():
    heights, lines = [], []
    for side in (200, 400, 1024, 3000):
        pixels = np.full((side, side), 90, dtype=np.uint8)
        box = (round(0.3 * side), round(0.4 * side), round(0.4 * side), round(0.4 * side))
        picture = overlay(pixels, None, np.array([[0.5, *box]]))
        heights.append(label_of(picture, pixels, box).shape[0])
        column = picture[box[1] + box[3] // 2]
        lines.append(int((column == PREDICTION_COLOUR).all(axis=1).sum()))
    assert heights == sorted(heights)
    assert heights[-1] > 100
    assert heights[0] >= 9
    assert lines == sorted(lines)
    assert lines[0] == 2 * 1
    assert lines[-1] == 2 * 20


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (24, 24), (200, 3)])
def test_tiny_pictures(shape):
    pixels = np.full(shape, 100, dtype=np.uint8)
    truth = np.array([[0.0, 0.0, shape[1], shape[0]]])
    assert overlay(pixels, truth, np.array([[0.5, 0.2, 0.2, 0.5, 0.5]])).shape == (*shape, 3)


def test_hits_and_misses_differ(noise):
    predictions = np.array([[0.9, 20.0, 60.0, 70.0, 70.0], [0.8, 180.0, 60.0, 70.0, 70.0]])
    picture = overlay(noise, None, predictions, np.array([True, False]))
    assert tuple(picture[129, 20]) == PREDICTION_COLOUR
    assert tuple(picture[129, 180]) == MISS_COLOUR
    hit, miss = (overlay(noise, None, predictions[:1], np.array([value])) for value in (True, False))
    box = (20, 60, 70, 70)
    assert label_of(miss, noise, box).shape[1] > label_of(hit, noise, box).shape[1]  # the x behind the number


def test_boxes_are_clipped_to_the_frame(noise):
    picture = overlay(noise, np.array([[-30.0, -20.0, 100.0, 90.0], [400.0, 20.0, 50.0, 50.0]]), NONE)
    assert tuple(picture[0, 0]) == TRUTH_COLOUR
    assert tuple(picture[69, 69]) == TRUTH_COLOUR
    assert not (changed(picture, noise) & ~band(noise.shape, 0, 0, 70, 70)).any()


def test_truth_lies_over_a_prediction_that_coincides(noise):
    box = (40.0, 50.0, 120.0, 90.0)
    bottom = overlay(noise, np.array([box]), np.array([[0.5, *box]]))[139, 40:160]
    assert (bottom == TRUTH_COLOUR).all(axis=1).any()
    assert (bottom == PREDICTION_COLOUR).all(axis=1).any()


def test_colours_stay_apart_for_the_colour_blind():
    # Viénot, Brettel and Mollon (1999), on linear RGB: protanopia and deuteranopia; and no colour at all.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    linear = (np.array([TRUTH_COLOUR, PREDICTION_COLOUR, MISS_COLOUR]) / 255) ** 2.2
    for matrix in (np.eye(3), protan, deutan):
        seen = 255 * np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(seen[one] - seen[other]) > 75


@pytest.mark.parametrize(
    ("pixels", "truth", "predictions", "hits", "named"),
    [
        (np.zeros((4, 4)), None, NONE, None, "pixels"),
        (np.zeros((4, 4, 3), np.uint8), None, NONE, None, "pixels"),
        (np.zeros((4, 4), np.uint8), np.zeros((1, 5)), NONE, None, "truth_xywh"),
        (np.zeros((4, 4), np.uint8), None, np.zeros((1, 4)), None, "predictions"),
        (np.zeros((4, 4), np.uint8), None, np.zeros((2, 5)), np.array([True]), "hits"),
    ],
)
def test_wrong_shapes_are_named(pixels, truth, predictions, hits, named):
    with pytest.raises(ValueError, match=named):
        overlay(pixels, truth, predictions, hits)


def test_thumbnail_shrinks_and_never_enlarges(noise):
    small = thumbnail(noise, 100)
    assert small.shape == (80, 100)
    assert abs(small.mean() - noise.mean()) < 1
    assert thumbnail(grey(noise), 150).shape == (120, 150, 3)
    same = thumbnail(noise, 300)
    assert np.array_equal(same, noise)
    assert same is not noise


def decode(uri):
    head, _, content = uri.partition(",")
    return head, cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)


def test_data_uri(noise):
    picture = overlay(noise, np.array([[40.0, 50.0, 120.0, 90.0]]), NONE)
    head, stored = decode(data_uri(picture, ".png"))
    assert head == "data:image/png;base64"
    assert np.array_equal(stored[:, :, ::-1], picture)
    flat = np.full((64, 64), 77, dtype=np.uint8)
    flat[:, 32:] = 180
    head, stored = decode(data_uri(flat))
    assert head == "data:image/jpeg;base64"
    assert np.abs(stored.astype(int) - flat).max() < 12
    lines = overlay(flat, np.array([[4.0, 4.0, 56.0, 56.0]]), NONE)
    _, stored = decode(data_uri(lines, quality=95))
    assert np.abs(stored[4, 4, ::-1].astype(int) - TRUTH_COLOUR).max() < 40  # one pixel wide, and still blue
    with pytest.raises(ValueError, match=r"\.gif"):
        data_uri(noise, ".gif")


def test_a_truth_box_has_its_name_beside_it_and_nothing_else_changes(noise):
    truth = np.array([[60.0, 60, 80, 90], [170, 100, 60, 70]])
    bare, named = overlay(noise, truth, NONE), overlay(noise, truth, NONE, truth_labels=["Mass", ""])
    rows, columns = np.nonzero((named != bare).any(axis=2))
    assert rows.size
    patch = named[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].reshape(-1, 3)
    assert rows.max() < 60  # above its box
    assert columns.min() >= 58
    # Black letters, and what is between them, on the truth's colour.
    assert (patch == TRUTH_COLOUR).all(axis=1).mean() > 0.5
    assert (patch == (0, 0, 0)).all(axis=1).any()
    with pytest.raises(ValueError, match="truth_labels: expected 2 names, one for each box, found 1"):
        overlay(noise, truth, NONE, truth_labels=["Mass"])
