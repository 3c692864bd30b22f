"""Draws the soft parts of a synthetic chest as an X-ray density: body, lungs, heart and vessels.

Lengths are in patient units: 1 is the picture's side for a patient who just fills it, x runs to the right of the
picture from the middle of the spine, y down from the picture's upper edge. Density is optical density in arbitrary
units: 0 is air outside the body, a lung about 0.4, the middle of the chest about 2.

Nothing here was measured on radiographs: it is a drawing from simple geometry, in which soft parts have the depth of
rounded bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SHIFT = 4
"""cv2 draws on 1/16 pixel."""


@dataclass(frozen=True)
class Anatomy:
    """What stays the same over all pictures of one patient."""

    half_width: float
    """Distance from the spine to the outer edge of a lung at its widest."""
    apex: float
    """y of the upper end of the lungs."""
    base: float
    """y of the right diaphragm's dome in full inspiration."""
    fat: float
    """Thickness of the chest wall beside the ribs, 0.02 to 0.12."""
    heart: float
    """Heart width over the chest width, seen from behind (PA): about 0.46, above 0.5 is large."""
    knob: float
    """Size of the aortic knob; grows with age."""
    rib_drop: float
    """How far a rib falls from the spine to its front end."""
    rib_width: float
    bone: float
    """Density of bone against the usual 1; falls with age."""
    bend: float
    """Sideways bend of the spine."""
    clavicle: float
    """How far the outer end of the clavicle lies above the inner one."""
    breast: float
    """Size of the breast shadows; 0 where none are seen."""
    dome_gap: float
    """How much lower the left dome is than the right one."""
    seed: int
    """Seeds the vessels and other small structures."""


def make_anatomy(seed: int, sex: str, age: int) -> Anatomy:
    """Draw a patient's proportions.

    Args:
        seed: The patient's own seed.
        sex: `M` or `F`.
        age: Years; a child's ribs are thinner and its heart is wider for its chest.
    """
    rng = np.random.default_rng(seed)
    male, child = sex == "M", age < 14
    years = min(age, 95)
    return Anatomy(
        half_width=float(rng.normal(0.372 if male else 0.358, 0.014)),
        apex=float(rng.normal(0.150, 0.016)),
        base=float(rng.normal(0.765 if not child else 0.72, 0.03)),
        fat=float(np.clip(rng.gamma(4.0, 0.012), 0.015, 0.12)) * (0.6 if child else 1.0),
        heart=float(np.clip(rng.normal(0.455 + 0.0006 * (years - 45) + 0.04 * child, 0.03), 0.38, 0.56)),
        knob=float(np.clip(rng.normal(0.030 + 0.00025 * (years - 45), 0.004), 0.018, 0.05)),
        rib_drop=float(rng.normal(0.25, 0.025)),
        rib_width=float(rng.normal(0.0142 if male else 0.0130, 0.0009)) * (0.8 if child else 1.0),
        bone=float(np.clip(rng.normal(1.05 - 0.004 * max(years - 45, 0), 0.12), 0.55, 1.4)),
        bend=float(rng.normal(0.0, 0.006)),
        clavicle=float(rng.normal(0.085, 0.025)),
        breast=float(rng.uniform(0.5, 1.2)) if not male and age > 15 and rng.random() < 0.75 else 0.0,
        dome_gap=float(rng.normal(0.025, 0.012)),
        seed=int(rng.integers(2**31)),
    )


