"""What a scoring has chosen, for predictions on other pictures: taken only by the weights that it was chosen for."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from common.cli import print_warning
from common.data.fingerprint import yaml_fingerprint
from common.data.names import POSITIVE_CLASS
from common.errors import UserError
from common.paths import shown, typed
from evaluate.detector.inference import Settings
from evaluate.detector.weights import Weights, find_training_data, run_folder
from evaluate.postprocess.operating_point import OperatingPoint
from evaluate.scoring.result import SCORE_FILE
from evaluate.scoring.score_file import explaining, read_rule

DEFAULT_CONFIDENCE = 0.25
_NOT_TUNED = "not tuned: run evaluate/score.py to choose it"


@dataclass(frozen=True)
class Choice:
    """What a `score.json` says of the choice; of a file of an earlier version, what it does not say is None.

    Attributes:
        point: Confidence and box scale for predictions without a gate.
        of_weights: Whether weights were scored, and not predictions that somebody handed in.
        weights_sha256: Checksum of these weights.
        data: The data YAML that was scored on.
        data_fingerprint: See `common.data.fingerprint`.
        tuned_on: The split that the confidence was chosen on; empty if it was given.
    """

    point: OperatingPoint
    of_weights: bool
    weights_sha256: str | None
    data: str | None
    data_fingerprint: str | None
    tuned_on: str | None

    @property
    def class_name(self) -> str | None:
        """The class that was asked for; see `common.data.names.scored_classes`."""
        name = (self.point.inference or {}).get("class_name")
        return None if name is None else str(name)

    @property
    def words(self) -> str:
        """How the confidence came about, without the file."""
        if self.tuned_on is None or self.data is None:
            return ""
        return f", on {self.tuned_on} of {self.data}" if self.tuned_on else ", where it was given and not tuned"


def read_choice(path: Path) -> Choice:
    """Read what was chosen from a `score.json`, for predictions without a gate; of the rest nothing need be there.

    Raises:
        UserError: The file is not one.
    """
    with explaining(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        confidence, box_scale, rule = read_rule(content)
        gated = rule.mode != "none"
        if gated:  # it was chosen for gated predictions; beside it stands the one for predictions as they come
            confidence, _, _ = read_rule({**content, **content["gate"]["without"]})
        return Choice(
            point=OperatingPoint(confidence, box_scale, content.get("inference"), gated),
            of_weights=content.get("weights", "") is not None,
            weights_sha256=content.get("weights_sha256"),
            data=content.get("data"),
            data_fingerprint=content.get("data_fingerprint"),
            tuned_on=(content["tuned_on"] or "") if "tuned_on" in content else None,
        )


def at_size_of_scoring(weights: Weights, settings: Settings) -> Settings:
    """The settings; where neither weights nor data tell the size of the pictures, with the one that was scored at.

    Raises:
        UserError: The `score.json` is not one.
    """
    path = run_folder(weights.path) / SCORE_FILE
    if settings.picture_size is not None or not path.is_file():
        return settings
    choice = read_choice(path)
    size = (choice.point.inference or {}).get("picture_size")
    if not choice.of_weights or choice.weights_sha256 not in (None, weights.sha256) or not isinstance(size, int):
        return settings
    return replace(settings, picture_size=size) if size > 0 else settings


def choose_point(confidence: float | None, weights: Weights, settings: Settings) -> tuple[OperatingPoint, str]:
    """Confidence and box scale for predictions of some weights, and in words where they come from.

    They are those of the `score.json` in the training's folder, if it is of these very weights: a training into the
    same folder leaves the score of the weights that were there before.

    Args:
        confidence: As given by the user; None: as a scoring of these weights has chosen it.
        weights: The weights that predict.
        settings: How they are run now.

    Raises:
        UserError: The `score.json` is not one.
    """
    if confidence is not None:
        return OperatingPoint(confidence), "--confidence"
    path = run_folder(weights.path) / SCORE_FILE
    if not path.is_file():
        return OperatingPoint(DEFAULT_CONFIDENCE), _NOT_TUNED
    choice = read_choice(path)
    if choice.tuned_on == "" or choice.class_name != settings.class_name:  # an earlier one may be of more use
        path, choice = _tuned_before(path, weights, settings) or (path, choice)
    whose = "of other weights" if choice.of_weights else "of predictions that were handed in"
    if not choice.of_weights or choice.weights_sha256 not in (None, weights.sha256):
        print_warning(
            f"{shown(path)}: is the score {whose}, not of {shown(weights.path)} as it is now, so its confidence is not "
            f"used. Score these weights: python evaluate/score.py {typed(weights.path)}"
        )
        return OperatingPoint(DEFAULT_CONFIDENCE), _NOT_TUNED
    if choice.class_name != settings.class_name:
        print_warning(
            f"{shown(path)}: is the score of class {choice.class_name or POSITIVE_CLASS}, not of "
            f"{settings.class_name or POSITIVE_CLASS}, so its confidence is not used. Score that one with --class"
        )
        return OperatingPoint(DEFAULT_CONFIDENCE), _NOT_TUNED
    if choice.weights_sha256 is None:
        print_warning(f"{shown(path)}: does not say whose score it is; its confidence may be of other weights")
    _warn_of_other_data(path, choice, weights)
    point = choice.point
    if point.gated:
        print_warning(
            f"{shown(path)}: its score was reached with a gate, whose classifier does not look at these pictures; "
            "going on without, at the confidence that was best without"
        )
    before, now = point.inference or {}, settings.as_dict()
    changed = [key for key in before if key in now and before[key] != now[key] and key != "half"]
    if changed:
        differences = ", ".join(f"{key} {before[key]} there, {now[key]} here" for key in changed)
        print_warning(f"{shown(path)}: the confidence was chosen on other predictions ({differences}) and may not suit")
    return point, f"chosen in {shown(path)}{choice.words}"


def _tuned_before(path: Path, weights: Weights, settings: Settings) -> tuple[Path, Choice] | None:
    """The latest earlier score of the same weights and class whose confidence was tuned; see `scoring.earlier`.

    Scores on data that have no split to tune on, or at a confidence that was given, come after it.
    """
    for file in sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), reverse=True):
        try:
            choice = read_choice(file)
        except UserError:
            continue
        is_same = choice.weights_sha256 == weights.sha256 and choice.class_name == settings.class_name
        if choice.tuned_on and is_same:
            return file, choice
    return None


def _warn_of_other_data(path: Path, choice: Choice, weights: Weights) -> None:
    try:
        trained_on = find_training_data(weights)
    except UserError:  # which a scoring says; here nothing can be compared
        return
    known = yaml_fingerprint(trained_on)
    if choice.data_fingerprint and known and choice.data_fingerprint != known:
        print_warning(
            f"{shown(path)}: is a score on {choice.data}, and the weights were trained on {shown(trained_on)}; the "
            "confidence may not suit other pictures than the former's"
        )
