"""A fitted pipeline: what is done to predictions after the model, as frozen steps, kept in a readable file.

The steps, in their order: overlapping boxes go (`Suppression`), then those beyond the most of an image (`MostBoxes`);
the others are resized by side and view (`BoxScale`), a classifier has its say (`GateRule`), and what has too little
confidence goes (`Confidence`). Each is a pure function of a predictions table. `evaluate.postprocess.fitting` chooses
them; those of `Pipeline()` but for the confidence leave boxes inside their pictures as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import pandas as pd
import yaml

from common.data.names import COORDINATES
from common.data.tables import COORDINATE_DECIMALS, empty_predictions, sort_predictions
from common.errors import UnreadableError, UserError
from common.files import read_regular, write_atomic
from common.paths import shown
from evaluate.metrics.matching import IOU_DECIMALS, iou, start_of_run
from evaluate.postprocess.boxes import drop_below
from evaluate.postprocess.gate import GateRule

FORMAT = 1
SMALLEST_SIDE = 10.0**-COORDINATE_DECIMALS
"""Pixels that are left of a side at least: a box that lies beside its picture is a false one, but does not vanish."""

_MOST_BYTES = 64 * 1024
_HEADER = "# Post-processing as fitted by evaluate.postprocess.fit. The score is that of the images it was fitted on.\n"


class Sides(NamedTuple):
    """Factors on a box's width and height; above 0, and 1 leaves the side."""

    scale_x: float
    scale_y: float


UNCHANGED = Sides(1.0, 1.0)


@dataclass(frozen=True)
class Suppression:
    """Greedy non-maximum suppression, image by image: the less confident of two boxes that overlap goes.

    Attributes:
        iou: A box goes if its IoU with a more confident one that stays is greater; None: none goes.
    """

    iou: float | None = None

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Give those that stay; (P) rows sorted by image and falling confidence, of equals the first goes first."""
        if self.iou is None or predictions.empty:
            return predictions
        boxes = predictions[COORDINATES].to_numpy(float)
        first, rank = _ranks(predictions)
        stays = np.ones(len(boxes), dtype=bool)
        least = np.round(self.iou, IOU_DECIMALS)
        # The first boxes of all images judge the others, then the second ones that are still there, and so on.
        for judge in range(int(rank.max())):
            judged = np.flatnonzero(stays & (rank > judge))
            judged = judged[stays[first[judged] + judge]]
            overlap = np.round(iou(boxes[judged], boxes[first[judged] + judge]), IOU_DECIMALS)
            stays[judged[overlap > least]] = False
        return predictions[stays].reset_index(drop=True)


@dataclass(frozen=True)
class MostBoxes:
    """The most confident boxes of each image.

    Attributes:
        boxes: How many of an image stay at most, 1 or more; None: all.
    """

    boxes: int | None = None

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Give those that stay; rows sorted as for `Suppression`."""
        if self.boxes is None or predictions.empty:
            return predictions
        return predictions[_ranks(predictions)[1] < self.boxes].reset_index(drop=True)


