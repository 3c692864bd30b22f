"""The trials of a study: what a space comes to. Imports nothing heavy, so that the plan can be shown at once."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import PROJECT, shown
from train.settings.arguments import COMMAND_DEFAULTS, parse, ultralytics_defaults
from train.settings.options import DEFAULTS
from train.settings.recipes import read_recipe
from train.study.space import Block, Space
from train.study.space_values import Place, Range, to_text

_IGNORED_BY_AUTO = ("lr0", "momentum")
_STOCK = {"iou_loss": "ciou", "cls_loss": "bce"}
"""What YOLO heads train with where no loss is named; see `train.detector.criterion`."""
_OF_ONE_LOSS = {"focal": "focal_", "varifocal": "vfl_", "siou": "siou_", "wiou": "wiou_"}
"""How arguments begin that count with one loss alone."""


@dataclass(frozen=True)
class Trial:
    """One training of a study.

    Attributes:
        id: Such as `t000`; its folder's name.
        setting: Number of its setting; the trainings of a setting differ in seed or fold alone.
        blocks: Names of the blocks that it belongs to.
        settings: What is varied in these blocks, with the values here.
        arguments: All arguments of the training, as on the command line.
        seed: Its seed.
        fold: Its fold, counted from 0; None without folds.
    """

    id: str
    setting: int
    blocks: tuple[str, ...]
    settings: dict[str, Any]
    arguments: dict[str, Any]
    seed: int
    fold: int | None


def plan(space: Space) -> list[Trial]:
    """The trials of a grid or random study, the trainings of a setting beside each other.

    The same training in several blocks is one trial; all trials of a setting belong to all of its blocks, so that
    none of its repeats goes unused.

    Raises:
        UserError: See `trials_of`; or two values of a block come to the same training, or there is nothing to repeat.
    """
    found: dict[str, Trial] = {}
    settings: dict[str, int] = {}
    for block in space.blocks:
        seen: dict[str, Mapping[str, Any]] = {}
        for values in _draws(space, block) if space.method == "random" else _grid(block):
            for trial in trials_of(space, block, values):
                key = identity(trial.arguments)
                if (other := seen.setdefault(key, values)) != values and space.method == "grid":
                    raise _same_training(space, block, other, values)
                setting = settings.setdefault(identity(trial.arguments, repeats=False), len(settings))
                blocks, varied = (found[key].blocks, found[key].settings) if key in found else ((), {})
                found[key] = replace(
                    found.get(key, trial),
                    setting=setting,
                    blocks=tuple(dict.fromkeys((*blocks, block.name))),
                    settings={**varied, **trial.settings},
                )
    _add_controls(space, found, settings)
    ordered = _share_blocks(sorted(found.values(), key=lambda trial: trial.setting))
    return [replace(trial, id=_id(number)) for number, trial in enumerate(ordered)]


def _same_training(space: Space, block: Block, one: Mapping[str, Any], two: Mapping[str, Any]) -> UserError:
    differing = [name for name in two if one[name] != two[name]]
    names = ", ".join(f"{name} {one[name]} and {two[name]}" for name in differing)
    place = Place(shown(space.file)).at(f"block {block.name}", "parameters", *differing[:1])
    return place.error(f"found {names}, which train the very same; expected values that differ. Leave one of them out")


def _add_controls(space: Space, found: dict[str, Trial], settings: Mapping[str, int]) -> None:
    """Repeat what the base itself describes with the seeds of `controls`, of the study and of each block."""
    for block, seeds in ((None, space.controls), *((block, block.controls) for block in space.blocks)):
        if not seeds:
            continue
        base = {"data": space.data, **space.base, **(block.base if block else {})}
        number = settings.get(identity(base, repeats=False))
        of = [trial for trial in found.values() if trial.setting == number]
        if not of or (block and not any(block.name in trial.blocks for trial in of)):
            where = Place(shown(space.file)).at(*([f"block {block.name}"] if block else []), "controls")
            raise where.error(
                f"found seeds for the base's own setting, which no {'value' if block else 'block'} here trains; "
                "expected the base's value among those of a parameter"
            )
        for seed in seeds:
            own = {**of[0].arguments, "seed": seed}
            found.setdefault(identity(own), replace(of[0], arguments=own, seed=seed))


def _share_blocks(trials: list[Trial]) -> list[Trial]:
    """Put every trial of a setting into all blocks that any of them is in."""
    blocks: dict[int, dict[str, None]] = {}
    varied: dict[int, dict[str, Any]] = {}
    for trial in trials:
        blocks.setdefault(trial.setting, {}).update(dict.fromkeys(trial.blocks))
        varied.setdefault(trial.setting, {}).update(trial.settings)
    return [replace(one, blocks=tuple(blocks[one.setting]), settings=varied[one.setting]) for one in trials]


def trials_of(space: Space, block: Block, values: Mapping[str, Any], setting: int = 0) -> list[Trial]:
    """The trainings of one setting: one per seed or fold.

    Args:
        space: The study.
        block: The block that varies `values`.
        values: Value by argument.
        setting: Its number, from which the ids follow.

    Raises:
        UserError: There is no model, or what is varied would be ignored; or no such folds.
    """
    arguments = {"data": space.data, **space.base, **block.base}
    for name, cases in block.only.items():
        for value, changed in cases:
            if value == values.get(name):
                arguments.update(changed)
    arguments.update(values)
    _check(arguments, values, Place(shown(space.file)))
    repeats: list[tuple[int, int | None]] = [(seed, None) for seed in block.seeds or space.seeds]
    if space.folds:
        repeats = [(space.seeds[0], fold) for fold in range(space.folds)]
    made = []
    for number, (seed, fold) in enumerate(repeats, setting * len(repeats)):
        own = {**arguments, "seed": seed}
        if fold is not None:
            own["data"] = shown(fold_yaml(space.data, fold))
        made.append(Trial(_id(number), setting, (block.name,), dict(values), own, seed, fold))
    return made


def command(arguments: Mapping[str, Any]) -> str:
    """The line that repeats a training by itself."""
    return shlex.join(["python", "train/train.py", *(f"{name}={to_text(value)}" for name, value in arguments.items())])


def effective(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a training, those included that were not given."""
    given = parse([f"{name}={to_text(value)}" for name, value in arguments.items()])
    return {**ultralytics_defaults(), **DEFAULTS, **COMMAND_DEFAULTS, **given}


