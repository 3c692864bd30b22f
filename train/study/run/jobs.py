"""What of a study is left to do, from the files of its trials alone. A job is what one process does at a stretch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.study.plan import Trial, effective, plan, trials_of
from train.study.run.folder import TRIALS
from train.study.space import Space
from train.study.space_values import Range
from train.study.trial_record import STOPPED, TrialState, find_state, find_trial

Config = Mapping[str, Any]
"""A job as Ray Tune passes it on: its `number`, and with TPE the `values` of its setting."""


class Jobs:
    """The jobs of a study.

    A job is one training, so that as many as possible run side by side. Where settings are judged while they train (by
    TPE or for early termination), it is one setting with all its repeats, one after the other.
    """

    def __init__(self, space: Space, folder: Path) -> None:
        """Plan the jobs.

        Args:
            space: The study.
            folder: Its folder.
        """
        self.space, self.folder = space, folder
        self._values: dict[int, dict[str, Any]] = {}
        self._planned: list[list[Trial]] = []
        if space.method == "tpe":
            for path in sorted((folder / TRIALS).glob("*")):
                state = find_state(path)
                if state and state.setting is not None:
                    self._values[state.setting] = dict(state.settings or {})
            self.numbers = list(range(space.trials or 0))
            return
        for trial in plan(space):
            before = self._planned[-1][0] if self._planned else None
            if space.scheduler and before is not None and before.setting == trial.setting:
                self._planned[-1].append(trial)
            else:
                self._planned.append([trial])
        self.numbers = list(range(len(self._planned)))

    def trials(self, config: Config) -> list[Trial]:
        """The trials of a job."""
        if self.space.method == "tpe":
            return trials_of(self.space, self.space.blocks[0], config["values"], config["number"])
        return self._planned[config["number"]]

    def config(self, number: int) -> Config | None:
        """The job of this number; None where TPE has yet to choose its values."""
        if self.space.method == "tpe":
            return {"number": number, "values": self._values[number]} if number in self._values else None
        return {"number": number}

    def is_over(self, number: int) -> bool:
        """Whether nothing is left to train: all is finished, or the scheduler has stopped it."""
        config = self.config(number)
        return config is not None and len(self.missing(config)) == 0

    def missing(self, config: Config) -> list[Trial]:
        """The job's trials that are yet to be trained; a failed one is tried again."""
        missing = []
        for trial in self.trials(config):
            record, state = find_trial(self._folder(trial)), find_state(self._folder(trial)) or TrialState()
            if state.stopped or (record and record.status == STOPPED):
                return []
            if record is None or record.has_failed:
                missing.append(trial)
        return missing

    def unscored(self) -> list[Trial]:
        """Trials that the scheduler had stopped when the study was killed, before they were scored."""
        return [trial for trial in self._known() if self._is_unscored(trial)]

    def done(self) -> int:
        """How many trials are over."""
        records = (find_trial(self._folder(trial)) for trial in self._known())
        return sum(record is not None and not record.has_failed for record in records)

    def total(self) -> int:
        """How many trials the study has, without repeats of stopped settings that will not be trained."""
        count = 0
        for number in self.numbers:
            config = self.config(number)
            trials = [] if config is None else self.trials(config)
            if config is not None and self.is_over(number):
                count += sum(find_trial(self._folder(one)) is not None or self._is_unscored(one) for one in trials)
            else:
                count += len(trials) or self.space.repeats
        return count

    def most_epochs(self) -> int:
        """The epochs of the longest job, its repeats added up."""
        if self._planned:
            return max(sum(_epochs(trial.arguments) for trial in trials) for trials in self._planned)
        block = self.space.blocks[0]
        varied = block.parameters.get("epochs", ())
        values = (int(varied.high),) if isinstance(varied, Range) else varied
        return max(values, default=_epochs(self.space.base)) * self.space.repeats

    def score(self, number: int) -> float | None:
        """Mean score on val of a job's trials; None where there is none yet."""
        config = self.config(number)
        records = [find_trial(self._folder(trial)) for trial in self.trials(config)] if config else []
        scores = [record.val_score for record in records if record and not record.has_failed]
        return sum(scores) / len(scores) if scores else None

    def curve(self, number: int) -> list[float]:
        """What a job that is over reported after each of its epochs; see `train.study.run.tuning.train_job`."""
        from train.detector.results import SCORE

        config = self.config(number)
        reported: list[float] = []
        bests: list[float] = []
        for trial in self.trials(config) if config else []:
            try:
                with open(self._folder(trial) / "run" / "results.csv", newline="", encoding="utf-8") as file:
                    scores = [float(row[SCORE]) for row in csv.DictReader(file)]
            except (OSError, ValueError, KeyError):
                break
            best = 0.0
            for score in scores:
                best = max(best, score)
                reported.append(sum([*bests, best]) / (len(bests) + 1))
            bests.append(best)
        return reported

    def _known(self) -> list[Trial]:
        configs = [self.config(number) for number in self.numbers]
        return [trial for config in configs if config is not None for trial in self.trials(config)]

    def _is_unscored(self, trial: Trial) -> bool:
        state = find_state(self._folder(trial))
        return state is not None and state.stopped and find_trial(self._folder(trial)) is None

    def _folder(self, trial: Trial) -> Path:
        return self.folder / TRIALS / trial.id


def _epochs(arguments: Mapping[str, Any]) -> int:
    return int(effective(arguments)["epochs"])
