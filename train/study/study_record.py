"""What a study was asked to do, on what and with what: `study.json`. Files of older studies lack newer keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.files import write_json
from common.trainings import STUDY_FILE
from train.study.json_content import JsonContent, find_json, read_json
from train.study.space import Space

STUDY = STUDY_FILE
_WHAT = "a study's folder, as train/sweep.py writes it"
_DECIDING = ("method", "trials", "seed", "base", "seeds", "controls", "folds", "scheduler", "blocks")
"""Keys that decide the trials, beside the data."""


@dataclass(frozen=True)
class BlockRecord:
    """One question of a study: some parameters varied, everything else held.

    Attributes:
        name: Letters, digits, hyphens and underscores.
        title: A few words.
        about: One line; may be empty.
        parameters: The values that each varied argument takes, in the order in which they were asked for; or its range,
            `{"low", "high", "log"}`.
        base: Arguments that differ from the study's own base.
        seeds: Seeds that differ from the study's own; None where they are those.
        only: By parameter and value (as text), arguments that differ where it has this value.
        controls: Seeds with which the setting that this block's base describes was repeated.
        singly: Whether the parameters were changed one at a time, from the first value of each, instead of crossed.
        best_of: The parameter of which each value of the others takes what suits it best on val; None without.
    """

    name: str
    title: str
    about: str
    parameters: Mapping[str, Any]
    base: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    only: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    controls: tuple[int, ...] = ()
    singly: bool = False
    best_of: str | None = None


@dataclass(frozen=True)
class Origin:
    """What a study came from, as far as its space does not say it; in the order of the file.

    Attributes:
        versions: Of the packages, by name.
        command: As typed.
        commit: The project's, `-dirty` behind it if files differed.
        created: When the study was begun, UTC.
        data: The data YAML as a person types it.
        fingerprint: Tells data sets apart, see `common.data.fingerprint`.
        synthetic: Whether the pictures are drawn by a program; None where the data set does not say.
        machine: What computed, in words; None before the first trial.
        threads: Of a training; None before the first trial.
    """

    versions: Mapping[str, str]
    command: str
    commit: str | None
    created: str | None
    data: str | None
    fingerprint: str | None
    synthetic: bool | None
    machine: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class StudyRecord:
    """The content of `study.json`.

    Attributes:
        name: Short name.
        title: Heading.
        about: One line; may be empty.
        method: `grid`, `random` or `tpe`.
        trials: How many settings were asked for; None for a grid.
        seed: Decides what is drawn.
        base: Arguments that are held fixed.
        seeds: Of the trainings of each setting.
        folds: How many; None without.
        scheduler: `type`, `grace` and `reduction`, or None.
        blocks: Its questions, in their order.
        origin: Command, data, machine and so on.
        setup: Commands that make its data, where they are known.
        controls: Seeds with which the setting that the base itself describes was repeated.
    """

    name: str
    title: str
    about: str
    method: str
    trials: int | None
    seed: int
    base: Mapping[str, Any]
    seeds: tuple[int, ...]
    folds: int | None
    scheduler: Mapping[str, Any] | None
    blocks: tuple[BlockRecord, ...]
    origin: Origin
    setup: tuple[str, ...] = ()
    controls: tuple[int, ...] = ()

    @classmethod
    def of(cls, space: Space, origin: Origin) -> StudyRecord:
        """The record of a study that is begun."""
        names = {"name": space.name, "title": space.title, "about": space.about}
        return _record(JsonContent(Path(STUDY), {**names, **space.described(), **asdict(origin)}))

    def deciding(self) -> dict[str, Any]:
        """What decides the trials, as JSON values: equal for equal studies."""
        values = self.as_json()
        return {name: values[name] for name in (*_DECIDING, "fingerprint")}

    def as_json(self) -> dict[str, Any]:
        """As in the file."""
        values = asdict(self)
        origin, setup = values.pop("origin"), values.pop("setup")
        return json.loads(json.dumps({**values, **origin, **({"setup": setup} if setup else {})}))


def read_study_record(folder: Path) -> StudyRecord:
    """What a study's `study.json` says.

    Raises:
        UserError: It is missing or holds something else than expected; the message names it.
    """
    return _record(read_json(folder / STUDY, _WHAT))


def find_study_record(folder: Path) -> StudyRecord | None:
    """What a study's `study.json` says; None where there is none.

    Raises:
        UserError: It is a study's, and something in it is not what was expected.
    """
    content = find_json(folder / STUDY)
    return None if content is None or "blocks" not in content.values else _record(content)


def write_study_record(folder: Path, record: StudyRecord) -> None:
    """Write `study.json`."""
    write_json(folder / STUDY, record.as_json())


def _record(content: JsonContent) -> StudyRecord:
    get = content.values.get
    name, command = content.take_text("name"), content.take_text("command")
    blocks = tuple(_block(content, block) for block in content.take_list("blocks"))
    if not blocks:
        content.refuse("no blocks", "at least one, with the parameters that were varied")
    return StudyRecord(
        name=name,
        title=str(get("title") or name),
        about=str(get("about") or ""),
        method=str(get("method") or "grid"),
        trials=content.whole("trials"),
        seed=content.whole("seed") or 0,
        base=get("base") or {},
        seeds=tuple(get("seeds") or ()),
        folds=content.whole("folds"),
        scheduler=get("scheduler"),
        blocks=blocks,
        origin=Origin(
            versions=get("versions") or {},
            command=command,
            commit=get("commit"),
            created=get("created"),
            data=get("data"),
            fingerprint=get("fingerprint"),
            synthetic=get("synthetic"),
            machine=get("machine"),
            threads=get("threads"),
        ),
        setup=tuple(map(str, get("setup") or ())),
        controls=tuple(get("controls") or ()),
    )


def _block(content: JsonContent, given: Any) -> BlockRecord:
    if not isinstance(given, dict):
        content.refuse(f"block {given!r}", "an object with name and parameters")
    block = JsonContent(content.file, given)
    name, parameters = block.take_text("name"), block.take_object("parameters")
    for parameter, values in parameters.items():
        if isinstance(values, list) and values:
            continue
        if not isinstance(values, dict) or not all(_is_end(values.get(end)) for end in ("low", "high")):
            block.refuse(f"block {name}: {parameter} is {values!r}", 'a list of values, or {"low", "high", "log"}')
    own_seeds = tuple(given["seeds"]) if given.get("seeds") else None
    title, about = str(given.get("title") or name), str(given.get("about") or "")
    base, only, controls = given.get("base") or {}, given.get("only") or {}, tuple(given.get("controls") or ())
    singly = bool(given.get("singly"))
    best_of = given.get("best_of")
    return BlockRecord(name, title, about, parameters, base, own_seeds, only, controls, singly, best_of)


def _is_end(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
