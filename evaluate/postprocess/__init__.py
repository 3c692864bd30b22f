"""What is done to predictions after the model: box scale, gate, fusion, and all of it fitted as a pipeline.

Knows no command and no model.
"""

from evaluate.postprocess.fitting import fit
from evaluate.postprocess.pipeline import Pipeline

__all__ = ["Pipeline", "fit"]
