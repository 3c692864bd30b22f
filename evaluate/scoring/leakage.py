"""Whether weights have seen the images, or the patients, that they are scored on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.cli import print_warning
from common.data.data_set import DataSet
from common.errors import UserError
from common.paths import shown
from evaluate.scoring.recognition import recognise
from evaluate.scoring.result import Leakage, SplitLeakage

_EXAMPLES = 5


def find_leakage(
    trained: DataSet | None,
    scored: DataSet,
    splits: list[str],
    reason: str = "",
    earlier: Sequence[DataSet] = (),
    not_seen: Sequence[str] = (),
) -> Leakage:
    """Compare the training images of the weights with the scored splits.

    Args:
        trained: The data set that the weights were trained on; None where it is not known.
        scored: The data set that is scored.
        splits: Its splits that matter.
        reason: Why `trained` is not known.
        earlier: The data sets of trainings that this one went on from.
        not_seen: What else of the weights' past is not known, one clause each.

    Returns:
        What was found in each split, with up to five ids of images; or why it is not known.
    """
    if trained is None:
        return Leakage(reason=reason)
    notes, patients_known = list(not_seen), True
    found: dict[str, SplitLeakage] = {}
    try:
        for split in splits:
            parts = [recognise(scored, split, data, "train") for data in (trained, *earlier)]
            images, patients = parts[0].images.copy(), parts[0].patients.copy()
            for part in parts:
                images |= part.images
                patients |= part.patients
                notes += part.not_seen
                patients_known &= part.patients_known
            shared = scored.patients(split)[patients]
            found[split] = SplitLeakage(
                images=int(images.sum()),
                patients=int(shared.nunique()),
                images_of_these_patients=len(shared),
                examples=tuple(shared.index[:_EXAMPLES]),
                chosen_on=_chosen_on(scored, split, trained, notes),
            )
    except UserError as error:
        return Leakage(reason=str(error))
    return Leakage(
        trained_on=shown(trained.yaml),
        earlier=tuple(shown(data.yaml) for data in earlier),
        patients_known=patients_known,
        not_seen=tuple(dict.fromkeys(notes)),
        splits=found,
    )


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
    for text in remarks(leakage, reported_on):
        print_warning(text)


def remarks(leakage: Leakage, reported_on: str) -> Iterator[str]:
    """What else a reader must know about the weights' past, one sentence each without its full stop."""
    found = leakage.splits.get(reported_on)
    if found is not None and found.chosen_on:
        yield (
            f"{found.chosen_on:,} images of split {reported_on!r} are validation images of the training, on which the "
            "best epoch is chosen: the score flatters"
        )
    yield from leakage.abstained
    if leakage.not_seen:
        yield f"leakage was looked for, but not all of it can be seen: {'; '.join(leakage.not_seen)}"


def _chosen_on(scored: DataSet, split: str, trained: DataSet, notes: list[str]) -> int:
    """How many images of a split the training was validated on."""
    try:
        return int(recognise(scored, split, trained, "val").images.sum()) if trained.has("val") else 0
    except UserError as error:
        notes.append(f"what the training was validated on is not known ({str(error).partition('. ')[0]})")
        return 0
