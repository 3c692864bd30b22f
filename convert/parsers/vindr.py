"""VinDr-CXR as Kaggle's VinBigData challenge serves it: one row per reader and box, several readers per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.data.csv_files import LINE
from common.data.names import COORDINATES
from convert.parsers.readers import FUSED_IOU, fuse
from convert.sources.annotations import Annotations, clean, is_dummy
from convert.sources.boxes import COLUMNS, READERS
from convert.sources.classes import Classes, choose_classes, from_corners, take
from convert.sources.files import open_source
from convert.sources.locating import Located, locate
from convert.sources.parsed import (
    Parsed,
    all_rejected,
    is_synthetic,
    rejected_images,
    stated_shapes,
    table_digest,
    with_file,
)

LABELS = "train.csv"
TEST_FOLDER = "test"
CLASS_NAMES = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration",
    "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis",
)  # fmt: skip
"""By class_id."""
NO_FINDING_ID = 14

_COLUMNS = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
_REMEDY = (
    "Expected Kaggle's vinbigdata-chest-xray-abnormalities-detection: the folder or zip with train.csv and the folder "
    "train of <image_id>.dicom files. datasets/README.md says where to get it."
)


def parse(
    path: Path,
    *,
    classes: Sequence[str] | None,
    merge: str | None,
    iou: float = FUSED_IOU,
    min_readers: int = 1,
) -> Parsed:
    """Read the table, fuse what the readers say, and find the pictures.

    Classes are merged before boxes are fused: two readers who call the same opacity differently mean one.

    Args:
        path: The release's folder or zip.
        classes: See `classes.choose_classes`; a class's number will do.
        merge: See `classes.choose_classes`.
        iou: See `readers.fuse`.
        min_readers: Boxes of fewer readers are dropped; an image that has only such ones is left out, since it is
            neither clearly positive nor clearly negative.

    Raises:
        UserError: The table is missing or lacks a column, or a class is not known.
    """
    source = open_source(path)
    table = source.table(LABELS, _COLUMNS, _REMEDY)
    names = table["image_id"].str.strip()
    located = locate(source, names.unique())
    table["image_id"] = located.ids_of(names)
    numbers = {str(number): name for number, name in enumerate(CLASS_NAMES)}
    chosen = choose_classes(CLASS_NAMES, classes, merge, "VinDr-CXR", numbers)
    boxes, rejected = _truth(table, chosen, iou, min_readers)

    reasons = located.reasons()
    missing = [image_id for image_id in boxes["image_id"].unique() if image_id not in located.files]
    objections = [(image_id, LABELS, reasons[image_id]) for image_id in missing]
    challenge, odd = _unnamed(located)
    objections += [(image_id, file, f"a picture without a row in {LABELS}") for image_id, file in odd.items()]
    known = set(table["image_id"])
    files = {image_id: file for image_id, file in located.files.items() if image_id in known}
    return Parsed(
        source=source,
        boxes=with_file(boxes, located.files),
        rejected=all_rejected(rejected, rejected_images(objections)),
        files=files,
        challenge_files=challenge,
        class_names=chosen.names,
        shapes=_shapes(table),
        fingerprint={
            "source": "VinDr-CXR",
            "labels": table_digest(table),
            "classes": chosen.name_of,
            "fused_iou": iou,
            "min_readers": min_readers,
            "synthetic": is_synthetic(source),
        },
    )


def _truth(table: pd.DataFrame, chosen: Classes, iou: float, min_readers: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The boxes table with its readers, and what was rejected."""
    raw, rejected = _readings(table, chosen)
    lost = rejected.loc[rejected["claims"], "image_id"]
    reading = raw["image_id"].str.cat(raw["reader"], sep="\t")
    readers = reading.groupby(raw["image_id"]).nunique()
    fused = fuse(raw.dropna(subset=["x"]), readers, iou)
    agreed = fused[fused[READERS] >= min_readers]

    negative = raw[raw["x"].isna() & ~raw["image_id"].isin(fused["image_id"])]
    # Something was marked here, though not usably: no negative.
    spoilt = negative["image_id"].isin(lost)
    doubtful = sorted(set(fused["image_id"]) - set(agreed["image_id"]))
    reasons = dict.fromkeys(negative.loc[spoilt, "image_id"], "no usable box is left on an image marked positive")
    reasons |= dict.fromkeys(doubtful, f"no box of at least {min_readers} readers")
    objections = rejected_images((image_id, LABELS, reason) for image_id, reason in reasons.items())

    negative = negative[~spoilt].sort_values("label").drop_duplicates("image_id", keep="last")  # Other before No
    negative = negative.assign(**{READERS: negative["image_id"].map(readers)})[[*COLUMNS, READERS]]
    boxes = pd.concat([part for part in (agreed, negative) if len(part)] or [agreed], ignore_index=True)
    boxes = boxes.sort_values("image_id", kind="stable", ignore_index=True)
    boxes[COORDINATES] = boxes[COORDINATES].astype(float)
    boxes[READERS] = boxes[READERS].astype(int)
    return boxes, all_rejected(rejected, objections)


