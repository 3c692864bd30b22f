"""`make study`: a real small study on a CPU, from synthetic radiographs to docs/study.md.

Sample data, conversion, every training of train/spaces/study.yaml, and the report. Each step is a command that is
printed before it runs. Killed and started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace

from common.cli import GO_ON, console, parser, run
from common.paths import PROJECT
from common.steps import python, step

RAW, DATASET, STUDY = "datasets/raw/study", "datasets/study", "runs/studies/study"
MARKDOWN, FIGURES = "docs/study.md", "docs/study"
IMAGES = 1300
"""Two fifths of them to train on and as many to judge by: the fewer, the more of a difference is chance."""


STOPPED = GO_ON


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments: none but --help."""
    return parser(
        "make study", "Sample data, convert, a study of some forty trainings, docs/study.md: under 25 minutes."
    )


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run every step."""
    build_parser().parse_args(argv)
    started = time.monotonic()
    environment = {"PYTHONUNBUFFERED": "1", **os.environ}
    draw = [*("convert/sample.py", "--output", RAW), *("--images", str(IMAGES), "--test-images", "20", "--size", "256")]
    convert = ["convert/rsna_to_yolo.py", "--source", RAW, "--output", DATASET, "--val", "0.2", "--test", "0.4"]
    step("Synthetic chest radiographs", [python(), *draw], environment)
    step("To a YOLO data set, patients kept apart", [python(), *convert], environment)
    step("The study", [python(), "train/sweep.py", "train/spaces/study.yaml", "--trials-at-once", "2"], environment)

    from train.study.report.page import write_study_report

    _note_setup([shlex.join(["python", *command]) for command in (draw, convert)])
    page, markdown = write_study_report(PROJECT / STUDY, PROJECT / MARKDOWN, PROJECT / FIGURES)
    out = console()
    out.print(f"\nDone in {(time.monotonic() - started) / 60:.0f} minutes.")
    out.print(f"\nLook at    {page.relative_to(PROJECT)}")
    out.print(f"           {markdown.relative_to(PROJECT)}")
    return None


def _note_setup(commands: list[str]) -> None:
    """Add to the study how its data are made, so that its report can say what to run before any of its rows."""
    from train.study.study_record import read_study_record, write_study_record

    record = read_study_record(PROJECT / STUDY)
    write_study_record(PROJECT / STUDY, replace(record, setup=tuple(commands)))


if __name__ == "__main__":
    run(main, STOPPED)
