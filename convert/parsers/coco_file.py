"""A COCO JSON file, read and checked record by record.

What joins its records are ids, and programs write them in many ways: 1, 1.0 and "1" are one id here. An annotation
whose image or category cannot be found is an error, since its image would else pass for one without a finding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from common.data.names import COORDINATES
from common.errors import UserError
from common.walking import escape
from convert.sources.annotations import is_dummy
from convert.sources.json_files import NotJson, load_json

_EXPECTED = "expected COCO's object detection format: images, categories, and annotations with bbox"
_LISTS = ("images", "categories", "annotations")
_OUTLINES = ("segmentation", "keypoints")
_NOT_CROWDS = (None, False, 0, "", "0", "false", "False")
_NO_NUMBER = "not a number"
"""Stands for a coordinate that is none, and is none itself."""
_NO_BOX = ("", "", "", "")


@dataclass(frozen=True)
class CocoFile:
    """One file of annotations.

    Attributes:
        where: Its name, for errors.
        split: The split that its images go to; empty where they are divided.
        data: Its bytes.
        content: `images`, `categories` and `annotations`, each a list of objects.
    """

    where: str
    split: str
    data: bytes
    content: Mapping[str, list[dict[str, Any]]]


def read_coco(data: bytes, where: str, split: str = "") -> CocoFile:
    """Read a file.

    Raises:
        UserError: It is no JSON, or no COCO.
    """
    try:
        content = load_json(data)
    except NotJson as error:
        raise UserError(f"{where}: not readable as JSON ({error}); {_EXPECTED}.") from error
    if not isinstance(content, dict) or not set(_LISTS) <= content.keys():
        keys = ", ".join(shown(key) for key in list(content)[:5]) if isinstance(content, dict) else shown(content)
        raise UserError(f"{where}: found {keys or 'nothing'}; {_EXPECTED}.")
    for name in _LISTS:
        if not isinstance(content[name], list):
            raise UserError(f"{where}: `{name}` is {shown(content[name])}, expected a list; {_EXPECTED}.")
        strange = next((number for number, one in enumerate(content[name], 1) if not isinstance(one, dict)), None)
        if strange is not None:
            found = shown(content[name][strange - 1])
            raise UserError(f"{where}: entry {strange} of `{name}` is {found}, expected an object; {_EXPECTED}.")
    return CocoFile(where, split, data, {name: content[name] for name in _LISTS})


def image_records(file: CocoFile) -> pd.DataFrame:
    """The images.

    Returns:
        Columns `key` (file and id), `name`, `width` and `height` (float, NaN where not said), `split`, `number` (its
        place in the file, from 1) and `record`.

    Raises:
        UserError: An image has no id or name, or two have one id.
    """
    rows: list[tuple[Any, ...]] = []
    names: dict[str, tuple[str, int]] = {}
    for number, record in enumerate(file.content["images"], start=1):
        here = f"{file.where}: image {number}"
        if missing := [name for name in ("id", "file_name") if name not in record]:
            raise UserError(f"{here}: an image without id or file_name ({', '.join(missing)} missing); {_EXPECTED}.")
        key = id_text(record["id"], f"{here}: its id")
        name = _text(_file_name(record["file_name"]), f"{here}: its file_name")
        first, place = names.setdefault(key, (name, number))
        if first != name:
            raise UserError(
                f"{file.where}: images {place} and {number} have one id, {shown(record['id'])}, but are two pictures, "
                f"{shown(first)} and {shown(name)}: whose boxes are whose cannot be told. Give every image its own id."
            )
        sizes = (_number(record.get("width")), _number(record.get("height")))
        rows.append(((file.where, key), name, *sizes, file.split, number, record))
    columns = ["key", "name", "width", "height", "split", "number", "record"]
    return pd.DataFrame(rows, columns=columns).astype({"width": float, "height": float})


def category_names(files: Sequence[CocoFile]) -> dict[str, str]:
    """Name by id, by rising id, over all files. What only groups others, as Roboflow writes it, is none.

    Raises:
        UserError: A category has no id or name, or two have one id.
    """
    found: dict[str, str] = {}
    groups: set[str] = set()
    for file in files:
        for number, record in enumerate(file.content["categories"], start=1):
            here = f"{file.where}: category {number}"
            if missing := [name for name in ("id", "name") if name not in record]:
                raise UserError(f"{here}: a category without id or name ({', '.join(missing)} missing); {_EXPECTED}.")
            key, name = id_text(record["id"], f"{here}: its id"), _text(record["name"], f"{here}: its name")
            if found.setdefault(key, name) != name:
                raise UserError(f"{here}: {shown(name)} has the id {key}, which {shown(found[key])} has as well.")
            group = record.get("supercategory")
            if isinstance(group, str) and group.strip() != name:
                groups.add(group.strip())
    used = {_loose_key(one.get("category_id")) for file in files for one in file.content["annotations"]}
    classes = {key: name for key, name in found.items() if key in used or name not in groups}
    return dict(sorted(classes.items(), key=_numbers_first))


def annotation_records(file: CocoFile) -> pd.DataFrame:
    """The annotations.

    Returns:
        Columns `key` (file and image's id), `category` (its id), `x, y, width, height` (float or text; empty where
        there is no bbox), `row` (its place in the file, from 1), `where` (words for errors) and `objection` (what
        speaks against its image, or empty).

    Raises:
        UserError: An annotation has no image or no category.
    """
    rows: list[tuple[Any, ...]] = []
    for number, record in enumerate(file.content["annotations"], start=1):
        here = f"{file.where}: annotation {number}"
        if "id" in record:
            here += f" (id {shown(record['id'])})"
        if missing := [name for name in ("image_id", "category_id") if name not in record]:
            raise UserError(f"{here} lacks image_id or category_id ({', '.join(missing)} missing); {_EXPECTED}.")
        image = id_text(record["image_id"], f"{here}: its image_id")
        category = id_text(record["category_id"], f"{here}: its category_id")
        box, objection = _box(record)
        if record.get("iscrowd") not in _NOT_CROWDS:
            objection = "has a crowd region instead of single boxes"
        rows.append(((file.where, image), category, *box, number, here, objection))
    return pd.DataFrame(rows, columns=["key", "category", *COORDINATES, "row", "where", "objection"])


def check_images(annotations: pd.DataFrame, images: pd.DataFrame) -> None:
    """Make sure that the image of every annotation is listed.

    Raises:
        UserError: One is not.
    """
    lost = annotations[~annotations["key"].isin(set(images["key"]))]
    if len(lost):
        first = lost.iloc[0]
        ids = [key for where, key in images["key"] if where == first["key"][0]]
        raise UserError(
            f"{first['where']}: its image_id {shown(first['key'][1])} is not among the {len(ids):,} ids in `images`, "
            f"such as {', '.join(map(shown, ids[:2])) or 'none'}; {_alike(lost)}. Correct the ids, or take these "
            "annotations out: as they are, an image with boxes could pass for one without."
        )


def checked_categories(annotations: pd.DataFrame, categories: Mapping[str, str]) -> tuple[pd.Series, str]:
    """The category of every annotation by its id, and what was assumed for it, in words, or empty.

    Where there is only one category, it is meant by an id that is not listed, if no other is used: some programs count
    categories from 0, others from 1.

    Raises:
        UserError: A category is not listed.
    """
    lost = annotations[~annotations["category"].isin(list(categories))]
    if lost.empty:
        return annotations["category"], ""
    used = set(annotations.loc[~is_dummy(annotations), "category"])
    if len(categories) == 1 and lost["category"].nunique() == 1 and not used & categories.keys():
        (key, name), other = next(iter(categories.items())), lost["category"].iloc[0]
        assumed = (
            f"category_id {other} is not in `categories` ({len(lost):,} x in annotations); taken for the only one "
            f"there, {name} (id {key})."
        )
        return pd.Series(key, index=annotations.index, dtype=object), assumed
    first = lost.iloc[0]
    known = ", ".join(f"{key} ({name})" for key, name in list(categories.items())[:5])
    raise UserError(
        f"{first['where']}: its category_id {shown(first['category'])} is not in `categories`, which has "
        f"{known or 'none'}; {_alike(lost)}. Add the category, correct the ids, or take these annotations out."
    )


def shown(value: object) -> str:
    """A value of a file for an error: short, printable, and of what cannot be short only its kind."""
    if isinstance(value, str | int | float) or value is None:
        text = ascii(value)
        return text if len(text) <= 60 else text[:60] + "..."
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__


def _alike(rows: pd.DataFrame) -> str:
    return "it is the only one" if len(rows) == 1 else f"{len(rows):,} annotations are like it"


def id_text(value: object, what: str) -> str:
    """An id as text, by which 1, 1.0 and "1" are the same.

    Raises:
        UserError: It is none; the message begins with `what`.
    """
    if type(value) is int:
        return str(value)
    key = _loose_key(value)
    if not key:
        raise UserError(f"{what} is {shown(value)}, expected a number or a text; {_EXPECTED}.")
    _text(key, what)
    return key


def _loose_key(value: object) -> str:
    """The same, but empty where the value is no id."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    text = str(value).strip()
    whole = re.fullmatch(r"(-?[0-9]+)\.0+", text)
    return whole[1] if whole else text


