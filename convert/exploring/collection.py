"""What there is to explore: one table of images and one of boxes, from raw data or from a data set made here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.csv_files import read_csv
from common.data.data_set import converted_root
from common.data.names import BETWEEN_LABELS, COORDINATES
from common.data.tables import read_as_text
from common.errors import UserError
from common.paths import brief, shown
from convert.parsers import nih, rsna, rsna_release, siim_covid, vindr
from convert.pictures import Header, age_years
from convert.sources.boxes import COLUMNS, REJECTED_COLUMNS
from convert.sources.files import FolderSource, Source
from convert.sources.parsed import Parsed, is_synthetic, read_file

FACTS = ("view", "sex", "age", "pixel_spacing_mm", "width", "height")
"""Columns that come from headers, or from a table of them."""
COLUMNS_OF_IMAGES = ("label", "boxes", "split", "patient_id", *FACTS, "file")
_NUMBERS = (*COORDINATES, "boxes", "age", "pixel_spacing_mm", "width", "height", "row")
_HEADER_KEYS = ("image_id", "SOPInstanceUID", "PatientID")
"""What names the image in a table of header fields, the first that is there."""
_RSNA_SIDE = 1024
"""Rows and columns of every image of the challenge; a file that is read has the last word."""
RSNA, OURS = "the RSNA 2018 challenge, raw", "a data set made here"


@dataclass(frozen=True)
class Collection:
    """Images with what is known of them.

    Attributes:
        name: As a person types it.
        kind: What it is, a few words.
        images: Index image_id; columns `COLUMNS_OF_IMAGES`, missing where it is not known; `boxes` counts them. Images
            without a known truth have no label.
        boxes: The boxes table of the images with truth.
        rejected: What could not be used: image_id, source, row, reason.
        source: Where the pictures are.
        rows: Rows of the table that the boxes come from; None where there is no such table.
        rows_without_box: How many of them have no coordinates.
        synthetic: Whether the pictures are drawn by a program; None where it is not known.
        read_from: The files that were read, for whoever wants to repeat it.
    """

    name: str
    kind: str
    images: pd.DataFrame
    boxes: pd.DataFrame
    rejected: pd.DataFrame
    source: Source
    rows: int | None = None
    rows_without_box: int | None = None
    synthetic: bool | None = None
    read_from: Sequence[str] = field(default_factory=tuple)

    def classes(self) -> pd.Series:
        """The class of each image, by image id; an image with boxes of several classes has a row for each."""
        rows = self.boxes.dropna(subset=["x"])[["image_id", "label"]].drop_duplicates()
        boxed: pd.Series = rows[rows["image_id"].isin(self.images.index)].set_index("image_id")["label"]
        others = self.images["label"][~self.images.index.isin(boxed.index)]
        place = pd.Series(np.arange(len(self.images)), index=self.images.index)
        found = pd.concat([boxed.astype(object), others]).rename("label").rename_axis("image_id")
        return found.iloc[np.argsort(place[found.index].to_numpy(), kind="stable")]

    def with_headers(self, headers: Mapping[str, Header]) -> Collection:
        """The same with what the files' headers say, where nothing was known."""
        found = pd.DataFrame(
            {
                "view": {key: header.view for key, header in headers.items()},
                "sex": {key: header.sex for key, header in headers.items()},
                "age": {key: header.age_years for key, header in headers.items()},
                "pixel_spacing_mm": {key: header.pixel_spacing_mm for key, header in headers.items()},
                "width": {key: header.width for key, header in headers.items()},
                "height": {key: header.height for key, header in headers.items()},
            }
        )
        found = found.reindex(self.images.index)
        for name in ("width", "height"):  # the file itself knows best
            found[name] = found[name].fillna(self.images[name])
        return replace(self, images=self.images.assign(width=np.nan, height=np.nan)).filled(found)

    def filled(self, found: pd.DataFrame) -> Collection:
        """The same with what is found elsewhere, columns of `FACTS` by image id, where nothing was known."""
        images = self.images.copy()
        found = found.reindex(images.index)
        for name in FACTS:
            if name in found:
                images[name] = images[name].astype(object).where(images[name].notna(), found[name].astype(object))
        return replace(self, images=_typed(images))


