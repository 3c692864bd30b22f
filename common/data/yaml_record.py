"""A YAML file of the project's own, read strictly: what is wrong with it is said in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from common.errors import UnreadableError, UserError
from common.files import read_regular
from common.paths import shown

SHA256 = re.compile("[0-9a-f]{64}")


class YamlRecord:
    """Reads such a file; what there is in it, a subclass knows.

    Attributes:
        path: The file.
        kind: What it is, such as `a file of a fitted pipeline`.
        remedy: What to do where it is not.
        most_bytes: What is larger is not read.
    """

    kind: ClassVar[str]
    remedy: ClassVar[str]
    most_bytes: ClassVar[int]

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self.path = path

    def content(self) -> Any:
        """The file's content.

        Raises:
            UserError: It cannot be read, or is no YAML.
        """
        try:
            return yaml.safe_load(read_regular(self.path, self.most_bytes).decode("utf-8-sig"))
        except UnreadableError as error:
            self.refuse(f"cannot be read ({error})", self.kind)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f", at line {mark.line + 1}" if mark else ""
            self.refuse(f"no readable YAML{where}", self.kind)

    def mapping(self, value: Any, name: str, expected: Collection[str] | None) -> dict[str, Any]:
        """Names with values; with `expected`, these names and no others.

        Raises:
            UserError: It is something else.
        """
        if not isinstance(value, dict):
            self.refuse(f"{name} is {told(value)}", "names with values")
        if expected is not None and (missing := [key for key in expected if key not in value]):
            self.refuse(f"{name} lacks {missing[0]}", ", ".join(expected))
        if expected is not None and (unknown := [key for key in value if key not in expected]):
            self.refuse(f"{name} has {told(unknown[0])}", ", ".join(expected))
        return value

    def whole(self, content: dict[str, Any]) -> None:
        """See that the file was written to its end, where it says so.

        Raises:
            UserError: It was not.
        """
        if content["complete"] is not True:
            self.refuse(f"complete is {told(content['complete'])}", "true, at the end of a whole file")

    def refuse(self, found: str, expected: str) -> NoReturn:
        """Say what was found and expected.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{shown(self.path)}: {found}; expected {expected}. {self.remedy}.") from None


def told(value: Any) -> str:
    """What was found, short and in one line."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
