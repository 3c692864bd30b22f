"""Weights & Biases where it is wanted, and a logger that does nothing where it is not.

Logging never stands in the way of the work: nothing here asks for anything, prints anything but one warning, or raises.

Where a run goes:

- A run goes online if there is a login (`WANDB_API_KEY`, or an entry for the W&B server in `~/.netrc`, which
  `wandb login` makes), and is kept in files if there is none, or the server is out of reach, for
  `wandb sync FOLDER/wandb/offline-run-*` later.
- W&B's own switches only ever take away from that, and the strictest counts (`common.tracking.switches`): `WANDB_MODE`,
  `WANDB_DISABLED`, and the settings files that `wandb offline` and `wandb disabled` write. `WANDB_MODE=online` is no
  way around another one. A mode that means nothing to W&B keeps the run in files.
- All files lie in `FOLDER/wandb`; the user's own W&B settings are neither read for a login nor written.

**One run from training to score.** Given the folder of a training, its W&B run is continued: the one that the folder's
`wandb_run.json` names, or else the one that Ultralytics logged the training to (`common.tracking.runs`). Offline this
makes a second folder `offline-run-*` of the same run id; `wandb sync` with all of them uploads them into one run, in
the order of their beginning. A training's steps are its epochs, also when it is resumed; those of a score begin at 0.
"""

from __future__ import annotations

import netrc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.cli import print_warning
from common.paths import shown, without_places
from common.tracking.runs import RunReference, find_run
from common.tracking.switches import ONLINE, asked_mode, restriction, servers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

PROJECT_NAME = "rsna-pneumonia"
_SECONDS_TO_CONNECT = 30.0
_SECONDS_TO_UPLOAD = 600.0
"""At the end of a run; then what is left stays in its files."""
_SECONDS_TO_LOSE = 1.0
"""What a kill may cost: W&B writes its file so often."""

_PICTURE_TYPE = "jpg"
_LAYERS = {0: "truth", 1: "prediction"}
"""Boxes in a picture, by number of columns before their position; W&B gives each a colour."""


@dataclass(frozen=True)
class LoggedPicture:
    """A picture to log, whose boxes can be shown and hidden in W&B.

    Attributes:
        image: A file, or uint8 (height, width) grey or (height, width, 3) RGB.
        caption: One line.
        truth: True boxes, (T, 4): x, y, width, height in pixels of `image`, origin upper-left.
        predictions: (P, 5): confidence, x, y, width, height.
    """

    image: Path | NDArray[np.uint8]
    caption: str | None = None
    truth: NDArray[np.float64] | None = None
    predictions: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Line:
    """A line plot to log: column `y` of a table over column `x`."""

    table: pd.DataFrame
    x: str
    y: str
    title: str


