"""What the members of a system have been trained on, and the images on which they therefore do not vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split
from common.data.tables import read_gate
from common.errors import UserError
from common.files import sha256
from common.paths import shown
from evaluate.detector.lineage import trace
from evaluate.detector.weights import find_training_data, run_folder
from evaluate.postprocess.gate import GateProbabilities
from evaluate.postprocess.suppression import count_voters
from evaluate.scoring.leakage import find_leakage
from evaluate.scoring.recognition import Recognised, recognise
from evaluate.scoring.result import Leakage, SplitLeakage
from evaluate.system.loading import LoadedSystem, Member

if TYPE_CHECKING:
    from evaluate.classifier.weights import Classifier

NOT_KNOWN = "predictions do not tell what they were trained on"
_TRAINED_ON, _VALIDATED_ON = "train", "val"
_GATE_TABLE = "gate.csv"


@dataclass(frozen=True)
class Knowledge:
    """Which images the members of a system know.

    Attributes:
        leakage: The same for the record.
        abstains: By split and by a member's checksum, the images that it does not vote on.
        seen_by_gates: By split, how many images all classifiers were trained on; they judge these all the same.
    """

    leakage: Leakage
    abstains: Mapping[str, Mapping[str, set[str]]] = field(default_factory=dict)
    seen_by_gates: Mapping[str, int] = field(default_factory=dict)


def look_back(system: LoadedSystem, data: DataSet, splits: Mapping[str, Split]) -> Knowledge:
    """Find the images that members were trained on, or that show patients whom they were trained on.

    Of several detectors, one that knows an image does not vote on it, so that members of different folds can be tuned
    and judged on all images. A detector that is alone votes, and the score flatters. Classifiers are treated alike.

    Args:
        system: Its members.
        data: The data set that is scored.
        splits: Its splits that matter.

    Raises:
        UserError: An image is known to every one of several detectors.
    """
    abstains: dict[str, dict[str, set[str]]] = {name: {} for name in splits}
    told: list[str] = []
    not_seen = [f"{shown(file.path)}: {NOT_KNOWN}" for file in system.files.values()]
    not_seen += [
        f"the gate {shown(run_folder(one.path))}: {one.record.pretrained_on}"
        for one in system.classifiers
        if one.record.pretrained_on
    ]
    seen_by_gates = {
        name: _look_back_of_gates(system.classifiers, data, split, abstains[name], told, not_seen)
        for name, split in splits.items()
    }
    if not system.members:
        return Knowledge(Leakage(reason=NOT_KNOWN), abstains, seen_by_gates)
    if len(system.members) == 1 and not system.files:
        (member,) = system.members
        trained, reason = trained_on(member)
        lineage = trace(member.weights)
        leakage = find_leakage(trained, data, list(splits), reason, lineage.data, [*lineage.not_seen, *not_seen])
        return Knowledge(leakage, abstains, seen_by_gates)
    compare = Comparison(data, not_seen)
    own: list[DataSet] = []
    earlier: list[DataSet] = []
    chosen_on: dict[str, set[str]] = {name: set() for name in splits}
    for member in system.members:
        trained, reason = trained_on(member)
        lineage = trace(member.weights)
        not_seen += lineage.not_seen
        if trained is None:
            not_seen.append(f"what {shown(member.path)} was trained on is not known ({reason.partition('. ')[0]})")
        own += [trained] if trained else []
        earlier += lineage.data
        for name, split in splits.items():
            known = compare.known(name, [*([trained] if trained else []), *lineage.data])
            if known:
                abstains[name][member.detector.sha256] = known
                told.append(_abstains(member.name, known, split))
            chosen_on[name] |= compare.validated(name, trained) - known
    for name, split in splits.items():
        _check_voters(system, split, abstains[name])
    leakage = Leakage(
        trained_on=_names(own) or None,
        earlier=tuple(dict.fromkeys(shown(one.yaml) for one in earlier)),
        patients_known=compare.patients_known,
        not_seen=tuple(dict.fromkeys(not_seen)),
        abstained=tuple(told),
        splits={name: SplitLeakage(0, 0, 0, chosen_on=len(chosen_on[name])) for name in splits},
    )
    return Knowledge(leakage, abstains, seen_by_gates)


class Comparison:
    """Compares the data set that is scored with those that members were trained on, with each only once.

    Attributes:
        patients_known: Whether patients could be compared so far.
    """

    def __init__(self, data: DataSet, not_seen: list[str]) -> None:
        """Start.

        Args:
            data: What is scored.
            not_seen: What could not be seen is added, one clause each.
        """
        self.patients_known = True
        self._data, self._not_seen = data, not_seen
        self._found: dict[tuple[str, Path, str], Recognised | None] = {}

    def known(self, split: str, trained: Sequence[DataSet]) -> set[str]:
        """The images of a split that are among some training images, and others of their patients."""
        known: set[str] = set()
        for other in trained:
            found = self._recognise(split, other, _TRAINED_ON)
            if found is None:
                continue
            known.update(found.patients.index[found.patients.to_numpy()])
            self._not_seen += found.not_seen
            self.patients_known &= found.patients_known
        return known

    def validated(self, split: str, trained: DataSet | None) -> set[str]:
        """The images of a split that a training was validated on."""
        found = None if trained is None else self._recognise(split, trained, _VALIDATED_ON)
        return set() if found is None else set(found.images.index[found.images.to_numpy()])

    def _recognise(self, split: str, other: DataSet, other_split: str) -> Recognised | None:
        """What of a split is known; None where there is nothing to compare it with, or not any more, which is told."""
        key = split, other.yaml.resolve(), other_split
        if key not in self._found:
            try:
                is_there = other_split != _VALIDATED_ON or other.has(other_split)
                self._found[key] = recognise(self._data, split, other, other_split) if is_there else None
            except UserError as error:
                why = str(error).partition(". ")[0]
                self._not_seen.append(f"{other_split!r} of {shown(other.yaml)} could not be compared ({why})")
                self._found[key] = None
        return self._found[key]


def trained_on(member: Member) -> tuple[DataSet | None, str]:
    """The data set that a member was trained on, or why that is not known."""
    try:
        return DataSet(find_training_data(member.weights), member.weights.data_class), ""
    except UserError as error:
        return None, str(error)


def opacity_of_classifiers(
    system: LoadedSystem, opacity: Mapping[str, pd.Series | None], knowledge: Knowledge
) -> GateProbabilities | None:
    """The probabilities of a system's classifiers on all splits, with a warning of what they know; None without any.

    Args:
        system: Its members.
        opacity: By split, what the classifiers have given.
        knowledge: Of which images they know too much.
    """
    if not system.classifiers:
        return None
    names = ", ".join(shown(one.path) for one in system.classifiers)
    for split, seen in knowledge.seen_by_gates.items():
        if seen:
            print_warning(
                f"LEAKAGE: {seen:,} images of split {split!r}, or others of their patients, were trained on by the "
                f"gate ({names}): its probabilities of them are too good to be true"
            )
    together = pd.concat([one for one in opacity.values() if one is not None])
    return GateProbabilities(
        files=[one.path for one in system.classifiers],
        probabilities=together[~together.index.duplicated()],
        seen=dict(knowledge.seen_by_gates),
    )


def voters_in(predictions: pd.DataFrame) -> pd.Series:
    """How many voters have looked at each image of a predictions table, int by image id, as far as the table says."""
    return pd.Series(count_voters(predictions), predictions["image_id"])


def voters_words(voters: Mapping[str, pd.Series], tune_on: str | None, report_on: str) -> str:
    """What to say where the images that are tuned on have more or fewer voters than those reported; else nothing.

    Args:
        voters: By split, how many voters have looked at each image.
        tune_on: The split to tune on; None tunes nothing.
        report_on: The split whose score is reported.
    """
    if tune_on is None or voters[tune_on].empty or voters[report_on].empty:
        return ""
    tuned, reported = (range_of(voters[name]) for name in (tune_on, report_on))
    if tuned == reported:
        return ""
    return (
        f"{tuned} voters have looked at an image of {tune_on!r}, {reported} at one of {report_on!r}. A mean of more is "
        f"less often extreme, so what is tuned on {tune_on!r} may not suit {report_on!r}; to avoid it, tune on images "
        "that no member was trained on"
    )


def range_of(voters: pd.Series) -> str:
    """How many voters the images have, in words."""
    low, high = int(voters.min()), int(voters.max())
    return str(low) if low == high else f"{low} to {high}"


def _names(data: Sequence[DataSet]) -> str:
    return ", ".join(dict.fromkeys(shown(one.yaml) for one in data))


def _abstains(name: str, known: set[str], split: Split) -> str:
    return (
        f"member {name} was trained on {len(known):,} of the {len(split.pictures):,} images of {split.name!r} or on "
        "others of their patients, and does not vote on them"
    )


def _check_voters(system: LoadedSystem, split: Split, abstains: Mapping[str, set[str]]) -> None:
    """Refuse images on which nobody votes."""
    ids = set(split.pictures)
    voting = [ids - abstains.get(member.detector.sha256, set()) for member in system.members]
    voting += [ids for file in system.files.values() if ids & set(file.image_ids)]
    without = sorted(ids.difference(*voting))
    if without:
        raise UserError(
            f"{len(without)} of {len(ids)} images of {split.name!r}, first {without[0]}, were trained on, or others of "
            "their patients were, by every member; the system cannot be tuned or judged on them. Add the members of "
            "the missing folds, or name data that none has seen with --data."
        )


def _look_back_of_gates(
    classifiers: Sequence[Classifier],
    data: DataSet,
    split: Split,
    abstains: dict[str, set[str]],
    told: list[str],
    not_seen: list[str],
) -> int:
    """How many images of a split all classifiers know; of the others, those that some know are put into `abstains`."""
    known = {one.sha256: _known_to_gate(one, data, split, not_seen) for one in classifiers}
    if not known:
        return 0
    by_all = set.intersection(*known.values())
    for classifier in classifiers:
        some = known[classifier.sha256] - by_all
        if some:
            abstains[classifier.sha256] = some
            told.append(_abstains(run_folder(classifier.path).name, some, split))
    return len(by_all)


def _known_to_gate(classifier: Classifier, data: DataSet, split: Split, not_seen: list[str]) -> set[str]:
    """The images of a split, or of their patients, that a gate was trained on, as its table of probabilities says."""
    run = run_folder(classifier.path)
    manifests = {sha256(root / "manifest.csv") if root is not None else "" for root in data.roots(split.name)}
    try:
        table = read_gate(run / _GATE_TABLE)
        trained = set(table.loc[table["split"] == _TRAINED_ON, "image_id"])
    except UserError as error:
        not_seen.append(f"what {shown(run)} was trained on is not known ({str(error).partition('. ')[0]})")
        return set()
    if classifier.record.manifest not in manifests:
        not_seen.append(
            f"{shown(run)} was trained on another conversion ({classifier.record.data}), of which only the same image "
            "ids were recognised"
        )
    manifest = data.whole_manifest([split.name])
    patients = data.patients(split.name)
    theirs = set(manifest.loc[manifest["image_id"].isin(trained), "patient_id"]) if manifest is not None else set()
    is_known = patients.isin(theirs) | patients.index.isin(trained)
    return set(patients.index[is_known.to_numpy()])
