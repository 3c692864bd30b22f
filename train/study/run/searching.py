"""The settings that TPE tries: Optuna's sampler through Ray Tune's `OptunaSearch`, no setting twice.

TPE: Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, 2011.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from train.study.plan import plain
from train.study.run.jobs import Jobs
from train.study.space_values import Range

_TRIES = 100


class DistinctSearch(Searcher):
    """Numbers the settings that TPE suggests, and asks for another one instead of a setting that was had before.

    What a killed study had finished is told to Optuna first; what it had begun is suggested first.
    """

    def __init__(self, jobs: Jobs, metric: str) -> None:
        """Set up the sampler.

        Args:
            jobs: The study's jobs.
            metric: What trials report; higher is better.
        """
        super().__init__(metric=metric, mode="max")
        self._ranges = dict(jobs.space.blocks[0].parameters)
        self._numbers: dict[str, int] = {}  # of settings begun before
        self._taken: set[str] = set()
        self._inner_ids: dict[str, str] = {}
        finished, begun = [], []
        for number in jobs.numbers:
            if (config := jobs.config(number)) is None:
                continue
            if jobs.is_over(number) and (score := jobs.score(number)) is not None:
                finished.append((config["values"], score))
                self._taken.add(_key(config["values"]))
            elif not jobs.is_over(number):
                begun.append(config["values"])
                self._numbers[_key(config["values"])] = number
        self._free = [number for number in jobs.numbers if jobs.config(number) is None]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental in Optuna
            self._optuna = OptunaSearch(
                {name: _distribution(values) for name, values in self._ranges.items()},
                metric=metric,
                mode="max",
                points_to_evaluate=begun or None,
                # The same seed would draw the same settings again.
                seed=jobs.space.seed + len(finished) + len(begun),
            )
        for values, score in finished:
            self._optuna.add_evaluated_point(dict(values), score)

    def suggest(self, trial_id: str) -> Any:
        """The next setting, as `train.study.run.jobs.Config`; `FINISHED` where no other is found."""
        for attempt in range(_TRIES):
            inner = f"{trial_id}-{attempt}"
            suggested = self._optuna.suggest(inner) or {}
            values = {name: _usable(self._ranges[name], value) for name, value in suggested.items()}
            key = _key(values)
            if key in self._taken:
                self._optuna.on_trial_complete(inner, error=True)
                continue
            number = self._numbers.pop(key, None)
            if number is None:
                if not self._free:
                    break
                number = self._free.pop(0)
            self._taken.add(key)
            self._inner_ids[trial_id] = inner
            return {"number": number, "values": values}
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass an epoch's score on."""
        self._optuna.on_trial_result(self._inner_ids[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass a setting's outcome on."""
        if trial_id in self._inner_ids:
            self._optuna.on_trial_complete(self._inner_ids.pop(trial_id), result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is resumed from its trials' files."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing is saved."""


def _distribution(values: tuple[Any, ...] | Range) -> Any:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _usable(values: tuple[Any, ...] | Range, suggested: Any) -> Any:
    return values.rounded(suggested) if isinstance(values, Range) else suggested


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps({name: plain(value) for name, value in values.items()}, sort_keys=True)
