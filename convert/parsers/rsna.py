"""The RSNA 2018 challenge's own format: its CSVs, its folders."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.csv_files import LINE
from common.data.names import COORDINATES, POSITIVE_CLASS
from common.errors import UserError
from common.walking import path_of
from convert.sources.annotations import Annotations, CleanedBoxes, clean, spread
from convert.sources.boxes import is_image_id
from convert.sources.files import FolderSource, Source, open_source
from convert.sources.parsed import (
    Parsed,
    all_rejected,
    digest,
    is_synthetic,
    read_file,
    rejected_images,
    table_digest,
    with_file,
)
from convert.sources.patients import parse_mapping
from convert.sources.places import ANNOTATIONS, CHALLENGE_IMAGES, CLASSES, LABELS, MAPPING_NAME, RSNA_ZIP, TRAIN_IMAGES

OPACITY = POSITIVE_CLASS
CLASS_NAMES = (OPACITY, "No Lung Opacity / Not Normal", "Normal")

_REMEDY = (
    "Expected the Kaggle release of the challenge: the folder or zip with stage_2_train_labels.csv, "
    "stage_2_detailed_class_info.csv and stage_2_train_images. `python convert/download.py rsna` gets it; "
    "`python convert/sample.py` makes a synthetic one."
)


def parse(path: Path, nih_mapping: Path | None = None) -> Parsed:
    """Read the challenge's tables and find its pictures.

    Args:
        path: The release's folder or zip.
        nih_mapping: The image-to-patient mapping; None takes RSNA's JSON from the release, or from beside it.

    Raises:
        UserError: A table or the folder of training images is missing, or a table lacks a column.
    """
    source = open_release(path)
    labels, classes = read_tables(source)
    files = source.below(TRAIN_IMAGES, ".dcm")
    if not files:
        raise UserError(f"{source.path}: no .dcm file in a folder {TRAIN_IMAGES}. {_REMEDY}")
    challenge = source.below(CHALLENGE_IMAGES, ".dcm")
    patients, mapping = _patients(source, nih_mapping)

    cleaned = clean_tables(labels, classes)
    unmatched = _unmatched(cleaned, labels, classes, files, challenge)
    boxes = with_file(cleaned.boxes, files)
    return Parsed(
        source=source,
        boxes=boxes,
        rejected=all_rejected(cleaned.rejected, unmatched),
        files=files,
        challenge_files={key: file for key, file in challenge.items() if key not in files and is_image_id(key)},
        patients=patients,
        class_names=[OPACITY],
        fingerprint={
            "source": "RSNA 2018 stage 2",
            "labels": table_digest(labels),
            "classes": table_digest(classes),
            "mapping": mapping,
            "synthetic": is_synthetic(source),
        },
    )


def open_release(path: Path) -> Source:
    """Kaggle's release: a folder, a zip, or a folder in which it still is Kaggle's zip.

    Raises:
        UserError: There is nothing, or the zip is none.
    """
    source = open_source(path)
    if isinstance(source, FolderSource) and len(zips := source.find(RSNA_ZIP.name)) == 1:
        others = (ANNOTATIONS, LABELS, LABELS + ".zip", LABELS + ".gz")
        return source if any(map(source.find, others)) else open_source(Path(path_of(path, zips[0])))
    return source


def read_tables(source: Source) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The challenge's two tables as they are: labels and classes, as `Source.table` gives them.

    Raises:
        UserError: One is missing, or lacks a column.
    """
    labels = source.table(LABELS, ["patientId", "x", "y", "width", "height", "Target"], _REMEDY)
    return labels, source.table(CLASSES, ["patientId", "class"], _REMEDY)


def clean_tables(labels: pd.DataFrame, classes: pd.DataFrame) -> CleanedBoxes:
    """The two tables as the boxes table, and what in them cannot be right."""
    return clean(_annotations(labels, classes), LABELS)


def find_patients(source: Source, given: Path | None) -> pd.Series | None:
    """Patients by image id, from a mapping that was named or lies in the source or beside it; None where there is none.

    Raises:
        UserError: The mapping is none.
    """
    return _mapping(source, given)[0]


