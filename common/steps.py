"""Commands run one after the other, each printed before it runs, so that it can be copied."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from common.cli import console
from common.errors import WorkError
from common.paths import PROJECT, shown


def python() -> str:
    """The environment's Python, as a person would type it."""
    own = PROJECT / ".venv" / "bin" / "python"
    return shown(own) if own.exists() else sys.executable


def step(
    title: str, command: Sequence[str], environment: Mapping[str, str], instead: Sequence[str] | None = None
) -> None:
    """Run a command in the project's folder.

    Args:
        title: What it does.
        command: What a person would type; printed.
        environment: Its environment variables.
        instead: What is really run, where that differs.

    Raises:
        WorkError: It fails.
    """
    out = console()
    out.print(f"\n== {title}\n$ {shlex.join(command).replace(str(PROJECT), '$PWD')}", style="bold")
    started = time.monotonic()
    status = subprocess.run(list(instead or command), cwd=PROJECT, env=dict(environment), check=False).returncode
    if status:
        raise WorkError(f"{title}: the command above ended with status {status}. Its own message says why.")
    out.print(f"({time.monotonic() - started:.0f} s)")
