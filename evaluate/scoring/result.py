"""`score.json`: what came out of a scoring, as types. Only this module writes the file; `score_file` reads it.

The keys are a contract with whoever reads the file elsewhere; attributes are named as in the file but for
`true_positives_at_0.5` and its like, which are no names in Python. What an older version wrote can be read: what it
did not say is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from common.files import write_json
from evaluate.metrics.figures import BoxLevel, Figure, ImageLevel, Interval
from evaluate.postprocess.pipeline import Pipeline

SCORE_FILE, REPORT_FILE, PIPELINE_FILE = "score.json", "report.html", "pipeline.yaml"
OUTCOMES_FILE = "outcomes.csv"
ALL = "all"
"""The name of the steps together, in `Score.steps`."""


@dataclass(frozen=True)
class SplitScore:
    """Everything that is said about a split.

    Attributes:
        score: The RSNA score, 0 to 1.
        interval_95: Its interval, patients resampled; None where too few patients count.
        images: Images of the split.
        positive_images: Those with a truth box.
        counted_images: Those that count in the score.
        truth_boxes: Truth boxes.
        predictions: Predictions at the confidence.
        true_positives: Predictions that hit a truth box (IoU greater than 0.5).
        false_positives: Predictions that hit none.
        false_negatives: Truth boxes that none hits.
        map50: COCO's mAP at IoU 0.5 of the rescaled boxes at all confidences; None without truth boxes.
        map50_95: The same, mean over IoU 0.50 to 0.95.
        counted_patients: Patients of the images that count; None in files of older versions.
    """

    score: float
    interval_95: Interval | None
    images: int
    positive_images: int
    counted_images: int
    truth_boxes: int
    predictions: int
    true_positives: int
    false_positives: int
    false_negatives: int
    map50: float | None
    map50_95: float | None
    counted_patients: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The split's entry in the file."""
        return {split_key(name): value for name, value in _plain(self).items()}


@dataclass(frozen=True)
class Subgroup:
    """The score of the images of one view, sex, age group, size of boxes, site or scanner, or kind of negatives.

    Attributes:
        score: The RSNA score; None where no image counts, and of negatives, whose score is 0 or does not count.
        interval_95: Its interval; None where too few patients count.
        images: Images of the group.
        counted_images: Those that count.
        counted_patients: Their patients; None in files of older versions.
        sensitivity: As in `ImageLevel`; None in files of older versions.
        specificity: The same.
    """

    score: float | None
    interval_95: Interval | None
    images: int
    counted_images: int
    counted_patients: int | None = None
    sensitivity: Figure | None = None
    specificity: Figure | None = None


@dataclass(frozen=True)
class Difference:
    """Two groups of a property, such as the views AP and PA: the pair that is least likely to differ by chance.

    Attributes:
        higher: The one with the higher score.
        lower: The other one.
        difference: Score of the first less score of the second.
        p: Probability of such a difference by chance, corrected for all pairs of large enough groups (Holm).
        measure: What is compared: `score`, or of kinds of negatives `specificity`.
    """

    higher: str
    lower: str
    difference: float
    p: float
    measure: str = "score"


@dataclass(frozen=True)
class Gain:
    """What a change brought on some images.

    Attributes:
        score: The score with it.
        gain: How much higher that is than without it.
        gain_interval_95: The interval of the gain, the same patients resampled; None where too few patients count.
    """

    score: float
    gain: float
    gain_interval_95: Interval | None


@dataclass(frozen=True)
class Step:
    """What a step of the post-processing brought, after the steps before it, each time at its own best confidence.

    Attributes:
        name: The step, of `evaluate.postprocess.fitting.STEPS`. The first is `confidence`: what is left without any of
            the others. The last is `ALL`, if there are several: what they bring together.
        unseen: On patients of the split that was tuned on, who had no part in the choice; None where nothing was.
        reported: On the reported split.
    """

    name: str
    unseen: Gain | None
    reported: Gain


@dataclass(frozen=True)
class GateUse:
    """Where the probabilities of an opacity came from; what was done with them is a step of the pipeline.

    Attributes:
        files: The files, or the classifiers' weights.
        asked: The mode that was asked for, `tune` among them.
        tuned_on: The split that the rule was chosen on; None if it was given.
        seen_images: By split, how many images the gate was trained on.
    """

    files: tuple[str, ...]
    asked: str
    tuned_on: str | None
    seen_images: Mapping[str, int]


@dataclass(frozen=True)
class SplitLeakage:
    """What of a split the weights were trained on.

    Attributes:
        images: Its images that were trained on.
        patients: Its patients of whom images were trained on.
        images_of_these_patients: How many images of the split they have.
        examples: A few ids of these.
        chosen_on: Its images that the training was validated on, so that the best epoch was chosen on them.
    """

    images: int
    patients: int
    images_of_these_patients: int
    examples: tuple[str, ...] = ()
    chosen_on: int = 0


