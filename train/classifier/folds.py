"""A gate for each fold of a data set: trained one after the other, continued where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cli import console
from common.data.fingerprint import data_fingerprint
from common.errors import UserError
from common.files import make_folder, write_json
from common.paths import shown, typed
from evaluate.classifier.record import read_record
from train.classifier.class_view import folds_of
from train.classifier.finishing import TABLE, TrainedGate
from train.classifier.training import GATE_DEFAULTS, check_gate, root_of, train_gate
from train.detector.locating import check_data, find_data
from train.settings.options import GATE, GATE_ON_RESUME, MAY_DIFFER, differences

RECORD = "folds.json"
_NAME = "gates"
"""The folder's name, where none is given."""
_PLACES = {"project", "name", "data", "folds", "save_dir"}


def train_folds(arguments: Mapping[str, Any], words: Sequence[str] | None = None) -> list[TrainedGate]:
    """Train a gate for each fold into `<project>/<name>/fold<k>`, which is validated on it and trained on the others.

    Run again with the same arguments, it leaves what is finished as it is and goes on with what was stopped.

    Args:
        arguments: As for `train.classifier.training.train_gate`, with `folds`: how many the data set has.
        words: The command line's words, for the records; None makes them from the arguments.

    Returns:
        The gates, by fold.

    Raises:
        UserError: The data set has other folds; the folder holds gates trained with other arguments or on other data;
            and what `train_gate` raises.
        WorkError: As `train_gate`.
    """
    if words is None:
        words = [f"{name}={value}" for name, value in arguments.items()]
    folds = GATE["folds"].check("folds", arguments["folds"])
    for name in ("fold", "resume"):
        if arguments.get(name) not in (None, False):
            raise UserError(
                f"{name}: found beside folds={folds}, which trains every fold, and goes on with what was stopped. "
                "Leave out one of the two."
            )
    given = {name: value for name, value in arguments.items() if name not in _PLACES and value is not None}
    folder = Path(str(arguments.get("project") or GATE_DEFAULTS["project"])).expanduser().absolute()
    folder /= str(arguments.get("name") or _NAME)
    check_gate({**given, "project": os.fspath(folder)})
    yaml = find_data(Path(str(arguments.get("data") or GATE_DEFAULTS["data"])))
    data = check_data(os.fspath(yaml))
    known = folds_of(root_of(data))
    if known != list(range(folds)):
        has = f"the folds {', '.join(map(str, known))}" if known else "no folds"
        raise UserError(
            f"folds={folds}: {shown(yaml)} is of a data set with {has}; expected 0 to {folds - 1}. Convert it with "
            f"--folds {folds}, or name as many as it has."
        )
    _begin(folder, given, data_fingerprint(data))
    return [
        _train(folder / f"fold{fold}", {**given, "data": os.fspath(yaml), "fold": fold}, words) for fold in range(folds)
    ]


def _begin(folder: Path, given: Mapping[str, Any], fingerprint: str) -> None:
    """Write down what decides the outcome, or compare it with what stands there."""
    file = folder / RECORD
    decides = {name: value for name, value in given.items() if name not in MAY_DIFFER}
    now = json.loads(json.dumps({"arguments": decides, "data_fingerprint": fingerprint}, default=str))
    if not file.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{shown(folder)}: holds something else; expected gates of folds. Choose another name=.")
        make_folder(folder, "project:", "Choose another project=.")
        write_json(file, now)
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        same_data, arguments = before["data_fingerprint"] == fingerprint, dict(before["arguments"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{shown(file)}: not the record of gates ({type(error).__name__}). Remove its folder, or choose name=."
        ) from error
    changed = differences(arguments, now["arguments"])
    if not same_data:
        changed.insert(0, "the data set held other images")
    if changed:
        raise UserError(
            f"{shown(folder)}: its gates were begun otherwise ({'; '.join(changed)}). Give the same, or choose another "
            "name=."
        )


def _train(run: Path, arguments: dict[str, Any], words: Sequence[str]) -> TrainedGate:
    """Train the gate of a fold, go on with one that was stopped, or read one that is finished."""
    if (run / TABLE).is_file():
        return TrainedGate(run / TABLE, read_record(run))
    console().print(f"\n{run.name}", style="bold")
    place = {"project": os.fspath(run.parent), "name": run.name}
    last = run / "weights" / "last.pt"
    if last.is_file():
        anew = {name: arguments[name] for name in arguments.keys() & GATE_ON_RESUME}
        return train_gate({**anew, **place, "resume": os.fspath(last)}, [f"resume={typed(run)}"])
    alone = [word for word in words if word.partition("=")[0].strip("- ") not in {"folds", "name", "project"}]
    told = [*alone, f"fold={arguments['fold']}"]
    return train_gate({**arguments, **place, "exist_ok": True}, told)