def _file_name(value: object) -> object:
    """The same; a name that is no UTF-8, which Python's JSON has with halves of characters, as sources have it."""
    return escape(value) if isinstance(value, str) and re.search("[\udc80-\udcff]", value) else value


def _text(value: object, what: str) -> str:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = ""
    if not text:
        raise UserError(f"{what} is {shown(value)}, expected a text that is not empty; {_EXPECTED}.")
    return text


def _number(value: object) -> float:
    """A finite number, or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _box(record: Mapping[str, Any]) -> tuple[Iterable[float | str], str]:
    """An annotation's box, and what is wrong with it where that speaks against the whole image."""
    box = record.get("bbox")
    if box is None or box == []:
        outline = next((name for name in _OUTLINES if record.get(name)), None)
        return _NO_BOX, f"has an annotation with {outline}, but without bbox" if outline else ""
    if not isinstance(box, list) or len(box) != 4:
        found = f"{len(box)} numbers" if isinstance(box, list) else shown(box)
        return _NO_BOX, f"has an annotation whose bbox is {found}, expected x, y, width and height"
    numbers = map(_number, box)
    return [_NO_NUMBER if math.isnan(number) else number for number in numbers], ""


def _numbers_first(pair: tuple[str, str]) -> tuple[int, int, str]:
    key = pair[0]
    return (0, int(key), "") if re.fullmatch(r"-?[0-9]{1,4000}", key) else (1, 0, key)
