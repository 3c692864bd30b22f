"""Draws what lies in or on a synthetic chest: opacities, other findings, and the tubes and leads of a ward.

All densities and lengths are those of `anatomy`. A finding is drawn into what the lungs hold of air, so it is faint
behind the heart and ends at the lung's edge, as on a radiograph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.synthetic.anatomy import Anatomy, Bytes, Floats, Frame, cloud, enlarge, hilum, smooth

_VISIBLE = 0.30
"""A box bounds what has this share of the opacity's full density."""
_SUBTLE_SHARE = 0.2
_LOST = 0.03


@dataclass(frozen=True)
class Chest:
    """The chest that findings are drawn into.

    Attributes:
        frame: The raster and the patient's place on it.
        anatomy: The patient.
        bases: y of the diaphragm's domes, left and right of the picture, in patient units.
        air: Density that the lungs take away, on the mid raster; 0 outside them.
    """

    frame: Frame
    anatomy: Anatomy
    bases: tuple[float, float]
    air: Floats


def opacity(chest: Chest, box: NDArray[np.float64], rng: np.random.Generator) -> tuple[Floats, NDArray[np.float64]]:
    """Draw one lung opacity: soft, cloudy, irregular.

    Args:
        chest: Where it is drawn.
        box: x, y, width, height in pixels of the whole picture: where it is wanted.
        rng: Where chance comes from.

    Returns:
        Its density on the mid raster, and the box (x, y, width, height in pixels of the whole picture, inside the
        picture) of what can be seen of it.
    """
    side = chest.frame.mid
    ratio = side / chest.frame.size
    # Soft edges and the lung's own edge take this much off on average.
    box = box + _LOST / 2 * np.array([-box[2], -box[3], 2 * box[2], 2 * box[3]])
    place = (np.arange(side, dtype=np.float32) + 0.5) / ratio
    u = ((place - box[0]) / (box[2] / 2) - 1)[None, :]
    v = ((place - box[1]) / (box[3] / 2) - 1)[:, None]
    # A ragged outline: the box's corners are rounded off, and clouds push its edge in and out.
    power = rng.uniform(1.8, 2.6)
    puffs, edge = cloud(rng, side, 14, 4), cloud(rng, side, 7, 4)
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    angle = np.arctan2(v, u)
    for waves in (1, 2, 3, 5):
        radius = radius * (1 + rng.normal(0, 0.06) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi)))
    softness = rng.uniform(0.45, 0.80)
    shape = np.clip((1.24 - radius - 0.11 * edge) / softness, 0, 1)
    shape = shape * shape * (3 - 2 * shape)
    # Patches of denser and of spared lung within.
    patchiness = rng.uniform(0.10, 0.30)
    shape *= np.clip(0.9 + patchiness * puffs, 0.35, 1.25)
    strength = rng.uniform(0.20, 0.32) if rng.random() < _SUBTLE_SHARE else rng.uniform(0.38, 0.85)
    density = (strength * shape * chest.air).astype(np.float32)
    return density, _visible_box(density, ratio, box)


