"""Figures of the report on how well confidences sort images and boxes: ROC, precision-recall, FROC, reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.pages.figures import BLUE, GREY, MUTED, ORANGE, Chart, new_figure
from common.pages.wording import count, percent, score_text
from evaluate.metrics.calibration import Bin
from evaluate.metrics.ranking import FALSE_BOXES, Ranking, area_under, average_precision, precision_recall

Floats = NDArray[np.float64]

_HEIGHT = 3.3
_MOST_POINTS = 300


def roc_curve(ranking: Ranking, confidence: float) -> Chart | None:
    """Draw sensitivity against 1 - specificity of images, with the point of the confidence that was used.

    Args:
        ranking: Of images.
        confidence: Boxes below it are dropped.

    Returns:
        None with one kind of image.
    """
    sensitivity, false = ranking.curve()
    if np.isnan(sensitivity[-1]) or np.isnan(false[-1]):
        return None
    place = _place(ranking, confidence)
    with new_figure("roc", _HEIGHT) as (figure, drawn):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.plot(*_thinned(false, sensitivity), color=BLUE)
        axes.plot([false[place]], [sensitivity[place]], "o", color=ORANGE, markersize=7)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return drawn.chart(
        "Images with an opacity told from others (ROC)",
        f"The area under the curve is {score_text(area_under(sensitivity, false))}; the dotted line is chance. The dot "
        f"is the confidence used: sensitivity {percent(sensitivity[place])}, specificity {percent(1 - false[place])}.",
    )


def precision_recall_curve(ranking: Ranking, confidence: float) -> Chart | None:
    """Draw precision against recall of images. Arguments and what is returned as of `roc_curve`."""
    precision, recall = precision_recall(ranking)
    if not ranking.wanted.any() or not ranking.others.any():
        return None
    share = float(ranking.wanted.mean())
    place = _place(ranking, confidence) - 1
    with new_figure("precision-recall", _HEIGHT) as (figure, drawn):
        axes = figure.subplots()
        axes.axhline(share, color=GREY, linewidth=1, linestyle=":")
        axes.plot(*_thinned(recall, precision), color=BLUE)
        if place >= 0:
            axes.plot([recall[place]], [precision[place]], "o", color=ORANGE, markersize=7)
        axes.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    dot = (
        f" The dot is the confidence used: {percent(precision[place])} of the images with a box have an opacity."
        if place >= 0
        else ""
    )
    return drawn.chart(
        "Precision and recall of images",
        f"The average precision is {score_text(average_precision(ranking))}; the dotted line is chance, the share of "
        f"images with an opacity, {percent(share)}.{dot}",
    )


def froc_curve(ranking: Ranking, confidence: float) -> Chart | None:
    """Draw the share of truth boxes that are hit against the false boxes per image.

    Args:
        ranking: Of boxes.
        confidence: Boxes below it are dropped.

    Returns:
        None without truth boxes.
    """
    sensitivity, false = ranking.curve()
    if np.isnan(sensitivity[-1]):
        return None
    place = _place(ranking, confidence)
    end = max(FALSE_BOXES[-1], float(false[place]) * 1.1)
    shown = np.flatnonzero(false <= end)
    with new_figure("froc", _HEIGHT) as (figure, drawn):
        axes = figure.subplots()
        across, up = _thinned(false[shown], sensitivity[shown])
        axes.step(across, up, where="post", color=BLUE)
        axes.plot([false[place]], [sensitivity[place]], "o", color=ORANGE, markersize=7)
        for rate in FALSE_BOXES:
            axes.axvline(rate, color=GREY, linewidth=0.8, linestyle=":", zorder=0.5)
        axes.set(xlabel="false boxes per image", ylabel="true boxes that are hit", xlim=(-0.02 * end, end * 1.02))
        axes.set_ylim(-0.02, 1.02)
    rates = ", ".join(f"{rate:g}" for rate in FALSE_BOXES)
    return drawn.chart(
        "Boxes on an opacity against false ones (FROC)",
        f"The dot is the confidence used: {percent(sensitivity[place])} of the true boxes are hit (IoU > 0.5) with "
        f"{false[place]:.2f} false boxes per image. Dotted are the rates of the table: {rates}.",
    )


def reliability_curve(bins: Sequence[Bin], error: float | None) -> Chart | None:
    """Draw how frequent an opacity is by the confidence of the strongest box.

    Args:
        bins: Of `evaluate.metrics.calibration.reliability`.
        error: The calibration error.

    Returns:
        None without bins.
    """
    if not bins:
        return None
    with new_figure("reliability", _HEIGHT) as (figure, drawn):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        chance, frequency = [one.probability for one in bins], [one.frequency for one in bins]
        most = max(one.images for one in bins)
        axes.plot(chance, frequency, color=BLUE, linewidth=1)
        sizes = [12 + 110 * one.images / most for one in bins]
        axes.scatter(chance, frequency, s=sizes, color=BLUE, alpha=0.7, linewidths=0)
        axes.set(xlabel="confidence of the strongest box, 0 without any", ylabel="share with an opacity")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.tick_params(color=MUTED)
    known = f", by {score_text(error)} on average (ECE)" if error is not None else ""
    images = sum(one.images for one in bins)
    too_sure = sum(one.images * (one.probability - one.frequency) for one in bins) / images
    side = "surer than they should be" if too_sure > 0 else "less sure than they should be"
    return drawn.chart(
        "Do confidences mean what they say?",
        f"On the dotted line a confidence of 0.3 would mean an opacity in 30 % of the images. Taken for probabilities, "
        f"confidences of {count(images)} images are off{known}, and on the whole {side}. Larger dots are more images.",
    )


def _place(ranking: Ranking, confidence: float) -> int:
    """Where on the curve everything from this confidence on is called."""
    return int(np.searchsorted(-ranking.thresholds, -confidence, side="right"))


def _thinned(across: Floats, up: Floats) -> tuple[Floats, Floats]:
    """At most about so many points as can be seen."""
    if len(across) <= _MOST_POINTS:
        return across, up
    places = np.unique(
        np.concatenate(
            [
                np.linspace(0, len(across) - 1, _MOST_POINTS // 2).astype(int),
                np.searchsorted(across, np.linspace(across[0], across[-1], _MOST_POINTS // 2)),
            ]
        )
    )
    return across[places[places < len(across)]], up[places[places < len(across)]]
