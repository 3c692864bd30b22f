"""What a study's trial leaves behind: `trial.json`, its outcome, and `state.json`, what a resumed study needs of it.

`trial.json` is written last: a trial without it is not finished. Files of older studies lack newer keys, and are read
all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from common.files import write_json
from train.study.json_content import JsonContent, find_json, read_json
from train.study.plan import Trial, command

TRIAL, STATE = "trial.json", "state.json"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
"""What may have become of a trial; the scheduler stops one before its last epoch."""
SPLITS = ("val", "test")
"""The splits that a trial is scored on."""
LOST = ("missed", "false_images", "extra_boxes", "fit", "threshold")
"""The parts of what a score lacks to 1; see `train.study.run.score_parts`."""


@dataclass(frozen=True)
class SplitOutcome:
    """A trial's RSNA score on one split.

    Attributes:
        score: 0 to 1; NaN where it is not known.
        interval_95: Ends of its 95 % interval, over resampled patients; NaN where they are not known.
        confidence: The confidence from which on boxes count, chosen on val; None on other splits, which use val's.
        lost: Where the score lacks what to 1: all parts of `LOST`, which add up to it; empty where it is not known.
    """

    score: float
    interval_95: tuple[float, float]
    confidence: float | None = None
    lost: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> SplitOutcome:
        """Take `score`, `interval_95`, `confidence` and `lost`, as scoring gives them."""
        low, high = values.get("interval_95") or (None, None)
        lost = {name: float(part) for name, part in (values.get("lost") or {}).items()}
        return cls(_known(values.get("score")), (_known(low), _known(high)), values.get("confidence"), lost)

    def as_json(self) -> dict[str, Any]:
        """As in the file."""
        chosen = {} if self.confidence is None else {"confidence": self.confidence}
        lost = {"lost": dict(self.lost)} if self.lost else {}
        ends = [_or_null(end) for end in self.interval_95]
        return {"score": _or_null(self.score), **chosen, "interval_95": ends, **lost}


@dataclass(frozen=True)
class TrialRecord:
    """The content of `trial.json`; the attributes are its keys, in their order. What is None is not known.

    Attributes:
        id: Such as `t000`; its folder's name.
        setting: Number of its setting in the plan.
        blocks: Names of the blocks that it belongs to.
        settings: What is varied in these blocks, with the values here.
        arguments: All arguments of the training, as on the command line.
        seed: Its seed.
        fold: Its fold; None without folds.
        status: FINISHED, STOPPED or FAILED.
        error: Why it failed, in one line.
        epochs: How many were trained.
        best_epoch: Whose weights were kept, from 1.
        steps: Of the optimizer, in all epochs; not known of a training on several GPUs.
        val: Score on val, which confidence and epoch were chosen on: it flatters.
        test: Score on test; None also where there is no test split whose truth is known.
        map50_95: COCO mAP on val.
        seconds: Of training.
        parameters: Of the model.
        gflops: Operations for an image, 1e9.
        milliseconds: For an image.
        command: The line that repeats the training.
        weights: The best epoch's, relative to the study's folder.
        weights_sha256: Of the weights themselves: the file's own would differ by its date.
        data_fingerprint: Tells data sets apart, see `common.data.fingerprint`; a fold has its own.
    """

    id: str
    setting: int | None
    blocks: tuple[str, ...]
    settings: Mapping[str, Any]
    arguments: Mapping[str, Any]
    seed: int | None
    fold: int | None
    status: str
    error: str | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    steps: int | None = None
    val: SplitOutcome | None = None
    test: SplitOutcome | None = None
    map50_95: float | None = None
    seconds: float | None = None
    parameters: int | None = None
    gflops: float | None = None
    milliseconds: float | None = None
    command: str = ""
    weights: str | None = None
    weights_sha256: str | None = None
    data_fingerprint: str | None = None

    @classmethod
    def of(cls, trial: Trial, status: str, **outcome: Any) -> TrialRecord:
        """The record of a trial.

        Args:
            trial: What was planned.
            status: What became of it.
            outcome: What else is known, by attribute.
        """
        return cls(
            id=trial.id,
            setting=trial.setting,
            blocks=trial.blocks,
            settings=trial.settings,
            arguments=trial.arguments,
            seed=trial.seed,
            fold=trial.fold,
            status=status,
            command=command(trial.arguments),
            **outcome,
        )

    @property
    def has_failed(self) -> bool:
        """Whether nothing came of it."""
        return self.status == FAILED

    @property
    def val_score(self) -> float:
        """The score on val; NaN where it is not known."""
        return self.val.score if self.val else math.nan

    def as_json(self) -> dict[str, Any]:
        """As in the file."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        scores = {split: score.as_json() for split in SPLITS if (score := values[split]) is not None}
        return {**values, "blocks": list(self.blocks), **scores}


