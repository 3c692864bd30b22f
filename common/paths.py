"""Where the project lies, so that its commands mean the same files from any folder."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
"""The project's root folder: the one with `rsna.yaml`, `datasets/` and `runs/`."""


def shown(path: Path) -> str:
    """The path as a person would type it: relative to the current folder when it lies below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd())) or "."
    except (ValueError, OSError):
        return os.fspath(path)