def _visible_box(density: Floats, ratio: float, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    peak = float(np.quantile(density[density > 0], 0.9)) if (density > 0).any() else 0.0
    rows, columns = np.nonzero(density > max(_VISIBLE * peak, 0.02))
    if not rows.size:
        return wanted
    # The outermost half per cent are single wisps that no reader would box.
    x0, x1 = np.quantile(columns, [0.004, 0.996])
    y0, y1 = np.quantile(rows, [0.004, 0.996])
    return np.array([x0, y0, x1 + 1 - x0, y1 + 1 - y0]) / ratio


def distractor(chest: Chest, name: str, rng: np.random.Generator) -> Floats:
    """Draw one finding that is no opacity of the kind that is boxed.

    Args:
        chest: Where it is drawn.
        name: one of DISTRACTORS.
        rng: Where chance comes from.

    Returns:
        Its density on the mid raster.
    """
    return DISTRACTORS[name](chest, rng)


def _spot(chest: Chest, rng: np.random.Generator) -> tuple[float, float]:
    """A place well inside a lung, in patient units."""
    for _ in range(40):
        k = int(rng.integers(2))
        x = (-1, 1)[k] * rng.uniform(0.1, 0.9 * chest.anatomy.half_width)
        y = rng.uniform(chest.anatomy.apex + 0.06, chest.bases[k])
        column, row = chest.frame.pixels([[x, y]], chest.frame.mid)[0] >> 4
        if 0 <= row < chest.frame.mid and 0 <= column < chest.frame.mid and chest.air[row, column] > 0.5:
            break
    return x, y


def _ball(chest: Chest, x: float, y: float, radius: float, rng: np.random.Generator) -> Floats:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ragged = radius * (1 + 0.08 * rng.standard_normal(24))
    ring = np.column_stack([x + ragged * np.cos(turn), y + ragged * np.sin(turn)])
    mask = chest.frame.fill(smooth(ring, closed=True, steps=4), chest.frame.mid)
    return chest.frame.blur(chest.frame.rounded(mask, radius), 0.003)


def _nodules(chest: Chest, rng: np.random.Generator) -> Floats:
    total = np.zeros_like(chest.air)
    for _ in range(1 + rng.poisson(0.8)):
        total += rng.uniform(0.30, 0.55) * _ball(chest, *_spot(chest, rng), rng.uniform(0.009, 0.022), rng)
    return total * (chest.air > 0.1)


def _mass(chest: Chest, rng: np.random.Generator) -> Floats:
    return rng.uniform(0.5, 0.75) * _ball(chest, *_spot(chest, rng), rng.uniform(0.035, 0.06), rng) * chest.air


def _effusion(chest: Chest, rng: np.random.Generator) -> Floats:
    """Fluid in the lowest part of one lung, rising towards the chest wall."""
    gx, gy = chest.frame.grid
    k = int(rng.integers(2))
    side, half = (-1, 1)[k], chest.anatomy.half_width
    level = chest.bases[k] + rng.uniform(-0.07, 0.05)
    rise = rng.uniform(0.06, 0.13) * np.clip((gx * side - 0.35 * half) / (0.65 * half), 0, 1.2) ** 2.2
    filled = np.clip((gy - (level - rise)) / 0.03 + 0.5, 0, 1) * (gx * side > 0)
    return np.float32(0.9) * enlarge(filled.astype(np.float32), chest.frame.mid) * chest.air


def _bands(chest: Chest, rng: np.random.Generator) -> Floats:
    """Plates of collapsed lung: straight, thin, near the bases."""
    layer = np.zeros((chest.frame.mid, chest.frame.mid), np.uint8)
    for _ in range(1 + rng.poisson(1.0)):
        k = int(rng.integers(2))
        x, y = (-1, 1)[k] * rng.uniform(0.12, 0.24), chest.bases[k] - rng.uniform(0.0, 0.12)
        length, slope = rng.uniform(0.06, 0.15), rng.normal(0, 0.25)
        turn = np.array([np.cos(slope), np.sin(slope)]) * length / 2
        course = [(x - turn[0], y - turn[1]), (x, y + rng.normal(0, 0.006)), (x + turn[0], y + turn[1])]
        chest.frame.line(layer, smooth(course), rng.uniform(0.004, 0.010), int(rng.uniform(110, 200)))
    return chest.frame.blur(layer.astype(np.float32), 0.0035) * np.float32(0.5 / 255) * (chest.air > 0.05)


def _scars(chest: Chest, rng: np.random.Generator) -> Floats:
    """A net of short thin lines over the bases or the tips of the lungs."""
    layer = np.zeros((chest.frame.mid, chest.frame.mid), np.uint8)
    upper, top = rng.random() < 0.35, chest.anatomy.apex
    for _ in range(int(rng.uniform(150, 420))):
        k = int(rng.integers(2))
        x = (-1, 1)[k] * rng.triangular(0.07, 0.3, 0.97 * chest.anatomy.half_width)
        y = top + abs(rng.normal(0.03, 0.05)) if upper else chest.bases[k] + 0.03 - abs(rng.normal(0, 0.13))
        heading = rng.uniform(0, np.pi)
        step = rng.uniform(0.006, 0.02) * np.array([np.cos(heading), np.sin(heading)])
        course = np.array([x, y]) + np.array([0 * step, step, 2 * step + rng.normal(0, 0.004, 2)])
        chest.frame.line(layer, course, 0.0022, int(rng.uniform(40, 130)))
    return chest.frame.blur(layer.astype(np.float32), 0.0012) * np.float32(0.42 / 255) * (chest.air > 0.05)


def _congestion(chest: Chest, rng: np.random.Generator) -> Floats:
    """Haze about both hila, fading outwards: nothing with an edge that could be boxed."""
    total = np.zeros((chest.frame.low, chest.frame.low), np.float32)
    for way, base in zip((-1, 1), chest.bases, strict=True):
        x, y = hilum(chest.anatomy, way, base)
        total += chest.frame.blob(x + 0.03 * way, y + 0.05, rng.uniform(0.07, 0.12), rng.uniform(0.13, 0.2))
    puffs = 1 + 0.12 * cloud(rng, chest.frame.low, 14)
    return enlarge(np.float32(rng.uniform(0.16, 0.34)) * total * puffs, chest.frame.mid) * chest.air


DISTRACTORS: dict[str, Callable[[Chest, np.random.Generator], Floats]] = {
    "nodule": _nodules,
    "mass": _mass,
    "effusion": _effusion,
    "band": _bands,
    "scar": _scars,
    "congestion": _congestion,
}
"""What `distractor` can draw."""


def devices(chest: Chest, ill: bool, portable: bool, pacemaker: bool, rng: np.random.Generator) -> Floats:
    """Draw leads, lines and tubes, which patients on a ward have more of.

    Args:
        chest: Where they are drawn.
        ill: Whether the picture is anything but normal.
        portable: Whether it was taken in bed.
        pacemaker: Whether there is a pacemaker.
        rng: Where chance comes from.

    Returns:
        Density on the whole raster.
    """
    frame, top = chest.frame, chest.anatomy.apex
    layer = np.zeros((frame.size, frame.size), np.uint8)
    often = 0.42 if ill and portable else 0.15 if portable else 0.03
    side = 1 if rng.random() < 0.35 else -1
    if rng.random() < often:  # electrodes with their wires
        for x, y in ((-0.25, 0.27), (0.25, 0.27), (0.27, 0.72)):
            _electrode(frame, layer, x + rng.normal(0, 0.03), y + rng.normal(0, 0.03), rng)
    if rng.random() < 0.9 * often:  # a central venous line, from the arm or from the neck
        start = [(-0.43, 0.36), (-0.4, 0.28)] if rng.random() < 0.5 else [(-0.075, -0.02), (-0.07, top)]
        course = np.array([*start, (-0.2 if start[0][0] < -0.2 else -0.06, top + 0.05), (-0.06, top + 0.1),
                           (-0.055, top + 0.19), (-0.058, top + rng.uniform(0.24, 0.31))])  # fmt: skip
        frame.line(layer, smooth(course + rng.normal(0, 0.006, course.shape)) * (-side, 1), 0.0036, 100)
    if rng.random() < 0.5 * often:  # a tube in the windpipe
        x = rng.normal(0, 0.004)
        tube = smooth([(x + 0.012, -0.2), (x, top - 0.05), (x - 0.002, top + rng.uniform(0.13, 0.2))])
        frame.line(layer, tube, 0.0095, 62)
        frame.line(layer, tube + np.array([0.004, 0]), 0.002, 150)
    if rng.random() < 0.5 * often:  # a tube to the stomach
        course = np.array([(0.008, -0.2), (0.01, 0.3), (0.012, 0.6), (0.06, 0.86), (0.12, 0.97)])
        frame.line(layer, smooth(course + rng.normal(0, 0.004, course.shape)), 0.0045, 80)
    if rng.random() < 0.015 + 0.06 * ill:  # wire loops that hold the breastbone
        for k in range(int(rng.integers(4, 7))):
            turn = np.linspace(0, 2 * np.pi, 14)
            loop = np.column_stack([0.014 * np.cos(turn), 0.009 * np.sin(turn)])
            frame.line(layer, loop + rng.normal((0.004, top + 0.12 + 0.075 * k), 0.003), 0.0028, 190)
    if pacemaker:
        _pacemaker(frame, layer, top, 1 if rng.random() < 0.8 else -1)
    return frame.blur(layer.astype(np.float32), 0.0008) * np.float32(0.85 / 255)


def _electrode(frame: Frame, layer: Bytes, x: float, y: float, rng: np.random.Generator) -> None:
    turn = np.linspace(0, 2 * np.pi, 24)
    for radius, value in ((0.016, 40), (0.007, 165)):
        frame.fill(np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)]), layer=layer, value=value)
    away = np.sign(x) * rng.uniform(0.05, 0.3)
    wire = [(x, y), (x + 0.3 * away, y + rng.normal(0, 0.05)), (x + 0.7 * away, y + rng.normal(-0.1, 0.1)),
            (x + away + np.sign(x) * 0.2, y + rng.normal(-0.25, 0.2))]  # fmt: skip
    frame.line(layer, smooth(wire), 0.003, 70)


