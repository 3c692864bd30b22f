"""What a recipe of several trainings comes to: every training with its arguments, checked before any of them begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.data_yaml import list_pictures, read_yaml, resolve_split
from common.data.fingerprint import data_fingerprint
from common.errors import UserError
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics
from train.classifier.training import check_gate, is_to_be_fetched
from train.detector.locating import check_data, find_data, find_model
from train.detector.training import check, check_arguments, check_sampling
from train.settings.arguments import COMMAND_DEFAULTS
from train.settings.options import OF_GATES, OF_SEVERAL
from train.settings.recipes import Recipe, whole_numbers

FOR_ALL = ("device", "workers", "seed", "amp", "deterministic", "verbose", "plots", "wandb", "group")
"""Arguments that the gates get, too, when they are given for the whole; all others are for the detectors."""

_GATE = "gate."
_OF_THE_WHOLE = ("data", "project", "name", "resume", "fold")


@dataclass(frozen=True)
class Training:
    """One training of a recipe.

    Attributes:
        name: Its folder's name.
        fold: The fold that it is validated on; None for the data set's own val.
        imgsz: Side of its input in pixels; None for a gate, which has it among its arguments.
        arguments: What it is given, but for where it is to lie.
    """

    name: str
    fold: int | None
    imgsz: int | None
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        recipe: The recipe.
        folder: Where everything lies, absolute.
        data: The data YAML of the whole data set.
        root: The folder with its lists.
        fingerprint: Tells data sets apart, wherever they lie.
        arguments: What all detectors are given, the recipe's arguments included.
        gate_arguments: The same of the gates; None without.
        detectors: The detectors, in the order in which they are trained.
        gates: The gates.
        augment: Whether the detectors vote on flipped and resized copies, too.
    """

    recipe: Recipe
    folder: Path
    data: Path
    root: Path
    fingerprint: str
    arguments: Mapping[str, Any]
    gate_arguments: Mapping[str, Any] | None
    detectors: tuple[Training, ...]
    gates: tuple[Training, ...]
    augment: bool


def make_plan(recipe: Recipe, given: Mapping[str, Any]) -> Plan:
    """Decide what is to be trained, and refuse what cannot be.

    Args:
        recipe: The recipe, with members.
        given: As `train.settings.arguments.parse` has read it, the recipe's arguments included. `folds`, `imgsz`,
            `augment`, `gate` and `gate.NAME` among them take the place of what the recipe says for its members and
            gates.

    Raises:
        UserError: The data set has no such folds, or they hold images of val; weights are missing, or an argument's
            value is not usable.
        WorkError: Weights cannot be downloaded.
    """
    if given.get("resume"):
        raise UserError("resume: a recipe of several trainings goes on by itself; give the same command without it.")
    project = Path(str(given.get("project") or COMMAND_DEFAULTS["project"])).expanduser().absolute()
    folder = project / str(given.get("name") or recipe.name)
    given = {"group": folder.name, **given}  # in Weights & Biases they are found together
    own, gate = _of_detectors(given), _of_gates(recipe, given)
    folds = _folds(given, "folds", recipe.members["folds"].value)
    sizes = _sizes(given.get("imgsz") or recipe.members["imgsz"].value)
    gate_folds = None if gate is None else _gate_folds(recipe, given, folds)
    augment = _switch(given, "augment", _value(recipe.members, "augment", default=False))

    yaml = find_data(Path(str(given.get("data") or COMMAND_DEFAULTS["data"])))
    wanted = sorted({*folds, *(gate_folds or ())})
    enough = max(2, wanted[-1] + 1, len(recipe.members["folds"].value))
    _refuse_missing(yaml, enough)
    fetched = find_model(own.get("model"))[1] or (gate is not None and is_to_be_fetched(gate.get("model")))
    import_ultralytics(offline=not fetched, verbose=True)
    data = check_data(os.fspath(yaml))
    root = Path(str(data["train"][0] if isinstance(data["train"], list) else data["train"])).parent
    yamls = {fold: _fold_yaml(root, yaml, fold, enough) for fold in wanted}
    _refuse_seen_val(data, yaml, yamls.values(), enough)

    detectors = [
        Training(f"fold{fold}-{size}", fold, size, {**own, "data": os.fspath(yamls[fold]), "imgsz": size})
        for fold in folds
        for size in sizes
    ]
    gates = []
    if gate is not None and gate_folds is None:
        gates = [Training("gate", None, None, {**gate, "data": os.fspath(yaml)})]
    elif gate is not None:
        gates = [
            Training(f"gate-fold{fold}", fold, None, {**gate, "data": os.fspath(yamls[fold])})
            for fold in gate_folds or ()
        ]
    return Plan(
        recipe=recipe,
        folder=folder,
        data=yaml,
        root=root,
        fingerprint=data_fingerprint(data),
        arguments=own,
        gate_arguments=gate,
        detectors=tuple(detectors),
        gates=tuple(gates),
        augment=augment,
    )


