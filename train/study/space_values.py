"""Values in a space's file, read and checked; messages name the file, the key, what was found and what expected."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from train.settings.arguments import parse, ultralytics_defaults
from train.settings.options import DEFAULTS, OWN

SET_BY_STUDY = {
    **dict.fromkeys(("project", "name", "save_dir", "exist_ok"), "every trial has a folder of its own"),
    "resume": "a study is resumed by the same command",
    "group": "the W&B group is the study's name",
}
"""Arguments that a space cannot set, and why."""

NOT_VARIED = {"data": "scores on other data cannot be compared; set it in `base`", "seed": "use `seeds`"}
"""Arguments that a space can set for all trials only, and why."""


@dataclass(frozen=True)
class Place:
    """Where in a space's file something stands, for messages.

    Attributes:
        text: Such as `space.yaml: block rates: parameters`.
    """

    text: str

    def at(self, *keys: object) -> Place:
        """A place inside this one."""
        return Place(": ".join(map(str, (self.text, *keys))))

    def error(self, message: object) -> UserError:
        """What is wrong here."""
        return UserError(f"{self.text}: {message}")

    def wrong(self, found: object, expected: str) -> UserError:
        """What was found here instead of what was expected."""
        return self.error(f"found {found}; expected {expected}")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: Least number.
        high: Greatest number.
        log: Whether each factor is as likely as another, instead of each difference.
        whole: Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, source: random.Random) -> float:
        """A number at random."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if not self.log:
            return self.rounded(source.uniform(low, high))
        return self.rounded(math.exp(source.uniform(math.log(low), math.log(high))))

    def rounded(self, value: float) -> float:
        """The number to four digits, which a person can type, or whole; within the range."""
        value = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(value, self.low), self.high)

    def as_dict(self) -> dict[str, Any]:
        """As in the file."""
        return {"low": self.low, "high": self.high, "log": self.log}


def arguments(given: Any, place: Place, refused: Mapping[str, str] = NOT_VARIED) -> dict[str, Any]:
    """Training arguments, checked by name and, where they are ours, by value."""
    found: dict[str, Any] = {}
    for name, value in mapping(given, place).items():
        if name in SET_BY_STUDY:
            raise place.at(name).error(f"cannot be set: {SET_BY_STUDY[name]}")
        if name in refused:
            raise place.at(name).error(f"cannot be varied: {refused[name]}")
        if isinstance(value, dict):
            raise place.at(name).wrong(brief(value), "one value")
        try:
            read = parse([f"{name}={to_text(value)}"])
        except UserError as error:
            raise place.error(error) from error
        found |= {name: read[name]} if name in read else read  # a recipe stays one, `cfg` is what is in it
    return found


def to_text(value: Any) -> str:
    """A value as on the command line, such that `train.settings.arguments.to_value` reads it back."""
    return value if isinstance(value, str) else repr(value)


def read_range(name: str, given: Mapping[str, Any], place: Place) -> Range:
    """The range of an argument, from `low`, `high` and `log`; `place` is that of the parameters."""
    here = place.at(name)
    check_keys(given, ("low", "high", "log"), here)
    ends = []
    for key in ("low", "high"):
        end = arguments({name: given.get(key)}, place)[name]
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise here.at(key).wrong(repr(given.get(key)), "a number")
        ends.append(end)
    low, high = ends
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise here.at("log").wrong(repr(log), "true or false")
    if low >= high or (log and low <= 0):
        raise here.wrong(f"{low:g} to {high:g}", f"low below high{', both above 0' if log else ''}")
    default = {**ultralytics_defaults(), **DEFAULTS}.get(name)
    is_int = isinstance(default, int) or (name in OWN and OWN[name].kind is int)
    return Range(low, high, log, whole=is_int and isinstance(low, int) and isinstance(high, int))


def seeds(given: Any, place: Place) -> tuple[int, ...]:
    """Different whole numbers."""
    if not isinstance(given, list) or not given or len(set(map(str, given))) < len(given):
        raise place.wrong(brief(given), "a list of different whole numbers, such as [0, 1]")
    return tuple(whole(seed, place, 0) for seed in given)


def whole(value: Any, place: Place, least: int) -> int:
    """A whole number of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise place.wrong(repr(value), f"a whole number, {least} or more")
    return value


def mapping(given: Any, place: Place) -> dict[str, Any]:
    """Keys and values; nothing is no keys."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise place.wrong(brief(given), "lines such as `epochs: 20`")
    return {name if isinstance(name, str) else str(name): value for name, value in given.items()}


def check_keys(given: Mapping[str, Any], known: Sequence[str], place: Place) -> None:
    """Refuse a key that there is not, and suggest the nearest."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise place.at(key).error(f"no such key; {meant}")


def brief(value: Any) -> str:
    """A value for a message."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
