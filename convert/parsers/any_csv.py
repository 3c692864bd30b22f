"""Any CSV of boxes: one row per box, its columns named by the user, and pictures or DICOMs that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.csv_files import LINE
from common.data.names import COORDINATES
from common.errors import UserError
from convert.parsers.csv_columns import CENTRE, COLUMN_KEYS, CORNERS, FORMATS, SIZE
from convert.sources.annotations import Annotations, clean, is_dummy, spread
from convert.sources.classes import choose_classes, from_corners, take
from convert.sources.files import Source, open_source, read_named, read_table
from convert.sources.locating import Located, locate
from convert.sources.parsed import (
    Parsed,
    all_rejected,
    details_of,
    is_synthetic,
    rejected_images,
    stated_shapes,
    table_digest,
    with_file,
)
from convert.sources.patients import find_patients

_USUAL = {"image": ("image", "image_id", "file_name", "filename"), "patient": ("patient", "patient_id")}
"""Names that a column may have without being named; of all others, the key itself."""

_OF_IMAGES = ("patient", "view", "sex", "age", "picture_width", "picture_height")
"""What a row says of its image, and not of its box."""


def parse(
    path: Path,
    table: Path | None,
    *,
    columns: Mapping[str, str],
    label: str,
    classes: Sequence[str] | None,
    merge: str | None,
    patient_pattern: str | None = None,
    unlisted_negative: bool = False,
    dummies: bool = True,
) -> Parsed:
    """Read the CSV and find the pictures.

    A row without coordinates says that there is nothing in its image; its label, if it has one that no box has, is kept
    in the manifest.

    Args:
        path: Folder or zip with the pictures.
        table: The CSV; None takes the only one in the source.
        columns: Column names by what they hold, of `COLUMN_KEYS`; those not named are looked for by their usual names.
        label: The class of all boxes, where no column says it.
        classes: See `classes.choose_classes`.
        merge: See `classes.choose_classes`.
        patient_pattern: See `patients.find_patients`; counts instead of a column with a usual name.
        unlisted_negative: Pictures that the CSV does not name have nothing to find; they are left out otherwise.
        dummies: Take a box of one pixel in the upper left corner for a sign that there is none.

    Raises:
        UserError: The CSV is missing, a column is, or a class is not known.
    """
    if patient_pattern is not None and "patient" in columns:
        raise UserError(
            f"--columns patient={columns['patient']} and --patient-pattern {patient_pattern!r}: both say who the "
            "patient is; leave one out."
        )
    source = open_source(path)
    frame, where = _read(source, table, columns)
    held = _columns(frame, columns, where)
    if patient_pattern is not None:
        held.pop("patient", None)  # which only has one of the usual names
    raw = _rows(frame, held, label)
    if dummies:
        _blank_dummies(raw, where)
    has_box = (raw[COORDINATES] != "").any(axis=1)
    boxed = sorted(set(raw.loc[has_box, "label"]) - {""})
    chosen = choose_classes(boxed, classes, merge, where)
    # A class that boxes have, on a row without: something was meant to be there.
    claims = has_box | raw["label"].isin(boxed)
    raw["note"] = raw["label"].where(~claims, "")
    raw["label"] = raw["label"].where(claims, "")
    raw.loc[has_box & (raw["label"] == ""), "objection"] = "has a box without a label"
    raw.loc[has_box & (raw["label"] == ""), "label"] = next(iter(chosen.name_of))

    named = raw["name"] != ""
    located = locate(source, raw.loc[named, "name"])
    raw["image_id"] = located.ids_of(raw["name"])
    by_image = _by_image(raw[named])
    raw["objection"] = raw["objection"].where(raw["objection"] != "", raw["image_id"].map(_two_patients(raw[named])))
    raw["objection"] = spread(raw["objection"].fillna(""), raw["image_id"])
    extra = {key: file for file, key in located.unnamed.items()} if unlisted_negative else {}
    if extra:
        _check_named(raw[claims], located, where)
    annotations = Annotations.of(
        image_id=raw["image_id"],
        boxes=raw[COORDINATES],
        label=raw["label"],
        row=raw["row"],
        objection=raw["objection"],
        note=raw["note"],
    )
    cleaned = clean(take(chosen, annotations, extra), where, several_labels=True)
    files = {**located.files, **extra}

    missing = [(located.ids[name], where, reason) for name, reason in located.objections.items()]
    silent = [
        (key, file, f"a picture without a row in {where} (--unlisted-negative takes it as one without findings)")
        for file, key in located.unnamed.items()
        if key not in extra
    ]
    return Parsed(
        source=source,
        boxes=with_file(cleaned.boxes, files),
        rejected=all_rejected(cleaned.rejected, rejected_images([*missing, *silent])),
        files=files,
        patients=_patients(source, files, by_image, patient_pattern),
        class_names=chosen.names,
        fingerprint={
            "source": "CSV",
            "table": table_digest(frame),
            "columns": held,
            "label": label,
            "classes": chosen.name_of,
            "patients": patient_pattern,
            "unlisted_negative": unlisted_negative,
            "synthetic": is_synthetic(source) or None,
        },
        shapes=stated_shapes(by_image["picture_width"], by_image["picture_height"]),
        other_reading=_other_reading(held),
        details=details_of(by_image["view"], by_image["sex"].str[:1], by_image["age"]),
    )


def _read(source: Source, table: Path | None, columns: Mapping[str, str]) -> tuple[pd.DataFrame, str]:
    optional = [name for key in COLUMN_KEYS for name in _USUAL.get(key, (key,))]
    if table is not None:
        return read_table(read_named(table), table.name, str(table), list(columns.values()), optional), table.name
    found = [name for name in source.names if name.lower().endswith(".csv")]
    if len(found) != 1:
        raise UserError(
            f"{source.path}: {len(found)} CSV files in it ({', '.join(found[:3]) or 'none'}), expected one; name the "
            "CSV of boxes with --boxes."
        )
    name = found[0].rsplit("/", 1)[-1]
    return source.table(name, list(columns.values()), "", optional), name


def _columns(frame: pd.DataFrame, given: Mapping[str, str], where: str) -> dict[str, str]:
    """Column by what it holds: as named, else by the usual names."""
    held = dict(given)
    for key in COLUMN_KEYS:
        usual = [name for name in _USUAL.get(key, (key,)) if name in frame.columns]
        if key not in held and usual and usual[0] not in held.values():
            held[key] = usual[0]
    found = ", ".join(map(str, frame.columns.drop(LINE)[:10]))
    if "image" not in held:
        raise UserError(f"{where}: no column names the image; found {found}. Name it: --columns image=COLUMN.")
    if not any(set(keys) <= held.keys() for keys in FORMATS):
        formats = "; or ".join(", ".join(keys) for keys in FORMATS)
        raise UserError(
            f"{where}: no columns for boxes; found {found}. Expected {formats}; name them, as in "
            "--columns x_min=LEFT,y_min=TOP,x_max=RIGHT,y_max=BOTTOM."
        )
    return held


def _rows(frame: pd.DataFrame, held: Mapping[str, str], label: str) -> pd.DataFrame:
    """The CSV's rows by what their columns hold, boxes as `x, y, width, height`."""
    text = pd.DataFrame({key: frame[column].str.strip() for key, column in held.items()})
    empty = text.isin(["nan", "NaN", "None", "NULL", "null", "NA", "N/A"])
    text = text.mask(empty, "")
    raw = pd.DataFrame({"name": text["image"], "row": frame[LINE], "objection": ""})
    keys = next(keys for keys in FORMATS if set(keys) <= held.keys())
    if keys == CORNERS:
        raw[COORDINATES] = from_corners(text[list(CORNERS)])
    else:
        raw[["x", "y", "width", "height"]] = text[list(keys)].to_numpy()
    if keys == CENTRE:
        for axis, size in (("x", "width"), ("y", "height")):
            centre, extent = (pd.to_numeric(raw[name], errors="coerce").astype(float) for name in (axis, size))
            start = (centre - extent / 2).astype(object)
            raw[axis] = start.where(start.notna(), raw[axis])
    has_box = (raw[COORDINATES] != "").any(axis=1)
    raw["label"] = text["label"] if "label" in held else pd.Series(label, index=raw.index).where(has_box, "")
    for key in _OF_IMAGES:
        raw[key] = text[key] if key in held else ""
    return raw


