"""What is asked of a scoring, checked before anything is read. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.errors import UserError
from evaluate.detector.options import InferenceOptions


@dataclass(frozen=True)
class ScoringRequest:
    """Weights or predictions to score.

        score(ScoringRequest(weights=Path("runs/best.pt"))).score.interval_95

    Attributes:
        weights: What `evaluate.system.finding.find_system` takes, one or several; None without `predictions`:
            `runs/best.pt`, or the newest training's.
        predictions: Files of predictions or submissions to score instead.
        data: Data YAML or data set folder; None: the one that the weights were trained on.
        tune_on: The split that the post-processing is fitted on.
        report_on: The split whose score is reported.
        fit: `all` steps of the post-processing, or the `confidence` alone (and what is asked for besides).
        pipeline: A fitted post-processing's file: use that one, and tune nothing.
        confidence: Use this one, 0 to 1, and tune nothing; with `pipeline` instead of its own.
        box_scale: Factors on width and height of the boxes; `tune` fits them even where the confidence alone is fitted;
            None leaves that to `fit`.
        gates: Files with probabilities of an opacity.
        gate_mode: `weigh`, `keep`, or `tune`: what scores best on the split to tune on, no gate included.
        gate_threshold: Of `keep`; None tunes it.
        class_name: Of several classes the one that is scored, or `all` for all as one; None: `Lung Opacity`, or the
            only one.
        inference: How predictions are made.
        out_of_fold: Predict the training images, too, each by those of several detectors that were not trained on its
            patient, into a file of its own.
        again: Predict anew even if kept predictions are still right.
        output: The folder to write to; None: the training's, or one beside the first predictions file, named after it.
        argv: The command's arguments as typed, for the record.

    Raises:
        UserError: What is asked contradicts itself.
    """

    weights: Path | Sequence[Path] | None = None
    predictions: tuple[Path, ...] = ()
    data: Path | None = None
    tune_on: str = "val"
    report_on: str = "test"
    fit: Literal["all", "confidence"] = "all"
    pipeline: Path | None = None
    confidence: float | None = None
    box_scale: tuple[float, float] | Literal["tune"] | None = None
    gates: tuple[Path, ...] = ()
    gate_mode: Literal["tune", "weigh", "keep"] = "tune"
    gate_threshold: float | None = None
    class_name: str | None = None
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    out_of_fold: bool = False
    again: bool = False
    output: Path | None = None
    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.named and self.predictions:
            raise UserError(f"{self.named[0]} and --predictions: score one of them at a time.")
        if self.out_of_fold and self.predictions:
            raise UserError("--out-of-fold: predictions that are handed in cannot look at more images; leave it out.")
        self._check_pipeline()
        if self.confidence is not None and self.box_scale == "tune":
            raise UserError(
                "--box-scale tune chooses the confidence as well: leave out --confidence, or give the factors."
            )
        if self.predictions:
            self.check_gate(bool(self.gates))
        if self.gate_threshold is not None and self.gate_mode != "keep":
            raise UserError("--gate-threshold belongs to --gate-mode keep: add that, or leave the threshold out.")
        if self.confidence is not None and self.gates and not self.gives_gate and not self.pipeline:
            raise UserError(
                "--confidence tunes nothing, and the gate is to be tuned: leave out --confidence, or choose "
                "--gate-mode weigh, or --gate-mode keep with --gate-threshold."
            )

    def _check_pipeline(self) -> None:
        options = {
            "--fit confidence": self.fit != "all",
            "--box-scale": self.box_scale is not None,
            "--gate-mode": self.gate_mode != "tune",
            "--gate-threshold": self.gate_threshold is not None,
        }
        given = [name for name, is_given in options.items() if is_given]
        if self.pipeline and given:
            raise UserError(f"{self.pipeline} says what is done to the predictions: leave out {' and '.join(given)}.")

    @property
    def named(self) -> tuple[Path, ...]:
        """The weights that were named."""
        if self.weights is None:
            return ()
        return (self.weights,) if isinstance(self.weights, Path) else tuple(self.weights)

    def check_gate(self, is_there: bool) -> None:
        """Refuse to say what to do with a gate where there is none; a recipe's system has its own.

        Raises:
            UserError: There is none.
        """
        if not is_there and (self.gate_mode != "tune" or self.gate_threshold is not None):
            raise UserError("--gate-mode and --gate-threshold say what to do with a gate: name it with --gate.")

    @property
    def gives_gate(self) -> bool:
        """Whether it is said what to do with the gate, if there is one, so that nothing is left to choose."""
        return self.gate_mode == "weigh" or self.gate_threshold is not None

    @property
    def tunes(self) -> bool:
        """Whether anything is to be chosen."""
        return self.confidence is None and self.pipeline is None

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are fitted, as in `evaluate.postprocess.fitting.STEPS`; none where nothing is chosen."""
        scales = self.box_scale == "tune" or (self.box_scale is None and self.fit == "all")
        steps = {
            "suppression": self.fit == "all",
            "most_boxes": self.fit == "all",
            "box_scale": scales,
            "by_view": scales,
            "rescoring": self.fit == "all",
            "gate": not self.gives_gate,
            "confidence": True,
        }
        return tuple(name for name, is_fitted in steps.items() if is_fitted and self.tunes)
