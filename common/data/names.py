"""The class that is scored, by its name. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import UserError

POSITIVE_CLASS = "Lung Opacity"
"""What is scored where a data set has several classes."""


def positive_class(names: Mapping[int, str], where: str, remedy: str = "Is it trained on this data?") -> int:
    """Index of the class that is scored: the only one, or the one named `Lung Opacity`.

    Args:
        names: Class names by index.
        where: Whose they are, for the error.
        remedy: What the user can do, for the error.

    Raises:
        UserError: There are several and none has that name.
    """
    if len(names) == 1:
        return next(iter(names))
    for index, name in names.items():
        if name == POSITIVE_CLASS:
            return index
    raise UserError(
        f"{where}: found {len(names)} classes ({', '.join(list(names.values())[:3])}, ...); expected one, or one named "
        f"{POSITIVE_CLASS}, to score. {remedy}"
    )
