"""Draws the bones of a synthetic chest, and the windpipe before the spine, as an X-ray density; see `anatomy`.

A rib is a tilted ellipse seen from the front, which gives its course over back, side and front of the chest.
"""

from __future__ import annotations

import cv2
import numpy as np

from convert.synthetic.anatomy import SHIFT, Anatomy, Bytes, Floats, Frame, enlarge, smooth, spine_x


def bones(frame: Frame, anatomy: Anatomy, base: float, arms_down: bool) -> Floats:
    """Density of ribs, clavicles and shoulder blades on the whole raster."""
    layers = [np.zeros((frame.size, frame.size), np.uint8) for _ in range(4)]
    rng = np.random.default_rng([anatomy.seed, 2])
    gap = (base + 0.06 - anatomy.apex) / 9.2
    for side in (-1, 1):
        for number in range(11):
            _rib(frame, anatomy, layers, side, number, gap, rng.normal(0, 0.0025))
        _clavicle(frame, anatomy, layers[2], side, arms_down)
        _scapula(frame, anatomy, layers[3], side, arms_down, rng)
    total = layers[0].astype(np.float32)
    for layer in layers[1:]:
        total += layer
    return frame.blur(total, 0.0012) * np.float32(anatomy.bone * 0.45 / 255)


def _rib(
    frame: Frame, anatomy: Anatomy, layers: list[Bytes], side: int, number: int, gap: float, wobble: float
) -> None:
    reach = min(1.0, (0.40, 0.60, 0.75, 0.855, 0.925, 0.965, 0.99, 1.0, 1.0, 0.985, 0.95)[number])
    width = (anatomy.half_width + 0.012) * reach
    top = anatomy.apex + 0.006 + wobble + gap * (number - 0.2)
    drop = anatomy.rib_drop * (0.45, 0.68, 0.85, 0.95, 1.0, 1.06, 1.1, 1.15, 1.15, 1.1, 1.0)[number]
    phi = np.radians(np.linspace(6, (150, 142, 139, 137, 136, 134, 130, 124, 112, 96, 80)[number], 41))
    sin, cos = np.sin(phi), np.cos(phi)
    x = side * (0.022 + (width - 0.022) * sin**0.92)
    y = top + drop * (1 - cos) / 2 - 0.012 * np.sin(np.minimum(phi * 2.2, np.pi))
    # Seen along its course at the side of the chest, a rib is a longer way through bone.
    along = np.hypot(np.gradient(x), np.gradient(y)) / np.gradient(phi)
    value = np.clip(74 * (0.22 / np.maximum(along, 0.05)) ** 0.6, 62, 170)
    normal = np.column_stack([-np.gradient(y), np.gradient(x)])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    half = anatomy.rib_width * np.interp(phi, [0, 0.5, 1.5, 2.4], [0.85, 1.0, 0.72, 0.95])[:, None]
    half[-3:, 0] *= (0.9, 0.7, 0.25)  # the front end fades into cartilage
    centre = np.column_stack([x + spine_x(anatomy, y), y])
    # Hard shell, softer core; both outlines in pixels at once.
    outlines = [
        frame.pixels(
            np.stack([centre + share * half * normal, centre - share * half * normal]).reshape(-1, 2), frame.size
        )
        for share in (1.0, 0.78)
    ]
    for start in range(0, 40, 5):
        # Alternate ribs and the two halves go to different layers, so that crossings add up.
        front = start >= 20
        layer = layers[2 * (number % 2) + front]
        strength = float(value[start : start + 6].mean()) * (0.5 if start == 35 else 1.0) * (0.56 if front else 1.0)
        for outline, factor in zip(outlines, (1.0, 0.70), strict=True):
            ring = np.concatenate([outline[start : start + 6], outline[41 + start : 47 + start][::-1]])
            cv2.fillPoly(layer, [ring], int(strength * factor), cv2.LINE_AA, SHIFT)


def _clavicle(frame: Frame, anatomy: Anatomy, layer: Bytes, side: int, arms_down: bool) -> None:
    inner_y = anatomy.apex + (0.075 if not arms_down else 0.055)
    rise = anatomy.clavicle * (1.0 if not arms_down else 0.7)
    course = smooth(
        [(0.035, inner_y + 0.012), (0.09, inner_y - 0.012), (0.2, inner_y - 0.45 * rise), (0.31, inner_y - 0.9 * rise),
         (0.40, inner_y - rise), (0.47, inner_y - 0.92 * rise)]
    )  # fmt: skip
    direction = np.gradient(course, axis=0)
    normal = np.column_stack([-direction[:, 1], direction[:, 0]]) / np.linalg.norm(direction, axis=1, keepdims=True)
    half = np.interp(
        np.linspace(0, 1, len(course)), [0, 0.03, 0.12, 0.5, 0.93, 1], [0.010, 0.019, 0.0145, 0.0115, 0.016, 0.006]
    )[:, None]
    for share, value in ((1.0, 105), (0.72, 80)):
        ring = np.concatenate([course + share * half * normal, (course - share * half * normal)[::-1]])
        frame.fill(ring * (side, 1), layer=layer, value=value)


