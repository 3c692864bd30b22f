"""How sure a score of a study is: the noise of test patients, the noise of training, and many comparisons.

**Two sources of noise.** A score would be another one on other patients (*sampling noise*: patients are resampled and
all trials scored on the same ones, see `evaluate.metrics.uncertainty`), and after another training with the same
settings (*training noise*: the spread over seeds or folds of one setting, pooled as in an analysis of variance: over
the settings of one model where they are repeated often enough, else over all of the study). An interval is made of
both, each by Student's t with its own degrees of freedom, their half widths added as squares (Howe, *Journal of the
American Statistical Association* 69, 1974). With few seeds that holds what it says, where an estimated number of
degrees (Welch and Satterthwaite) does not. What training does to single images by chance is in both sources: the
intervals are rather too wide than too narrow. With one seed the training noise is not known and not in them.

**Many comparisons.** Whoever compares often finds something by chance: p values are corrected by Holm (*Scandinavian
Journal of Statistics* 6, 1979) over a family of comparisons, and by Benjamini and Hochberg (*Journal of the Royal
Statistical Society B* 57, 1995) over the whole study for what its headline names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

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
_LEAST_DEGREES = 3
"""A model's own noise counts from so many degrees of freedom on: of fewer, an interval is too wide to say anything."""
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
        noise_of: The noise of single models, by `model=`, where it is known well enough.
    """

    split: str
    chosen_apart: bool
    trials: pd.DataFrame
    scores: Floats
    draws: Floats
    patients: int
    noise: TrainingNoise | None
    folds_differ: bool
    noise_of: Mapping[str, TrainingNoise] = field(default_factory=dict)

    @cached_property
    def place(self) -> dict[str, int]:
        """The row of each trial, by id."""
        return {str(trial): row for row, trial in enumerate(self.trials.index)}

    @cached_property
    def models(self) -> list[str]:
        """The model of each row."""
        return models_of(self.trials).tolist()

    @cached_property
    def val(self) -> dict[str, float]:
        """The score on val of each trial, by id."""
        return dict(zip(self.place, self.trials["val"].tolist(), strict=True))

    @cached_property
    def lost(self) -> dict[str, dict[str, float]]:
        """Where each trial's score is lost, by id; see `trial_record.LOST`. Empty where it is not known."""
        column = f"{self.split}_lost"
        known: Any = self.trials[column] if column in self.trials else [{}] * len(self.trials)
        return dict(zip(self.place, known, strict=True))

    @cached_property
    def steps(self) -> dict[str, float]:
        """Steps of the optimizer of each trial, by id; NaN where they are not known."""
        known = self.trials["steps"] if "steps" in self.trials else [math.nan] * len(self.trials)
        return dict(zip(self.place, map(float, known), strict=True))


@dataclass(frozen=True)
class Estimate:
    """A number made of scores, such as a difference.

    Attributes:
        value: The number itself.
        sampling: Standard error that the choice of test patients brings; None with fewer than two patients.
        training: Standard error that training brings; None where it is not known.
        half_width: The 95 % interval reaches so far to either side; None where nothing is known.
        p: Two-sided p value of "the true value is 0"; 1 where nothing is known.
        parts: Standard errors with their degrees of freedom, of which the interval is made.
    """

    value: float
    sampling: float | None
    training: float | None
    half_width: float | None
    p: float
    parts: tuple[tuple[float, int], ...] = ()

    def smallest(self, p: float) -> float | None:
        """The smallest difference whose p value is no more than this."""
        return _half_width(self.parts, 1 - p) if self.parts else None


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
        noise_by_model(trials, split),
    )


def setting_keys(trials: pd.DataFrame) -> pd.Series:
    """A text by trial that is equal for trainings that differ in their seed or fold only; see `plan.identity`."""
    if "key" in trials:
        return trials["key"]
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


def models_of(trials: pd.DataFrame) -> pd.Series:
    """The model of each trial as its arguments name it (str)."""
    return pd.Series([str(one.get("model")) for one in trials["arguments"]], index=trials.index, dtype=object)


def noise_by_model(trials: pd.DataFrame, split: str) -> dict[str, TrainingNoise]:
    """`training_noise` of each model, where it has degrees of freedom enough."""
    models = models_of(trials)
    found = {name: training_noise(trials[models == name], split) for name in models.unique()}
    return {name: noise for name, noise in found.items() if noise and noise.degrees >= _LEAST_DEGREES}


def estimate(measured: Measured, weights: Mapping[str, float]) -> Estimate:
    """Give a weighted sum of scores with its uncertainty.

    Args:
        measured: The trials.
        weights: By trial id; those of a difference add up to 0.
    """
    rows = np.array([measured.place[trial] for trial in weights], dtype=np.int64)
    weight = np.array(list(weights.values()))
    value = float(measured.scores[rows] @ weight)
    sampling = float(np.std(measured.draws[:, rows] @ weight, ddof=1)) if measured.patients > 1 else None
    of_training = _training_parts(measured, rows, weight)
    training = math.hypot(*(error for error, _ in of_training)) if of_training else None
    of_images = [] if sampling is None else [(sampling, measured.patients - 1)]
    parts = [*of_images, *of_training]
    if measured.folds_differ and of_images and of_training:
        parts = max(of_images, of_training, key=lambda part: _half_width(part, _LEVEL))
    if not parts:
        return Estimate(value, sampling, training, None, 1.0)
    half_width = _half_width(parts, _LEVEL)
    return Estimate(value, sampling, training, half_width, _p_value(abs(value), parts), tuple(parts))


def _training_parts(measured: Measured, rows: NDArray[np.int64], weight: Floats) -> list[tuple[float, int]]:
    """Standard errors that training brings: of each model with a noise of its own, and of all others together."""
    if measured.noise is None:
        return []
    squares: dict[str | None, float] = {}
    for row, square in zip(rows.tolist(), (weight**2).tolist(), strict=True):
        own = measured.models[row] if measured.models[row] in measured.noise_of else None
        squares[own] = squares.get(own, 0.0) + square
    noises = {model: measured.noise if model is None else measured.noise_of[model] for model in squares}
    return [(noises[model].deviation * math.sqrt(square), noises[model].degrees) for model, square in squares.items()]


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