def read_trial(folder: Path) -> TrialRecord:
    """What a trial's `trial.json` says.

    Raises:
        UserError: It is missing or holds something else than expected; the message names it.
    """
    return _record(read_json(folder / TRIAL, "a trial's outcome"))


def find_trial(folder: Path) -> TrialRecord | None:
    """What a trial's `trial.json` says; None where there is none, or half of one.

    Raises:
        UserError: It holds something else than expected.
    """
    content = find_json(folder / TRIAL)
    return None if content is None else _record(content)


def write_trial(folder: Path, record: TrialRecord) -> None:
    """Write `trial.json`."""
    write_json(folder / TRIAL, record.as_json())


def _record(content: JsonContent) -> TrialRecord:
    name, status, repeated_by = (content.take_text(key) for key in ("id", "status", "command"))
    blocks, settings, arguments = (
        content.take_list("blocks"),
        content.take_object("settings"),
        content.take_object("arguments"),
    )
    if name != content.file.parent.name:
        content.refuse(f"id {name!r}", f"{content.file.parent.name!r}, the name of its folder")
    if status not in (FINISHED, STOPPED, FAILED):
        content.refuse(f"status {status!r}", f"{FINISHED}, {STOPPED} or {FAILED}")
    get = content.values.get
    return TrialRecord(
        id=name,
        setting=get("setting"),
        blocks=tuple(blocks),
        settings=settings,
        arguments=arguments,
        seed=get("seed"),
        fold=get("fold"),
        status=status,
        error=get("error"),
        epochs=content.whole("epochs"),
        best_epoch=content.whole("best_epoch"),
        steps=content.whole("steps"),
        val=_score(content, "val"),
        test=_score(content, "test"),
        map50_95=content.number("map50_95"),
        seconds=content.number("seconds"),
        parameters=content.whole("parameters"),
        gflops=content.number("gflops"),
        milliseconds=content.number("milliseconds"),
        command=repeated_by,
        weights=get("weights"),
        weights_sha256=get("weights_sha256"),
        data_fingerprint=get("data_fingerprint"),
    )


def _score(content: JsonContent, split: str) -> SplitOutcome | None:
    values = content.values.get(split)
    if not values:
        return None
    ends = values.get("interval_95") or (None, None) if isinstance(values, dict) else ()
    if len(ends) != 2:
        content.refuse(f"{split} is {values!r}", 'null, or an object with "score" and "interval_95"')
    for name, value in zip((split, f"{split}_low", f"{split}_high"), (values.get("score"), *ends), strict=True):
        content.check_number(name, value)
    content.check_number("confidence", values.get("confidence"))
    lost = values.get("lost")
    if lost and (not isinstance(lost, dict) or set(lost) != set(LOST)):
        content.refuse(f"{split}: lost is {lost!r}", f"null, or an object with {', '.join(LOST)}")
    for name, part in (lost or {}).items():
        content.check_number(f"{split}: lost: {name}", part)
    return SplitOutcome.from_values(values)


def _known(number: float | None) -> float:
    return math.nan if number is None else number


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number


@dataclass(frozen=True)
class TrialState:
    """The content of `state.json`, which lets a killed trial go on; the attributes are its keys, in their order.

    Attributes:
        starts: How often it was begun.
        seconds: Of training so far.
        trained: Whether that is over.
        stopped: Whether the scheduler has ended it.
        steps: Of the optimizer so far; None where they were not counted.
        setting: Number of its setting; None in a file that does not say.
        settings: As in the plan.
        arguments: As in the plan.
    """

    starts: int = 0
    seconds: float = 0.0
    trained: bool = False
    stopped: bool = False
    setting: int | None = None
    settings: Mapping[str, Any] | None = None
    arguments: Mapping[str, Any] | None = None
    steps: int | None = None

    def begun(self, trial: Trial) -> TrialState:
        """The state at the start of the trial, once more."""
        return replace(
            self,
            starts=self.starts + 1,
            setting=trial.setting,
            settings=trial.settings,
            arguments=trial.arguments,
        )


def find_state(folder: Path) -> TrialState | None:
    """What a trial's `state.json` says; None where there is none."""
    content = find_json(folder / STATE)
    if content is None:
        return None
    known = {one.name for one in fields(TrialState)}
    return TrialState(**{name: value for name, value in content.values.items() if name in known})


def write_state(folder: Path, state: TrialState) -> None:
    """Write `state.json`."""
    write_json(folder / STATE, {one.name: getattr(state, one.name) for one in fields(state)})
