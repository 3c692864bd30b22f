"""Which of a source's classes a data set gets, under which names, and what that makes of each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from common.data.names import COORDINATES
from common.errors import UserError
from convert.sources.annotations import Annotations

NO_FINDING = "No finding"
"""The label of an image of which the source says that there is nothing."""
OTHER_FINDING = "Other finding"
"""The label of an image that has findings, but none of the classes that are taken."""


@dataclass(frozen=True)
class Classes:
    """The classes that are taken.

    Attributes:
        names: Their names in the data set, by class index: in the source's order, whatever was chosen first.
        name_of: The name in the data set by the source's class; a class that is not in it is not taken.
    """

    names: list[str]
    name_of: dict[str, str]


def choose_classes(
    known: Sequence[str],
    wanted: Sequence[str] | None,
    merge: str | None,
    where: str,
    aliases: Mapping[str, str] | None = None,
) -> Classes:
    """Choose from a source's classes.

    Args:
        known: The source's classes in its own order.
        wanted: Names, in any case; None takes all.
        merge: One name for all that are taken; None keeps them apart.
        where: The source's name, for errors.
        aliases: Other ways to write a class, such as its number.

    Raises:
        UserError: A wanted class is not known, or there is none.
    """
    spelled = {name.casefold(): name for name in known}
    spelled |= {alias.casefold(): name for alias, name in (aliases or {}).items() if name in known}
    unknown = [name for name in wanted or () if name.casefold() not in spelled]
    if unknown:
        raise UserError(f"--classes {','.join(unknown)}: not in {where}, which has {', '.join(known) or 'no classes'}.")
    taken = {spelled[name.casefold()] for name in wanted} if wanted is not None else set(known)
    if not taken:
        raise UserError(f"{where}: no class to take. Does it hold annotations?")
    name_of = {name: merge or name for name in known if name in taken}
    return Classes(list(dict.fromkeys(name_of.values())), name_of)


def take(classes: Classes, annotations: Annotations, images: Iterable[str] = ()) -> Annotations:
    """Reduce a source's annotations to the classes that are taken.

    Boxes of classes that are not taken are dropped. An image that has only such boxes has nothing to find, like one
    without any: it gets a row without coordinates, labelled `Other finding`.

    Args:
        classes: What is taken.
        annotations: With the source's classes as labels.
        images: All images that are known to have been looked at; those without a row have no finding.

    Returns:
        The annotations in the order of `annotations`, then of `images`; labels are classes' names in the data set, or
        what takes their place where there is nothing to find, and `positive` tells which.
    """
    table = annotations.table
    source_class = table["label"].fillna("").astype(str)
    nothing = source_class == ""
    taken = source_class.isin(list(classes.name_of))
    kept = table[taken | nothing].copy()
    kept["label"] = source_class.map(classes.name_of).where(taken, table["note"].where(table["note"] != "", NO_FINDING))
    kept["positive"] = taken

    said = set(kept["image_id"])
    others = table[~taken & ~nothing & ~table["image_id"].isin(list(said))].drop_duplicates("image_id")
    others = others.assign(label=OTHER_FINDING, positive=False, **dict.fromkeys(COORDINATES, ""))
    said |= set(others["image_id"])
    silent = pd.DataFrame({"image_id": [image for image in images if image not in said]}, dtype=object)
    silent = silent.assign(
        label=NO_FINDING, positive=False, objection="", note="", row=None, **dict.fromkeys(COORDINATES, "")
    )
    columns = list(Annotations.COLUMNS)
    parts = [part[columns].astype(object) for part in (kept, others, silent) if len(part)]
    result = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype=object)
    return Annotations(result.astype({"positive": bool}))


def from_corners(corners: pd.DataFrame) -> pd.DataFrame:
    """Turn opposite corners into `x, y, width, height`; what is no number stays, for `annotations.clean` to judge.

    Args:
        corners: Columns `x_min, y_min, x_max, y_max`; numbers or text.
    """
    result = pd.DataFrame(index=corners.index, columns=COORDINATES, dtype=object)
    for low, high, size in (("x_min", "x_max", "width"), ("y_min", "y_max", "height")):
        first, last = (pd.to_numeric(corners[name], errors="coerce").astype(float) for name in (low, high))
        result[low[0]] = corners[low]
        difference = (last - first).astype(object)
        # Without both corners there is no size; the odd one out keeps the row from looking like one without a box.
        result[size] = difference.where(difference.notna(), corners[high])
    return result
