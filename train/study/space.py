"""The space of a study: a YAML file that says what is varied and what is held fixed.

Imports nothing heavy, so that a mistake in the file is found at once. `train/spaces/` has examples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import CODE, shown
from train.settings.arguments import COMMAND_DEFAULTS, parse
from train.study.space_values import (
    SET_BY_STUDY,
    Place,
    Range,
    arguments,
    brief,
    check_keys,
    mapping,
    read_range,
    seeds,
    whole,
)

SPACES = CODE / "train" / "spaces"
METHODS = ("grid", "random", "tpe")

_KEYS = (
    *("name", "title", "about", "method", "trials", "seed", "base", "seeds", "controls", "folds", "scheduler"),
    *("singly", "best_of", "blocks", "parameters"),
)
_BLOCK_KEYS = ("name", "title", "about", "seeds", "controls", "singly", "best_of", "base", "parameters", "only")


@dataclass(frozen=True)
class Block:
    """A question of the study: some parameters, and what is held fixed meanwhile.

    Attributes:
        name: Short name.
        title: Heading.
        about: One line on what it is for.
        parameters: Values to choose from, or a range, by argument.
        base: Arguments that differ from the study's here.
        seeds: Seeds that differ from the study's here.
        only: By parameter and value, arguments that differ where it has this value.
        controls: Seeds of the setting that this block's base describes; every setting is compared with its mean.
        singly: Whether the parameters are changed one at a time, from the first value of each, instead of crossed.
        best_of: The parameter of which each value of the others takes what suits it best on val, such as the rate; None
            compares over all of its values.
    """

    name: str
    title: str
    about: str
    parameters: dict[str, tuple[Any, ...] | Range]
    base: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    only: dict[str, list[tuple[Any, dict[str, Any]]]] = field(default_factory=dict)
    controls: tuple[int, ...] = ()
    singly: bool = False
    best_of: str | None = None


@dataclass(frozen=True)
class Space:
    """A study as its file describes it; the attributes are the file's keys.

    Attributes:
        file: Where it was read from.
        seed: Decides what `random` and `tpe` draw.
        scheduler: `type`, `grace` (epochs) and `reduction`, or None.
        controls: Seeds of the setting that the base itself describes; every setting is compared with its mean.
    """

    file: Path
    name: str
    title: str
    about: str
    method: str
    trials: int | None
    seed: int
    base: dict[str, Any]
    seeds: tuple[int, ...]
    folds: int | None
    scheduler: dict[str, Any] | None
    blocks: tuple[Block, ...]
    controls: tuple[int, ...] = ()

    @property
    def repeats(self) -> int:
        """How many trainings a setting of a random or TPE study has."""
        return self.folds or len(self.blocks[0].seeds or self.seeds)

    @property
    def data(self) -> str:
        """The data YAML as a person types it."""
        return str(self.base.get("data", shown(Path(COMMAND_DEFAULTS["data"]))))

    def described(self) -> dict[str, Any]:
        """What decides the trials, as JSON values: equal for equal studies."""
        blocks = [
            {
                "name": block.name,
                "title": block.title,
                "about": block.about,
                "parameters": {
                    name: values.as_dict() if isinstance(values, Range) else list(values)
                    for name, values in block.parameters.items()
                },
                "base": block.base,
                "seeds": list(block.seeds) if block.seeds else None,
                "controls": list(block.controls),
                "singly": block.singly,
                "best_of": block.best_of,
                "only": {
                    name: {str(value): changed for value, changed in values} for name, values in block.only.items()
                },
            }
            for block in self.blocks
        ]
        values = {
            "method": self.method, "trials": self.trials, "seed": self.seed, "base": self.base,
            "seeds": list(self.seeds), "controls": list(self.controls), "folds": self.folds,
            "scheduler": self.scheduler, "blocks": blocks,
        }  # fmt: skip
        return json.loads(json.dumps(values))


def read_space(file: Path, words: Sequence[str] = ()) -> Space:
    """Read a space's file.

    Args:
        file: The file; by its name alone if it is one of `train/spaces/`.
        words: `name=value` words that change its base.

    Raises:
        UserError: It cannot be read, or a key is unknown, missing or has a wrong value.
    """
    path, content = _load(file)
    place = Place(shown(path))
    check_keys(content, _KEYS, place)
    method = str(content.get("method", "grid"))
    if method not in METHODS:
        raise place.at("method").wrong(repr(method), f"one of {', '.join(METHODS)}")
    name = str(content.get("name", path.stem))
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise place.at("name").wrong(repr(name), "letters, digits, dots, dashes and underscores")
    base = {**arguments(content.get("base", {}), place.at("base"), {}), **_from_words(words)}
    if (content.get("trials") is None) != (method == "grid"):
        expected = "none with method grid, which tries everything" if method == "grid" else "how many settings to try"
        raise place.at("trials").wrong(repr(content.get("trials")), expected)
    if "seeds" in content and "folds" in content:
        raise place.error("seeds, folds: found both; expected one of the two")
    title, about = str(content.get("title", name)), str(content.get("about", "")).strip()
    default_seed = base.pop("seed", 0)
    _check_controls(content, method, place)
    if "seeds" in content and default_seed:
        raise place.at("base").wrong("a seed beside `seeds`", "one of the two")
    folds = None if content.get("folds") is None else whole(content["folds"], place.at("folds"), 2)
    blocks = _blocks(content, method, (name, title, about), folds, place)
    scheduler = _scheduler(content.get("scheduler"), place.at("scheduler"))
    if scheduler and len(blocks) > 1:
        # All would compete for the same rungs: of a small network beside a large one, nothing would be left to compare.
        raise place.error(
            f"scheduler: found one beside {len(blocks)} blocks; expected one block, since it ends what does worse in "
            "any of them. Leave it out, or make a study of each block"
        )
    return Space(
        file=path,
        name=name,
        title=title,
        about=about,
        method=method,
        trials=None if method == "grid" else whole(content["trials"], place.at("trials"), 1),
        seed=whole(content.get("seed", 0), place.at("seed"), 0),
        base=base,
        seeds=seeds(content.get("seeds", [default_seed]), place.at("seeds")),
        folds=folds,
        scheduler=scheduler,
        blocks=blocks,
        controls=_controls(content, place),
    )


def _check_controls(content: Mapping[str, Any], method: str, place: Place) -> None:
    given = content.get("blocks")
    every = [content, *(given if isinstance(given, list) else [])]
    if any(isinstance(one, dict) and "controls" in one for one in every):
        if method != "grid":
            raise place.at("controls").wrong(f"with method {method}", "none, they are for a grid")
        if "folds" in content:
            raise place.at("controls").wrong("beside `folds`", "one of the two")


def _controls(content: Mapping[str, Any], place: Place) -> tuple[int, ...]:
    return seeds(content["controls"], place.at("controls")) if "controls" in content else ()


def _singly(content: Mapping[str, Any], method: str, place: Place) -> bool:
    given = content.get("singly", False)
    if not isinstance(given, bool) or (given and method != "grid"):
        raise place.at("singly").wrong(f"{given!r} with method {method}", "true or false, and true for a grid only")
    return given


def _best_of(content: Mapping[str, Any], parameters: Mapping[str, tuple[Any, ...] | Range], place: Place) -> str | None:
    given = content.get("best_of")
    if given is None:
        return None
    if given not in parameters or len(parameters) < 2 or content.get("singly") or isinstance(parameters[given], Range):
        expected = "one of two or more crossed parameters, such as lr0, with its values listed"
        raise place.at("best_of").wrong(repr(given), expected)
    return str(given)


def _load(file: Path) -> tuple[Path, dict[str, Any]]:
    import yaml

    places = [file, SPACES / file.name, SPACES / f"{file.name}.yaml"] if file.name == str(file) else [file]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = ", ".join(sorted(place.stem for place in SPACES.glob("*.yaml")))
        raise UserError(f"{file}: no such space file. Check the path, or name one of {shown(SPACES)}: {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{shown(path)}: cannot be read ({reason}); expected the YAML of a study's space.") from error
    if not isinstance(content, dict):
        raise UserError(f"{shown(path)}: found no keys; expected a YAML with {', '.join(_KEYS[:8])} and so on.")
    return path, content


def _blocks(
    content: Mapping[str, Any], method: str, names: tuple[str, str, str], folds: int | None, place: Place
) -> tuple[Block, ...]:
    if ("blocks" in content) == ("parameters" in content):
        found = "both" if "blocks" in content else "neither"
        raise place.error(f"blocks, parameters: found {found}; expected one of the two")
    if "parameters" in content:
        name, title, about = names
        parameters = _parameters(content["parameters"], method, place.at("parameters"))
        singly = _singly(content, method, place)
        return (Block(name, title, about, parameters, singly=singly, best_of=_best_of(content, parameters, place)),)
    if method != "grid":
        raise place.at("blocks").wrong(f"with method {method}", "`parameters`, blocks are for a grid")
    given = content["blocks"]
    if not isinstance(given, list) or not given or not all(isinstance(block, dict) for block in given):
        raise place.at("blocks").wrong(brief(given), "a list of blocks, each with its `parameters`")
    blocks: list[Block] = []
    for number, block in enumerate(given, 1):
        name = str(block.get("name", f"block{number}"))
        here = place.at(f"block {name}")
        check_keys(block, _BLOCK_KEYS, here)
        if name in [other.name for other in blocks]:
            raise here.at("name").wrong("twice", "a name of its own for each block")
        if folds and "seeds" in block:
            raise here.at("seeds").wrong("beside `folds`", "one of the two")
        parameters = _parameters(block.get("parameters"), method, here.at("parameters"))
        base = arguments(block.get("base", {}), here.at("base"))
        if both := parameters.keys() & base.keys():
            raise here.at(min(both)).wrong("in `base` and in `parameters`", "one of the two")
        only = _only(block.get("only", {}), parameters, here.at("only"))
        own_seeds = seeds(block["seeds"], here.at("seeds")) if "seeds" in block else None
        title, about = str(block.get("title", name)), str(block.get("about", "")).strip()
        controls, best_of = _controls(block, here), _best_of(block, parameters, here)
        singly = _singly(block, method, here)
        blocks.append(Block(name, title, about, parameters, base, own_seeds, only, controls, singly, best_of))
    return tuple(blocks)


def _parameters(given: Any, method: str, place: Place) -> dict[str, tuple[Any, ...] | Range]:
    if not isinstance(given, dict) or not given:
        raise place.wrong(brief(given), "lines such as `lr0: [0.001, 0.01]`")
    found: dict[str, tuple[Any, ...] | Range] = {}
    for name, values in given.items():
        here = place.at(name)
        if isinstance(values, dict):
            if method == "grid":
                raise here.wrong("a range", "a list of values. A range needs method random or tpe")
            found[str(name)] = read_range(str(name), values, place)
            continue
        if not isinstance(values, list) or not values:
            ranges = "" if method == "grid" else ", or a range {low: 0.001, high: 0.1, log: true}"
            raise here.wrong(brief(values), f"a list of values{ranges}")
        checked = [arguments({name: value}, place)[str(name)] for value in values]
        twice = next((value for number, value in enumerate(checked) if value in checked[:number]), None)
        if twice is not None:
            raise here.wrong(f"{twice!r} twice", "values that differ")
        if method == "tpe" and not all(value is None or isinstance(value, str | int | float) for value in checked):
            raise here.wrong("a list as a value", "numbers, names, True or False with method tpe")
        found[str(name)] = tuple(checked)
    return found


def _only(
    given: Any, parameters: Mapping[str, tuple[Any, ...] | Range], place: Place
) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    found: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for name, cases in mapping(given, place).items():
        here, values = place.at(name), parameters.get(name, ())
        if isinstance(values, Range) or not values:
            raise here.wrong("no such parameter", f"one of {', '.join(parameters)}")
        for text, changed in mapping(cases, here).items():
            matching = [value for value in values if value == text or str(value) == str(text)]
            if not matching:
                raise here.wrong(f"the value {text!r}", f"one of {', '.join(map(str, values))}")
            changes = arguments(changed, here.at(text))
            if both := parameters.keys() & changes.keys():
                raise here.at(text, min(both)).error("is varied in this block; leave it out here")
            found.setdefault(name, []).append((matching[0], changes))
    return found


def _scheduler(given: Any, place: Place) -> dict[str, Any] | None:
    if given is None:
        return None
    scheduler = mapping(given, place)
    check_keys(scheduler, ("type", "grace", "reduction"), place)
    if scheduler.get("type", "asha") != "asha":
        raise place.at("type").wrong(repr(scheduler["type"]), "asha")
    grace = whole(scheduler.get("grace", 1), place.at("grace"), 1)
    return {"type": "asha", "grace": grace, "reduction": whole(scheduler.get("reduction", 3), place.at("reduction"), 2)}


def _from_words(words: Sequence[str]) -> dict[str, Any]:
    given = parse(words)
    for name in given.keys() & SET_BY_STUDY.keys():
        raise UserError(f"{name}: cannot be set: {SET_BY_STUDY[name]}")
    return given
