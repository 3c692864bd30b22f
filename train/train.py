"""Command: train a detector, judged by the RSNA score; `name=value` arguments as in `yolo train`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.cli import GO_ON, console, run
from common.paths import shown, typed

if TYPE_CHECKING:
    from train.settings.recipes import Recipe


def STOPPED(argv: Sequence[str]) -> str:  # noqa: N802  # a constant for most commands
    """What to say after Ctrl-C; a recipe of several trainings goes on by itself."""
    from common.errors import UserError
    from train.settings.command_line import after_stop
    from train.settings.recipes import read_recipe

    recipe = next((word.partition("=")[2] for word in argv if word.startswith("recipe=")), "")
    try:
        several = bool(recipe) and bool(read_recipe(recipe).members)
    except UserError:
        several = False
    return GO_ON if several else after_stop("python train/train.py", argv)


def build_parser() -> argparse.ArgumentParser:
    """The command line: everything is `name=value`."""
    from train.settings.command_line import words_parser

    return words_parser(
        "python train/train.py",
        "Train as `yolo train` does, with the RSNA score: after every epoch it is computed on val, stands in "
        "results.csv beside mAP, and decides about best.pt and early stopping. The best run so far on a data set is "
        "runs/best.pt.",
        "  python train/train.py model=yolov8m.pt epochs=50\n"
        "  python train/train.py model=cnn-multiscale.yaml imgsz=256 iou_loss=siou\n"
        "  python train/train.py resume=runs/train/weights/last.pt        continue after a kill\n"
        "  python train/train.py recipe=winner folds=2 imgsz=512 gate.epochs=5        the winners' way, shorter",
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    """Train, update runs/best.pt, and say what to do next."""
    from train.settings.command_line import read_words
    from train.settings.recipes import read_recipe

    _, given = read_words(argv, build_parser)
    if given.get("recipe"):
        recipe = read_recipe(str(given["recipe"]))
        _show_recipe(recipe, given)
        if recipe.members:
            _train_members(recipe, given)
            return None

    from train.detector.training import train_detector

    trained = train_detector(given)
    outcome, out = trained.outcome, console()
    assert outcome is not None
    out.print(
        f"\nRSNA score on val  {trained.score:.4f} at confidence {trained.confidence:.3f} (epoch {trained.epoch}); "
        f"{trained.fixed_score:.4f} at confidence 0.25. The first was chosen on val, and flatters."
    )
    out.print(f"this run's best    {shown(trained.weights)}")
    if outcome.is_best:
        out.print(f"{shown(outcome.weights)}  is now this run's: the best so far on this data set")
    else:
        best = outcome.best
        out.print(f"{shown(outcome.weights)}  stays that of {shown(Path(best.run))}, with {best.score:.4f}")
    if outcome.put_aside:
        out.print(f"another data set's best weights, in its place before, are now {shown(outcome.put_aside)}")
    if trained.logged_at:
        out.print(f"Weights & Biases: {trained.logged_at}")
    out.print(f"\nnext: python evaluate/score.py {typed(trained.weights)}")
    return None


def _train_members(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Train every member of a recipe of several, and name the commands that score it and predict with it."""
    from train.members import train_members
    from train.members.raw_data import challenge_pictures

    done, out = train_members(recipe, given), console()
    out.print("\nRSNA score of each member on the fold that it has not seen, at its best confidence, which flatters:")
    for member in done.members:
        out.print(f"  {member.name:<16}{member.score:.4f}   {shown(member.weights)}")
    folder, pictures = typed(done.folder), challenge_pictures(done.root)
    out.print(f"\nnext: python evaluate/score.py {folder}", soft_wrap=True)
    out.print(f"then: python evaluate/predict.py {pictures} --weights {folder}", soft_wrap=True)


def _show_recipe(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Say what the recipe sets, and why; and what the user has set instead."""
    from rich.table import Table

    table = Table(title=f"recipe {recipe.name}: {recipe.about}", title_justify="left", box=None, pad_edge=False)
    for column in ("argument", "value", "why"):
        table.add_column(column)
    gate = {f"gate.{name}": choice for name, choice in (recipe.gate or {}).items()}
    for name, choice in {**recipe.arguments, **recipe.members, **gate}.items():
        value = given.get(name, choice.value)  # of members and gates, only what was typed is given
        without = name in gate and given.get("gate") is False
        why = f"yours, instead of {choice.value}" if value != choice.value else choice.why
        table.add_row(name, "" if without else str(value), "left out by gate=False" if without else why)
    console().print(table)


if __name__ == "__main__":
    run(main, STOPPED)
