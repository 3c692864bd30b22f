"""Who is in the synthetic data set: patients, classes, boxes, ages, views and pixel spacings, as in the RSNA data.

The numbers below were measured on RSNA's stage 2 training tables (26,684 images; 9,555 boxes on 6,012 of them), on
the DICOM headers of the same images, and on their published match with the NIH ChestX-ray14 files, which gives 11,439
patients. They are summaries; no row of the tables is here.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from common.data.names import POSITIVE_CLASS

OPACITY, NOT_NORMAL, NORMAL = POSITIVE_CLASS, "No Lung Opacity / Not Normal", "Normal"
LABELS = (OPACITY, NOT_NORMAL, NORMAL)
REFERENCE_SIZE = 1024
"""Side of the RSNA pictures; the measured boxes are in its pixels."""

LABEL_SHARES = {OPACITY: 6012 / 26684, NOT_NORMAL: 11821 / 26684, NORMAL: 8851 / 26684}
AP_SHARE = {OPACITY: 0.776, NOT_NORMAL: 0.497, NORMAL: 0.185}
MALE_SHARE = 0.568
IMPOSSIBLE_AGES, IMPOSSIBLE_AGE_SHARE = (148, 150, 151, 153, 155), 5 / 26684

# Patients with 1, 2, 3, ... images, and what is beyond: (images, patients).
PATIENT_SIZES = (
    (1, 7084), (2, 1810), (3, 924), (4, 448), (5, 282), (6, 182), (7, 142), (8, 115), (9, 65), (10, 58), (11, 38),
    (12, 42), (13, 44), (14, 25), (15, 26), (16, 24), (17, 17), (18, 19), (19, 12), (21, 22), (24, 21), (28, 16),
    (32, 12), (40, 9), (48, 3), (65, 2),
)  # fmt: skip

# Ages at AGE_QUANTILES, by class and view (n = 26,679; the five impossible ones left out).
AGE_QUANTILES = (0, 0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.98, 1)
AGES = {
    (OPACITY, "AP"): (1, 9, 15, 21, 31, 46, 58, 67, 72, 77, 92),
    (OPACITY, "PA"): (3, 13, 18, 23, 34, 50, 61, 68, 72, 76, 91),
    (NOT_NORMAL, "AP"): (1, 12, 19, 24, 36, 51, 60, 68, 73, 77, 90),
    (NOT_NORMAL, "PA"): (2, 16, 21, 27, 40, 53, 62, 69, 74, 78, 92),
    (NORMAL, "AP"): (2, 8, 14, 19, 29, 43, 56, 64, 67, 72, 90),
    (NORMAL, "PA"): (2, 12, 18, 23, 34, 47, 57, 66, 70, 74, 91),
}
PIXEL_SPACINGS_MM = {
    "AP": ((0.168, 0.139, 0.171, 0.115, 0.194311, 0.1988), (0.5469, 0.3631, 0.0890, 0.0004, 0.0004, 0.0002)),
    "PA": ((0.143, 0.168, 0.194311, 0.139, 0.171, 0.115), (0.6197, 0.1487, 0.0933, 0.0752, 0.0629, 0.0002)),
}

# Share of positive images with 1, 2, 3, 4 boxes.
BOX_COUNTS = {"AP": (0.3568, 0.6192, 0.0214, 0.0026), "PA": (0.7047, 0.2804, 0.0141, 0.0008)}
# Of images with one box, the share whose box is on the picture's left.
LEFT_SHARE = {"AP": 0.614, "PA": 0.628}
# Two boxes lie on both sides in 97.9 % of the images; here they always do.


@dataclass(frozen=True)
class _BoxModel:
    """A normal distribution of (centre x, centre y, log width, log height), once per box."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    """Lower triangle without the diagonal."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """One draw as boxes (N, 4): x, y, width, height in pixels of the reference size."""
        n = len(self.mean)
        matrix = np.eye(n)
        for i, row in enumerate(self.correlation, start=1):
            matrix[i, :i] = matrix[:i, i] = row
        spread = np.asarray(self.spread)
        values = rng.multivariate_normal(self.mean, matrix * np.outer(spread, spread), method="eigh").reshape(-1, 4)
        side = np.exp(values[:, 2:])
        return np.column_stack([values[:, :2] - side / 2, side])


# One box, by view and side of the picture (n = 1,021, 643, 597, 353 images).
ONE_BOX = {
    ("AP", "left"): _BoxModel(
        (321.0, 550.8, 5.251, 5.454), (64.5, 126.5, 0.290, 0.468), ((-0.14,), (-0.08, -0.01), (0.05, -0.17, 0.55))
    ),
    ("AP", "right"): _BoxModel(
        (711.3, 547.4, 5.343, 5.559), (62.2, 119.7, 0.313, 0.495), ((0.12,), (0.07, 0.07), (0.12, -0.12, 0.60))
    ),
    ("PA", "left"): _BoxModel(
        (315.7, 527.0, 5.261, 5.260), (51.0, 114.5, 0.301, 0.457), ((-0.13,), (-0.30, 0.05), (-0.05, -0.09, 0.57))
    ),
    ("PA", "right"): _BoxModel(
        (723.7, 525.6, 5.284, 5.317), (48.3, 111.8, 0.345, 0.472), ((0.19,), (-0.02, 0.09), (-0.04, -0.08, 0.63))
    ),
}
# A box on either side, left first (n = 2,835 and 361 images): both lungs are ill alike.
TWO_BOXES = {
    "AP": _BoxModel(
        (322.2, 525.6, 5.381, 5.830, 711.3, 534.4, 5.418, 5.879),
        (62.4, 108.0, 0.258, 0.461, 60.4, 107.8, 0.267, 0.444),
        ((-0.12,), (-0.20, -0.04), (-0.03, -0.28, 0.60), (0.60, 0.12, 0.06, -0.03), (-0.08, 0.72, -0.01, -0.15, 0.12),
         (-0.09, -0.02, 0.63, 0.49, 0.10, -0.01), (-0.02, -0.22, 0.54, 0.75, 0.02, -0.17, 0.61)),
    ),
    "PA": _BoxModel(
        (315.2, 523.0, 5.332, 5.471, 727.0, 531.6, 5.351, 5.520),
        (46.6, 104.4, 0.287, 0.483, 47.1, 108.9, 0.321, 0.472),
        ((-0.25,), (-0.37, 0.10), (-0.02, -0.18, 0.44), (0.08, 0.20, 0.21, 0.02), (-0.15, 0.63, 0.08, -0.04, 0.32),
         (-0.13, 0.01, 0.54, 0.40, 0.30, 0.17), (-0.02, -0.07, 0.44, 0.69, 0.10, -0.06, 0.56)),
    ),
}  # fmt: skip
SMALLEST_BOX = (40, 45)

# How images of one patient resemble each other: weights of the patient and of the number of its images in the latent
# variables below, set so that two images of a patient share their class in 57 % of the pairs and their view in 67 %,
# and that the opacity share runs from 7 % where a patient has one image to 52 % where it has more than 16.
_ILLNESS_OF_PATIENT, _ILLNESS_PER_DOUBLING, _VIEW_OF_PATIENT = 0.74, 0.33, 0.6

# Findings that are no lung opacity, as (name, NIH label, weight among the pictures that are not normal).
FINDINGS = (
    ("nodule", "Nodule", 0.20), ("mass", "Mass", 0.10), ("effusion", "Effusion", 0.20), ("band", "Atelectasis", 0.24),
    ("scar", "Fibrosis", 0.20), ("large heart", "Cardiomegaly", 0.20), ("pacemaker", "No Finding", 0.07),
    ("overinflation", "Emphysema", 0.08), ("congestion", "Edema", 0.12),
)  # fmt: skip


GROUPS = ("train", "test", "no truth")
"""Kaggle's training images, its stage-2 test images, and images that are in RSNA's own release alone."""


@dataclass(frozen=True)
class Case:
    """One image to be made: what its header, its row in the tables and its picture have in common."""

    image_id: str
    group: str
    """One of GROUPS."""
    nih_image: str
    """The NIH file it stands for, `PPPPPPPP_NNN.png`: patient and follow-up number."""
    label: str
    boxes: tuple[tuple[float, float, float, float], ...]
    """Where opacities are wanted: x, y, width, height in pixels of the reference size, origin upper-left."""
    findings: tuple[str, ...]
    """Names of FINDINGS in the picture; empty unless it is not normal."""
    view: str
    sex: str
    age: int
    """Years as the header says; at a natural rate an impossible one."""
    pixel_spacing_mm: float
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    patient_seed: int
    image_seed: int

    @property
    def nih_labels(self) -> tuple[str, ...]:
        """What NIH's text mining might have said of the picture."""
        if self.label == OPACITY:
            return (("Infiltration", "Consolidation", "Pneumonia")[self.image_seed % 3],)
        known = {name: nih_label for name, nih_label, _ in FINDINGS}
        return tuple(sorted({known[name] for name in self.findings})) or ("No Finding",)


