"""The tables of a study's report, in plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.pages.wording import MISSING, count, interval_text, is_number, score_text
from train.study.analysis.block_view import Comparison
from train.study.analysis.effects import Effect
from train.study.analysis.summary import Analysis
from train.study.analysis.tradeoffs import cost_of, mean_epochs, pareto_front
from train.study.plan import effective
from train.study.report.sentences import LOST_WORDS, most_telling
from train.study.report.words import named, of_count, plus_minus, signed, signed_number, title_of, value_text, verdict
from train.study.study_record import BlockRecord
from train.study.trial_record import SPLITS

MANY = 24
"""Tables with more rows are folded."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        caption: What its rows are.
        columns: Headings.
        rows: As many texts each.
        note: What has to be known to read it; may be empty.
        of_trials: Whether the first column has ids of trials.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    of_trials: bool = False

    @property
    def is_text(self) -> tuple[bool, ...]:
        """For each column, whether it holds words, which are read from the left."""
        return tuple(any(text[:1].isalpha() for text in column) for column in zip(*self.rows, strict=True))

    @property
    def is_long(self) -> bool:
        """Whether it is better folded."""
        return len(self.rows) > MANY


_LOST_NOTE = (
    "A score lacks to 1 what its parts say, and a difference of scores is made of theirs: boxes that no prediction "
    "meets, images without boxes that have one, predictions beside the boxes, boxes met with an IoU that does not "
    "reach all thresholds, and a confidence that was chosen on val and is not the best here. Seconds of training and "
    "milliseconds an image are those of the first and of the second."
)

_BEFORE, _TO_BASE = "to the one before", "to the base"

Row = Mapping[str, str]
"""Cells by heading; what is not there is missing."""


def level_table(analysis: Analysis, effect: Effect) -> Table:
    """What each value of a parameter scores, how it differs, what it took, and where its score is lost."""
    rows = [_level_row(analysis, effect, level) for level in effect.levels]
    ends = next((one for one in effect.comparisons if one.role == "ends"), None)
    if ends is not None:
        first, last = (value_text(effect.parameter, value) for value in (ends.reference, ends.level))
        rows.append({effect.parameter: f"from {first} to {last}", _of_role(effect, ends): signed(ends.effect),
                     "p (Holm)": p_text(ends.p_holm), "verdict": verdict(ends)})  # fmt: skip
    return _table(analysis, f"{title_of(effect.parameter)}: what each value scores", effect.parameter, rows)


def single_changes_table(analysis: Analysis, block: BlockRecord) -> Table:
    """A block whose parameters were changed one at a time: its base, and each change."""
    rows: list[Row] = []
    for effect in analysis.effects_of(block.name):
        base = next((one.reference for one in effect.comparisons), effect.levels[0])
        changed = [level for level in effect.levels if level != base]
        for level in changed if rows else [base, *changed]:  # the base is the same one for all parameters
            row = _level_row(analysis, effect, level)
            name = "the base" if level == base else named(effect.parameter, level)
            # Each parameter has another value there.
            cells = {_TO_BASE if heading.startswith("to ") else heading: cell for heading, cell in row.items()}
            rows.append({**cells, "change": name})
    return _table(analysis, "What each change does", "change", rows)


def _level_row(analysis: Analysis, effect: Effect, level: Any) -> Row:
    assert analysis.measured is not None
    split, parameter = analysis.measured.split, effect.parameter
    name = _level_name(analysis, effect, level)
    if level not in effect.scores:
        return {parameter: name, "trainings": "0"}
    score = effect.scores[level]
    row = {
        parameter: name,
        "trainings": count(effect.runs[level]),
        f"{split} score": f"{score_text(score.value)} {plus_minus(score.half_width)}",
    }
    for one in effect.comparisons:
        if one.level != level or one.role == "ends":
            continue
        if parameter == "model":  # of a ladder: two differences, each with its own verdict
            row[_of_role(effect, one)] = f"{signed(one.effect)} {verdict(one) if one.is_real else ''}".strip()
        else:
            row |= {_of_role(effect, one): signed(one.effect), "p (Holm)": p_text(one.p_holm), "verdict": verdict(one)}
    fairness = analysis.fairness(effect)
    row["epochs trained"] = _epochs(mean_epochs(analysis.study, effect).get(level, math.nan))
    row["steps"] = count(fairness.steps[level])
    flat, known = fairness.converged[level]
    row["converged"] = f"{flat} of {known}" if known else MISSING
    return row | _costs(analysis, effect, level)