def _patients(source: Source, given: Path | None) -> tuple[pd.Series | None, str | None]:
    """Patients by image id and the mapping's digest; None, with a warning, where nobody knows them."""
    patients, mapping = _mapping(source, given)
    if patients is None:
        print_warning(
            "no image-to-patient mapping, so one patient's images can be in train and test, and scores too good (in "
            "the RSNA data a random split leaves 70 % of the validation images with a patient who was trained on). "
            f"Get RSNA's {MAPPING_NAME}: python convert/download.py rsna-mapping. Elsewhere than beside the source, "
            "name it with --nih-mapping."
        )
    return patients, mapping


def _mapping(source: Source, given: Path | None) -> tuple[pd.Series | None, str | None]:
    if given is not None:
        data, where = read_file(given), str(given)
    elif found := source.find(MAPPING_NAME):
        data, where = source.read_whole(found[0]), f"{source.path}/{found[0]}"
    elif (beside := source.path.absolute().parent / MAPPING_NAME).is_file():
        data, where = read_file(beside), str(beside)  # as a zip has to stay what it is
    else:
        return None, None
    return parse_mapping(data, where), digest(data)


def _annotations(labels: pd.DataFrame, classes: pd.DataFrame) -> Annotations:
    """The two tables as annotations, with what they hold against an image."""
    labels = labels.rename(columns={"patientId": "image_id"})
    labels["image_id"] = labels["image_id"].str.strip()
    by_image = classes.assign(image_id=classes["patientId"].str.strip(), label=classes["class"].str.strip())
    by_image = by_image[["image_id", "label"]].drop_duplicates()  # the table repeats its rows once per box
    several = by_image[by_image.duplicated("image_id", keep=False)]
    two = several.groupby("image_id")["label"].agg(" and ".join).to_dict()
    raw = labels.merge(by_image.drop_duplicates("image_id"), on="image_id", how="left", sort=False)

    target = raw["Target"].str.strip().replace({"0.0": "0", "1.0": "1"})
    positive = target == "1"
    contradiction = pd.Series("", index=raw.index)

    def object_to(rows: pd.Series, text: str | pd.Series) -> None:
        rows = rows & (contradiction == "")
        contradiction[rows] = text[rows] if isinstance(text, pd.Series) else text

    object_to(raw["label"].isna(), f"has no row in {CLASSES}")
    object_to(raw["image_id"].isin(two), "has two classes: " + raw["image_id"].map(lambda key: two.get(key, "")))
    object_to(~target.isin(["0", "1"]), "has Target " + target.map(repr) + ", expected 0 or 1")
    object_to(~raw["label"].isin(CLASS_NAMES), "has an unknown class: " + raw["label"].map(repr))
    disagree = positive != (raw["label"] == OPACITY)
    object_to(disagree, "has Target " + target + " but the class " + raw["label"].fillna("").map(repr))
    return Annotations.of(
        image_id=raw["image_id"],
        boxes=raw[COORDINATES],
        label=raw["label"],
        row=raw[LINE],
        positive=positive,
        objection=spread(contradiction, raw["image_id"]),
    )


def _unmatched(
    cleaned: CleanedBoxes,
    labels: pd.DataFrame,
    classes: pd.DataFrame,
    train_files: dict[str, str],
    challenge_files: dict[str, str],
) -> pd.DataFrame:
    """What is in one place and not in another."""
    labelled = set(labels["patientId"].str.strip())
    listed = set(classes["patientId"].str.strip())
    known = set(cleaned.boxes["image_id"])
    odd = [image_id for image_id in challenge_files if not is_image_id(image_id)]
    both = [image_id for image_id in challenge_files if image_id in train_files]
    groups = [
        (sorted(known - train_files.keys()), LABELS, f"labelled, but no DICOM in {TRAIN_IMAGES}"),
        (sorted(train_files.keys() - labelled), TRAIN_IMAGES, f"a DICOM without a row in {LABELS}"),
        (sorted(listed - labelled), CLASSES, f"has a class, but no row in {LABELS}"),
        (sorted(odd), CHALLENGE_IMAGES, "its file name is no image id"),
        (sorted(both), CHALLENGE_IMAGES, "also a training image; the training image is kept"),
    ]
    return rejected_images((image_id, where, reason) for ids, where, reason in groups for image_id in ids)
