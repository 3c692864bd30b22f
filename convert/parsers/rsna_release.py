"""RSNA's own release of the 2018 challenge: an MD.ai export of all annotations, and DICOMs by study, series and image.

The truth is the label group named `Calculated`, which holds what the challenge used: boxes of Lung Opacity, and the
classes of images without boxes. All other groups are single readers' labels and notes, and no truth. Images have the
ids of Kaggle's release (`subset_img_id` of the mapping), so that submissions fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.names import COORDINATES
from common.errors import UserError
from common.walking import path_of
from convert.parsers.rsna import CLASS_NAMES, OPACITY
from convert.sources.annotations import Annotations, clean, spread
from convert.sources.files import FolderSource, Source, open_source
from convert.sources.json_files import load_json
from convert.sources.parsed import (
    Parsed,
    all_rejected,
    digest,
    is_synthetic,
    read_file,
    read_ids,
    rejected_images,
    with_file,
)
from convert.sources.patients import parse_mapping
from convert.sources.places import ANNOTATIONS, CHALLENGE_IMAGES, LABELS, MAPPING_NAME, PICTURES, SUBMISSION

TRUTH_GROUP = "Calculated"

_REMEDY = (
    f"Expected RSNA's release: {PICTURES} (or its content), {ANNOTATIONS} and {MAPPING_NAME}. "
    "`python convert/download.py rsna-release` gets them; `python convert/sample.py --layout release` makes a "
    "synthetic one."
)


@dataclass(frozen=True)
class _Export:
    """What an MD.ai export says.

    Attributes:
        truth: The annotations of the truth's group as rows: `sop`, `x, y, width, height`, `label`, `row` (the
            annotation's place in the file, the first being 1).
        lost: The rows of other annotations without an image.
    """

    truth: pd.DataFrame
    lost: pd.DataFrame


def parse(
    path: Path,
    *,
    annotations: Path | None = None,
    mapping: Path | None = None,
    test_ids: Path | None = None,
    train_ids: Path | None = None,
) -> Parsed:
    """Read the release's tables and find its pictures.

    Args:
        path: The folder with everything, or the zip of the pictures with the two JSON files in it or beside it.
        annotations: The annotations, if they lie elsewhere.
        mapping: The mapping, if it lies elsewhere.
        test_ids: What names Kaggle's stage-2 test images, which become the split `test`: the sample submission (or any
            list of ids), or Kaggle's folder or zip. None looks for the sample submission in the release.
        train_ids: Instead, what names Kaggle's training images; the rest of the truth is the test set. None looks for
            Kaggle's training labels in the release.

    Raises:
        UserError: A file is missing, no such JSON, or the ids are not of this release.
    """
    source, tables = _open(path)
    said, where = _json(ANNOTATIONS, annotations, tables, path)
    export = _read_export(said, where)
    known, mapping_where = _json(MAPPING_NAME, mapping, tables, path)
    image_of = _image_ids(known, mapping_where)

    raw = export.truth.assign(image_id=export.truth["sop"].map(image_of))
    named = raw["sop"] != ""
    unmapped = raw[named & raw["image_id"].isna()]
    raw = raw[named & raw["image_id"].notna()]
    found = source.below("", ".dcm")
    if not found:
        raise UserError(f"{source.path}: no .dcm file in it. {_REMEDY}")
    files = {image_of[sop]: file for sop, file in found.items() if sop in image_of}

    cleaned = clean(_annotations(raw), ANNOTATIONS)
    truth_ids = set(raw["image_id"])
    no_truth = f"no truth: no annotation of the label group {TRUTH_GROUP}"
    images = [
        *((key, ANNOTATIONS, "has truth, but no DICOM") for key in sorted(truth_ids - files.keys())),
        *(
            (sop, "pictures", f"a DICOM that is not in {MAPPING_NAME}")
            for sop in sorted(found.keys() - image_of.keys())
        ),
        *((key, ANNOTATIONS, no_truth) for key in sorted(files.keys() - truth_ids)),
    ]
    rejected = all_rejected(
        cleaned.rejected,
        _objections(export.truth[~named], "annotation without a SOPInstanceUID: of no known image"),
        _objections(export.lost, "annotation without a SOPInstanceUID, of a reader's label that is no truth"),
        _objections(unmapped, f"its image is not in {MAPPING_NAME}"),
        rejected_images(images),
    )
    boxes = with_file(cleaned.boxes, files)
    test = _challenge_test(tables, truth_ids, test_ids, train_ids)
    return Parsed(
        source=source,
        boxes=boxes,
        rejected=rejected,
        files=files,
        patients=parse_mapping(known, mapping_where),
        class_names=[OPACITY],
        fingerprint={
            "source": "RSNA 2018 release",
            "annotations": digest(said),
            "mapping": digest(known),
            "synthetic": is_synthetic(tables),
        },
        fixed={"test": test} if test else {},
    )


def _open(path: Path) -> tuple[Source, Source]:
    """Where the pictures are, and where the tables are."""
    source = open_source(path)
    if path.is_dir():
        zips = source.find(PICTURES)
        if zips and not any(name.endswith(".dcm") for name in source.names):
            return open_source(Path(path_of(path, zips[0]))), source
        return source, source
    # A zip of the pictures alone: the tables lie beside it.
    return source, source if source.find(ANNOTATIONS) else FolderSource(path.absolute().parent, deep=False)


def _json(name: str, given: Path | None, tables: Source, path: Path) -> tuple[bytes, str]:
    """A JSON file's content, and its name for errors."""
    if given is not None:
        return read_file(given), str(given)
    found = sorted(tables.find(name), key=lambda file: file.count("/"))
    if not found:
        raise UserError(f"{path}: no {name} in it, nor beside it. {_REMEDY}")
    return tables.read_whole(found[0]), f"{tables.path}/{found[0]}"


