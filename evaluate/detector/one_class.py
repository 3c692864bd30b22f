"""Predictions of the class that counts, and so many of them that they can be compared.

Of several classes Ultralytics' predictor gives each box its most confident one and nothing else, so a box of 0.4 for
the class that counts and 0.5 for another would be lost; in validation it counts for both. Here the other classes are
left out before boxes are chosen and suppressed, so that an epoch's score is the one its weights get afterwards.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from common.data.names import MOST_CANDIDATES


@cache
def predictor_of(classes: tuple[int, ...]) -> Any:
    """Ultralytics' predictor for some classes as one; it calls that class 0.

    Not for RT-DETR, whose boxes come with one class each, in validation as in prediction: a box may come several times.

    Args:
        classes: Their indices. Of several, a box has the confidence of its most confident one.
    """
    import torch
    from ultralytics.models.yolo.detect import DetectionPredictor

    channels = [4 + index for index in classes]

    class OneClassPredictor(DetectionPredictor):
        """Predicts one class."""

        def inference(self, im: Any, *args: Any, **kwargs: Any) -> Any:
            """Of the network's output boxes and confidence of the class, (batch, 4 + 1, boxes), the best if many."""
            found = super().inference(im, *args, **kwargs)
            found = found[0] if isinstance(found, list | tuple) else found
            found = torch.cat([found[:, :4], found[:, channels].amax(1, keepdim=True)], 1)
            if found.shape[2] > MOST_CANDIDATES:
                best = found[:, 4].topk(MOST_CANDIDATES).indices
                found = found.gather(2, best[:, None].expand(-1, 5, -1))
            return found

    return OneClassPredictor
