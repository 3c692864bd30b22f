"""Which images a page about data shows, and how: examples of every class, and pictures that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.data.names import COORDINATES
from common.pages.data_charts import relative_boxes
from common.pages.pictures import data_uri, overlay, thumbnail
from common.pages.wording import percent
from convert.exploring.collection import Collection
from convert.exploring.measuring import Measured, look

_THUMBNAIL = 352
_MOST_CLASSES = 6


@dataclass(frozen=True)
class Example:
    """One picture.

    Attributes:
        image_id: The image.
        label: Its class.
        facts: View, sex and age, where known.
        note: Why it is here.
        uri: The picture with its boxes as a `data:` URI; None where it could not be read.
    """

    image_id: str
    label: str
    facts: str
    note: str
    uri: str | None


@dataclass(frozen=True)
class Group:
    """Pictures with something in common: a heading, what it is, the pictures."""

    heading: str
    explanation: str
    examples: Sequence[Example]


def class_groups(collection: Collection, measured: Measured, each: int = 4) -> list[Group]:
    """Examples of every class, of the pictures that were measured.

    Of a class with boxes: the largest, the smallest, the oddest (far from where boxes usually are and how they are
    shaped), the hardest (the box is hardly brighter than what is around it). Of any other: some picked evenly, and
    those whose grey values are the oddest.

    Args:
        collection: The images.
        measured: Their pictures' measurements; without any there are no groups.
        each: Pictures in a group.
    """
    seen = collection.images.loc[collection.images.index.isin(measured.image_ids)]
    boxed = collection.boxes.dropna(subset=["x"])
    boxes = relative_boxes(boxed, seen)
    classes = collection.classes()
    classes = classes[classes.index.isin(seen.index)].dropna()
    groups: list[Group] = []
    names = set(boxed["label"])
    for label in sorted(classes.value_counts().index[:_MOST_CLASSES], key=lambda name: name not in names):
        ids = classes.index[classes == label]
        own = boxes[boxed["label"][boxes.index] == label]
        if len(own):
            groups += _boxed(collection, measured, str(label), own, each)
        else:
            groups += _boxless(collection, measured, str(label), ids, each)
    return [group for group in groups if group.examples]


def duplicate_group(collection: Collection, pairs: pd.DataFrame, most: int = 4) -> Group | None:
    """Pairs of the same picture, side by side; those with different classes first. None where there are none."""
    if pairs.empty:
        return None
    labels = collection.images["label"]
    differ = pairs["first"].map(labels).fillna("") != pairs["second"].map(labels).fillna("")
    shown = pairs.assign(differ=differ).sort_values("differ", ascending=False, kind="stable").head(most)
    examples = []
    for first, second in zip(shown["first"], shown["second"], strict=True):
        examples.append(_example(collection, first, f"The same picture as {second}."))
        examples.append(_example(collection, second, f"The same picture as {first}."))
    return Group("Pictures that are there twice", "In pairs; those whose classes differ come first.", examples)


def _boxed(collection: Collection, measured: Measured, label: str, boxes: pd.DataFrame, each: int) -> list[Group]:
    area = (boxes["width"] * boxes["height"]).set_axis(boxes["image_id"], axis=0)
    by_image = area.groupby(level=0)
    largest, smallest = by_image.max().sort_values(ascending=False), by_image.min().sort_values()
    odd = pd.Series(_oddness(boxes), index=boxes["image_id"].to_numpy()).groupby(level=0).max()
    odd = odd.sort_values(ascending=False)
    faint = pd.Series(measured.contrasts, index=measured.image_ids)[by_image.max().index].dropna().sort_values()

    def group(kind: str, explanation: str, ranked: pd.Series, notes: pd.Series) -> Group:
        return Group(
            f"{label}: {kind}",
            explanation,
            [_example(collection, str(name), str(notes[name])) for name in ranked.index[:each]],
        )

    return [
        group("largest", "The box that covers most of its picture.", largest,
              largest.map(lambda share: f"The box covers {percent(share)} of the picture.")),
        group("smallest", "The box that covers least.", smallest,
              smallest.map(lambda share: f"The box covers {percent(share)} of the picture.")),
        group("oddest", "A box that is far from where and how boxes usually are.", odd,
              odd.map(lambda value: f"{value:.1f} standard deviations from the usual box.")),
        group("hardest", "A box that is hardly brighter, or even darker, than what is around it.", faint,
              faint.map(lambda levels: f"{levels:+.0f} of 255 grey levels against its surroundings.")),
    ]  # fmt: skip


def _oddness(boxes: pd.DataFrame) -> np.ndarray:
    """How far each box is from the usual one (Mahalanobis), by place, side of the chest aside, and by size: (N,)."""
    features = np.column_stack(
        [
            (boxes["x"] + boxes["width"] / 2 - 0.5).abs(),
            boxes["y"] + boxes["height"] / 2,
            np.log(boxes["width"]),
            np.log(boxes["height"]),
        ]
    )
    centred = features - features.mean(axis=0)
    inverse = np.linalg.pinv(np.cov(centred, rowvar=False)) if len(features) > 1 else np.zeros((4, 4))
    return np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", centred, inverse, centred), 0))


def _boxless(collection: Collection, measured: Measured, label: str, ids: pd.Index, each: int) -> list[Group]:
    names = pd.Index(measured.image_ids)
    places = names.get_indexer(ids)
    shares = measured.histograms[places]
    # Half the summed differences: the share of the pixels that would have to change.
    distance = pd.Series(np.abs(shares - shares.mean(axis=0)).sum(axis=1) / 2, index=ids)
    odd = distance.sort_values(ascending=False, kind="stable").index[:each]
    evenly = ids[np.unique(np.linspace(0, len(ids) - 1, each).round().astype(int))]
    return [
        Group(f"{label}: some", "Picked evenly.", [_example(collection, str(name), "") for name in evenly]),
        Group(
            f"{label}: oddest",
            "Pictures whose grey values are far from those of their class.",
            [
                _example(collection, str(name), f"{percent(distance[name])} of its pixels are of other grey values.")
                for name in odd
            ],
        ),
    ]


def _example(collection: Collection, image_id: str, note: str) -> Example:
    facts: Any = collection.images.loc[image_id]
    texts = [facts["view"], facts["sex"], f"{facts['age']:.0f} years" if facts["age"] >= 0 else None]
    label = facts["label"] if isinstance(facts["label"], str) else ""
    known = " · ".join(str(text) for text in texts if isinstance(text, str))
    try:
        uri = _draw(collection, image_id, facts["width"], facts["height"])
    except (ValueError, LookupError):
        uri = None
    return Example(image_id, label, known, note, uri)


def _draw(collection: Collection, image_id: str, width: float, height: float) -> str:
    pixels = look(collection, image_id)
    small = thumbnail(pixels, _THUMBNAIL)
    boxes = collection.boxes[collection.boxes["image_id"] == image_id].dropna(subset=["x"])
    # Where there is one class, its name on every box would only hide what is in it.
    names = boxes["label"].tolist() if collection.boxes.dropna(subset=["x"])["label"].nunique() > 1 else None
    # Lines are drawn on the small picture, where they stay sharp.
    across, down = (width, height) if width > 0 and height > 0 else pixels.shape[::-1]
    factors = np.array([small.shape[1] / across, small.shape[0] / down] * 2)
    scaled = boxes[COORDINATES].to_numpy(dtype=float) * factors
    return data_uri(overlay(small, scaled, np.empty((0, 5)), truth_labels=names))
