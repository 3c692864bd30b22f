"""What the user has switched off with W&B's own means, and which server a login has to be for.

Radiographs are at stake, so each switch is honoured, and only ever towards less: of several the strictest counts,
whatever precedence W&B itself gives them. None of them brings a run online that would stay in files without it.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.paths import shown

ONLINE = ("online", "run", "shared")
"""Modes of W&B that upload; `run` is an older word for `online`, and with `shared` several processes write one run."""

_OFFLINE = ("offline", "dryrun")
_OFF = ("disabled", "0", "false", "f", "no", "n", "off", "none", "never")
_DEFAULT_SERVER = "https://api.wandb.ai"


@dataclass(frozen=True)
class Restriction:
    """A switch that keeps runs from going online.

    Attributes:
        mode: `offline`: in files only; `disabled`: nothing at all.
        source: The variable or file, and what it says.
        understood: False where the words mean nothing to W&B; then nothing is uploaded, to be on the safe side.
    """

    mode: Literal["offline", "disabled"]
    source: str
    understood: bool = True


def restriction() -> Restriction | None:
    """The strictest of the user's switches; None where none forbids going online."""
    found = list(_restrictions())
    return max(found, key=lambda switch: switch.mode == "disabled", default=None)


def asked_mode() -> str:
    """What `WANDB_MODE` says, in lower case; empty where it is not set."""
    return _word(os.environ.get("WANDB_MODE"))


def servers() -> set[str]:
    """The addresses of the servers that there has to be a login for before anything goes online.

    `WANDB_BASE_URL`, or else W&B's own server; without the variable also those that settings files name, as W&B would
    upload there.
    """
    if given := os.environ.get("WANDB_BASE_URL"):
        return {given}
    named = {url for path in _settings_files() for url in _read(path, "base_url") or ()}
    return {_DEFAULT_SERVER} | named


def _restrictions() -> Iterator[Restriction]:
    if switch := _of_mode(asked_mode(), f"WANDB_MODE={asked_mode()}"):
        yield switch
    if switch := _of_disabled(_word(os.environ.get("WANDB_DISABLED")), "WANDB_DISABLED"):
        yield switch
    for path in _settings_files():
        modes = _read(path, "mode")
        if modes is None:
            yield Restriction("offline", f"{shown(path)} cannot be read", understood=False)
            continue
        for mode in modes:
            if switch := _of_mode(mode, f"{shown(path)}: mode = {mode}"):
                yield switch
        for disabled in _read(path, "disabled") or ():  # of `wandb off`, in old versions
            if switch := _of_disabled(disabled, f"{shown(path)}: disabled"):
                yield switch


def _of_mode(mode: str, source: str) -> Restriction | None:
    if not mode or mode in ONLINE:
        return None
    if mode in _OFF:
        return Restriction("disabled", source)
    return Restriction("offline", source, understood=mode in _OFFLINE)


def _of_disabled(value: str, name: str) -> Restriction | None:
    """Anything but a no means yes."""
    return Restriction("disabled", f"{name}={value}") if value and value not in _OFF[1:] else None


def _settings_files() -> Iterator[Path]:
    """The user's settings file, and those that `wandb offline`, `disabled`, ... write in the current folder.

    W&B reads one of a folder's two; here each counts.
    """
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    roots = [Path(), *(Path(root) for root in [os.environ.get("WANDB_DIR")] if root)]
    for folder in (user, *(root / name for root in roots for name in ("wandb", ".wandb"))):
        try:
            yield folder.expanduser() / "settings"
        except RuntimeError:  # there is no home, hence no such file
            continue


def _read(path: Path, name: str) -> list[str] | None:
    """A setting's values in the sections of a file, none where there is no file; None where it cannot be read."""
    # As W&B does it, but without `%` meaning anything.
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    return [word for section in parser.values() if (word := _word(section.get(name)))]


def _word(value: str | None) -> str:
    """In lower case, without blanks, and without the quotes that files of variables leave around values."""
    return (value or "").strip(" \t\r\n\"'").lower()
