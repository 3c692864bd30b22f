"""What the report of a study says before its parts: how it was done, what limits it, what was found."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.pages.wording import count
from train.study.analysis.noise import Measured
from train.study.analysis.summary import Analysis
from train.study.report.observations import Observation, observe
from train.study.report.sections import (
    Section,
    appendix,
    block_section,
    choices_section,
    failures_section,
    importance_section,
    parts_section,
    patience_section,
    ranking_section,
)
from train.study.report.words import of_count
from train.study.study_record import StudyRecord
from train.study.trial_record import FAILED, FINISHED, STOPPED

_READING = (
    "The RSNA score goes from 0 to 1, higher is better. A difference is that of the means of trainings that differ in "
    "this only, on the same images. ± is half of a 95 % interval, which holds the noise of the "
    "images and, where settings were trained more than once, that of training. In its own part a difference is within "
    "noise where its p value, corrected by Holm for the comparisons made for that parameter, is 0.05 or more; above, "
    "and under What to choose, stand only those that are also beyond noise among all that the study looked at."
)


@dataclass(frozen=True)
class Content:
    """The whole report.

    Attributes:
        title: The study's.
        about: One line.
        tiles: Number and what it counts.
        facts: How it was done: name and text.
        caveats: What limits what can be learned from it.
        overall: Observations about the whole study.
        sections: In their order.
        reading: How to read a number with its interval.
        setup: Commands that come before any other.
        data_commands: Whether these make the data set, too.
        created: When the study was begun.
        again: A function of the shell that runs what most commands have in common; see `shorten`.
        short: By trial, how it is called.
    """

    title: str
    about: str
    tiles: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]
    overall: tuple[str, ...]
    sections: tuple[Section, ...]
    reading: str = ""
    setup: tuple[str, ...] = ()
    data_commands: bool = False
    created: str = ""
    again: str = ""
    short: Mapping[str, str] = field(default_factory=dict)


def make_content(analysis: Analysis) -> Content:
    """Put the report together."""
    study, record = analysis.study, analysis.study.record
    said = observe(analysis)
    again, short = shorten({str(trial): str(command) for trial, command in study.trials["command"].items()})
    sections = [
        *(block_section(analysis, block, _texts(said, block.name)) for block in study.blocks),
        importance_section(analysis),
        parts_section(analysis),
        patience_section(analysis),
        ranking_section(analysis),
        choices_section(analysis),
        failures_section(analysis),
        appendix(analysis),
    ]
    return Content(
        title=record.title,
        about=record.about,
        tiles=tiles_of(analysis),
        facts=facts_of(analysis),
        caveats=caveats_of(analysis),
        overall=_texts(said, None),
        sections=tuple(section for section in sections if section),
        reading=_READING if analysis.measured else "",
        setup=setup_commands(record),
        data_commands=bool(record.setup),
        created=_begun(record),
        again=again,
        short=short,
    )


def shorten(commands: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Write many commands that are nearly the same as calls of a function of the shell.

    Args:
        commands: By trial, as typed; of words `name=value`, of which the last of a name counts.

    Returns:
        A function `again`, which runs what most of them have in common and what it is given besides; and by trial what
        it has to be given. Where commands are of different programs, no function, and the commands as they are.
    """
    split = {trial: shlex.split(command) for trial, command in commands.items()}
    programs = {tuple(words[:2]) for words in split.values()}
    if len(programs) != 1 or not all("=" in word for words in split.values() for word in words[2:]):
        return "", dict(commands)
    given = [dict(word.split("=", 1) for word in words[2:]) for words in split.values()]
    shared = [name for name in given[0] if all(name in one for one in given)]
    usual = {name: Counter(one[name] for one in given).most_common(1)[0][0] for name in shared}
    common = shlex.join([*next(iter(programs)), *(f"{name}={value}" for name, value in usual.items())])
    short = {
        trial: shlex.join(["again", *(f"{name}={value}" for name, value in one.items() if usual.get(name) != value)])
        for trial, one in zip(split, given, strict=True)
    }
    return f'again() {{ {common} "$@"; }}', short


def _texts(said: Sequence[Observation], block: str | None) -> tuple[str, ...]:
    return tuple(one.text for one in said if one.block == block)


