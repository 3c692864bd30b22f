"""What a number came from: versions, command line, commit, time."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from common.commands import as_typed
from common.paths import CODE

_PACKAGES = ("rsna-pneumonia-workshop", "ultralytics", "torch", "numpy", "pandas", "faster-coco-eval")


def describe_origin(script: str, argv: Sequence[str]) -> dict[str, Any]:
    """`versions`, `command` as typed, `commit` and `created` (UTC, ISO 8601).

    Args:
        script: Such as `evaluate/score.py`.
        argv: Its arguments.
    """
    return {
        "versions": _versions(),
        "command": f"{as_typed(f'python {script}')} {shlex.join(argv)}".rstrip(),
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The project's commit, with `-dirty` after it if files were changed since; None outside of a Git checkout."""
    git = shutil.which("git")
    if git is None or not (CODE / ".git").exists():
        return None
    try:
        done = subprocess.run(
            [git, "-C", str(CODE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
