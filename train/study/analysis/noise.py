"""How sure a score of a study is: the noise of test patients, the noise of training, and many comparisons.

**Two sources of noise.** A score would be another one on other patients (*sampling noise*: patients are resampled and
all trials scored on the same ones, see `evaluate.metrics.uncertainty`), and after another training with the same
settings (*training noise*: the spread over seeds or folds of one setting, pooled over all settings of the study, as in
an analysis of variance). An interval is made of both, each by Student's t with its own degrees of freedom, their half
widths added as squares (Howe, *Journal of the American Statistical Association* 69, 1974). With few seeds that holds
what it says, where an estimated number of degrees (Welch and Satterthwaite) does not. What training does to single
images by chance is in both sources: the intervals are rather too wide than too narrow. With one seed the training noise
is not known and not in them.

**Many comparisons.** Whoever compares often finds something by chance: p values are corrected by Holm (*Scandinavian
Journal of Statistics* 6, 1979) over a family of comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from common.errors import UserError
from common.paths import shown
from evaluate.metrics.uncertainty import RESAMPLES, resampled_scores
from train.study.analysis.study_results import Study
from train.study.plan import identity
from train.study.trial_record import FINISHED

Floats = NDArray[np.float64]

_ROUNDING = 5e-4
"""How far trial.json may be from the mean of scores.csv: three decimals."""
_LEVEL, _LEAST_P = 0.95, 1e-12
_NOTHING = 1e-12
"""A difference of rounding alone."""


@dataclass(frozen=True)
class TrainingNoise:
    """How much trainings differ that differ in their seed (or fold) only.

    Attributes:
        deviation: Standard deviation of the score.
        degrees: Degrees of freedom it was estimated with.
        settings: Settings that were trained more than once.
    """

    deviation: float
    degrees: int
    settings: int


@dataclass(frozen=True)
class Measured:
    """The finished trials of a study and what comparisons need of them.

    Attributes:
        split: The split whose scores are compared.
        chosen_apart: Whether another split serves for choosing (val), so that nothing here was chosen on `split`.
        trials: The rows of `Study.trials` that have finished and have a score on `split`.
        scores: Their scores, (trials,).
        draws: Their scores on resampled patients, (resamples, trials).
        patients: Patients that were scored, in all folds together.
        noise: None where no setting was trained twice.
        folds_differ: Whether the folds were scored on different images: then their spread has the sampling noise in it.
    """

    split: str
    chosen_apart: bool
    trials: pd.DataFrame
    scores: Floats
    draws: Floats
    patients: int
    noise: TrainingNoise | None
    folds_differ: bool


@dataclass(frozen=True)
class Estimate:
    """A number made of scores, such as a difference.

    Attributes:
        value: The number itself.
        sampling: Standard error that the choice of test patients brings; None with fewer than two patients.
        training: Standard error that training brings; None where it is not known.
        half_width: The 95 % interval reaches so far to either side; None where nothing is known.
        p: Two-sided p value of "the true value is 0"; 1 where nothing is known.
    """

    value: float
    sampling: float | None
    training: float | None
    half_width: float | None
    p: float


def measure(study: Study, resamples: int = RESAMPLES) -> Measured | None:
    """Gather what comparisons need: scores on test if all finished trials have them, else on val.

    Returns:
        None when no trial has finished.

    Raises:
        UserError: A finished trial has no scores of images, or they do not belong to its score.
    """
    trials = study.trials[study.trials["status"] == FINISHED]
    if trials.empty:
        return None
    split = "test" if trials["test"].notna().all() else "val"
    tables: dict[str, pd.DataFrame] = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    for trial, expected in zip(map(str, trials.index), trials[split], strict=True):
        table = study.scores(trial)
        table = table[table["split"] == split].sort_index()
        mean = float(table["score"].mean()) if table["score"].notna().any() else 0.0
        if table.empty or abs(mean - expected) > _ROUNDING:
            raise UserError(
                f"{shown(study.folder / 'trials' / trial / 'scores.csv')}: found a mean of {mean:.4f} over "
                f"{len(table)} images of {split}; expected {expected:.4f}, which trial.json says."
            )
        tables[trial] = table
        groups.setdefault(tuple(table.index), []).append(trial)
    draws: dict[str, Floats] = {}
    patients = 0
    for number, names in enumerate(groups.values()):
        owners = tables[names[0]]["patient_id"]
        # Another seed for each group of images: other folds have other patients, drawn independently.
        scores = pd.DataFrame({name: tables[name]["score"] for name in names})
        drawn = resampled_scores(scores, owners, resamples=resamples, seed=number)
        draws |= dict(zip(names, drawn.T, strict=True))
        patients += owners.nunique()
    return Measured(
        split,
        split != "val",
        trials,
        trials[split].to_numpy(float),
        np.column_stack([draws[name] for name in trials.index]),
        patients,
        training_noise(trials, split),
        len(groups) > 1 and bool(trials["fold"].notna().any()),
    )


def setting_keys(trials: pd.DataFrame) -> pd.Series:
    """A text by trial that is equal for trainings that differ in their seed or fold only; see `plan.identity`."""
    keys = [identity(arguments, repeats=False) for arguments in trials["arguments"]]
    return pd.Series(keys, index=trials.index, dtype=object)


def training_noise(trials: pd.DataFrame, split: str) -> TrainingNoise | None:
    """Pool the spread of the score over seeds or folds of the same setting.

    Folds differ in their images, which is no noise of training: what a fold adds to all settings alike is taken out.

    Args:
        trials: As in `Study.trials`, finished ones only.
        split: The column of scores.

    Returns:
        None where no setting was trained twice.
    """
    settings = setting_keys(trials)
    repeated = settings[settings.duplicated(keep=False)]
    if repeated.empty:
        return None
    codes, names = pd.factorize(repeated)
    columns = np.eye(len(names))[codes]
    folds = trials.loc[repeated.index, "fold"]
    if folds.notna().all():
        columns = np.hstack([columns, np.eye(folds.nunique())[pd.factorize(folds)[0]]])
    values = trials.loc[repeated.index, split].to_numpy(float)
    solution, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
    degrees = len(values) - int(rank)
    if degrees < 1:
        return None
    left = values - columns @ solution
    return TrainingNoise(math.sqrt(float(left @ left) / degrees), degrees, len(names))


def estimate(measured: Measured, weights: Mapping[str, float]) -> Estimate:
    """Give a weighted sum of scores with its uncertainty.

    Args:
        measured: The trials.
        weights: By trial id; those of a difference add up to 0.
    """
    rows = measured.trials.index.get_indexer(pd.Index(list(weights)))
    weight = np.array(list(weights.values()))
    value = float(measured.scores[rows] @ weight)
    sampling = float(np.std(measured.draws[:, rows] @ weight, ddof=1)) if measured.patients > 1 else None
    noise = measured.noise
    training = noise.deviation * math.sqrt(float(weight @ weight)) if noise else None
    known = ((sampling, measured.patients - 1), (training, noise.degrees if noise else 0))
    parts = [(part, degrees) for part, degrees in known if part is not None]
    if measured.folds_differ and len(parts) == 2:
        parts = [max(parts, key=lambda part: _half_width([part], _LEVEL))]
    if not parts:
        return Estimate(value, sampling, training, None, 1.0)
    half_width = _half_width(parts, _LEVEL)
    return Estimate(value, sampling, training, half_width, _p_value(abs(value), parts))


def _half_width(parts: Sequence[tuple[float, int]], level: float) -> float:
    """Half of an interval from independent standard errors with their degrees of freedom: Howe's squares of each."""
    return math.sqrt(sum((float(stdtrit(degrees, (1 + level) / 2)) * error) ** 2 for error, degrees in parts))


def _p_value(distance: float, parts: Sequence[tuple[float, int]]) -> float:
    """The p value at which the interval would end at 0, from `_LEAST_P` to 1."""
    if distance <= _NOTHING:
        return 1.0
    if _half_width(parts, 1 - _LEAST_P) <= distance:
        return _LEAST_P
    return float(brentq(lambda p: _half_width(parts, 1 - p) - distance, _LEAST_P, 1.0))
