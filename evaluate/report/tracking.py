"""A score in Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.tracking import tracker as tracking
from evaluate.metrics.sweep import thin_sweep
from evaluate.report.wording import shown_interval
from evaluate.scoring.result import Interval
from evaluate.scoring.run import Scored

_CONFIG = ("data", "tuned_on", "reported_on", "confidence", "postprocess")


def log_score(scored: Scored, files: Sequence[Path]) -> str:
    """Log a score to Weights & Biases, into the training's run where there is one.

    Args:
        scored: What came out; W&B's own files go beside its `score.json`.
        files: Files to keep with the run.

    Returns:
        Where the run can be seen, or how to upload it; empty where nothing is logged.
    """
    score, folder = scored.score, scored.file.parent
    content = score.to_json()
    tracker = tracking.start(config={key: content[key] for key in _CONFIG}, run_dir=scored.run, folder=folder)
    numbers: dict[str, float] = {}
    for name, split in score.splits.items():
        entries = split.to_json() | _ends(shown_interval(split, score.was_tuned_on(name)))
        numbers |= {f"{name}/{key}": value for key, value in entries.items() if isinstance(value, int | float)}
    numbers |= {
        f"{score.reported_on}/{group}/{level}": subgroup.score
        for group, levels in score.subgroups.items()
        for level, subgroup in levels.items()
        if subgroup.score is not None
    }
    tracker.log(numbers)
    ends = _ends(shown_interval(score.reported, score.was_tuned_on(score.reported_on)))
    tracker.summary({"rsna_score": score.score, **ends, "confidence": score.confidence})
    for name, judged in scored.judged.items():
        tracker.log({f"sweep/{name}": thin_sweep(judged.sweep.table())})
    for path in files:
        tracker.artifact(path, f"{folder.name}-{path.stem}", "predictions" if path in scored.predictions else "score")
    tracker.finish()
    return tracker.where


def _ends(interval: Interval | None) -> dict[str, float]:
    return {} if interval is None else {"low_95": interval.low, "high_95": interval.high}
