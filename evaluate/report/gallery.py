"""Which images the report shows: what became of every image, and examples of each outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.errors import UserError
from common.pages.pictures import data_uri, overlay, thumbnail
from common.pages.wording import is_number
from evaluate.metrics.rsna import image_scores
from evaluate.postprocess.boxes import drop_below
from evaluate.scoring.numbers import mark_hits

Pictures = Callable[[str], NDArray[np.uint8]] | Mapping[str, Path]
"""Gives the grey uint8 picture (height, width) of an image id, or the file that holds it."""

FOUND, MISPLACED, MISSED, FALSE_ALARM, EMPTY = "found", "misplaced", "missed", "false alarm", "empty"
OUTCOMES = (FOUND, MISPLACED, MISSED, FALSE_ALARM, EMPTY)
"""With boxes: a prediction hits (IoU > 0.5), there are predictions but none hits, none. Without boxes: any, none."""

GROUPS = {
    "best": ("Best", "The images with opacity that score highest."),
    "typical": ("Typical", "Images with opacity and predictions whose score is in the middle."),
    "worst": (
        "Lowest scores",
        "Images with opacity and predictions that score lowest; of equal ones, where the model is surest.",
    ),
    "missed": ("Missed", "Images with opacity on which nothing is predicted; larger opacities first."),
    "false_alarms": ("False alarms", "Images without opacity on which the model is surest of one. Each scores 0."),
    "empty": ("Rightly left empty", "Images without opacity and without prediction, picked evenly; they do not count."),
}
"""Key, heading and explanation of each group of examples, in the order of the page."""

_THUMBNAIL = 384


@dataclass(frozen=True)
class Example:
    """One picture of the gallery.

    Attributes:
        image_id: The image.
        label: Its class in the truth table.
        view: View position, or an empty string.
        score: Its RSNA score; None where it does not count.
        note: What is to be seen, one short sentence.
        uri: The picture with its boxes as a `data:` URI; None where the picture could not be had.
    """

    image_id: str
    label: str
    view: str
    score: float | None
    note: str
    uri: str | None


@dataclass(frozen=True)
class Results:
    """The images of one split with what is true and what is predicted.

    Attributes:
        truth: The boxes table.
        predictions: The predictions at or above the threshold, with the column `hit`.
        images: One row for each image_id (the index): outcome, score, area (of its truth boxes, square pixels),
            confidence (of its strongest prediction at any confidence; 0 for none), label.
    """

    truth: pd.DataFrame
    predictions: pd.DataFrame
    images: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """Count the images of each outcome."""
        return {outcome: int((self.images["outcome"] == outcome).sum()) for outcome in OUTCOMES}


def find_results(truth: pd.DataFrame, predictions: pd.DataFrame, confidence: float) -> Results:
    """Work out each image's outcome.

    Args:
        truth: The boxes table of the split.
        predictions: The predictions table, post-processed.
        confidence: Predictions below are not used.
    """
    kept = mark_hits(truth, drop_below(predictions, confidence))
    images = pd.DataFrame({"score": image_scores(truth, predictions, confidence)})
    by_image = truth.assign(area=(truth["width"] * truth["height"]).fillna(0.0)).groupby("image_id")
    images["area"] = by_image["area"].sum()
    images["label"] = by_image["label"].first().fillna("") if "label" in truth else ""
    images["confidence"] = predictions.groupby("image_id")["confidence"].max().reindex(images.index).fillna(0.0)
    predicted = images.index.isin(kept["image_id"])
    hit = images.index.isin(kept.loc[kept["hit"], "image_id"])
    positive = images["area"] > 0
    images["outcome"] = np.select(
        [positive & hit, positive & predicted, positive, predicted], [FOUND, MISPLACED, MISSED, FALSE_ALARM], EMPTY
    )
    return Results(truth, kept, images)


def choose(images: pd.DataFrame, each: int = 4) -> dict[str, list[str]]:
    """Choose image ids for every group of `GROUPS`; no image is in two groups, and the choice is always the same.

    Args:
        images: `Results.images`.
        each: The most images of a group.
    """
    order = images.rename_axis("image_id").reset_index().sort_values("image_id")
    scored = order[order["outcome"].isin([FOUND, MISPLACED])].sort_values("score", ascending=False, kind="stable")
    share = min(each, -(-len(scored) // 3))
    best = scored[scored["score"] > 0].head(share)
    rest = scored.drop(best.index)
    # Of equally bad ones, those that the model is surest of tell most.
    worst = rest.sort_values(["score", "confidence"], ascending=[True, False], kind="stable").head(share)
    rest = rest.drop(worst.index)
    distance = (rest["score"] - scored["score"].median()).abs()
    typical = rest.loc[distance.sort_values(kind="stable").index[:each]]
    missed = order[order["outcome"] == MISSED].sort_values("area", ascending=False, kind="stable").head(each)
    alarms = order[order["outcome"] == FALSE_ALARM].sort_values("confidence", ascending=False, kind="stable").head(each)
    empty = order[order["outcome"] == EMPTY]
    evenly = empty.iloc[np.unique(np.linspace(0, len(empty) - 1, each).round().astype(int))] if len(empty) else empty
    chosen = {
        "best": best, "typical": typical, "worst": worst, "missed": missed, "false_alarms": alarms, "empty": evenly
    }  # fmt: skip
    return {group: [str(name) for name in chosen[group]["image_id"]] for group in GROUPS}


def make_example(image_id: str, results: Results, manifest: pd.DataFrame | None, pictures: Pictures) -> Example:
    """Draw one picture of the gallery; a picture that cannot be had leaves an example without one.

    Args:
        image_id: An image of `results`.
        results: From `find_results`.
        manifest: The data set's manifest indexed by image_id, for the view and for the size that coordinates refer to.
        pictures: Where pictures come from; files are read as grey.
    """
    image = _row(results.images, image_id)
    facts = {} if manifest is None else _row(manifest, image_id)
    boxes = results.truth.loc[results.truth["image_id"] == image_id, ["x", "y", "width", "height"]].dropna()
    found = results.predictions[results.predictions["image_id"] == image_id]
    try:
        pixels = _read(image_id, pictures)
    except (OSError, LookupError, ValueError, UserError, cv2.error):
        uri = None
    else:
        uri = _draw(pixels, boxes.to_numpy(dtype=float), found, _size(facts, pixels))
    view = facts.get("view")
    return Example(
        image_id=image_id,
        label=str(image["label"]),
        view="" if view is None or pd.isna(view) else str(view),
        score=None if np.isnan(image["score"]) else float(image["score"]),
        note=_note(len(boxes), found, str(image["outcome"]), float(image["confidence"])),
        uri=uri,
    )


def _row(table: pd.DataFrame, image_id: str) -> dict[str, Any]:
    rows = table[table.index == image_id]
    return {str(name): value for name, value in rows.iloc[0].items()} if len(rows) else {}


def _draw(
    pixels: NDArray[np.uint8], truth_xywh: NDArray[np.float64], found: pd.DataFrame, size: tuple[float, float]
) -> str:
    small = thumbnail(pixels, _THUMBNAIL)
    # Lines are drawn on the small picture, where they stay sharp.
    factors = np.array([small.shape[1] / size[0], small.shape[0] / size[1]] * 2)
    predictions = found[["confidence", "x", "y", "width", "height"]].to_numpy(dtype=float, copy=True)
    predictions[:, 1:] *= factors
    return data_uri(overlay(small, truth_xywh * factors, predictions, found["hit"].to_numpy(dtype=bool)))


def _size(facts: Mapping[str, Any], pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Width and height that coordinates refer to: the original image's, which may have been stored smaller."""
    width, height = facts.get("width"), facts.get("height")
    if is_number(width) and is_number(height) and min(width, height) > 0:
        return float(width), float(height)
    return float(pixels.shape[1]), float(pixels.shape[0])


