"""Command: train the gate, an image classifier that says how likely an opacity is; `name=value` arguments."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common.cli import GO_ON, console, run
from common.paths import shown, typed

if TYPE_CHECKING:
    from evaluate.classifier.record import GateRecord
    from train.classifier.finishing import TrainedGate

_DIFFERING = (
    "data=rsna.yaml            of the project; its splits, and the class of every image, come from the manifest",
    "project=runs name=gate    a relative project is relative to the current folder",
    "imgsz=256                 as the winners' classifier; finer detail is the detector's part",
    "auto_augment=None         RandAugment inverts and posterises: no radiograph any more",
    "erasing=0.0               could erase the only opacity",
    "scale=0.2                 crops keep 80 % of the area or more, so that opacities stay inside",
    "hsv_h=0.0 hsv_s=0.0       grey has neither hue nor saturation",
    "hsv_v=0.2                 brightness and contrast by 20 %",
    "warmup_bias_lr=0.0        0.1 would overwrite the biases of pretrained weights",
    "model=                    has none: weights, a YAML, or a network of torchvision (resnet50), timm:NAME, xrv:NAME",
)
_ROWS = (
    ("AUC", "auc"),
    ("accuracy", "accuracy"),
    ("log-loss", "log_loss"),
    ("calibration error", "calibration_error"),
    ("Brier score", "brier"),
)


_FOLDS_WORDS = {"val": "its fold", "calibration": "val"}
"""What a gate of a fold uses images for, and whose they are."""


def STOPPED(argv: Sequence[str]) -> str:  # noqa: N802  # a constant for most commands
    """What to say after Ctrl-C."""
    from train.settings.command_line import after_stop

    if any(word.partition("=")[0].strip("- ") == "folds" for word in argv):
        return GO_ON
    return after_stop("python train/gate.py", argv)


def build_parser() -> argparse.ArgumentParser:
    """The command line: everything is `name=value`."""
    from train.settings.command_line import words_parser
    from train.settings.options import GATE

    return words_parser(
        "python train/gate.py",
        "Train an image classifier as `yolo classify train` does, on the classes of the same data set (RSNA: Lung "
        "Opacity, No Lung Opacity / Not Normal, Normal), keep the epoch whose probability of an opacity fits val best, "
        "calibrate it on val, and write the probabilities of all images to gate.csv, for evaluate/score.py --gate.",
        "  python train/gate.py model=yolov8n-cls.pt epochs=20\n"
        "  python train/gate.py model=basic-cnn-cls.yaml imgsz=128 optimizer=AdamW lr0=0.002    on a CPU\n"
        "  python train/gate.py model=yolov8n-cls.pt fold=0      probabilities of images it has not seen: fold 0\n"
        "  python train/gate.py model=yolov8n-cls.pt folds=5     one for each fold, in runs/gates/fold0 and so on\n"
        "  python train/gate.py model=resnet50 imgsz=384 flip=True      torchvision's; timm:NAME and xrv:NAME, too\n"
        "  python train/gate.py model=timm:convnext_tiny pretrained=FILE    from a state dict that is here\n"
        "  python train/gate.py model=yolov8n-cls.pt prevalence=0.35    for images with more opacities than val\n"
        "  python train/gate.py resume=runs/gate                 go on after a kill",
        GATE,
        _DIFFERING,
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    """Train, calibrate, write the probabilities, and say what to do next."""
    from train.settings.command_line import read_words
    from train.settings.options import GATE

    words, given = read_words(argv, build_parser, GATE, "classify")

    if given.get("folds") is not None:
        from train.classifier.folds import train_folds

        _print_folds(train_folds(given, words))
        return None

    from train.classifier.training import train_gate

    gate = train_gate(given, words)
    _print_quality(gate.record)
    out = console()
    out.print(f"{shown(gate.table)}  calibrated probabilities of all images ({_counts(gate.record.images)})")
    out.print("Those of train are of images that it was trained on, and too sure: tune nothing on them.")
    if gate.record.pretrained_on:
        out.print(f"{gate.record.pretrained_on}.")
    if gate.logged_at:
        out.print(f"Weights & Biases: {gate.logged_at}")
    out.print(f"\nnext: python evaluate/score.py --gate {typed(gate.table)}")
    return None


def _print_folds(gates: Sequence[TrainedGate]) -> None:
    """How good each gate is, calibrated, on the fold that it has not seen and on test; and what to do next."""
    from rich import box
    from rich.table import Table

    table = Table("gate", box=box.SIMPLE_HEAD, show_edge=False)
    splits = list(dict.fromkeys(split for gate in gates for split in gate.record.splits))
    for split in splits:
        for name, _ in (_ROWS[0], _ROWS[2]):
            table.add_column(f"{_FOLDS_WORDS.get(split, split)} {name}", justify="right")
    for gate in gates:
        judged = (gate.record.splits.get(split) for split in splits)
        values = (getattr(one.after, key) if one else None for one in judged for _, key in (_ROWS[0], _ROWS[2]))
        table.add_row(shown(gate.table.parent), *("" if value is None else f"{value:.4f}" for value in values))
    out = console()
    out.print()
    out.print(table)
    if seen := next((gate.record.pretrained_on for gate in gates if gate.record.pretrained_on), ""):
        out.print(f"{seen}.")
    named = " ".join(f"--gate {typed(gate.table)}" for gate in gates)
    out.print(f"\nnext: python evaluate/score.py {named}", soft_wrap=True)


def _print_quality(record: GateRecord) -> None:
    """How good the probabilities are on each split, as they came and calibrated."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column(f"P({record.positive})")
    for split in record.splits:
        words = _FOLDS_WORDS.get(split, split) if "calibration" in record.splits else split
        table.add_column(words, justify="right")
        table.add_column("calibrated", justify="right")
    for name, key in _ROWS:
        values = (getattr(quality, key) for split in record.splits.values() for quality in (split.before, split.after))
        table.add_row(name, *(f"{value:.4f}" for value in values))
    out = console()
    out.print()
    out.print(table)
    out.print(_calibration(record))


def _calibration(record: GateRecord) -> str:
    """What was chosen on val, and for which prevalence."""
    if record.slope is None or record.intercept is None or record.prevalence is None:  # of an earlier version
        return f"epoch {record.epoch}, temperature {record.temperature:.3f}."
    sure = "too sure" if record.slope < 1 else "not sure enough"
    chosen = "All three were chosen on val, which flatters its numbers a little."
    if "calibration" in record.splits:
        chosen = f"The epoch was chosen on fold {record.fold}, and these two on val; it flatters both a little."
    said = (
        f"epoch {record.epoch}, slope {record.slope:.3f} and intercept {record.intercept:.3f} of the logit of "
        f"P({record.positive}): the classifier was {sure}. {chosen}"
    )
    if record.expected_prevalence is not None:
        said += (
            f"\nThe intercept is for a prevalence of {record.expected_prevalence:.1%}, while val has "
            f"{record.prevalence:.1%}: there the calibrated probabilities are meant not to fit."
        )
    return said


def _counts(images: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in images.items())


if __name__ == "__main__":
    run(main, STOPPED)
