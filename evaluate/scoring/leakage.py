"""Whether weights have seen the images, or the patients, that they are scored on."""

from __future__ import annotations

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet
from common.errors import UserError
from evaluate.scoring.result import Leakage, SplitLeakage

_EXAMPLES = 5


def find_leakage(trained: DataSet | None, scored: DataSet, splits: list[str], reason: str = "") -> Leakage:
    """Compare the training images of the weights with the scored splits.

    Args:
        trained: The data set that the weights were trained on; None where it is not known.
        scored: The data set that is scored.
        splits: Its splits that matter.
        reason: Why `trained` is not known.

    Returns:
        What was found in each split, with up to five ids of images; or why it is not known.
    """
    if trained is None:
        return Leakage(reason=reason)
    try:
        seen = _identify(trained, "train")
    except UserError as error:
        return Leakage(reason=str(error))
    found: dict[str, SplitLeakage] = {}
    patients_known = True
    for split in splits:
        here = _identify(scored, split)
        patients_known &= bool(here["known"].all() and seen["known"].all())
        trained_on = here["key"].isin(seen["key"])
        # The same image may have a patient of another name there: its patient here was trained on all the same.
        patients = here.loc[trained_on | here["patient"].isin(seen["patient"]), "patient"]
        shared = here[here["patient"].isin(patients)]
        found[split] = SplitLeakage(
            images=int(trained_on.sum()),
            patients=int(shared["patient"].nunique()),
            images_of_these_patients=len(shared),
            examples=tuple(shared.index[:_EXAMPLES]),
        )
    return Leakage(trained_on=str(trained.yaml), patients_known=patients_known, splits=found)


def warn_of_leakage(leakage: Leakage, reported_on: str) -> None:
    """Print what the person must know before they believe the score."""
    if not leakage.checked:
        print_warning(f"what the weights were trained on is not known, so leakage was not checked: {leakage.reason}")
        return
    for split, found in leakage.splits.items():
        if found.images or found.patients:
            print_warning(
                f"LEAKAGE: of split {split!r}, {found.images} images were trained on, and "
                f"{found.images_of_these_patients} images belong to {found.patients} patients that were trained "
                f"on (such as {found.examples[0]}). "
                + (
                    "The score is too high to be believed."
                    if split == reported_on
                    else "What was tuned on it is tuned on known images."
                )
            )


def _identify(data: DataSet, split: str) -> pd.DataFrame:
    """By image id: `key` and `patient`, which are the same in two data sets only for the same image and patient."""
    pictures = data.pictures(split)
    patients = data.patients(split)
    known = pd.Series(False, index=patients.index)
    for root, ids in data.roots(split).items():
        # Ids of a conversion are the source's own. Elsewhere they are mere file names, which may repeat.
        known[ids] = root is not None
    paths = pd.Series({image_id: f"file {path.resolve()}" for image_id, path in pictures.items()})[patients.index]
    return pd.DataFrame(
        {
            "key": patients.index.to_series().where(known, paths),
            "patient": patients.where(known, paths),
            "known": known,
        }
    )