def _read(image_id: str, pictures: Pictures) -> NDArray[np.uint8]:
    if callable(pictures):
        pixels = np.asarray(pictures(image_id))
    else:
        encoded = np.frombuffer(Path(pictures[image_id]).read_bytes(), dtype=np.uint8)
        decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
        if decoded is None:
            raise ValueError(f"{pictures[image_id]}: not a picture")
        pixels = np.asarray(decoded)
    if pixels.ndim == 3:
        pixels = (
            pixels[:, :, 0]
            if pixels.shape[2] == 1
            else np.asarray(cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        )
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"{image_id}: expected uint8 (height, width), found {pixels.dtype} {pixels.shape}")
    return pixels


def _note(boxes: int, found: pd.DataFrame, outcome: str, strongest: float) -> str:
    if outcome in (FOUND, MISPLACED):
        hits = int(found["hit"].sum())
        return f"{hits} of {boxes} true box{'es' if boxes != 1 else ''} hit by {_some(len(found), 'prediction')}."
    if outcome == FALSE_ALARM:
        return f"{_some(len(found), 'prediction')} and nothing there."
    nearest = f"; the strongest rejected one had {strongest:.2f}" if strongest > 0 else ""
    return f"No prediction{' for ' + _some(boxes, 'box', 'boxes') if outcome == MISSED else ''}{nearest}."


def _some(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
