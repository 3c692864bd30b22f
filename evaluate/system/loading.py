"""A system made ready: every member loaded once and looked through, so that nothing is refused after hours of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cli import print_warning
from common.data.tables import DETECTOR, VOTERS, PredictionsFile, read_predictions
from common.data.yolo_labels import name_of
from common.errors import UserError
from common.paths import shown
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import Weights, load_weights, run_folder
from evaluate.system.record import System, SystemDetector

if TYPE_CHECKING:
    from evaluate.classifier.weights import Classifier
    from evaluate.detector.inference import Settings

_SHORT = 8
_MOST_KEPT = 600_000_000
"""Bytes of weights files whose networks are kept, which take twice as much: ten of medium size."""


@dataclass(frozen=True)
class Voter:
    """One weights file, run in one way.

    Attributes:
        name: What the column `detector` calls it.
        settings: How it is run.
    """

    name: str
    settings: Settings


@dataclass(frozen=True)
class Member:
    """A detector of a system.

    Attributes:
        detector: Its file and checksum.
        weights: What the file says, without the network (`model` is None).
        voters: In how many ways it looks at an image, the plain one first.
    """

    detector: SystemDetector
    weights: Weights
    voters: tuple[Voter, ...]

    @property
    def path(self) -> Path:
        """The weights."""
        return self.detector.weights

    @property
    def name(self) -> str:
        """What its plain voter is called."""
        return self.voters[0].name


@dataclass(frozen=True)
class LoadedSystem:
    """A system that is ready to predict.

    Attributes:
        system: Its members.
        members: Its detectors, looked through.
        loaded: Networks that were kept from that, by their file. A dozen large ones may not fit into memory together:
            the others are loaded anew when their turn comes.
        classifiers: Loaded.
        files: Its files of predictions, read, by the name that their voters have.
        class_name: Of several classes the one that is predicted, or `all`.
        options: How all of it is run.
    """

    system: System
    members: tuple[Member, ...]
    loaded: Mapping[Path, Weights]
    classifiers: tuple[Classifier, ...]
    files: dict[str, PredictionsFile]
    class_name: str | None
    options: InferenceOptions

    @property
    def voters(self) -> int:
        """How many votes an image can have."""
        return sum(len(member.voters) for member in self.members) + len(self.files)

    @property
    def inference(self) -> dict[str, Any]:
        """How the detectors look at an image as it is, as JSON values, and whether they also look in further ways.

        Of each setting the value, or where members differ, all that there are, sorted.
        """
        settings = [
            {**member.voters[0].settings.as_dict(), "augment": len(member.voters) > 1} for member in self.members
        ]
        found: dict[str, Any] = {}
        for name in dict.fromkeys(name for one in settings for name in one):
            values = {one.get(name) for one in settings}
            found[name] = values.pop() if len(values) == 1 else sorted(values - {None})
        return {**found, **({"voters": self.voters} if self.voters > 1 else {})}

    @property
    def detector_checksums(self) -> tuple[str, ...]:
        """SHA-256 of everything that finds boxes, sorted."""
        return self.system.detector_checksums

    @property
    def overlapping(self) -> bool:
        """Whether one opacity may have several boxes of one voter; RT-DETR is trained to find everything once."""
        return any(voter.settings.nms_iou is not None for member in self.members for voter in member.voters)

    @property
    def as_run(self) -> System:
        """The system with the sizes and copies that it is run with now."""
        detectors = tuple(
            replace(one, imgsz=self.options.imgsz or one.imgsz, augment=self.options.augment or one.augment)
            for one in self.system.detectors
        )
        return replace(self.system, detectors=detectors)

    def load(self, member: Member) -> Weights:
        """A member with its network."""
        return self.loaded.get(member.path) or load_weights(member.path, self.class_name)


def load_system(
    system: System,
    options: InferenceOptions,
    class_name: str | None = None,
    picture_size: int | None = None,
) -> LoadedSystem:
    """Load every member once, and refuse what cannot predict.

    Args:
        system: Its members.
        options: How it is run. `imgsz` stands in for the sizes of all members; with `augment` all look at an image in
            further ways, without only those of which the system says so.
        class_name: Of several classes the one that is predicted; see `common.data.names.scored_classes`.
        picture_size: The longest side that pictures are scaled down to first, in pixels, where a member does not know
            that of its training.

    Raises:
        UserError: A member is no detector or no classifier, does not have the class, would vote twice in the same way,
            or a file of predictions is none.
    """
    members: list[Member] = []
    loaded: dict[Path, Weights] = {}
    size = 0
    classes: list[str] = []
    for detector in system.detectors:
        weights = load_weights(detector.weights, class_name)
        members.append(_member(detector, weights, options, picture_size))
        classes.append(name_of(weights.names, weights.classes))
        size += detector.weights.stat().st_size
        if size <= _MOST_KEPT:
            loaded[detector.weights] = weights
    _warn_of_classes(members, classes)
    members = _named(members)
    _refuse_twice(members, options)
    files = [_read(one.file) for one in system.predictions]
    taken = {voter.name for member in members for voter in member.voters}
    named: dict[str, PredictionsFile] = {}
    for file, one in zip(files, system.predictions, strict=True):
        name = file.path.stem
        named[name if name not in taken | named.keys() else f"{name}-{one.sha256[:_SHORT]}"] = file
    return LoadedSystem(
        system=system,
        members=tuple(members),
        loaded=loaded,
        classifiers=_load_classifiers(system),
        files=named,
        class_name=members[0].weights.class_name if members else class_name,
        options=options,
    )


def _member(detector: SystemDetector, weights: Weights, options: InferenceOptions, picture_size: int | None) -> Member:
    asked = replace(options, imgsz=options.imgsz or detector.imgsz, augment=options.augment or detector.augment)
    voters = []
    for settings in asked.voters(weights):
        if settings.picture_size is None and picture_size is not None:
            settings = replace(settings, picture_size=picture_size)
        way = [str(settings.imgsz)] if settings.imgsz != weights.imgsz else []
        way += ["flip"] if settings.flip else []
        voters.append(Voter("-".join([run_folder(weights.path).name, *way]), settings))
    return Member(detector, replace(weights, model=None), tuple(voters))


def _read(path: Path) -> PredictionsFile:
    file = read_predictions(path)
    if DETECTOR in file.predictions or VOTERS in file.predictions:
        raise UserError(
            f"{shown(path)}: has the votes of several detectors already; expected those of one, to vote with others. "
            "Score it by itself, with --predictions."
        )
    return file


def _load_classifiers(system: System) -> tuple[Classifier, ...]:
    if not system.classifiers:
        return ()
    from evaluate.classifier.weights import load_classifier

    found = []
    for one in system.classifiers:
        classifier = load_classifier(one.weights)
        if classifier.flip != one.flip:
            raise UserError(
                f"{shown(one.weights)}: was calibrated with flip={classifier.flip}, and the system runs it with "
                f"flip={one.flip}; expected the same. Train the gate again, or put the system together again."
            )
        found.append(classifier)
    return tuple(found)


def _named(members: Sequence[Member]) -> list[Member]:
    """The members, their voters' names made to differ: by the weights' checksum, where folders share a name."""
    counts = Counter(voter.name for member in members for voter in member.voters)
    return [
        replace(
            member,
            voters=tuple(
                replace(voter, name=f"{voter.name}-{member.detector.sha256[:_SHORT]}")
                if counts[voter.name] > 1
                else voter
                for voter in member.voters
            ),
        )
        for member in members
    ]


def _refuse_twice(members: Sequence[Member], options: InferenceOptions) -> None:
    """Refuse weights that would look at an image twice in the same way."""
    seen: dict[tuple[str, Settings], Path] = {}
    for member in members:
        for voter in member.voters:
            key = (member.detector.sha256, voter.settings)
            if key in seen:
                remedy = "Leave out --imgsz." if options.imgsz else "Name the weights once."
                raise UserError(
                    f"{shown(member.path)}: would vote twice at {voter.settings.imgsz} pixels, the same each time. "
                    f"{remedy}"
                )
            seen[key] = member.path


def _warn_of_classes(members: Sequence[Member], classes: Sequence[str]) -> None:
    for member, name in zip(members, classes, strict=True):
        if name != classes[0]:
            print_warning(
                f"{shown(member.path)}: finds {name}, while {shown(members[0].path)} finds {classes[0]}; they vote "
                "together as if these were the same. --class names the class of all"
            )
            return