def open_collection(path: Path, mapping: Path | None = None, headers: Path | None = None) -> Collection:
    """Read raw data or a data set, and say what it is; pictures are not read.

    Args:
        path: A data set's folder or YAML, or the raw data's folder or zip, as the converters take it.
        mapping: See `rsna.parse`; for RSNA's data only.
        headers: A CSV of header fields by image, as `read_header_table` takes it.

    Raises:
        UserError: There is nothing that is known here, or a file in it is not what was expected.
    """
    path = path.expanduser()
    root = converted_root(path) if path.suffix in (".yaml", ".yml") else path
    if (root / "manifest.csv").is_file():
        found = _of_data_set(root)
    else:
        source = rsna.open_release(path)
        read = _reader_of(source)
        if read is None:
            raise UserError(
                f"{shown(path)}: nothing that is known here; expected a data set of this project (manifest.csv) or raw "
                f"data with one of {', '.join(_RAW)}. Of other data, convert/csv_to_yolo.py or coco_to_yolo.py makes a "
                "data set; with --report it writes this page."
            )
        found = read(path, source, mapping)
    return found.filled(read_header_table(headers)) if headers else found


def _reader_of(source: Source) -> Callable[[Path, Source, Path | None], Collection] | None:
    """How to read raw data, by the tables in them; None where none is known."""
    names = {name.rsplit("/", 1)[-1].removesuffix(".gz").removesuffix(".zip") for name in source.names}
    markers = [marker for marker in _RAW if marker in names]
    if rsna.LABELS in markers and rsna_release.ANNOTATIONS in markers and not source.below(rsna.TRAIN_IMAGES, ".dcm"):
        markers.remove(rsna.LABELS)  # RSNA's own release, with Kaggle's table beside it to tell the test set
    return _RAW[markers[0]] if markers else None


def read_header_table(path: Path) -> pd.DataFrame:
    """Header fields of many images in one CSV, as data sets' metadata tables have them.

    Args:
        path: Columns named by DICOM keyword: PatientID (or image_id), and any of ViewPosition, PatientSex, PatientAge,
            PixelSpacing, Rows, Columns.

    Returns:
        Columns of `FACTS` by image id.

    Raises:
        UserError: It is no such table.
    """
    expected = "expected a CSV with PatientID or image_id, and ViewPosition, PatientSex, PatientAge or PixelSpacing"
    kinds: dict[str, tuple[str, Callable[[str], object]]] = {
        "view": ("ViewPosition", lambda text: text.strip().upper() or None),
        "sex": ("PatientSex", lambda text: text.strip().upper() or None),
        "age": ("PatientAge", lambda text: age_years(text.strip())),
        "pixel_spacing_mm": ("PixelSpacing", _first_number),
        "width": ("Columns", _first_number),
        "height": ("Rows", _first_number),
    }
    try:
        table = read_csv(read_file(path), [*_HEADER_KEYS, *(column for column, _ in kinds.values())])
    except ValueError as error:
        raise UserError(f"{path}: not a readable CSV ({error}); {expected}.") from error
    key = next((name for name in _HEADER_KEYS if name in table), None)
    columns = {name: table[column].map(convert) for name, (column, convert) in kinds.items() if column in table}
    if key is None or not columns:
        raise UserError(f"{path}: found the columns {', '.join(map(str, table.columns[:8]))}; {expected}.")
    found = pd.DataFrame(columns).set_axis(table[key].str.strip(), axis=0)
    return found[~found.index.duplicated()]


def _first_number(text: str) -> float | None:
    try:
        return float(text.strip(" []()'\"").replace("\\", ",").split(",")[0])
    except ValueError:
        return None