def _epochs(mean: float) -> str:
    return f"{mean:.4g}" if is_number(mean) else MISSING


def _steps_first(heading: str) -> tuple[bool, str]:
    return heading != _BEFORE, heading


def _level_name(analysis: Analysis, effect: Effect, level: Any) -> str:
    """A value, with what was chosen for it on val, and whether it is the best there."""
    block = next(block for block in analysis.study.blocks if block.name == effect.block)
    notes = []
    if block.best_of and level in effect.scores:
        (trial, *_) = analysis.view(block).matched(effect.parameter).having(level)
        notes.append(f"{block.best_of} {value_text(block.best_of, analysis.study.setting(trial, block.best_of))}")
    if level == effect.best:
        notes.append("best on val")
    return value_text(effect.parameter, level) + (f" ({', '.join(notes)})" if notes else "")


def _of_role(effect: Effect, one: Comparison) -> str:
    """The heading of a difference's column."""
    if one.role in ("step", "ends"):
        return _BEFORE
    return f"to {value_text(effect.parameter, one.reference)}"


def _costs(analysis: Analysis, effect: Effect, level: Any) -> dict[str, str]:
    costs = analysis.costs[effect.block, effect.parameter]
    cost = cost_of(costs, level)
    row = {"seconds": decimal(cost["seconds"])}
    for column, heading in (("milliseconds", "ms an image"), ("parameters", "parameters")):
        if costs[column].nunique() > 1:
            row[heading] = count(cost[column]) if column == "parameters" else decimal(cost[column])
    if effect.parameter == "model":
        front = pareto_front(costs["parameters"].tolist(), costs["score"].tolist())[list(costs.index).index(level)]
        row["on the front"] = "yes" if front else "no"
    return row


def _table(analysis: Analysis, caption: str, first: str, rows: Sequence[Row]) -> Table:
    """The rows, without columns that are empty in all of them."""
    assert analysis.measured is not None
    order = [
        *(first, "trainings", f"{analysis.measured.split} score"),
        *sorted({heading for row in rows for heading in row if heading.startswith("to ")}, key=_steps_first),
        *("p (Holm)", "verdict", "steps", "epochs trained", "converged", "seconds", "ms an image", "parameters"),
        "on the front",
    ]
    columns = [heading for heading in order if any(row.get(heading, MISSING) != MISSING for row in rows)]
    if len({row["epochs trained"] for row in rows if "epochs trained" in row}) == 1 or first == "epochs":
        columns.remove("epochs trained")
    note = (
        "A difference without a word is within noise. On the front: no other model has fewer parameters and scores as "
        "much."
        if "on the front" in columns
        else ""
    )
    cells = tuple(tuple(row.get(heading, MISSING) for heading in columns) for row in rows)
    return Table(caption, tuple(columns), cells, note)


def parts_table(analysis: Analysis) -> Table | None:
    """The best setting's losses, and what the largest difference of each parameter is made of; None where not known."""
    if analysis.measured is None:
        return None
    rows = []
    best = [analysis.measured.lost[name] for name in analysis.settings[0].trials]
    if all(best):
        lost = {part: sum(one[part] for one in best) / len(best) for part in LOST_WORDS}
        score = score_text(analysis.settings[0].score.value)
        cells = (signed_number(-lost[part]) for part in LOST_WORDS)
        rows.append(("the best on val, of 1", f"{score} scored", *cells, MISSING, MISSING))
    for effect in analysis.effects:
        known = [one for one in effect.comparisons if one.parts]
        if known:
            one = most_telling(known)
            change = (value_text(one.parameter, value) for value in (one.level, one.reference))
            costs = analysis.costs[effect.block, effect.parameter]
            pairs = [
                " / ".join(decimal(cost_of(costs, level)[column]) for level in (one.level, one.reference))
                for column in ("seconds", "milliseconds")
            ]
            parts = (signed_number(one.parts[part]) for part in LOST_WORDS)
            rows.append(
                (f"{one.parameter}: {' against '.join(change)}", signed_number(one.effect.value), *parts, *pairs)
            )
    columns = ("change", "difference", *LOST_WORDS.values(), "seconds", "ms an image")
    return Table("What differences are made of", columns, tuple(rows), _LOST_NOTE) if rows else None


