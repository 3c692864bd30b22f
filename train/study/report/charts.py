"""Figures of a study's report: effects with their noise, importance, costs, learning curves.

Each has a sentence that says how to read it. Lines differ in colour, and in style or marker besides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy import stats

from common.pages.figures import BLUE, GREY, INK, MUTED, ORANGE, TEAL, Chart, legend, new_figure
from common.pages.wording import join, score_text
from train.study.analysis.effects import Effect
from train.study.analysis.importance import Dependence, Importance
from train.study.analysis.noise import Estimate, Measured
from train.study.analysis.tradeoffs import COSTS, pareto_front
from train.study.report.words import named, title_of, value_text

LINES = [(colour, style) for style, colour in product(("-", "--", ":"), (BLUE, ORANGE, TEAL, INK, GREY))]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p", "8", "d", "H")
_DRAWN_COSTS = {name: COSTS[name] for name in ("parameters", "milliseconds")}
_SLOT = 0.055
"""Least distance between numbers above the axes, as a share of their width."""
_LOG_FROM = 20
"""Numbers whose largest is so many times the smallest are drawn on a logarithmic scale."""


def slug(*parts: str) -> str:
    """A name for a figure: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def effect_chart(effect: Effect, measured: Measured) -> Chart | None:
    """Draw the difference of each value to the base or the best one, with its interval and the band of training noise.

    Returns:
        None with fewer than two values to compare.
    """
    levels = [level for level in effect.scores if level == effect.reference or level in effect.to_reference]
    if len(levels) < 2:
        return None
    zero = Estimate(0.0, 0.0, 0.0, 0.0, 1.0)
    estimates = [effect.to_reference.get(level, zero) for level in levels]
    band = _band(list(effect.to_reference.values()), measured)
    best = named(effect.parameter, effect.reference)
    name = slug("effect", effect.block, effect.parameter)
    what = "the best on val" if effect.reference == effect.best else "the repeated base"
    title = f"{title_of(effect.parameter)}: difference to {what}"
    label = f"RSNA score on {measured.split}, less that of {best}"
    along = effect.ordered and len(levels) > 2
    with new_figure(name, 3.0 if along else 0.85 + 0.3 * len(levels)) as (figure, drawn):
        axes = figure.subplots()
        values, halves = [one.value for one in estimates], [one.half_width or 0.0 for one in estimates]
        if along:
            if band:
                axes.axhspan(-band, band, color=GREY, alpha=0.22, linewidth=0)
            axes.axhline(0, color=MUTED, linewidth=1)
            axes.errorbar(levels, values, yerr=halves, color=BLUE, marker="o", markersize=6, elinewidth=2, capsize=3)
            _number_axis(axes, levels)
            axes.set(xlabel=title_of(effect.parameter), ylabel="difference in RSNA score")
        else:
            if band:
                axes.axvspan(-band, band, color=GREY, alpha=0.22, linewidth=0)
            axes.axvline(0, color=MUTED, linewidth=1)
            places = np.arange(len(levels))
            axes.errorbar(values, places, xerr=halves, color=BLUE, linestyle="", marker="o", elinewidth=2.5, capsize=3)
            axes.set_yticks(places, [value_text(effect.parameter, level) for level in levels])
            axes.set(xlabel=label, ylim=(len(levels) - 0.5, -0.5))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
    bars = f"Differences to {best} in the score on {measured.split}; bars are 95\N{NO-BREAK SPACE}% intervals"
    if band:
        grey = f"Inside the grey band (±\N{NO-BREAK SPACE}{score_text(band)}) another seed alone may do as much"
        return drawn.chart(title, f"{bars}. {grey}.")
    return drawn.chart(title, f"{bars} that hold the noise of the images only.")


def _band(estimates: Sequence[Estimate], measured: Measured) -> float | None:
    """Half the width that 95 % of differences between equal settings keep to, as far as training goes."""
    if measured.noise is None:
        return None
    errors = [one.training for one in estimates if one.training is not None]
    return float(stats.t.ppf(0.975, measured.noise.degrees) * np.median(errors)) if errors else None


def _number_axis(axes: Axes, values: Sequence[Any]) -> None:
    """Mark the values themselves, on a logarithmic scale where they span orders of magnitude."""
    if min(values) > 0 and max(values) >= _LOG_FROM * min(values):
        _log_axis(axes)
    if len(values) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
        axes.xaxis.set_minor_locator(NullLocator())


