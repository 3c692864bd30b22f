"""Ultralytics, imported so that it phones nobody, installs nothing, runs no pickle, leaves the user's settings alone.

The environment variables below are read once, when Ultralytics is first imported; so every part of this project that
needs it goes through `import_ultralytics`. A variable that the user has set stays as it is.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import common.cores  # noqa: F401  # which reads OMP_NUM_THREADS before Ultralytics sets it
from common.paths import PROJECT

CONFIG_FOLDER = PROJECT / ".cache" / "ultralytics"
"""Where Ultralytics keeps settings of its own; it falls back to the system's temporary folder if this is read-only."""

_PHONING_OR_LOGGING = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def settings_files() -> list[Path]:
    """Where Ultralytics keeps its settings on the systems it knows; not all of them need to be there."""
    folders = [
        Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")),
        Path.home() / "Library" / "Application Support",
        Path.home() / "AppData" / "Roaming",
    ]
    if os.environ.get("YOLO_CONFIG_DIR"):
        folders.insert(0, Path(os.environ["YOLO_CONFIG_DIR"]).expanduser())
    return [folder / "Ultralytics" / "settings.json" for folder in folders]


def read_folder(setting: str, files: Iterable[Path]) -> Path | None:
    """A folder that Ultralytics' settings name, such as `datasets_dir`, from the first file that has it."""
    for file in files:
        try:
            return Path(json.loads(file.read_text(encoding="utf-8"))[setting])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def users_runs() -> Path | None:
    """The folder that plain `yolo train` of this user saves to; None where it has never run."""
    return read_folder("runs_dir", [file for file in settings_files() if CONFIG_FOLDER not in file.parents])


def set_environment(*, offline: bool = True, verbose: bool = False) -> None:
    """Set what Ultralytics reads from the environment at import.

    Args:
        offline: Do not probe the network. Training needs it on to fetch pretrained weights.
        verbose: Let it print its own messages.
    """
    defaults = {
        "YOLO_CONFIG_DIR": os.fspath(CONFIG_FOLDER),
        "YOLO_AUTOINSTALL": "false",  # a missing module named in a checkpoint would be installed by pip
        "ULTRALYTICS_SAFE_LOAD": "true",  # a checkpoint is a pickle: rebuild known model classes only
        "YOLO_VERBOSE": "true" if verbose else "false",
    }
    if offline:
        defaults["YOLO_OFFLINE"] = "true"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def import_ultralytics(*, offline: bool = True, verbose: bool = False) -> ModuleType:
    """Import Ultralytics with synchronisation and third-party loggers off, for this process only.

    Args:
        offline: See `set_environment`.
        verbose: See `set_environment`.

    Returns:
        The `ultralytics` module. Calling again is cheap and harmless.
    """
    set_environment(offline=offline, verbose=verbose)
    # Before Ultralytics, which limits OpenMP to one thread for all that is imported after it.
    import torch  # noqa: F401
    import ultralytics
    from ultralytics.utils import SETTINGS

    # In memory only: with the saver replaced, neither we nor Ultralytics can write the file any more.
    SETTINGS._save = lambda: None  # type: ignore[method-assign]
    SETTINGS.update(
        dict.fromkeys(_PHONING_OR_LOGGING, False)
        | {
            # Its own defaults would be folders beside or in the Git repository it finds itself in: ours.
            "datasets_dir": os.fspath(PROJECT / "datasets"),
            "runs_dir": os.fspath(PROJECT / "runs"),
            "weights_dir": os.fspath(PROJECT / ".cache" / "weights"),
        }
    )
    return ultralytics


@contextmanager
def no_network() -> Iterator[None]:
    """Let nothing that a file asks for while it is loaded look for another machine.

    Of the classes that may be loaded, some fetch weights when they are made. Other threads are left alone.
    """
    here, look_up = threading.get_ident(), socket.getaddrinfo

    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == here:
            raise OSError("it asks for something from the network")
        return look_up(*args, **kwargs)

    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.getaddrinfo = look_up
