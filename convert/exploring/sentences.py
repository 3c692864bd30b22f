"""What can be said of a collection in sentences and tables: what is missing, what is wrong, what would leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from common.data.names import OLDEST_AGE
from common.pages.wording import count, join, percent
from convert.exploring.collection import RSNA, Collection
from convert.yolo_set.layout import reasons
from convert.yolo_set.splits import Leakage, leaking, random_leakage

_MEANING = {
    "label": "these images came without truth: they can be predicted on, not trained on",
    "patient_id": "nobody says whose image it is, so one patient's images may end up in train and test",
    "view": "AP, taken in bed, and PA, taken standing, differ: without it their scores cannot be told apart",
    "sex": "scores cannot be compared between women and men",
    "age": "scores cannot be compared between ages",
    "pixel_spacing_mm": "sizes are known in pixels only, not in millimetres",
    "width": "the size of the original picture is not known from the tables",
}
_NAMES = {
    "label": "class",
    "patient_id": "patient",
    "view": "view (AP, PA)",
    "sex": "sex",
    "age": "age",
    "pixel_spacing_mm": "pixel spacing",
    "width": "picture size",
}


@dataclass(frozen=True)
class Gap:
    """A field and what its gaps mean: how many are known, how many missing."""

    name: str
    known: int
    missing: int
    meaning: str


def gaps(collection: Collection) -> list[Gap]:
    """Count what is missing, and say what it means that it is."""
    images = collection.images
    found = []
    if collection.rows is not None and collection.rows_without_box is not None:
        without = collection.rows_without_box
        meaning = (
            "no gap: an empty row says that a radiologist looked at the image and found no opacity"
            if collection.kind == RSNA
            else "no gap: an empty row says that there is nothing to box in the image"
        )
        found.append(Gap("x, y, width, height (rows)", collection.rows - without, without, meaning))
    for column, meaning in _MEANING.items():
        missing = int(images[column].isna().sum())
        found.append(Gap(_NAMES[column], len(images) - missing, missing, meaning if missing else "complete"))
    return found


def odd_facts(collection: Collection) -> list[str]:
    """Values that cannot be right, and contradictions, in sentences; empty where all is well."""
    images, texts = collection.images, []
    wrong = images["age"][images["age"] > OLDEST_AGE].sort_values()
    if len(wrong):
        ages = ", ".join(f"{age:.0f}" for age in wrong.head(8))
        texts.append(
            f"{count(len(wrong))} impossible age{'s' if len(wrong) > 1 else ''}: {ages} years, surely typing errors. "
            "They are kept as they are."
        )
    if len(collection.rejected):
        parts = [f"{text} ({count(number)})" for text, number in reasons(collection.rejected, most=6)]
        texts.append(f"{count(len(collection.rejected))} rows or images cannot be used: {'; '.join(parts)}.")
    else:
        texts.append("No row contradicts another, and no box is broken: nothing had to be rejected.")
    return texts


def label_mixtures(images: pd.DataFrame) -> str | None:
    """How many patients have images of more than one class; None where patients are not known."""
    known = images.dropna(subset=["patient_id", "label"])
    if known.empty:
        return None
    classes = known.groupby("patient_id")["label"].nunique()
    several = int((known.groupby("patient_id").size() > 1).sum())
    if not several:
        return None
    mixed = int((classes > 1).sum())
    return (
        f"Of {count(several)} patient{'s' if several > 1 else ''} with several images, {count(mixed)} "
        f"({percent(mixed / several)}) {'has' if mixed == 1 else 'have'} images of different classes: no "
        "contradiction, since an illness comes and goes."
    )


@dataclass(frozen=True)
class Leak:
    """What a reader must know of patients and splits.

    Attributes:
        warning: Whether something is wrong with the data as they are.
        text: Sentences.
        random: What a split that does not know patients would do; None where patients are not known.
    """

    warning: bool
    text: str
    random: Leakage | None


def leak(collection: Collection, val: float = 0.2) -> Leak:
    """What the splits leak, and what splits by chance would.

    Args:
        collection: The images.
        val: Share of the images that a split by chance would put aside.
    """
    images = collection.images.dropna(subset=["label"])
    patients = images["patient_id"].dropna()
    texts, warning, chance = [], False, None
    if patients.empty:
        what = "RSNA's mapping tells: python convert/download.py rsna-mapping." if collection.kind == RSNA else ""
        texts.append(f"Whose image is whose is not known, so a split may put one patient on both sides. {what}".strip())
        warning = True
    else:
        chance = random_leakage(patients, val)
        mean, low, high = (f"{100 * share:.1f}" for share in (chance.expected, chance.low, chance.high))
        texts.append(
            f"Divided by chance, {percent(1 - val)} to {percent(val)}, {mean}\N{NO-BREAK SPACE}% of the validation "
            f"images would show a patient who was trained on (95\N{NO-BREAK SPACE}% of such splits: {low} to "
            f"{high}\N{NO-BREAK SPACE}%). The converters keep patients whole."
        )
    split = images["split"]
    known = split.notna() & images["patient_id"].notna()
    if split[known].nunique() > 1:
        straddling = leaking(images["patient_id"][known], split[known])
        warning = warning or bool(straddling.any())
        texts.append(
            f"In this data set {count(straddling.sum())} images have a patient in more than one split."
            if straddling.any()
            else f"In this data set no patient is in more than one of {join(sorted(map(str, split[known].unique())))}."
        )
    return Leak(warning, " ".join(texts), chance)


def duplicate_text(collection: Collection, pairs: pd.DataFrame, looked_at: int) -> str:
    """What the search for pictures that are there twice has found.

    Args:
        collection: The images.
        pairs: From `duplicates.find_duplicates`.
        looked_at: How many pictures were compared.
    """
    if pairs.empty:
        return f"No two of the {count(looked_at)} pictures are the same."
    labels, splits, patients = (collection.images[name] for name in ("label", "split", "patient_id"))

    def differ(column: pd.Series) -> int:
        first, second = pairs["first"].map(column), pairs["second"].map(column)
        return int((first.notna() & second.notna() & (first != second)).sum())

    images = pd.unique(pairs[["first", "second"]].to_numpy().ravel())
    one = len(pairs) == 1
    text = (
        f"{count(len(pairs))} pair{'' if one else 's'} of pictures ({count(len(images))} images of {count(looked_at)}) "
        f"{'is' if one else 'are'} the same but for encoding or brightness."
    )
    if pairs["first"].duplicated().any():
        text += " Of several copies of one picture, each is paired with the first."
    for column, what in ((labels, "have different classes"), (splits, "are in different splits"),
                         (patients, "count as different patients")):  # fmt: skip
        if number := differ(column):
            text += f" {count(number)} of these pairs {what}."
    return text


def class_words(collection: Collection) -> Sequence[tuple[str, str]]:
    """What the classes mean, for a reader who has not seen the data."""
    known = {
        "Lung Opacity": "an area that is whiter than lung should be and may be pneumonia; each has a box",
        "No Lung Opacity / Not Normal": "something else is wrong (fluid, a tumour, collapsed lung, ...): these are the "
        "negatives that models mistake most",
        "Normal": "nothing is wrong",
    }
    labels = set(collection.images["label"].dropna())
    return [(name, text) for name, text in known.items() if name in labels]
