"""The post-processing that predictions on other pictures get: taken only by the weights that it was chosen for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.data.fingerprint import yaml_fingerprint
from common.data.names import POSITIVE_CLASS
from common.errors import UserError
from common.paths import shown
from evaluate.detector.weights import find_training_data
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence, GateRule
from evaluate.scoring.result import PIPELINE_FILE, SCORE_FILE
from evaluate.scoring.score_file import explaining, read_checksums, read_pipeline
from evaluate.system.finding import home_of, typed_words_of, words_of
from evaluate.system.loading import LoadedSystem
from evaluate.system.record import System

DEFAULT_CONFIDENCE = 0.25
DEFAULT = Pipeline(confidence=Confidence(DEFAULT_CONFIDENCE))
_NOT_TUNED = "not tuned: run evaluate/score.py to choose it"


@dataclass(frozen=True)
class Choice:
    """What a `score.json` says of the choice; of a file of an earlier version, what it does not say is None.

    Attributes:
        file: The file.
        pipeline: All steps; of an earlier version's gate, those for predictions without it.
        had_gate: Whether such a gate was left out.
        inference: The settings of the predictions that it was chosen on, as in `inference.Settings`.
        of_weights: Whether weights were scored, and not predictions that somebody handed in.
        weights_sha256: Checksums of these weights.
        data: The data YAML that was scored on.
        data_fingerprint: See `common.data.fingerprint`.
        tuned_on: The split that it was chosen on; empty if it was given.
    """

    file: Path
    pipeline: Pipeline
    had_gate: bool
    inference: dict[str, Any]
    of_weights: bool
    weights_sha256: tuple[str, ...]
    data: str | None
    data_fingerprint: str | None
    tuned_on: str | None

    @property
    def class_name(self) -> str | None:
        """The class that was asked for; see `common.data.names.scored_classes`."""
        name = self.inference.get("class_name")
        return None if name is None else str(name)

    @property
    def words(self) -> str:
        """How it came about, without the file."""
        if self.tuned_on is None or self.data is None:
            return ""
        return f", on {self.tuned_on} of {self.data}" if self.tuned_on else ", where it was given and not tuned"

    def is_of(self, system: LoadedSystem) -> bool:
        """Whether it is of these detectors, as far as it says."""
        return self.of_weights and (not self.weights_sha256 or {*system.detector_checksums} <= {*self.weights_sha256})


def read_choice(path: Path) -> Choice:
    """Read what was chosen from a `score.json`; of the rest nothing need be there.

    Raises:
        UserError: The file is not one.
    """
    with explaining(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        pipeline = read_pipeline(content)
        had_gate = pipeline.gate.mode != "none" and "without" in content["gate"]
        if had_gate:  # an earlier version: beside it stands the confidence for predictions as they come
            plain = read_pipeline({**content, **content["gate"]["without"]})
            pipeline = replace(plain, gate=GateRule("none"))
        return Choice(
            file=path,
            pipeline=pipeline,
            had_gate=had_gate,
            inference=dict(content.get("inference") or {}),
            of_weights=content.get("weights", "") is not None,
            weights_sha256=read_checksums(content),
            data=content.get("data"),
            data_fingerprint=content.get("data_fingerprint"),
            tuned_on=(content["tuned_on"] or "") if "tuned_on" in content else None,
        )


def size_of_scoring(system: System) -> int | None:
    """The longest side that pictures were scaled down to when the system was scored; None where no score says so.

    Raises:
        UserError: The `score.json` is not one.
    """
    path = home_of(system) / SCORE_FILE
    if not path.is_file():
        return None
    choice = read_choice(path)
    size = choice.inference.get("picture_size")
    is_same = not choice.weights_sha256 or {one.sha256 for one in system.detectors} <= {*choice.weights_sha256}
    return size if choice.of_weights and is_same and isinstance(size, int) and size > 0 else None


def choose_pipeline(confidence: float | None, system: LoadedSystem, asked: Path | None = None) -> tuple[Pipeline, str]:
    """The post-processing for predictions of a system, and in words where it comes from.

    It is that of `pipeline.yaml` in the system's folder, which must be of these very weights: a training into the
    same folder leaves the one of the weights that were there before. Without that file it is what the `score.json` of
    these weights says.

    Args:
        confidence: As given by the user, instead of the fitted one.
        system: What predicts.
        asked: The file of another pipeline.

    Raises:
        UserError: A file is not what it should be, or the pipeline is of other weights.
    """
    pipeline, origin = _find(system, asked)
    if confidence is None:
        return pipeline, origin
    words = "--confidence" if pipeline == DEFAULT else f"--confidence; the rest is {origin}"
    return replace(pipeline, confidence=Confidence(confidence)), words


def misfit(pipeline: Pipeline, detectors: Collection[str], classifiers: Collection[str]) -> str:
    """Why a pipeline is not of these weights, in words; empty where it is, or does not say.

    Args:
        pipeline: As fitted.
        detectors: SHA-256 of the detectors' weights.
        classifiers: Likewise of the gate's; only looked at where the pipeline has a gate.
    """
    fitted = {*pipeline.fitted_on.weights}
    if not fitted or not detectors:
        return ""
    others = fitted - {*detectors}
    if not fitted.issuperset(detectors):
        return "was fitted to the predictions of other weights"
    if pipeline.gate.mode == "none":
        return "was fitted to the predictions of these and of other weights together" if others else ""
    return "was fitted with another gate" if others and classifiers and others != {*classifiers} else ""


def _find(system: LoadedSystem, asked: Path | None) -> tuple[Pipeline, str]:
    classifiers = [one.sha256 for one in system.classifiers]
    if asked is not None:
        pipeline = Pipeline.from_yaml(asked)
        if why := misfit(pipeline, system.detector_checksums, classifiers):
            print_warning(f"{shown(asked)}: {why}, not of {words_of(system.system)}; it may not suit")
        return pipeline, f"as in {shown(asked)}"
    folder = home_of(system.system)
    path = folder / PIPELINE_FILE
    if not path.is_file():
        return _of_score(system, folder / SCORE_FILE)
    pipeline = Pipeline.from_yaml(path)
    if why := misfit(pipeline, system.detector_checksums, classifiers):
        raise UserError(
            f"{shown(path)}: {why}, not of {words_of(system.system)} as it is now. Score these weights, which fits "
            f"another one: python evaluate/score.py {typed_words_of(system.system)}"
        )
    choice = next((one for one in _choices(folder) if one.pipeline == pipeline), None)
    if choice is None:  # brought here by itself
        return pipeline, f"fitted in {shown(path)}"
    if choice.class_name != system.class_name:
        return _of_score(system, choice.file)
    return _told(choice, system, path)


def _of_score(system: LoadedSystem, path: Path) -> tuple[Pipeline, str]:
    """What a `score.json` has chosen; a confidence that is not tuned where there is none that fits."""
    if not path.is_file():
        return DEFAULT, _NOT_TUNED
    choice = read_choice(path)
    if choice.tuned_on == "" or choice.class_name != system.class_name:  # an earlier one may be of more use
        choice = _tuned_before(path.parent, system) or choice
    if not choice.is_of(system):
        whose = "of other weights" if choice.of_weights else "of predictions that were handed in"
        print_warning(
            f"{shown(choice.file)}: is the score {whose}, not of {words_of(system.system)} as it is now, so its "
            f"confidence is not used. Score these weights: python evaluate/score.py {typed_words_of(system.system)}"
        )
        return DEFAULT, _NOT_TUNED
    if choice.class_name != system.class_name:
        print_warning(
            f"{shown(choice.file)}: is the score of class {choice.class_name or POSITIVE_CLASS}, not of "
            f"{system.class_name or POSITIVE_CLASS}, so its confidence is not used. Score that one with --class"
        )
        return DEFAULT, _NOT_TUNED
    if not choice.weights_sha256:
        print_warning(f"{shown(choice.file)}: does not say whose score it is; its confidence may be of other weights")
    if choice.had_gate:
        print_warning(
            f"{shown(choice.file)}: its score was reached with a gate, whose classifier it does not name; going on "
            "without, at the confidence that was best without"
        )
    return _told(choice, system, choice.file)


def _told(choice: Choice, system: LoadedSystem, file: Path) -> tuple[Pipeline, str]:
    """A choice, and where it comes from; with a warning of what may make it unfit."""
    _warn_of_other_data(choice, system)
    before, now = choice.inference, system.inference
    changed = [key for key in before if key in now and before[key] != now[key] and key != "half"]
    if changed:
        differences = ", ".join(f"{key} {before[key]} there, {now[key]} here" for key in changed)
        print_warning(f"{shown(file)}: the confidence was chosen on other predictions ({differences}) and may not suit")
    return choice.pipeline, f"chosen in {shown(file)}{choice.words}"


def _choices(folder: Path) -> Iterator[Choice]:
    """The scores in a folder, the latest first; see `scoring.earlier`. Those that cannot be read are passed over."""
    files: Sequence[Path] = sorted(folder.glob(f"{Path(SCORE_FILE).stem}-*.json"), reverse=True)
    for file in (folder / SCORE_FILE, *files):
        try:
            yield read_choice(file)
        except UserError:
            continue


def _tuned_before(folder: Path, system: LoadedSystem) -> Choice | None:
    """The latest score of the same weights and class whose confidence was tuned.

    Scores on data that have no split to tune on, or at a confidence that was given, come after it.
    """
    for choice in _choices(folder):
        is_same = bool(choice.weights_sha256) and choice.is_of(system) and choice.class_name == system.class_name
        if choice.tuned_on and is_same:
            return choice
    return None


def _warn_of_other_data(choice: Choice, system: LoadedSystem) -> None:
    if len(system.members) != 1:  # several know what they are scored on by their folder
        return
    try:
        trained_on = find_training_data(system.members[0].weights)
    except UserError:  # which a scoring says; here nothing can be compared
        return
    known = yaml_fingerprint(trained_on)
    if choice.data_fingerprint and known and choice.data_fingerprint != known:
        print_warning(
            f"{shown(choice.file)}: is a score on {choice.data}, and the weights were trained on {shown(trained_on)}; "
            "the confidence may not suit other pictures than the former's"
        )