def _read_export(data: bytes, where: str) -> _Export:
    """The truth of an MD.ai export.

    Raises:
        UserError: It is no such export, or has not one group of the truth's name.
    """
    try:
        content = load_json(data)
        groups = [(str(group["name"]).strip(), group["labels"]) for group in content["labelGroups"]]
        names = {label["id"]: str(label["name"]).strip() for group, labels in groups for label in labels}
        calculated = [{label["id"] for label in labels} for group, labels in groups if group == TRUTH_GROUP]
        listed = [annotation for part in content["datasets"] for annotation in part["annotations"]]
        rows = [_row(annotation, number, names) for number, annotation in enumerate(listed, start=1)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: not an MD.ai export ({error!r}); expected labelGroups and datasets with annotations, as in "
            f"RSNA's {ANNOTATIONS}."
        ) from error
    if len(calculated) != 1:
        raise UserError(
            f"{where}: {len(calculated)} label groups named {TRUTH_GROUP}, expected one: it holds the truth. Found "
            f"{', '.join(group for group, _ in groups) or 'no group'}. Is it the adjudicated export?"
        )
    columns = ["label_id", "sop", "x", "y", "width", "height", "label", "row"]
    table = pd.DataFrame(rows, columns=columns).astype({"sop": object, "label": object})
    is_truth = table["label_id"].isin(calculated[0])
    return _Export(table[is_truth], table[~is_truth & (table["sop"] == "")])


def _row(annotation: Mapping[str, Any], number: int, names: Mapping[Any, str]) -> tuple[Any, ...]:
    box = annotation.get("data") or {}
    label_id = annotation["labelId"]
    coordinates = (box.get(name) for name in ("x", "y", "width", "height"))
    return (label_id, annotation.get("SOPInstanceUID") or "", *coordinates, names.get(label_id, str(label_id)), number)


def _image_ids(data: bytes, where: str) -> dict[str, str]:
    """Kaggle's image id by SOP Instance UID.

    Raises:
        UserError: It is no such mapping, or an image has two ids, or two images have one.
    """
    found: dict[str, str] = {}
    sop_of: dict[str, str] = {}
    try:
        for record in load_json(data):
            sop, image_id = record["SOPInstanceUID"], record["subset_img_id"]
            if not (sop and image_id):
                continue  # of no image that Kaggle had
            sop, image_id = str(sop), str(image_id)
            if found.setdefault(sop, image_id) != image_id or sop_of.setdefault(image_id, sop) != sop:
                raise UserError(
                    f"{where}: not one id for one image: {sop[:80]!r} is {found[sop][:80]!r} and {image_id[:80]!r} is "
                    f"{sop_of.get(image_id, sop)[:80]!r}. Whose boxes are whose cannot be told; get the file anew."
                )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: not RSNA's mapping ({error!r}); expected a list of records with SOPInstanceUID, subset_img_id "
            "and img_id."
        ) from error
    return found


def _annotations(raw: pd.DataFrame) -> Annotations:
    strange = "has an unknown class: " + raw["label"].astype(str).map(repr)
    return Annotations.of(
        image_id=raw["image_id"],
        boxes=raw[COORDINATES],
        label=raw["label"],
        row=raw["row"],
        positive=raw["label"] == OPACITY,
        objection=spread(strange.where(~raw["label"].isin(CLASS_NAMES), ""), raw["image_id"]),
    )


def _objections(rows: pd.DataFrame, reason: str) -> pd.DataFrame:
    ids = rows["sop"] if "sop" in rows else pd.Series(dtype=object)
    return pd.DataFrame({"image_id": ids, "source": ANNOTATIONS, "row": rows["row"], "reason": reason})


def _challenge_test(tables: Source, truth_ids: set[str], test_ids: Path | None, train_ids: Path | None) -> list[str]:
    """The ids of Kaggle's stage-2 test images; empty, with a warning, where nothing tells them."""
    if test_ids is not None:
        ids, where = _kaggle_ids(test_ids, SUBMISSION, CHALLENGE_IMAGES), str(test_ids)
    elif train_ids is not None:
        ids, where = _others(truth_ids, read_ids(train_ids)), str(train_ids)
    elif tables.find(SUBMISSION):
        ids, where = _column(tables, SUBMISSION), SUBMISSION
    elif tables.find(LABELS):
        ids, where = _others(truth_ids, _column(tables, LABELS)), LABELS
    else:
        print_warning(
            "the release does not say which images are Kaggle's test set, so the split `test` is drawn like any other "
            f"and its score is not the leaderboard's. Name Kaggle's {SUBMISSION} with --test-ids, or its {LABELS} with "
            "--train-ids."
        )
        return []
    if not truth_ids.intersection(ids):
        raise UserError(
            f"{where}: gives {len(ids)} test images, none of them with truth in this release (first: "
            f"{next(iter(ids), 'none')!r}). Expected Kaggle's stage-2 ids, which are subset_img_id in {MAPPING_NAME}."
        )
    return ids


def _others(truth_ids: set[str], train: list[str]) -> list[str]:
    """The images with truth that Kaggle did not give out for training; none where the lists have nothing in common."""
    return sorted(truth_ids.difference(train)) if truth_ids.intersection(train) else []


def _kaggle_ids(path: Path, table: str, folder: str) -> list[str]:
    """Ids from a list, or from Kaggle's folder or zip: its table, else the names of its pictures."""
    path = path.expanduser()
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return read_ids(path)
    source = open_source(path)
    return _column(source, table) if source.find(table) else sorted(source.below(folder, ".dcm"))


def _column(source: Source, table: str) -> list[str]:
    return list(dict.fromkeys(source.table(table, ["patientId"], "")["patientId"].str.strip()))
