"""Figures of a collection's tables, each with a sentence computed from its numbers.

All are functions of tables and arrays, so that a notebook can draw them: `chart.svg` is the figure, `chart.sentence`
what it shows. Where there is nothing to draw they return None.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from common.data.names import OLDEST_AGE
from common.pages.data_charts import stacked_shares
from common.pages.figures import BLUE, GREY, INK, ORANGE, TEAL, Chart, legend, new_figure
from common.pages.wording import count, join, percent

LINES = ((ORANGE, "-"), (BLUE, "--"), (GREY, ":"), (TEAL, "-."), (INK, "-"))
_PATIENT_BINS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, None))


def class_counts(labels: pd.Series) -> Chart | None:
    """How many images each class has.

    Args:
        labels: By image; missing where the truth is not known. An image may be there once for each of its classes.
    """
    counts = labels.value_counts()
    if counts.empty:
        return None
    images = labels.dropna().index.nunique()
    with new_figure("class-counts", 0.75 + 0.36 * len(counts)) as (figure, drawn):
        axes = figure.subplots()
        axes.barh(range(len(counts)), counts, color=[ORANGE if "opacity" in _lower(n) else BLUE for n in counts.index],
                  height=0.62)  # fmt: skip
        for row, number in enumerate(counts):
            axes.annotate(count(number), (number, row), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(counts)), [_short(name) for name in counts.index])
        axes.set(ylim=(len(counts) - 0.5, -0.5), xlim=(0, counts.max() * 1.18), xlabel="images")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    texts = [f"{count(number)} {name} ({percent(number / images)})" for name, number in counts.items()]
    more = f"; the most frequent of {len(texts)} classes" if len(texts) > 5 else ""
    several = int((labels.dropna().index.value_counts() > 1).sum())
    also = f" {count(several)} of {count(images)} images have several." if several else ""
    return drawn.chart("Images of each class", f"{join(texts[:5])}{more}.{also}")


def _lower(name: object) -> str:
    text = str(name).lower()
    return "" if text.startswith("no ") else text


def _short(name: object, width: int = 18) -> str:
    """A name in at most two lines."""
    return "\n".join(textwrap.wrap(str(name), width, max_lines=2, placeholder=" …"))


def boxes_per_image(boxes: pd.Series) -> Chart | None:
    """How many boxes an image with boxes has.

    Args:
        boxes: Number of boxes of each image; missing where it is not known.
    """
    known = boxes.dropna()
    counts = known[known > 0].astype(int).value_counts().sort_index()
    if counts.empty:
        return None
    with new_figure("boxes-per-image", 2.7) as (figure, drawn):
        axes = figure.subplots()
        _counted_bars(axes, [str(number) for number in counts.index], counts.tolist(), ORANGE)
        axes.set(xlabel="boxes in the image", ylabel="images with boxes")
        if len(counts) > 14:
            axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    often = counts.idxmax()
    return drawn.chart(
        "Boxes per image",
        f"{count(counts.sum())} of {count(len(known))} images ({percent(counts.sum() / len(known))}) have boxes, "
        f"mostly {often} ({percent(counts.max() / counts.sum())} of them) and at most {counts.index.max()}; "
        f"{count((counts.index.to_numpy() * counts.to_numpy()).sum())} boxes in all.",
    )


def _counted_bars(axes: Axes, names: Sequence[str], counts: Sequence[int], colour: str) -> None:
    """Upright bars with their numbers above."""
    axes.bar(names, counts, color=colour, width=0.7)
    for place, number in enumerate(counts):
        axes.annotate(count(number), (place, number), (0, 3), textcoords="offset points", ha="center")
    axes.set_ylim(0, max(counts) * 1.12)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="x", visible=False)


def aspect_ratios(widths: pd.Series, heights: pd.Series) -> Chart | None:
    """The boxes' width over height, on a logarithmic scale.

    Args:
        widths: Width of each box; missing, as in a table of all images, where there is none.
        heights: Height of each box, in the same unit.
    """
    known = (widths > 0) & (heights > 0)
    if not known.any():
        return None
    ratios = (widths[known] / heights[known]).to_numpy(float)
    low, high = max(0.1, ratios.min() * 0.95), min(10.0, ratios.max() * 1.05)
    with new_figure("aspect-ratios", 2.7) as (figure, drawn):
        axes = figure.subplots()
        axes.hist(ratios, bins=list(np.geomspace(low, max(high, low * 1.5), 31)), color=ORANGE, rwidth=0.92)
        axes.set_xscale("log")
        marks = [mark for mark in (0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10) if low <= mark <= high]
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axvline(1, color=INK, linewidth=1, linestyle=":")
        axes.set(xlabel="width / height", ylabel="boxes")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    tall = float((ratios < 1).mean())
    outer = np.quantile(ratios, [0.025, 0.975])
    return drawn.chart(
        "Shape of the boxes",
        f"{percent(tall)} of the boxes are higher than wide; the median box is {np.median(ratios):.2f} times as wide "
        f"as high, and 95\N{NO-BREAK SPACE}% are between {outer[0]:.2f} and {outer[1]:.2f}.",
    )


def box_areas(shares: pd.Series) -> Chart | None:
    """How much of the picture a box covers.

    Args:
        shares: Area of each box as a share of the picture's (0 to 1).
    """
    known = shares.dropna().to_numpy(float)
    if not known.size:
        return None
    with new_figure("areas", 2.7) as (figure, drawn):
        axes = figure.subplots()
        axes.hist(known, bins=list(np.linspace(0, known.max() * 1.001, 31)), color=ORANGE, rwidth=0.92)
        axes.set(xlabel="share of the picture's area", ylabel="boxes", xlim=(0, None))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    small, middle, large = np.quantile(known, [0.1, 0.5, 0.9])
    below, above = percent(small).removeprefix("<"), percent(large).removeprefix(">")  # the sentence says so itself
    return drawn.chart(
        "How much a box covers",
        f"The median box covers {percent(middle)} of the picture; one in ten less than {below}, one in ten "
        f"more than {above}, the largest {percent(known.max())}.",
    )


def ages_by_class(ages: pd.Series, labels: pd.Series) -> Chart | None:
    """The patients' ages, as shares of each class.

    Args:
        ages: Years at each image; missing where unknown. Those above `OLDEST_AGE` are counted, not drawn.
        labels: Class of each image, same index; an image may be there once for each of its classes.
    """
    known = ages.between(0, OLDEST_AGE) & labels.notna()
    groups = {name: ages[known & (labels == name)].to_numpy(float) for name in _largest(labels[known])}
    groups = {name: values for name, values in groups.items() if len(values)}
    if not groups:
        return None
    end = max(values.max() for values in groups.values())
    edges = list(np.arange(0, end + 5, 5.0))
    with new_figure("ages-by-class", 3.1) as (figure, drawn):
        axes = figure.subplots()
        for (name, values), (colour, style) in zip(groups.items(), LINES, strict=False):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins=edges, weights=weights, histtype="step", color=colour, linestyle=style,
                      linewidth=1.8, label=_short(name))  # fmt: skip
        axes.set(xlabel="age in years", ylabel="share of the class", xlim=(0, edges[-1]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend(axes, columns=2)
    texts = [f"{np.median(values):.0f} for {name}" for name, values in groups.items()]
    sentence = f"The median age is {join(texts)}."
    ages = ages[~ages.index.duplicated()]
    wrong, missing = int((ages > OLDEST_AGE).sum()), int(ages.isna().sum())
    if wrong:
        oldest = join([f"{age:.0f}" for age in sorted(ages[ages > OLDEST_AGE].unique())][:6])
        are = "age is" if wrong == 1 else "ages are"
        sentence += f" {count(wrong)} {are} impossible ({oldest} years), surely typing errors, and not drawn."
    if missing:
        sentence += f" The age of {count(missing)} images is not known."
    return drawn.chart("Age by class", sentence)


def _largest(labels: pd.Series) -> list[str]:
    """The classes with most images, one with opacities first; no more than can be told apart."""
    names = labels.value_counts().index.tolist()[: len(LINES)]
    return sorted(names, key=lambda name: "opacity" not in _lower(name))


def values_by_class(name: str, title: str, values: pd.Series, labels: pd.Series) -> Chart | None:
    """How often a feature of images, such as sex or view, has each value in each class.

    Args:
        name: Of the figure; unique in a page.
        title: Of the figure.
        values: The feature of each image; missing where unknown.
        labels: Class of each image, same index; an image may be there once for each of its classes.
    """
    known = values.notna() & labels.notna()
    classes = _largest(labels[known])
    table = pd.crosstab(labels[known].to_numpy(), values[known].to_numpy())
    if not classes or table.empty:
        return None
    order = table.sum().sort_values(ascending=False).index[:6]
    table = table.loc[classes, order]
    first = order[0]
    shares = table[first] / table.sum(axis=1)
    texts = [f"{percent(share)} of {label}" for label, share in shares.items()]
    sentence = f"{first}: {join(texts)}."
    if len(texts) > 1 and shares.max() - shares.min() > 0.1:
        sentence += " A model can learn the class from this, without looking at the lungs."
    unknown = int(values[~values.index.duplicated()].isna().sum())
    if unknown:
        sentence += f" Of {count(unknown)} images it is not known."
    table.index = [_short(label) for label in table.index]
    return stacked_shares(name, title, table, "share of the class's images", sentence)


def pixel_spacings(spacings: pd.Series) -> Chart | None:
    """Size of a pixel.

    Args:
        spacings: Millimetres between rows, of each image; missing where unknown.
    """
    known = spacings.dropna()
    if known.empty:
        return None
    counts = known.round(3).value_counts()
    with new_figure("pixel-spacing", 2.5) as (figure, drawn):
        axes = figure.subplots()
        axes.hist(known.to_numpy(float), bins=30, color=BLUE, rwidth=0.92)
        axes.set(xlabel="pixel spacing in mm", ylabel="images")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    often = [f"{spacing:g} mm ({percent(number / len(known))})" for spacing, number in counts.head(3).items()]
    what = "value" if len(counts) == 1 else "values"
    return drawn.chart(
        "Size of a pixel",
        f"{count(len(counts))} {what} from {known.min():.3f} to {known.max():.3f} mm; most often {join(often)}. The "
        f"same lung is up to {known.max() / known.min():.2f} times as large in one picture as in another for this.",
    )


def intensities(histograms: NDArray[np.float64], labels: Sequence[str | Sequence[str] | None]) -> Chart | None:
    """Mean histogram of grey values, by class.

    Args:
        histograms: (N, bins): share of each picture's pixels by grey value, from black to white.
        labels: Class of each picture, or its classes; None where it is not known.
    """
    if not len(histograms):
        return None
    column = pd.Series(list(labels), dtype=object).explode()
    bins = histograms.shape[1]
    values = (np.arange(bins) + 0.5) * 256 / bins
    means = {}
    with new_figure("intensities", 3.0) as (figure, drawn):
        axes = figure.subplots()
        for name, (colour, style) in zip(_largest(column.dropna()) or ["all"], LINES, strict=False):
            rows = histograms if name == "all" else histograms[column.index[column == name]]
            mean = rows.mean(axis=0)
            means[name] = float((mean * values).sum())
            axes.plot(values, mean, color=colour, linestyle=style, label=_short(name))
        axes.set(xlabel="grey value, 0 is black", ylabel="share of the pixels", xlim=(0, 255), ylim=(0, None))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend(axes, columns=2)
    black = histograms[:, 0]
    texts = [f"{mean:.0f} for {name}" for name, mean in means.items()]
    dark = int((black > 0.25).sum())
    more = "no picture is" if not dark else "one picture is" if dark == 1 else f"{count(dark)} pictures are"
    return drawn.chart(
        "Grey values",
        f"The mean grey value is {join(texts)}. In the median picture {percent(np.median(black))} of the pixels are "
        f"black (below {256 // bins}); {more} black in more than a quarter.",
    )


def images_per_patient(patients: pd.Series) -> Chart | None:
    """How many images a patient has.

    Args:
        patients: Patient of each image; missing where nobody knows.
    """
    sizes = patients.dropna().value_counts()
    if sizes.empty:
        return None
    names, numbers = [], []
    for low, high in _PATIENT_BINS:
        inside = sizes.between(low, high if high is not None else sizes.max())
        names.append(f"{low}" if low == high else f"{low}–{high}" if high else f"{low}+")
        numbers.append(int(inside.sum()))
    while len(numbers) > 1 and not numbers[-1]:
        names.pop()
        numbers.pop()
    with new_figure("images-per-patient", 2.7) as (figure, drawn):
        axes = figure.subplots()
        _counted_bars(axes, names, numbers, BLUE)
        axes.set(xlabel="images of the patient", ylabel="patients")
    several = sizes[sizes > 1]
    share = percent(several.sum() / sizes.sum())
    return drawn.chart(
        "Images per patient",
        f"{count(sizes.sum())} images are of {count(len(sizes))} patients; {count(len(several))} patients have "
        f"several, up to {count(sizes.max())}, and {count(several.sum())} images ({share}) are of such a patient.",
    )
