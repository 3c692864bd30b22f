"""COCO JSON: `images`, `categories` and `annotations` with `bbox` as x, y, width, height in pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.names import COORDINATES
from common.errors import UserError
from convert.sources.annotations import Annotations, clean, spread
from convert.sources.boxes import REJECTED_COLUMNS
from convert.sources.classes import choose_classes, take
from convert.sources.files import Source, open_source
from convert.sources.locating import Located, locate
from convert.sources.parsed import Parsed, all_rejected, digest, is_synthetic, read_file, rejected_images, with_file
from convert.sources.patients import find_patients

_EXPECTED = "expected COCO's object detection format: images, categories, and annotations with bbox"


def parse(
    path: Path,
    *,
    annotations: Mapping[str, Sequence[Path]],
    classes: Sequence[str] | None,
    merge: str | None,
    patient_key: str | None = None,
    patient_pattern: str | None = None,
) -> Parsed:
    """Read the JSON and find the pictures. An image without annotations has nothing to find, as COCO means it.

    Args:
        path: Folder or zip with the pictures.
        annotations: JSON files by the split that their images go to; those of `""` are divided. Without any, the one
            JSON file in the source is taken.
        classes: See `classes.choose_classes`.
        merge: See `classes.choose_classes`.
        patient_key: What names the patient in the records of `images`.
        patient_pattern: See `patients.find_patients`.

    Raises:
        UserError: A file is missing or no COCO JSON, files contradict each other, or a class is not known.
    """
    source = open_source(path)
    contents = _contents(source, annotations)
    images = pd.concat([_images(content, where, split) for split, where, content, _ in contents], ignore_index=True)
    categories = _categories([(content, where) for _, where, content, _ in contents])
    chosen = choose_classes(list(categories.values()), classes, merge, contents[0][1])
    rows = pd.concat([_annotations(content, where) for _, where, content, _ in contents], ignore_index=True)

    located = locate(source, images["name"])
    images["image_id"] = images["name"].map(located.ids)
    twice = images[images.duplicated("image_id")]
    images = images.drop_duplicates("image_id")
    by_key = dict(zip(images["key"], images["image_id"], strict=True))
    rows["image_id"] = rows["key"].map(by_key).astype(object)
    homeless = rows[rows["image_id"].isna()]
    rows = rows[rows["image_id"].notna()]
    rows["label"] = rows["category"].map(categories)
    unknown = rows["label"].isna()
    # Kept among the chosen, so that the objection is heard.
    rows.loc[unknown, "label"] = next(iter(chosen.name_of))
    rows.loc[unknown, "objection"] = "has an annotation of an unknown category"
    annotated = Annotations.of(
        image_id=rows["image_id"],
        boxes=rows[COORDINATES],
        label=rows["label"],
        row=rows["row"],
        objection=rows["objection"],
    )
    taken = take(chosen, annotated, images["image_id"]).table
    taken["objection"] = spread(taken["objection"], taken["image_id"])
    cleaned = clean(Annotations(taken), "annotations", several_labels=True)

    shapes = zip(images["image_id"], images["width"], images["height"], strict=True)
    return Parsed(
        source=source,
        boxes=with_file(cleaned.boxes, located.files),
        rejected=all_rejected(cleaned.rejected, *_objections(located, twice, homeless)),
        files=located.files,
        patients=_patients(source, located.files, images, patient_key, patient_pattern),
        class_names=chosen.names,
        fingerprint={
            "source": "COCO",
            "annotations": [digest(data) for *_, data in contents],
            "classes": chosen.name_of,
            "patients": patient_key or patient_pattern,
            "synthetic": is_synthetic(source) or None,
        },
        fixed={
            split: ids
            for split in ("val", "test")
            if (ids := images.loc[images["split"] == split, "image_id"].tolist())
        },
        shapes={key: (int(width), int(height)) for key, width, height in shapes if width == width and height == height},
    )


def _contents(source: Source, given: Mapping[str, Sequence[Path]]) -> list[tuple[str, str, dict[str, Any], bytes]]:
    """Split, file name, content and bytes of each JSON."""
    files = [(split, str(path), read_file(path)) for split, paths in given.items() for path in paths]
    if not files:
        found = [name for name in source.names if name.lower().endswith(".json")]
        if len(found) != 1:
            raise UserError(
                f"{source.path}: {len(found)} JSON files in it ({', '.join(found[:3]) or 'none'}), expected one; name "
                "the COCO annotations with --annotations."
            )
        files = [("", f"{source.path}/{found[0]}", source.read_whole(found[0]))]
    result = []
    for split, where, data in files:
        try:
            content = json.loads(data)
        except ValueError as error:
            raise UserError(f"{where}: not readable as JSON ({error}); {_EXPECTED}.") from error
        if not isinstance(content, dict) or not {"images", "categories", "annotations"} <= content.keys():
            keys = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
            raise UserError(f"{where}: found {keys or 'nothing'}; {_EXPECTED}.")
        result.append((split, where, content, data))
    return result


def _images(content: Mapping[str, Any], where: str, split: str) -> pd.DataFrame:
    try:
        rows = [
            ((where, image["id"]), image["file_name"], image.get("width"), image.get("height"), split, image)
            for image in content["images"]
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: an image without id or file_name ({error!r}); {_EXPECTED}.") from error
    table = pd.DataFrame(rows, columns=["key", "name", "width", "height", "split", "record"])
    table[["width", "height"]] = table[["width", "height"]].apply(pd.to_numeric, errors="coerce")
    return table.astype({"name": str})


def _categories(contents: Sequence[tuple[Mapping[str, Any], str]]) -> dict[Any, str]:
    """Name by id, by rising id, over all files."""
    found: dict[Any, str] = {}
    for content, where in contents:
        try:
            listed = {category["id"]: str(category["name"]).strip() for category in content["categories"]}
        except (TypeError, KeyError) as error:
            raise UserError(f"{where}: a category without id or name ({error!r}); {_EXPECTED}.") from error
        for key, name in listed.items():
            if found.setdefault(key, name) != name:
                raise UserError(f"{where}: category {key} is {name!r}, in another file {found[key]!r}.")
    return dict(sorted(found.items(), key=lambda pair: (str(type(pair[0])), pair[0])))


def _annotations(content: Mapping[str, Any], where: str) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for number, annotation in enumerate(content["annotations"], start=1):
        try:
            box = annotation.get("bbox")
            image, category = annotation["image_id"], annotation["category_id"]
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{where}: annotation {number} lacks image_id or category_id ({error!r}).") from error
        usable = isinstance(box, list | tuple) and len(box) == 4
        crowd = "has a crowd region instead of single boxes" if annotation.get("iscrowd") else ""
        rows.append(((where, image), category, *(box if usable else [""] * 4), number, crowd))
    return pd.DataFrame(rows, columns=["key", "category", *COORDINATES, "row", "objection"])


def _objections(located: Located, twice: pd.DataFrame, homeless: pd.DataFrame) -> list[pd.DataFrame]:
    unfound = [(located.ids[name], "images", reason) for name, reason in located.objections.items()]
    again = [(image_id, "images", "listed again; the first is used") for image_id in twice["image_id"]]
    lost = [("", "annotations", row, "annotation of an image that is not in images") for row in homeless["row"]]
    unlisted = [(key, file, "a picture that is not in images") for file, key in located.unnamed.items()]
    return [
        rejected_images([*unfound, *again]),
        pd.DataFrame(lost, columns=REJECTED_COLUMNS, dtype=object),
        rejected_images(unlisted),
    ]


def _patients(
    source: Source, files: Mapping[str, str], images: pd.DataFrame, key: str | None, pattern: str | None
) -> pd.Series | None:
    if key is None:
        return find_patients(source, files, pattern)
    known = {
        image_id: str(record[key])
        for image_id, record in zip(images["image_id"], images["record"], strict=True)
        if record.get(key) not in (None, "")
    }
    if not known:
        raise UserError(f"--patient-key {key}: no image record has it; the first has {', '.join(images['record'][0])}.")
    return pd.Series(known, dtype=str)