class Frame:
    """The picture's raster and the patient's place on it.

    Attributes:
        size: Pixels along a side of the picture.
        mid: Side of the raster for masks, whose edges must be fairly sharp.
        low: Side of the raster for what is smooth.
        matrix: (2, 3) float, patient units to pixels of the whole picture (x to the right, y down, upper-left origin).
    """

    def __init__(self, size: int, matrix: NDArray[np.float64]) -> None:
        self.size, self.mid, self.low, self.matrix = size, min(size, 512), min(size, 256), matrix
        self.scale = float(np.hypot(matrix[0, 0], matrix[1, 0])) / size

    def pixels(self, points: ArrayLike, side: int) -> NDArray[np.int32]:
        """Points in patient units, (N, 2), as cv2's fixed-point pixels on a raster of `side`."""
        xy = np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.round((xy * (side / self.size) - 0.5) * 2**SHIFT).astype(np.int32)

    def fill(self, points: ArrayLike, side: int | None = None, layer: Bytes | None = None, value: int = 255) -> Bytes:
        """Fill a polygon on `layer` (a new one if none is given), antialiased."""
        if layer is None:
            layer = np.zeros((side or self.size,) * 2, np.uint8)
        cv2.fillPoly(layer, [self.pixels(points, layer.shape[0])], value, cv2.LINE_AA, SHIFT)
        return layer

    def line(self, layer: Bytes, points: ArrayLike, width: float, value: int = 255) -> None:
        """Draw a line `width` patient units wide; what is thinner than a pixel is drawn a pixel wide, but fainter."""
        side = layer.shape[0]
        thickness = width * self.scale * side
        faint = min(1.0, max(thickness, 0.25))
        shape = [self.pixels(points, side)]
        cv2.polylines(layer, shape, False, int(value * faint), max(1, round(thickness)), cv2.LINE_AA, SHIFT)

    @cached_property
    def grid(self) -> tuple[Floats, Floats]:
        """Patient units x and y of each pixel of the low raster."""
        inverse = cv2.invertAffineTransform(self.matrix)
        place = (np.arange(self.low, dtype=np.float32) + 0.5) * (self.size / self.low)
        u, v = place[None, :], place[:, None]
        x = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
        y = inverse[1, 0] * u + inverse[1, 1] * v + inverse[1, 2]
        return x.astype(np.float32), y.astype(np.float32)

    def blob(self, x: float, y: float, sx: float, sy: float) -> Floats:
        """A soft spot of height 1 on the low raster."""
        gx, gy = self.grid
        exponent = -0.5 * (((gx - x) / sx) ** 2 + ((gy - y) / sy) ** 2)
        return np.exp(exponent).astype(np.float32)

    def rounded(self, mask: Bytes, depth: float) -> Floats:
        """Thickness of a rounded body with this outline: 0 at its edge, 1 from `depth` patient units inwards."""
        distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
        inwards = np.minimum(distance * (1.0 / (depth * self.scale * mask.shape[0])), 1.0)
        return np.sqrt(inwards * (2.0 - inwards)).astype(np.float32)

    def blur(self, image: Floats, sigma: float) -> Floats:
        """Gaussian blur; `sigma` in patient units."""
        pixels = sigma * self.scale * image.shape[0]
        return np.asarray(cv2.GaussianBlur(image, (0, 0), pixels), np.float32) if pixels > 0.3 else image


def enlarge(image: NDArray, side: int) -> NDArray:
    """Resize a square raster to `side`, smoothly."""
    return image if image.shape[0] == side else cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)


