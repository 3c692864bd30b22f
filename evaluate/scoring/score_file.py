"""`score.json`, read back as the types that it was written from, also where an older version wrote less."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.errors import UserError
from evaluate.postprocess.gate import GateRule
from evaluate.scoring.result import (
    Difference,
    Gain,
    GateComparison,
    Interval,
    Leakage,
    Origin,
    Score,
    SplitLeakage,
    SplitScore,
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
        confidence, box_scale, rule = read_rule(content)
        gate = content.get("gate")
        splits = {str(name): _split_score(entry) for name, entry in content["splits"].items()}
        return Score(
            weights=content["weights"],
            weights_sha256=content.get("weights_sha256"),
            data_fingerprint=content.get("data_fingerprint"),
            predictions=dict(content["predictions"]),
            data=str(content["data"]),
            synthetic=content["synthetic"],
            tuned_on=content["tuned_on"],
            reported_on=next(name for name in splits if name == content["reported_on"]),
            confidence=confidence,
            box_scale=box_scale,
            gate=_gate(gate, content["postprocess"]["gate"]["files"], rule) if gate else None,
            splits=splits,
            subgroups={
                group: {level: Subgroup(**_with_interval(one)) for level, one in levels.items()}
                for group, levels in content["subgroups"].items()
            },
            subgroup_differences=_differences(content.get("subgroup_differences")),
            inference=content.get("inference"),
            leakage=_leakage(content["leakage"]),
            origin=Origin(**{part.name: content[part.name] for part in fields(Origin)}),
        )


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a `score.json` is read into one line."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f"{path}: not a readable score ({type(error).__name__}: {error}); expected what evaluate/score.py writes. "
            "Run it again, or choose with --confidence."
        ) from error


def read_rule(content: Any) -> tuple[float, tuple[float, float], GateRule]:
    """Confidence, box scale and what a gate does, of the file's content."""
    confidence, postprocess = float(content["confidence"]), content["postprocess"]
    width, height = (float(factor) for factor in postprocess.get("box_scale", (1.0, 1.0)))
    if not (0 <= confidence <= 1 and 0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"confidence {confidence}, box scale {width}, {height}")
    gate = postprocess.get("gate") or {}
    return confidence, (width, height), GateRule(gate.get("mode", "none"), gate.get("threshold"))


def _split_score(entry: Mapping[str, Any]) -> SplitScore:
    known = {part.name: split_key(part.name) for part in fields(SplitScore)}
    values = {name: entry[key] for name, key in known.items() if key in entry or name != "counted_patients"}
    return SplitScore(**_with_interval(values))


def _differences(content: Mapping[str, Any] | None) -> dict[str, Difference] | None:
    return None if content is None else {name: Difference(**found) for name, found in content.items()}


def _gate(content: Mapping[str, Any], files: Sequence[str], rule: GateRule) -> GateComparison:
    without = content["without"]
    return GateComparison(
        files=tuple(files),
        rule=rule,
        asked=content["asked"],
        tuned_on=content["tuned_on"],
        seen_images=content["seen_images"],
        confidence_without=float(without["confidence"]),
        gains={name: Gain(**_with_interval(one)) for name, one in without["splits"].items()},
    )


def _leakage(content: Mapping[str, Any]) -> Leakage:
    if not content["checked"]:
        return Leakage(reason=content["reason"])
    splits = {name: found for name, found in content.items() if isinstance(found, dict)}
    return Leakage(
        trained_on=content["trained_on"],
        earlier=tuple(content.get("earlier", ())),
        not_seen=tuple(content.get("not_seen", ())),
        patients_known=content["patients_known"],
        splits={name: SplitLeakage(**found | {"examples": tuple(found["examples"])}) for name, found in splits.items()},
    )


def _with_interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with its interval as a pair."""
    return {
        name: Interval(*map(float, value)) if name.endswith("interval_95") and value is not None else value
        for name, value in entry.items()
    }
