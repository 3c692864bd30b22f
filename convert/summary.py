"""What a conversion tells at its end."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from common.cli import console
from convert import dataset


def print_summary(tables: dataset.Tables, clipped: int, class_names: list[str]) -> None:
    """Print a table of the splits, then what was clipped and what was rejected and why.

    Args:
        tables: The data set's tables.
        clipped: How many boxes were cut at the edge of their image.
        class_names: The boxes' labels.
    """
    manifest = tables.manifest
    labels = sorted(manifest["label"].dropna().unique(), key=lambda label: (label not in class_names, label))
    table = Table(title="The data set", title_justify="left")
    table.add_column("split")
    for name in ("images", *labels, "boxes", "patients", "passed through", "decoded"):
        table.add_column(name, justify="right")
    for split in (*dataset.SPLITS, dataset.CHALLENGE, "all"):
        rows = manifest if split == "all" else manifest[manifest["split"] == split]
        if len(rows):
            table.add_row(split, *_cells(rows, labels), end_section=split == dataset.CHALLENGE)
    out = console()
    out.print(table)
    if clipped:
        out.print(f"{clipped:,} boxes were cut at the edge of their picture.")
    if len(tables.rejected):
        out.print(f"{len(tables.rejected):,} rows or images could not be used (rejected.csv):")
        for reason, count in dataset.reasons(tables.rejected):
            out.print(f"  {count:>7,}  {reason}")
    else:
        out.print("Nothing was rejected.")


def _cells(rows: pd.DataFrame, labels: list[str]) -> list[str]:
    cells = [f"{len(rows):,}"]
    for label in labels:
        count = int((rows["label"] == label).sum())
        cells.append(f"{count:,} ({count / len(rows):.1%})" if count else "")
    boxes = int(rows["boxes"].sum())
    stored = rows["stored"].value_counts()
    counts = (boxes, rows["patient_id"].nunique(), stored.get("passed through", 0), stored.get("decoded", 0))
    return cells + [f"{count:,}" if count else "" for count in counts]
