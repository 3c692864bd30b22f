"""Weights & Biases where it is wanted, and a logger that does nothing where it is not.

Logging never stands in the way of the work: nothing here asks for anything, prints anything but one warning, or raises.

Where a run goes:

- `WANDB_MODE` decides if it is set: `online`, `offline` or `disabled`.
- Otherwise a run goes online if there is a login (`WANDB_API_KEY`, or an entry for the W&B server in `~/.netrc`, which
  `wandb login` makes), and is kept in files if there is none, for `wandb sync FOLDER/wandb/offline-run-*` later.
- All files lie in `FOLDER/wandb`; the user's own W&B settings are neither read for a login nor written.

**One run from training to score.** Given the folder of a training, its W&B run is continued: the one that the folder's
`wandb_run.json` names, or else the one that Ultralytics logged the training to (`evaluate.wandb_runs`). Offline this
makes a second folder `offline-run-*` of the same run id, whose steps begin at 0 again; `wandb sync` with both folders
uploads them into one run.
"""

from __future__ import annotations

import netrc
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from common.cli import print_warning
from common.paths import shown
from evaluate.wandb_runs import find_run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PROJECT_NAME = "rsna-pneumonia"
_SECONDS_TO_CONNECT = 30.0


class Tracker(Protocol):
    """What a command logs to; no method raises."""

    where: str
    """Where the run can be seen, or how to upload it: one line for the user; empty where nothing is logged."""
    run_id: str | None
    """W&B's id of the run; None where nothing is logged."""

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add a step to the run's history: numbers by name."""

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Log a table; a named index becomes a column."""

    def image(self, name: str, image: Path | np.ndarray, caption: str | None = None) -> None:
        """Log a picture: a file, or uint8 (height, width, 3) RGB."""

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Keep a file or folder with the run, as an artifact of type `kind`, such as `predictions`."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set what the run has come to: the values that lists of runs show."""

    def finish(self) -> None:
        """Write everything out and close the run."""


class NullTracker:
    """Logs nothing."""

    where = ""
    run_id: str | None = None

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Do nothing."""

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Do nothing."""

    def image(self, name: str, image: Path | np.ndarray, caption: str | None = None) -> None:
        """Do nothing."""

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Do nothing."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """Logs to a Weights & Biases run. What fails is skipped; the first failure is told as a warning."""

    def __init__(self, run: Any, *, ours: bool = True) -> None:
        """Log to `run`; it is finished by `finish` only if it is `ours`."""
        self._run = run
        self._ours = ours
        self._warned = False
        self.run_id: str | None = run.id
        self.where = _where(run)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add a step to the run's history."""
        self._try("logging", lambda: self._run.log(dict(metrics)))

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Log a table."""

        def action() -> None:
            import wandb

            frame = table if table.index.name is None else table.reset_index()
            rows: list[Any] = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
            columns: list[str | int] = [str(column) for column in frame.columns]
            self._run.log({name: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

        self._try(f"logging table {name}", action)

    def image(self, name: str, image: Path | np.ndarray, caption: str | None = None) -> None:
        """Log a picture."""

        def action() -> None:
            import wandb

            source = os.fspath(image) if isinstance(image, Path) else image
            self._run.log({name: wandb.Image(source, caption=caption)})

        self._try(f"logging picture {name}", action)

    def artifact(self, path: Path, name: str, kind: str) -> None:
        """Keep a file or folder with the run. It is copied, so that it may change afterwards."""

        def action() -> None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9._-]", "-", name), type=kind)
            add = artifact.add_dir if path.is_dir() else artifact.add_file
            add(os.fspath(path))
            self._run.log_artifact(artifact)

        self._try(f"keeping {path}", action)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set what the run has come to."""
        self._try("logging the summary", lambda: self._run.summary.update(dict(values)))

    def finish(self) -> None:
        """Write everything out and close the run."""
        if self._ours:
            self._try("finishing the run", lambda: self._run.finish())

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            if not self._warned:
                _warn(f"{what} failed", error)
            self._warned = True


