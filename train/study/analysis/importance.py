"""How much of the differences between a block's scores each hyperparameter explains.

Where values were listed (a grid), by an analysis of variance: what leaving a parameter out of the additive model
loses. Where they were drawn (random, TPE), by a random forest (scikit-learn): how much worse it predicts trials that it
has not seen once a parameter's values are shuffled among them. Half of that increase of the squared error, over the
variance, is the parameter's share of the variance (Gregorutti, Michel and Saint-Pierre, *Statistics and Computing* 27,
2017), as far as the forest has learned it; how well it predicts at all is stated beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.pages.wording import is_number
from train.study.analysis.block_view import BlockView
from train.study.analysis.noise import Floats
from train.study.study_record import BlockRecord

FEWEST_SETTINGS = 10
"""A forest that learned from fewer settings says nothing."""
_TREES, _FORESTS, _MOST_POINTS = 60, 20, 12


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of the score within a block.

    Attributes:
        block: Name of the block.
        trials: How many finished trials (of a grid) or settings (drawn ones) it rests on.
        shares: Of each parameter alone, 0 to 1.
        by_chance: What each would have on average if it did nothing.
        together: What the parameters explain only together (their interactions); None where that cannot be told from
            noise, or for a forest, which has it in the shares.
        rest: What is left: noise where settings were repeated, and else noise and interactions in one; None for a
            forest.
        predicted: A forest's share of the variance that it predicts of unseen settings (R², negative if it misleads);
            None for a grid.
    """

    block: str
    trials: int
    shares: Mapping[str, float]
    by_chance: Mapping[str, float]
    together: float | None
    predicted: float | None
    rest: float | None = None


@dataclass(frozen=True)
class Dependence:
    """What a forest expects of one parameter, averaged over the other parameters of the trials.

    Attributes:
        block: Name of the block.
        parameter: The parameter.
        log: Whether its scale is logarithmic.
        values: (N,) numbers or names.
        scores: Expected score at each, (N,).
        low: Mean less two standard deviations over forests grown from resampled settings, (N,).
        high: Mean plus as much, (N,).
    """

    block: str
    parameter: str
    log: bool
    values: list[Any]
    scores: Floats
    low: Floats
    high: Floats


def find_importance(view: BlockView) -> Importance | None:
    """Give the shares of a block's parameters; None where they cannot be told from these trials.

    That is where parameters were not simply crossed, too few have finished, all score the same, or one parameter
    alone is varied and nothing repeated.
    """
    block = view.block
    if block.singly or block.best_of:
        return None
    if view.listed().keys() == block.parameters.keys() and view.study.record.method == "grid":
        table, scores = _varied(view)
        return None if len(table) < 3 else _explained(block, table, scores)
    table, scores = _by_setting(*_varied(view))
    if len(table) < FEWEST_SETTINGS or np.ptp(scores) == 0 or table.empty:
        return None
    return _predicted(block, table, scores)


def find_dependence(view: BlockView) -> list[Dependence]:
    """For drawn settings, what a forest expects of each parameter; nothing with too few of them."""
    table, scores = _by_setting(*_varied(view))
    if len(table) < FEWEST_SETTINGS or np.ptp(scores) == 0:
        return []
    random = np.random.default_rng(0)
    rows = [random.integers(0, len(table), len(table)) for _ in range(_FORESTS)]
    forests = [_forest(table, number).fit(table.iloc[chosen], scores[chosen]) for number, chosen in enumerate(rows)]
    found = []
    for name in map(str, table):
        given = view.block.parameters[name]
        log = bool(isinstance(given, dict) and given.get("log"))
        values = _points(table[name], log)
        asked = pd.concat([table.assign(**{name: value}) for value in values])  # all at once, which is much faster
        expected = np.array([forest.predict(asked).reshape(len(values), -1).mean(axis=1) for forest in forests])
        mean, spread = expected.mean(axis=0), 2 * expected.std(axis=0, ddof=1)
        found.append(Dependence(view.block.name, name, log, values, mean, mean - spread, mean + spread))
    return found


