"""`runs/best.pt`: the weights of the best run so far, and `runs/best.json`, which says whose they are.

Runs are compared only on the same validation images. best.pt belongs to the data set that was trained on last, so that
`evaluate/score.py runs/best.pt` scores what has just been trained; the best weights of another data set are put aside
as `best-<fingerprint>.pt` before, and come back when that data set is trained on again. Nothing is lost silently.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import WorkError
from common.files import PART, write_json

WEIGHTS, RECORDS = "best.pt", "best.json"
_SHORT = 8


@dataclass(frozen=True)
class Outcome:
    """What became of best.pt.

    Attributes:
        weights: The file best.pt.
        is_best: Whether the run offered is now the best on its data set.
        best: The record of the best run on the data set.
        put_aside: Where another data set's best weights went; None if best.pt held none.
    """

    weights: Path
    is_best: bool
    best: Mapping[str, Any]
    put_aside: Path | None = None


def data_fingerprint(data: Mapping[str, Any]) -> str:
    """Tell data sets apart by what a score depends on: the manifest, where there is one, and the validation images.

    Args:
        data: A data YAML with absolute paths, as Ultralytics' `check_det_dataset` gives it.

    Returns:
        64 hexadecimal digits. Moving or renaming the data set's folder does not change them.
    """
    digest = hashlib.sha256()
    entries = data["val"] if isinstance(data["val"], list) else [data["val"]]
    for entry in map(Path, entries):
        manifest = entry.parent / "manifest.csv"
        digest.update(manifest.read_bytes() if manifest.is_file() else b"no manifest")
        if entry.is_dir():
            names = sorted(str(path.relative_to(entry)) for path in entry.rglob("*") if path.is_file())
            digest.update("\n".join(names).encode())
        else:
            digest.update(entry.read_bytes())
    return digest.hexdigest()


def offer(
    folder: Path, weights: Path, score: float, fingerprint: str, data: str, arguments: Mapping[str, Any]
) -> Outcome:
    """Take a finished run into account: update best.pt and best.json. A score equal to the best does not replace it.

    Args:
        folder: Where best.pt is kept; the project's `runs`, as a rule.
        weights: The run's `weights/best.pt`; copied, not linked.
        score: Its RSNA score on the validation images.
        fingerprint: See `data_fingerprint`.
        data: The data YAML, for people.
        arguments: The training's arguments.

    Raises:
        WorkError: The weights cannot be copied.
    """
    record = {
        "run": os.fspath(weights.resolve().parent.parent),
        "score": score,
        "data": data,
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": json.loads(json.dumps(dict(arguments), default=str)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        state = read_records(folder)
        records, holds = state["data_sets"], state["best.pt"]
        best_file, known = folder / WEIGHTS, records.get(fingerprint)
        source = _kept(folder, fingerprint, holds, known) if known else None
        is_best = source is None or known is None or score > known["score"]
        if is_best:
            source, records[fingerprint] = weights, record
        put_aside = None
        if holds not in (None, fingerprint) and best_file.is_file():
            put_aside = _aside(folder, holds)
            _copy(best_file, put_aside)
        if source is not None and source != best_file:
            _copy(source, best_file)
        write_json(folder / RECORDS, {"best.pt": fingerprint, "data_sets": records})
        _aside(folder, fingerprint).unlink(missing_ok=True)
    return Outcome(best_file, is_best, records[fingerprint], put_aside)


def read_records(folder: Path) -> dict[str, Any]:
    """What best.json says.

    Returns:
        `best.pt`: fingerprint of the data set whose best weights best.pt holds, or None; `data_sets`: by fingerprint
        the record of the best run: run, score, data, fingerprint, created, arguments. A damaged file is put aside with
        a warning: it must not cost anybody the end of a long training.
    """
    file = folder / RECORDS
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        records = content["data_sets"]
        if all(isinstance(record["score"], int | float) and record["run"] for record in records.values()):
            return {"best.pt": content.get("best.pt"), "data_sets": dict(records)}
    except FileNotFoundError:
        return {"best.pt": None, "data_sets": {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    damaged = file.with_suffix(".damaged.json")
    with contextlib.suppress(OSError):
        os.replace(file, damaged)
    print_warning(f"{file}: not a record of best runs; put aside as {damaged.name}, and a new one begun.")
    return {"best.pt": None, "data_sets": {}}


def _kept(folder: Path, fingerprint: str, holds: str | None, record: Mapping[str, Any]) -> Path | None:
    """Where the best weights of a data set are now; None if they are gone."""
    places = [_aside(folder, fingerprint), Path(record["run"]) / "weights" / "best.pt"]
    if holds == fingerprint:
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
def _alone(folder: Path) -> Iterator[None]:
    """Let one training at a time, as several of a study may end together; where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(folder / ".best.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
