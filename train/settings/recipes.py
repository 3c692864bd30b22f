"""Recipes: named sets of arguments, each value with the reason for it, in `train/recipes/*.yaml`.

A recipe's file says what it is `about`, and has `arguments:` with lines such as `epochs: {value: 30, why: ...}`. One of
several trainings also has `members:`, the lists `folds` and `imgsz`, of which each pair is a training, and `augment`,
whether the members also vote on flipped and resized copies. It may have `gate:`, arguments of `train/gate.py` beside
`folds`, of which each is a training; without them there is one gate, of the data set's own splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import CODE, shown
from train.settings.yaml_files import read_mapping

FOLDER = CODE / "train" / "recipes"
_PARTS = ("about", "arguments", "members", "gate")
_LISTS = ("folds", "imgsz")
_MEMBERS = (*_LISTS, "augment")


@dataclass(frozen=True)
class Choice:
    """A value and why it was chosen."""

    value: Any
    why: str


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        name: Its file's stem.
        about: One line.
        arguments: Of every training, by name.
        members: `folds` and `imgsz`, lists of which each pair is a training, and `augment`; empty for a recipe of one
            training.
        gate: Arguments of the gates' training, besides `folds`; None without a gate.
    """

    name: str
    about: str
    arguments: Mapping[str, Choice] = field(default_factory=dict)
    members: Mapping[str, Choice] = field(default_factory=dict)
    gate: Mapping[str, Choice] | None = None

    def values(self) -> dict[str, Any]:
        """The arguments' values by name."""
        return {name: choice.value for name, choice in self.arguments.items()}


def names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> Recipe:
    """Read one of the project's recipes by its name, or any by its path.

    Raises:
        UserError: There is no such recipe, or its file is not one.
    """
    given = Path(name).expanduser()
    file = given if given.suffix in {".yaml", ".yml"} else FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise UserError(f"recipe: {name}: no such recipe; expected {', '.join(names())}, or the path of a YAML.")
    expected = f"recipe: {shown(file)}: expected `about: what it is for` and `arguments:`."
    content = read_mapping(file, f"recipe: {shown(file)}: cannot be read ({{reason}}).", expected)
    if not content.get("about"):
        raise UserError(expected)
    for part in content:
        if part not in _PARTS:
            raise UserError(f"recipe: {shown(file)}: found {part!r}; expected {', '.join(_PARTS)}.")
    members = _choices(content.get("members"), "members", file)
    gate = _choices(content["gate"], "gate", file) if "gate" in content else None
    for part, choices in (("members", members), ("gate", gate or {})):
        for name, choice in choices.items():
            where = f"recipe: {shown(file)}: {part}: {name}: "
            if part == "members" and name not in _MEMBERS:
                raise UserError(f"{where}found it; expected {', '.join(_MEMBERS)}.")
            if name == "folds" or (part == "members" and name in _LISTS):
                whole_numbers(choice.value, where)
            elif part == "members" and not isinstance(choice.value, bool):
                raise UserError(f"{where}found {choice.value!r}; expected true or false.")
    if members and not set(members) >= set(_LISTS):
        raise UserError(f"recipe: {shown(file)}: members: expected both {' and '.join(_LISTS)}.")
    if gate is not None and not members:
        raise UserError(f"recipe: {shown(file)}: gate: found without members; expected both, or arguments alone.")
    return Recipe(
        name=file.stem,
        about=str(content["about"]).strip(),
        arguments=_choices(content.get("arguments"), "arguments", file),
        members=members,
        gate=gate,
    )


def whole_numbers(value: Any, where: str) -> list[int]:
    """A list of different whole numbers from 0 on.

    Args:
        value: What was found.
        where: What it was found for, to begin the message with.

    Raises:
        UserError: It is something else.
    """
    listed = list(value) if isinstance(value, list | tuple) else []
    right = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in listed)
    if not listed or not right or len(set(listed)) < len(listed):
        raise UserError(f"{where}found {value!r}; expected whole numbers, each once, such as [0, 1, 2].")
    return listed


def _choices(content: Any, part: str, file: Path) -> dict[str, Choice]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"recipe: {shown(file)}: {part}: expected lines such as `lr0: {{value: 0.003, why: ...}}`.")
    choices = {}
    for name, entry in content.items():
        if not isinstance(entry, dict) or set(entry) != {"value", "why"}:
            raise UserError(
                f"recipe: {shown(file)}: {part}: {name}: found {entry!r}; expected a value and why it is chosen: "
                f"`{name}: {{value: ..., why: ...}}`"
            )
        choices[str(name)] = Choice(entry["value"], " ".join(str(entry["why"]).split()))
    return choices
