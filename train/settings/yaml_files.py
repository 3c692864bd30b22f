"""YAML files of the user's: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.errors import UserError


def read_mapping(file: Path, unreadable: str, no_mapping: str) -> dict[str, Any]:
    """Read a YAML file of `key: value` lines.

    Args:
        file: The file.
        unreadable: What to say if it cannot be read; `{reason}` in it is replaced by why.
        no_mapping: What to say if something else is in it.

    Raises:
        UserError: One of the two.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(unreadable.replace("{reason}", reason)) from error
    if not isinstance(content, dict):
        raise UserError(no_mapping)
    return content