def _scapula(
    frame: Frame, anatomy: Anatomy, layer: Bytes, side: int, arms_down: bool, rng: np.random.Generator
) -> None:
    # Arms forward (PA) turn the shoulder blades off the lungs.
    shift = rng.normal(0.035 if not arms_down else -0.055, 0.012) + 0.9 * (anatomy.half_width - 0.36)
    blade = np.array([(0.385, 0.17), (0.36, 0.20), (0.352, 0.30), (0.372, 0.42), (0.392, 0.47), (0.408, 0.45),
                      (0.43, 0.34), (0.46, 0.235), (0.47, 0.18), (0.43, 0.15)])  # fmt: skip
    place = np.array([shift, anatomy.apex - 0.15])
    blade = smooth(blade + place, closed=True)
    frame.fill(blade * (side, 1), layer=layer, value=34)
    frame.line(layer, blade[16:44] * (side, 1), 0.006, 62)
    spine = smooth(np.array([(0.36, 0.215), (0.42, 0.165), (0.49, 0.125)]) + place)
    frame.line(layer, spine * (side, 1), 0.012, 66)
    head = np.array([0.515 + max(shift, 0.0), 0.19 + anatomy.apex - 0.15])
    turn = np.linspace(0, 2 * np.pi, 40)
    for share, value in ((1.0, 95), (0.86, 75)):
        ball = head + share * np.column_stack([0.048 * np.cos(turn), 0.05 * np.sin(turn)])
        frame.fill(ball * (side, 1), layer=layer, value=value)
    away = 0.03 if arms_down else 0.10
    shaft = head + np.array([(-0.028, 0.02), (0.035, 0.02), (0.03 + 2 * away, 1.1), (-0.012 + 2 * away, 1.1)])
    frame.fill(shaft * (side, 1), layer=layer, value=78)


def spine(frame: Frame, anatomy: Anatomy) -> Floats:
    """Density of the vertebrae and the windpipe (which is negative), on the whole raster."""
    body_layer = np.zeros((frame.size, frame.size), np.uint8)
    marks = np.zeros((frame.size, frame.size), np.uint8)
    y, height = -0.06, 0.045
    rng = np.random.default_rng([anatomy.seed, 4])
    while y < 1.1:
        half = 0.031 + 0.016 * np.clip(y, 0, 1)
        x, end = float(spine_x(anatomy, y)), y + height
        frame.fill(
            smooth([(x - half, y), (x + half, y), (x + 0.9 * half, (y + end) / 2), (x + half, end), (x - half, end),
                    (x - 0.9 * half, (y + end) / 2)], closed=True, steps=4), layer=body_layer, value=105)  # fmt: skip
        for side in (-1, 1):
            turn = np.linspace(0, 2 * np.pi, 14)
            pedicle = np.column_stack([0.007 * np.cos(turn), 0.011 * np.sin(turn)])
            place = np.array([x + side * 0.62 * half, y + 0.42 * height])
            frame.fill(pedicle + place, layer=marks, value=70)
            if y < 0.5:
                wing = [(x + side * half, y), (x + side * (half + 0.03), y - 0.008), (x + side * half, y + 0.02)]
                frame.fill(smooth(wing, closed=True, steps=4), layer=marks, value=50)
        process = [(x, y + 0.3 * height), (x + rng.normal(0, 0.002), y + 0.95 * height)]
        frame.line(marks, process, 0.008, 75)
        y, height = end + 0.007, height * 1.035
    shown = frame.blur(body_layer.astype(np.float32), 0.003) + 0.7 * frame.blur(marks.astype(np.float32), 0.0022)
    shown *= np.float32(0.42 * anatomy.bone / 255)
    return shown - enlarge(_windpipe(frame, anatomy), frame.size)


def _windpipe(frame: Frame, anatomy: Anatomy) -> Floats:
    fork = anatomy.apex + 0.235
    layer = np.zeros((frame.mid, frame.mid), np.uint8)
    course = [(0.0, -0.2), (0.0, anatomy.apex), (-0.004, fork)]
    frame.line(layer, smooth(course), 0.036, 200)
    frame.line(layer, smooth([(-0.004, fork - 0.005), (-0.03, fork + 0.035), (-0.075, fork + 0.075)]), 0.022, 105)
    frame.line(layer, smooth([(0.0, fork - 0.005), (0.04, fork + 0.045), (0.095, fork + 0.075)]), 0.019, 95)
    return frame.blur(layer.astype(np.float32), 0.004) * np.float32(0.42 / 255)
