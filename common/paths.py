"""Where the code lies, and where its commands read and write unless somebody says otherwise."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.walking import escape

CODE = Path(__file__).resolve().parents[1]
"""The folder of the packages: the project's root in a checkout, `site-packages` where it was installed."""

IS_CHECKOUT = (CODE / "pyproject.toml").is_file()

PROJECT = CODE if IS_CHECKOUT else Path.cwd()
"""The folder with `datasets/` and `runs/`: a checkout's root, so that its commands mean the same files from any folder;
where the project was installed, the folder in which a command is started."""


_ABSOLUTE = re.compile(r"(?<![^\s('\"])/(?:[^\s/:;,()'\"]+/)+[^\s/:;,()'\"]+")


def default_data() -> Path:
    """The data YAML that is meant if none is named: `rsna.yaml`, which only a checkout has, or the converted set's."""
    own = PROJECT / "rsna.yaml"
    return own if own.is_file() else PROJECT / "datasets" / "rsna" / "data.yaml"


def shown(path: Path) -> str:
    """The path as a person would type it: relative to the current folder when it lies below it; see `escape`."""
    try:
        return escape(str(path.absolute().relative_to(Path.cwd()))) or "."
    except (ValueError, OSError):
        return escape(os.fspath(path))


def typed(path: Path) -> str:
    """The path as a person would type it in a command: `shown`, and quoted where a shell would take it apart."""
    return shlex.quote(shown(path))


def brief(path: Path) -> str:
    """The path for a heading, or for a record that others may read: it does not tell where on this machine things lie.

    Returns:
        What lies below the current folder or the project, from there. Of any other path, which is no way to the file
        then, the last two names, or three for weights, which all have the same two.
    """
    text = shown(path)
    if not Path(text).is_absolute():
        return text
    if path.is_relative_to(PROJECT):
        return escape(path.relative_to(PROJECT).as_posix())
    names = path.parts[1:][-3 if path.parent.name == "weights" else -2 :]
    return escape("/".join(names))


def brief_text(text: str) -> str:
    """A sentence with each absolute path in it made `brief`."""
    return _ABSOLUTE.sub(lambda found: brief(Path(found[0])), text)


def without_places(value: Any) -> Any:
    """The value for others to read: of an absolute path in it what lies below the project, else the last name alone.

    Args:
        value: A text, a path, or a mapping or list of such; anything else stays as it is.
    """
    if isinstance(value, Mapping):
        return {key: without_places(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(one) for one in value]
    if not isinstance(value, str | Path) or not Path(value).is_absolute():
        return value
    path = Path(value)
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else path.name