def comparison_table(comparisons: Sequence[Comparison], what: str) -> list[Table]:
    """Comparisons of one family; no table without any."""
    if not comparisons:
        return []
    given = any(one.given for one in comparisons)
    columns = ("from", "to", "trainings", "difference", "p (Holm)", "verdict")
    rows = []
    for one in comparisons:
        held = ", ".join(f"{name} {value_text(name, value)}" for name, value in one.given.items())
        ends = (value_text(one.parameter, one.reference), value_text(one.parameter, one.level))
        row = (*ends, f"{one.runs[1]}, {one.runs[0]}", signed(one.effect), p_text(one.p_holm), verdict(one))
        rows.append((held, *row) if given else row)
    family = comparisons[0].family
    note = f"p is corrected for the {of_count(family, 'comparison')} made here." if family > 1 else ""
    return [Table(f"Differences: {what}", ("with", *columns) if given else columns, tuple(rows), note)]


def interaction_table(analysis: Analysis, block: BlockRecord) -> list[Table]:
    """Whether one parameter depends on another; no table without two."""
    rows = []
    for one in analysis.interactions[block.name]:
        step = f"{one.parameter} {value_text(one.parameter, one.reference)} to {value_text(one.parameter, one.level)}"
        first, second = (value_text(one.other, value) for value in one.values)
        told = (signed(one.effect), p_text(one.p_holm), count(one.family), "real" if one.is_real else "within noise")
        rows.append((step, f"{one.other} {second} against {first}", *told))
    columns = ("change", "how much more at", "difference", "p (Holm)", "of contrasts", "verdict")
    note = "The contrast with the smallest p value of all that were looked at."
    return [Table("Does one parameter depend on the other?", columns, tuple(rows), note)] if rows else []


def run_table(analysis: Analysis, trials: pd.DataFrame) -> Table | None:
    """Every run: settings, scores, and what it took."""
    if trials.empty:
        return None
    study = analysis.study
    repeat = "fold" if trials["fold"].notna().all() else "seed"
    splits = [split for split in SPLITS if split == "val" or study.trials[split].notna().any()]
    base = effective(study.record.base)  # a setting of several blocks names all that any of them varies
    rows = []
    for key, row in trials.iterrows():
        name = str(key)
        settings = {
            one: value for one, value in study.spelled_out(name).items() if one not in base or base[one] != value
        }
        cells = [name, ", ".join(f"{one}={value_text(one, value)}" for one, value in settings.items()) or "the base"]
        cells.append(MISSING if pd.isna(row[repeat]) else f"{row[repeat]:.0f}")
        known = is_number(row["epochs"]) and is_number(row["best_epoch"])
        cells.append(f"{row['best_epoch']:.0f} of {row['epochs']:.0f}" if known else str(row["status"]))
        cells.append(count(row["steps"]))
        for split in splits:
            interval = interval_text([row[f"{split}_low"], row[f"{split}_high"]])
            cells.append(f"{score_text(row[split])} ({interval})" if is_number(row[split]) else MISSING)
        cells += [score_text(row["map50_95"]), count(row["parameters"])]
        cells += [decimal(row[cost]) for cost in ("gflops", "milliseconds", "seconds")]
        rows.append(tuple(cells))
    columns = ["trial", "settings", repeat, "best epoch", "steps"]
    columns += [f"{split} score (95 % interval)" for split in splits]
    columns += ["mAP50-95", "parameters", "GFLOPs", "ms", "seconds"]
    note = "Intervals of single scores: 95 %, from resampled patients, without the noise of training."
    return Table("Every run", tuple(columns), tuple(rows), note, of_trials=True)


def p_text(value: float) -> str:
    """A p value to three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def decimal(value: float) -> str:
    """A number with one decimal, or with commas between thousands."""
    return (f"{value:.1f}" if value < 100 else f"{value:,.0f}") if is_number(value) else MISSING