def tiles_of(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """Numbers for the top of the page, and what they count."""
    trials = analysis.study.trials
    states = trials["status"].value_counts()
    seconds = trials["seconds"].sum()
    hours = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
    found = [_counted(len(trials), "trial"), (count(states.get(FINISHED, 0)), "finished")]
    others = ((STOPPED, "stopped early"), (FAILED, "failed"))
    found += [(count(states[name]), words) for name, words in others if name in states]
    if analysis.settings:
        found.append(_counted(len(analysis.settings), "setting"))
    return (*found, (hours, "of training in sum"))


def _counted(number: int, noun: str) -> tuple[str, str]:
    number_text, _, words = of_count(number, noun).partition(" ")
    return number_text, words


def facts_of(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """How the study was done: name and text."""
    record, measured = analysis.study.record, analysis.measured
    origin = record.origin
    methods = {
        "grid": "every combination of the listed values",
        "random": "settings drawn at random",
        "tpe": "settings proposed by TPE, from what earlier ones scored",
    }
    base = ", ".join(f"{name}={value}" for name, value in record.base.items())
    seeds = f"seed{'s' if len(record.seeds) != 1 else ''} {', '.join(map(str, record.seeds))}"
    repeats = f"{record.folds} folds" if record.folds else seeds
    for block in () if record.folds else record.blocks:
        if block.seeds:
            repeats += f"; {block.title}: {', '.join(map(str, block.seeds))}"
    scheduler = ", ".join(f"{name}={value}" for name, value in (record.scheduler or {}).items())
    kind = "synthetic pictures, drawn by a program" if origin.synthetic else ""
    rows = {
        "Data": ", ".join(filter(None, (origin.data, kind))),
        "Data fingerprint": origin.fingerprint,
        "Scores": _scored_on(measured),
        "Settings": methods.get(record.method, record.method),
        "Each setting is trained with": repeats,
        "Threads of a training": origin.threads,
        "Stopped early by": scheduler,
        "Held fixed": base,
        "Machine": origin.machine,
        "Commit": origin.commit,
        "Versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        "Command": origin.command,
        "Begun": _begun(record),
    }
    return tuple((name, str(text)) for name, text in rows.items() if text)


def _scored_on(measured: Measured | None) -> str:
    if measured is None:
        return ""
    where = (
        "epoch and confidence are chosen on val, "
        if measured.chosen_apart
        else "epoch and confidence are chosen on val too, "
    )
    return f"{where}what is compared is the RSNA score on {measured.split} ({count(measured.patients)} patients)"


def caveats_of(analysis: Analysis) -> tuple[str, ...]:
    """What limits what can be learned from this study."""
    record, measured, study = analysis.study.record, analysis.measured, analysis.study
    texts = []
    if record.origin.synthetic:
        texts.append("The pictures are drawn by a program: what was learned here need not hold for real radiographs.")
    if measured and not measured.chosen_apart:
        texts.append(
            "Not every trial has a score on test, so scores are those on val, where epoch and confidence were chosen: "
            "they flatter."
        )
    if measured and measured.noise is None:
        texts.append(
            "Each setting was trained once: intervals hold the noise of the images, and training noise is not known."
        )
    if measured and measured.trials["fold"].notna().any():
        texts.append(
            "Trainings of different folds share most of their images, so that their spread understates the noise of "
            "training."
        )
    if record.method in ("random", "tpe"):
        texts.append(
            "Settings were drawn, so that none differ in one parameter only: effects are those that a random forest "
            "has learned."
        )
    if record.method == "tpe":
        texts.append("TPE tries most where it expects high scores; of other values little is known.")
    if (study.trials["status"] == STOPPED).any():
        texts.append(
            "Trials that the scheduler stopped are left out of comparisons; values that it stops often look better "
            "than they are."
        )
    if study.unfinished:
        texts.append(
            f"{count(len(study.unfinished))} more trials have no result: they are still running, or were killed."
        )
    if (record.origin.commit or "").endswith("-dirty"):
        texts.append("Files differed from the commit when the study ran.")
    return tuple(texts)


def setup_commands(record: StudyRecord) -> tuple[str, ...]:
    """Commands that come first; how the data were made is known where the study says so."""
    commit, threads = (record.origin.commit or "").removesuffix("-dirty"), record.origin.threads
    checkout = [f"git checkout {commit}"] if commit else []
    exported = [f"export OMP_NUM_THREADS={threads}"] if threads else []
    return (*checkout, "make setup", "source .venv/bin/activate", *record.setup, *exported)


def _begun(record: StudyRecord) -> str:
    return (record.origin.created or "")[:16].replace("T", " ")