def _log_axis(axes: Axes) -> None:
    """A logarithmic scale along, marked with plain numbers: `0.01`, `300k`, `3M`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    few = np.ptp(np.log10(axes.get_xlim())) < 2
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: _short_number(value) if few else ""))


def _short_number(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def cell_chart(
    block: str, parameter: str, other: str, cells: Mapping[Any, Mapping[Any, Estimate]], measured: Measured
) -> Chart | None:
    """Draw the score over one parameter, a line for each value of another.

    Args:
        block: Name of the block.
        parameter: The numbers along the axis.
        other: What the lines differ in.
        cells: value of `other` -> value of `parameter` -> score.
        measured: The trials.
    """
    cells = {value: dict(sorted(line.items())) for value, line in cells.items() if len(line) > 1}
    if not cells:
        return None
    every = sorted({level for line in cells.values() for level in line})
    bars = measured.noise is not None
    with new_figure(slug("cells", block, parameter, other), 3.3) as (figure, drawn):
        axes = figure.subplots()
        for (value, line), (colour, style), marker in zip(cells.items(), LINES, MARKERS, strict=False):
            half = [_training_half(one, measured) for one in line.values()] if bars else None
            axes.errorbar(
                list(line), [one.value for one in line.values()], yerr=half, color=colour, linestyle=style,
                marker=marker, markersize=6, capsize=2, elinewidth=1.2, label=value_text(other, value),
            )  # fmt: skip
        _number_axis(axes, every)
        axes.set(xlabel=title_of(parameter), ylabel=f"RSNA score on {measured.split}")
        legend(axes, columns=3)
    noise = "; bars are the noise of training (95\N{NO-BREAK SPACE}%)" if bars else ""
    return drawn.chart(f"{title_of(parameter)} at each {title_of(other)}", f"Mean score at each combination{noise}.")


def _training_half(estimate: Estimate, measured: Measured) -> float:
    assert measured.noise is not None
    return float(stats.t.ppf(0.975, measured.noise.degrees) * (estimate.training or 0.0))


def importance_chart(found: Sequence[tuple[str, Importance]]) -> Chart | None:
    """Draw the share of the variance of each parameter, block by block.

    Args:
        found: The block's title and its importance.
    """
    rows: list[tuple[str, float | None, float]] = []
    for title, importance in found:
        rows.append((title, None, 0.0))
        ordered = sorted(importance.shares.items(), key=lambda item: -item[1])
        rows += [(name, value, importance.by_chance[name]) for name, value in ordered]
        if importance.together is not None:
            rows.append(("only together", importance.together, 0.0))
        if importance.rest is not None:
            rows.append(("noise" if importance.together is not None else "noise and together", importance.rest, 0.0))
    if not rows:
        return None
    with new_figure("variance-shares", 0.7 + 0.24 * len(rows)) as (figure, drawn):
        axes = figure.subplots()
        for place, (_, share, by_chance) in enumerate(rows):
            if share is not None:
                axes.barh(place, 100 * share, height=0.62, color=BLUE)
                axes.annotate(f"{100 * share:.0f}", (100 * share, place), (4, -3.5), textcoords="offset points")
                if by_chance:
                    axes.plot([100 * by_chance] * 2, [place - 0.45, place + 0.45], color=ORANGE, linewidth=2)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        for text, (_, value, _) in zip(axes.get_yticklabels(), rows, strict=True):
            text.set_fontweight("bold" if value is None else "normal")
        axes.set(xlabel="% of the variance within the block", ylim=(len(rows) - 0.4, -0.6), xlim=(0, 108))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    chance = any(value for _, _, value in rows)
    sentence = "How much of the differences between a block's scores each parameter explains"
    mark = "; the upright orange mark is what a parameter without any effect would get on average"
    sentence += f"{mark if chance else ''}."
    return drawn.chart("Share of the variance by parameter", sentence)


def cost_charts(block: str, costs: pd.DataFrame, scores: Mapping[Any, Estimate], split: str) -> list[Chart]:
    """Draw the score of each model over each of its costs, with those that no other beats joined by a line."""
    numbers = {level: number for number, level in enumerate(costs.index, 1)}
    key = join([f"{number} {value_text('model', level)}" for level, number in numbers.items()])
    charts = []
    for column, words in _DRAWN_COSTS.items():
        known = costs[costs[column].notna() & (costs[column] > 0)]
        if len(known) < 2 or known[column].nunique() < 2:
            continue
        front = known[pareto_front(known[column].tolist(), known["score"].tolist())].sort_values(column)
        with new_figure(slug("cost", block, column), 3.0) as (figure, drawn):
            axes = figure.subplots()
            axes.step(front[column], front["score"], where="post", color=ORANGE, linewidth=1.4)
            for level, row in known.iterrows():
                half = scores[level].half_width or 0.0
                best = level in front.index
                axes.errorbar(
                    row[column], row["score"], yerr=half, color=ORANGE if best else BLUE, marker="o" if best else "s",
                    markersize=6, elinewidth=0.9, alpha=1.0,
                )  # fmt: skip
            is_log = known[column].max() >= 5 * known[column].min()
            if is_log:
                _log_axis(axes)
            else:
                axes.xaxis.set_major_locator(MaxNLocator(5))
            places = zip(known.index, known[column], known["score"], strict=True)
            _number_points(axes, {numbers[level]: (float(x), float(y)) for level, x, y in places}, is_log)
            axes.set(xlabel=words, ylabel=f"RSNA score on {split}")
        best_names = join([value_text("model", level) for level in front.index])
        sentence = (
            f"{key}. Joined (round): no other model costs less and scores as much: {best_names}. Bars are "
            "95\N{NO-BREAK SPACE}% intervals of each score alone; the table says which differences are real."
        )
        charts.append(drawn.chart(f"Score and {words}", sentence))
    return charts


def _number_points(axes: Axes, points: Mapping[int, tuple[float, float]], is_log: bool) -> None:
    """Write each point's number above the axes, joined to it by a thin line; near ones are moved apart.

    Args:
        axes: With its final limits along.
        points: Number -> place along the axis and score.
        is_log: Whether the axis is logarithmic.
    """
    scale = np.log if is_log else np.asarray
    low, high = scale(np.array(axes.get_xlim()))
    axes.set_xlim(axes.get_xlim())
    slot = -np.inf
    ordered = sorted(points.items(), key=lambda item: item[1][0])
    for place, (number, (x, y)) in enumerate(ordered):
        wanted = float((scale(np.array(x)) - low) / (high - low))
        room = 1 - _SLOT * (len(ordered) - 1 - place)  # what is left to its right must still fit
        slot = max(slot + _SLOT, min(wanted, room))
        axes.annotate(
            str(number), (x, y), (slot, 1.03), textcoords="axes fraction", ha="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def curve_chart(block: str, parameter: str, curves: Mapping[Any, Sequence[pd.Series]]) -> Chart | None:
    """Draw the score on val after each epoch, the mean over the trainings of each value of a parameter.

    Args:
        block: Name of the block.
        parameter: What the lines differ in.
        curves: By its value, scores by epoch; a mean goes as far as all trainings do.
    """
    means = {}
    for value, lines in curves.items():
        table = pd.concat(lines, axis=1).dropna() if lines else pd.DataFrame()
        if len(table):
            means[value] = table.mean(axis=1)
    if not means:
        return None
    few = len(means) <= len(LINES)
    with new_figure(slug("curves", block), 3.3) as (figure, drawn):
        axes = figure.subplots()
        for place, (value, mean) in enumerate(means.items()):
            colour, style = LINES[place] if few else (GREY, "-")
            marker = "." if len(mean) < 30 else None
            label = value_text(parameter, value) if few else None
            axes.plot(mean.index, mean, color=colour, linestyle=style, marker=marker, label=label, linewidth=1.5)
        axes.set(xlabel="epoch", ylabel="RSNA score on val")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(bottom=0)
        legend(axes, columns=2 if any(len(value_text(parameter, value)) > 9 for value in means) else 3)
    last = {value: len(mean) for value, mean in means.items()}
    highest = max(means, key=lambda value: means[value].max())
    sentence = (
        f"Mean over the trainings of each value of {parameter}. Highest: {named(parameter, highest)}, "
        f"{score_text(means[highest].max())} at epoch {means[highest].idxmax():.0f} of {last[highest]}."
    )
    return drawn.chart("Score on val while training", sentence)


def dependence_chart(found: Dependence) -> Chart:
    """Draw what the forest expects of one parameter."""
    name = slug("expected", found.block, found.parameter)
    numeric = all(isinstance(value, int | float) for value in found.values)
    with new_figure(name, 2.8 if numeric else 0.85 + 0.3 * len(found.values)) as (figure, drawn):
        axes = figure.subplots()
        if numeric:
            axes.fill_between(found.values, found.low, found.high, color=GREY, alpha=0.25, linewidth=0)
            axes.plot(found.values, found.scores, color=BLUE, marker=".")
            if found.log and min(found.values) > 0:
                _log_axis(axes)
            axes.set(xlabel=title_of(found.parameter), ylabel="expected RSNA score")
        else:
            places = np.arange(len(found.values))
            spread = (found.high - found.low) / 2
            axes.errorbar(found.scores, places, xerr=spread, color=BLUE, linestyle="", marker="o", elinewidth=2.5)
            axes.set_yticks(places, [value_text(found.parameter, value) for value in found.values])
            axes.set(xlabel="expected RSNA score", ylim=(len(found.values) - 0.5, -0.5))
            axes.grid(axis="y", visible=False)
    return drawn.chart(
        f"What is expected of {title_of(found.parameter)}",
        "What a random forest expects, averaged over the other parameters; the range is two standard deviations over "
        "forests grown from resampled settings.",
    )
