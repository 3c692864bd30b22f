"""`members.json`: what a recipe of several trainings was begun with, and which of them are finished."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.cli import print_warning
from common.errors import UserError
from common.files import write_json
from common.paths import shown
from common.trainings import MEMBERS_FILE
from train.classifier.training import GATE_DEFAULTS
from train.members.plan import Plan
from train.settings.arguments import COMMAND_DEFAULTS, ultralytics_defaults
from train.settings.options import DEFAULTS, GATE, differences
from train.settings.recipes import Recipe

FORMAT = 2

_PLACES = ("project", "name", "data", "imgsz", "recipe", "resume", "mode", "task", "save_dir")


class Record:
    """The record of a recipe's folder, made anew where nothing has been trained.

        record = Record(plan)
        record.add("members", "fold0-512", {"score": 0.2})

    It is written whole after every change.
    """

    def __init__(self, plan: Plan) -> None:
        """Read it, and compare what was trained with what is to be.

        Raises:
            UserError: It is no such record, of an earlier version, of other data or of other arguments.
        """
        self.file = plan.folder / MEMBERS_FILE
        now = _begun_with(plan)
        self.content: dict[str, Any] = {**now, "members": {}, "gates": {}}
        if self.file.is_file():
            before = self._read()
            self._compare(before, now, plan)
            done = {part: before[part] for part in ("members", "gates")}
            # Arguments that may differ are those of the latest start; the others are the same.
            self.content = {**now, **done}

    def begin(self) -> None:
        """Write it, before the first training."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self.content)

    def add(self, part: str, name: str, outcome: Mapping[str, Any]) -> None:
        """Write down that a training is finished.

        Args:
            part: `members` or `gates`.
            name: The training's name.
            outcome: What has come out.
        """
        self.content[part][name] = dict(outcome)
        write_json(self.file, self.content)

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
            if "format" not in content and content["members"] is not None and content["arguments"] is not None:
                raise UserError(
                    f"{shown(self.file.parent)}: holds members of an earlier version, whose folds held images of val. "
                    "Choose another name=, or remove the folder."
                )
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            for part in ("members", "gates", "arguments", "recipe"):
                content[part].keys()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(
                f"{shown(self.file)}: not a record of a recipe's members ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:80]}). Remove it, or choose another name=."
            ) from error
        return content

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any], plan: Plan) -> None:
        """Refuse to go on with something else; say where the recipe has changed without an effect on what is done."""
        folder = shown(self.file.parent)
        begun = {
            part: bool(before[part]) or any((plan.folder / one.name / "weights" / "last.pt").is_file() for one in ours)
            for part, ours in (("members", plan.detectors), ("gates", plan.gates))
        }
        if any(begun.values()) and before.get("data_fingerprint") != now["data_fingerprint"]:
            raise UserError(
                f"{folder}: was trained on {before['arguments'].get('data')} as it was then, and {shown(plan.data)} "
                "holds other images now. Name the same data set, or choose another name=."
            )
        changed: list[str] = []
        recipe_changes = differences(_flat(before["recipe"]), _flat(now["recipe"]))
        for part, prefix in (("members", ""), ("gates", "gate.")):
            key = "arguments" if part == "members" else "gate_arguments"
            if begun[part] and before[key] is not None and now[key] is not None:
                # An argument that there was not yet had no effect, as its default has none.
                known = {name: value for name, value in _defaults(part).items() if name in now[key]}
                then = {name: value for name, value in before[key].items() if name in now[key]}
                changed += differences({**known, **then}, now[key], prefix)
        if changed:
            since = (
                f"; recipe {plan.recipe.name} itself has changed since" if set(changed) & set(recipe_changes) else ""
            )
            raise UserError(
                f"{folder}: was trained with other arguments ({'; '.join(changed)}{since}). Give them as they were, or "
                "choose another name=."
            )
        if recipe_changes:
            print_warning(
                f"recipe {plan.recipe.name} has changed since {folder} was begun ({'; '.join(recipe_changes)}); what "
                "is finished stays as it is"
            )


def _begun_with(plan: Plan) -> dict[str, Any]:
    """All that decides the outcome, in JSON's types."""
    gate = None
    if plan.gate_arguments is not None:
        size = plan.gate_arguments.get("imgsz", GATE_DEFAULTS["imgsz"])
        gate = {**_effective(_defaults("gates"), plan.gate_arguments), "imgsz": size}
    content = {
        "format": FORMAT,
        "recipe": _values(plan.recipe),
        "arguments": {**_effective(_defaults("members"), plan.arguments), "data": str(plan.data)},
        "gate_arguments": gate,
        "data_fingerprint": plan.fingerprint,
    }
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain


def _defaults(part: str) -> dict[str, Any]:
    """What arguments are where nobody gives them, of `members` or `gates`."""
    if part == "members":  # Ultralytics knows `augmentations`, though it is not in its configuration
        return {**ultralytics_defaults(), "augmentations": None, **DEFAULTS, **COMMAND_DEFAULTS}
    return {**ultralytics_defaults(), **{name: one.default for name, one in GATE.items()}, **GATE_DEFAULTS}


def _effective(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a training, whether given or left at their default, but for where it lies."""
    known = {name: value for name, value in given.items() if value is not None or name in defaults}
    return {name: value for name, value in {**defaults, **known}.items() if name not in _PLACES}


def _values(recipe: Recipe) -> dict[str, Any]:
    """What a recipe sets, without the reasons."""
    parts = {"arguments": recipe.arguments, "members": recipe.members, "gate": recipe.gate or {}}
    return {"name": recipe.name} | {
        part: {name: choice.value for name, choice in choices.items()} for part, choices in parts.items()
    }


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values by the name that they have on the command line."""
    gate = {f"gate.{name}": value for name, value in recipe.get("gate", {}).items()}
    return {**recipe.get("arguments", {}), **recipe.get("members", {}), **gate}