@dataclass(frozen=True)
class BoxScale:
    """Boxes resized about their centres by side and view, then clipped to their picture.

    Attributes:
        ap: Factors on the boxes of images whose view is AP.
        pa: Of those whose view is PA.
        other: Of all other images, also those whose view is not known.
    """

    ap: Sides = UNCHANGED
    pa: Sides = UNCHANGED
    other: Sides = UNCHANGED

    @classmethod
    def common(cls, sides: Sides) -> BoxScale:
        """The same factors for every view."""
        return cls(sides, sides, sides)

    def apply(self, predictions: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
        """Give as many boxes, rounded to 0.01 pixel; none has a side below `SMALLEST_SIDE`.

        Raises:
            UserError: An image with predictions is not in the manifest, or its width or height is not known there.
        """
        if predictions.empty:
            return predictions
        pictures = Pictures.of(predictions["image_id"], manifest)
        factors = np.array([getattr(self, view) for view in VIEWS])[pictures.view]
        resized = predictions.copy()
        resized[COORDINATES] = resized_boxes(predictions[COORDINATES].to_numpy(float), factors, pictures.size)
        return resized


VIEWS = tuple(one.name for one in fields(BoxScale))
"""The views that have factors of their own, in lower case, and last the one that stands for the others."""


@dataclass(frozen=True)
class Confidence:
    """The least confidence.

    Attributes:
        least: Predictions below are left out.
    """

    least: float = 0.0

    def apply(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Give those of at least this confidence."""
        return drop_below(predictions, self.least)


@dataclass(frozen=True)
class FittedOn:
    """What a pipeline was fitted on.

    Attributes:
        images: How many images.
        score: The RSNA score that it reaches on them. It flatters: report one of other patients.
    """

    images: int = 0
    score: float = 0.0


@dataclass(frozen=True)
class Pipeline:
    """The steps, in the order in which they are taken; see the module."""

    suppression: Suppression = Suppression()
    most_boxes: MostBoxes = MostBoxes()
    box_scale: BoxScale = BoxScale()
    gate: GateRule = field(default_factory=lambda: GateRule("none"))
    confidence: Confidence = Confidence()
    fitted_on: FittedOn = FittedOn()

    def apply(self, predictions: pd.DataFrame, manifest: pd.DataFrame, gate: pd.Series | None = None) -> pd.DataFrame:
        """Take all steps.

        Args:
            predictions: The predictions table, as the model made it.
            manifest: The manifest table; image_id, view, width and height are used.
            gate: P(opacity) by image_id; needed if the pipeline has a gate, else not looked at.

        Returns:
            A new predictions table of what remains, sorted by image and, before the gate, falling confidence.

        Raises:
            UserError: An image with predictions is not in the manifest or has no size there, or no probability; or the
                pipeline has a gate and there are no probabilities.
        """
        if self.gate.mode != "none" and gate is None:
            raise UserError(
                f"gate: none given, but this pipeline was fitted with one (mode {self.gate.mode!r}); give P(opacity) "
                "of every image, or fit it without"
            )
        if predictions.empty:
            return empty_predictions()
        left = self.most_boxes.apply(self.suppression.apply(sort_predictions(predictions)))
        left = self.box_scale.apply(left, manifest)
        if gate is not None:
            left = self.gate.apply(left, gate)
        return self.confidence.apply(left)

    def to_yaml(self, path: Path) -> None:
        """Write it to a file, which is either absent or whole.

        Raises:
            WorkError: It cannot be written.
        """
        scale = {view: _numbers(getattr(self.box_scale, view)._asdict()) for view in VIEWS}
        content = {
            "format": FORMAT,
            "suppression": _numbers({"iou": self.suppression.iou}),
            "most_boxes": {"boxes": self.most_boxes.boxes},
            "box_scale": scale,
            "gate": {"mode": self.gate.mode, **_numbers({"threshold": self.gate.threshold})},
            "confidence": _numbers({"least": self.confidence.least}),
            "fitted_on": {"images": self.fitted_on.images, **_numbers({"score": self.fitted_on.score})},
            "complete": True,  # last, so that a file that was cut is not taken for a whole one
        }
        write_atomic(path, _HEADER + yaml.safe_dump(content, sort_keys=False))

    @classmethod
    def from_yaml(cls, path: Path) -> Pipeline:
        """Read what `to_yaml` wrote.

        Raises:
            UserError: The file cannot be read, or is not such a file; one line says where.
        """
        return _Reader(path).pipeline()


@dataclass(frozen=True)
class Pictures:
    """What the manifest says of the picture of each of N rows.

    Attributes:
        view: (N,) int, an index into `VIEWS`.
        size: (N, 2) float64, width and height in pixels of the original image.
    """

    view: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, image_ids: pd.Series, manifest: pd.DataFrame) -> Pictures:
        """Look images up.

        Raises:
            UserError: One is not in the manifest, has no size there, or is there twice.
        """
        missing = [column for column in ("image_id", "view", "width", "height") if column not in manifest]
        if missing:
            raise UserError(f"manifest: no column {', '.join(missing)}; expected image_id, view, width and height")
        known = pd.Index(manifest["image_id"])
        if known.has_duplicates:
            raise UserError(
                f"manifest: image {known[known.duplicated()][0]} is there more than once; expected every image once"
            )
        row = known.get_indexer(pd.Index(image_ids))
        if (row < 0).any():
            raise UserError(
                f"manifest: image {image_ids.iloc[int((row < 0).argmax())]} is not among its {len(known):,} images; "
                "expected all images. Take the manifest of the data set that was predicted on."
            )
        size = manifest[["width", "height"]].to_numpy(float)[row]
        bad = ~(np.isfinite(size) & (size > 0)).all(axis=1)
        if bad.any():
            at = int(bad.argmax())
            raise UserError(
                f"manifest: image {image_ids.iloc[at]}: width and height are {size[at, 0]:g} and {size[at, 1]:g}; "
                "expected pixels above 0, to which its boxes are clipped. Convert the data set again."
            )
        own = {view: index for index, view in enumerate(VIEWS[:-1])}
        text = manifest["view"].astype(object).where(manifest["view"].notna(), "").astype(str)
        view = text.str.strip().str.lower().map(own).fillna(len(own)).to_numpy(int)
        return cls(view[row], size)


def resized_boxes(boxes: np.ndarray, factors: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Resize about the centre, round as predictions are, and clip.

    Args:
        boxes: (N, 4): x, y, width, height in pixels.
        factors: On width and height; (2,) or (N, 2).
        size: (N, 2), the picture's.

    Returns:
        (N, 4) float64.
    """
    start = np.round(boxes[:, :2] + boxes[:, 2:] * (1 - factors) / 2, COORDINATE_DECIMALS)
    end = np.minimum(start + np.round(boxes[:, 2:] * factors, COORDINATE_DECIMALS), size)
    start = np.round(np.clip(start, 0, size - SMALLEST_SIDE), COORDINATE_DECIMALS)
    return np.hstack([start, np.maximum(np.round(end - start, COORDINATE_DECIMALS), SMALLEST_SIDE)])


def _ranks(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give for each of (P,) sorted rows the row of its image's first box, and the place among its image's boxes."""
    first = start_of_run(pd.factorize(predictions["image_id"])[0])
    return first, np.arange(len(first)) - first


def _numbers(values: dict[str, float | None]) -> dict[str, float | None]:
    """Plain floats: YAML has a short notation for these, and gives them back to the last bit."""
    return {name: None if value is None else float(value) for name, value in values.items()}


class _Reader:
    """Reads the file of a pipeline, and says in one line what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pipeline(self) -> Pipeline:
        content = self.mapping(self.content(), "the file", None)
        if content.get("format") != FORMAT or isinstance(content.get("format"), bool):
            self.refuse(f"format is {_told(content.get('format'))}", f"format: {FORMAT}")
        expected = ["format", *(one.name for one in fields(Pipeline)), "complete"]
        content = self.mapping(content, "the file", expected)
        if content["complete"] is not True:
            self.refuse(f"complete is {_told(content['complete'])}", "true, at the end of a whole file")
        scale = self.mapping(content["box_scale"], "box_scale", VIEWS)
        most = self.mapping(content["most_boxes"], "most_boxes", ["boxes"])["boxes"]
        on = self.mapping(content["fitted_on"], "fitted_on", ["images", "score"])
        return Pipeline(
            Suppression(self.share(content["suppression"], "suppression", "iou", optional=True)),
            MostBoxes(None if most is None else self.count(most, "most_boxes.boxes", 1)),
            BoxScale(**{view: self.sides(scale[view], f"box_scale.{view}") for view in VIEWS}),
            self.gate(content["gate"]),
            Confidence(self.share(content["confidence"], "confidence", "least")),
            FittedOn(
                self.count(on["images"], "fitted_on.images", 0), self.number(on["score"], "fitted_on.score", 0.0, 1.0)
            ),
        )

    def content(self) -> Any:
        try:
            return yaml.safe_load(read_regular(self.path, _MOST_BYTES).decode("utf-8-sig"))
        except UnreadableError as error:
            self.refuse(f"cannot be read ({error})", "a file of a fitted pipeline")
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f", at line {mark.line + 1}" if mark else ""
            self.refuse(f"no readable YAML{where}", "a file of a fitted pipeline")

    def mapping(self, value: Any, name: str, expected: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.refuse(f"{name} is {_told(value)}", "names with values")
        if expected is not None and (missing := [key for key in expected if key not in value]):
            self.refuse(f"{name} lacks {missing[0]}", ", ".join(expected))
        if expected is not None and (unknown := [key for key in value if key not in expected]):
            self.refuse(f"{name} has {_told(unknown[0])}", ", ".join(expected))
        return value

    def sides(self, value: Any, name: str) -> Sides:
        sides = self.mapping(value, name, Sides._fields)
        return Sides(*(self.number(sides[side], f"{name}.{side}", 0.01, 100.0) for side in Sides._fields))

    def gate(self, value: Any) -> GateRule:
        rule = self.mapping(value, "gate", ["mode", "threshold"])
        modes: tuple[Literal["none", "weigh", "keep"], ...] = ("none", "weigh", "keep")
        mode = next((mode for mode in modes if mode == rule["mode"]), None)
        if mode is None:
            self.refuse(f"gate.mode is {_told(rule['mode'])}", ", ".join(modes))
        if (mode == "keep") != (rule["threshold"] is not None):
            self.refuse(f"gate.threshold is {_told(rule['threshold'])} with mode {mode}", "one with mode keep only")
        return GateRule(mode, self.share(value, "gate", "threshold", among=["mode", "threshold"], optional=True))

    def share(self, value: Any, name: str, key: str, among: list[str] | None = None, optional: bool = False) -> Any:
        found = self.mapping(value, name, among or [key])[key]
        return None if optional and found is None else self.number(found, f"{name}.{key}", 0.0, 1.0)

    def number(self, value: Any, name: str, least: float, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.refuse(f"{name} is {_told(value)}", f"a number from {least:g} to {most:g}")
        return float(value)

    def count(self, value: Any, name: str, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.refuse(f"{name} is {_told(value)}", f"a whole number from {least} on")
        return value

    def refuse(self, found: str, expected: str) -> NoReturn:
        raise UserError(
            f"{shown(self.path)}: {found}; expected {expected}. Take a file that Pipeline.to_yaml wrote, or fit anew."
        ) from None


def _told(value: Any) -> str:
    """What was found, short and in one line."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
