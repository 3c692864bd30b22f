"""The parts of a study's report, whatever it is written in: texts, tables, charts, commands; nothing is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.pages.figures import Chart
from common.pages.wording import MISSING, count, interval_text, join, percent, score_text
from train.study.analysis.block_view import is_ordered
from train.study.analysis.noise import Estimate, estimate
from train.study.analysis.summary import Analysis
from train.study.report.charts import (
    cell_chart,
    cost_charts,
    curve_chart,
    dependence_chart,
    effect_chart,
    importance_chart,
    slug,
)
from train.study.report.choices import choice_table
from train.study.report.tables import (
    Table,
    comparison_table,
    interaction_table,
    level_table,
    parts_table,
    run_table,
    single_changes_table,
)
from train.study.report.words import estimate_interval, of_count, plus_minus, signed_number, value_text
from train.study.study_record import BlockRecord
from train.study.trial_record import FAILED, FINISHED

_CURVED = {"model", "epochs", "patience", "optimizer", "lr0", "batch"}
"""Parameters that decide how a training goes, so that its curves tell something."""
_BEST = 10
"""Settings in the ranking; all are among the runs."""


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        key: Its address in the page: letters, digits and hyphens.
        title: Its heading.
        texts: Paragraphs.
        observations: Sentences.
        tables: Before the charts those that sum up, `runs` after them.
        charts: Figures.
        runs: The table of its trials; None without any.
        commands: Trial and the command that repeats it.
    """

    key: str
    title: str
    texts: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    runs: Table | None = None
    commands: tuple[tuple[str, str], ...] = ()


def block_key(block: BlockRecord) -> str:
    """The address of a block's part."""
    return slug("block", block.name)


def importance_section(analysis: Analysis) -> Section | None:
    """How much each parameter matters; None where it cannot be told."""
    titles = {block.name: block.title for block in analysis.study.blocks}
    # Of one parameter alone the share is what its table says already.
    found = [(titles[name], one) for name, one in analysis.importance.items() if one and len(one.shares) > 1]
    chart = importance_chart(found)
    if chart is None:
        return None
    rows = []
    for title, one in found:
        for name, share in one.shares.items():
            rest = percent(one.by_chance[name]) if one.predicted is None else MISSING
            rows.append((title, name, percent(share), rest, count(one.trials)))
        if one.together is not None:
            rows.append((title, "only together", percent(one.together), MISSING, count(one.trials)))
        if one.rest is not None:
            rest = "noise" if one.together is not None else "noise and what they do only together"
            rows.append((title, f"the rest: {rest}", percent(one.rest), MISSING, count(one.trials)))
    columns = ("block", "parameter", "share of the variance", "by chance", "trials or settings")
    text = (
        "Shares are of the differences within a block, by an analysis of variance (for drawn settings, by a random "
        "forest on settings that it has not seen). What is left is noise where settings were repeated; where none was, "
        "what the parameters do only together is in it, too, and cannot be told from noise. Where trials failed, "
        "shares need not add up. A share near what chance gives says nothing."
    )
    return Section(
        "importance",
        "How much each parameter matters",
        (text,),
        charts=(chart,),
        tables=(Table("Share of the variance", columns, tuple(rows)),),
    )


