"""Predictions files that somebody hands in: which split each image belongs to, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet
from common.data.tables import VOTER_COLUMNS, PredictionsFile, read_predictions
from common.errors import UserError
from common.paths import shown


def read_by_split(paths: Sequence[Path], data: DataSet, splits: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Read predictions or submissions and sort their images into splits.

    Args:
        paths: The files; no image may be in two of them.
        data: The data set that they are about.
        splits: The splits that matter; images of its other splits are passed over.

    Returns:
        The predictions table of every one of `splits` that the files cover, in that order. A covered split's image
        that the files do not name counts as one without prediction; a warning counts these for submissions.

    Raises:
        UserError: A file is wrong or has other columns than the others, two files name the same image, an image is not
            in the data set, or all images belong to other splits.
    """
    files = [read_predictions(path) for path in paths]
    check_columns(files)
    where: dict[str, Path] = {}
    for file in files:
        for image_id in file.image_ids:
            if image_id in where:
                raise UserError(
                    f"{shown(file.path)}: image {image_id} is in {shown(where[image_id])} as well. Hand in one of them."
                )
            where[image_id] = file.path
    members = {split: set(data.pictures(split)) for split in splits if data.has(split)}
    others = {
        split: set(data.pictures(split))
        for split in ("train", "val", "test")
        if split not in members and data.has(split)
    }
    _check_known(where, members | others, data, splits)

    predictions = pd.concat([file.predictions for file in files], ignore_index=True)
    rows = any(file.is_submission for file in files)
    found: dict[str, pd.DataFrame] = {}
    for split, ids in members.items():
        covered = ids & where.keys()
        if not covered:
            continue
        if rows and len(covered) < len(ids):
            print_warning(
                f"{len(ids) - len(covered)} of the {len(ids)} images of split {split!r} are not in the submission "
                f"(such as {min(ids - covered)}): they count as images without a prediction"
            )
        found[split] = predictions[predictions["image_id"].isin(ids)].reset_index(drop=True)
    if not found:
        names = ", ".join(shown(path) for path in paths)
        elsewhere = [split for split, ids in others.items() if ids & where.keys()]
        hint = f"its images are in {' and '.join(elsewhere)}: name it with --report-on" if elsewhere else "it is empty"
        raise UserError(f"{names}: covers no image of {' or '.join(splits)} of {shown(data.yaml)}; {hint}.")
    return found


def check_columns(files: Sequence[PredictionsFile]) -> None:
    """Refuse files of which some are of several voters and others do not say: what has a voter none of has none."""
    kinds = {tuple(column for column in VOTER_COLUMNS if column in file.predictions): file for file in files}
    if len(kinds) > 1:
        most, *_, least = sorted(kinds, key=len, reverse=True)
        lacking = ", ".join(column for column in most if column not in least)
        raise UserError(
            f"{shown(kinds[least].path)}: lacks {lacking}, which {shown(kinds[most].path)} has; expected files of the "
            "same voters. Score them apart, or leave the column out of all."
        )


def _check_known(where: dict[str, Path], known: dict[str, set[str]], data: DataSet, splits: Sequence[str]) -> None:
    unknown = sorted(where.keys() - set().union(*known.values()))
    if not unknown:
        return
    first = unknown[0]
    found = f"{shown(where[first])}: {len(unknown)} of its {len(where)} images, first {first},"
    challenge = data.challenge_ids()
    if challenge.issuperset(unknown) and "challenge" not in splits:
        raise UserError(
            f"{found} are of the challenge's own test set, whose truth is not public in this release: upload the "
            "submission to Kaggle, or convert RSNA's own release, which has it."
        )
    raise UserError(f"{found} are not in {shown(data.yaml)}. Name the data set that they belong to with --data.")
