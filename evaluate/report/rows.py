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
    """

    field: str
    terminal: str
    page: str
    explanation: str
    write: Callable[[Any], str]

    def value(self, split: SplitScore) -> Any:
        """The number."""
        return getattr(split, self.field)

    def text(self, split: SplitScore) -> str:
        """The number as text."""
        return self.write(self.value(split))


_BASELINE = Row(
    "score_without_predictions",
    "score if nothing were predicted",
    "Baseline",
    "the RSNA score when nothing is ever predicted",
    score_text,
)
_SCORES = (
    Row("score", "RSNA score", "RSNA score", "0 to 1, higher is better", score_text),
    Row(
        "interval_95",
        "95 % interval",
        "95\N{NO-BREAK SPACE}% interval",
        "what other images of this kind might give",
        interval_text,
    ),
)
_COUNTS = (
    Row("images", "images", "Images", "", count),
    Row("positive_images", "  with truth boxes", "… with opacity", "have at least one true box", count),
    Row("counted_images", "  that count in the score", "… that count", "with a true box, a prediction, or both", count),
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
ON_TERMINAL = (*_SCORES, _BASELINE, *_COUNTS)
ON_PAGE = (*_SCORES, *_COUNTS, _BASELINE)