def _of_data_set(root: Path) -> Collection:
    manifest, truth = (
        _read(root, "manifest.csv", ["image_id", "split", "label", "picture"]),
        _read(root, "truth.csv", COLUMNS),
    )
    try:
        rejected = _read(root, "rejected.csv", REJECTED_COLUMNS)
    except UserError:
        rejected = pd.DataFrame(columns=REJECTED_COLUMNS)
    try:
        settings = json.loads((root / "conversion.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    images = manifest.set_index("image_id").rename(columns={"picture": "file"})
    images = images.reindex(columns=list(COLUMNS_OF_IMAGES))
    if (images["patient_id"] == images.index).all():
        images["patient_id"] = pd.NA  # where nobody knows them, each image counts as its own patient
    return Collection(
        name=brief(root),
        kind=OURS,
        images=_typed(images),
        boxes=truth,
        rejected=rejected,
        source=FolderSource(root),
        synthetic=settings.get("synthetic"),
        read_from=[f"{brief(root)}/manifest.csv", f"{brief(root)}/truth.csv"],
    )


def _read(root: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = read_as_text(root / name, columns)
    except UserError as error:
        raise UserError(f"{error} Convert the data anew with --overwrite.") from error
    table = table.where(table != "")
    for column in table.columns.intersection([*_NUMBERS]):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    return table


def _of_rsna(path: Path, source: Source, mapping: Path | None) -> Collection:
    labels, classes = rsna.read_tables(source)
    cleaned = rsna.clean_tables(labels, classes)
    patients = rsna.find_patients(source, mapping)
    images = _with_truth(cleaned.boxes)
    challenge = source.below(rsna.CHALLENGE_IMAGES, ".dcm")
    images = pd.concat([images, pd.DataFrame(index=sorted(challenge.keys() - set(images.index)))])
    images["file"] = images.index.map({**challenge, **source.below(rsna.TRAIN_IMAGES, ".dcm")})
    images["patient_id"] = images.index.map(patients.to_dict()) if patients is not None else pd.NA
    synthetic = is_synthetic(source)
    if not synthetic:
        images["width"] = images["height"] = _RSNA_SIDE
    without = labels[["x", "y", "width", "height"]].apply(lambda column: column.str.strip() == "").all(axis=1)
    return Collection(
        name=brief(path),
        kind=RSNA,
        images=_typed(images.reindex(columns=list(COLUMNS_OF_IMAGES))),
        boxes=cleaned.boxes,
        rejected=cleaned.rejected,
        source=source,
        rows=len(labels),
        rows_without_box=int(without.sum()),
        synthetic=synthetic,
        read_from=[rsna.LABELS, rsna.CLASSES, *([brief(mapping)] if mapping else [])],
    )


def of_parsed(parsed: Parsed, name: str, kind: str) -> Collection:
    """What a converter's parser found, before it is converted."""
    images = _with_truth(parsed.boxes)
    images = pd.concat([images, pd.DataFrame(index=sorted(parsed.challenge_files.keys() - set(images.index)))])
    images["file"] = images.index.map({**parsed.challenge_files, **parsed.files})
    if parsed.patients is not None:
        images["patient_id"] = images.index.map(parsed.patients.to_dict())
    for split, ids in parsed.fixed.items():
        images.loc[images.index.isin(list(ids)), "split"] = split
    found = Collection(
        name=name,
        kind=kind,
        images=_typed(images.reindex(columns=list(COLUMNS_OF_IMAGES))),
        boxes=parsed.boxes,
        rejected=parsed.rejected,
        source=parsed.source,
        synthetic=parsed.fingerprint.get("synthetic"),
        read_from=[name],
    )
    return found if parsed.details is None else found.filled(parsed.details)


def _with_truth(boxes: pd.DataFrame) -> pd.DataFrame:
    """One row per image of a boxes table: its labels, and how many boxes it has."""
    labels = (
        boxes[["image_id", "label"]].drop_duplicates().groupby("image_id", sort=True)["label"].agg(BETWEEN_LABELS.join)
    )
    return pd.DataFrame({"label": labels, "boxes": boxes.groupby("image_id", sort=True)["x"].count()})


def _typed(images: pd.DataFrame) -> pd.DataFrame:
    numbers = ("boxes", "age", "pixel_spacing_mm", "width", "height")
    texts = ["label", "split", "patient_id", "view", "sex", "file"]
    typed = images.assign(**{name: pd.to_numeric(images[name], errors="coerce").astype(float) for name in numbers})
    typed[texts] = typed[texts].astype(object).where(typed[texts].notna(), None)
    return typed.rename_axis("image_id")


def _raw(parse: Callable[..., Parsed], kind: str, **options: object) -> Callable[..., Collection]:
    def read(path: Path, source: Source, mapping: Path | None) -> Collection:
        return of_parsed(parse(path, **options), brief(path), kind)

    return read


def _of_release(path: Path, source: Source, mapping: Path | None) -> Collection:
    return of_parsed(rsna_release.parse(path, mapping=mapping), brief(path), "RSNA's own release")


_RAW: dict[str, Callable[[Path, Source, Path | None], Collection]] = {
    rsna.LABELS: _of_rsna,
    rsna_release.ANNOTATIONS: _of_release,
    siim_covid.LABELS: _raw(siim_covid.parse, "SIIM-FISABIO-RSNA COVID-19, raw"),
    nih.BOXES: _raw(nih.parse, "NIH ChestX-ray14, raw", classes=None, merge=None),
    vindr.LABELS: _raw(vindr.parse, "VinDr-CXR, raw", classes=None, merge=None),
}
"""How raw data are read, by the table that tells what they are; the last one's name is anybody's."""
