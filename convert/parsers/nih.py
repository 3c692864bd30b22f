"""NIH ChestX-ray14: boxes for 984 findings, and labels, views, ages and sexes for all images, on PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.csv_files import LINE
from common.data.names import COORDINATES
from common.errors import UserError
from convert.sources.annotations import Annotations, clean
from convert.sources.classes import NO_FINDING, OTHER_FINDING, Classes, choose_classes, take
from convert.sources.files import Source, open_source
from convert.sources.locating import locate, stem
from convert.sources.parsed import (
    Parsed,
    all_rejected,
    details_of,
    digest,
    is_synthetic,
    rejected_images,
    table_digest,
    with_file,
)

BOXES = "BBox_List_2017.csv"
ENTRIES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
CLASS_NAMES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
)  # fmt: skip
"""The findings that have boxes."""
_SPELLINGS = {"Infiltrate": "Infiltration"}
"""The list of boxes calls it otherwise than the table of all images."""

_IMAGE, _FINDING, _LABELS = "Image Index", "Finding Label", "Finding Labels"
_REMEDY = (
    f"Expected NIH ChestX-ray14: the folder or zip with {BOXES}, the PNG files, and best {ENTRIES[0]} besides. "
    "datasets/README.md says where to get it."
)


def parse(path: Path, *, classes: Sequence[str] | None, merge: str | None) -> Parsed:
    """Read the tables and find the pictures.

    Only few images were boxed. One without a box of the chosen classes is a negative only where the table of all images
    does not name these classes for it; without that table there are no negatives.

    Args:
        path: A folder or zip.
        classes: See `classes.choose_classes`.
        merge: See `classes.choose_classes`.

    Raises:
        UserError: The list of boxes is missing, or a class is not known.
    """
    source = open_source(path)
    # Its header, `Bbox [x,y,w,h],,,`, spreads the brackets over the columns: they go by their place.
    table = source.table(BOXES, [_IMAGE, _FINDING], _REMEDY)
    boxes = table.drop(columns=[LINE, _IMAGE, _FINDING]).iloc[:, :4]
    if boxes.shape[1] < 4:
        raise UserError(
            f"{source.path}: {BOXES} has {boxes.shape[1]} columns besides {_IMAGE} and {_FINDING}, expected 4: x, y, "
            "width and height. Get the file anew."
        )
    chosen = choose_classes(CLASS_NAMES, classes, merge, "ChestX-ray14's boxes", _SPELLINGS)
    entries = _entries(source)

    label = table[_FINDING].str.strip().replace(_SPELLINGS)
    unknown = ~label.isin(CLASS_NAMES)
    annotations = Annotations.of(
        image_id=table[_IMAGE].map(_image_id),
        boxes=boxes.set_axis(COORDINATES, axis=1),
        # Kept among the chosen, so that the objection is heard.
        label=label.where(~unknown, next(iter(chosen.name_of))),
        row=table[LINE],
        objection=("has an unknown finding: " + label.map(repr)).where(unknown, ""),
    )
    selected = take(chosen, annotations).table
    positive = set(selected.loc[selected["positive"], "image_id"])
    negatives, objections = _others(entries, selected, chosen, positive)
    selected = pd.concat([selected[selected["positive"]], negatives], ignore_index=True)
    against = {**dict(selected.loc[selected["objection"] != "", ["image_id", "objection"]].to_numpy()), **objections}
    judged = Annotations.of(
        image_id=selected["image_id"],
        boxes=selected[COORDINATES],
        label=selected["label"],
        row=selected["row"],
        positive=selected["positive"],
        objection=selected["image_id"].map(lambda key: against.get(key, "")),
    )
    cleaned = clean(judged, BOXES, several_labels=True)

    located = locate(source, sorted(set(cleaned.boxes["image_id"]) | set(annotations.table["image_id"])))
    files = {key: file for key, file in located.files.items() if key in located.ids}
    missing = sorted(positive - files.keys())
    if len(entries) and (absent := len(set(negatives["image_id"]) - files.keys())):
        print_warning(f"{absent:,} images of {ENTRIES[0]} are not in {source.path}: left out.")
    reasons = located.reasons()
    lost = [(key, BOXES, reasons.get(key, "no picture of this name")) for key in missing]
    return Parsed(
        source=source,
        boxes=with_file(cleaned.boxes, files),
        rejected=all_rejected(cleaned.rejected, rejected_images(lost)),
        files=files,
        patients=pd.Series({key: key.split("_")[0] for key in files}, dtype=str),
        class_names=chosen.names,
        fingerprint={
            "source": "NIH ChestX-ray14",
            "boxes": table_digest(table),
            "entries": digest(entries.to_csv().encode()) if len(entries) else None,
            "classes": chosen.name_of,
            "synthetic": is_synthetic(source),
        },
        details=entries[["view", "sex", "age"]],
    )


def _image_id(name: str) -> str:
    return stem(name.strip())  # smaller copies of the data set have other endings


def _entries(source: Source) -> pd.DataFrame:
    """The table of all images, by image id: labels, view, sex, age. Empty, with a warning, where it is not there."""
    columns = ["labels", "view", "sex", "age", "row"]
    name = next((name for name in ENTRIES if any(source.find(name + end) for end in ("", ".zip", ".gz"))), None)
    if name is None:
        print_warning(
            f"no {ENTRIES[0]}: which images have none of the findings is not known, so there are no negatives. Put it "
            f"beside {BOXES}."
        )
        return pd.DataFrame(columns=columns, index=pd.Index([], dtype=str))
    table = source.table(name, [_IMAGE, _LABELS], _REMEDY)
    table.index = pd.Index(table[_IMAGE].map(_image_id), name="image_id")
    table = table[~table.index.duplicated()]
    nothing = pd.Series("", index=table.index)
    details = details_of(*(table.get(column, nothing) for column in ("View Position", "Patient Gender", "Patient Age")))
    return pd.concat([table[_LABELS].rename("labels"), details, table[LINE].rename("row")], axis=1)


def _others(
    entries: pd.DataFrame, selected: pd.DataFrame, chosen: Classes, positive: set[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows of the images that are negatives: without a box of the chosen classes; and what is wrong with others."""
    objections: dict[str, str] = {}
    negatives: list[dict[str, object]] = []
    doubtful = 0
    boxed = selected[selected["positive"]].groupby("image_id")["label"].agg(set).to_dict()
    for image_id, labels, row in zip(entries.index, entries["labels"], entries["row"], strict=True):
        found = [label.strip() for label in labels.split("|")]
        wanted = {chosen.name_of[label] for label in found if label in chosen.name_of}
        unboxed = wanted - boxed.get(image_id, set())
        if image_id in positive:
            if unboxed:
                objections[image_id] = f"has {', '.join(sorted(unboxed))}, too, but no box of it"
        elif not unboxed:
            label = NO_FINDING if found == ["No Finding"] else OTHER_FINDING
            negatives.append({"image_id": image_id, "label": label, "row": row})
        else:
            doubtful += 1
    if doubtful:
        print_warning(f"{doubtful:,} images are labelled with a chosen finding, but not boxed: left out.")
    if not len(entries):
        # Only their boxes are known, not what else they show.
        for image_id in selected.loc[~selected["positive"], "image_id"]:
            objections[image_id] = f"has boxes of other findings alone, and no {ENTRIES[0]} tells the rest"
            negatives.append({"image_id": image_id, "label": OTHER_FINDING, "row": pd.NA})
    frame = pd.DataFrame(negatives, columns=["image_id", "label", "row"]).astype(object)
    return frame.assign(positive=False, objection="", **dict.fromkeys(COORDINATES, "")), objections