class Tracker:
    """Logs to a Weights & Biases run, or to nothing. No method raises: what fails is skipped, and told once.

    Attributes:
        where: Where the run can be seen, or how to upload it: one line for the user; empty where nothing is logged.
        reference: What it takes to continue the run; None where nothing is logged.
    """

    def __init__(self, run: Any = None, *, ours: bool = True, leave_out: str = "--no-wandb") -> None:
        """Log to a run of W&B, to none where it is None.

        Args:
            run: W&B's run.
            ours: Whether `finish` ends it.
            leave_out: How the user leaves W&B out, for the warning.
        """
        self._run = run
        self._ours = ours
        self._leave_out = leave_out
        self._warned = False
        self.where = _where(run) if run else ""
        self.reference = RunReference(run.id, run.project or None, run.entity or None) if run else None

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Add a step to the run's history.

        Args:
            values: By name: numbers, tables (a named index becomes a column), a `LoggedPicture` or several, a `Line`.
            step: The step's number, which has to rise; without it the next.
        """
        if not self._run:
            return
        ready: dict[str, Any] = {}

        def prepare(name: str) -> None:
            ready[name] = _for_wandb(values[name])

        for name in values:
            self.attempt(f"logging {name}", partial(prepare, name))
        self.attempt("logging", lambda: self._run.log(ready, step=step, commit=True))

    def axis(self, name: str, groups: Sequence[str]) -> None:
        """Plot what is logged under `group/...` over the number logged as `name`, instead of over the step."""

        def action() -> None:
            for group in groups:
                self._run.define_metric(f"{group}/*", step_metric=name)

        if self._run:
            self.attempt("defining an axis", action)

    def artifact(self, path: Path, name: str, kind: str, aliases: Sequence[str] = ()) -> None:
        """Keep a file or folder with the run. It is copied, so that it may change afterwards.

        Args:
            path: The file or folder.
            name: Versions of one name follow each other; what W&B does not allow in it is replaced.
            kind: Such as `predictions`.
            aliases: Names of this version, such as `best`.
        """

        def action() -> None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9._-]", "-", name), type=kind)
            add = artifact.add_dir if path.is_dir() else artifact.add_file
            add(os.fspath(path))
            self._run.log_artifact(artifact, aliases=list(aliases) or None)

        if self._run:
            self.attempt(f"keeping {path}", action)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set what the run has come to: the values that lists of runs show."""
        if self._run:
            self.attempt("logging the summary", lambda: self._run.summary.update(dict(values)))

    def finish(self, *, failed: bool = False) -> None:
        """Write everything out and close the run, as failed or not; nothing can be logged after it."""
        run, self._run = self._run, None
        if run and self._ours:
            self.attempt("finishing the run", lambda: run.finish(exit_code=1 if failed else 0))

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Do what must not fail the work; the first failure is told as a warning, which names `what`."""
        try:
            action()
        except Exception as error:
            if not self._warned:
                _warn(f"{what} failed", error, self._leave_out)
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
    stats: bool = False,
    leave_out: str = "--no-wandb",
) -> Tracker:
    """Start a W&B run, or continue that of a training; see the module for where it goes.

    A run that is already open in this process is used, and left open.

    Args:
        enabled: False, as from `--no-wandb`, logs nothing.
        config: The settings of this work. In a continued run they lie under `job_type`, beside those of the training;
            if it is the training itself that goes on (`train`), they are the run's own.
        run_dir: The folder of the training, whose run is continued if there is one.
        job_type: What is done: `train`, `score`, ...; a continued run keeps its own.
        project: W&B project of a new run, unless WANDB_PROJECT is set.
        name: Name of a new run; W&B makes one up otherwise.
        group: Group of a new run.
        folder: The files go to `wandb` in this folder, which is made if need be.
        stats: Log the machine's load (CPU, GPU, memory) beside.
        leave_out: How the user leaves W&B out, for warnings.

    Returns:
        A tracker, one that does nothing where W&B is off, missing or out of order. It must be finished.
    """
    mode = _mode() if enabled else None
    if mode is None:
        return Tracker()
    config = without_places(dict(config or {}))
    try:
        folder = folder.absolute()  # W&B's background process may have been started in another folder
        _keep_files_in(folder / "wandb")
        import wandb

        if wandb.run is not None:
            if (switch := restriction()) and not wandb.run.offline:
                print_warning(f"Weights & Biases: {switch.source}, but the open run is online; nothing is logged to it")
                return Tracker()
            wandb.run.config.update({job_type: config}, allow_val_change=True)
            return Tracker(wandb.run, ours=False, leave_out=leave_out)

        training = find_run(run_dir) if run_dir else None
        whose: dict[str, Any] = {"project": os.environ.get("WANDB_PROJECT", project), "config": config}
        if training is None or job_type == "train":
            whose |= {"name": name, "group": group, "job_type": job_type}
        else:
            whose["config"] = {job_type: whose["config"]}
        if training:
            whose |= {"id": training.id, "entity": training.entity, "resume": "allow"}
            whose["project"] = training.project or whose["project"]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            run = wandb.init(**whose, dir=os.fspath(folder), settings=_settings(mode, stats))
        except Exception as error:
            if mode == "offline":
                raise
            print_warning(f"Weights & Biases: cannot go online ({_reason(error)}); logging offline")
            run = wandb.init(**whose, dir=os.fspath(folder), settings=_settings("offline", stats))
        return Tracker(run, leave_out=leave_out)
    except Exception as error:
        _warn("it could not be started", error, leave_out)
        return Tracker()


def is_configured() -> bool:
    """Whether the user has W&B set up: a login, or `WANDB_MODE`; and has not switched it off."""
    switch = restriction()
    if switch and switch.mode == "disabled":
        return False
    return bool(asked_mode()) or _is_logged_in()


def _settings(mode: Any, stats: bool) -> Any:
    import wandb

    return wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        # No name of the machine or its user, and no path of theirs: runs are shared.
        host="",
        x_disable_meta=True,
        x_disable_machine_info=not stats,
        x_disable_stats=not stats,
        init_timeout=_SECONDS_TO_CONNECT,
        finish_timeout=_SECONDS_TO_UPLOAD,
        x_transaction_log_flush_interval=_SECONDS_TO_LOSE,
    )


_ENVIRONMENT: dict[str, str] = {}


def _keep_files_in(files: Path) -> None:
    """Let artifacts wait for their upload, and W&B keep its cache, beside the run and not in the user's home."""
    wanted = {
        "WANDB_DATA_DIR": os.fspath(files / "staging"),
        "WANDB_CACHE_DIR": os.fspath(files / "cache"),
        "WANDB_ERROR_REPORTING": "false",  # W&B would report its own errors home
    }
    for name, value in wanted.items():
        if os.environ.get(name) in (None, _ENVIRONMENT.get(name)):  # not set, or by the last run of this process
            os.environ[name] = _ENVIRONMENT[name] = value


