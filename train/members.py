"""A recipe of several trainings: a detector for each fold and size, and a gate; continued where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import console
from common.errors import UserError
from common.files import write_json
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics
from common.trainings import MEMBERS_FILE
from train.classifier.finishing import TABLE
from train.classifier.training import check_gate, train_gate
from train.detector.locating import check_data, find_data, find_model
from train.detector.training import Trained, check, train_detector
from train.settings.arguments import COMMAND_DEFAULTS
from train.settings.recipes import Choice, Recipe

_MAY_DIFFER = {"device", "workers", "cache", "verbose", "plots", "exist_ok", "wandb"}
"""What may be given anew when a recipe goes on; a member that is resumed is told of it, too."""


@dataclass(frozen=True)
class Member:
    """A finished training: its run's name, best weights and RSNA score on its own fold."""

    name: str
    weights: Path
    score: float


@dataclass(frozen=True)
class Done:
    """What a recipe has made: the members in `folder`, the gate's probabilities if it has one, the whole data set."""

    folder: Path
    data: Path
    members: list[Member]
    gate: Path | None


def train_members(recipe: Recipe, given: Mapping[str, Any]) -> Done:
    """Train all members, each into a folder of its own, `<project>/<name>/fold<k>-<size>`.

    Run again with the same arguments, it leaves finished members as they are and resumes the one that was stopped.

    Args:
        recipe: The recipe, with members.
        given: As `train.settings.arguments.parse` has read it, the recipe's arguments included. A size among them that
            is not the recipe's takes the place of its sizes.

    Raises:
        UserError: The data set has no such folds; the folder holds members trained with other arguments; and what
            `train_detector` and `train_gate` raise.
    """
    project = Path(str(given.get("project") or COMMAND_DEFAULTS["project"])).expanduser().absolute()
    folder = project / str(given.get("name") or recipe.name)
    if given.get("resume"):
        raise UserError("resume: a recipe of several trainings goes on by itself; give the same command without it.")
    data_yaml = find_data(Path(str(given.get("data") or COMMAND_DEFAULTS["data"])))
    models = [given.get("model"), *([recipe.gate["model"].value] if recipe.gate else [])]
    import_ultralytics(offline=not any(find_model(model)[1] for model in models), verbose=True)
    data = check_data(os.fspath(data_yaml))
    sizes = [given["imgsz"]] if given.get("imgsz") else recipe.members["imgsz"].value
    folds = {fold: _fold_yaml(data, data_yaml, fold, recipe) for fold in recipe.members["folds"].value}
    arguments = {name: value for name, value in given.items() if name not in {"project", "name", "data", "imgsz"}}
    check({**arguments, "data": os.fspath(data_yaml), "imgsz": sizes[0]})
    if recipe.gate is not None:  # its turn comes hours later, when a lack of its weights would be bad news
        check_gate(_gate_arguments(recipe.gate, given))
    record = _read_record(folder, {**arguments, "data": os.fspath(data_yaml)})
    members = []
    for fold, fold_yaml in folds.items():
        for size in sizes:
            name = f"fold{fold}-{size}"
            member = record["members"].get(name)
            if member is None or not (folder / name / "weights" / "best.pt").is_file():
                console().print(f"\n{recipe.name}: {name}", style="bold")
                wanted = {**arguments, "data": os.fspath(fold_yaml), "imgsz": size}
                trained = _train_member(folder, name, {**wanted, "project": os.fspath(folder), "name": name})
                member = {"score": trained.score, "confidence": trained.confidence, "epoch": trained.epoch}
                record["members"][name] = member
                write_json(folder / MEMBERS_FILE, record)
            members.append(Member(name, folder / name / "weights" / "best.pt", member["score"]))
    gate = _train_gate(folder, data_yaml, recipe.gate, given) if recipe.gate is not None else None
    return Done(folder, data_yaml, members, gate)


def _train_gate(folder: Path, data_yaml: Path, recipe: Mapping[str, Choice], given: Mapping[str, Any]) -> Path:
    """Train the recipe's gate on the data set's own split, unless that is done; gives the file of probabilities."""
    table = folder / "gate" / TABLE
    if table.is_file():
        return table
    console().print("\ngate", style="bold")
    wanted = {
        **_gate_arguments(recipe, given),
        **{"project": os.fspath(folder), "name": "gate", "data": os.fspath(data_yaml)},
    }
    if (folder / "gate" / "weights" / "last.pt").is_file():
        anew = {name: given[name] for name in ("device", "workers", "wandb") if name in given}
        wanted = {**anew, "project": os.fspath(folder), "name": "gate", "resume": True}
    else:
        wanted["exist_ok"] = True
    return train_gate(wanted).table


def _gate_arguments(recipe: Mapping[str, Choice], given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's for its gate, and what was given for the whole."""
    passed_on = {name: given[name] for name in ("device", "workers", "seed", "wandb", "group") if name in given}
    return {**{name: choice.value for name, choice in recipe.items()}, **passed_on}


def _train_member(folder: Path, name: str, wanted: dict[str, Any]) -> Trained:
    """Train a member, or go on with one that was stopped."""
    last = folder / name / "weights" / "last.pt"
    if last.is_file():
        anew = {name: wanted[name] for name in wanted.keys() & (_MAY_DIFFER - {"exist_ok"})}
        return train_detector({**anew, "resume": os.fspath(last), "project": os.fspath(folder)}, update_best=False)
    return train_detector({**wanted, "exist_ok": True}, update_best=False)


def _fold_yaml(data: Mapping[str, Any], data_yaml: Path, fold: int, recipe: Recipe) -> Path:
    lists = data["train"] if isinstance(data["train"], list) else [data["train"]]
    found = Path(str(lists[0])).parent / f"fold{fold}.yaml"
    if not found.is_file():
        folds = len(recipe.members["folds"].value)
        raise UserError(
            f"{shown(data_yaml)}: its data set has no {found.name}, and recipe {recipe.name} trains on {folds} folds. "
            f"Convert the data with --folds {folds}; --overwrite replaces the data set."
        )
    return found


def _read_record(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """What has been trained so far; made anew where nothing has."""
    file = folder / MEMBERS_FILE
    arguments = json.loads(json.dumps(arguments, default=str))
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        record = {"arguments": arguments, "members": {}}
        write_json(file, record)
        return record
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        before, _ = record["arguments"], record["members"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{shown(file)}: not a record of a recipe's members. Remove it, or choose name=.") from error
    changed = [
        f"{name} was {before.get(name)}, now {arguments.get(name)}"
        for name in sorted(before.keys() | arguments.keys())
        if name not in _MAY_DIFFER and before.get(name) != arguments.get(name)
    ]
    if changed:
        raise UserError(f"{shown(folder)}: was trained with other arguments ({'; '.join(changed)}). Choose name=.")
    return record
