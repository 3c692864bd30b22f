"""Which system is meant by what somebody names: weights, trainings, folders of them, a recipe's, predictions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import trainings
from common.errors import UserError
from common.paths import shown, typed
from evaluate.detector.finding import DEFAULT_WEIGHTS, find_weights
from evaluate.detector.weights import run_folder
from evaluate.system.record import SYSTEM_FILE, System, SystemDetector, SystemPredictions

_BEST = Path("weights", "best.pt")
_CSV = ".csv"
_SHORT = 8


def find_system(named: Sequence[Path] = ()) -> System:
    """Find the detectors, classifiers and predictions that are meant; what was taken is said on stderr.

    Args:
        named: Any of these, one or several: a detector's `.pt` file; a training's folder; a folder of trainings, whose
            detectors are taken, and gates passed over; the folder of a recipe or of another system (its `system.yaml`,
            else the finished detectors that `members.json` names), or its `system.yaml`; a predictions CSV or Kaggle
            submission of any detector. None, or `runs/best.pt`: as `evaluate.detector.finding.find_weights`.

    Returns:
        The system, of at least one detector or file of predictions.

    Raises:
        UserError: Something is not there, has no detector, is a gate, has changed since it was put together, or is
            named twice.
    """
    parts = [_find(path) for path in named or [DEFAULT_WEIGHTS]]
    system = System(
        detectors=tuple(one for part in parts for one in part.detectors),
        classifiers=tuple(one for part in parts for one in part.classifiers),
        predictions=tuple(one for part in parts for one in part.predictions),
        data=next((part.data for part in parts if part.data), None),
        named=tuple(named),
    )
    _refuse_twice([((one.sha256, one.imgsz), one.weights) for one in system.detectors])
    _refuse_twice([((one.sha256,), one.weights) for one in system.classifiers])
    _refuse_twice([((one.sha256,), one.file) for one in system.predictions])
    return system


def home_of(system: System) -> Path:
    """The folder that a system's score and fitted post-processing belong to, unless another one is named.

    Returns:
        A folder that was named and holds a system or trainings; of a single detector its training's; else one beside
        the first member's training, named after all members' checksums, in which nothing need be yet.
    """
    if has_own_home(system):
        (named,) = system.named
        return named if named.is_dir() else named.parent
    if len(system.detectors) == 1 and not system.predictions:
        return run_folder(system.detectors[0].weights)
    first = run_folder(system.detectors[0].weights) if system.detectors else system.predictions[0].file.absolute()
    return first.parent / f"system-{system.digest[:_SHORT]}"


def has_own_home(system: System) -> bool:
    """Whether a single folder was named that is not a training's, or the `system.yaml` of one."""
    if len(system.named) != 1:
        return False
    (named,) = system.named
    return named.name == SYSTEM_FILE or (named.is_dir() and not holds_weights(named))


def words_of(system: System) -> str:
    """What to call a system in a message: its weights' file or files, or its folder."""
    return ", ".join(shown(path) for path in _called(system))


def typed_words_of(system: System) -> str:
    """The same as it is typed in a command."""
    return " ".join(typed(path) for path in _called(system))


def _called(system: System) -> list[Path]:
    if has_own_home(system):
        return [home_of(system)]
    return [*(one.weights for one in system.detectors), *(one.file for one in system.predictions)]


def _find(path: Path) -> System:
    if path.name == SYSTEM_FILE and path.is_file():
        return System.from_yaml(path)
    if path.suffix.lower() == _CSV:
        if not path.is_file():
            raise UserError(f"{shown(path)}: no such file; expected a predictions CSV or a Kaggle submission.")
        return System((), predictions=(SystemPredictions.of(path),))
    if path.is_dir() and not holds_weights(path):
        if (path / SYSTEM_FILE).is_file():
            return System.from_yaml(path / SYSTEM_FILE)
        if (path / trainings.MEMBERS_FILE).is_file():
            return _of_recipe(path)
        return _of(_detectors_in(path))
    weights, note = find_weights(path)
    if note:
        print(note, file=sys.stderr)
    _refuse_gate(weights)
    return _of([weights])


def holds_weights(folder: Path) -> bool:
    """Whether a folder is a training's, or has weights in it as such a folder may."""
    return any((folder / name).is_file() for name in (_BEST, _BEST.name))


def _of(weights: Sequence[Path], data: Path | None = None) -> System:
    return System(tuple(SystemDetector.of(path) for path in weights), data=data)


def _of_recipe(folder: Path) -> System:
    """The finished detectors of a recipe that was not finished; its gate is passed over.

    Raises:
        UserError: The record is damaged, names none, or one of them is not there.
    """
    file = folder / trainings.MEMBERS_FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        found = [folder / name / _BEST for name in content["members"]]
        named = content.get("arguments", {}).get("data")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{shown(file)}: not a record of a recipe's members ({type(error).__name__}); name the members' folders."
        ) from error
    missing = [path for path in found if not path.is_file()]
    if missing or not found:
        what = f"names {shown(missing[0])}, which is not there" if missing else "names no finished member"
        raise UserError(f"{shown(file)}: {what}. Run the recipe's command again, which goes on, or name the folders.")
    gates = [path.parents[1].name for path in sorted(folder.glob(f"*/{_BEST}")) if _is_gate(path)]
    without = f", without {', '.join(gates)}, a gate" if gates else ""
    print(
        f"{shown(folder)}: no {SYSTEM_FILE}, as of a recipe that is not finished; using its {len(found)} finished "
        f"detectors{without}",
        file=sys.stderr,
    )
    data = Path(str(named)) if named else None
    return _of(found, data if data is not None and data.exists() else None)


def _detectors_in(folder: Path) -> list[Path]:
    """The detectors among a folder's trainings.

    Raises:
        UserError: There are none.
    """
    inside = sorted(folder.glob(f"*/{_BEST}"))
    gates = [path for path in inside if _is_gate(path)]
    if gates:
        print(
            f"{shown(folder)}: passing over {', '.join(path.parents[1].name for path in gates)}, a gate, which --gate "
            "takes",
            file=sys.stderr,
        )
    found = [path for path in inside if path not in gates]
    if not found:
        what = "nothing but gates" if gates else "no weights"
        raise UserError(
            f"{shown(folder)}: {what} there; expected a .pt file, a training's folder (with {_BEST}), or a folder of "
            "such."
        )
    return found


def _refuse_gate(weights: Path) -> None:
    if _is_gate(weights):
        raise UserError(
            f"{shown(weights)}: is a gate's, which finds no boxes. Name a detector, and the gate with --gate "
            f"{shown(weights.parents[1])}."
        )


def _is_gate(weights: Path) -> bool:
    return weights.parent.name == _BEST.parent.name and trainings.task_of(weights.parents[1]) == trainings.CLASSIFY


def _refuse_twice(members: Sequence[tuple[tuple[object, ...], Path]]) -> None:
    """Refuse two members of the same content, run in the same way: one would have two votes."""
    seen: dict[tuple[object, ...], Path] = {}
    for key, path in members:
        if key in seen:
            other = seen[key]
            where = "is named twice" if other.resolve() == path.resolve() else f"has the content of {shown(other)}"
            raise UserError(f"{shown(path)}: {where}; each may vote only once. Name it once.")
        seen[key] = path