def _for_wandb(value: Any) -> Any:
    """W&B's own type of what `Tracker.log` takes."""
    import pandas as pd
    import wandb

    if isinstance(value, LoggedPicture):
        source = os.fspath(value.image) if isinstance(value.image, Path) else value.image
        layers = {"truth": _layer(value.truth), "predictions": _layer(value.predictions)}
        boxes = {name: layer for name, layer in layers.items() if layer is not None}
        kind = None if isinstance(value.image, Path) else _PICTURE_TYPE
        return wandb.Image(source, caption=value.caption, boxes=boxes or None, file_type=kind)
    if isinstance(value, Line):
        return wandb.plot.line(_for_wandb(value.table), value.x, value.y, title=value.title)
    if isinstance(value, pd.DataFrame):
        frame = value if value.index.name is None else value.reset_index()
        rows: list[Any] = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
        columns: list[str | int] = [str(column) for column in frame.columns]
        return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
    if isinstance(value, list | tuple) and value and all(isinstance(item, LoggedPicture) for item in value):
        return [_for_wandb(item) for item in value]
    return value


def _layer(boxes: NDArray[np.float64] | None) -> dict[str, Any] | None:
    """Boxes as W&B wants them: (N, 4) of the truth or (N, 5) of predictions, which have a confidence in front."""
    if boxes is None:
        return None
    data = []
    for *confidence, x, y, width, height in boxes.tolist():
        box = {
            "position": {"minX": x, "minY": y, "maxX": x + width, "maxY": y + height},
            "domain": "pixel",
            "class_id": len(confidence),
        }
        if confidence:
            box |= {"scores": {"confidence": confidence[0]}, "box_caption": f"{confidence[0]:.2f}"}
        data.append(box)
    return {"box_data": data, "class_labels": _LAYERS}


def _mode() -> str | None:
    """Decide between online and offline; None for neither."""
    asked = asked_mode()
    if switch := restriction():
        mode = switch.mode
        result = "logging offline" if mode == "offline" else "logging nothing"
        if not switch.understood:
            print_warning(f"Weights & Biases: {switch.source}; {result}. W&B knows online, offline and disabled")
        elif asked in ONLINE:
            print_warning(f"Weights & Biases: WANDB_MODE={asked}, but {switch.source}; {result}")
        return None if mode == "disabled" else mode
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
    wanted = {urlsplit(server).netloc for server in servers()}
    named = os.environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        try:
            if wanted <= set(netrc.netrc(Path(path).expanduser()).hosts):
                return True
        except (OSError, RuntimeError, UnicodeDecodeError, netrc.NetrcParseError):
            continue
    return False


def _where(run: Any) -> str:
    if not run.offline:  # offline, W&B prints a warning when asked for the address
        return str(run.url)
    folder = Path(run.dir).parent
    all_of_it = f"offline-run-*-{run.id}*"  # of the same second, one has -1 at its end
    several = len(list(folder.parent.glob(all_of_it))) > 1  # of a continued run
    return f"kept offline; upload it with: wandb sync {shown(folder.parent / all_of_it if several else folder)}"


def _warn(what: str, error: Exception, leave_out: str) -> None:
    print_warning(f"Weights & Biases: {what} ({_reason(error)}); going on without it. {leave_out} leaves it out")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
