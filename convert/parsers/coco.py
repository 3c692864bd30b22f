"""COCO JSON: `images`, `categories` and `annotations` with `bbox` as x, y, width, height in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.names import COORDINATES
from common.errors import UserError
from convert.parsers.coco_file import (
    CocoFile,
    annotation_records,
    category_names,
    check_images,
    checked_categories,
    id_text,
    image_records,
    read_coco,
    shown,
)
from convert.parsers.csv_columns import CORNERS
from convert.sources.annotations import Annotations, clean, is_dummy, spread
from convert.sources.classes import choose_classes, from_corners, take
from convert.sources.files import Source, open_source
from convert.sources.locating import Located, locate
from convert.sources.parsed import Parsed, all_rejected, digest, is_synthetic, read_file, rejected_images, with_file
from convert.sources.patients import find_patients


def parse(
    path: Path,
    *,
    annotations: Mapping[str, Sequence[Path]],
    classes: Sequence[str] | None,
    merge: str | None,
    patient_key: str | None = None,
    patient_pattern: str | None = None,
    corners: bool = False,
    dummies: bool = True,
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
        corners: Take `bbox` for the upper left and the lower right corner, as some programs write it.
        dummies: Take the bbox 0, 0, 1, 1 for a sign that there is none.

    Raises:
        UserError: A file is missing or no COCO JSON, files contradict each other, a class is not known, or an
            annotation's image or category is not listed.
    """
    source = open_source(path)
    files = _files(source, annotations)
    images = pd.concat([image_records(file) for file in files], ignore_index=True)
    categories = category_names(files)
    chosen = choose_classes(list(categories.values()), classes, merge, files[0].where)
    rows = pd.concat([annotation_records(file) for file in files], ignore_index=True)
    check_images(rows, images)
    rows["category"], assumed = checked_categories(rows, categories)
    if assumed:
        print_warning(f"{files[0].where}: {assumed}")
    if dummies:
        rows = _without_dummies(rows, files[0].where)
    if corners:
        rows[COORDINATES] = from_corners(rows[COORDINATES].set_axis(CORNERS, axis=1))

    located = locate(source, images["name"])
    images["image_id"] = images["name"].map(located.ids)
    rows["image_id"] = rows["key"].map(dict(zip(images["key"], images["image_id"], strict=True))).astype(object)
    images, twice = _once(images)
    rows["label"] = rows["category"].map(categories)
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
        rejected=all_rejected(cleaned.rejected, *_objections(located, twice)),
        files=located.files,
        patients=_patients(source, located.files, images, patient_key, patient_pattern),
        class_names=chosen.names,
        fingerprint={
            "source": "COCO",
            "annotations": [digest(file.data) for file in files],
            "classes": chosen.name_of,
            "patients": patient_key or patient_pattern,
            "synthetic": is_synthetic(source) or None,
        }
        | ({"bbox": "corners"} if corners else {}),
        other_reading="--bbox " + ("sizes" if corners else "corners"),
        fixed={
            split: ids
            for split in ("val", "test")
            if (ids := images.loc[images["split"] == split, "image_id"].tolist())
        },
        shapes={key: (int(width), int(height)) for key, width, height in shapes if width == width and height == height},
    )


def _files(source: Source, given: Mapping[str, Sequence[Path]]) -> list[CocoFile]:
    files = [read_coco(read_file(path), str(path), split) for split, paths in given.items() for path in paths]
    if files:
        return files
    found = [name for name in source.names if name.lower().endswith(".json")]
    if len(found) != 1:
        raise UserError(
            f"{source.path}: {len(found)} JSON files in it ({', '.join(found[:3]) or 'none'}), expected one; name "
            "the COCO annotations with --annotations."
        )
    return [read_coco(source.read_whole(found[0]), f"{source.path}/{found[0]}")]


def _without_dummies(rows: pd.DataFrame, where: str) -> pd.DataFrame:
    """Leave out the boxes that say there is none, and say so."""
    dummies = is_dummy(rows)
    count = int(dummies.sum())
    if not count:
        return rows
    if dummies.all():
        raise UserError(
            f"{where}: every bbox is 0, 0, 1, 1, expected boxes in pixels. If a box is meant to be the whole picture, "
            "write the picture's size."
        )
    print_warning(
        f"{where}: the bbox 0, 0, 1, 1 ({count:,} x in annotations) is not taken for a box: exports give it to images "
        "without a finding."
    )
    return rows[~dummies].reset_index(drop=True)


def _once(images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures, each once though it may be listed several times; and the further listings.

    Raises:
        UserError: The listings of a picture differ in its size or its split.
    """
    again = images.duplicated("image_id")
    if not again.any():
        return images, images[again]
    for _, listed in images[images.duplicated("image_id", keep=False)].groupby("image_id", sort=False):
        splits = set(listed["split"]) - {""}
        sizes = listed[["width", "height"]].dropna().drop_duplicates()
        if len(splits) > 1 or len(sizes) > 1:
            first = listed.iloc[0]
            places = " and ".join(
                f"image {number} of {key[0]}" for key, number in zip(listed["key"], listed["number"], strict=True)
            )
            found = f"the splits {' and '.join(sorted(splits))}" if len(splits) > 1 else "different width and height"
            raise UserError(
                f"{first['key'][0]}: {shown(first['name'])} is listed {len(listed)} times, with {found} ({places}), "
                "expected one. Take all but one out."
            )
        # A file for a split may repeat what is in the file of everything.
        images.loc[listed.index, "split"] = next(iter(splits), "")
        images.loc[listed.index, ["width", "height"]] = sizes.iloc[0].to_numpy() if len(sizes) else math.nan
    return images[~again], images[again]


def _objections(located: Located, twice: pd.DataFrame) -> list[pd.DataFrame]:
    unfound = [(located.ids[name], "images", reason) for name, reason in located.objections.items()]
    again = [(image_id, "images", "listed again; its annotations count") for image_id in twice["image_id"]]
    unlisted = [(key, file, "a picture that is not in images") for file, key in located.unnamed.items()]
    return [rejected_images([*unfound, *again, *unlisted])]


def _patients(
    source: Source, files: Mapping[str, str], images: pd.DataFrame, key: str | None, pattern: str | None
) -> pd.Series | None:
    if key is None:
        return find_patients(source, files, pattern)
    if pattern is not None:
        raise UserError(
            f"--patient-key {key} and --patient-pattern {pattern!r}: both say who the patient is; leave one out."
        )
    known = {
        image_id: id_text(record[key], f"{where[0]}: image {number}: its {key}")
        for image_id, record, where, number in zip(
            images["image_id"], images["record"], images["key"], images["number"], strict=True
        )
        if record.get(key) not in (None, "")
    }
    if not known:
        first = ", ".join(map(str, images["record"].iloc[0])) if len(images) else "nothing"
        raise UserError(f"--patient-key {key}: no image record has it; the first has {first[:200]}.")
    return pd.Series(known, dtype=str)
