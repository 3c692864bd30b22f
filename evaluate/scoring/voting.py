"""Predictions as they are scored so far: overlapping ones gone where they were made, those of several voters fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from common.data.data_set import Split
from common.data.names import MOST_BOXES
from common.data.tables import write_predictions
from evaluate.detector import cache
from evaluate.detector.inference import Settings
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import Weights
from evaluate.postprocess.fusion import fuse

SUPPRESSION_IOU = 0.4
"""Truth boxes of one image hardly touch: the largest IoU among the challenge's 3,701 pairs is 0.055."""


def strict_voters(weights: Weights, options: InferenceOptions) -> list[Settings]:
    """The ways to run some weights, suppressing at once."""
    iou = SUPPRESSION_IOU if weights.suppresses else None
    return [replace(one, nms_iou=iou, max_predictions=MOST_BOXES) for one in options.voters(weights)]


def predict_split(
    weights: Weights, split: Split, folder: Path, options: InferenceOptions, again: bool = False
) -> tuple[Path, pd.DataFrame]:
    """Predict a split with every voter; see `evaluate.detector.cache.predict_split`.

    Returns:
        The file and its predictions table.
    """
    found = [
        cache.predict_split(weights, split, folder, options, again, one) for one in strict_voters(weights, options)
    ]
    if len(found) == 1:
        return found[0]
    sizes = split.manifest.set_index("image_id")[["width", "height"]]
    frames = {str(image_id): (float(width), float(height)) for image_id, width, height in sizes.itertuples()}
    fused, file = together([table for _, table in found], frames), folder / f"predictions_{split.name}-augmented.csv"
    write_predictions(file, fused)
    return file, fused


def together(tables: Sequence[pd.DataFrame], sizes: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """One predictions table of those of each voter.

    Args:
        tables: Suppressed.
        sizes: Width and height of every image that was looked at, in pixels.
    """
    return tables[0] if len(tables) == 1 else fuse(tables, [sizes.keys()] * len(tables), sizes)
