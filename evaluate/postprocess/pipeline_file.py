"""The file of a fitted pipeline: readable YAML, either whole, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from common.data.yaml_record import SHA256, YamlRecord, told
from common.files import write_atomic
from evaluate.postprocess.steps import (
    GATE_MODES,
    VIEWS,
    BoxScale,
    Confidence,
    FittedOn,
    GateRule,
    MostBoxes,
    Rescoring,
    Sides,
)
from evaluate.postprocess.suppression import METHODS, Suppression

FORMAT = 2
"""1 had no rescoring, of suppression an IoU only, and of what it was fitted on images and score; it is read, too."""

_HEADER = "# Post-processing as fitted by evaluate.postprocess.fit. The score is that of the images it was fitted on.\n"


def write_steps(path: Path, steps: Mapping[str, Any]) -> None:
    """Write the steps of a pipeline, frozen dataclasses by name; the file is either absent or whole.

    Raises:
        WorkError: It cannot be written.
    """
    content = {"format": FORMAT, **{name: _plain(vars(step)) for name, step in steps.items()}}
    content["complete"] = True  # last, so that a file that was cut is not taken for a whole one
    write_atomic(path, _HEADER + yaml.safe_dump(content, sort_keys=False))


def read_steps(path: Path) -> dict[str, Any]:
    """Read what `write_steps` wrote, by the names of its arguments.

    Raises:
        UserError: The file cannot be read, or is not such a file; one line says where.
    """
    return _Reader(path).steps()


def _plain(value: Any) -> Any:
    """What YAML has a notation for: plain floats have a short one, which gives them back to the last bit."""
    if isinstance(value, Sides):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return float(value) if isinstance(value, float) else value


class _Reader(YamlRecord):
    """Reads the file of a pipeline."""

    kind = "a file of a fitted pipeline"
    remedy = "Take a file that Pipeline.to_yaml wrote, or fit anew"
    most_bytes = 64 * 1024

    def steps(self) -> dict[str, Any]:
        content = self.mapping(self.content(), "the file", None)
        version = content.get("format")
        if isinstance(version, bool) or version not in (1, FORMAT):
            self.refuse(f"format is {told(version)}", f"format: {FORMAT}")
        steps = ["suppression", "most_boxes", "rescoring", "box_scale", "gate", "confidence", "fitted_on"]
        if version == 1:
            steps.remove("rescoring")
        content = self.mapping(content, "the file", ["format", *steps, "complete"])
        self.whole(content)
        scale = self.mapping(content["box_scale"], "box_scale", VIEWS)
        most = self.mapping(content["most_boxes"], "most_boxes", ["boxes"])["boxes"]
        return {
            "suppression": self.suppression(content["suppression"], version),
            "most_boxes": MostBoxes(None if most is None else self.count(most, "most_boxes.boxes", 1)),
            "rescoring": Rescoring() if version == 1 else self.rescoring(content["rescoring"]),
            "box_scale": BoxScale(**{view: self.sides(scale[view], f"box_scale.{view}") for view in VIEWS}),
            "gate": self.gate(content["gate"]),
            "confidence": Confidence(self.share(content["confidence"], "confidence", "least")),
            "fitted_on": self.fitted_on(content["fitted_on"], version),
        }

    def suppression(self, value: Any, version: int) -> Suppression:
        if version == 1:
            least = self.share(value, "suppression", "iou", optional=True)
            return Suppression("none" if least is None else "nms", least)
        keys = ["method", "iou"]
        method = self.one_of(self.mapping(value, "suppression", keys)["method"], "suppression.method", METHODS)
        if (method == "none") != (value["iou"] is None):
            self.refuse(
                f"suppression.iou is {told(value['iou'])} with method {method}", "one with all methods but none"
            )
        least = self.share(value, "suppression", "iou", among=keys, optional=True)
        if least == 1:
            self.refuse("suppression.iou is 1", "a number below 1")
        return Suppression(method, least)

    def rescoring(self, value: Any) -> Rescoring:
        names = [one.name for one in fields(Rescoring)]
        found = self.mapping(value, "rescoring", names)
        least = {"own": 0.0}
        return Rescoring(
            **{name: self.number(found[name], f"rescoring.{name}", least.get(name, -1e6), 1e6) for name in names}
        )

    def sides(self, value: Any, name: str) -> Sides:
        sides = self.mapping(value, name, Sides._fields)
        return Sides(*(self.number(sides[side], f"{name}.{side}", 0.01, 100.0) for side in Sides._fields))

    def gate(self, value: Any) -> GateRule:
        rule = self.mapping(value, "gate", ["mode", "threshold"])
        mode = self.one_of(rule["mode"], "gate.mode", GATE_MODES)
        if (mode in ("keep", "bayes")) != (rule["threshold"] is not None):
            found = f"gate.threshold is {told(rule['threshold'])} with mode {mode}"
            self.refuse(found, "one with mode keep or bayes only")
        return GateRule(mode, self.share(value, "gate", "threshold", among=["mode", "threshold"], optional=True))

    def fitted_on(self, value: Any, version: int) -> FittedOn:
        names = [one.name for one in fields(FittedOn)][: 2 if version == 1 else None]
        on = self.mapping(value, "fitted_on", names)
        images, score = (
            self.count(on["images"], "fitted_on.images", 0),
            self.number(on["score"], "fitted_on.score", 0, 1),
        )
        if version == 1:
            return FittedOn(images, score)
        weights = on["weights"]
        if not isinstance(weights, list) or not all(isinstance(one, str) and SHA256.fullmatch(one) for one in weights):
            self.refuse(f"fitted_on.weights is {told(weights)}", "a list of SHA-256 checksums")
        split, data = (self.text(on[name], f"fitted_on.{name}") for name in ("split", "data_fingerprint"))
        return FittedOn(images, score, split, tuple(weights), data)

    def one_of(self, value: Any, name: str, names: Iterable[str]) -> Any:
        found = next((one for one in names if one == value), None)
        if found is None:
            self.refuse(f"{name} is {told(value)}", ", ".join(names))
        return found

    def text(self, value: Any, name: str) -> str:
        if not isinstance(value, str):
            self.refuse(f"{name} is {told(value)}", "text")
        return value

    def share(self, value: Any, name: str, key: str, among: list[str] | None = None, optional: bool = False) -> Any:
        found = self.mapping(value, name, among or [key])[key]
        return None if optional and found is None else self.number(found, f"{name}.{key}", 0.0, 1.0)

    def number(self, value: Any, name: str, least: float, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.refuse(f"{name} is {told(value)}", f"a number from {least:g} to {most:g}")
        return float(value)

    def count(self, value: Any, name: str, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.refuse(f"{name} is {told(value)}", f"a whole number from {least} on")
        return value
