"""`make study`: a real small study on a CPU, from synthetic radiographs to docs/study.md.

Sample data, conversion, weights to start from, every training of train/spaces/study.yaml, and the report. Each step is
a command that is printed before it runs. Killed and started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.cli import GO_ON, console, parser, run
from common.paths import PROJECT
from common.steps import python, step

RAW, DATASET, STUDY = "datasets/raw/study", "datasets/study", "runs/studies/study"
MARKDOWN, FIGURES = "docs/study.md", "docs/study"
IMAGES, VAL, TEST = 4000, 0.08, 0.765
"""3,060 of them to judge by: they cost seconds, and the fewer, the more of a difference is chance."""
FIRST = "runs/studies/study-start"
FIRST_WEIGHTS = f"{FIRST}/run/weights/best.pt"
"""What the block `warm` of the space starts from."""
FIRST_EPOCHS = 15

STOPPED = GO_ON


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments: none but --help."""
    return parser(
        "make study",
        "Sample data, convert, a study of some seventy trainings, docs/study.md: about an hour on 2 cores.",
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run every step."""
    build_parser().parse_args(argv)
    started = time.monotonic()
    environment = {"PYTHONUNBUFFERED": "1", **os.environ}
    draw = [*("convert/sample.py", "--output", RAW), *("--images", str(IMAGES), "--test-images", "20", "--size", "256")]
    convert = ["convert/rsna_to_yolo.py", "--source", RAW, "--output", DATASET, "--val", str(VAL), "--test", str(TEST)]
    first = first_training()
    step("Synthetic chest radiographs", [python(), *draw], environment)
    step("To a YOLO data set, patients kept apart", [python(), *convert], environment)
    if not _is_trained(PROJECT / FIRST / "run"):
        # With as many threads as the study's trainings, on which the last digits depend.
        step("Weights to start from", [python(), *first], {**environment, "OMP_NUM_THREADS": "1"})
    step("The study", [python(), "train/sweep.py", "train/spaces/study.yaml", "--trials-at-once", "2"], environment)

    from train.study.report.page import write_study_report

    commands = [shlex.join(["python", *command]) for command in (draw, convert, first)]
    commands[2] = f"OMP_NUM_THREADS=1 {commands[2]}"
    _note_setup(commands)
    page, markdown = write_study_report(PROJECT / STUDY, PROJECT / MARKDOWN, PROJECT / FIGURES)
    out = console()
    out.print(f"\nDone in {(time.monotonic() - started) / 60:.0f} minutes.")
    out.print(f"\nLook at    {page.relative_to(PROJECT)}")
    out.print(f"           {markdown.relative_to(PROJECT)}")
    return None


def first_training() -> list[str]:
    """The training whose weights others start from: the space's base, for fewer epochs and with a seed of its own."""
    from train.study.space import read_space
    from train.study.space_values import to_text

    base = read_space(PROJECT / "train" / "spaces" / "study.yaml").base
    own = {"epochs": FIRST_EPOCHS, "seed": 9, "project": FIRST, "name": "run", "exist_ok": True}
    return ["train/train.py", *(f"{name}={to_text(value)}" for name, value in {**base, **own}.items())]


def _is_trained(folder: Path) -> bool:
    """Whether the first training has ended, so that the same weights are not made twice."""
    from train.study.run.trial_files import epochs_done

    return (folder / "weights" / "best.pt").is_file() and epochs_done(folder.parent) >= FIRST_EPOCHS


def _note_setup(commands: list[str]) -> None:
    """Add to the study how its data are made, so that its report can say what to run before any of its rows."""
    from train.study.study_record import read_study_record, write_study_record

    record = read_study_record(PROJECT / STUDY)
    write_study_record(PROJECT / STUDY, replace(record, setup=tuple(commands)))


if __name__ == "__main__":
    run(main, STOPPED)
