"""Where the code lies, and where its commands read and write unless somebody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from common.walking import escape

CODE = Path(__file__).resolve().parents[1]
"""The folder of the packages: the project's root in a checkout, `site-packages` where it was installed."""

IS_CHECKOUT = (CODE / "pyproject.toml").is_file()

PROJECT = CODE if IS_CHECKOUT else Path.cwd()
"""The folder with `datasets/` and `runs/`: a checkout's root, so that its commands mean the same files from any folder;
where the project was installed, the folder in which a command is started."""


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
