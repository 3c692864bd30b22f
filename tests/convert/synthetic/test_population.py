from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from convert.synthetic.population import Case, draw_boxes, make_population

# The figures below are those of the real tables, written by hand; they are not read from the module under test.
OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return make_population(8000, seed=1)


def _boxes(cases: list[Case], view: str | None = None) -> np.ndarray:
    return np.array([box for case in cases if view in (None, case.view) for box in case.boxes])


def _by_patient(cases: list[Case]) -> dict[str, list[Case]]:
    groups = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.nih_image):
        groups[case.nih_image[:8]].append(case)
    return groups


def _same_in_pairs(groups: list[list[str]]) -> float:
    """Chance that two images of a patient agree, averaged over the patients with several images."""
    shares = []
    for values in groups:
        n = len(values)
        if n > 1:
            shares.append(sum(k * (k - 1) for k in Counter(values).values()) / (n * (n - 1)))
    return float(np.mean(shares))


@pytest.mark.parametrize(
    ("images", "expected"),
    [(26684, [6012, 11821, 8851]), (400, [90, 177, 133]), (1, [0, 1, 0]), (10, [2, 5, 3]), (0, [0, 0, 0])],
)
def test_classes_come_in_their_exact_shares(images: int, expected: list[int]) -> None:
    counts = Counter(case.label for case in make_population(images, seed=5)) if images < 1000 else None
    if counts is None:
        from convert.synthetic.population import label_counts

        assert label_counts(images) == expected
    else:
        assert [counts[OPACITY], counts[NOT_NORMAL], counts[NORMAL]] == expected


def test_only_opacity_images_have_boxes_and_only_abnormal_ones_findings(cases: list[Case]) -> None:
    for case in cases:
        assert bool(case.boxes) == (case.label == OPACITY)
        assert bool(case.findings) == (case.label == NOT_NORMAL)
        assert len(case.nih_labels) >= 1


def test_boxes_per_positive_image(cases: list[Case]) -> None:
    counts = Counter(len(case.boxes) for case in cases if case.boxes)
    total = sum(counts.values())
    assert sum(k * n for k, n in counts.items()) / total == pytest.approx(9555 / 6012, abs=0.05)
    assert counts[1] / total == pytest.approx(0.435, abs=0.04)
    assert counts[2] / total == pytest.approx(0.543, abs=0.04)
    assert 0 < counts[3] + counts[4] < 0.05 * total


def test_box_sizes_and_places(cases: list[Case]) -> None:
    boxes = _boxes(cases)
    # The images' median box is 217 x 298 over the boxes, 219 x 304 without the old test images.
    assert np.median(boxes[:, 2]) == pytest.approx(217, rel=0.07)
    assert np.median(boxes[:, 3]) == pytest.approx(298, rel=0.07)
    heights = np.quantile(_boxes(cases, "AP")[:, 3], [0.1, 0.9])
    assert heights == pytest.approx([160, 575], rel=0.14)
    assert np.median(_boxes(cases, "PA")[:, 3]) == pytest.approx(211, rel=0.10)
    centre = boxes[:, 0] + boxes[:, 2] / 2
    assert np.mean(centre < 512) == pytest.approx((4095 + 1019) / 9555, abs=0.03)
    assert np.mean(centre[centre < 512]) == pytest.approx(321, abs=8)
    assert np.mean(centre[centre > 512]) == pytest.approx(713, abs=8)
    assert np.mean(boxes[:, 1] + boxes[:, 3] / 2) == pytest.approx(531, abs=12)


def test_boxes_lie_in_the_picture_apart_from_each_other(cases: list[Case]) -> None:
    boxes = _boxes(cases)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 1024).all()
    assert boxes[:, 2].min() >= 40
    assert boxes[:, 3].min() >= 45
    for case in cases:
        rows = case.boxes
        for i, a in enumerate(rows):
            for b in rows[:i]:
                width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
                height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
                assert min(width, height) <= 0 or width * height <= 0.06 * min(a[2] * a[3], b[2] * b[3])