def _varied(view: BlockView) -> tuple[pd.DataFrame, Floats]:
    """The parameters that take more than one value in a block's finished trials, and the scores, folds levelled out."""
    trials = view.trials()
    columns = {name: [view.study.setting(str(trial), name) for trial in trials.index] for name in view.block.parameters}
    table = pd.DataFrame(columns, index=trials.index, dtype=object)
    table = table[[name for name in table if table[name].map(repr).nunique() > 1]]
    scores = trials[view.measured.split].astype(np.float64)
    if trials["fold"].notna().all() and len(trials):
        scores = scores - scores.groupby(trials["fold"]).transform("mean") + scores.mean()
    return table, np.asarray(scores, dtype=np.float64)


def _explained(block: BlockRecord, table: pd.DataFrame, scores: Floats) -> Importance | None:
    if table.empty or np.ptp(scores) == 0:
        return None
    names = [str(name) for name in table]
    additive = _r_squared(table, names, scores)
    cells = table.map(repr).agg("\n".join, axis=1)
    full = _r_squared(cells.to_frame("cell"), ["cell"], scores)
    shares = {name: additive - _r_squared(table, [other for other in names if other != name], scores) for name in names}
    chance = {name: (table[name].map(repr).nunique() - 1) / (len(table) - 1) for name in names}
    repeated = bool(cells.duplicated().any())
    if len(names) == 1 and not repeated:
        return None  # one training of each value: the parameter would explain all, whatever it does
    rest = 1 - (full if repeated else additive)
    return Importance(block.name, len(table), shares, chance, full - additive if repeated else None, None, rest)


def _r_squared(table: pd.DataFrame, names: Sequence[str], scores: Floats) -> float:
    """Share of the variance that the names' values explain, each by a constant of its own."""
    dummies = [pd.get_dummies(table[name].map(repr)).to_numpy(float) for name in names]
    columns = np.hstack([np.ones((len(scores), 1)), *dummies])
    left = scores - columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
    about = scores - scores.mean()
    return 1 - float(left @ left) / float(about @ about)


def _by_setting(table: pd.DataFrame, scores: Floats) -> tuple[pd.DataFrame, Floats]:
    """One row per setting, with the mean over its seeds; numbers as float, else text."""
    if table.empty:
        return table, scores
    key = table.map(repr).agg("\n".join, axis=1)
    mean = pd.Series(scores, index=table.index).groupby(key, sort=False).mean()
    first = table[~key.duplicated()]
    for name in first:
        numeric = first[name].map(lambda value: value is None or is_number(value)).all()
        first = first.assign(**{str(name): first[name].astype(float) if numeric else first[name].map(str)})
    return first, np.asarray(mean, dtype=np.float64)


def _forest(table: pd.DataFrame, seed: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    names = [name for name in table if not pd.api.types.is_float_dtype(table[name])]
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), names), remainder="passthrough"
    )
    return make_pipeline(encoder, RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed))


def _predicted(block: BlockRecord, table: pd.DataFrame, scores: Floats) -> Importance:
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import RepeatedKFold

    worse, errors = [], []
    for train, rest in RepeatedKFold(n_splits=5, n_repeats=2, random_state=0).split(table):
        forest = _forest(table, 0).fit(table.iloc[train], scores[train])
        errors.append((forest.predict(table.iloc[rest]) - scores[rest]) ** 2)
        shuffled = permutation_importance(
            forest, table.iloc[rest], scores[rest], scoring="neg_mean_squared_error", n_repeats=5, random_state=0
        )
        worse.append(shuffled.importances_mean)
    variance = float(scores.var())
    share = np.maximum(0.0, np.mean(worse, axis=0) / (2 * variance))
    shares = {str(name): float(value) for name, value in zip(table, share, strict=True)}
    return Importance(
        block.name,
        len(table),
        shares,
        dict.fromkeys(shares, 0.0),
        None,
        1 - float(np.concatenate(errors).mean()) / variance,
    )


def _points(column: pd.Series, log: bool) -> list[Any]:
    """Values at which a parameter is looked at: all that there are, if they are few."""
    values = sorted(column.dropna().unique())
    if not pd.api.types.is_float_dtype(column) or len(values) <= _MOST_POINTS:
        return list(values)
    space = np.geomspace if log else np.linspace
    return space(values[0], values[-1], _MOST_POINTS).tolist()
