"""A JSON object in one of a study's files, its values checked as they are taken; messages name the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from common.errors import UserError
from common.paths import shown

_KINDS = {"text": str, "a list": list, "an object": dict}


@dataclass(frozen=True)
class JsonContent:
    """What a file holds.

    Attributes:
        file: Where it was read from.
        values: By key.
    """

    file: Path
    values: Mapping[str, Any]

    def take_text(self, name: str) -> str:
        """A text that has to be there."""
        return self._take(name, "text")

    def take_list(self, name: str) -> list[Any]:
        """A list that has to be there."""
        return self._take(name, "a list")

    def take_object(self, name: str) -> dict[str, Any]:
        """An object that has to be there."""
        return self._take(name, "an object")

    def number(self, name: str) -> float | None:
        """A finite number, an integer as it is; None where there is none or null."""
        return self.check_number(name, self.values.get(name))

    def whole(self, name: str) -> int | None:
        """A number of things; None where there is none or null."""
        value = self.number(name)
        return None if value is None else int(value)

    def check_number(self, name: str, value: Any) -> float | None:
        """Refuse what is neither a finite number nor null, which is also how JSON writes a score that is not finite."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(f"{name} is {value!r}", "a finite number or null")
        return value

    def refuse(self, found: str, expected: str) -> NoReturn:
        """Say what is wrong with the file.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{shown(self.file)}: found {found}; expected {expected}.")

    def _take(self, name: str, kind: str) -> Any:
        if name not in self.values:
            self.refuse(f"no {name!r}", f"it to be {kind}")
        if not isinstance(self.values[name], _KINDS[kind]):
            self.refuse(f"{name} is {self.values[name]!r}", kind)
        return self.values[name]


def read_json(file: Path, what: str) -> JsonContent:
    """Read a file.

    Args:
        file: The file.
        what: What it should hold, for messages.

    Raises:
        UserError: It is missing or unreadable, or holds no JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{shown(file)}: no such file; expected {what}.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{shown(file)}: cannot be read ({reason}); expected {what}, in JSON.") from error
    if not isinstance(content, dict):
        JsonContent(file, {}).refuse(f"a JSON {type(content).__name__}", "a JSON object")
    return JsonContent(file, content)


def find_json(file: Path) -> JsonContent | None:
    """Read a file; None where there is none, or one that holds no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return JsonContent(file, content) if isinstance(content, dict) else None