def test_two_boxes_lie_on_both_sides_and_are_alike() -> None:
    rng = np.random.default_rng(0)
    pairs = [pair[np.argsort(pair[:, 0])] for pair in (draw_boxes("AP", rng) for _ in range(1500)) if len(pair) == 2]
    left, right = np.array(pairs).swapaxes(0, 1)
    assert (left[:, 0] + left[:, 2] / 2 < 512).mean() > 0.97
    assert (right[:, 0] + right[:, 2] / 2 > 512).mean() > 0.97
    # Correlation of the log heights in the real table: 0.75.
    assert np.corrcoef(np.log(left[:, 3]), np.log(right[:, 3]))[0, 1] == pytest.approx(0.75, abs=0.08)


def test_views_by_class(cases: list[Case]) -> None:
    for label, share in ((OPACITY, 0.776), (NOT_NORMAL, 0.497), (NORMAL, 0.185)):
        views = [case.view for case in cases if case.label == label]
        assert set(views) == {"AP", "PA"}
        assert views.count("AP") / len(views) == pytest.approx(share, abs=0.04)


def test_ages_and_sexes(cases: list[Case]) -> None:
    ages = np.array([case.age for case in cases if case.age <= 92])
    assert np.quantile(ages, [0.05, 0.5, 0.95]) == pytest.approx([18, 49, 72], abs=3)
    assert len(ages) >= len(cases) - 10
    assert np.mean([case.sex == "M" for case in cases]) == pytest.approx(0.568, abs=0.05)


def test_impossible_ages_come_at_their_natural_rate(cases: list[Case]) -> None:
    ages = [case.age for case in (*cases, *make_population(8000, seed=2)) if case.age > 92]
    # 5 of 26,684: three are expected here.
    assert 1 <= len(ages) <= 10
    assert set(ages) <= {148, 150, 151, 153, 155}


def test_pixel_spacings(cases: list[Case]) -> None:
    for view, spacing, share in (("AP", 0.168, 0.547), ("AP", 0.139, 0.363), ("PA", 0.143, 0.620)):
        spacings = [case.pixel_spacing_mm for case in cases if case.view == view]
        assert spacings.count(spacing) / len(spacings) == pytest.approx(share, abs=0.04)


def test_patients(cases: list[Case]) -> None:
    groups = _by_patient(cases)
    assert len(cases) / len(groups) == pytest.approx(26684 / 11439, rel=0.12)
    assert sum(len(group) == 1 for group in groups.values()) / len(groups) == pytest.approx(7084 / 11439, abs=0.04)
    for group in groups.values():
        assert len({case.sex for case in group}) == 1
        assert len({case.patient_seed for case in group}) == 1
        ages = [case.age for case in group if case.age <= 92]
        assert ages == sorted(ages)
    # In the real data two images of a patient share the class in 57 % of the pairs and the view in 67 %.
    assert _same_in_pairs([[case.label for case in group] for group in groups.values()]) == pytest.approx(
        0.57, abs=0.06
    )
    assert _same_in_pairs([[case.view for case in group] for group in groups.values()]) == pytest.approx(0.67, abs=0.06)
    often = [case.label == OPACITY for group in groups.values() if len(group) > 8 for case in group]
    once = [case.label == OPACITY for group in groups.values() if len(group) == 1 for case in group]
    assert np.mean(once) < 0.12 < 0.35 < np.mean(often)


def test_names_are_unique_and_in_their_formats(cases: list[Case]) -> None:
    for field in ("image_id", "nih_image", "study_instance_uid", "series_instance_uid", "sop_instance_uid"):
        assert len({getattr(case, field) for case in cases}) == len(cases), field
    for case in cases:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", case.image_id)
        assert re.fullmatch(r"\d{8}_\d{3}\.png", case.nih_image)
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", case.sop_instance_uid)
    assert [case.image_id for case in cases] == sorted(case.image_id for case in cases)


def test_a_seed_decides_everything() -> None:
    assert make_population(50, 3) == make_population(50, 3)
    assert not {c.image_id for c in make_population(50, 3)} & {c.image_id for c in make_population(50, 4)}


def test_test_images_are_of_other_patients() -> None:
    train = make_population(3000, 3)
    taken = frozenset(case.nih_image[:8] for case in train)
    test = make_population(300, 3, "test", taken)
    assert {case.group for case in test} == {"test"}
    assert not taken & {case.nih_image[:8] for case in test}
    assert not {case.image_id for case in train} & {case.image_id for case in test}
