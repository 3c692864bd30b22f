"""A fitted pipeline: what is done to predictions after the model, as frozen steps, kept in a readable file.

The steps, in their order: of boxes that overlap one is made (`Suppression`), those beyond the most of an image go
(`MostBoxes`), the others get a confidence for which the whole image speaks (`Rescoring`), are resized by side and view
(`BoxScale`), a classifier has its say (`GateRule`), and what has too little confidence goes (`Confidence`).
`evaluate.postprocess.fitting` chooses them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd

from common.data.tables import empty_predictions, sort_predictions
from common.errors import UserError
from evaluate.postprocess.pipeline_file import read_steps, write_steps
from evaluate.postprocess.steps import BoxScale, Confidence, FittedOn, GateRule, MostBoxes, Rescoring
from evaluate.postprocess.suppression import Suppression


@dataclass(frozen=True)
class Pipeline:
    """The steps, in the order in which they are taken; see the module."""

    suppression: Suppression = field(default_factory=Suppression)
    most_boxes: MostBoxes = field(default_factory=MostBoxes)
    rescoring: Rescoring = field(default_factory=Rescoring)
    box_scale: BoxScale = field(default_factory=BoxScale)
    gate: GateRule = field(default_factory=GateRule)
    confidence: Confidence = field(default_factory=Confidence)
    fitted_on: FittedOn = field(default_factory=FittedOn)

    def apply(self, predictions: pd.DataFrame, manifest: pd.DataFrame, gate: pd.Series | None = None) -> pd.DataFrame:
        """Take all steps.

        Args:
            predictions: The predictions table, as the model made it; with `detector` and `voters` if it is of several.
            manifest: The manifest table; image_id, view, width and height are used.
            gate: P(opacity) by image_id; needed if the pipeline has a gate, else not looked at.

        Returns:
            A new predictions table of what remains, sorted by image and, before the gate, falling confidence.

        Raises:
            UserError: An image with predictions is not in the manifest or has no size there, or no probability; or the
                pipeline has a gate and there are no probabilities.
        """
        if self.gate.mode != "none" and gate is None:
            raise UserError(
                f"gate: none given, but this pipeline was fitted with one (mode {self.gate.mode!r}); give P(opacity) "
                "of every image, or fit it without"
            )
        if predictions.empty:
            return empty_predictions()
        left = self.most_boxes.apply(self.suppression.apply(sort_predictions(predictions)))
        left = self.box_scale.apply(self.rescoring.apply(left, manifest), manifest)
        if gate is not None:
            left = self.gate.apply(left, gate)
        return self.confidence.apply(left)

    def to_yaml(self, path: Path) -> None:
        """Write it to a file, which is either absent or whole.

        Raises:
            WorkError: It cannot be written.
        """
        write_steps(path, {step.name: getattr(self, step.name) for step in fields(self)})

    @classmethod
    def from_yaml(cls, path: Path) -> Pipeline:
        """Read what `to_yaml` wrote.

        Raises:
            UserError: The file cannot be read, or is not such a file; one line says where.
        """
        return cls(**read_steps(path))
