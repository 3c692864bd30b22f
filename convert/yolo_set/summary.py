"""What a conversion tells at its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from common.cli import console
from common.data.names import BETWEEN_LABELS, CHALLENGE, SPLITS
from convert.pictures import NOTES
from convert.yolo_set import layout

_MOST_LABELS = 20


def print_summary(tables: layout.Tables, clipped: int, class_names: list[str], listed: int | None = None) -> None:
    """Print a table of the splits, then what was clipped and what was rejected and why.

    Args:
        tables: The data set's tables.
        clipped: How many boxes were cut at the edge of their image.
        class_names: The boxes' labels.
        listed: How many images the train list has, where it leaves any out.
    """
    manifest = tables.manifest
    parts = [split for split in (*SPLITS, CHALLENGE) if (manifest["split"] == split).any()]
    columns = {split: manifest[manifest["split"] == split] for split in parts} | {"all": manifest}
    labelled = {name: part["label"].dropna().str.split(BETWEEN_LABELS) for name, part in columns.items()}
    counts = {name: labels.explode().value_counts() for name, labels in labelled.items()}
    found = sorted(counts["all"].index, key=lambda label: (label not in class_names, label))
    shown = found if len(found) <= _MOST_LABELS else counts["all"].index[:_MOST_LABELS]
    wholes, none = [len(labels) for labels in labelled.values()], [0] * len(columns)
    rows = [_Row("images", [len(part) for part in columns.values()], none)]
    rows += [_Row(f"  {label}", [int(one.get(label, 0)) for one in counts.values()], wholes) for label in shown]
    rows.append(_Row("boxes", [int(part["boxes"].sum()) for part in columns.values()], none))
    rows.append(_Row("patients", [part["patient_id"].nunique() for part in columns.values()], none))
    for stored in ("passed through", "decoded"):
        rows.append(
            _Row(f"pictures {stored}", [int((part["stored"] == stored).sum()) for part in columns.values()], none)
        )
    out = console()
    table = _table(columns, rows, narrow=False)
    # In a narrow terminal, shares go below their counts and lines are left out: rich would break the labels.
    fits = out.measure(table, options=out.options.update(max_width=1000)).maximum <= out.width
    out.print(table if fits else _table(columns, rows, narrow=True))
    if len(found) > len(shown):
        out.print(f"{len(found) - len(shown):,} rarer classes are not shown.")
    if listed is not None:
        train = columns["train"] if "train" in columns else manifest[:0]
        boxed = int((train["boxes"] > 0).sum())
        out.print(
            f"With --negatives, train.txt lists {listed:,} of train's {len(train):,} images: {boxed:,} with boxes and "
            f"{listed - boxed:,} without" + ("; the folds' lists likewise." if manifest["fold"].notna().any() else ".")
        )
    if manifest["fold"].notna().any():
        sizes = manifest["fold"].value_counts()
        low, high = int(sizes.min()), int(sizes.max())
        images = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        out.print(f"train is divided into {len(sizes):,} folds of {images} images (fold0.yaml, ...); val is in none.")
    notes = manifest.loc[manifest["note"] != "", "note"]
    if len(notes):
        out.print(f"{len(notes):,} pictures have a note (manifest.csv):")
        for note, count in notes.str.split("; ").explode().value_counts().items():
            out.print(f"  {count:>7,}  {note}: {NOTES[str(note)]}")
    if clipped:
        out.print(f"{clipped:,} boxes were cut at the edge of their picture.")
    if len(tables.rejected):
        out.print(f"{len(tables.rejected):,} rows or images could not be used (rejected.csv):")
        for reason, count in layout.reasons(tables.rejected):
            out.print(f"  {count:>7,}  {reason}")
    else:
        out.print("Nothing was rejected.")


class _Row(NamedTuple):
    """A row of the table: its name, counts by column, and of how many images a share is told; 0 for none."""

    name: str
    counts: list[int]
    wholes: list[int]


def _table(columns: Iterable[str], rows: Iterable[_Row], *, narrow: bool) -> Table:
    look: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 0, 0, 1), "pad_edge": False} if narrow else {}
    table = Table(title="The data set", title_justify="left", **look)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    between = "\n" if narrow else " "
    for name, counts, wholes in rows:
        table.add_row(name, *(_cell(count, whole, between) for count, whole in zip(counts, wholes, strict=True)))
    return table


def _cell(count: int, whole: int, between: str) -> str:
    if not count:
        return ""
    return f"{count:,}{between}({count / whole:.1%})" if whole else f"{count:,}"
