"""Draws one synthetic chest radiograph: pose, exposure, the film's marks and its noise.

The picture is density first (see `anatomy`), which is then shown as a computed radiography system would show it:
local contrast raised a little, dense parts compressed, grey values rising with density.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.synthetic import anatomy as an
from convert.synthetic import lesions as fi
from convert.synthetic import skeleton as sk
from convert.synthetic.anatomy import Bytes, Floats, Frame, enlarge
from convert.synthetic.population import NORMAL, REFERENCE_SIZE, Case

# Streams of chance, so that a picture without its opacities is the same picture otherwise.
_POSE, _TEXTURE, _OPACITY, _FINDING, _DEVICE, _EXPOSURE, _FILM = range(7)


@dataclass(frozen=True)
class Radiograph:
    """A drawn picture and the truth about it.

    Attributes:
        pixels: (size, size) uint8, air dark, bone bright.
        boxes: (N, 4) float: x, y, width, height of the opacities in whole pixels of this picture, origin upper-left.
    """

    pixels: Bytes
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class _Pose:
    matrix: NDArray[np.float64]
    """(2, 3): patient units to shares of the picture's side."""
    breath: float
    """1 is full inspiration."""
    arms_down: bool


def draw(case: Case, size: int, opacities: bool = True) -> Radiograph:
    """Draw the radiograph of `case`.

    Args:
        case: Who and what is to be seen; `case.boxes` say where opacities are wanted.
        size: Pixels along a side, at least 64.
        opacities: False leaves the opacities out, with everything else the same.

    Returns:
        The picture, with the boxes of what can be seen of the opacities: near the wanted ones, moved and cut so that
        they lie on the lungs drawn. None where the opacities were left out.
    """

    def chance(stream: int) -> np.random.Generator:
        return np.random.default_rng([case.image_seed, stream])

    person = an.make_anatomy(case.patient_seed, case.sex, case.age)
    pose = _pose(case, person, chance(_POSE))
    frame = Frame(size, pose.matrix * size)
    chest, density = _chest(case, frame, person, pose, chance(_TEXTURE))
    rng = chance(_FINDING)
    for name in case.findings:
        if name in fi.DISTRACTORS:
            density += enlarge(fi.distractor(chest, name, rng), size)
    density += fi.devices(chest, case.label != NORMAL, case.view == "AP", "pacemaker" in case.findings, chance(_DEVICE))
    boxes = np.zeros((0, 4))
    if opacities and case.boxes:
        rng = chance(_OPACITY)
        added, found = np.zeros_like(chest.air), []
        for wanted in np.asarray(case.boxes) * (size / REFERENCE_SIZE):
            one, box = fi.opacity(chest, fi.onto_lung(chest, wanted), rng)
            # Two opacities in one place do not take away the air twice.
            added = np.maximum(added, one)
            found.append(_as_read(box, size, rng))
        boxes = np.array(found)
        density += enlarge(added, size)
    grey = _show(frame, density, chance(_EXPOSURE))
    return Radiograph(_film(case, frame, grey, chance(_FILM)), boxes)


def _pose(case: Case, person: an.Anatomy, rng: np.random.Generator) -> _Pose:
    """Draw how the patient stands; of several tries the one whose lungs lie best under the wanted boxes."""
    portable = case.view == "AP"
    poses = []
    for _ in range(16 if case.boxes else 1):
        zoom = rng.normal(1.02 if portable else 1.0, 0.045 if portable else 0.03)
        angle = np.radians(rng.normal(0, 2.8 if portable else 1.2))
        shift = rng.normal((0.5, 0.0), (0.022 if portable else 0.014, 0.025))
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # Turned and scaled about the middle of the chest.
        middle = np.array([0.0, 0.5])
        breath = float(np.clip(rng.normal(0.92 if portable else 0.99, 0.05 if portable else 0.03), 0.76, 1.06))
        poses.append(
            _Pose(np.column_stack([turn, shift + middle - turn @ middle]), breath, portable or rng.random() < 0.05)
        )
    return max(poses, key=lambda pose: _share_on_lung(case, person, pose)) if case.boxes else poses[0]


def _share_on_lung(case: Case, person: an.Anatomy, pose: _Pose) -> float:
    side = 96
    mask = _lungs(Frame(side, pose.matrix * side), person, _bases(case, person, pose.breath), side)
    shares = []
    for x, y, width, height in np.asarray(case.boxes) * (side / REFERENCE_SIZE):
        shares.append(float(mask[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1].mean()))
    return min(shares)


