"""Run every benchmark and keep the table: python benchmarks/run.py, or `make bench`. Some only: name them."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from common.cli import console, parser, run
from common.errors import UserError

NAMES = ("metric", "fitting", "scoring", "conversion", "training")


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser(
        "python benchmarks/run.py",
        "Run every benchmark, print its ratios and keep them in RESULTS.md; some only, and nothing is kept.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; without one all")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    chosen = build_parser().parse_args(argv).names or NAMES
    if unknown := [name for name in chosen if name not in NAMES]:
        raise UserError(f"{unknown[0]}: no such benchmark; expected {', '.join(NAMES)}")
    from benchmarks import conversion, fitting, metric, scoring, training
    from benchmarks.results import print_rows, write_rows

    measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "metric": metric.measure,
        "fitting": fitting.measure,
        "scoring": scoring.measure,
        "conversion": conversion.measure,
        "training": training.measure,
    }
    rows = []
    for name in chosen:
        console().print(f"measuring: {name}")
        rows += measures[name]()
    print_rows(rows)
    if set(chosen) == set(NAMES):
        write_rows(rows)
        console().print("kept in benchmarks/RESULTS.md")
    return None


if __name__ == "__main__":
    run(main)
