"""Figures of the report that show results: the score, its threshold, training, subgroups.

Each has a sentence computed from its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, MultipleLocator

from common.pages.figures import BLUE, GREY, INK, MUTED, ORANGE, TEAL, Chart, legend, new_figure
from common.pages.wording import confidence_text, count, interval_text, join, percent, score_text
from evaluate.metrics.uncertainty import FEW_PATIENTS, FEWEST_PATIENTS
from evaluate.report.wording import is_few
from evaluate.scoring.result import Difference, Subgroup

SPLIT_COLOURS = (BLUE, ORANGE)
"""Colour of the split the score is reported on, then of the split it was tuned on."""

_MOST_POINTS = 600
_SIGNIFICANT = 0.05


def score_scale(score: float, interval_95: Sequence[float] | None, marks: Mapping[str, float]) -> Chart:
    """Draw the score with its interval on a scale that begins at 0.

    Args:
        score: The RSNA score, 0 to 1.
        interval_95: Its lower and upper bound; None draws none.
        marks: Scores to compare with, by what they are. With marks the scale may end below 1 and says so.
    """
    highest = max([score, *(interval_95 or ()), *marks.values()])
    end = 0.4 if marks and highest <= 0.38 else 1.0
    rows = sorted(marks.items(), key=lambda mark: mark[1])
    with new_figure("scale", 0.95 + 0.2 * len(rows)) as (figure, drawn):
        axes = figure.subplots()
        if interval_95:
            axes.plot(interval_95, [0, 0], color=BLUE, linewidth=9, alpha=0.35, solid_capstyle="butt")
        axes.plot([score], [0], "o", color=BLUE, markersize=10, clip_on=False)
        axes.annotate(
            f"this model {score_text(score)}", (score, 0), (0, 10), textcoords="offset points", weight="bold",
            ha="center" if 0.15 * end < score < 0.85 * end else "left" if score < 0.5 * end else "right",
        )  # fmt: skip
        for level, (text, value) in enumerate(rows, 1):
            axes.plot([value, value], [0, -level], color=GREY, linewidth=0.8)
            axes.plot([value], [0], "|", color=MUTED, markersize=11)
            # On the side where there is room.
            right = value < 0.5 * end
            axes.annotate(
                f"{text} {score_text(value)}", (value, -level), (4 if right else -4, -3), textcoords="offset points",
                ha="left" if right else "right", fontsize=9, color=MUTED,
            )  # fmt: skip
        axes.set(xlim=(0, end), ylim=(-len(rows) - 0.7, 1.6), yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.xaxis.set_major_locator(MultipleLocator(end / 4 if end < 1 else 0.2))
        axes.grid(axis="y", visible=False)
        axes.axhline(0, color=MUTED, linewidth=1, zorder=1)
    band = f"; the band is its 95\N{NO-BREAK SPACE}% interval, {interval_text(interval_95)}" if interval_95 else ""
    ending = f"The scale ends at {end:g}, a perfect score is 1." if end < 1 else "A perfect score is 1."
    return drawn.chart("The score on its scale", f"The dot is the score, {score_text(score)}{band}. {ending}")


def sweep_curves(sweeps: Mapping[str, pd.DataFrame], confidence: float, tuned_on: str | None) -> Chart:
    """Draw the score against the confidence from which boxes are kept.

    Args:
        sweeps: For each split, the table of `evaluate.metrics.rsna.confidence_sweep`; the reported split first. Empty
            tables are left out.
        confidence: The threshold that was used.
        tuned_on: The split it was chosen on, if it was.
    """
    used = {split: _ascending(table) for split, table in sweeps.items() if len(table)}
    at: dict[str, float] = {}
    with new_figure("sweep", 3.1) as (figure, drawn):
        axes = figure.subplots()
        for (split, table), colour in zip(used.items(), _colours(), strict=False):
            at[split] = _score_at(table, confidence)
            shown = _thin(table)
            # The value at a confidence holds for all thresholds down to the next lower confidence.
            axes.step(
                [0.0, *shown["confidence"], shown["confidence"].iloc[-1], 1.0],
                [shown["score"].iloc[0], *shown["score"], 0.0, 0.0],
                where="pre", color=colour, label=split, linestyle="--" if split == tuned_on else "-",
            )  # fmt: skip
            axes.plot([confidence], [at[split]], "o", color=colour, markersize=6)
        axes.axvline(confidence, color=MUTED, linewidth=1, linestyle=":")
        axes.annotate(
            f"{'chosen' if tuned_on else 'used'} {confidence_text(confidence)}",
            (confidence, 1), (5 if confidence < 0.6 else -5, -9), color=MUTED,
            xycoords=("data", "axes fraction"), textcoords="offset points", ha="left" if confidence < 0.6 else "right",
        )  # fmt: skip
        axes.set(xlabel="boxes are kept from this confidence", ylabel="RSNA score", xlim=(0, 1))
        axes.set_ylim(0, max(axes.get_ylim()[1], 0.02) * 1.08)
        legend(axes)
    parts = []
    for split, table in used.items():
        # Several thresholds may score the same; only one that gives more is worth a word.
        best = table.iloc[int(np.argmax(table["score"]))]
        gain = best["score"] - at[split]
        parts.append(
            f"on {split} that gives {score_text(at[split])}, "
            + (
                f"{confidence_text(best['confidence'])} would give {score_text(gain)} more"
                if gain >= 5e-4
                else "the highest there is"
            )
        )
    chosen = f"Boxes are kept from confidence {confidence_text(confidence)}" + (
        f", chosen on {tuned_on}" if tuned_on else ""
    )
    return drawn.chart("Score at every confidence threshold", f"{chosen}: {'; '.join(parts)}.")


def training_curves(results: pd.DataFrame) -> list[Chart]:
    """Draw the losses and the validation metrics of each epoch.

    Args:
        results: Ultralytics' `results.csv`: `epoch`, `train/*_loss`, `val/*_loss`, `metrics/*`. Columns' names may have
            spaces around them; columns that are not there are left out.

    Returns:
        Up to two charts.
    """
    table = results.rename(columns=lambda name: str(name).strip()).apply(pd.to_numeric, errors="coerce")
    table = table.replace([np.inf, -np.inf], np.nan)
    if "epoch" not in table or not len(table):
        return []
    charts = []
    losses = [name.removeprefix("train/") for name in table if name.startswith("train/") and name.endswith("_loss")]
    if losses:
        charts.append(_loss_curves(table, losses))
    names = {"metrics/RSNA(B)": "RSNA score", "metrics/mAP50(B)": "mAP50", "metrics/mAP50-95(B)": "mAP50-95"}
    metrics = {name: text for name, text in names.items() if name in table and table[name].notna().any()}
    if metrics:
        charts.append(_metric_curves(table, metrics))
    return charts


def _loss_curves(table: pd.DataFrame, losses: list[str]) -> Chart:
    epoch = table["epoch"]
    with new_figure("losses", 3.1) as (figure, drawn):
        axes = figure.subplots()
        for loss, colour in zip(losses, (BLUE, ORANGE, TEAL, GREY, INK), strict=False):
            marker = "." if len(table) < 30 else None
            axes.plot(epoch, table[f"train/{loss}"], color=colour, label=loss.removesuffix("_loss"), marker=marker)
            if f"val/{loss}" in table:
                axes.plot(epoch, table[f"val/{loss}"], color=colour, linestyle="--", marker=marker)
        axes.set(xlabel="epoch", ylabel="loss (solid: train, dashed: val)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(bottom=0)
        legend(axes)
    total = table[[f"train/{loss}" for loss in losses]].sum(axis=1, min_count=len(losses))
    sentence = f"{_epochs(table)}; the training loss went from {total.iloc[0]:.2f} to {total.iloc[-1]:.2f} in sum"
    columns = [f"val/{loss}" for loss in losses if f"val/{loss}" in table]
    val = table[columns].sum(axis=1, min_count=max(1, len(columns))) if columns else pd.Series(dtype=float)
    if val.notna().any():
        low = int(np.nanargmin(val))
        rise = val.dropna().iloc[-1] / val.iloc[low] - 1 if val.iloc[low] > 0 else 0.0
        sentence += f", the validation loss was lowest at epoch {epoch.iloc[low]:.0f}"
        sentence += ", the last one: it might fall further" if low == len(table) - 1 and low > 0 else ""
        sentence += f" and ended {percent(rise)} higher, a sign of overfitting" if rise > 0.02 else ""
    return drawn.chart("Losses while training", sentence + ".")


def _metric_curves(table: pd.DataFrame, metrics: dict[str, str]) -> Chart:
    with new_figure("metrics", 3.1) as (figure, drawn):
        axes = figure.subplots()
        for (name, text), colour, style in zip(metrics.items(), (BLUE, ORANGE, TEAL), ("-", "--", "-."), strict=False):
            marker = "." if len(table) < 30 else None
            axes.plot(table["epoch"], table[name], color=colour, linestyle=style, label=text, marker=marker)
        axes.set(xlabel="epoch", ylabel="on val (higher is better)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(bottom=0)
        legend(axes)
    bests = []
    for name, text in metrics.items():
        best = table.iloc[int(np.nanargmax(table[name]))]
        bests.append(f"{text} is highest at epoch {best['epoch']:.0f} ({score_text(best[name])})")
    return drawn.chart("Validation while training", f"{_epochs(table)}; {join(bests)}.")


def subgroup_dots(
    subgroups: Mapping[str, Mapping[str, Subgroup]], overall: float, differences: Mapping[str, Difference] | None
) -> Chart | None:
    """Draw the score of each subgroup with its interval, and the overall score as a line.

    Args:
        subgroups: Property (such as `view`) -> value (such as `AP`) -> score.
        overall: The score of all images.
        differences: By property, which of its values differ most surely; None where that was not looked at.

    Returns:
        None when no subgroup has a score.
    """
    rows: list[tuple[str, Subgroup | None]] = []
    for group, levels in subgroups.items():
        scored = {level: subgroup for level, subgroup in levels.items() if subgroup.score is not None}
        if scored:
            rows += [(group, None), *scored.items()]
    if not rows:
        return None
    with new_figure("subgroups", 0.75 + 0.27 * len(rows)) as (figure, drawn):
        axes = figure.subplots()
        for place, (_, subgroup) in enumerate(rows):
            if subgroup is None or subgroup.score is None:
                continue
            if subgroup.interval_95 is not None:
                axes.plot(subgroup.interval_95, [place, place], color=BLUE, linewidth=3, alpha=0.45)
            # Hollow: too few for an interval.
            fill = BLUE if subgroup.interval_95 is not None else "none"
            axes.plot([subgroup.score], [place], "o", color=BLUE, markersize=7, markerfacecolor=fill)
        axes.axvline(overall, color=ORANGE, linewidth=1.2, linestyle="--", zorder=0.5)
        names = [text if subgroup is None else f"{text}  ({_size(subgroup)})" for text, subgroup in rows]
        axes.set_yticks(range(len(rows)), names)
        for label, (_, subgroup) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if subgroup is None else "normal")
        interval = ", 95 % interval" if any(one is not None and one.interval_95 for _, one in rows) else ""
        axes.set_xlabel(f"RSNA score{interval} (dashed: all images)", loc="right")  # long names leave little room
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, min(1.0, axes.get_xlim()[1] * 1.05) if axes.get_xlim()[1] > 0 else 1.0)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    sentence = [*_contrasts(differences), "Numbers in brackets are images."]
    drawn_ones = [subgroup for _, subgroup in rows if subgroup is not None]
    if any(is_few(subgroup.counted_patients) and subgroup.interval_95 for subgroup in drawn_ones):
        sentence.append(f"Few: of fewer than {FEW_PATIENTS} patients that count, an interval that is too narrow.")
    if any(subgroup.interval_95 is None for subgroup in drawn_ones):
        sentence.append(
            f"Hollow: of fewer than {FEWEST_PATIENTS} patients that count, too few for an interval or a comparison."
        )
    return drawn.chart("Score by subgroup", " ".join(sentence))


def _size(subgroup: Subgroup) -> str:
    few = is_few(subgroup.counted_patients) and subgroup.interval_95 is not None
    return f"{count(subgroup.images)}{', few' if few else ''}"


def _contrasts(differences: Mapping[str, Difference] | None) -> list[str]:
    """Say which groups differ beyond chance, and that the others may not."""
    if not differences:
        return []
    sure = {name: one for name, one in differences.items() if one.p < _SIGNIFICANT}
    texts = [
        f"By {name}, {_contrast(one)}, which is beyond chance "
        f"(p {'= ' + format(one.p, '.3f') if one.p >= 0.001 else '< 0.001'}, corrected for all pairs of groups)."
        for name, one in sure.items()
    ]
    if others := [name for name in differences if name not in sure]:
        texts.append(f"Between groups of {join(others)} no difference is beyond chance.")
    return texts


def _contrast(one: Difference) -> str:
    if one.measure == "specificity":
        points = f"{100 * one.difference:.1f} percentage points"
        return f"images of {one.higher} are left empty more often than those of {one.lower}, by {points}"
    return f"{one.higher} scores {score_text(one.difference)} higher than {one.lower}"


def _colours() -> Iterator[str]:
    yield from (*SPLIT_COLOURS, TEAL, GREY)


def _ascending(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("confidence").reset_index(drop=True)


def _score_at(ascending: pd.DataFrame, confidence: float) -> float:
    """Score when boxes with at least this confidence are kept: that of the lowest confidence not below it."""
    row = int(np.searchsorted(ascending["confidence"].to_numpy(), confidence, side="left"))
    return float(ascending["score"].iloc[row]) if row < len(ascending) else 0.0


def _thin(ascending: pd.DataFrame) -> pd.DataFrame:
    """Keep at most about `_MOST_POINTS` rows, the best one among them: more cannot be seen, and a page has a size."""
    if len(ascending) <= _MOST_POINTS:
        return ascending
    # Half of them even in confidence, half even in rank: the long tail of low confidences is crowded into one corner.
    grid = np.searchsorted(ascending["confidence"].to_numpy(), np.linspace(0, 1, _MOST_POINTS // 2), side="left")
    rank = np.linspace(0, len(ascending) - 1, _MOST_POINTS // 2).astype(int)
    rows = {*grid.tolist(), *rank.tolist(), int(np.argmax(ascending["score"]))}
    return ascending.iloc[sorted(row for row in rows if row < len(ascending))]


def _epochs(table: pd.DataFrame) -> str:
    return f"{len(table)} epoch{'s' if len(table) != 1 else ''} of training"
