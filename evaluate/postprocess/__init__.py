"""What is done to predictions after the model: suppression, fusion, box scale, gate; all of it fitted as a pipeline.

Knows no command and no model.
"""

from evaluate.postprocess.fitting import STEPS, fit
from evaluate.postprocess.gains import Gain, gains
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import (
    GATE_MODES,
    BoxScale,
    Confidence,
    FittedOn,
    GateRule,
    MostBoxes,
    Rescoring,
    Sides,
)
from evaluate.postprocess.suppression import METHODS, Suppression

__all__ = [
    "GATE_MODES", "METHODS", "STEPS", "BoxScale", "Confidence", "FittedOn", "Gain", "GateRule", "MostBoxes", "Pipeline",
    "Rescoring", "Sides", "Suppression", "fit", "gains",
]  # fmt: skip
