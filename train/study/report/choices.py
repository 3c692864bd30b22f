"""The closing table of a study: for each setting what to choose, how sure that is, and where it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.pages.wording import join, score_text
from train.study.analysis.block_view import Comparison
from train.study.analysis.effects import Effect
from train.study.analysis.summary import Analysis
from train.study.report.tables import Table, p_text
from train.study.report.words import named, of_count, signed, value_text

_LENGTHS = ("epochs", "patience")
"""What these change is how long a training takes: that its steps differ is no caveat."""


def choice_table(analysis: Analysis) -> Table | None:
    """The table; None where nothing was compared."""
    rows = []
    for block in analysis.study.blocks:
        for effect in analysis.effects_of(block.name):
            if effect.comparisons:
                setting = effect.parameter if effect.parameter.lower() in block.title.lower() else (
                    f"{effect.parameter} ({block.title})"
                )  # fmt: skip
                seen = "unknown" if effect.smallest is None else f"from {score_text(effect.smallest)} on"
                rows.append((setting, _choice(effect), _sureness(effect), seen, _where(analysis, effect)))
    if not rows:
        return None
    note = (
        "A value is chosen where its difference is beyond noise among all "
        f"{of_count(analysis.looked_at, 'difference')} that this study looked at (q, by Benjamini and Hochberg, below "
        "0.05). A smaller difference than could have been seen may be there all the same."
    )
    columns = ("setting", "choose", "how sure", "could have been seen", "where it holds")
    return Table("Setting by setting", columns, tuple(rows), note)


def _choice(effect: Effect) -> str:
    """The value that came out best beyond noise, or what to stay away from, or that it does not matter here."""
    real = [one for one in effect.comparisons if one.is_named]
    text = lambda value: value_text(effect.parameter, value)  # noqa: E731
    if not real:
        return "no difference seen"
    beaten = {_loser(one) for one in real}
    standing = [level for level in effect.scores if level not in beaten]
    best = max(standing, key=lambda level: effect.scores[level].value)
    winners = {_winner(one) for one in real}
    if best in winners or len(standing) == 1:
        equal = [text(level) for level in standing if level != best]
        return text(best) + (f"; {join(equal)} may do as well" if 0 < len(equal) < 4 else "")
    return f"not {join([text(level) for level in effect.scores if level in beaten])}"


def _winner(one: Comparison) -> Any:
    return one.level if one.effect.value > 0 else one.reference


def _loser(one: Comparison) -> Any:
    return one.reference if one.effect.value > 0 else one.level


def _sureness(effect: Effect) -> str:
    """The largest difference with its corrected p value, or without one that counts."""
    real = [one for one in effect.comparisons if one.is_named]
    if real:
        most = max(real, key=lambda one: abs(one.effect.value))
        pair = f"{value_text(effect.parameter, most.level)} against {value_text(effect.parameter, most.reference)}"
        level, reference = most.runs
        runs = f"{of_count(level, 'training')} each" if level == reference else f"{level} and {reference} trainings"
        return f"{pair}: {signed(most.effect)}, q {p_text(most.p_study)} ({runs})"
    most = max(effect.comparisons, key=lambda one: abs(one.effect.value))
    return f"nothing beyond noise; at most {signed(most.effect)}"


def _where(analysis: Analysis, effect: Effect) -> str:
    """What limits it: the block's own base, unequal steps, trainings that had not converged."""
    block = next(block for block in analysis.study.blocks if block.name == effect.block)
    fairness = analysis.fairness(effect)
    texts: list[str] = []
    if block.base:
        texts.append(", ".join(f"{name}={value}" for name, value in block.base.items()))
    texts += [steps_words(steps)] if (steps := fairness.step_range) and effect.parameter not in _LENGTHS else []
    open_ended, every = fairness.unconverged
    if open_ended:
        texts.append(f"{open_ended} of {of_count(every, 'training')} had not converged")
    return "; ".join(texts) or "the study's base"


def steps_words(steps: tuple[float, float]) -> str:
    """What unequal steps mean for a comparison."""
    return f"steps differ ({steps[0]:,.0f} to {steps[1]:,.0f}): it may be only how long they learned"


def fairness_sentences(analysis: Analysis, effect: Effect) -> list[str]:
    """What has to be minded about an effect's comparisons: unequal steps, and trainings that had not converged."""
    if not effect.comparisons:
        return []
    fairness, found = analysis.fairness(effect), []
    if fairness.step_range and effect.parameter not in _LENGTHS:
        fewest = min(fairness.steps, key=lambda level: fairness.steps[level])
        most = max(fairness.steps, key=lambda level: fairness.steps[level])
        low, high = fairness.step_range
        found.append(
            f"Mind the steps: {named(effect.parameter, fewest)} took {low:,.0f} of the optimizer, "
            f"{value_text(effect.parameter, most)} {high:,.0f}; what differs may be no more than how long they learned."
        )
    open_ended, every = fairness.unconverged
    if open_ended:
        levels = [value_text(effect.parameter, level) for level, (flat, of) in fairness.converged.items() if flat < of]
        found.append(
            f"Not converged: {open_ended} of {of_count(every, 'training')} ({_few(levels)}); with more epochs these "
            "may come out otherwise."
        )
    return found


def _few(names: Sequence[str]) -> str:
    return join(list(names)) if len(names) <= 6 else f"{join(list(names[:5]))} and others"
