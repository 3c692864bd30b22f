"""How a detector is run, as a person asks for it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    from evaluate.detector.inference import Settings
    from evaluate.detector.weights import Weights


@dataclass(frozen=True)
class InferenceOptions:
    """What decides the predictions, and how they are made.

    Attributes:
        imgsz: Side of the model's input in pixels; None: that of the training.
        augment: Average over flipped and scaled copies.
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
        """What decides these weights' predictions.

        Raises:
            UserError: `imgsz` is larger than any radiograph.
        """
        from evaluate.detector.inference import Settings
        from evaluate.detector.weights import LARGEST_SIDE

        if self.imgsz is not None and not 0 < self.imgsz <= LARGEST_SIDE:
            raise UserError(f"--imgsz: found {self.imgsz}; expected 1 to {LARGEST_SIDE} pixels.")
        return Settings(
            imgsz=self.imgsz or weights.imgsz,
            augment=self.augment,
            half=self.half,
            picture_size=weights.picture_size,
            nms_iou=Settings.nms_iou if weights.suppresses else None,
            class_name=weights.class_name,
        )