def identity(arguments: Mapping[str, Any], *, repeats: bool = True) -> str:
    """A text that is equal for equal trainings, however their arguments say it: what "the same setting" means here.

    An argument may be given or left at its default, a loss may be named that the head has anyway, and what has no
    effect (numbers of a loss that is not chosen, a patience that the epochs do not reach) makes no difference.

    Args:
        arguments: As given to the training.
        repeats: Whether trainings that differ in seed or data (the fold) alone are different.
    """
    every = effective(arguments)
    left_out = ["recipe"] if repeats else ["recipe", "seed", "data"]  # a recipe is what is in it
    if "rtdetr" not in str(every["model"]):
        every |= {name: None for name, stock in _STOCK.items() if every[name] == stock}
    chosen = (every["iou_loss"], every["cls_loss"])
    idle = tuple(start for loss, start in _OF_ONE_LOSS.items() if loss not in chosen)
    if isinstance(every["patience"], int) and every["patience"] >= every["epochs"]:
        every["patience"] = 0  # never stops, either
    return json.dumps(
        {n: plain(value) for n, value in every.items() if n not in left_out and not n.startswith(idle)}, sort_keys=True
    )


def fold_yaml(data: str, fold: int) -> Path:
    """The data YAML of a fold, which lies in the data set that `data` names.

    Raises:
        UserError: There is none.
    """
    from common.data.data_yaml import read_yaml, resolve_split

    asked = Path(data).expanduser()
    places = [place / "data.yaml" if place.is_dir() else place for place in (asked, PROJECT / asked)]
    yaml = next((place for place in places if place.is_file()), None)
    if yaml is None:
        raise UserError(f"data: {data}: no such data YAML or data set folder; folds need a data set that is there.")
    entries = resolve_split(read_yaml(yaml), "train", yaml) or []
    folders = dict.fromkeys([yaml.parent, *(entry.parent for entry in entries)])
    for folder in folders:
        if (folder / f"fold{fold}.yaml").is_file():
            return folder / f"fold{fold}.yaml"
    looked = ", ".join(shown(folder) for folder in folders)
    raise UserError(
        f"folds: no fold{fold}.yaml in {looked}; expected a data set converted with that many folds, such as "
        f"python convert/rsna_to_yolo.py --folds {fold + 1}"
    )


def _check(arguments: Mapping[str, Any], varied: Mapping[str, Any], place: Place) -> None:
    """Refuse what every trial would fail of, or be no different for."""
    if arguments.get("model") is None:
        raise place.at("base", "model").error("missing; name weights (yolov8m.pt) or a model's YAML (basic-cnn.yaml)")
    if arguments.get("recipe") and read_recipe(str(arguments["recipe"])).members:
        raise place.at("recipe").error(f"{arguments['recipe']} is several trainings; expected one of a single one")
    ignored = [name for name in _IGNORED_BY_AUTO if name in varied]
    if ignored and str(effective(arguments)["optimizer"]).lower() == "auto":
        raise place.at(ignored[0]).error(
            "is ignored with optimizer: auto (the default), so that trials would not differ; name an optimizer in "
            "`base`, such as SGD."
        )


def _id(number: int) -> str:
    return f"t{number:03}"


def plain(value: Any) -> Any:
    """1 and 1.0 are the same number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, bool) else str(value)


def _grid(block: Block) -> list[dict[str, Any]]:
    """Every combination of the block's values, the last parameter changing first; or one change at a time."""
    if block.singly:
        listed = {name: values for name, values in block.parameters.items() if isinstance(values, tuple)}
        first = {name: values[0] for name, values in listed.items()}
        return [first, *({**first, name: value} for name, values in listed.items() for value in values[1:])]
    settings: list[dict[str, Any]] = [{}]
    for name, values in block.parameters.items():
        assert not isinstance(values, Range)
        settings = [{**setting, name: value} for setting in settings for value in values]
    return settings


def _draws(space: Space, block: Block) -> list[dict[str, Any]]:
    """Distinct settings at random; fewer than asked for where there are not as many."""
    source = random.Random(space.seed)
    drawn: dict[str, dict[str, Any]] = {}
    for _ in range(100 * (space.trials or 0)):
        setting = {
            name: values.draw(source) if isinstance(values, Range) else source.choice(values)
            for name, values in block.parameters.items()
        }
        drawn.setdefault(json.dumps(plain(list(setting.values()))), setting)
        if len(drawn) == space.trials:
            break
    return list(drawn.values())