@dataclass(frozen=True)
class Leakage:
    """Whether weights have seen the images, or the patients, that they are scored on.

    Attributes:
        reason: Why this could not be checked; None where it was.
        trained_on: The data YAML that was trained on.
        earlier: The data YAMLs of trainings that this one went on from.
        patients_known: Whether patients are known on both sides.
        not_seen: What could not be seen, one clause each.
        abstained: Which of several members do not vote on which images, as they were trained on them; one clause each.
        splits: By split, what was found.
    """

    reason: str | None = None
    trained_on: str | None = None
    earlier: tuple[str, ...] = ()
    patients_known: bool | None = None
    not_seen: tuple[str, ...] = ()
    abstained: tuple[str, ...] = ()
    splits: Mapping[str, SplitLeakage] = field(default_factory=dict)

    @property
    def checked(self) -> bool:
        """Whether it was looked at."""
        return self.reason is None

    def to_json(self) -> dict[str, Any]:
        """The entry in the file."""
        if not self.checked:
            return {"checked": False, "reason": self.reason}
        known = {"trained_on": self.trained_on, "earlier": self.earlier, "patients_known": self.patients_known}
        abstained = {"abstained": self.abstained} if self.abstained else {}
        return {"checked": True, **known, "not_seen": self.not_seen, **abstained, **_plain(self.splits)}


@dataclass(frozen=True)
class Origin:
    """What the numbers were made with: versions by package, command as typed, commit, time (UTC, ISO 8601)."""

    versions: Mapping[str, str]
    command: str
    commit: str | None
    created: str


@dataclass(frozen=True)
class Score:
    """A scoring.

    Attributes:
        weights: The weights file as named; None where predictions were handed in.
        weights_sha256: Checksums of all weights that had a say, sorted; empty where none is known.
        data_fingerprint: See `common.data.fingerprint`; None where the data set names no validation images.
        predictions: By split, the predictions file; several that were handed in are under their own names.
        data: The data YAML as named.
        synthetic: Whether a program drew the pictures; None where that is not known.
        tuned_on: The split that the post-processing was fitted on, if only the confidence; None if it was given.
        reported_on: The split whose score this is.
        pipeline: The post-processing, all of its steps.
        fitted: Those of them that were fitted, others being given; None in files of older versions.
        steps: What each of them brought; empty where nothing was fitted.
        gate: Where the probabilities of the step `gate` came from; None without any.
        splits: Numbers by split, the reported one first.
        subgroups: Of the reported split: property (such as `view`), value (such as `AP`), score.
        subgroup_differences: By property, the two of these groups that differ most surely; None in files of older
            versions, and a property without two groups of enough patients is left out.
        inference: How the predictions were made, as `inference.Settings`; None where they were handed in.
        leakage: Whether the weights know the images.
        origin: What it was made with.
        image_level: What is said of the reported split's images; None in files of older versions.
        box_level: What is said of its boxes; None in files of older versions.
    """

    weights: str | None
    weights_sha256: tuple[str, ...]
    data_fingerprint: str | None
    predictions: Mapping[str, str]
    data: str
    synthetic: bool | None
    tuned_on: str | None
    reported_on: str
    pipeline: Pipeline
    fitted: tuple[str, ...] | None
    steps: tuple[Step, ...]
    gate: GateUse | None
    splits: Mapping[str, SplitScore]
    subgroups: Mapping[str, Mapping[str, Subgroup]]
    subgroup_differences: Mapping[str, Difference] | None
    inference: Mapping[str, Any] | None
    leakage: Leakage
    origin: Origin
    image_level: ImageLevel | None = None
    box_level: BoxLevel | None = None

    @property
    def reported(self) -> SplitScore:
        """The numbers of the reported split."""
        return self.splits[self.reported_on]

    @property
    def score(self) -> float:
        """The RSNA score, of the reported split."""
        return self.reported.score

    @property
    def confidence(self) -> float:
        """Predictions below are left out."""
        return self.pipeline.confidence.least

    @property
    def interval_95(self) -> Interval | None:
        """Its interval."""
        return self.reported.interval_95

    def was_tuned_on(self, split: str) -> bool:
        """Whether anything was chosen on this split, so that its score flatters."""
        return split == self.tuned_on

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return _plain(
            {
                "score": self.score,
                "interval_95": self.interval_95,
                "weights": self.weights,
                "weights_sha256": self.weights_sha256,
                "data_fingerprint": self.data_fingerprint,
                "predictions": self.predictions,
                "data": self.data,
                "synthetic": self.synthetic,
                "tuned_on": self.tuned_on,
                "reported_on": self.reported_on,
                "confidence": self.confidence,
                "postprocess": self.pipeline,
                "fitted": self.fitted,
                "steps": self.steps,
                **({"gate": self.gate} if self.gate else {}),
                "splits": {name: split.to_json() for name, split in self.splits.items()},
                "subgroups": self.subgroups,
                "subgroup_differences": self.subgroup_differences,
                "image_level": self.image_level,
                "box_level": self.box_level,
                **({"inference": self.inference} if self.inference is not None else {}),
                "leakage": self.leakage.to_json(),
                **_plain(self.origin),
            }
        )


def write_score(folder: Path, score: Score) -> Path:
    """Write `score.json` into a folder, and return the file.

    Raises:
        WorkError: It cannot be written.
    """
    write_json(folder / SCORE_FILE, score.to_json())
    return folder / SCORE_FILE


def split_key(name: str) -> str:
    """The file's name of an attribute of `SplitScore`."""
    return f"{name}_at_0.5" if name.endswith(("positives", "negatives")) else name


def _plain(value: Any) -> Any:
    """Nested dataclasses, mappings and tuples as what JSON has."""
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
