"""A training in Weights & Biases: what is logged, and when; how, and that it never fails, is `common.tracking.tracker`.

- At the start: all arguments, the data set's fingerprint and size, the model's size; the machine's load all along.
- After each epoch, which is the step and the axis: losses, learning rates, mAP, the RSNA score and its confidence, and
  a few validation pictures with their boxes (`examples`); after each that is better than all before, the RSNA score
  over the confidence (`rsna/curve`).
- At the end: Ultralytics' plots, the curve of the best weights, they themselves as an artifact, and the best score.

The files lie in `wandb` of the run folder, whose `wandb_run.json` names the run: a resumed training and
`evaluate/score.py` continue it. An epoch is logged after its checkpoint, so that a kill leaves none that comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from common.data.fingerprint import data_fingerprint
from common.tracking.runs import write_run
from common.tracking.tracker import Line, LoggedPicture, Tracker, start
from evaluate.metrics.rsna import confidence_sweep, thin_sweep
from train.detector.locating import positive_class
from train.detector.results import FIXED_CONFIDENCE, best_epoch
from train.detector.validation import ImageResult, to_tables

CURVE_ROWS = 200
EXAMPLES_OF_EACH = 4
"""Example pictures with boxes, and as many without."""
EXAMPLE_SIDE = 384
"""Pixels of an example's longer side: some 15 kB a picture."""
_EXAMPLE_BOXES = 20
_MOST_OFTEN = 100
"""Epochs with examples, evenly spread over the training; more would only make the run large."""
_LEAVE_OUT = "wandb=False"


class TrainingLog:
    """Logs one training, in the process that validates."""

    def __init__(self) -> None:
        self._tracker = Tracker(leave_out=_LEAVE_OUT)
        self._examples: dict[str, Example] = {}
        self._logged: Any = None  # the metrics that were logged last
        self._best = -1.0  # the best score that was logged

    def hook_into(self, trainer: Any) -> None:
        """Log what the trainer does, through its callbacks."""
        trainer.add_callback("on_pretrain_routine_end", self._start)
        trainer.add_callback("on_fit_epoch_end", self._log_epoch)
        trainer.add_callback("on_train_end", self._log_end)
        trainer.add_callback("teardown", self._close)

    def _start(self, trainer: Any) -> None:
        def action() -> None:
            self._tracker = open_run(trainer.save_dir, trainer.args.group, settings(trainer))
            if self._tracker.reference:
                self._examples = choose_examples(
                    trainer.test_loader.dataset.labels, positive_class(trainer.data["names"])
                )

        self._logged = trainer.metrics  # zeros, until the first validation
        if trainer.best_fitness is not None:  # of a resumed training
            self._best = trainer.best_fitness
        self._tracker.attempt("starting", action)

    def _log_epoch(self, trainer: Any) -> None:
        # Ultralytics lets the final validation of best.pt look like an epoch.
        if self._tracker.reference and trainer.validator.training:
            step: int = trainer.epoch + 1
            self._tracker.attempt("logging the epoch", lambda: self._tracker.log(self._epoch(trainer), step))

    def _epoch(self, trainer: Any) -> dict[str, Any]:
        epoch: int = trainer.epoch + 1
        values = {
            "epoch": epoch,
            "train/seconds": trainer.epoch_time,
            **trainer.label_loss_items(trainer.tloss),
            **trainer.lr,
        }
        if trainer.metrics is self._logged:  # not validated, as val=False wants it
            return values
        self._logged = trainer.metrics
        values |= trainer.metrics
        metrics = trainer.validator.metrics
        if metrics.score > self._best:  # a table is an artifact to W&B: not one for every epoch
            self._best = metrics.score
            values["rsna/curve"] = rsna_curve(metrics.results)
        if trainer.stop or epoch % math.ceil(trainer.epochs / _MOST_OFTEN) == 0:
            values["examples"] = draw_examples(self._examples, metrics.results, metrics.confidence)
        return values

    def _log_end(self, trainer: Any) -> None:
        def action() -> None:
            final = None if trainer.validator.training else trainer.validator.metrics.results  # those of best.pt
            _log_end(self._tracker, trainer.save_dir, trainer.epoch + 1, final)

        self._tracker.attempt("logging the end", action)
        self._tracker.finish()

    def _close(self, _: Any) -> None:
        self._tracker.finish(failed=True)  # no more than a word after a proper end


def complete(run_dir: Path, epochs: int, group: str | None) -> None:
    """Log the end of a training that was killed after its last epoch, into its run.

    Args:
        run_dir: The training's folder.
        epochs: How many epochs it has done.
        group: W&B group of the run.
    """
    tracker = Tracker(leave_out=_LEAVE_OUT)

    def action() -> None:
        nonlocal tracker
        tracker = open_run(run_dir, group, {})
        _log_end(tracker, run_dir, epochs, None)

    tracker.attempt("logging the end", action)
    tracker.finish()