def make_population(images: int, seed: int, group: str = "train", taken: frozenset[str] = frozenset()) -> list[Case]:
    """Draw the patients and their images.

    Args:
        images: How many images; class counts are its exact shares, rounded.
        seed: The same seed gives the same cases.
        group: One of GROUPS; they draw from separate streams.
        taken: Patients (`PPPPPPPP`) that must not be used again.

    Returns:
        Cases sorted by image id.
    """
    rng = np.random.default_rng([seed, GROUPS.index(group)])
    patient_of = _patients(images, rng)
    patients = int(patient_of.max(initial=-1)) + 1
    size = np.bincount(patient_of, minlength=patients)

    illness = _ILLNESS_OF_PATIENT * rng.standard_normal(patients) + _ILLNESS_PER_DOUBLING * np.log2(size)
    order = np.argsort(-(illness[patient_of] + np.sqrt(1 - _ILLNESS_OF_PATIENT**2) * rng.standard_normal(images)))
    labels = np.empty(images, dtype=object)
    labels[order] = np.repeat(np.asarray(LABELS, dtype=object), label_counts(images))

    # The patient's habit and the day decide together, in such proportion that the sum is again a standard normal.
    habit, day = rng.standard_normal(patients), rng.standard_normal(images)
    tendency = np.sqrt(_VIEW_OF_PATIENT) * habit[patient_of] + np.sqrt(1 - _VIEW_OF_PATIENT) * day
    limit = np.array([NormalDist().inv_cdf(AP_SHARE[label]) for label in labels])
    views = np.where(tendency < limit, "AP", "PA")

    free = np.array(sorted(set(range(1, 30806)) - {int(name) for name in taken}))
    numbers = rng.choice(free, size=patients, replace=False)
    sexes = np.where(rng.random(patients) < MALE_SHARE, "M", "F")
    age_rank, patient_seeds = rng.random(patients), rng.integers(2**31, size=patients)
    follow_up, first_age = rng.geometric(0.45, patients) - 1, np.full(patients, -1)
    cases = []
    for index, patient in enumerate(patient_of.tolist()):
        label, view = str(labels[index]), str(views[index])
        own = np.random.default_rng([seed, GROUPS.index(group), index])
        if first_age[patient] < 0:
            first_age[patient] = round(float(np.interp(age_rank[patient], AGE_QUANTILES, AGES[label, view])))
        else:
            # Later images: some more follow-ups and now and then another year on.
            follow_up[patient] += own.geometric(0.6)
            first_age[patient] = min(first_age[patient] + (own.random() < 0.25), 92)
        odd = own.random() < IMPOSSIBLE_AGE_SHARE
        spacings, shares = PIXEL_SPACINGS_MM[view]
        cases.append(
            Case(
                image_id=str(uuid.UUID(bytes=own.bytes(16), version=4)),
                group=group,
                nih_image=f"{numbers[patient]:08d}_{follow_up[patient]:03d}.png",
                label=label,
                boxes=tuple(map(tuple, draw_boxes(view, own).tolist())) if label == OPACITY else (),
                findings=_findings(own) if label == NOT_NORMAL else (),
                view=view,
                sex=str(sexes[patient]),
                age=int(own.choice(IMPOSSIBLE_AGES)) if odd else int(first_age[patient]),
                pixel_spacing_mm=float(own.choice(spacings, p=np.asarray(shares) / sum(shares))),
                study_instance_uid=_uid(own),
                series_instance_uid=_uid(own),
                sop_instance_uid=_uid(own),
                patient_seed=int(patient_seeds[patient]),
                image_seed=int(own.integers(2**31)),
            )
        )
    return sorted(cases, key=lambda case: case.image_id)


