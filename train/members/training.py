"""A recipe of several trainings, from its plan to what predicts together; continued where it was stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import console
from common.errors import UserError
from common.paths import shown
from evaluate.system import System, SystemClassifier, SystemDetector
from evaluate.system.record import SYSTEM_FILE
from train.classifier.finishing import TABLE
from train.classifier.training import train_gate
from train.detector.starting import load_resumable
from train.detector.training import train_detector
from train.members.plan import Plan, Training, check_trainings, make_plan
from train.members.record import Record
from train.settings.options import GATE_ON_RESUME, MAY_DIFFER
from train.settings.recipes import Recipe


@dataclass(frozen=True)
class Member:
    """A finished training: its run's name, best weights and RSNA score on its own fold."""

    name: str
    weights: Path
    score: float


@dataclass(frozen=True)
class Done:
    """What a recipe has made.

    Attributes:
        folder: Where it lies; evaluate/score.py and evaluate/predict.py take it as weights.
        data: The data YAML of the whole data set.
        root: The data set's folder.
        members: The detectors.
        gates: The gates' tables of probabilities.
    """

    folder: Path
    data: Path
    root: Path
    members: list[Member]
    gates: list[Path]


def train_members(recipe: Recipe, given: Mapping[str, Any]) -> Done:
    """Train all members, each into a folder of its own, `<project>/<name>/fold<k>-<size>`, and gates, `gate-fold<k>`.

    Run again with the same arguments, it leaves what is finished as it is and goes on with what was stopped, also on
    another machine.

    Args:
        recipe: The recipe, with members.
        given: As for `train.members.plan.make_plan`.

    Raises:
        UserError: The data set has no such folds; the folder holds members trained with other arguments; and what
            `train_detector` and `train_gate` raise.
        WorkError: As these.
    """
    plan = make_plan(recipe, given)
    record = Record(plan)
    done = record.content["members"]
    left = [one for one in plan.detectors if one.name not in done or not _weights(plan, one).is_file()]
    gates_left = [one for one in plan.gates if not (plan.folder / one.name / TABLE).is_file()]
    check_trainings(left, gates_left, plan.folder)
    record.begin()
    order = [*plan.detectors, *plan.gates]
    for number, one in enumerate(order, 1):
        if one in left or one in gates_left:
            console().print(f"\n{recipe.name}: {one.name} ({number} of {len(order)})", style="bold")
        if one in left:
            record.add("members", one.name, _train_detector(plan, one))
        elif one in gates_left:
            record.add("gates", one.name, _train_gate(plan, one))
    _put_together(plan)
    outcomes = record.content["members"]
    members = [Member(one.name, _weights(plan, one), outcomes[one.name]["score"]) for one in plan.detectors]
    return Done(plan.folder, plan.data, plan.root, members, [plan.folder / one.name / TABLE for one in plan.gates])


def _put_together(plan: Plan) -> None:
    """Write down what predicts together, and how each member looks at a picture."""
    flip = bool((plan.gate_arguments or {}).get("flip"))
    system = System(
        detectors=tuple(SystemDetector.of(_weights(plan, one), one.imgsz, plan.augment) for one in plan.detectors),
        classifiers=tuple(SystemClassifier.of(_weights(plan, one), flip) for one in plan.gates),
        data=plan.data,
    )
    system.to_yaml(plan.folder / SYSTEM_FILE)


def _train_detector(plan: Plan, one: Training) -> dict[str, Any]:
    """Train a member, or go on with one that was stopped; gives what is written down of it."""
    run = plan.folder / one.name
    place = {"project": os.fspath(plan.folder), "name": one.name, "exist_ok": True}
    last = _last(run)
    if last is None:
        trained = train_detector({**one.arguments, **place}, update_best=False)
    else:
        anew = {name: one.arguments[name] for name in one.arguments.keys() & (MAY_DIFFER | {"data"})}
        resumed = {**anew, "resume": os.fspath(last), "project": os.fspath(plan.folder)}
        trained = train_detector(resumed, update_best=False, take_finished=True)
    return {
        **{"fold": one.fold, "imgsz": one.imgsz},
        **{"score": trained.score, "confidence": trained.confidence, "epoch": trained.epoch},
    }


def _train_gate(plan: Plan, one: Training) -> dict[str, Any]:
    """Train a gate, or go on with one that was stopped; gives what is written down of it."""
    place = {"project": os.fspath(plan.folder), "name": one.name}
    last = _last(plan.folder / one.name)
    if last is None:
        gate = train_gate({**one.arguments, **place, "exist_ok": True})
    else:
        anew = {name: one.arguments[name] for name in one.arguments.keys() & GATE_ON_RESUME}
        gate = train_gate({**anew, **place, "resume": os.fspath(last)})
    return {"fold": one.fold, "epoch": gate.record.epoch}


def _last(run: Path) -> Path | None:
    """The checkpoint that a training is gone on with; None where it begins.

    Raises:
        UserError: It is damaged.
    """
    last = run / "weights" / "last.pt"
    if not last.is_file():
        return None
    import evaluate.classifier.networks  # noqa: F401  # a gate's checkpoint may hold one of these

    try:
        load_resumable(last)
    except UserError as error:
        raise UserError(
            f"{shown(last)}: cannot be read ({' '.join(str(error.__cause__).split())[:120]}); expected the checkpoint "
            f"of a training to go on with. Remove {shown(run)}, and give the same command again: it trains this one "
            "anew."
        ) from error
    return last


def _weights(plan: Plan, one: Training) -> Path:
    return plan.folder / one.name / "weights" / "best.pt"