def _readings(table: pd.DataFrame, chosen: Classes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clean each reader's rows by themselves: readers may contradict each other, but not themselves.

    Returns:
        The valid rows, with `reader`; and the rejected ones, with `claims`: whether the row says that there is one of
        the chosen classes.
    """
    number = pd.to_numeric(table["class_id"], errors="coerce")
    name = number.map(dict(enumerate(CLASS_NAMES))).astype(object)
    nothing = number == NO_FINDING_ID
    reader = table["rad_id"].str.strip()
    units = {key: index for index, key in enumerate(dict.fromkeys(zip(table["image_id"], reader, strict=True)))}
    unit = pd.Series([units[key] for key in zip(table["image_id"], reader, strict=True)], index=table.index, dtype=int)

    unknown = name.isna() & ~nothing
    bad = ("class_id is " + table["class_id"].map(repr) + ", expected 0 to 14").where(unknown, "")
    usable = ~unknown & (reader != "")
    boxes = from_corners(table[["x_min", "y_min", "x_max", "y_max"]])
    annotations = Annotations.of(
        image_id="u" + unit[usable].astype(str),  # an image as one reader saw it
        boxes=boxes.mask(nothing & is_dummy(boxes), "")[usable],
        label=name.where(~nothing, "")[usable],
        row=table.loc[usable, LINE],
    )
    cleaned = clean(take(chosen, annotations), LABELS, several_labels=True)

    keys = list(units)
    of_unit = cleaned.boxes["image_id"].str[1:].astype(int)
    valid = cleaned.boxes.assign(
        image_id=of_unit.map(lambda index: keys[index][0]).astype(object),
        reader=of_unit.map(lambda index: keys[index][1]).astype(object),
    )
    rejected = cleaned.rejected
    refused = pd.concat(
        [
            pd.DataFrame({"row": rejected["row"].astype(object), "reason": rejected["reason"].astype(object)}),
            pd.DataFrame({"row": table[LINE], "reason": bad})[unknown],
            pd.DataFrame({"row": table[LINE], "reason": "no rad_id"})[~unknown & (reader == "")],
        ],
        ignore_index=True,
    )
    by_row = table.set_index(LINE)
    claims = pd.Series(unknown.to_numpy() | name.isin(list(chosen.name_of)).to_numpy(), index=table[LINE])
    refused["image_id"] = refused["row"].map(by_row["image_id"])
    refused["claims"] = refused["row"].map(claims).astype(bool)
    return valid, refused.assign(source=LABELS)


def _shapes(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """The size of the original pictures, for which the boxes are, where a copy with others says it by image."""
    if not {"width", "height"} <= set(table.columns):
        return {}
    return stated_shapes(*(table.set_index("image_id")[side] for side in ("width", "height")))


def _unnamed(located: Located) -> tuple[dict[str, str], dict[str, str]]:
    """The pictures without a row, by image id: those of the challenge's test set, and others."""
    challenge = {key: file for file, key in located.unnamed.items() if TEST_FOLDER in file.split("/")[:-1]}
    return challenge, {key: file for file, key in located.unnamed.items() if key not in challenge}