def _pacemaker(frame: Frame, layer: Bytes, top: float, side: int) -> None:
    x, y = 0.285, top + 0.105
    turn = np.linspace(0, 2 * np.pi, 48)
    case = np.column_stack([x + 0.05 * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.6,
                            y + 0.042 * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.6])  # fmt: skip
    for scale, value in ((1.0, 205), (0.72, 235)):
        frame.fill(((case - (x, y)) * scale + (x, y)) * (side, 1), layer=layer, value=value)
    # From the box, on either side, to the heart's tip, which is always on the same one.
    lead = smooth([(side * (x - 0.02), y - 0.035), (side * (x - 0.07), y - 0.06), (side * 0.1, top + 0.045),
                   (-0.03, top + 0.13),
                   (-0.065, top + 0.3), (-0.05, top + 0.48), (0.05, top + 0.56), (0.12, top + 0.555)])  # fmt: skip
    frame.line(layer, lead, 0.0036, 150)
    frame.line(layer, lead[-3:], 0.007, 220)  # the lead's tip


def onto_lung(chest: Chest, box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move a box (x, y, width, height in pixels of the whole picture) a little, to where it covers more lung."""
    side = 96
    lung = (cv2.resize(chest.air, (side, side), interpolation=cv2.INTER_AREA) > 0.15).astype(np.float32)
    total = cv2.integral(lung)
    unit = chest.frame.size / side
    steps = np.arange(-6, 7) * 0.012 * chest.frame.size
    dx, dy = (part.ravel() for part in np.meshgrid(steps, steps))
    x0, x1 = (np.clip(np.round((box[0] + dx + more) / unit).astype(int), 0, side) for more in (0, box[2]))
    y0, y1 = (np.clip(np.round((box[1] + dy + more) / unit).astype(int), 0, side) for more in (0, box[3]))
    cover = (total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]) * unit**2 / (box[2] * box[3])
    # A long way must be worth it.
    best = int(np.argmax(cover - 2.0 * np.hypot(dx, dy) / chest.frame.size))
    return np.array([box[0] + dx[best], box[1] + dy[best], box[2], box[3]])
