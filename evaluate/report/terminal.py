"""A score on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.cli import console
from common.pages.wording import interval_text, score_text
from common.paths import shown
from evaluate.report.diagnosis import summary
from evaluate.report.rows import ROWS
from evaluate.report.steps import pipeline_text, step_headings, step_notes, step_rows
from evaluate.report.wording import interval_note, shown_interval
from evaluate.scoring.result import Score


def print_score(score: Score, written: Sequence[Path], link: str) -> None:
    """Print the closing table, the score in one line, and where everything is.

    Args:
        score: The score.
        written: Files to name.
        link: Where the W&B run is, or nothing.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for split in score.splits:
        role = "reported" if split == score.reported_on else "tuned on"
        table.add_column(f"{split} ({role})", justify="right")
    for row in ROWS:
        table.add_row(
            row.terminal, *(row.text(split, score.was_tuned_on(name)) for name, split in score.splits.items())
        )
    out = console()
    out.print(table)
    tuned = f"chosen on {score.tuned_on}" if score.tuned_on else "given, not tuned"
    out.print(
        f"RSNA score on {score.reported_on}: {score_text(score.score)} "
        f"({_interval(score)}), confidence {score.confidence:.6g} {tuned}"
    )
    out.print(f"{f'weights {score.weights}' if score.weights else 'predictions handed in'}, data {score.data}")
    for line in summary(score):
        out.print(line)
    out.print(f"post-processing: {pipeline_text(score.pipeline)}")
    if len(score.steps) > 1:
        _print_steps(score)
    for path in written:
        out.print(f"  {shown(path)}")
    if link:
        out.print(f"  Weights & Biases: {link}")
    out.print("For research only: this is no medical device.")


def _print_steps(score: Score) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("\nstep")
    for heading, about in step_headings(score):
        table.add_column(f"{heading}\n{about}", justify="right")
    for name, cells in step_rows(score):
        table.add_row(name, *(f"{number} ({interval})" if interval else number for number, interval in cells))
    out = console()
    out.print("what each step brought:")
    out.print(table)
    for note in step_notes(score):
        out.print(note)


def _interval(score: Score) -> str:
    is_tuned = score.was_tuned_on(score.reported_on)
    note = interval_note(score.reported, is_tuned)
    if (interval := shown_interval(score.reported, is_tuned)) is None:
        return f"no interval: {note}"
    return f"95 % interval {interval_text(interval)}{', ' + note if note else ''}"
