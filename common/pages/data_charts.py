"""What pages show of a data set: splits, classes, boxes, ages.

Each figure has a sentence computed from its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from common.data.names import CHALLENGE, OLDEST_AGE, POSITIVE_CLASS, SPLITS
from common.pages.figures import BLUE, GREY, INK, MUTED, ORANGE, TEAL, Chart, legend, new_figure
from common.pages.wording import count, join, percent

_HEATMAP_CELLS = 48
_SPLITS = (*SPLITS, CHALLENGE)


def filled_column(table: pd.DataFrame | None, name: str) -> pd.Series | None:
    """A column with NaN for empty cells, or None where it is absent or empty."""
    if table is None or name not in table:
        return None
    column = table[name].replace("", float("nan"))
    return column if column.notna().any() else None


def split_rows(manifest: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Count each split's images, patients, images with boxes, and boxes; None where the manifest does not tell."""
    split = filled_column(manifest, "split")
    if manifest is None or split is None:
        return []
    rows = []
    for name in [known for known in _SPLITS if (split == known).any()]:
        images = manifest[split == name]
        patients, boxes = filled_column(images, "patient_id"), filled_column(images, "boxes")
        numbers = None if boxes is None else pd.to_numeric(boxes, errors="coerce")
        rows.append(
            {
                "name": name,
                "images": len(images),
                "patients": None if patients is None else patients.nunique(),
                "positive": None if numbers is None else int((numbers > 0).sum()),
                "boxes": None if numbers is None else int(numbers.sum()),
            }
        )
    return rows


def draw_data(truth: Mapping[str, pd.DataFrame], manifest: pd.DataFrame | None) -> list[Chart]:
    """Draw every figure about the data that there is something to draw from.

    Args:
        truth: The boxes table of each split.
        manifest: The data set's manifest, its index the image_id; None, or one without some columns, leaves out
            what needs them.
    """
    found: list[Chart | None] = []
    split, label = filled_column(manifest, "split"), filled_column(manifest, "label")
    if split is not None and label is not None:
        shares = pd.crosstab(split[label.notna()], label.dropna())
        order = sorted(shares.columns, key=lambda name: (name != POSITIVE_CLASS, name == "Normal", name))
        names = [name for name in _SPLITS if name in shares.index]
        found += [class_shares(shares.loc[names, order])] if names else []
    boxes = pd.concat(truth.values()).dropna(subset=["x"]) if truth else pd.DataFrame(columns=["x"])
    if len(boxes):
        found.append(box_sizes(boxes["width"], boxes["height"], "pixels"))
        found.append(_heatmap(boxes, manifest))
    age = filled_column(manifest, "age")
    if manifest is not None and age is not None:
        number = filled_column(manifest, "boxes")
        none = pd.Series(False, index=manifest.index)
        positive = none if number is None else pd.to_numeric(number, errors="coerce") > 0
        found.append(ages(pd.to_numeric(age, errors="coerce"), positive))
    return [chart for chart in found if chart is not None]


def _heatmap(boxes: pd.DataFrame, manifest: pd.DataFrame | None) -> Chart | None:
    """The heat map needs each image's size, to lay images of different sizes on each other."""
    width, height = filled_column(manifest, "width"), filled_column(manifest, "height")
    if width is None or height is None:
        return None
    sizes = pd.DataFrame({"width": pd.to_numeric(width), "height": pd.to_numeric(height)})
    relative = relative_boxes(boxes, sizes[~sizes.index.duplicated()])
    return None if relative.empty else box_heatmap(relative)


