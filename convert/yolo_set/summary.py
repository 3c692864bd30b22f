"""What a conversion tells at its end."""

from __future__ import annotations

from rich.table import Table

from common.cli import console
from common.data.names import CHALLENGE, SPLITS
from convert.pictures import NOTES
from convert.yolo_set import layout


def print_summary(tables: layout.Tables, clipped: int, class_names: list[str]) -> None:
    """Print a table of the splits, then what was clipped and what was rejected and why.

    Args:
        tables: The data set's tables.
        clipped: How many boxes were cut at the edge of their image.
        class_names: The boxes' labels.
    """
    manifest = tables.manifest
    parts = [split for split in (*SPLITS, CHALLENGE) if (manifest["split"] == split).any()]
    columns = {split: manifest[manifest["split"] == split] for split in parts} | {"all": manifest}
    labels = sorted(manifest["label"].dropna().unique(), key=lambda label: (label not in class_names, label))
    table = Table(title="The data set", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)

    def add(name: str, counts: list[int], share: bool = False) -> None:
        wholes = [int(rows["label"].notna().sum()) for rows in columns.values()]
        table.add_row(name, *(_cell(count, whole if share else 0) for count, whole in zip(counts, wholes, strict=True)))

    add("images", [len(rows) for rows in columns.values()])
    for label in labels:
        add(f"  {label}", [int((rows["label"] == label).sum()) for rows in columns.values()], share=True)
    add("boxes", [int(rows["boxes"].sum()) for rows in columns.values()])
    add("patients", [rows["patient_id"].nunique() for rows in columns.values()])
    for stored in ("passed through", "decoded"):
        add(f"pictures {stored}", [int((rows["stored"] == stored).sum()) for rows in columns.values()])
    out = console()
    out.print(table)
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


def _cell(count: int, whole: int) -> str:
    if not count:
        return ""
    return f"{count:,} ({count / whole:.1%})" if whole else f"{count:,}"
