"""What happens in the command when a worker of Ray Tune reports, ends or dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback

from train.study.plan import Trial
from train.study.run.jobs import Jobs
from train.study.run.progress import StudyProgress
from train.study.run.trial_files import Work, mark_stopped, record_failure
from train.study.trial_record import find_trial


class JobCallback(Callback):
    """Shows trials that are over, has stopped ones scored, and records those whose process died."""

    def __init__(self, jobs: Jobs, work: Work, progress: StudyProgress, score: Callable[[Trial], None]) -> None:
        """Take what the methods below need.

        Args:
            jobs: The study's jobs.
            work: Where trials are.
            progress: Shows them.
            score: Has a stopped trial scored.
        """
        self._jobs, self._work, self._progress, self._score = jobs, work, progress, score

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune stores its callbacks for a resume of its own, which is not used."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """A job goes on: one of its trials may be over."""
        self._show(trial.config, failed=False)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A job has ended, by itself or by the scheduler in its first trial without a record."""
        missing = self._show(trial.config, failed=True)
        if missing:
            mark_stopped(missing[0], self._work.folder(missing[0]))
            self._score(missing[0])
            self._progress.skip(len(missing) - 1)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial of a job has failed and recorded it, or the process is gone without a word."""
        for missing in self._show(trial.config, failed=False):
            reason = "the trial's process died (out of memory?); its last words are in log.txt"
            record_failure(missing, self._work, reason, f"{reason}\n{_read(trial.error_file)}")
        self._show(trial.config, failed=True)

    def _show(self, config: dict[str, Any], *, failed: bool) -> list[Trial]:
        """Show what is over; gives the trials that left no record. An old failure may be one that is tried again."""
        missing = []
        for trial in self._jobs.trials(config):
            record = find_trial(self._work.folder(trial))
            if record is None:
                missing.append(trial)
            elif failed or not record.has_failed:
                self._progress.show(record)
        return missing


def _read(file: str | None) -> str:
    try:
        return Path(file or "").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
