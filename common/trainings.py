"""Trainings' folders: what was trained in each, which one is the newest of its kind, and whose weights a copy holds.

Below one folder of runs lie detectors, gates, the members of recipes and the trials of studies, each with
`weights/best.pt` and `weights/last.pt`. Whoever is to take "the newest training" has to tell them apart. Imports
nothing heavy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.files import sha256
from common.paths import shown

DETECTOR, GATE, MEMBER, TRIAL = "detector", "gate", "member of a recipe", "trial of a study"
_PLURALS = {DETECTOR: "detectors", GATE: "gates", MEMBER: "members of recipes", TRIAL: "trials of studies"}
CLASSIFY = "classify"
"""The task of a gate."""
_TASKS = {"detect": DETECTOR, CLASSIFY: GATE}

MEMBERS_FILE = "members.json"
"""A recipe of several trainings writes it into the folder that its members lie in."""
STUDY_FILE = "study.json"
"""A study writes it into its folder, three above a trial's training."""
BEST_RUNS_FILE = "best.json"
"""Beside `best.pt`: whose weights it holds."""


def kind_of(run: Path) -> str:
    """What a training's folder holds: a detector, a gate, a member of a recipe, a trial of a study, or another task.

    A member and a trial are that, whatever was trained: their recipe or study goes on with them, and scores them. A
    folder that does not say what it is counts as a detector.
    """
    if any((folder / STUDY_FILE).is_file() for folder in list(run.parents)[:3]):
        return TRIAL
    if (run.parent / MEMBERS_FILE).is_file():
        return MEMBER
    task = task_of(run)
    return _TASKS.get(task, f"model for the task {task!r}")


def task_of(run: Path) -> str:
    """The task of a training's model, such as `detect`, which counts where the folder does not say."""
    try:
        # One line of some hundred; reading it as YAML takes a hundred times as long, for each run there is.
        found = re.search(r"^task:\s*(\w+)", (run / "args.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    return found[1] if found else "detect"


@dataclass(frozen=True)
class Newest:
    """The newest training of a kind.

    Attributes:
        file: Its checkpoint; None where there is no such training.
        count: How many trainings of the kind there are.
        others: Of each other kind, its trainings' folders.
    """

    file: Path | None
    count: int
    others: dict[str, list[Path]]

    def other_words(self) -> str:
        """What there is of other kinds, such as `1 gate (runs/gate) and 2 members of recipes (runs/win/gate, ...)`."""
        words = [
            f"{len(runs)} {kind if len(runs) == 1 else _PLURALS.get(kind, kind)} ({shown(runs[0])}"
            + (", ..." if len(runs) > 1 else "")
            + ")"
            for kind, runs in self.others.items()
        ]
        return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def find_newest(folders: Iterable[Path], name: str = "best.pt", kind: str = DETECTOR) -> Newest:
    """The newest training of a kind below some folders, by the time of its checkpoint.

    Args:
        folders: Folders of runs; one that is not there has none.
        name: The checkpoint that it must have in `weights/`.
        kind: What was trained, as `kind_of` says.
    """
    times: dict[Path, int] = {}
    for folder in folders:
        for file in folder.glob(f"**/weights/{name}"):
            try:
                times[file] = file.stat().st_mtime_ns
            except OSError:  # a link to what is gone
                continue
    runs: dict[str, list[Path]] = {}
    for file in sorted(times, key=lambda file: (times[file], str(file)), reverse=True):
        runs.setdefault(kind_of(file.parents[1]), []).append(file.parents[1])
    right = runs.pop(kind, [])
    return Newest(right[0] / "weights" / name if right else None, len(right), runs)


def find_original(copy: Path) -> Path | None:
    """The weights that `runs/best.pt`, or one put aside beside it, is a copy of: in their training's folder.

    `best.json` beside the copy names the trainings; the content has to be the same, as a folder may have been trained
    into again. A training that was moved together with the copy is found by its name.

    Returns:
        The training's `weights/best.pt`; None where no training holds the same weights any more.
    """
    try:
        content = json.loads((copy.parent / BEST_RUNS_FILE).read_text(encoding="utf-8"))
        runs = [copy.parent / str(record["run"]) for record in content["data_sets"].values()]
        size, digest = copy.stat().st_size, ""
        for place in dict.fromkeys(place for run in runs for place in (run, copy.parent / run.name)):
            weights = place / "weights" / "best.pt"
            if weights.is_file() and weights.stat().st_size == size:
                digest = digest or sha256(copy)
                if sha256(weights) == digest:
                    return weights
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # there is none, or it is damaged
        pass
    return None


def find_fingerprint(run: Path, weights_sha256: str) -> str | None:
    """The fingerprint of the data that a training's weights were trained on, as the data were then.

    Args:
        run: The training's folder.
        weights_sha256: Checksum of its weights.

    Returns:
        What the `best.json` of its folder of runs says, which names the best training of each data set; None for the
        others.
    """
    for folder in (run.parent, run):  # the copy itself lies beside best.json
        try:
            records = json.loads((folder / BEST_RUNS_FILE).read_text(encoding="utf-8"))["data_sets"]
            for fingerprint, record in records.items():
                if record.get("weights_sha256") == weights_sha256:
                    return str(fingerprint)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return None