def _bases(case: Case, person: an.Anatomy, breath: float) -> tuple[float, float]:
    full = 1.07 if "overinflation" in case.findings else 1.0
    right = person.apex + breath * full * (person.base - person.apex)
    return right, right + person.dome_gap


def _lungs(frame: Frame, person: an.Anatomy, bases: tuple[float, float], side: int) -> Bytes:
    mask = np.zeros((side, side), np.uint8)
    for way, base in zip((-1, 1), bases, strict=True):
        frame.fill(an.lung_outline(person, way, base), layer=mask)
    return mask


def _chest(
    case: Case, frame: Frame, person: an.Anatomy, pose: _Pose, rng: np.random.Generator
) -> tuple[fi.Chest, Floats]:
    """Density of the healthy chest on the whole raster, and what findings need to know of it."""
    bases = _bases(case, person, pose.breath)
    lungs = _lungs(frame, person, bases, frame.mid)
    full = frame.rounded(lungs, 0.15) * 0.75 + 0.25 * (frame.blur(lungs.astype(np.float32), 0.0015) / np.float32(255))
    full = frame.blur(full.astype(np.float32), 0.0018)

    size = (1.14 if case.view == "AP" else 1.0) * (1.25 if "large heart" in case.findings else 1.0)
    heart_mask = frame.fill(an.heart_outline(person, bases[0], size), frame.mid)
    heart = frame.blur(frame.rounded(heart_mask, 0.075), 0.0025 if case.view == "PA" else 0.004)
    # Behind the heart there is still lung.
    air = 1.02 * full * (1 - 0.66 * heart)
    soft = an.body(frame, person, pose.arms_down)
    soft += 0.30 * heart
    # Lung behind and below the domes, and the air in the stomach.
    low = np.zeros((frame.low, frame.low), np.float32)
    for way, base in zip((-1, 1), bases, strict=True):
        low -= 0.16 * frame.blob(way * 0.2, base + 0.04, 0.11, 0.035)
        # The large vessels' roots: a few uneven soft spots.
        x, y = an.hilum(person, way, base)
        for k in range(5):
            dx, dy = rng.normal(0.004 * k * way, 0.012), rng.normal(0, 0.028)
            low += rng.uniform(0.05, 0.13) * frame.blob(x + dx, y + dy, rng.uniform(0.012, 0.035), 0.028)
    if rng.random() < 0.7:
        low -= _stomach_air(frame, bases[1], rng)
    # Unevenness of all soft parts, such as skin folds and muscle.
    low += 0.030 * an.cloud(rng, frame.low, 5) * enlarge((soft > 0.1).astype(np.float32), frame.low)
    fine = an.cloud(rng, frame.mid, 40, 3) * np.float32(0.013)
    density = enlarge(soft + enlarge(low, frame.mid) - air * (1 - fine * 2.5), frame.size)
    inside = enlarge((frame.blur(lungs.astype(np.float32), 0.002) * np.float32(1 / 255)), frame.size)
    density = density + an.vessels(frame, person, bases) * inside * (1 - 0.6 * enlarge(heart, frame.size))
    density += sk.bones(frame, person, bases[0], pose.arms_down)
    density += sk.spine(frame, person)
    return fi.Chest(frame, person, bases, air.astype(np.float32)), density


def _stomach_air(frame: Frame, base: float, rng: np.random.Generator) -> Floats:
    """The bubble under the left dome: flat above, uneven below."""
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radius = rng.uniform(0.022, 0.05) * (1 + 0.16 * rng.standard_normal(14))
    x, y = rng.normal(0.17, 0.025), base + rng.uniform(0.05, 0.075)
    ring = np.column_stack([x + 1.5 * radius * np.cos(turn), y + radius * np.sin(turn)])
    mask = frame.fill(an.smooth(ring, closed=True), frame.low)
    return frame.blur(frame.rounded(mask, 0.03), 0.006) * np.float32(rng.uniform(0.15, 0.40))


def _show(frame: Frame, density: Floats, rng: np.random.Generator) -> Floats:
    """Turn density into grey values 0 to 255."""
    base = cv2.resize(density, (frame.mid, frame.mid), interpolation=cv2.INTER_AREA)
    # Scatter veils the picture; the reader's system then lifts detail above its surroundings.
    veil = enlarge(cv2.GaussianBlur(cv2.resize(base, (128, 128), interpolation=cv2.INTER_AREA), (0, 0), 7), frame.size)
    density = density + rng.uniform(0.15, 0.40) * (density - veil)
    dose, contrast = rng.normal(0.0, 0.07), rng.normal(1.12, 0.10)
    density = np.maximum(density + np.float32(dose), 0)
    white = rng.uniform(242, 255)
    return white * (1 - np.exp(-np.float32(contrast) * density))