def check_trainings(trainings: Sequence[Training], gates: Sequence[Training], folder: Path) -> None:
    """Refuse what a training would be refused for, hours later when its turn comes; fetch the weights.

    Args:
        trainings: The detectors that are still to be trained.
        gates: The gates that are.
        folder: Where they are to lie.

    Raises:
        UserError: See `train.detector.training.train_detector` and `train.classifier.training.train_gate`.
        WorkError: Weights cannot be downloaded.
    """
    if trainings:
        check({**trainings[0].arguments, "project": os.fspath(folder)})
    for size in {one.imgsz: one for one in trainings[1:]}.values():
        check_arguments({**COMMAND_DEFAULTS, **size.arguments})
    for one in {one.fold: one for one in trainings if one.fold != trainings[0].fold}.values():
        check_sampling({**COMMAND_DEFAULTS, **one.arguments}, check_data(str(one.arguments["data"])))
    for one in gates[:1]:
        check_gate({**one.arguments, "project": os.fspath(folder)})


def _of_detectors(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of every detector."""
    others = {*OF_SEVERAL, "project", "name", "data", "imgsz", "augment", "recipe", "resume"}
    return {name: value for name, value in given.items() if name not in others and not name.startswith(_GATE)}


def _of_gates(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of every gate; None where there is to be none."""
    own = {name.removeprefix(_GATE): value for name, value in given.items() if name.startswith(_GATE)}
    for name in own:
        if name in _OF_THE_WHOLE:
            remedy = f"{_GATE}folds=[0]" if name == "fold" else f"{name}="
            raise UserError(f"{_GATE}{name}: is that of the whole recipe; give {remedy}")
    wanted = _switch(given, "gate", recipe.gate is not None or bool(own))
    if not wanted:
        if own:
            raise UserError(f"{_GATE}{next(iter(own))}: found it with gate=False; leave out one of the two.")
        return None
    if recipe.gate is None and "model" not in own:
        raise UserError(f"gate: recipe {recipe.name} has none; name the classifier: {_GATE}model=yolov8s-cls.pt")
    values = {name: choice.value for name, choice in (recipe.gate or {}).items()}
    shared = {name: given[name] for name in FOR_ALL if name in given}
    return {name: value for name, value in {**values, **shared, **own}.items() if name not in OF_GATES}


def _gate_folds(recipe: Recipe, given: Mapping[str, Any], folds: Sequence[int]) -> list[int] | None:
    """The folds that have a gate: of the recipe's those that have a detector, too; None for the data set's own val."""
    name = f"{_GATE}folds"
    if name in given:
        return None if given[name] is None else _folds(given, name, [])
    theirs = _value(recipe.gate, "folds", default=None)
    return None if theirs is None else [fold for fold in theirs if fold in folds] or list(folds[:1])


def _folds(given: Mapping[str, Any], name: str, default: Sequence[int]) -> list[int]:
    """Numbers of folds: a list of them, or how many, from the first on."""
    value = given.get(name)
    if value is None:
        return list(default)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return list(range(value))
    if isinstance(value, list | tuple):
        return whole_numbers(value, f"{name}: ")
    raise UserError(f"{name}: found {value!r}; expected how many folds, from the first on, or a list such as [0,2].")


def _sizes(value: Any) -> list[Any]:
    """Sizes of the input: one, or a list; each is checked with the other arguments."""
    sizes = list(value) if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(sizes))


def _switch(given: Mapping[str, Any], name: str, default: bool) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise UserError(f"{name}: found {value!r}; expected True or False.")
    return value


def _value(choices: Mapping[str, Any] | None, name: str, *, default: Any) -> Any:
    return choices[name].value if choices and name in choices else default


def _refuse_missing(yaml: Path, folds: int) -> None:
    """Refuse data that are not there yet: rsna.yaml would have them converted, without folds.

    Raises:
        UserError: They are not.
    """
    lists = resolve_split(read_yaml(yaml), "train", yaml) or []
    if lists and not any(path.exists() for path in lists):
        raise UserError(
            f"{shown(yaml)}: {shown(lists[0])} is not there; expected a data set with folds. Convert the data first: "
            f"python convert/rsna_to_yolo.py --folds {folds}"
        )


def _fold_yaml(folder: Path, yaml: Path, fold: int, enough: int) -> Path:
    """The data YAML of a fold, which lies beside the lists of the data set."""
    found = folder / f"fold{fold}.yaml"
    if found.is_file():
        return found
    there = len(list(folder.glob("fold*_val.txt")))
    has = f"has folds 0 to {there - 1} only" if there else "has no folds"
    fewer = f", or train on these: folds={there}" if there else ""
    raise UserError(
        f"{shown(yaml)}: its data set {has} (no {found.name}). Convert the data with --folds {enough} (--overwrite "
        f"replaces the data set){fewer}."
    )


def _refuse_seen_val(data: Mapping[str, Any], yaml: Path, folds: Iterable[Path], count: int) -> None:
    """Refuse folds that hold images of val, as those of earlier conversions do: no member may have seen it.

    Raises:
        UserError: They do.
    """
    val = _pictures(data, "val", yaml)
    for fold in folds:
        content = check_data(os.fspath(fold))
        seen = val & (_pictures(content, "train", fold) | _pictures(content, "val", fold))
        if seen:
            raise UserError(
                f"{shown(fold)}: {len(seen):,} of the {len(val):,} images of val are in this fold's lists, as an "
                "earlier version divided train and val together; val has to be unseen by every member. Convert the "
                f"data again, with --folds {count} --overwrite."
            )


def _pictures(content: Mapping[str, Any], split: str, yaml: Path) -> set[Path]:
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    return {Path(os.path.normpath(path)) for entry in entries for path in list_pictures(Path(entry), yaml, split)}
