"""What all members of a system say about some images, as one table: on a data set's split, or on new pictures."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.data_set import Split
from common.data.tables import DETECTOR, VOTERS, PredictionsFile, empty_predictions, sort_predictions, write_predictions
from common.errors import UserError
from common.files import make_folder, sha256, write_json
from common.paths import shown
from evaluate.detector.cache import predict_split as predict_part
from evaluate.detector.cache import read_sidecar
from evaluate.detector.inference import Predicted, predict
from evaluate.detector.loading import PREDICTED, Outcome, Picture
from evaluate.detector.weights import run_folder
from evaluate.system.loading import LoadedSystem, Member, Voter

UNFINISHED = ".unfinished"
_CSV = "predictions_sha256"
OTHER_OUTPUT = "Name another one with --output."
"""What to do where what nobody has named cannot be written."""
_SHORT = 8


@dataclass(frozen=True)
class Votes:
    """What a system says about some images.

    Attributes:
        predictions: The predictions of all voters in one table. With several voters it has the columns `detector` and
            `voters`; see `common.data.tables`.
        opacity: P(opacity) by image id; None without classifiers.
        manifest: `image_id, view, width, height` of every image that was predicted on, and more where that is known.
        voters: How many voters have looked at each image, int by image id.
        outcomes: What became of each picture, in the order given; empty for a split.
        files: Where the voters' predictions are kept, by voter; empty for pictures.
    """

    predictions: pd.DataFrame
    opacity: pd.Series | None
    manifest: pd.DataFrame
    voters: pd.Series
    outcomes: tuple[Outcome, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Vote:
    """What one voter has found, and the images that it has looked at."""

    name: str
    predictions: pd.DataFrame
    images: Collection[str]


def predict_split(
    system: LoadedSystem,
    split: Split,
    output: Path | None = None,
    again: bool = False,
    abstains: Mapping[str, Collection[str]] | None = None,
) -> Votes:
    """Predict a split with every member, or read what was kept; see `evaluate.detector.cache`.

    Args:
        system: Its members.
        split: Its pictures.
        output: The folder where predictions are kept; None: each training's own folder.
        again: Predict even where kept predictions are right.
        abstains: By a member's checksum the images that it does not vote on, as it has been trained on their patients.

    Raises:
        UserError: A picture is missing, or a folder cannot be written.
        WorkError: Pictures cannot be read.
    """
    abstains = abstains or {}
    make_folders(system, output)
    votes: list[_Vote] = []
    files: dict[str, Path] = {}
    for member in system.members:
        part = without(split, abstains.get(member.detector.sha256, ()))
        if not part.pictures:
            continue
        folder = kept_in(system, member.path, output)
        weights = system.load(member)
        for voter in member.voters:
            if len(system.members) > 1:
                print(f"{voter.name}: {len(part.pictures):,} of {len(split.pictures):,} images of {split.name}")
            files[voter.name], table = predict_part(
                weights, part, folder, system.options, again, settings=voter.settings
            )
            votes.append(_Vote(voter.name, table, part.pictures.keys()))
    votes += _votes_of_files(system.files, list(split.pictures), split.name)
    files |= {name: file.path for name, file in system.files.items()}
    table, voters = _together(votes, list(split.pictures), system.voters > 1)
    return Votes(
        predictions=table,
        opacity=opacity_of_split(system, split, output, again, abstains),
        manifest=split.manifest,
        voters=voters,
        files=files,
    )


def predict_pictures(system: LoadedSystem, pictures: Sequence[Picture], output: Path) -> Votes:
    """Predict pictures that belong to no data set, with every member.

    What was found so far is kept in `output`, in files that end in `UNFINISHED`: the same call goes on after a stop.
    The caller removes them with `forget` when the outcome is safe.

    Args:
        system: Its members.
        pictures: What to look at; each is read once for every voter.
        output: A folder that is there.

    Raises:
        UserError: There is no detector among the members, or the device does not exist.
        WorkError: Something cannot be written, or another command predicts into the folder.
    """
    if not system.members:
        names = ", ".join(shown(file.path) for file in system.files.values())
        raise UserError(f"{names}: predictions, which cannot look at new pictures. Name a detector's weights, too.")
    found: list[tuple[Voter, Predicted]] = []
    for member in system.members:
        weights = system.load(member)
        for voter in member.voters:
            words = f"predicting with {voter.name}" if system.voters > 1 else "predicting"
            options = system.options
            keep = output / f"predictions{_place(system, member, voter)}{UNFINISHED}"
            found.append(
                (
                    voter,
                    predict(weights, pictures, voter.settings, options.batch, options.device, words, keep=keep),
                )
            )
    outcomes = _outcomes([one for _, one in found])
    ids = [one.image_id for one in outcomes if one.status == PREDICTED]
    usable = set(ids)
    votes = [
        _Vote(voter.name, one.predictions[one.predictions["image_id"].isin(usable)], usable) for voter, one in found
    ]
    votes += _votes_of_files(system.files, ids, "the pictures")
    table, voters = _together(votes, ids, system.voters > 1)
    known = [(one.image_id, one.view, one.width, one.height) for one in outcomes if one.status == PREDICTED]
    seen = [picture for picture in pictures if picture.image_id in usable]
    return Votes(
        predictions=table,
        opacity=_opacity_of_pictures(system, seen, output),
        manifest=pd.DataFrame(known, columns=["image_id", "view", "width", "height"]),
        voters=voters,
        outcomes=tuple(outcomes),
    )


def forget(output: Path) -> None:
    """Remove what `predict_pictures` has kept for another call: the outcome is safe."""
    for file in output.glob(f"*{UNFINISHED}"):
        file.unlink(missing_ok=True)


def write_votes(path: Path, votes: Votes) -> None:
    """Write the table of several voters, unless it is there already, made from the same kept predictions.

    A JSON file beside it says from which; it is written last, so that a table without it is never trusted.
    """
    sidecar = path.with_suffix(".json")
    made_from = {name: sha256(file) for name, file in votes.files.items()}
    counted = hashlib.sha256(votes.voters.to_csv().encode()).hexdigest()
    wanted = {"voters": made_from, "looked_sha256": counted}
    if path.is_file() and read_sidecar(sidecar) == {**wanted, _CSV: sha256(path)}:
        return
    sidecar.unlink(missing_ok=True)
    write_predictions(path, votes.predictions)
    write_json(sidecar, {**wanted, _CSV: sha256(path)})


def without(split: Split, images: Collection[str]) -> Split:
    """The part of a split that is left without some images; another name tells it from the whole."""
    pictures = {image_id: path for image_id, path in split.pictures.items() if image_id not in images}
    if len(pictures) == len(split.pictures):
        return split
    return replace(
        split,
        name=f"{split.name}-unseen",
        pictures=pictures,
        truth=split.truth[split.truth["image_id"].isin(pictures)].reset_index(drop=True),
        manifest=split.manifest[split.manifest["image_id"].isin(pictures)].reset_index(drop=True),
    )


def kept_in(system: LoadedSystem, weights: Path, output: Path | None) -> Path:
    """Where a member's predictions of a split are kept: in its own folder, unless another one is named."""
    run = run_folder(weights)
    if output is None:
        return run
    if len(system.members) == 1:
        return output
    place = hashlib.sha256(os.fspath(weights.resolve()).encode()).hexdigest()[:_SHORT]  # folders may share a name
    return output / "members" / f"{run.name}-{place}"


