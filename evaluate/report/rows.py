"""The numbers of a split, in one list: their names on the page and on the terminal, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.pages.wording import count, interval_text, score_text
from evaluate.scoring.result import SplitScore


@dataclass(frozen=True)
class Row:
    """One number of a split.

    Attributes:
        field: Its attribute of `SplitScore`.
        terminal: Its name on the terminal, where those under another one are indented.
        page: Its name on the page.
        explanation: A line below that, or nothing.
        write: Makes text of it.
        tuned: Whether it is told of the split, too, that the threshold was chosen on.
    """

    field: str
    terminal: str
    page: str
    explanation: str
    write: Callable[[Any], str]
    tuned: bool = True

    def value(self, split: SplitScore, is_tuned: bool = False) -> Any:
        """The number; None where it would mislead, as the threshold was chosen on the split."""
        return getattr(split, self.field) if self.tuned or not is_tuned else None

    def text(self, split: SplitScore, is_tuned: bool = False) -> str:
        """The number as text."""
        return self.write(self.value(split, is_tuned))


_SCORES = (
    Row("score", "RSNA score", "RSNA score", "0 to 1, higher is better", score_text),
    Row(
        "interval_95",
        "95 % interval",
        "95\N{NO-BREAK SPACE}% interval",
        "of this model at this threshold, with other patients",
        interval_text,
        tuned=False,
    ),
)
_COUNTS = (
    Row("images", "images", "Images", "", count),
    Row("positive_images", "  with truth boxes", "… with opacity", "have at least one true box", count),
    Row("counted_images", "  that count in the score", "… that count", "with a true box, a prediction, or both", count),
    Row("counted_patients", "  of so many patients", "… of patients", "whom the interval rests on", count),
    Row("truth_boxes", "truth boxes", "True boxes", "drawn by radiologists", count),
    Row(
        "predictions",
        "predictions at the confidence",
        "Predicted boxes",
        "at or above the confidence threshold",
        count,
    ),
    Row("true_positives", "  hits (IoU > 0.5)", "Hits", "predictions that meet a true box, IoU > 0.5", count),
    Row("false_positives", "  false alarms", "False boxes", "predictions that meet none", count),
    Row("false_negatives", "missed truth boxes", "Missed boxes", "true boxes that nothing meets", count),
    Row("map50", "mAP50", "mAP50", "COCO's measure at IoU 0.5, over all confidences", score_text),
    Row("map50_95", "mAP50-95", "mAP50-95", "the same, mean over IoU 0.50 to 0.95", score_text),
)
ROWS = (*_SCORES, *_COUNTS)