def _by_image(rows: pd.DataFrame) -> pd.DataFrame:
    """What the rows of each image say besides its boxes: of each column what is first given, else empty."""
    said = rows[[*_OF_IMAGES]].mask(rows[[*_OF_IMAGES]] == "")
    return said.groupby(rows["image_id"], sort=False).first().fillna("")


def _two_patients(rows: pd.DataFrame) -> dict[str, str]:
    """The objection against images whose rows name several patients, by image."""
    said = rows.loc[rows["patient"] != "", ["image_id", "patient"]].drop_duplicates()
    several = said[said.duplicated("image_id", keep=False)]
    return {str(key): f"has two patients: {' and '.join(own)}" for key, own in several.groupby("image_id")["patient"]}


def _blank_dummies(raw: pd.DataFrame, where: str) -> None:
    """Make rows without a box of those whose box says there is none, and say so."""
    dummies = is_dummy(raw)
    if dummies.all() or not dummies.any():
        return
    print_warning(
        f"{where}: the box of one pixel in the upper left corner ({int(dummies.sum()):,} rows) is not taken for a box: "
        "exports give it to images without a finding."
    )
    boxed = set(raw.loc[~dummies & (raw[COORDINATES] != "").any(axis=1), "label"])
    raw.loc[dummies, COORDINATES] = ""
    raw.loc[dummies & raw["label"].isin(boxed), "label"] = ""  # said of every row, and so of none


def _other_reading(held: Mapping[str, str]) -> str:
    """How to read the columns of sizes as corners, or those of corners as sizes."""
    if set(SIZE) <= held.keys():
        return "--columns " + ",".join(f"{key}={held[own]}" for key, own in zip(CORNERS, SIZE, strict=True))
    if set(CORNERS) <= held.keys():
        return "--columns " + ",".join(f"{key}={held[own]}" for key, own in zip(SIZE, CORNERS, strict=True))
    return ""


def _check_named(marked: pd.DataFrame, located: Located, where: str) -> None:
    """Make sure that the picture of every box is known, where all that are not named are negatives.

    Raises:
        UserError: One is not.
    """
    lost = marked[~marked["image_id"].isin(set(located.files))]
    if len(lost):
        name, row = lost.iloc[0][["name", "row"]]
        reason = located.objections.get(name, "it is empty, expected a picture's name")
        raise UserError(
            f"{where}, row {row}: has a box for the image {name!r}: {reason}; {len(lost):,} such rows. With "
            "--unlisted-negative its picture could pass for one without a finding: correct the names, remove the rows, "
            "or leave out the option."
        )


def _patients(
    source: Source, files: Mapping[str, str], by_image: pd.DataFrame, pattern: str | None
) -> pd.Series | None:
    named = by_image.loc[by_image["patient"] != "", "patient"]
    return named.astype(str) if len(named) else find_patients(source, files, pattern)
