"""What is asked of a scoring, checked before anything is read. Imports nothing heavy."""

from __future__ import annotations

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
        weights: Weights, or a training's folder; None without `predictions`: `runs/best.pt`, or the newest training's.
        predictions: Files of predictions or submissions to score instead.
        data: Data YAML or data set folder; None: the one that the weights were trained on.
        tune_on: The split that the confidence is chosen on.
        report_on: The split whose score is reported.
        confidence: Use this one, 0 to 1, and tune nothing.
        box_scale: Factors on width and height of the boxes; None chooses them together with the confidence.
        gates: Files with probabilities of an opacity.
        gate_mode: `weigh`, `keep`, or `tune`: what scores best on the split to tune on, no gate included.
        gate_threshold: Of `keep`; None tunes it.
        class_name: Of several classes the one that is scored, or `all` for all as one; None: `Lung Opacity`, or the
            only one.
        inference: How predictions are made.
        again: Predict anew even if kept predictions are still right.
        output: The folder to write to; None: the training's, or one beside the first predictions file, named after it.
        argv: The command's arguments as typed, for the record.

    Raises:
        UserError: What is asked contradicts itself.
    """

    weights: Path | None = None
    predictions: tuple[Path, ...] = ()
    data: Path | None = None
    tune_on: str = "val"
    report_on: str = "test"
    confidence: float | None = None
    box_scale: tuple[float, float] | None = (1.0, 1.0)
    gates: tuple[Path, ...] = ()
    gate_mode: Literal["tune", "weigh", "keep"] = "tune"
    gate_threshold: float | None = None
    class_name: str | None = None
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    again: bool = False
    output: Path | None = None
    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.weights and self.predictions:
            raise UserError(f"{self.weights} and --predictions: score one of them at a time.")
        if self.confidence is not None and self.box_scale is None:
            raise UserError(
                "--box-scale tune chooses the confidence as well: leave out --confidence, or give the factors."
            )
        if not self.gates and (self.gate_mode != "tune" or self.gate_threshold is not None):
            raise UserError("--gate-mode and --gate-threshold say what to do with a gate: name its file with --gate.")
        if self.gate_threshold is not None and self.gate_mode != "keep":
            raise UserError("--gate-threshold belongs to --gate-mode keep: add that, or leave the threshold out.")
        if self.confidence is not None and self.tunes_gate:
            raise UserError(
                "--confidence tunes nothing, and the gate is to be tuned: leave out --confidence, or choose "
                "--gate-mode weigh, or --gate-mode keep with --gate-threshold."
            )

    @property
    def tunes_gate(self) -> bool:
        """Whether there is a gate whose mode or threshold is to be chosen."""
        return bool(self.gates) and self.gate_mode != "weigh" and self.gate_threshold is None
