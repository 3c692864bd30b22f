"""How a detector is run, as a person asks for it. Imports nothing heavy.

With test-time augmentation the same weights look at an image several times: as it is, at its mirror image, and in a
smaller and a larger square. Each of these is a voter of its own, whose predictions are kept by themselves; what several
voters have found is fused as the predictions of several detectors are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from common.data.names import LARGEST_SIDE
from common.errors import UserError

if TYPE_CHECKING:
    from evaluate.detector.inference import Settings
    from evaluate.detector.weights import Weights

_OTHER_SIDES = (0.8, 1.2)
"""Sides of the further squares that an image is looked at in, as a share of the one that was asked for."""


@dataclass(frozen=True)
class InferenceOptions:
    """What decides the predictions, and how they are made.

    Attributes:
        imgsz: Side of the model's input in pixels; None: that of the training.
        augment: Look at each image in further ways, too; see the module.
        half: Compute in 16 bits, on a GPU.
        batch: Pictures at a time; of no influence on the outcome.
        device: As Ultralytics takes it: `cpu`, `0`, `cuda:1`, `mps`; None takes a GPU if there is one.
    """

    imgsz: int | None = None
    augment: bool = False
    half: bool = False
    batch: int = 16
    device: str | None = None

    def settings(self, weights: Weights) -> Settings:
        """What decides these weights' predictions on an image as it is: those of the first voter.

        Raises:
            UserError: `imgsz` is larger than any radiograph.
        """
        from evaluate.detector.inference import Settings

        if self.imgsz is not None and not 0 < self.imgsz <= LARGEST_SIDE:
            raise UserError(f"--imgsz: found {self.imgsz}; expected 1 to {LARGEST_SIDE} pixels.")
        return Settings(
            imgsz=self.imgsz or weights.imgsz,
            half=self.half,
            picture_size=weights.picture_size,
            nms_iou=Settings.nms_iou if weights.suppresses else None,
            class_name=weights.class_name,
        )

    def voters(self, weights: Weights) -> tuple[Settings, ...]:
        """The ways to run these weights, the plain one first; it alone without `augment`.

        Raises:
            UserError: See `settings`.
        """
        plain = self.settings(weights)
        if not self.augment:
            return (plain,)
        sides = _other_sides(plain.imgsz, weights.stride)
        return plain, replace(plain, flip=True), *(replace(plain, imgsz=side) for side in sides)


def _other_sides(side: int, stride: int) -> list[int]:
    """A smaller and a larger side, in whole strides; none that is no side, or that no radiograph needs."""
    strides = -(-side // stride)
    smaller, larger = (round(strides * factor) for factor in _OTHER_SIDES)
    others = (min(smaller, strides - 1) * stride, max(larger, strides + 1) * stride)
    return [other for other in others if 0 < other <= LARGEST_SIDE]
