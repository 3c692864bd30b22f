"""A score on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.cli import console
from common.pages.wording import interval_text, score_text
from common.paths import shown
from evaluate.report.rows import ROWS
from evaluate.report.wording import gain_text, gate_text, interval_note, shown_interval
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
    across, down = score.box_scale
    scale = "" if across == down == 1 else f", boxes scaled by {across:g} x {down:g}"
    out.print(
        f"RSNA score on {score.reported_on}: {score_text(score.score)} "
        f"({_interval(score)}), confidence {score.confidence:.6g} {tuned}{scale}"
    )
    out.print(f"{f'weights {score.weights}' if score.weights else 'predictions handed in'}, data {score.data}")
    if gate := score.gate:
        gain = gate.gains[score.reported_on]
        out.print(f"gate: {gate_text(gate.rule)}")
        if gate.rule.mode != "none":
            out.print(f"  without it {score_text(gain.score)}; the gate changed the score by {gain_text(gain)}")
    for path in written:
        out.print(f"  {shown(path)}")
    if link:
        out.print(f"  Weights & Biases: {link}")
    out.print("For research only: this is no medical device.")


def _interval(score: Score) -> str:
    is_tuned = score.was_tuned_on(score.reported_on)
    note = interval_note(score.reported, is_tuned)
    if (interval := shown_interval(score.reported, is_tuned)) is None:
        return f"no interval: {note}"
    return f"95 % interval {interval_text(interval)}{', ' + note if note else ''}"