def make_folders(system: LoadedSystem, output: Path | None) -> None:
    """Make the folders where members' predictions are kept.

    Raises:
        UserError: One cannot be written.
    """
    for member in system.members:
        make_folder(kept_in(system, member.path, output), *(() if output else ("the weights' folder", OTHER_OUTPUT)))
    for classifier in system.classifiers:
        make_folder(kept_in(system, classifier.path, output), *(() if output else ("the gate's folder", OTHER_OUTPUT)))


def _place(system: LoadedSystem, member: Member, voter: Voter) -> str:
    """What tells a voter's file from that of the others."""
    if system.voters == 1:
        return ""
    said = json.dumps([member.detector.sha256, voter.settings.as_dict()], sort_keys=True)
    return f"-{hashlib.sha256(said.encode()).hexdigest()[:_SHORT]}"


def _outcomes(found: Sequence[Predicted]) -> list[Outcome]:
    """What became of each picture: one that any voter could not read has not been looked at by all."""
    return [
        next((one for one in of_picture if one.status != PREDICTED), of_picture[0])
        for of_picture in zip(*(one.outcomes for one in found), strict=True)
    ]


def _votes_of_files(files: Mapping[str, PredictionsFile], ids: Sequence[str], where: str) -> list[_Vote]:
    """The votes of files, which have looked at all images if they have any of them."""
    wanted, votes = set(ids), []
    for name, file in files.items():
        if wanted.isdisjoint(file.image_ids):
            print_warning(
                f"{shown(file.path)}: has none of the {len(ids):,} images of {where}, so it does not vote there"
            )
            continue
        table = file.predictions[file.predictions["image_id"].isin(wanted)]
        votes.append(_Vote(name, table.reset_index(drop=True), wanted))
    return votes


def _together(votes: Sequence[_Vote], ids: Sequence[str], several: bool) -> tuple[pd.DataFrame, pd.Series]:
    """The predictions of all, and how many have looked at each image."""
    counts = Counter(image_id for vote in votes for image_id in vote.images)
    index = pd.Index(ids, name="image_id")
    voters = pd.Series([counts[image_id] for image_id in ids], index, dtype=int, name=VOTERS)
    if not several:
        return (votes[0].predictions if votes else empty_predictions()), voters
    tables = [vote.predictions.assign(**{DETECTOR: vote.name}) for vote in votes]
    table = pd.concat(tables or [empty_predictions().assign(**{DETECTOR: ""})], ignore_index=True)
    return sort_predictions(table.assign(**{VOTERS: table["image_id"].map(counts).astype(int)})), voters


def opacity_of_split(
    system: LoadedSystem,
    split: Split,
    output: Path | None = None,
    again: bool = False,
    abstains: Mapping[str, Collection[str]] | None = None,
) -> pd.Series | None:
    """The mean P(opacity) over the classifiers that look at an image; None without any. See `predict_split`."""
    if not system.classifiers:
        return None
    from evaluate.classifier.cache import predict_opacity_of_split

    found = []
    for classifier in system.classifiers:
        part = without(split, (abstains or {}).get(classifier.sha256, ()))
        if not part.pictures:
            continue
        folder = kept_in(system, classifier.path, output)
        options = system.options
        found.append(predict_opacity_of_split(classifier, part, folder, options.batch, options.device, again)[1])
    ids = pd.Index(list(split.pictures), name="image_id")
    each = np.stack([one.reindex(ids).to_numpy(float) for one in found])
    looked = ~np.isnan(each).all(axis=0)
    return pd.Series(np.nanmean(each[:, looked], axis=0), ids[looked], name="p_opacity")


def _opacity_of_pictures(system: LoadedSystem, pictures: Sequence[Picture], output: Path) -> pd.Series | None:
    if not system.classifiers:
        return None
    from evaluate.classifier.inference import predict_opacity

    keep = output / f"opacity{UNFINISHED}"
    return predict_opacity(system.classifiers, pictures, None, system.options.batch, system.options.device, keep)