def start(
    *,
    enabled: bool = True,
    config: Mapping[str, Any] | None = None,
    run_dir: Path | None = None,
    job_type: str = "score",
    project: str = PROJECT_NAME,
    name: str | None = None,
    group: str | None = None,
    folder: Path = Path("runs"),
) -> Tracker:
    """Start a W&B run, or continue that of a training; see the module for where it goes.

    A run that is already open in this process is used, and left open.

    Args:
        enabled: False, as from `--no-wandb`, logs nothing.
        config: The settings of this work. In a continued run they lie under `job_type`, beside those of the training.
        run_dir: The folder of the training, whose run is continued if there is one.
        job_type: What is done: `train`, `score`, ...; a continued run keeps its own.
        project: W&B project of a new run, unless WANDB_PROJECT is set.
        name: Name of a new run; W&B makes one up otherwise.
        group: Group of a new run.
        folder: The files go to `wandb` in this folder, which is made if need be.

    Returns:
        A tracker, one that does nothing where W&B is off, missing or out of order. It must be finished.
    """
    mode = _mode() if enabled else None
    if mode is None:
        return NullTracker()
    try:
        return _start_wandb(mode, dict(config or {}), run_dir, job_type, project, name, group, folder)
    except Exception as error:
        _warn("it could not be started", error)
        return NullTracker()


def _start_wandb(
    mode: Any,
    config: dict[str, Any],
    run_dir: Path | None,
    job_type: str,
    project: str,
    name: str | None,
    group: str | None,
    folder: Path,
) -> Tracker:
    files = folder.absolute() / "wandb"
    # Artifacts wait for their upload, and W&B keeps its cache, beside the runs and not in the user's home.
    os.environ.setdefault("WANDB_DATA_DIR", os.fspath(files / "staging"))
    os.environ.setdefault("WANDB_CACHE_DIR", os.fspath(files / "cache"))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B would report its own errors home

    import wandb

    if wandb.run is not None:
        wandb.run.config.update({job_type: config}, allow_val_change=True)
        return WandbTracker(wandb.run, ours=False)

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        init_timeout=_SECONDS_TO_CONNECT,
    )
    training = find_run(run_dir) if run_dir else None
    if training:
        run = wandb.init(
            id=training.id,
            project=training.project or os.environ.get("WANDB_PROJECT", project),
            entity=training.entity,
            resume="allow",
            config={job_type: config},
            dir=os.fspath(folder),
            settings=settings,
        )
    else:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", project),
            config=config,
            name=name,
            group=group,
            job_type=job_type,
            dir=os.fspath(folder),
            settings=settings,
        )
    return WandbTracker(run)


def _mode() -> str | None:
    """Decide between online and offline; None for neither."""
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked == "disabled":
        return None
    if asked in ("offline", "dryrun"):
        return "offline"
    if _is_logged_in():
        return asked or "online"
    if asked:
        # W&B would ask for a key here, and wait.
        print_warning(
            f"Weights & Biases: WANDB_MODE={asked}, but there is no login; logging offline. Log in with `wandb login`"
        )
    return "offline"


def _is_logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    named = os.environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        try:
            if server in netrc.netrc(Path(path).expanduser()).hosts:
                return True
        except (OSError, RuntimeError, UnicodeDecodeError, netrc.NetrcParseError):
            continue
    return False


def _where(run: Any) -> str:
    if not run.offline:  # offline, W&B prints a warning when asked for the address
        return str(run.url)
    folder = Path(run.dir).parent
    return f"kept offline; upload it with: wandb sync {shown(folder)}"


def _warn(what: str, error: Exception) -> None:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    print_warning(f"Weights & Biases: {what} ({reason}); going on without it. --no-wandb leaves it out")
