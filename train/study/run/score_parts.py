"""Where a score is lost: what lacks to 1, taken apart into five parts that add up to it exactly.

Each part is what the score would gain if one more thing were put right, in this order:

- `threshold`: the confidence were the one that is best on this split, and not the one chosen on val;
- `false_images`: no image without boxes had a prediction (each counts as a 0, and else not at all);
- `fit`: every prediction that meets a box with an IoU above 0.40 met it at all thresholds;
- `extra_boxes`: images with boxes had no prediction that meets none;
- `missed`: every box were met.
"""

from __future__ import annotations

import pandas as pd

from evaluate.metrics.matching import IOU_THRESHOLDS
from evaluate.metrics.rsna import match
from evaluate.postprocess.boxes import drop_below
from evaluate.scoring.numbers import Judged


def take_apart(judged: Judged) -> dict[str, float] | None:
    """Say where a split's score is lost.

    Args:
        judged: The split, with its predictions at all confidences.

    Returns:
        The parts by name, in the order of the text above; their sum is 1 less the score. None where no image has a box.
    """
    truth = judged.split.truth
    boxes = truth[truth["x"].notna()].groupby("image_id").size()
    if boxes.empty:
        return None
    confidence, best = judged.sweep.best()
    if best < judged.score:  # without predictions there is no confidence to choose
        confidence, best = judged.confidence, judged.score
    on_boxes = float(judged.sweep.image_scores(confidence)[boxes.index].mean())
    kept = drop_below(judged.processed, confidence)
    met = match(truth, kept, IOU_THRESHOLDS[:1]).iloc[:, 0]
    counts = pd.DataFrame({"made": kept.groupby("image_id").size(), "met": met.groupby(kept["image_id"]).sum()})
    counts = counts.reindex(boxes.index).fillna(0)
    fitted = float((counts["met"] / (counts["made"] + boxes - counts["met"])).mean())
    without_extra = float((counts["met"] / boxes).mean())
    return {
        "threshold": best - judged.score,
        "false_images": on_boxes - best,
        "fit": fitted - on_boxes,
        "extra_boxes": without_extra - fitted,
        "missed": 1 - without_extra,
    }
