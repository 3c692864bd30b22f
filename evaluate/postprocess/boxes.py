"""What is done to predictions after the model: pure functions, each from a predictions table to a new one."""

from __future__ import annotations

import pandas as pd

from common.errors import UserError


def drop_below(predictions: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Leave out predictions of too little confidence.

    Args:
        predictions: The predictions table.
        confidence: The least confidence that stays; inclusive, as in the metric's sweep.
    """
    return predictions[predictions["confidence"] >= confidence].reset_index(drop=True)


def drop_unlikely_images(predictions: pd.DataFrame, probabilities: pd.Series, threshold: float) -> pd.DataFrame:
    """The gate: keep boxes only in images where an opacity is likely, P(opacity) greater than `threshold`.

    False boxes in images without opacity cost most, and a classifier that sees the whole image knows better than a
    detector whether there is anything. Where to put the threshold: with calibrated P, the score S that is reached
    otherwise and the mean score s of a flagged image that has an opacity, predicting pays when P > S / (S + s). An
    image of score 0 enters the mean with the chance 1 - P, one of score s replaces a 0 with the chance P; about 0.36
    with S = 0.25 and s = 0.45. In practice the threshold is tuned on the metric: an untuned gate loses score.

    Args:
        predictions: The predictions table.
        probabilities: P(opacity) by image_id, 0 to 1.
        threshold: Exclusive: an image with exactly this probability loses its boxes.

    Raises:
        UserError: An image with predictions has no probability.
    """
    return predictions[probability_of_each(predictions, probabilities) > threshold].reset_index(drop=True)


def weigh(predictions: pd.DataFrame, probabilities: pd.Series) -> pd.DataFrame:
    """Multiply each box's confidence by its image's P(opacity). Arguments and errors as in `drop_unlikely_images`.

    Returns:
        A new table, in the same order; confidences are not rounded, so that an image's boxes keep their order.
    """
    return predictions.assign(confidence=predictions["confidence"] * probability_of_each(predictions, probabilities))


def probability_of_each(predictions: pd.DataFrame, probabilities: pd.Series) -> pd.Series:
    """P(opacity) of each prediction's image; arguments and errors as in `drop_unlikely_images`."""
    found = predictions["image_id"].map(probabilities).astype(float)
    if found.isna().any():
        raise UserError(
            f"gate: no probability for image {predictions['image_id'][found.isna()].iloc[0]}, which has predictions; "
            "expected one for every image"
        )
    return found