def smooth(points: ArrayLike, closed: bool = False, steps: int = 8) -> NDArray[np.float64]:
    """A Catmull-Rom curve through `points` (N, 2)."""
    knots = np.asarray(points, np.float64)
    ends = (knots[-1:], knots[:2]) if closed else (2 * knots[:1] - knots[1:2], 2 * knots[-1:] - knots[-2:-1])
    p = np.concatenate([ends[0], knots, ends[1]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return curve.reshape(-1, 2) if closed else np.concatenate([curve.reshape(-1, 2), knots[-1:]])


def cloud(rng: np.random.Generator, side: int, cells: int, octaves: int = 3) -> Floats:
    """Cloudy noise of about unit spread on a raster of `side`, its largest puffs `cells` to the picture's side."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        n = min(cells * 2**octave, side)
        grain = rng.standard_normal((n + 3, n + 3), np.float32)
        total += cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(0.8 / 1.6**octave)
    return total


def lung_outline(anatomy: Anatomy, side: int, base: float) -> NDArray[np.float64]:
    """Outline of a lung, (N, 2) in patient units; `side` is -1 for the one on the picture's left, 1 for the other.

    Args:
        anatomy: The patient.
        side: Which lung.
        base: y of the diaphragm's dome on that side.
    """
    w, top = anatomy.half_width, anatomy.apex
    height = base - top
    inner = 0.052 if side < 0 else 0.05
    knots = [
        (0.145, top), (0.215, top + 0.04 * height), (0.79 * w, top + 0.19 * height), (0.93 * w, top + 0.42 * height),
        (0.99 * w, top + 0.70 * height), (w, top + height + 0.02), (0.985 * w, base + 0.105),
        (0.955 * w, base + 0.1), (0.82 * w, base + 0.05), (0.6 * w, base + 0.006), (0.4 * w, base),
        (0.22 * w, base + 0.02), (inner + 0.02, base + 0.045), (inner, top + 0.7 * height),
        (inner, top + 0.4 * height), (0.056, top + 0.2 * height), (0.095, top + 0.045 * height),
    ]  # fmt: skip
    curve = smooth(knots, closed=True)
    curve[:, 0] = curve[:, 0] * side + spine_x(anatomy, curve[:, 1])
    return curve


def spine_x(anatomy: Anatomy, y: ArrayLike) -> NDArray[np.float64]:
    """Where the spine runs, at height `y`."""
    return anatomy.bend * np.sin(np.asarray(y, np.float64) * 5.0)


def hilum(anatomy: Anatomy, side: int, base: float) -> tuple[float, float]:
    """Where the vessels enter a lung; the left hilum is a little higher."""
    return side * 0.088, anatomy.apex + 0.5 * (base - anatomy.apex) - (0.012 if side > 0 else 0.0)


def heart_outline(anatomy: Anatomy, base: float, size: float) -> NDArray[np.float64]:
    """Outline of heart and great vessels, (N, 2); `size` scales its width, `base` is y of the right dome."""
    width = 2 * anatomy.half_width * anatomy.heart * size
    top, low = anatomy.apex + 0.11, base + 0.035
    height, knob = low - top, anatomy.knob
    right, left = 0.32 * width, 0.68 * width
    knots = [
        (-0.045, top - 0.06), (-0.05, top + 0.1 * height), (-0.052, top + 0.35 * height),
        (-0.75 * right, top + 0.52 * height), (-right, top + 0.72 * height), (-0.92 * right, top + 0.9 * height),
        (-0.5 * right, low + 0.05), (0.3 * left, low + 0.08), (0.8 * left, low + 0.06), (left, top + 0.93 * height),
        (0.93 * left, top + 0.8 * height), (0.7 * left, top + 0.62 * height), (0.5 * left, top + 0.48 * height),
        (0.055 + 0.3 * knob, top + 0.36 * height), (0.05, top + 0.28 * height),
        (0.05 + knob, top + 0.18 * height), (0.045 + 0.7 * knob, top + 0.09 * height), (0.045, top - 0.04),
    ]  # fmt: skip
    return smooth(knots, closed=True)


def body(frame: Frame, anatomy: Anatomy, arms_down: bool) -> Floats:
    """Density of the soft parts without lungs and heart, on the mid raster."""
    wall = anatomy.half_width + 0.035 + anatomy.fat
    trunk, arms = np.zeros((frame.mid, frame.mid), np.uint8), np.zeros((frame.mid, frame.mid), np.uint8)
    for side in (-1, 1):
        outline = smooth(
            [(0, -0.4), (0.13, -0.4), (0.135, anatomy.apex - 0.24), (0.17, anatomy.apex - 0.17), (0.29, 0.025),
             (0.43, 0.085), (wall, 0.22), (wall + 0.005, 0.48), (wall, 0.75), (wall + 0.3 * anatomy.fat, 1.5), (0, 1.5)]
        )  # fmt: skip
        frame.fill(outline * (side, 1), layer=trunk)
        if arms_down:
            arm = [(0.33, 0.07), (0.45, 0.065), (0.56, 0.13), (0.63, 0.4), (0.72, 1.5), (wall + 0.05, 1.5),
                   (wall - 0.004, 0.62), (wall - 0.02, 0.42), (0.36, 0.3)]  # fmt: skip
        else:
            arm = [(0.33, 0.07), (0.46, 0.06), (0.62, 0.10), (0.9, 0.5), (0.9, 0.9), (0.66, 0.74), (0.52, 0.56),
                   (wall, 0.47), (0.36, 0.3)]  # fmt: skip
        frame.fill(smooth(arm) * (side, 1), layer=arms)
    soft = 1.42 * frame.rounded(trunk, 0.21)
    np.maximum(soft, (0.75 + 2.2 * anatomy.fat) * frame.rounded(arms, 0.07), out=soft)
    soft = frame.blur(soft, 0.004)
    low_soft = 0.8 * frame.blob(0, 1.25, 0.5, 0.2)
    if anatomy.breast:
        low_soft += _breasts(frame, anatomy)
    soft += enlarge(low_soft, frame.mid) * (soft > 0.2)
    return soft


def _breasts(frame: Frame, anatomy: Anatomy) -> Floats:
    """Two rounded shadows, sharper below than above."""
    rng = np.random.default_rng([anatomy.seed, 3])
    total = np.zeros((frame.low, frame.low), np.float32)
    gx, gy = frame.grid
    for side in (-1, 1):
        x = side * (0.62 * anatomy.half_width + rng.normal(0.02, 0.012))
        y = 0.60 + rng.normal(0.03, 0.012)
        r = 0.17 * (0.8 + 0.35 * anatomy.breast)
        inside = 1.0 - np.hypot((gx - x) / r, (gy - y) / (1.15 * r))
        round_part = np.sqrt(np.clip(inside, 0, 1) * 1.6)
        fade = 1.0 / (1.0 + np.exp(-(gy - y + 0.3 * r) / (0.25 * r)))
        total += (0.36 * anatomy.breast) * round_part * fade
    return frame.blur(total.astype(np.float32), 0.006)


def vessels(frame: Frame, anatomy: Anatomy, bases: tuple[float, float]) -> Floats:
    """Density of the lungs' vessels, branching from the hila, on the whole raster; to be masked by the lungs."""
    rng = np.random.default_rng([anatomy.seed, 1])
    stems = []
    for side, base in zip((-1, 1), bases, strict=True):
        _, hilum_y = hilum(anatomy, side, base)
        for heading in (-1.35, -1.0, -0.65, -0.25, 0.1, 0.4, 0.7, 0.95, 1.15, 1.38):
            angle = heading + rng.normal(0, 0.16)
            x, y = side * (0.085 + rng.normal(0, 0.016)), hilum_y + 0.045 * heading + rng.normal(0, 0.018)
            radius = rng.uniform(0.0024, 0.0042) * (1.35 if heading > 0.6 else 0.85)
            stems.append((x, y, angle if side > 0 else np.pi - angle, radius, rng.uniform(0.085, 0.125)))
    paths, radii = _branch(np.array(stems), rng)
    layer = np.zeros((frame.size, frame.size), np.uint8)
    pixels = frame.pixels(paths.reshape(-1, 2), frame.size).reshape(len(paths), -1, 1, 2)
    thickness = 2 * radii * frame.scale * frame.size
    value = np.clip(20 + 17000 * radii, 20, 100) * np.clip(thickness, 0.25, 1)
    # Thin ones first, in few calls: equals are drawn together.
    steps = np.round(np.log(radii) * 8)
    for step in np.unique(steps):
        alike = steps == step
        width = max(1, round(float(thickness[alike].mean())))
        cv2.polylines(layer, list(pixels[alike]), False, int(value[alike].mean()), width, cv2.LINE_AA, SHIFT)
    return frame.blur(layer.astype(np.float32), 0.0011) * np.float32(0.42 / 255)


def _branch(stems: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Let vessels branch four times.

    Args:
        stems: (N, 5): x, y, heading (radians), radius, length.
        rng: Where chance comes from.

    Returns:
        Paths (M, 7, 2) and radii (M), in patient units.
    """
    paths, radii = [], []
    for _ in range(5):
        heading = stems[:, 2:3] + np.cumsum(rng.normal(0, 0.13, (len(stems), 6)), axis=1)
        steps = np.stack([np.cos(heading), np.sin(heading)], axis=2) * (stems[:, 4] / 6)[:, None, None]
        course = stems[:, None, :2] + np.cumsum(np.pad(steps, ((0, 0), (1, 0), (0, 0))), axis=1)
        paths.append(course)
        radii.append(stems[:, 3])
        branches = []
        for place, share in ((2, 0.42), (4, 0.42), (6, 0.95)):
            for way in (-1, 1):
                grown = (rng.random(len(stems)) < share) & (stems[:, 3] > 0.0009)
                spread, thinner, shorter = rng.uniform((0.22, 0.48, 0.5), (0.62, 0.7, 0.85), (len(stems), 3)).T
                branches.append(
                    np.column_stack(
                        [course[:, place], heading[:, place - 1] + way * spread, stems[:, 3] * thinner,
                         stems[:, 4] * shorter]
                    )[grown]
                )  # fmt: skip
        stems = np.concatenate(branches)
    return np.concatenate(paths), np.concatenate(radii)
