"""The jobs of a study on Ray Tune: what a worker does, when it is stopped early, what became of it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.files import PART
from train.study.plan import Trial
from train.study.run.cluster import Resources
from train.study.run.jobs import Jobs
from train.study.run.progress import StudyProgress
from train.study.run.trial_files import LOG, Work, logged, record_failure
from train.study.run.trials import run_trial, score_stopped
from train.study.trial_record import TrialRecord

REPORTED_SCORE, REPORTED_EPOCHS = "rsna_score", "epochs_done"
"""What a job reports to Ray Tune, over its repeats: the RSNA score on val of the best epoch so far, the epochs done."""

_TUNE = ".tune"


def run_jobs(jobs: Jobs, work: Work, resources: Resources) -> None:
    """Run every job that is not over; each trial leaves its `trial.json`. Ray must be connected.

    Args:
        jobs: The study's jobs.
        work: How trials work.
        resources: What each gets.
    """
    from ray import tune

    from train.study.run.tune_callback import JobCallback

    for path in work.study.rglob(f"*{PART}"):  # of a study that was killed
        path.unlink(missing_ok=True)
    left = [number for number in jobs.numbers if not jobs.is_over(number)]
    with StudyProgress(jobs.total(), jobs.done(), resources.at_once) as progress, _scoring(work, progress) as score:
        for trial in jobs.unscored():
            score(trial)
        if not left:
            return
        searcher = None
        if jobs.space.method == "tpe":
            from train.study.run.searching import DistinctSearch

            searcher = DistinctSearch(jobs, REPORTED_SCORE)
        tuner = tune.Tuner(
            tune.with_resources(_trainable(jobs, work), _demand(work)),
            param_space={} if searcher else {"number": tune.grid_search(left)},
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(jobs),
                num_samples=len(left) if searcher else 1,
                max_concurrent_trials=resources.at_once,
                reuse_actors=True,  # a process takes longer to start than a small network to train
            ),
            run_config=tune.RunConfig(
                name=_TUNE,
                storage_path=os.fspath(work.study),
                verbose=0,
                callbacks=[JobCallback(jobs, work, progress, score)],
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(work.study / _TUNE, ignore_errors=True)


def train_job(trials: list[Trial], work: Work, folder: str, report: Callable[[dict[str, Any]], None]) -> None:
    """Train the trials of a job one after the other, in a worker.

    Args:
        trials: What to train.
        work: How.
        folder: The current folder of the command, which relative paths start from.
        report: Takes `REPORTED_SCORE` and `REPORTED_EPOCHS` after each epoch; raises `SystemExit` where the scheduler
            ends the job.

    Raises:
        RuntimeError: A trial failed on a GPU, as is recorded; the process may be unable to use it again, and ends.
    """
    os.chdir(folder)
    scores: list[float] = []
    epochs = 0
    errors = []
    for trial in trials:

        def after_epoch(done: int, score: float) -> None:
            so_far = [*scores, score]
            report({REPORTED_EPOCHS: epochs + done, REPORTED_SCORE: _mean_score(so_far)})  # noqa: B023  # in this turn

        with logged(work.folder(trial) / LOG):
            record = run_trial(trial, work, after_epoch)
        if record.has_failed:
            errors.append(f"{trial.id}: {record.error}")
        else:
            scores.append(record.val_score)
            epochs += record.epochs or 0
    # A setting that fails is worth nothing: neither the scheduler nor TPE need to know why.
    report({REPORTED_EPOCHS: epochs, REPORTED_SCORE: _mean_score(scores) if scores else 0.0})
    if errors and work.gpus:
        raise RuntimeError("; ".join(errors))


def _trainable(jobs: Jobs, work: Work) -> Callable[[dict[str, Any]], None]:
    folder = os.fspath(Path.cwd())

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        train_job(jobs.trials(config), work, folder, tune.report)

    return train


def _demand(work: Work) -> dict[str, float]:
    return {"cpu": work.cores, "gpu": work.gpus} if work.gpus else {"cpu": work.cores}


def _scheduler(jobs: Jobs) -> Any:
    """Asynchronous successive halving, taught what a killed study has seen; None without early termination.

    Li et al., *A System for Massively Parallel Hyperparameter Tuning*, 2020.
    """
    if not jobs.space.scheduler:
        return None
    from ray.tune.schedulers import ASHAScheduler

    scheduler: Any = ASHAScheduler(
        time_attr=REPORTED_EPOCHS,
        metric=REPORTED_SCORE,
        mode="max",
        # One more than there are epochs, as a job that got so far shall end by itself.
        max_t=max(jobs.most_epochs(), jobs.space.scheduler["grace"]) + 1,
        grace_period=jobs.space.scheduler["grace"],
        reduction_factor=jobs.space.scheduler["reduction"],
    )
    for number in jobs.numbers:
        if jobs.is_over(number):
            trial: Any = SimpleNamespace(trial_id=f"job {number}")
            scheduler.on_trial_add(None, trial)
            for epochs, score in enumerate(jobs.curve(number), 1):
                scheduler.on_trial_result(None, trial, {REPORTED_EPOCHS: epochs, REPORTED_SCORE: score})
    return scheduler


@contextlib.contextmanager
def _scoring(work: Work, progress: StudyProgress) -> Iterator[Callable[[Trial], None]]:
    """Score stopped trials in workers of their own, beside those that train; at the end, wait for them."""
    import ray

    folder = os.fspath(Path.cwd())
    waiting: list[tuple[Trial, Any]] = []

    @ray.remote(num_cpus=work.cores, num_gpus=work.gpus, max_retries=0)
    def score_it(trial: Trial) -> TrialRecord:
        os.chdir(folder)
        with logged(work.folder(trial) / LOG):
            return score_stopped(trial, work)

    def score(trial: Trial) -> None:
        waiting.append((trial, score_it.remote(trial)))

    yield score
    for trial, outcome in waiting:
        try:
            record = ray.get(outcome)
        except ray.exceptions.RayError as error:
            record = record_failure(trial, work, "the process that scored the stopped trial died", str(error))
        progress.show(record)


def _mean_score(scores: list[float]) -> float:
    return sum(scores) / len(scores)