def relative_boxes(boxes: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Boxes as shares of their picture's sides.

    Args:
        boxes: Rows of the boxes table with coordinates.
        images: By image id: width and height in pixels; boxes of images without them are left out.

    Returns:
        image_id, x, y, width, height (0 to 1).
    """
    across, down = (boxes["image_id"].map(images[side]).astype(float) for side in ("width", "height"))
    found = boxes[["image_id"]].assign(
        x=boxes["x"] / across, y=boxes["y"] / down, width=boxes["width"] / across, height=boxes["height"] / down
    )
    return found.dropna()


def class_shares(shares: pd.DataFrame, images: pd.Series | None = None) -> Chart:
    """Draw the share of each class in each split as stacked bars.

    Args:
        shares: Images by split (index) and class (columns, in the order of stacking).
        images: All images by split, where some have several classes: then nothing adds up to a whole, so the sentence
            has the share of the images and the bars have that of the images' classes.
    """
    if images is not None:
        first = shares.columns[0]
        of_first = shares[first] / images.reindex(shares.index)
        texts = [f"{percent(share)} of {split}" for split, share in of_first.items()]
        sentence = f"{first}: {join(texts)}. Images of several classes are counted in each."
        return stacked_shares("classes", "Classes in each split", shares, "share of all images' classes", sentence)
    portions = shares.div(shares.sum(axis=1).clip(lower=1), axis=0)
    first = portions.columns[0]
    texts = [f"{percent(share)} of {split}" for split, share in portions[first].items()]
    return stacked_shares(
        "classes", "Classes in each split", shares, "share of the split's images", f"{first}: {join(texts)}."
    )


def stacked_shares(name: str, title: str, counts: pd.DataFrame, label: str, sentence: str) -> Chart:
    """Draw how rows of a table are made up, as stacked bars that are all of one length.

    Args:
        name: Of the figure; unique in a page.
        title: Of the figure.
        counts: A row for each bar, a column for each part, in the order of stacking.
        label: Of the axis.
        sentence: What the figure shows.
    """
    portions = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    with new_figure(name, 0.95 + 0.36 * len(counts)) as (figure, drawn):
        axes = figure.subplots()
        left = np.zeros(len(counts))
        for (part, column), colour in zip(portions.items(), (ORANGE, BLUE, GREY, TEAL, INK, MUTED), strict=False):
            axes.barh(range(len(counts)), column, left=left, color=colour, label=str(part), height=0.62)
            left += column.to_numpy()
        axes.set_yticks(range(len(counts)), [str(row) for row in counts.index])
        axes.set(xlim=(0, 1), ylim=(len(counts) - 0.5, -0.5), xlabel=label)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        legend(axes, columns=2)
    return drawn.chart(title, sentence)


def box_heatmap(boxes: pd.DataFrame, of: str = "") -> Chart:
    """Draw how often each place of the picture lies in a truth box.

    Args:
        boxes: One row per box: image_id, and x, y, width, height as shares (0 to 1) of the picture's sides.
        of: Which images these are, such as `view AP`; several heat maps in one page need one each.
    """
    centres = (np.arange(_HEATMAP_CELLS) + 0.5) / _HEATMAP_CELLS
    covered = np.zeros((_HEATMAP_CELLS, _HEATMAP_CELLS))
    for _, rows in boxes.groupby("image_id"):
        x, y, width, height = (rows[name].to_numpy()[:, None] for name in ("x", "y", "width", "height"))
        in_columns = (centres >= x) & (centres < x + width)
        in_rows = (centres >= y) & (centres < y + height)
        covered += (in_rows[:, :, None] & in_columns[:, None, :]).any(axis=0)
    images = boxes["image_id"].nunique()
    covered /= max(1, images)
    with new_figure("-".join(["heatmap", *of.lower().split()]), 3.6) as (figure, drawn):
        axes = figure.subplots()
        image = axes.imshow(covered, cmap="cividis", extent=(0, 1, 1, 0), vmin=0, interpolation="nearest")
        axes.set(xlabel="across the picture", ylabel="down the picture")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=False)
        bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1.0, decimals=0), shrink=0.85)
        bar.set_label("of the images with boxes", color=MUTED)
        bar.outline.set_visible(False)
    row, column = np.unravel_index(int(covered.argmax()), covered.shape)
    middle = boxes["x"] + boxes["width"] / 2
    return drawn.chart(
        f"Where the truth boxes are{', ' if of else ''}{of}",
        f"The spot covered most often, {percent(centres[column])} across and {percent(centres[row])} down, lies in a "
        f"box in {percent(covered.max())} of {count(images)} images with boxes; {percent((middle < 0.5).mean())} of "
        "the boxes have their centre in the picture's left half (the patient's right side).",
    )


def box_sizes(widths: pd.Series, heights: pd.Series, unit: str) -> Chart:
    """Draw how wide and how high the truth boxes are.

    Args:
        widths: Width of each box.
        heights: Height of each box.
        unit: Their unit, such as `pixels`.
    """
    edges = np.linspace(0, max(widths.max(), heights.max()) * 1.001, 29)
    with new_figure("sizes", 3.1) as (figure, drawn):
        axes = figure.subplots()
        axes.hist(widths, bins=list(edges), histtype="step", color=BLUE, linewidth=1.8, label="width")
        axes.hist(
            heights, bins=list(edges), histtype="step", color=ORANGE, linewidth=1.8, linestyle="--", label="height"
        )
        axes.set(xlabel=f"{unit} of the original image", ylabel="boxes", xlim=(0, edges[-1]))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        legend(axes)
    return drawn.chart(
        "How large the truth boxes are",
        f"The median box is {widths.median():.0f} wide and {heights.median():.0f} high ({unit}); one box in ten is "
        f"narrower than {widths.quantile(0.1):.0f} and one in ten is wider than {widths.quantile(0.9):.0f}.",
    )


def ages(years: pd.Series, positive: pd.Series, oldest: int = OLDEST_AGE) -> Chart | None:
    """Draw the patients' ages, images with and without boxes apart.

    Args:
        years: Age at each image; NaN where unknown.
        positive: Whether the image has a box; same index.
        oldest: Ages above are typing errors: counted in the sentence, not drawn.

    Returns:
        None when no age is known.
    """
    known = years.notna() & years.between(0, oldest)
    if not known.any():
        return None
    edges = list(np.arange(0, math.ceil((years[known].max() + 1) / 5) * 5 + 1, 5.0))
    with new_figure("ages", 3.1) as (figure, drawn):
        axes = figure.subplots()
        parts = [years[known & ~positive], years[known & positive]]
        axes.hist(
            parts, bins=edges, stacked=True, color=[GREY, ORANGE], label=["without boxes", "with boxes"], rwidth=0.9
        )
        axes.set(xlabel="age in years", ylabel="images", xlim=(edges[0], edges[-1]))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="x", visible=False)
        legend(axes)
    low, middle, high = years[known].quantile([0.25, 0.5, 0.75])
    sentence = f"The median age is {middle:.0f} years; half of the images are of patients of {low:.0f} to {high:.0f}."
    wrong, missing = int((years > oldest).sum()), int(years.isna().sum())
    if wrong:
        sentence += (
            f" {count(wrong)} above {oldest} years, surely typing errors, {'is' if wrong == 1 else 'are'} not drawn."
        )
    if missing:
        sentence += f" The age of {count(missing)} image{'s' if missing > 1 else ''} is not known."
    return drawn.chart("Ages", sentence)