def _film(case: Case, frame: Frame, grey: Floats, rng: np.random.Generator) -> Bytes:
    """Add noise, lettering and the borders of the exposed field."""
    size = frame.size
    grain = rng.standard_normal((size, size), np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * np.float32(2.8)
    grey = grey + grain * rng.uniform(0.7, 2.2)
    grey = _collimate(_letters(case, grey, rng), rng)
    return np.clip(grey + 0.5, 0, 255).astype(np.uint8)


def _letters(case: Case, grey: Floats, rng: np.random.Generator) -> Floats:
    """Lay the side's lead letter on the film, and what the radiographer wrote beside it."""
    size = grey.shape[0]
    if rng.random() < 0.12:
        return grey
    lead = np.zeros((size, size), np.uint8)
    right = rng.random() < 0.35
    # The patient's left is on the picture's right.
    at = size * np.array([rng.uniform(0.05, 0.14) if right else rng.uniform(0.86, 0.95), rng.uniform(0.05, 0.2)])
    height = size * rng.uniform(0.028, 0.05)
    words = [("R" if right else "L", height, 0.0)]
    if rng.random() < 0.6:
        initials = "".join(rng.choice(list("ABCDEGHJKLMNPRST"), size=2))
        words.append((initials, 0.6 * height, 1.15 * height))
    if case.view == "AP" and rng.random() < 0.7:
        words.append((str(rng.choice(["AP", "PORTABLE", "AP PORT", "SUPINE", "ERECT"])), 0.55 * height, 2.0 * height))
    for word, tall, below in words:
        scale = tall / 21
        width = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
        corner = (int(np.clip(at[0] - width / 2, 2, size - width - 2)), int(at[1] + below))
        thickness = max(1, round(tall * (0.2 if below == 0 else 0.14)))
        cv2.putText(lead, word, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    angle = rng.normal(0, 6) + (rng.choice([-90, -30, 30, 90]) if rng.random() < 0.15 else 0)
    turn = cv2.getRotationMatrix2D((float(at[0]), float(at[1])), float(angle), 1.0)
    # Some letters lie face down and are read in the mirror, as on films everywhere.
    if rng.random() < 0.06:
        turn = turn @ np.array([[-1, 0, 2 * at[0]], [0, 1, 0], [0, 0, 1]])
    turned = cv2.warpAffine(lead, turn, (size, size), flags=cv2.INTER_LINEAR)
    share = turned * np.float32(rng.uniform(0.75, 1.0) / 255)
    return grey * (1 - share) + share * rng.uniform(235, 255)


def _collimate(grey: Floats, rng: np.random.Generator) -> Floats:
    """Black out what lies beyond the exposed field, and now and then a patch where a name stood."""
    size = grey.shape[0]
    field = np.full((size, size), 255, np.uint8)
    if rng.random() < 0.32:
        turn = np.array([[1, rng.normal(0, 0.012)], [0, 1]])
        turn[1, 0] = -turn[0, 1]
        inset = rng.uniform(-0.02, 0.045, 4).clip(0) * (rng.random(4) < 0.6)
        corners = np.array([[inset[0], inset[1]], [1 - inset[2], inset[1]], [1 - inset[2], 1 - inset[3]],
                            [inset[0], 1 - inset[3]]])  # fmt: skip
        # An untouched side lies well outside, so that the slant does not cut into it.
        outside = np.array([inset[0] == 0, inset[1] == 0, inset[2] == 0, inset[3] == 0]) * 0.1
        corners += np.array([[-outside[0], -outside[1]], [outside[2], -outside[1]], [outside[2], outside[3]],
                             [-outside[0], outside[3]]])  # fmt: skip
        field[:] = 0
        points = ((corners - 0.5) @ turn.T + 0.5) * size * 16
        cv2.fillPoly(field, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if rng.random() < 0.10:
        x, y = rng.choice([0.0, 0.7]) + rng.uniform(0, 0.1), rng.choice([0.0, 0.985])
        field[int(y * size) : int((y + 0.015) * size), int(x * size) : int((x + 0.2) * size)] = 0
    return grey * (field * np.float32(1 / 255))


def _as_read(box: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A box as a reader draws it: a few per cent off, in whole pixels, inside the picture."""
    edges = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    edges += rng.normal(0, 0.03, 4) * np.tile(box[2:], 2)
    edges = np.clip(np.round(edges), 0, size)
    return np.array([edges[0], edges[1], max(edges[2] - edges[0], 1), max(edges[3] - edges[1], 1)])