def open_run(run_dir: Path, group: str | None, config: Mapping[str, Any]) -> Tracker:
    """Start the W&B run of a training, or continue it, and leave in its folder which one it is.

    Args:
        run_dir: The training's folder.
        group: W&B group of a new run.
        config: What the training is.

    Returns:
        A tracker, one that does nothing where W&B is off, missing or out of order. It must be finished.
    """
    tracker = start(
        config=config,
        run_dir=run_dir,
        job_type="train",
        name=run_dir.name,
        group=group,
        folder=run_dir,
        stats=True,
        leave_out=_LEAVE_OUT,
    )
    run = tracker.reference
    if run:
        tracker.attempt("noting which run it is", lambda: write_run(run_dir, run, tracker.where))
        tracker.axis("epoch", ["train", "val", "metrics", "lr", "rsna"])
    return tracker


def settings(trainer: Any) -> dict[str, Any]:
    """What the training is: its arguments, and the data and model they have led to."""
    arguments = dict(vars(trainer.args))
    if trainer.resume:  # last.pt stands in the place of the model that the training began with
        arguments = {name: value for name, value in arguments.items() if name not in {"model", "resume"}}
    return arguments | {
        "data_fingerprint": data_fingerprint(trainer.data),
        "train_images": len(trainer.train_loader.dataset),
        "val_images": len(trainer.test_loader.dataset),
        "parameters": sum(weights.numel() for weights in trainer.model.parameters()),
    }


def _log_end(tracker: Tracker, run_dir: Path, epochs: int, final: Sequence[ImageResult] | None) -> None:
    """Log what there is when all epochs are done; `final` is the validation of the best weights, if there was one."""
    if not tracker.reference:
        return
    log_outcome(tracker, run_dir, epochs, {} if final is None else {"rsna/curve": rsna_curve(final)})
    names = ("best_epoch", "best_rsna_score", "best_confidence", f"best_epoch_rsna_score_at_{FIXED_CONFIDENCE}")
    tracker.summary(dict(zip(names, best_epoch(run_dir / "results.csv"), strict=True)))


def log_outcome(tracker: Tracker, run_dir: Path, epochs: int, more: Mapping[str, Any]) -> None:
    """Log what every training leaves in its folder: Ultralytics' plots, and the best weights as an artifact.

    Args:
        tracker: The training's W&B run, or one that does nothing.
        run_dir: The training's folder.
        epochs: How many epochs it has done; this is the step after them.
        more: What is logged in the same step.
    """
    plots = sorted(file for kind in ("*.png", "*.jpg") for file in run_dir.glob(kind))
    values = {**{f"plots/{file.stem}": LoggedPicture(file) for file in plots}, **more}
    if values:
        tracker.log(values, step=epochs + 1)
    weights = run_dir / "weights" / "best.pt"
    if tracker.reference and weights.is_file():
        tracker.artifact(weights, f"model-{tracker.reference.id}", "model", aliases=["best"])


def rsna_curve(results: Sequence[ImageResult]) -> Line:
    """The RSNA score over the confidence, in at most `CURVE_ROWS` points."""
    sweep = thin_sweep(confidence_sweep(*to_tables(results)), CURVE_ROWS)
    return Line(sweep, "confidence", "score", "RSNA score on val over confidence, best epoch")


class Example(NamedTuple):
    """A picture that is logged again and again."""

    pixels: NDArray[np.uint8]  # (height, width), reduced
    scale: NDArray[np.float64]  # (4,): across, down, across, down, from the original to it


def choose_examples(labels: Sequence[Mapping[str, Any]], positive: int) -> dict[str, Example]:
    """Choose the pictures to log and load them: by name the first ones with boxes, and the first without.

    Args:
        labels: As Ultralytics' data set has them: `im_file`, and `cls` with a row for each box.
        positive: The class that is scored.

    Returns:
        The examples by file, those with boxes first. A picture that cannot be read is left out.
    """
    chosen: dict[bool, list[str]] = {True: [], False: []}
    for label in sorted(labels, key=lambda label: str(label["im_file"])):
        files = chosen[bool((label["cls"] == positive).any())]
        if len(files) < EXAMPLES_OF_EACH:
            files.append(str(label["im_file"]))
    examples = {}
    for file in chosen[True] + chosen[False]:
        pixels = cv2.imread(file, cv2.IMREAD_GRAYSCALE)
        if pixels is not None:
            height, width = pixels.shape
            factor = min(1, EXAMPLE_SIDE / max(height, width))
            size = max(1, round(width * factor)), max(1, round(height * factor))
            scale = np.array([size[0] / width, size[1] / height] * 2)
            small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
            examples[file] = Example(small, scale)
    return examples


def draw_examples(
    examples: Mapping[str, Example], results: Sequence[ImageResult], confidence: float
) -> list[LoggedPicture]:
    """Put the boxes of a validation on the examples: the truth, and the predictions of at least this confidence."""
    found = {result.file: result for result in results if result.file in examples}
    pictures = []
    for file, (pixels, scale) in examples.items():
        if file in found:
            truth, predictions = found[file].truth * scale, found[file].predictions
            predictions = predictions[predictions[:, 0] >= confidence][:_EXAMPLE_BOXES]
            predictions = np.column_stack([predictions[:, 0], predictions[:, 1:] * scale])
            pictures.append(LoggedPicture(pixels, Path(file).stem, truth, predictions))
    return pictures
