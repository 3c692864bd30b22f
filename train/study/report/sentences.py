"""Sentences about comparisons: what a parameter does, which value beat which, what depends on what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from common.pages.wording import is_number, join, score_text
from train.study.analysis.block_view import Comparison
from train.study.analysis.effects import Effect
from train.study.analysis.interactions import Interaction
from train.study.report.words import NOISE, named, noise_words, signed, signed_number, size, times, value_text

LOST_WORDS = {
    "missed": "missed boxes",
    "false_images": "false images",
    "extra_boxes": "extra boxes",
    "fit": "box fit",
    "threshold": "moved threshold",
}
"""The parts of what a score lacks to 1, in words."""
_SEEN = 5e-4
"""A part below this rounds to 0.000."""
_SAME = 0.05
"""Models whose parameters differ by no more than this share have the same number of them."""


def effect_sentences(
    effect: Effect, *, once: bool = False, others: Sequence[str] = (), parameters: pd.Series | None = None
) -> list[str]:
    """Say what a parameter does, over all values of the block's others.

    Args:
        effect: The parameter's effect.
        once: Whether each setting was trained once.
        others: Other parameters that the block varies.
        parameters: Number of a model's parameters by model, where that is what the parameter is.
    """
    if not effect.comparisons:
        return []
    over = f"Over all values of {join(others)}: " if others else ""
    one = " (known from one training each)" if once and any(one.is_real for one in effect.comparisons) else ""
    if effect.parameter == "patience":
        texts = [f"{over}{_patience_effect(comparison)}{one}." for comparison in effect.comparisons]
    elif any(one.role == "control" for one in effect.comparisons):
        texts = [f"{over}{_against_control(effect)}{one}."]
    elif effect.ordered:
        steps = _steps(effect.parameter, effect.comparisons)
        steps = steps[0].lower() + steps[1:] if over else steps
        texts = [f"{over}{steps}{one}."]
    elif effect.parameter == "model":
        texts = [*_ladder(effect, one, parameters), f"{over}{_against_best(effect)}{one}."]
    else:
        texts = [f"{over}{_against_best(effect)}{one}."]
    gone = [level for level in effect.levels if level not in effect.scores]
    if gone:
        names = join([value_text(effect.parameter, level) for level in gone])
        texts.append(f"{effect.parameter}: no trial with {names} has finished.")
    return texts


def parts_sentences(effect: Effect) -> list[str]:
    """What the largest difference beyond noise is made of, as far as it is known."""
    known = [one for one in effect.comparisons if one.parts]
    if not known or not (most := most_telling(known)).is_real:
        return []
    told = [
        f"{LOST_WORDS[part]} {signed_number(value)}"
        for part, value in sorted(most.parts.items(), key=lambda item: -abs(item[1]))
        if abs(value) >= _SEEN
    ]
    pair = f"{value_text(effect.parameter, most.level)} against {value_text(effect.parameter, most.reference)}"
    return [f"Taken apart, {pair} ({signed_number(most.effect.value)}): {', '.join(told)}."] if told else []


def most_telling(comparisons: Sequence[Comparison]) -> Comparison:
    """The largest difference beyond noise, or else the largest."""
    return max(comparisons, key=lambda one: (one.is_named, one.is_real, abs(one.effect.value)))


def smallest_sentences(effects: Sequence[Effect]) -> list[str]:
    """What differences the block could have seen."""
    known = {effect.parameter: seen for effect in effects if (seen := effect.smallest) is not None}
    if not known:
        return []
    if len(known) == 1:
        return [f"A difference from {score_text(next(iter(known.values())))} on would have been seen here."]
    listed = join([f"{score_text(seen)} ({name})" for name, seen in known.items()])
    return [f"Differences would have been seen here from {listed} on."]


def _change(comparison: Comparison) -> str:
    """`brought 0.041 ± 0.012`, `cost ...`, or `changed the score by ..., which is within noise`."""
    if comparison.is_real:
        return f"{'brought' if comparison.effect.value > 0 else 'cost'} {size(comparison.effect)}"
    return f"changed the score by {signed(comparison.effect)}, {noise_words(comparison)}"


def _range(comparison: Comparison) -> str:
    texts = (value_text(comparison.parameter, value) for value in (comparison.reference, comparison.level))
    return "from {} to {}".format(*texts)


def _steps(parameter: str, comparisons: Sequence[Comparison], where: str = "") -> str:
    """What raising a number does: the steps beyond noise, or the largest that is not; `where` such as ` with SGD`."""
    steps = [one for one in comparisons if one.role == "step"]
    ends = [one for one in comparisons if one.role == "ends"]
    real = [one for one in steps if one.is_real]
    if len(steps) == 1:
        return f"Raising {parameter} {_range(steps[0])}{where} {_change(steps[0])}"
    if real:
        first, *others = [f"{_range(one)}{where if one is real[0] else ''} {_change(one)}" for one in real]
        text = f"Raising {parameter} {'; '.join([first, *others])}"
        left = len(steps) - len(real)
        return text + (
            f"; {'the other step is' if left == 1 else f'the other {left} steps are'} within noise" if left else ""
        )
    if ends and ends[0].is_real:
        return f"Raising {parameter} {_range(ends[0])}{where} {_change(ends[0])}, though no single step is beyond noise"
    most = max([*steps, *ends], key=lambda one: abs(one.effect.value))
    largest = f"the largest difference is {signed(most.effect)}, {_range(most)}"
    return f"Raising {parameter}{where} did nothing beyond noise; {largest}"


def _against_best(effect: Effect) -> str:
    """Which values the best on val beat, which it did not."""
    pairs = [
        (one.level if one.reference == effect.best else one.reference, one, -1 if one.reference == effect.best else 1)
        for one in effect.comparisons
        if effect.best in (one.reference, one.level)
    ]
    best = named(effect.parameter, effect.best)
    beaten = [(level, one) for level, one, sign in pairs if one.is_real and sign * one.effect.value > 0]
    better = [(level, one) for level, one, sign in pairs if one.is_real and sign * one.effect.value < 0]
    equal = [(level, one) for level, one, _ in pairs if not one.is_real]
    texts = []
    if beaten:
        listed = [f"{value_text(effect.parameter, level)} by {size(one.effect)}" for level, one in beaten]
        texts.append(f"{best} beat {join(listed)}")
    if better:
        listed = [f"{value_text(effect.parameter, level)} by {size(one.effect)}" for level, one in better]
        texts.append(f"{best}, though best on val, was beaten by {join(listed)}")
    if equal:
        texts.append(_equal(effect, equal, alone=not texts))
    return "; ".join(texts)


def _against_control(effect: Effect) -> str:
    """What each value does against the mean of the repeated base."""
    made = [one for one in effect.comparisons if one.role == "control"]
    control = named(effect.parameter, made[0].reference)
    parts = []
    for words, sign in (("better", 1), ("worse", -1)):
        real = [one for one in made if one.is_real and sign * one.effect.value > 0]
        if real:
            listed = [f"{value_text(effect.parameter, one.level)} by {size(one.effect)}" for one in real]
            parts.append(f"{words} than {control}: {join(listed)}")
    rest = [one for one in made if not one.is_real]
    if rest:
        listed = [f"{value_text(effect.parameter, one.level)} ({signed(one.effect)})" for one in rest]
        parts.append(f"within noise of {control}: {join(listed)}")
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def _equal(effect: Effect, equal: Sequence[tuple[Any, Comparison]], alone: bool) -> str:
    names = join([value_text(effect.parameter, level) for level, _ in equal])
    best = named(effect.parameter, effect.best)
    if not alone:
        return (
            f"{names} {'are' if len(equal) > 1 else 'is'} within noise of {value_text(effect.parameter, effect.best)}"
        )
    if all(one.effect.value == 0 for _, one in equal):
        return f"{best} and {names} score exactly the same"
    level, most = max(equal, key=lambda pair: abs(pair[1].effect.value))
    other = value_text(effect.parameter, level)
    if len(equal) == 1:
        sign = 1 if most.level == effect.best else -1
        more = "more" if sign * most.effect.value >= 0 else "less"
        return f"{best} scores {size(most.effect)} {more} than {other}, {noise_words(most)}"
    largest = f"the largest difference is {size(most.effect)}, to {other}"
    return f"{best} is best on val, and {names} are within noise of it; {largest}"


def _patience_effect(comparison: Comparison) -> str:
    longest = "none" if not comparison.reference else value_text("patience", comparison.reference)
    change = "cost nothing that can be seen" if not comparison.is_real else _change(comparison)
    shown = f" ({signed(comparison.effect)})" if not comparison.is_real else ""
    return (
        f"Early stopping with patience {value_text('patience', comparison.level)} instead of {longest} {change}{shown}"
    )


def _ladder(effect: Effect, one: str, parameters: pd.Series | None) -> list[str]:
    """What each model brought over the one before it in the list."""
    steps = [comparison for comparison in effect.comparisons if comparison.role == "step"]
    texts = []
    for comparison in steps:
        if comparison.is_real:
            level, reference = (value_text("model", value) for value in (comparison.level, comparison.reference))
            change = (
                f"brought {size(comparison.effect)} over"
                if comparison.effect.value > 0
                else f"scored {size(comparison.effect)} below"
            )
            texts.append(f"{level} {change} {reference}, the model before it{_at_size(comparison, parameters)}{one}.")
    rest = [value_text("model", comparison.level) for comparison in steps if not comparison.is_real]
    if rest and len(steps) > 1:
        texts.append(f"Within noise of the model before {'it' if len(rest) == 1 else 'them'}: {join(rest)}.")
    return texts


def _at_size(comparison: Comparison, parameters: pd.Series | None) -> str:
    if parameters is None:
        return ""
    level, reference = (parameters.get(value) for value in (comparison.level, comparison.reference))
    if not is_number(level) or not is_number(reference) or reference == 0:
        return ""
    ratio = level / reference
    if abs(ratio - 1) <= _SAME:
        return ", at the same number of parameters"
    return f", with {times(ratio)} the parameters"


def conditional_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """What one parameter does at each value of another, a sentence for each."""
    groups: dict[tuple[str, Any], list[Comparison]] = {}
    for comparison in comparisons:
        ((other, value),) = comparison.given.items()
        groups.setdefault((other, value), []).append(comparison)
    texts = []
    for (other, value), family in groups.items():
        where = f" with {named(other, value)}"
        if any(one.role != "best" for one in family):
            texts.append(f"{_steps(family[0].parameter, family, where)}.")
            continue
        beaten = [one for one in family if one.is_real and one.effect.value < 0]
        best = named(family[0].parameter, family[0].reference)
        listed = [f"{value_text(one.parameter, one.level)} by {size(one.effect)}" for one in beaten]
        text = f"{best} is best on val{where}"
        text += f" and beat {join(listed)}" if beaten else f"; {NOISE.removeprefix('which is ')} of all others"
        texts.append(f"{text}.")
    return texts


def interaction_sentence(interaction: Interaction) -> str:
    """Whether what a parameter does depends on another."""
    first, second = (named(interaction.other, value) for value in interaction.values)
    step = f"from {value_text(interaction.parameter, interaction.reference)} to " + value_text(
        interaction.parameter, interaction.level
    )
    if not interaction.is_real:
        clearest = f"the clearest difference is {signed(interaction.effect)} ({step}, {second} against {first})"
        return (
            f"That {interaction.parameter} works differently with different values of {interaction.other} cannot be "
            f"told from noise; {clearest}."
        )
    more = "more" if interaction.effect.value > 0 else "less"
    return (
        f"What {interaction.parameter} does depends on {interaction.other}: {step} the score gains "
        f"{size(interaction.effect)} {more} with {second} than with {first}."
    )
