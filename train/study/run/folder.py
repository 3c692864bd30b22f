"""A study's folder: `study.json`, the trials' folders, and what can be said of them all.

It is begun once and continued by the same command; what is true about a trial is in its `trial.json` and nowhere else.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import UserError, WorkError
from common.paths import shown
from train.settings.arguments import parse
from train.study.plan import effective, identity, plain
from train.study.space_values import to_text
from train.study.study_record import STUDY, StudyRecord, find_study_record, write_study_record
from train.study.trial_record import TrialRecord, find_trial

TRIALS = "trials"
_OURS = (STUDY, TRIALS, "figures", "report.html", "report.md")
_WITHOUT_EFFECT = {"patience", "time", "save_period", "plots", "verbose", "workers", "wandb", "group", "device"}
"""Arguments that leave the weights as they are, or as long as no training ends early."""


@dataclass(frozen=True)
class BestSetting:
    """The setting that came out best: its trainings' records, and their mean score on val."""

    records: list[TrialRecord]
    score: float


def begin_study(folder: Path, now: StudyRecord, *, resume: bool, overwrite: bool) -> bool:
    """Prepare a study's folder and write `study.json`.

    Args:
        folder: The folder, made if need be.
        now: What `study.json` is to say. Of a study that is continued, commit, date, machine and threads stay.
        resume: Go on with a study of the same space.
        overwrite: Remove the study that is there.

    Returns:
        Whether a study is continued.

    Raises:
        UserError: The folder holds something else, or a study of another space or other data.
        WorkError: The folder cannot be made.
    """
    content = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    before = find_study_record(folder)
    if content and before is None:
        raise UserError(
            f"{shown(folder)}: not a study made here (no {STUDY}; found {', '.join(content[:3])}). Choose another "
            "--output; nothing was touched."
        )
    if before is not None and not overwrite:
        _check_same(folder, before.deciding(), now.deciding())
        if not resume:
            raise UserError(f"{shown(folder)}: holds a study of this space. Go on with --resume, or use --overwrite.")
        old, new = before.origin, now.origin
        if old.commit != new.commit:
            print_warning(f"{shown(folder)}: was begun at commit {old.commit}, now {new.commit}")
        kept = replace(new, created=old.created, commit=old.commit, machine=old.machine, threads=old.threads)
        now = replace(now, origin=kept)
    try:
        if before is not None and overwrite:
            _remove(folder)
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"{shown(folder)}: cannot be made or cleared ({error.strerror}). Check the folder.") from error
    write_study_record(folder, now)
    return before is not None and not overwrite


def read_trials(folder: Path) -> list[TrialRecord]:
    """The records of all trials that are over, by id."""
    found = (find_trial(trial) for trial in sorted((folder / TRIALS).glob("*")))
    return [record for record in found if record is not None]


def best_setting(records: Sequence[TrialRecord]) -> BestSetting | None:
    """The setting of highest mean score on val; None where all failed.

    A setting whose repeats failed in part would be compared by luck: it counts only where there is no other.
    """
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        groups[identity(record.arguments, repeats=False)].append(record)
    usable = {key: [one for one in group if not one.has_failed] for key, group in groups.items()}
    whole = [group for key, group in usable.items() if len(group) == len(groups[key])]
    settings = [
        BestSetting(group, sum(one.val_score for one in group) / len(group))
        for group in whole or usable.values()
        if group
    ]
    return max(settings, key=lambda setting: setting.score, default=None)


def find_violations(folder: Path, records: Sequence[TrialRecord]) -> list[str]:
    """Check that the trials were what they say: sentences, none if all is well.

    The arguments that a training kept (`args.yaml`) are those it was given; and trainings with different arguments have
    different weights.
    """
    done = [record for record in records if not record.has_failed]
    found = [text for record in done for text in _lost_arguments(folder, record)]
    alike: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in done:
        if record.weights_sha256:
            alike[record.weights_sha256].append(record)
    for first, *others in alike.values():
        for other in others:
            one, two = effective(first.arguments), effective(other.arguments)
            names = sorted(name for name in one if plain(one[name]) != plain(two[name]))
            if set(names) - _WITHOUT_EFFECT:
                differences = ", ".join(f"{name} {one[name]} and {two[name]}" for name in names)
                found.append(
                    f"{first.id} and {other.id} have the same weights, though {differences}: this had no effect"
                )
    return found


def _lost_arguments(folder: Path, record: TrialRecord) -> Iterator[str]:
    import yaml

    file = folder / TRIALS / record.id / "run" / "args.yaml"
    try:
        kept = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        yield f"{record.id}: {shown(file)} cannot be read, so it is not known what was trained"
        return
    for name, value in parse([f"{name}={to_text(value)}" for name, value in record.arguments.items()]).items():
        held = kept.get(name)
        same = plain(held) == plain(value)
        if name in ("data", "model"):  # a full path there, and perhaps the folder here
            same = Path(str(value)).name in Path(str(held)).parts[-2:]
        if name == "model" and kept.get("resume"):  # of a training that went on: then it is its own last.pt
            same = Path(str(held)).parts[-3:] == ("run", "weights", "last.pt")
        if not same:
            yield f"{record.id}: {name}={value} was given, {name}={held} was trained with"


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changes = [change for key, value in now.items() for change in _changes(key, before.get(key), value)]
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UserError(
            f"{shown(folder)}: holds a study of another space ({'; '.join(changes[:3])}{more}). Choose another "
            "--output or name, or replace it with --overwrite."
        )


def _changes(key: str, before: Any, now: Any) -> Iterator[str]:
    """What differs between two JSON values, titles aside: `key was x, now y`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*before, *now)):
            if name not in ("title", "about"):
                yield from _changes(f"{key}.{name}", before.get(name), now.get(name))
    elif key == "blocks" and isinstance(before, list) and isinstance(now, list):
        blocks = [{block["name"]: block for block in one} for one in (before, now)]
        yield from _changes(key, *blocks)
    elif before != now:
        yield f"{key} was {_brief(before)}, now {_brief(now)}"


def _brief(value: Any) -> str:
    text = "not there" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _remove(folder: Path) -> None:
    """Remove what a study makes and nothing else."""
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
