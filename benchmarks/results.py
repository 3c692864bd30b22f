"""Rows of a benchmark: what, seconds, ratio, against; on the terminal and in RESULTS.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.cli import console
from common.cores import available_cores

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
_BEGIN, _END = "<!-- make bench: begin -->", "<!-- make bench: end -->"


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of what, seconds, ratio, against."""
    from rich.table import Table

    table = Table("what", "seconds", "times faster", "than")
    for row in rows:
        table.add_row(row["what"], _seconds(row["seconds"]), _ratio(row["ratio"]), row["against"])
    console().print(table)


def write_rows(rows: list[dict[str, Any]], path: Path = RESULTS) -> None:
    """Put the rows into RESULTS.md, between its marks; what else stands there is kept."""
    from common.files import write_atomic

    lines = [_BEGIN, "", *_circumstances(), "", "| what | seconds | times faster | than |", "|---|---:|---:|---|"]
    lines += [f"| {r['what']} | {_seconds(r['seconds'])} | {_ratio(r['ratio'])} | {r['against']} |" for r in rows]
    text = path.read_text(encoding="utf-8") if path.exists() else f"{_BEGIN}\n{_END}\n"
    before, rest = text.split(_BEGIN, 1)
    write_atomic(path, before + "\n".join([*lines, "", _END]) + rest.split(_END, 1)[1])


def _circumstances() -> list[str]:
    import datetime
    import importlib.metadata as metadata
    import platform
    import subprocess

    import cv2

    root = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(root)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    versions = ", ".join(
        f"{package} {metadata.version(package)}" for package in ("numpy", "pandas", "pydicom", "torch", "ultralytics")
    )
    return [
        f"Command: `make bench`. Machine: {name}, {available_cores()} cores. Python "
        f"{platform.python_version()}, {versions}, OpenCV {cv2.__version__}.",
        f"Commit {commit.stdout.strip() or 'unknown'}{' with changes' if changed.stdout.strip() else ''}, "
        f"{datetime.date.today().isoformat()}.",
    ]


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.5f}" if value < 0.01 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