def block_section(analysis: Analysis, block: BlockRecord, said: Sequence[str]) -> Section:
    """One block: its observations, tables, charts, runs and their commands."""
    trials = analysis.study.trials_of(block.name)
    texts = [block.about] if block.about else []
    if block.base:
        texts.append("In this block: " + ", ".join(f"{name}={value}" for name, value in block.base.items()) + ".")
    if block.best_of:
        texts.append(
            f"Each takes the {block.best_of} that suits it best on val, and is compared with the others there."
        )
    for parameter, cases in block.only.items():
        alike: dict[str, list[str]] = {}
        for value, changed in cases.items():
            alike.setdefault(", ".join(f"{name}={one}" for name, one in changed.items()), []).append(str(value))
        texts += [f"With {parameter}={join(values)}: {changes}." for changes, values in alike.items()]
    tables: list[Table] = []
    charts: list[Chart | None] = []
    if analysis.measured is None or not len(trials):
        texts.append("No trial of this block has finished." if len(trials) else "No trial belongs to this block yet.")
    else:
        effects = [effect for effect in analysis.effects_of(block.name) if effect.scores]
        if block.singly and effects:
            tables.append(single_changes_table(analysis, block))
        for effect in effects if not block.singly else ():
            tables.append(level_table(analysis, effect))
            if len(effect.scores) > 2:  # of two values the table's number is the whole picture
                charts.append(effect_chart(effect, analysis.measured))
            if effect.parameter == "model":
                costs = analysis.costs[block.name, "model"]
                charts += cost_charts(block.name, costs, effect.scores, analysis.measured.split)
        conditional = analysis.conditional[block.name]
        for other in dict.fromkeys(next(iter(one.given)) for one in conditional):
            mine = [one for one in conditional if other in one.given]
            tables += comparison_table(mine, f"{mine[0].parameter} at each value of {other}")
        tables += interaction_table(analysis, block)
        if not block.singly:
            charts += _cell_charts(analysis, block)
        charts += [dependence_chart(one) for one in analysis.dependence.get(block.name, [])]
    if block.parameters.keys() & _CURVED or analysis.study.record.method != "grid":
        charts.append(_curves(analysis, block))
    return Section(
        block_key(block),
        block.title,
        tuple(texts),
        tuple(said),
        tuple(tables),
        tuple(chart for chart in charts if chart),
    )


def _cell_charts(analysis: Analysis, block: BlockRecord) -> list[Chart | None]:
    """A chart of the first ordered parameter at each value of each other."""
    view = analysis.view(block)
    study, measured, listed = view.study, view.measured, view.listed()
    ordered = [name for name, levels in listed.items() if is_ordered(levels) and len(levels) > 1]
    if not ordered:
        return []
    charts = []
    names = [str(name) for name in view.trials().index]
    for other in (name for name in listed if name != ordered[0]):
        groups: dict[Any, dict[Any, list[str]]] = {}
        for name in names:
            line = groups.setdefault(study.setting(name, other), {})
            line.setdefault(study.setting(name, ordered[0]), []).append(name)
        cells: dict[Any, dict[Any, Estimate]] = {
            value: {level: estimate(measured, dict.fromkeys(group, 1 / len(group))) for level, group in line.items()}
            for value, line in groups.items()
        }
        charts.append(cell_chart(block.name, ordered[0], other, cells, measured))
    return charts


def _curves(analysis: Analysis, block: BlockRecord) -> Chart | None:
    """Learning curves by the value of the block's first parameter; of drawn settings, of the trials themselves."""
    parameter = next(iter(block.parameters), "")
    curves: dict[Any, list[pd.Series]] = {}
    names = analysis.study.trials_of(block.name).index
    if block.best_of and analysis.measured is not None:
        kept = analysis.view(block).matched(parameter)
        names = pd.Index([trial for group in kept.groups.values() for trials in group.values() for trial in trials])
    for name in names:
        if str(name) in analysis.curves:
            curves.setdefault(analysis.study.setting(str(name), parameter), []).append(analysis.curves[str(name)])
    if is_ordered(list(curves)):
        curves = dict(sorted(curves.items()))
    return curve_chart(block.name, parameter, curves)


def patience_section(analysis: Analysis) -> Section | None:
    """What early stopping would have done; None where no training ran all its epochs."""
    if not analysis.patience:
        return None
    rows = tuple(
        (
            str(one.patience),
            percent(one.saved),
            signed_number(-one.lost),
            signed_number(-one.worst),
            f"{one.harmed} of {one.runs}",
        )
        for one in analysis.patience
    )
    columns = ("patience", "epochs saved", "best val score, mean", "at worst", "trainings that lose")
    needed = analysis.study.trials.loc[analysis.study.trials["status"] == FINISHED, "best_epoch"].dropna()
    text = (
        "What early stopping would have done to the trainings that ran all their epochs: it stops after so many epochs "
        "without a better score on val."
    )
    texts = [text]
    if len(needed):
        texts.append(
            f"The best epoch was {needed.median():.0f} in the median, {needed.min():.0f} to {needed.max():.0f} in all."
        )
    table = Table("Had training stopped early", columns, rows)
    return Section("early-stopping", "What early stopping would save", tuple(texts), tables=(table,))


