"""What is done to predictions after the model: pure functions, each from a predictions table to a new one."""

from __future__ import annotations

import pandas as pd

from evaluate.tables import COORDINATE_DECIMALS, COORDINATES


def keep(predictions: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The predictions whose confidence is at least `confidence`.

    Args:
        predictions: The predictions table.
        confidence: The threshold; inclusive, as in the metric's sweep.
    """
    return predictions[predictions["confidence"] >= confidence].reset_index(drop=True)


def scale_boxes(predictions: pd.DataFrame, width_factor: float, height_factor: float) -> pd.DataFrame:
    """Resize every box about its centre.

    Readers of this data set drew tighter boxes for the test images than for most of the training images, so models
    gain from boxes shrunk to 0.8-0.9 of each side; tune the factors on the metric.

    Args:
        predictions: The predictions table; coordinates in pixels.
        width_factor: Factor on the width, above 0; 1 leaves it.
        height_factor: Factor on the height, above 0; 1 leaves it.

    Returns:
        A new table, rounded to 0.01 pixel as all predictions are. A grown box may reach past its image's edge.

    Raises:
        ValueError: A factor is not above 0.
    """
    if not (width_factor > 0 and height_factor > 0):
        raise ValueError(f"box scale factors must be above 0, found {width_factor} and {height_factor}")
    if width_factor == height_factor == 1:
        return predictions.copy()
    scaled = predictions.copy()
    for start, size, factor in (("x", "width", width_factor), ("y", "height", height_factor)):
        scaled[start] = predictions[start] + predictions[size] * (1 - factor) / 2
        scaled[size] = predictions[size] * factor
    scaled[COORDINATES] = scaled[COORDINATES].round(COORDINATE_DECIMALS)
    return scaled[(scaled["width"] > 0) & (scaled["height"] > 0)].reset_index(drop=True)
