"""Augmentation that works on grey pictures: intensity, small rotations with boxes fitted anew, and noise.

Ultralytics' colour augmentation does nothing on one channel, and its `degrees` gives each box the bounds of its rotated
corners: at 10 degrees a square box grows by 34 % in area, which costs IoU. The transforms here come after mosaic,
affine and flips, on Ultralytics' label dictionary: `img`, uint8, (height, width, 1 or 3), and `instances`. Three
channels are taken as one grey picture three times: all get the same. Random numbers come from `random`, as in
Ultralytics' affine; every epoch and every worker seeds it.
"""

from __future__ import annotations

import math
import random
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.quiet_ultralytics import import_ultralytics
from train.settings.options import AUGMENTATION

import_ultralytics(verbose=True)
from ultralytics.data.augment import BaseTransform
from ultralytics.utils.instance import Instances

PAD = 114
"""What a rotation shows from beyond the frame: Ultralytics' grey, as around mosaics, shifted and padded pictures.

Black would be a second sign for "outside", and on a radiograph it is content: air, lungs, the collimator's shadow.
"""
MIN_VISIBLE = 0.1
"""A box of which less than this share of its area stays in the frame is dropped; as in Ultralytics' affine."""


class RandomIntensity(BaseTransform):
    """Gamma, then contrast, by one look-up table.

    The gamma's exponent is drawn log-uniformly between 1 / (1 + gamma) and 1 + gamma, so that brighter is as likely as
    darker: 255 * (pixel / 255) ** exponent. The contrast's factor is drawn uniformly between 1 - contrast and
    1 + contrast and scales the distance from the picture's mean after the gamma.

    The grey around shifted pictures and mosaics is mapped like the rest. So in training, "outside" is a grey that
    varies about the one that validation pads with.
    """

    def __init__(self, gamma: float = 0.0, contrast: float = 0.0) -> None:
        self.gamma, self.contrast = gamma, contrast

    def get_params(self, labels: dict[str, Any]) -> dict[str, float]:
        """Draw exponent and factor."""
        reach = math.log1p(self.gamma)
        return {
            "exponent": math.exp(random.uniform(-reach, reach)),
            "factor": random.uniform(1 - self.contrast, 1 + self.contrast),
        }

    def apply_image(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        """Map the pixels."""
        pixels = labels["img"]
        labels["img"] = cv2.LUT(pixels, intensity_table(pixels, **params)).reshape(pixels.shape)
        return labels


class RandomRotation(BaseTransform):
    """Rotation about the picture's centre by a uniform angle, with boxes as `rotate_boxes` fits them."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def get_params(self, labels: dict[str, Any]) -> dict[str, float]:
        """Draw the angle, in degrees."""
        return {"angle": random.uniform(-self.degrees, self.degrees)}

    def apply_image(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        """Rotate the pixels."""
        pixels = labels["img"]
        height, width = pixels.shape[:2]
        # The frame's centre; OpenCV counts from the middle of the first pixel, boxes from its edge.
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), params["angle"], 1.0)
        turned = cv2.warpAffine(pixels, turn, (width, height), borderValue=(PAD,) * 4)
        labels["img"] = turned.reshape(pixels.shape)
        return labels

    def apply_instances(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        """Fit the boxes anew; outlines, which detection does not use, are left out."""
        height, width = labels["img"].shape[:2]
        instances = labels["instances"]
        instances.convert_bbox("xyxy")
        instances.denormalize(width, height)
        boxes, kept = rotate_boxes(instances.bboxes, params["angle"], width, height)
        labels["instances"] = Instances(boxes[kept], bbox_format="xyxy", normalized=False)
        labels["cls"] = labels["cls"][kept]
        return labels


class RandomNoise(BaseTransform):
    """Gaussian noise, whose standard deviation is drawn uniformly from 0 to `share` of white (255)."""

    def __init__(self, share: float) -> None:
        self.share = share

    def get_params(self, labels: dict[str, Any]) -> dict[str, float]:
        """Draw the standard deviation, in grey levels, and the noise's own seed."""
        return {"sigma": random.uniform(0, self.share) * 255, "seed": random.getrandbits(31)}

    def apply_image(self, labels: dict[str, Any], params: Any = None) -> dict[str, Any]:
        """Add the noise, the same to every channel."""
        pixels = labels["img"]
        # Pixels are whole numbers: noise rounded before the sum is the sum rounded.
        noise = np.empty(pixels.shape[:2], np.int16)
        cv2.setRNGSeed(params["seed"])  # OpenCV's generator, as it is five times as fast as NumPy's
        cv2.randn(noise, np.zeros(1), np.full(1, params["sigma"]))
        noise = np.repeat(noise[..., None], pixels.shape[2], axis=2)
        labels["img"] = cv2.add(pixels, noise, dtype=cv2.CV_8U).reshape(pixels.shape)
        return labels


def grey_transforms(arguments: Any) -> list[BaseTransform]:
    """What the training's arguments ask for, in order: geometry, intensity, and the detector's noise last.

    Args:
        arguments: An object with `gamma`, `contrast`, `noise` and `rotation`; one that it lacks has its default.

    Returns:
        Only what does something; nothing with the defaults.
    """
    asked = {name: getattr(arguments, name, argument.default) for name, argument in AUGMENTATION.items()}
    transforms: list[BaseTransform] = []
    if asked["rotation"]:
        transforms.append(RandomRotation(asked["rotation"]))
    if asked["gamma"] or asked["contrast"]:
        transforms.append(RandomIntensity(asked["gamma"], asked["contrast"]))
    if asked["noise"]:
        transforms.append(RandomNoise(asked["noise"]))
    return transforms


def intensity_table(pixels: NDArray[np.uint8], exponent: float, factor: float) -> NDArray[np.uint8]:
    """The look-up table, (256,), of a gamma and then a contrast about the mean that these pixels have after it."""
    table = 255 * (np.arange(256) / 255) ** exponent
    if factor != 1:
        flat = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
        counts = cv2.calcHist([flat], [0], None, [256], [0, 256]).ravel()
        mean = np.average(table, weights=counts)
        table = mean + factor * (table - mean)
    return np.rint(table).clip(0, 255).astype(np.uint8)


def rotate_boxes(
    boxes: NDArray[np.floating[Any]], angle: float, width: int, height: int
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Boxes after a rotation of their picture about its centre, each taken as the ellipse inscribed in it.

    An ellipse with half-axes a and b reaches sqrt((a u)^2 + (b v)^2) from its centre in the direction (u, v) of length
    1, its support function. Turned by t, it reaches as far to the right as before in the direction (cos t, sin t), and
    as far down as before in (-sin t, cos t). So the new box has the half-width sqrt((a cos t)^2 + (b sin t)^2) and the
    half-height sqrt((a sin t)^2 + (b cos t)^2). Where the shape is not known, this is the best guess at its box (Kalra
    et al., Towards Rotation Invariance in Object Detection, ICCV 2021); and opacities are rounder than their boxes.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels, origin upper-left.
        angle: Degrees, anticlockwise on the screen, as OpenCV takes them.
        width: The picture's, in pixels.
        height: The picture's, in pixels.

    Returns:
        The boxes, (N, 4), clipped to the frame; and which of them are to be kept: those that have at least
        `MIN_VISIBLE` of their area in the frame.
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    a, b = (boxes[:, 2] - boxes[:, 0]) / 2, (boxes[:, 3] - boxes[:, 1]) / 2
    right, down = (boxes[:, 0] + boxes[:, 2] - width) / 2, (boxes[:, 1] + boxes[:, 3] - height) / 2
    x, y = width / 2 + right * cos + down * sin, height / 2 - right * sin + down * cos
    across, along = np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)
    turned = np.stack([x - across, y - along, x + across, y + along], axis=1)
    clipped = turned.clip(0, np.array([width, height, width, height])).astype(boxes.dtype)
    visible = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    return clipped, (visible > 0) & (visible >= MIN_VISIBLE * 4 * across * along)
