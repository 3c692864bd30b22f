"""What a study found, in sentences computed from its numbers.

Each sentence's numbers stand in a table of the report, too. `±` is half of a 95 % interval (see
`train.study.analysis.noise`); what is not beyond noise is called so, and what was trained once is said to be known from
one training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from common.pages.wording import is_number, join, percent, score_text
from train.study.analysis.effects import Effect
from train.study.analysis.fairness import FLAT
from train.study.analysis.importance import FEWEST_SETTINGS, Dependence, Importance
from train.study.analysis.noise import TrainingNoise
from train.study.analysis.summary import Analysis
from train.study.analysis.tradeoffs import mean_epochs
from train.study.report.choices import fairness_sentences
from train.study.report.sentences import (
    conditional_sentences,
    effect_sentences,
    interaction_sentence,
    parts_sentences,
    smallest_sentences,
)
from train.study.report.words import named, noise_words, of_count, plus_minus, settings_text, size, times, value_text
from train.study.trial_record import FAILED, STOPPED

UNSEEN = 5e-4
"""A loss below this rounds to 0.000."""


@dataclass(frozen=True)
class Observation:
    """A sentence, or a few.

    Attributes:
        block: Name of the block it is about; None if it is about the whole study.
        text: Plain text, not escaped.
    """

    block: str | None
    text: str


def observe(analysis: Analysis) -> list[Observation]:
    """Say what was found: the whole first, then block by block, in their order."""
    found = [Observation(None, text) for text in _overall(analysis)]
    for block in analysis.study.blocks:
        texts: list[str] = []
        for effect in analysis.effects_of(block.name):
            is_model = effect.parameter == "model" and effect.scores
            sizes = analysis.costs[block.name, effect.parameter]["parameters"] if is_model else None
            others = [name for name in block.parameters if name != effect.parameter]
            others = [] if block.singly else [name for name in others if name != block.best_of]
            texts += effect_sentences(effect, once=_once(analysis), others=others, parameters=sizes)
            texts += parts_sentences(effect)
            if effect.parameter == "patience":
                texts += _epochs_saved(analysis, effect)
            if sizes is not None:
                texts += cost_sentences(analysis, effect)
            for text in [] if block.singly else fairness_sentences(analysis, effect):
                if not any(text[:13] == said[:13] == "Not converged" for said in texts):  # once for a crossed block
                    texts.append(text)
        texts += smallest_sentences(analysis.effects_of(block.name))
        texts += conditional_sentences(analysis.conditional.get(block.name, []))
        texts += [interaction_sentence(interaction) for interaction in analysis.interactions.get(block.name, [])]
        texts += _drawn(analysis, block.name)
        found += [Observation(block.name, text) for text in texts]
    return found


def _once(analysis: Analysis) -> bool:
    return analysis.measured is not None and analysis.measured.noise is None


# ---- the whole study


def _overall(analysis: Analysis) -> list[str]:
    trials = analysis.study.trials
    texts = []
    if analysis.measured is None:
        nothing = f"No trial has finished ({of_count(len(trials), 'trial')}), so there is nothing to compare."
        texts.append(nothing + _best_unfinished(trials))
    else:
        texts += [_best(analysis), _noise(analysis)]
        if ranking := _what_mattered(analysis):
            texts.append(ranking)
        texts += [*_converged(analysis), *_fitness(analysis), *_patience(analysis)]
    failed, stopped = (trials[trials["status"] == status] for status in (FAILED, STOPPED))
    if len(failed):
        reason = str(failed["error"].fillna("no reason recorded").value_counts().index[0]).rstrip(".")
        texts.append(
            f"{of_count(len(failed), 'trial')} of {len(trials)} failed ({join(list(map(str, failed.index[:5])))}"
            f"{' and others' if len(failed) > 5 else ''}); the most frequent reason is: {reason}."
        )
    if len(stopped):
        texts.append(
            f"The scheduler stopped {of_count(len(stopped), 'trial')} of {len(trials)} early. They were trained for "
            "fewer epochs, so they are in the tables and in no comparison."
        )
    return texts


def _best_unfinished(trials: pd.DataFrame) -> str:
    scores = trials["val"].dropna()
    return f" The highest score on val so far is {score_text(scores.max())} ({scores.idxmax()})." if len(scores) else ""


def _best(analysis: Analysis) -> str:
    assert analysis.measured is not None
    best, *others = analysis.settings
    split = analysis.measured.split
    settings = analysis.study.spelled_out(best.trials[0])
    runs = f"{join(list(best.trials))}, mean of {len(best.trials)}" if len(best.trials) > 1 else best.trials[0]
    text = f"Best on val: {settings_text(settings)}, all else as held fixed ({runs}), with {score_text(best.val)}"
    text += (
        f"; on {split} it scores {score_text(best.score.value)} {plus_minus(best.score.half_width)}."
        if (split != "val")
        else f" {plus_minus(best.score.half_width)}."
    )
    compared = [setting for setting in others if setting.behind]
    if compared:
        behind = sum(setting.is_behind for setting in compared)
        text += (
            f" It is better than {behind} of the {of_count(len(compared), 'other setting')} beyond noise"
            if behind
            else f" None of the {of_count(len(compared), 'other setting')} is worse beyond noise"
        )
        text += f"; from {len(compared) - behind} it cannot be told." if behind else "."
    return text


def _noise(analysis: Analysis) -> str:
    assert analysis.measured is not None
    noise = analysis.measured.noise
    if noise is None:
        return (
            "Each setting was trained once: how much a training differs from its repetition is not known, and the "
            "intervals hold the noise of the images only."
        )
    what = "fold" if analysis.study.trials["fold"].notna().all() else "seed"
    were = "was" if noise.settings == 1 else "were"
    repeated = f"{of_count(noise.settings, 'setting')} that {were} trained more than once"
    scatter = f"{score_text(noise.deviation)} (standard deviation, from {repeated})"
    own = [f"{value_text('model', name)} {score_text(one.deviation)}" for name, one in _noises(analysis)]
    by_model = f" Where it is known of a model alone, that counts: {join(own)}." if own else ""
    return f"Trainings that differ in their {what} only scatter by {scatter}.{by_model}"


def _noises(analysis: Analysis) -> list[tuple[str, TrainingNoise]]:
    """Noise of single models, where there are several models."""
    assert analysis.measured is not None
    several = len(set(analysis.measured.models)) > 1
    known = sorted(analysis.measured.noise_of.items()) if several else []
    return [(name, noise) for name, noise in known if name != "None"]


def _what_mattered(analysis: Analysis) -> str:
    """The parameters by their largest difference beyond noise, and those without any."""
    found: dict[str, str] = {}
    for one in analysis.named:
        high, low = (one.level, one.reference) if one.effect.value > 0 else (one.reference, one.level)
        pair = f"{value_text(one.parameter, high)} over {value_text(one.parameter, low)}"
        mind = f", with {times(one.step_ratio)} the steps" if one.has_unequal_steps else ""
        found.setdefault(one.parameter, f"{one.parameter} ({pair}: {size(one.effect)}{mind})")
    none = [effect.parameter for effect in analysis.effects if effect.comparisons and effect.parameter not in found]
    if not analysis.looked_at:
        return ""
    text = f"Of {of_count(analysis.looked_at, 'difference')} that were looked at, "
    if found:
        are = "is" if len(analysis.named) == 1 else "are"
        text += f"{len(analysis.named)} {are} beyond noise, corrected for them all (Benjamini and Hochberg). "
        text += f"The largest of each parameter: {'; '.join(found.values())}."
    else:
        text += "none is beyond noise, corrected for them all (Benjamini and Hochberg)."
    if none:
        text += f" Nothing beyond noise: {join(list(dict.fromkeys(none)))}; what could have been seen stands in the "
        text += "closing table."
    return text


def _converged(analysis: Analysis) -> list[str]:
    """How many trainings were flat at their end."""
    known = analysis.converged
    if not known:
        return []
    flat = sum(known.values())
    rule = f"the last fifth of a training's epochs raised its best score on val by no more than {percent(FLAT)} of it"
    text = f"{flat} of {of_count(len(known), 'training')} had converged: {rule}."
    if flat < len(known):
        text += " Those that had not are compared by how fast they learn, not by where they end."
    return [text]


def _fitness(analysis: Analysis) -> list[str]:
    """Whether the RSNA score chooses better weights than mAP."""
    found = analysis.fitness
    if found is None:
        return []
    text = (
        f"Kept by mAP50-95 instead of the RSNA score, the weights would be of the same epoch in {found.same} of "
        f"{of_count(found.runs, 'training')}, and score {score_text(found.lost)} less on val on average, "
        f"{score_text(found.worst)} at most (chosen and judged on the same images: the most that it can be)"
    )
    if is_number(found.rank_rsna) and is_number(found.rank_map):
        text += (
            f". Over {of_count(found.judged, 'training')}, the score on test goes with val's RSNA score by a rank "
            f"correlation of {found.rank_rsna:.2f}, and with val's mAP by {found.rank_map:.2f}"
        )
    return [text + "."]


def _patience(analysis: Analysis) -> list[str]:
    """What early stopping would have done: the shortest patience that costs less than a seed, and the shortest."""
    tried = [one for one in analysis.patience if one.saved > 0]
    if not tried:
        return []
    noise = analysis.measured.noise if analysis.measured else None
    deviation = noise.deviation if noise else 0.0
    # A mean loss over many trainings is not to be held against one training's noise: each loss is, by the largest.
    cheap = next((one for one in tried if one.worst < max(UNSEEN, deviation)), None)
    chosen, shortest = cheap or tried[-1], tried[0]
    if chosen.lost < UNSEEN:
        cost = "cost nothing that can be seen"
    else:
        cost = f"cost {score_text(chosen.lost)} of the best score on val on average, {score_text(chosen.worst)} at most"
        cost += f": in no training more than another seed does ({score_text(deviation)})" if cheap else ""
    runs = of_count(chosen.runs, "training")
    saved = f"saved {percent(chosen.saved)} of the epochs of the {runs} that ran to the end"
    text = f"Early stopping with patience {chosen.patience} would have {saved}, and {cost}"
    if shortest.patience != chosen.patience:
        text += (
            f"; patience {shortest.patience} would have saved {percent(shortest.saved)} and cost "
            f"{score_text(shortest.lost)} on average, {score_text(shortest.worst)} at most"
        )
    return [text + "."]


# ---- single blocks


def _epochs_saved(analysis: Analysis, effect: Effect) -> list[str]:
    """How many epochs each patience trained, as it happened."""
    means = mean_epochs(analysis.study, effect)
    if len(means) < 2:
        return []
    listed = [f"{mean:.1f} with patience {value_text('patience', level)}" for level, mean in means.items()]
    least, most = min(means, key=lambda level: means[level]), max(means.values())
    share = percent(1 - means[least] / most)
    saved = f": patience {value_text('patience', least)} saved {share} of them" if means[least] < most else ""
    return [f"Epochs trained, on average: {join(listed)}{saved}."]


def cost_sentences(analysis: Analysis, effect: Effect) -> list[str]:
    """What the best model costs more than the smallest that is within noise of it."""
    costs = analysis.costs[effect.block, effect.parameter]
    if effect.best not in costs.index:
        return []
    equal = {
        one.level if one.reference == effect.best else one.reference: one
        for one in effect.comparisons
        if effect.best in (one.reference, one.level) and not one.is_real
    }
    sizes = costs.loc[list(equal), "parameters"].dropna()
    own = costs.loc[effect.best, "parameters"]
    if sizes.empty or not sizes.min() < own:
        return []
    small = sizes.idxmin()
    one = equal[small]
    gain = one.effect.value if one.level == effect.best else -one.effect.value
    best, more = value_text("model", effect.best), "more" if gain >= 0 else "less"
    has = f"{best} has {times(own / sizes.min())} the parameters of {value_text('model', small)}"
    return [f"{has} and scores {size(one.effect)} {more}, {noise_words(one)}."]


def _drawn(analysis: Analysis, block: str) -> list[str]:
    """What the forest learned of settings that were drawn at random or by TPE."""
    method = analysis.study.record.method
    found = analysis.importance.get(block)
    if analysis.measured is None or method == "grid":
        return []
    if found is None:
        count = sum(block in names for names in analysis.measured.trials["blocks"])
        return [
            f"{of_count(count, 'finished trial')} of settings drawn by {method}: with fewer than {FEWEST_SETTINGS} "
            "settings, or with equal scores, nothing can be said of single parameters."
        ]
    return forest_sentences(found, analysis.dependence.get(block, []))


def forest_sentences(found: Importance, dependence: Sequence[Dependence]) -> list[str]:
    """How well the forest predicts, what matters to it, and what it expects."""
    assert found.predicted is not None
    if found.predicted <= 0.1:
        return [
            f"From {of_count(found.trials, 'setting')} the score of others cannot be predicted (R² "
            f"{found.predicted:.2f}): what single parameters do cannot be told from this study."
        ]
    ordered = sorted(found.shares.items(), key=lambda item: -item[1])
    listed = [f"{name} ({percent(share)})" for name, share in ordered]
    texts = [
        f"A random forest predicts {percent(found.predicted)} of the variance of settings that it has not seen "
        f"({of_count(found.trials, 'setting')}); share of the variance by parameter: {join(listed)}."
    ]
    name = ordered[0][0]
    curve = next((one for one in dependence if one.parameter == name), None)
    if curve is not None:
        low, high = int(curve.scores.argmin()), int(curve.scores.argmax())
        most, least = score_text(curve.scores[high]), score_text(curve.scores[low])
        texts.append(
            f"It expects most at {named(name, curve.values[high])} ({most}) and least at "
            f"{value_text(name, curve.values[low])} ({least}), averaged over the other parameters."
        )
    return texts
