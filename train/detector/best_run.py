"""`runs/best.pt`: the weights of the best run so far, and `runs/best.json`, which says whose they are.

Runs are compared only on the same validation images. best.pt belongs to the data set that was trained on last, so that
`evaluate/score.py runs/best.pt` scores what has just been trained; the best weights of another data set are put aside
as `best-<fingerprint>.pt` before, and come back when that data set is trained on again. Nothing is lost silently.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import WorkError
from common.files import PART, sha256, write_json
from common.paths import brief, without_places
from common.trainings import BEST_RUNS_FILE

WEIGHTS, RECORDS = "best.pt", BEST_RUNS_FILE
_SHORT = 8


@dataclass(frozen=True)
class BestRun:
    """The best run on a data set.

    Attributes:
        run: Its folder.
        weights_sha256: Of its weights; None in a record of an earlier version.
        score: Its RSNA score on the validation images.
        data: The data YAML, for people.
        fingerprint: The data set's.
        created: When it was finished (UTC, ISO 8601).
        arguments: The training's.
    """

    run: str
    weights_sha256: str | None
    score: float
    data: str
    fingerprint: str
    created: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """What best.json says.

    Attributes:
        holds: Fingerprint of the data set whose best weights best.pt holds; None if it holds none.
        data_sets: The best run on each data set, by fingerprint.
    """

    holds: str | None = None
    data_sets: Mapping[str, BestRun] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of best.pt.

    Attributes:
        weights: The file best.pt.
        is_best: Whether the run offered is now the best on its data set.
        best: The best run on the data set.
        put_aside: Where another data set's best weights went; None if best.pt held none.
    """

    weights: Path
    is_best: bool
    best: BestRun
    put_aside: Path | None = None


def offer(
    folder: Path, weights: Path, score: float, fingerprint: str, data: str, arguments: Mapping[str, Any]
) -> Outcome:
    """Take a finished run into account: update best.pt and best.json. A score equal to the best does not replace it.

    Args:
        folder: Where best.pt is kept; the project's `runs`, as a rule.
        weights: The run's `weights/best.pt`; copied, not linked.
        score: Its RSNA score on the validation images.
        fingerprint: Of its data set; see `common.data.fingerprint`.
        data: The data YAML, for people.
        arguments: The training's arguments.

    Raises:
        WorkError: The weights cannot be copied.
    """
    run = BestRun(
        run=os.fspath(weights.resolve().parent.parent),
        weights_sha256=sha256(weights),
        score=score,
        data=brief(Path(data)),
        fingerprint=fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=without_places(json.loads(json.dumps(dict(arguments), default=str))),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        found = read_records(folder)
        runs, holds = dict(found.data_sets), found.holds
        best_file, known = folder / WEIGHTS, runs.get(fingerprint)
        source = _find_weights(folder, holds, known) if known else None
        is_best = source is None or known is None or score > known.score
        if is_best:
            source, runs[fingerprint] = weights, run
        put_aside = None
        if holds not in (None, fingerprint) and best_file.is_file():
            put_aside = _aside(folder, holds)
            _copy(best_file, put_aside)
        if source is not None and source != best_file:
            _copy(source, best_file)
        records = {known_as: _to_json(best, folder) for known_as, best in runs.items()}
        write_json(folder / RECORDS, {"best.pt": fingerprint, "data_sets": records})
        _aside(folder, fingerprint).unlink(missing_ok=True)
    return Outcome(best_file, is_best, runs[fingerprint], put_aside)


def read_records(folder: Path) -> Records:
    """Read best.json; nothing where there is none.

    A damaged file is put aside with a warning: it must not cost anybody the end of a long training.
    """
    file = folder / RECORDS
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        runs = {
            fingerprint: _to_run(fingerprint, record, folder) for fingerprint, record in content["data_sets"].items()
        }
        return Records(content.get("best.pt"), runs)
    except FileNotFoundError:
        return Records()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    damaged = file.with_suffix(".damaged.json")
    with contextlib.suppress(OSError):
        os.replace(file, damaged)
    print_warning(f"{file}: not a record of best runs; put aside as {damaged.name}, and a new one begun.")
    return Records()


def _to_json(best: BestRun, folder: Path) -> dict[str, Any]:
    """A record with its run relative to the folder of runs, as far as it lies there: that may be moved or shared."""
    run = Path(best.run)
    inside = run.is_relative_to(folder.resolve())
    return asdict(best) | ({"run": run.relative_to(folder.resolve()).as_posix()} if inside else {})


def _to_run(fingerprint: str, record: Mapping[str, Any], folder: Path) -> BestRun:
    """What best.json says of a data set; its run may be absolute, as earlier versions wrote it.

    Raises:
        ValueError: It lacks a score or a run.
    """
    score = record["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1 or not record["run"]:
        raise ValueError(f"{fingerprint}: no score or no run")  # NaN would be beaten by no run
    return BestRun(
        run=os.fspath(folder.resolve() / str(record["run"])),
        weights_sha256=record.get("weights_sha256"),
        score=score,
        data=str(record.get("data", "")),
        fingerprint=fingerprint,
        created=str(record.get("created", "")),
        arguments=record.get("arguments", {}),
    )


def _find_weights(folder: Path, holds: str | None, best: BestRun) -> Path | None:
    """Where the best weights of a data set are now; None if they are gone."""
    places = [_aside(folder, best.fingerprint), Path(best.run) / "weights" / "best.pt"]
    if holds == best.fingerprint:
        places.insert(0, folder / WEIGHTS)
    return next((place for place in places if place.is_file()), None)


def _aside(folder: Path, fingerprint: str | None) -> Path:
    return folder / f"best-{str(fingerprint)[:_SHORT]}.pt"


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.{os.getpid()}{PART}")
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WorkError(
            f"{target}: cannot be written ({error.strerror}). The weights themselves are safe in {source}; free some "
            "space or check the folder's permissions, then copy them there."
        ) from error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one training at a time, as several of a study may end together; where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(folder / ".best.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