def ranking_section(analysis: Analysis) -> Section | None:
    """All settings, best first; None where no trial has finished."""
    measured = analysis.measured
    if measured is None:
        return None
    rows = []
    for place, setting in enumerate(analysis.settings, 1):
        settings = analysis.study.spelled_out(setting.trials[0])
        behind = (
            signed_number(-setting.behind.value) + " " + plus_minus(setting.behind.half_width)
            if setting.behind
            else MISSING
        )
        told = MISSING if setting.behind is None else ("lower" if setting.is_behind else "cannot be told")
        text = ", ".join(f"{name}={value_text(name, value)}" for name, value in settings.items())
        rows.append(
            (
                str(place),
                text,
                ", ".join(setting.trials),
                score_text(setting.val),
                score_text(setting.score.value),
                interval_text(estimate_interval(setting.score)),
                behind,
                told,
            )
        )
    columns = ("", "setting", "trials", "val", measured.split, "95 % interval", "to the first", "verdict")
    shown = rows[:_BEST]
    text = "No setting was trained twice."
    if noise := measured.noise:
        deviation = f"{score_text(noise.deviation)} ({of_count(noise.degrees, 'degree')} of freedom)"
        text = f"The scores of two trainings of one setting scatter with a standard deviation of {deviation}."
        if own := sorted(measured.noise_of.items()):
            listed = [f"{value_text('model', name)} {score_text(one.deviation)}" for name, one in own]
            text += f" By model, where it is known: {join(listed)}."
    note = (
        "By falling mean score on val, which had the choice; p values of the differences are corrected by Holm for all "
        f"{of_count(len(rows), 'setting')}."
    )
    title = "Settings, best first" if len(shown) == len(rows) else f"The best {len(shown)} of {len(rows)} settings"
    return Section("ranking", title, (text,), tables=(Table(title, columns, tuple(shown), note),))


def choices_section(analysis: Analysis) -> Section | None:
    """What to choose, setting by setting; None where nothing was compared."""
    table = choice_table(analysis) if analysis.measured else None
    if table is None:
        return None
    return Section("choices", "What to choose", tables=(table,))


def parts_section(analysis: Analysis) -> Section | None:
    """Where the score is lost, and what differences are made of; None where it is not known."""
    table = parts_table(analysis)
    if table is None:
        return None
    text = "Whether a change finds more, errs less, or only draws better boxes; of each setting its largest difference."
    return Section("parts", "Taken apart", (text,), tables=(table,))


def failures_section(analysis: Analysis) -> Section | None:
    """Trials that failed, and why; None without any."""
    failed = analysis.study.trials[analysis.study.trials["status"] == FAILED]
    if failed.empty:
        return None
    rows = tuple(
        (
            str(name),
            ", ".join(f"{key}={value_text(key, value)}" for key, value in row["settings"].items()),
            str(row["error"] or MISSING),
        )
        for name, row in failed.iterrows()
    )
    return Section(
        "failures", "Failed trials", tables=(Table("Failures", ("trial", "settings", "error"), rows, of_trials=True),)
    )


def appendix(analysis: Analysis) -> Section:
    """Every trial, with what it cost and the command that repeats it."""
    trials = analysis.study.trials
    text = (
        "Every trial, and the command that repeats it. Each starts from the set-up commands and makes a folder of its "
        "own in runs/."
    )
    return Section("runs", "All runs", (text,), runs=run_table(analysis, trials), commands=tuple(_commands(trials)))


def _commands(trials: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(name), str(command)) for name, command in trials["command"].items()]