def label_counts(images: int) -> list[int]:
    """How many of `images` fall to each of LABELS: the exact shares by largest remainder."""
    exact = [images * LABEL_SHARES[label] for label in LABELS]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(LABELS)), key=lambda k: counts[k] - exact[k])
    for k in by_remainder[: images - sum(counts)]:
        counts[k] += 1
    return counts


def draw_boxes(view: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the boxes of one positive image.

    Args:
        view: `AP` or `PA`.
        rng: Where chance comes from.

    Returns:
        Boxes (N, 4), N from 1 to 4: x, y, width, height in pixels of the reference size, wholly inside the picture.
    """
    count = 1 + int(rng.choice(4, p=np.asarray(BOX_COUNTS[view]) / sum(BOX_COUNTS[view])))
    while True:
        if count == 1:
            boxes = ONE_BOX[view, "left" if rng.random() < LEFT_SHARE[view] else "right"].draw(rng)
        else:
            boxes = TWO_BOXES[view].draw(rng)
        # Further boxes are smaller, and so are those that they share the lungs with.
        boxes[:, 2:] *= 1.0 if count <= 2 else 0.72
        for _ in range(max(count - 2, 0)):
            extra = ONE_BOX[view, "left" if rng.random() < 0.55 else "right"].draw(rng)
            extra[:, 2:] *= 0.72
            boxes = np.concatenate([boxes, extra])
        if _possible(boxes):
            return boxes


def _possible(boxes: NDArray[np.float64]) -> bool:
    left, upper, right, lower = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    inside = (left >= 0) & (upper >= 0) & (right <= REFERENCE_SIZE) & (lower <= REFERENCE_SIZE)
    if not inside.all() or (boxes[:, 2:] < SMALLEST_BOX).any():
        return False
    centre = left + boxes[:, 2] / 2
    # Not on the spine, nor across it by more than a little: the lungs' middle is where the heart is.
    if ((right > 600) & (centre < 512)).any() or ((left < 424) & (centre > 512)).any():
        return False
    width = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    height = np.minimum(lower[:, None], lower) - np.maximum(upper[:, None], upper)
    overlap = width.clip(0) * height.clip(0)
    np.fill_diagonal(overlap, 0)
    return bool((overlap <= 0.05 * np.minimum.outer(boxes[:, 2:].prod(1), boxes[:, 2:].prod(1))).all())


def _patients(images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The patient (0, 1, ...) of each image; no patient has more than a tenth of a small data set."""
    sizes, patients = (np.array(column) for column in zip(*PATIENT_SIZES, strict=True))
    largest = max(2, images // 10)
    drawn: list[int] = []
    while sum(drawn) < images:
        drawn.append(min(int(rng.choice(sizes, p=patients / patients.sum())), largest))
    return np.repeat(np.arange(len(drawn)), drawn)[:images]


def _findings(rng: np.random.Generator) -> tuple[str, ...]:
    names, _, weights = zip(*FINDINGS, strict=True)
    count = 1 + int(rng.random() < 0.3)
    share: Sequence[float] = np.asarray(weights) / sum(weights)
    return tuple(str(name) for name in rng.choice(names, size=count, replace=False, p=share))


def _uid(rng: np.random.Generator) -> str:
    """A DICOM UID derived from a UUID (root 2.25, Standard part 5, B.2)."""
    return f"2.25.{uuid.UUID(bytes=rng.bytes(16), version=4).int}"
