"""Predictions of models of several classes: every box with the confidence of the class that counts.

Ultralytics' predictor gives each box its most confident class and nothing else, so a box of 0.4 for the class that
counts and 0.5 for another would be lost; in validation it counts for both. Here the other classes are left out before
boxes are chosen and suppressed, so that an epoch's score is the one its weights get afterwards.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from evaluate.detector.weights import is_rtdetr


def has_several_classes(model: Any) -> bool:
    """Whether a model's boxes come with a confidence for each of several classes.

    RT-DETR's boxes come with one of them each, in validation as in prediction: a box may come several times.

    Args:
        model: The `ultralytics.YOLO` (or `RTDETR`) object.
    """
    return len(model.names) > 1 and not is_rtdetr(model)


@cache
def predictor_of(classes: tuple[int, ...]) -> Any:
    """Ultralytics' predictor for some of several classes as one; it calls that class 0.

    Args:
        classes: Their indices. Of several, a box has the confidence of its most confident one.
    """
    import torch
    from ultralytics.models.yolo.detect import DetectionPredictor

    channels = [4 + index for index in classes]

    class OneClassPredictor(DetectionPredictor):
        """Predicts one class."""

        def inference(self, im: Any, *args: Any, **kwargs: Any) -> Any:
            """The network's output, (batch, 4 + 1, boxes): of the confidences, those of the class."""
            found = super().inference(im, *args, **kwargs)
            found = found[0] if isinstance(found, list | tuple) else found
            return torch.cat([found[:, :4], found[:, channels].amax(1, keepdim=True)], 1)

    return OneClassPredictor
