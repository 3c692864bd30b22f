"""`score.json`, read back as the types that it was written from, also where an older version wrote less."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from evaluate.metrics.calibration import Bin
from evaluate.metrics.figures import BoxLevel, Figure, ImageLevel, Interval
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, FittedOn, GateRule, MostBoxes, Rescoring, Sides
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import (
    Difference,
    Gain,
    GateUse,
    Leakage,
    Origin,
    Score,
    SplitLeakage,
    SplitScore,
    Step,
    Subgroup,
    split_key,
)


def read_score(path: Path) -> Score:
    """Read a `score.json`, also one of a version that wrote less.

    Raises:
        UserError: The file is not one.
    """
    with explaining(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        splits = {str(name): _split_score(entry) for name, entry in content["splits"].items()}
        return Score(
            weights=content["weights"],
            weights_sha256=read_checksums(content),
            data_fingerprint=content.get("data_fingerprint"),
            predictions=dict(content["predictions"]),
            data=str(content["data"]),
            synthetic=content["synthetic"],
            tuned_on=content["tuned_on"],
            reported_on=next(name for name in splits if name == content["reported_on"]),
            pipeline=read_pipeline(content),
            fitted=tuple(content["fitted"]) if "fitted" in content else None,
            steps=_steps(content),
            gate=_gate(content),
            splits=splits,
            subgroups={
                group: {level: _subgroup(one) for level, one in levels.items()}
                for group, levels in content["subgroups"].items()
            },
            subgroup_differences=_differences(content.get("subgroup_differences")),
            inference=content.get("inference"),
            leakage=_leakage(content["leakage"]),
            image_level=_image_level(content.get("image_level")),
            box_level=_box_level(content.get("box_level")),
            origin=Origin(**{part.name: content[part.name] for part in fields(Origin)}),
        )


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a `score.json` is read into one line."""
    try:
        yield
    except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f"{path}: not a readable score ({type(error).__name__}: {error}); expected what evaluate/score.py writes. "
            "Run it again, or choose with --confidence."
        ) from error


def read_pipeline(content: Mapping[str, Any]) -> Pipeline:
    """The post-processing, of the file's content; earlier versions had a box scale for all views and a gate besides."""
    steps, confidence = content["postprocess"], float(content["confidence"])
    gate = steps.get("gate") or {}
    rule = GateRule(gate.get("mode", "none"), gate.get("threshold"))
    if "fitted_on" in steps:
        on = {**steps["fitted_on"], "weights": tuple(steps["fitted_on"]["weights"])}
        scale = BoxScale(**{view: Sides(*map(float, pair)) for view, pair in steps["box_scale"].items()})
        pipeline = Pipeline(
            suppression=Suppression(**steps["suppression"]),
            most_boxes=MostBoxes(**steps["most_boxes"]),
            rescoring=Rescoring(**steps["rescoring"]),
            box_scale=scale,
            gate=rule,
            confidence=Confidence(confidence),
            fitted_on=FittedOn(**on),
        )
    else:
        scale = BoxScale.common(Sides(*map(float, steps.get("box_scale", (1.0, 1.0)))))
        is_plain = "nms_iou" not in content.get("inference", {"nms_iou": 0.4})  # as of RT-DETR
        suppression = Suppression("none", None) if is_plain else Suppression()
        pipeline = Pipeline(suppression, box_scale=scale, gate=rule, confidence=Confidence(confidence))
    factors = [factor for one in fields(BoxScale) for factor in getattr(scale, one.name)]
    if not (0 <= confidence <= 1 and all(0 < factor < math.inf for factor in factors)):
        raise ValueError(f"confidence {confidence}, box scale {factors}")
    return pipeline


def read_checksums(content: Mapping[str, Any]) -> tuple[str, ...]:
    """SHA-256 of all weights; earlier versions wrote the only one, or none."""
    found = content.get("weights_sha256") or ()
    return (found,) if isinstance(found, str) else tuple(map(str, found))


def _split_score(entry: Mapping[str, Any]) -> SplitScore:
    known = {part.name: split_key(part.name) for part in fields(SplitScore)}
    values = {name: entry[key] for name, key in known.items() if key in entry or name != "counted_patients"}
    return SplitScore(**_with_interval(values))


def _subgroup(content: Mapping[str, Any]) -> Subgroup:
    figures = {name: _figure(content[name]) for name in ("sensitivity", "specificity") if content.get(name)}
    return Subgroup(**_with_interval(content) | figures)


def _figure(content: Mapping[str, Any]) -> Figure:
    return Figure(**_with_interval(content))


def _figures(content: Mapping[str, Any]) -> dict[str, Figure]:
    return {name: _figure(one) for name, one in content.items()}


def _image_level(content: Mapping[str, Any] | None) -> ImageLevel | None:
    if content is None:
        return None
    bins = tuple(Bin(**one) for one in content["reliability"])
    return ImageLevel(**{**content, "figures": _figures(content["figures"]), "reliability": bins})


def _box_level(content: Mapping[str, Any] | None) -> BoxLevel | None:
    return None if content is None else BoxLevel(_figures(content["froc"]), dict(content["errors"]))


def _differences(content: Mapping[str, Any] | None) -> dict[str, Difference] | None:
    return None if content is None else {name: Difference(**found) for name, found in content.items()}


def _gate(content: Mapping[str, Any]) -> GateUse | None:
    if not (gate := content.get("gate")):
        return None
    files = gate["files"] if "files" in gate else content["postprocess"]["gate"]["files"]
    return GateUse(tuple(files), gate["asked"], gate["tuned_on"], gate["seen_images"])


def _steps(content: Mapping[str, Any]) -> tuple[Step, ...]:
    """What the steps brought; of an earlier version the gate alone, which told of the score without it."""
    if "steps" in content:
        return tuple(
            Step(one["name"], None if one["unseen"] is None else _gain(one["unseen"]), _gain(one["reported"]))
            for one in content["steps"]
        )
    if not (gate := content.get("gate")):
        return ()
    without = Gain(**_with_interval(gate["without"]["splits"][content["reported_on"]]))
    plain = Step("confidence", None, Gain(without.score, 0.0, None))
    return plain, Step("gate", None, replace(without, score=without.score + without.gain))


def _gain(content: Mapping[str, Any]) -> Gain:
    return Gain(**_with_interval(content))


def _leakage(content: Mapping[str, Any]) -> Leakage:
    if not content["checked"]:
        return Leakage(reason=content["reason"])
    splits = {name: found for name, found in content.items() if isinstance(found, dict)}
    return Leakage(
        trained_on=content["trained_on"],
        earlier=tuple(content.get("earlier", ())),
        not_seen=tuple(content.get("not_seen", ())),
        abstained=tuple(content.get("abstained", ())),
        patients_known=content["patients_known"],
        splits={name: SplitLeakage(**found | {"examples": tuple(found["examples"])}) for name, found in splits.items()},
    )


def _with_interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with its interval as a pair."""
    return {
        name: Interval(*map(float, value)) if name.endswith("interval_95") and value is not None else value
        for name, value in entry.items()
    }
