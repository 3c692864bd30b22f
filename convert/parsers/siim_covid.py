"""The SIIM-FISABIO-RSNA COVID-19 challenge as Kaggle serves it."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.csv_files import LINE
from common.data.names import COORDINATES
from convert.parsers.rsna import OPACITY
from convert.sources.annotations import Annotations, clean
from convert.sources.files import open_source
from convert.sources.locating import locate
from convert.sources.parsed import Parsed, all_rejected, is_synthetic, rejected_images, table_digest, with_file

LABELS = "train_image_level.csv"
TEST_FOLDER = "test"
NO_OPACITY = "No opacity"

_TOLERANCE = 1.0
"""Pixels by which a box may differ between the columns `boxes` and `label`, which round differently."""
_REMEDY = (
    "Expected Kaggle's siim-covid19-detection: the folder or zip with train_image_level.csv and the folder train of "
    "<study>/<series>/<image>.dcm. datasets/README.md says where to get it."
)


def parse(path: Path) -> Parsed:
    """Read the table and find the pictures.

    Patients are not known; images of a study stay together. An image without boxes is left out where another image of
    its study has some: it shows the same lungs, and mostly nobody drew the boxes again.

    Args:
        path: The release's folder or zip.

    Raises:
        UserError: The table is missing or lacks a column.
    """
    source = open_source(path)
    table = source.table(LABELS, ["id", "boxes", "label", "StudyInstanceUID"], _REMEDY)
    names = table["id"].str.strip().str.replace(r"_image$", "", regex=True)
    located = locate(source, names.unique())
    table["image_id"] = located.ids_of(names)
    table["study"] = table["StudyInstanceUID"].str.strip()
    cleaned = clean(_annotations(table), LABELS)

    reasons = located.reasons()
    known = set(table["image_id"])
    files = {image_id: file for image_id, file in located.files.items() if image_id in known}
    boxes = with_file(cleaned.boxes, files)
    challenge = {key: file for file, key in located.unnamed.items() if TEST_FOLDER in file.split("/")[:-1]}
    missing = sorted(set(cleaned.boxes["image_id"]) - files.keys())
    objections = [(image_id, LABELS, reasons[image_id]) for image_id in missing]
    objections += [
        (key, file, f"a picture without a row in {LABELS}")
        for file, key in located.unnamed.items()
        if key not in challenge
    ]
    return Parsed(
        source=source,
        boxes=boxes,
        rejected=all_rejected(cleaned.rejected, rejected_images(objections)),
        files=files,
        challenge_files=challenge,
        patients=_studies(table, challenge),
        class_names=[OPACITY],
        fingerprint={
            "source": "SIIM-FISABIO-RSNA COVID-19",
            "labels": table_digest(table),
            "synthetic": is_synthetic(source),
        },
    )


def _studies(table: pd.DataFrame, challenge: dict[str, str]) -> pd.Series:
    """The study of each image, in the place of its patient; of the challenge's images, by their folders."""
    named = table[table["study"] != ""].drop_duplicates("image_id").set_index("image_id")["study"]
    folders = {key: file.split("/")[-3] for key, file in challenge.items() if file.count("/") >= 2}
    return pd.concat([named.astype(object), pd.Series(folders, dtype=object)])


def _annotations(table: pd.DataFrame) -> Annotations:
    """One row per box, or per image without."""
    rows: list[tuple[Any, ...]] = []
    for image_id, boxes, label, row in zip(table["image_id"], table["boxes"], table["label"], table[LINE], strict=True):
        found, objection = _boxes(boxes.strip(), label.strip())
        rows += [(image_id, *box, row, objection) for box in found or [("", "", "", "")]]
    raw = pd.DataFrame(rows, columns=["image_id", *COORDINATES, "row", "objection"])
    positive = raw["x"].astype(str) != ""

    study = raw["image_id"].map(table.drop_duplicates("image_id").set_index("image_id")["study"])
    boxed = raw.loc[positive & (study != ""), "image_id"].index
    silent = ~positive & study.isin(study.loc[boxed]) & (raw["objection"] == "")
    raw.loc[silent, "objection"] = "has no boxes, but another image of its study has"
    return Annotations.of(
        image_id=raw["image_id"],
        boxes=raw[COORDINATES],
        label=positive.map({True: OPACITY, False: NO_OPACITY}),
        row=raw["row"],
        positive=positive,
        objection=raw["objection"],
    )


def _boxes(boxes: str, label: str) -> tuple[list[tuple[Any, ...]], str]:
    """The boxes of an image, and what is wrong with its two columns, which say the same in two ways."""
    try:
        listed = ast.literal_eval(boxes) if boxes and boxes.casefold() != "nan" else []
        found = [tuple(box[name] for name in COORDINATES) for box in listed]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return [], f"has boxes that cannot be read: {boxes[:40]!r}"
    tokens = label.split()
    try:
        groups = [tokens[start : start + 6] for start in range(0, len(tokens), 6)]
        said = [tuple(map(float, group[2:])) for group in groups if group[0] == "opacity" and len(group) == 6]
    except ValueError:
        said = []
    if not tokens or len(tokens) % 6 or any(group[0] not in ("opacity", "none") for group in groups):
        return found, f"has a label that cannot be read: {label[:40]!r}"
    try:
        found = [tuple(map(float, box)) for box in found]
    except (TypeError, ValueError, OverflowError):
        return found, "has a box whose numbers cannot be read"
    if len(said) != len(found) or not all(map(_same, sorted(found), sorted(said))):
        return found, "has other boxes in the column label than in the column boxes"
    return found, ""


def _same(box: tuple[Any, ...], corners: tuple[float, ...]) -> bool:
    x, y, width, height = box
    pairs = zip((x, y, x + width, y + height), corners, strict=True)
    return all(math.isclose(first, second, abs_tol=_TOLERANCE) for first, second in pairs)
