"""The page about data: one self-contained HTML file, readable by a person who has not seen the data.

The page needs nothing beside itself: style, figures and pictures are inside, and it asks the browser to load nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from common.data.names import SPLITS
from common.files import write_atomic
from common.pages.data_charts import box_heatmap, box_sizes, class_shares, relative_boxes, split_rows
from common.pages.figures import Chart
from common.pages.page import template
from common.pages.wording import count, percent
from convert.exploring import charts, sentences
from convert.exploring.collection import Collection
from convert.exploring.duplicates import find_duplicates
from convert.exploring.gallery import Group, class_groups, duplicate_group
from convert.exploring.measuring import Measured

_FEWEST_FOR_A_VIEW = 20


@dataclass(frozen=True)
class Part:
    """A section of the page: address, heading, paragraphs, figures."""

    key: str
    title: str
    texts: Sequence[str]
    charts: Sequence[Chart]


def write_data_page(output: Path, collection: Collection, measured: Measured | None, command: str) -> Path:
    """Write the page.

    Args:
        output: The HTML file; its folder is made.
        collection: What is shown, with the headers that were read.
        measured: What the pictures say; None where they were not looked at.
        command: That made the page.

    Returns:
        `output`.

    Raises:
        WorkError: The page cannot be written.
    """
    pairs = find_duplicates(measured.image_ids, measured.hashes, measured.small) if measured else None
    found = sentences.leak(collection)
    images = collection.images
    page = template(Path(__file__).parent / "templates", "data.html.j2").render(
        collection=collection,
        tiles=tiles(collection),
        classes=sentences.class_words(collection),
        leak=found,
        gaps=sentences.gaps(collection),
        odd=sentences.odd_facts(collection),
        parts=[part for part in _parts(collection, measured, pairs) if part.charts or part.texts],
        splits=split_rows(images) if images["split"].notna().any() else [],
        split_charts=_split_charts(images, collection.classes()),
        groups=_groups(collection, measured, pairs),
        looked_at=_looked_at(collection, measured),
        command=command,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    write_atomic(output, page)
    return output


def tiles(collection: Collection) -> list[tuple[str, str]]:
    """The numbers at the page's top: number and what it counts."""
    images = collection.images
    known = images["boxes"].dropna()
    found = [(count(len(images)), "images")]
    if collection.rows is not None:
        found.append((count(collection.rows), "rows of labels"))
    if len(known):
        labelled = f" of {count(len(known))} labelled" if len(known) < len(images) else ""
        found.append((count((known > 0).sum()), f"images with boxes ({percent((known > 0).mean())}{labelled})"))
        found.append((count(known.sum()), "boxes"))
    if images["patient_id"].notna().any():
        found.append((count(images["patient_id"].nunique()), "patients"))
    if len(collection.rejected):
        found.append((count(len(collection.rejected)), "rows or images that cannot be used"))
    return found


def _parts(collection: Collection, measured: Measured | None, pairs: pd.DataFrame | None) -> list[Part]:
    images, classes = collection.images, collection.classes()
    boxes = collection.boxes.dropna(subset=["x"])
    relative = relative_boxes(boxes, images)
    by_class = charts.values_by_class
    mixtures = sentences.label_mixtures(images)
    pictures: list[Chart | None] = [charts.pixel_spacings(images["pixel_spacing_mm"])]
    texts = []
    if measured is not None and pairs is not None and len(measured.image_ids):
        pictures.append(charts.intensities(measured.histograms, _of_each(classes, measured.image_ids)))
        texts.append(sentences.duplicate_text(collection, pairs, len(measured.image_ids)))
        if measured.rejected:
            image_id, reason = measured.rejected[0]
            texts.append(f"{count(len(measured.rejected))} pictures cannot be read; the first, {image_id}: {reason}.")
    sizes = images[["width", "height"]].dropna().value_counts()
    if len(sizes):
        across, down = sizes.index[0]
        often = f"{across:.0f} x {down:.0f} pixels"
        texts.append(
            f"All pictures have {often}."
            if len(sizes) == 1
            else f"Pictures have {count(len(sizes))} sizes; {percent(sizes.iloc[0] / sizes.sum())} have {often}."
        )
    return [
        Part("classes", "Classes", [], _drawn(charts.class_counts(classes))),
        Part("boxes", "Boxes", [], _drawn(
            charts.boxes_per_image(images["boxes"]),
            box_sizes(boxes["width"], boxes["height"], "pixels") if len(boxes) else None,
            charts.aspect_ratios(boxes["width"], boxes["height"]),
            charts.box_areas(relative["width"] * relative["height"]),
            *heatmaps(relative, images["view"]),
        )),
        Part("people", "Patients", [mixtures] if mixtures else [], _drawn(
            charts.images_per_patient(images["patient_id"]),
            charts.ages_by_class(images["age"][classes.index], classes),
            by_class("sex", "Sex by class", images["sex"][classes.index], classes),
            by_class("view", "View by class", images["view"][classes.index], classes),
        )),
        Part("pictures", "Pictures", texts, _drawn(*pictures)),
    ]  # fmt: skip


def _of_each(classes: pd.Series, image_ids: Sequence[str]) -> list[list[str] | None]:
    """The classes of each of some images; None where they are not known."""
    known = classes.dropna().groupby(level=0).agg(list).to_dict()
    return [known.get(image_id) for image_id in image_ids]


def _drawn(*charts: Chart | None) -> list[Chart]:
    return [chart for chart in charts if chart is not None]


def heatmaps(relative: pd.DataFrame, views: pd.Series) -> list[Chart]:
    """Where boxes lie, for every view that is frequent enough; for all together where views are not known.

    Args:
        relative: From `relative_boxes`.
        views: View of each image, by image id.
    """
    if relative.empty:
        return []
    of = relative["image_id"].map(views)
    counts = relative.groupby(of)["image_id"].nunique()
    frequent = counts[counts >= _FEWEST_FOR_A_VIEW].sort_values(ascending=False).index[:4]
    if len(frequent) < 2:
        return [box_heatmap(relative)]
    return [box_heatmap(relative[of == view], f"view {view}") for view in frequent]


def _split_charts(images: pd.DataFrame, classes: pd.Series) -> list[Chart]:
    classes = classes[images["split"][classes.index].notna().to_numpy()].dropna()
    split = images["split"][classes.index]
    if split.nunique() < 2:
        return []
    shares = pd.crosstab(split.to_numpy(), classes.to_numpy())
    order = [name for name in SPLITS if name in shares.index]
    counts = shares.sum().sort_values(ascending=False)
    boxed = images["boxes"][classes.index].groupby(classes.to_numpy()).max()
    names = sorted(counts.index[:6], key=lambda name: not boxed[name] > 0)  # those with boxes first
    whole = split[~split.index.duplicated()].value_counts() if classes.index.has_duplicates else None
    return [class_shares(shares.loc[order, names], whole)] if order else []


def _groups(collection: Collection, measured: Measured | None, pairs: pd.DataFrame | None) -> list[Group]:
    if measured is None or pairs is None or not measured.image_ids:
        return []
    twice = duplicate_group(collection, pairs)
    return [*class_groups(collection, measured), *([twice] if twice else [])]


def _looked_at(collection: Collection, measured: Measured | None) -> str:
    files = int(collection.images["file"].notna().sum())
    if measured is None:
        return f"The tables only: none of {count(files)} pictures was looked at." if files else "No pictures are here."
    share = "All" if len(measured.image_ids) == len(collection.images) else count(len(measured.image_ids))
    return f"{share} of {count(len(collection.images))} pictures were looked at."
