"""What each step of post-processing brings on patients that it was not fitted on.

The patients are dealt into folds. For each fold, pipelines are fitted on all others, with the confidence alone, then
with one step more at a time, and applied to the fold; so every image is scored by pipelines that have not seen its
patient (nested cross-validation: what `fit` compares inside is chosen anew each time). The pipeline that is used in the
end is fitted on more patients than these, so it should do no worse.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.cli import progress
from common.data.tables import empty_predictions, sort_predictions
from evaluate.metrics.arrays import Ints
from evaluate.metrics.uncertainty import FEWEST_PATIENTS, RESAMPLES, paired_difference
from evaluate.postprocess.fitting import STEPS, Fitting, Step
from evaluate.postprocess.search import Part, Search
from evaluate.postprocess.steps import GATE_MODES, GateMode

FOLDS = 5


@dataclass(frozen=True)
class Gain:
    """What a step brings to unseen patients.

    Attributes:
        step: Its name, of `STEPS`; `all` of them together.
        score: The score with it and those before it.
        gain: By how much this is more than without it; of `all`, than with the confidence alone. 0 for the confidence.
        low: Lower end of the gain's 95 % interval, over patients; None for the confidence.
        high: Its upper end.
    """

    step: str
    score: float
    gain: float
    low: float | None
    high: float | None


def gains(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    manifest: pd.DataFrame,
    gate: pd.Series | None = None,
    *,
    steps: Collection[str] = STEPS,
    fixed: Mapping[str, Step] | None = None,
    gate_modes: Collection[GateMode] = GATE_MODES,
    folds: int = FOLDS,
    resamples: int = RESAMPLES,
) -> tuple[Gain, ...]:
    """Say what each step brings. The same tables give the same answer.

    Args:
        truth: As for `fit`, as are the others that have their names there.
        predictions: As there.
        manifest: As there; `patient_id` besides, else each image counts as a patient of its own.
        gate: As there.
        steps: As there. What is not among them is not fitted and has no line.
        fixed: As there. It is done throughout.
        gate_modes: As there.
        folds: How many folds.
        resamples: How often patients are drawn for an interval.

    Returns:
        One line for each step that can be fitted here, in the order of `STEPS`, and a last one for all of them. Nothing
        where fewer than 20 patients have truth boxes, or nobody has predictions: no fold would be worth anything.

    Raises:
        UserError: As `fit`.
        ValueError: As `fit`.
    """
    chosen = [step for step in STEPS if step in Fitting(steps, fixed or {}, gate_modes).steps]
    if gate is None and "gate" in chosen:
        chosen.remove("gate")
    table = sort_predictions(empty_predictions() if predictions.empty else predictions)
    if truth.empty or table.empty or not chosen:
        return ()
    search = Search(truth, table, manifest, gate)
    patients = _patients(search, manifest)
    if patients[search.has_truth].nunique() < FEWEST_PATIENTS:
        return ()
    fold = _deal(patients, search.has_truth, folds)
    scores = np.full((len(chosen), len(search.images)), np.nan)
    fitting = [Fitting(chosen[: last + 1], fixed or {}, gate_modes) for last in range(len(chosen))]
    start, least = fitting[0].start(table), fitting[0].least
    for held_out in progress(range(folds), "what each step brings", unit="folds"):
        others, mine = Part(search, fold != held_out, least), Part(search, fold == held_out, least)
        for last, one in enumerate(fitting):
            fitted = one.choose(others, start)
            scores[last, fold == held_out] = mine.image_scores(fitted)[fold == held_out]
    by_step = [pd.Series(one, index=search.images) for one in scores]
    lines = [Gain(chosen[0], float(by_step[0].mean()), 0.0, None, None)]
    pairs = [(step, by_step[at], by_step[at - 1]) for at, step in enumerate(chosen) if at]
    if len(chosen) > 1:
        pairs.append(("all", by_step[-1], by_step[0]))
    for step, with_it, without in pairs:
        found = paired_difference(with_it, without, patients, resamples=resamples)
        lines.append(Gain(step, float(with_it.mean()), found.difference, found.low, found.high))
    return tuple(lines)


def _patients(search: Search, manifest: pd.DataFrame) -> pd.Series:
    """The patient of each image, by image_id, in the order of the images."""
    images = search.images.to_series()
    if "patient_id" not in manifest:
        return images
    known = manifest.set_index("image_id")["patient_id"].reindex(search.images)
    return known.where(known.notna() & (known != ""), images).astype(str)


def _deal(patients: pd.Series, has_truth: np.ndarray, folds: int) -> Ints:
    """Deal patients into folds, those with truth boxes and those without apart: (I,) the fold of each image.

    It follows from the patients' names alone, in whatever order the images are.
    """
    positive = patients[has_truth].unique()
    fold = pd.Series(0, index=pd.Index(patients.unique()))
    others = np.setdiff1d(fold.index.to_numpy(str), positive.astype(str))
    for names in (np.sort(positive.astype(str)), others):
        fold[np.random.default_rng(0).permutation(names)] = np.arange(len(names)) % folds
    return np.asarray(fold[patients], dtype=np.int64)
