"""The predictions of several trainings, fused; who may say something about which image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from common import trainings
from common.cli import print_warning
from common.data.data_set import DataSet, Split
from common.data.names import ALL_CLASSES
from common.data.tables import DETECTOR, VOTERS, sort_predictions, write_predictions
from common.errors import UserError
from common.files import make_folder, sha256, write_json
from common.paths import shown
from evaluate.detector import cache
from evaluate.detector.lineage import trace
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import Weights, find_training_data, load_weights, run_folder
from evaluate.postprocess.fusion import FUSION_IOU, fuse
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.recognition import recognise

PREDICTIONS_FILE, MEMBERS_FILE = "predictions.csv", "ensemble.json"
_SPLITS = ("val", "test")


@dataclass(frozen=True)
class EnsembleRequest:
    """Trainings whose predictions are to be fused.

        fuse_members(EnsembleRequest((Path("runs/winner"),))).predictions

    Attributes:
        members: Weights, trainings' folders, or folders of such.
        data: Data YAML or data set folder; None: the one that the first was trained on.
        iou: Boxes that overlap more are one.
        inference: How predictions are made.
        again: Predict anew even if kept predictions are still right.
        output: The folder to write to; None: the first folder named.
    """

    members: tuple[Path, ...]
    data: Path | None = None
    iou: float = FUSION_IOU
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    again: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an IoU that is none.

        Raises:
            UserError: It is.
        """
        if not 0 <= self.iou < 1:
            raise UserError(f"--iou: found {self.iou}; expected 0 or more and below 1.")


@dataclass(frozen=True)
class Fused:
    """What came out.

    Attributes:
        predictions: The file with the predictions table of val and test.
        data: The data YAML that it belongs to.
        voters: By split, how many members have predicted each image: by image id.
    """

    predictions: Path
    data: Path
    voters: dict[str, pd.Series]


def fuse_members(request: EnsembleRequest) -> Fused:
    """Predict with every member and fuse.

    Raises:
        UserError: There are no members, their data are missing, or an image has been trained on by all of them.
        WorkError: Pictures cannot be read, or a file cannot be written.
    """
    paths = find_members(request.members)
    first = request.members[0]
    output = request.output or (first if first.is_dir() else first.parent)
    leading = load_weights(paths[0])
    data = DataSet(request.data or _whole_data(first) or find_training_data(leading), leading.data_class)
    splits = {name: data.split(name) for name in _SPLITS if data.has(name)}
    if not splits:
        raise UserError(f"{shown(data.yaml)}: has pictures neither in val nor in test; an ensemble predicts these.")
    make_folder(output, *(() if request.output else ("the members' folder", "Name another one with --output.")))
    folders = {path: _kept_in(path, request.output) for path in paths}
    # All that can be refused comes before the first of them predicts, which takes long.
    parts: dict[Path, dict[str, Split]] = {}
    not_seen: list[str] = []
    for path in paths:
        weights = load_weights(path)
        lineage = trace(weights)
        not_seen += lineage.not_seen
        trained_on = (DataSet(find_training_data(weights), ALL_CLASSES), *lineage.data)
        parts[path] = {name: unseen(split, data, trained_on, not_seen) for name, split in splits.items()}
    if not_seen:
        print_warning(
            "a member abstains on images whose patients it has been trained on, but not all of that can be seen: "
            f"{'; '.join(dict.fromkeys(not_seen))}"
        )
    seen = {name: [set(part[name].pictures) for part in parts.values()] for name in splits}
    voters = {name: _count_voters(splits[name], seen[name]) for name in splits}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in splits}
    for path, by_split in parts.items():
        weights = load_weights(path)
        make_folder(folders[path], "kept predictions,")
        for name, part in by_split.items():
            table = pd.DataFrame()
            if part.pictures:
                print(f"{shown(path)}: {len(part.pictures):,} of {len(splits[name].pictures):,} images of {name}")
                _, table = predict_split(weights, part, folders[path], request.inference, request.again)
                table = (Suppression() if weights.suppresses else Suppression("none", None)).apply(table)
            tables[name].append(table)
    fused = [_fuse_split(split, tables[name], seen[name], request.iou) for name, split in splits.items()]
    write_predictions(output / PREDICTIONS_FILE, pd.concat(fused, ignore_index=True))
    write_json(
        output / MEMBERS_FILE,
        {
            "members": [shown(path) for path in paths],
            "data": shown(data.yaml),
            "iou": request.iou,
            "augment": request.inference.augment,
            "images_predicted": {name: [len(ids) for ids in seen[name]] for name in splits},
            "voters": {name: [int(one.min()), int(one.max())] for name, one in voters.items()},
            "predictions_sha256": sha256(output / PREDICTIONS_FILE),
        },
    )
    return Fused(output / PREDICTIONS_FILE, data.yaml, voters)


def _kept_in(member: Path, output: Path | None) -> Path:
    """Where a member's predictions are kept: in its own folder, which may be read-only, unless another is named."""
    run = run_folder(member)
    if output is None:
        return run / "ensemble"
    place = hashlib.sha256(os.fspath(member.resolve()).encode()).hexdigest()[:8]  # runs of two folders may share a name
    return output / "members" / f"{run.name}-{place}"


def find_members(named: Sequence[Path]) -> list[Path]:
    """The weights that are meant: files, trainings' folders, or folders of trainings.

    Raises:
        UserError: There are none, or the same twice.
    """
    found: list[Path] = []
    for path in named:
        if path.is_file():
            found.append(path)
        elif (path / "weights" / "best.pt").is_file():
            found.append(path / "weights" / "best.pt")
        else:
            found += _members_of_recipe(path) if (path / trainings.MEMBERS_FILE).is_file() else _members_of_folder(path)
    if len({path.resolve() for path in found}) < len(found):
        raise UserError("the same weights are named twice; each may have one vote only.")
    return found


def _members_of_recipe(folder: Path) -> list[Path]:
    """The finished detectors of a recipe of several trainings; its gate, which lies beside them, is none.

    Raises:
        UserError: The record is damaged, names none, or one of them is not there.
    """
    file = folder / trainings.MEMBERS_FILE
    try:
        found = [folder / name / "weights" / "best.pt" for name in json.loads(file.read_text("utf-8"))["members"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{shown(file)}: not a record of a recipe's members ({type(error).__name__}); name the members' folders."
        ) from error
    missing = [path for path in found if not path.is_file()]
    if missing or not found:
        what = f"names {shown(missing[0])}, which is not there" if missing else "names no finished member"
        raise UserError(f"{shown(file)}: {what}. Run the recipe's command again, which goes on, or name the folders.")
    return found


def _members_of_folder(folder: Path) -> list[Path]:
    """The detectors among a folder's trainings.

    Raises:
        UserError: There are none.
    """
    inside = sorted(folder.glob("*/weights/best.pt"))
    gates = [path for path in inside if trainings.kind_of(path.parents[1]) == trainings.GATE]
    if gates:
        print(f"{shown(folder)}: passing over {', '.join(path.parents[1].name for path in gates)}, a gate")
    found = [path for path in inside if path not in gates]
    if not found:
        raise UserError(f"{shown(folder)}: no weights there; expected a .pt file, or <training>/weights/best.pt in it.")
    return found


def _whole_data(folder: Path) -> Path | None:
    """The data set whose folds a recipe's members were trained on; None where the folder is no recipe's."""
    try:
        data = Path(json.loads((folder / trainings.MEMBERS_FILE).read_text("utf-8"))["arguments"]["data"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return data if data.exists() else None


def find_voters(predictions: Path) -> dict[str, tuple[int, int]]:
    """By split, the fewest and the most members that have looked at an image of fused predictions.

    Args:
        predictions: A file of predictions.

    Returns:
        What `ensemble.json` beside it says; nothing where there is none, or it is about other predictions.
    """
    try:
        content = json.loads((predictions.parent / MEMBERS_FILE).read_text("utf-8"))
        if content["predictions_sha256"] != sha256(predictions):
            return {}
        return {str(name): (int(low), int(high)) for name, (low, high) in content["voters"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def unseen(split: Split, data: DataSet, trained_on: Sequence[DataSet], not_seen: list[str]) -> Split:
    """The part of a split whose patients were not trained on.

    Args:
        split: Such as val.
        data: Its data set.
        trained_on: The data sets of a training and of those before it; their patients may have other names there.
        not_seen: What could not be seen is added, one clause each.
    """
    known: set[str] = set()
    for other in trained_on:
        found = recognise(data, split.name, other, "train")
        known.update(found.patients.index[found.patients.to_numpy()])
        not_seen += found.not_seen
    pictures = {image_id: path for image_id, path in split.pictures.items() if image_id not in known}
    return replace(
        split,
        pictures=pictures,
        truth=split.truth[split.truth["image_id"].isin(pictures)].reset_index(drop=True),
        manifest=split.manifest[split.manifest["image_id"].isin(pictures)].reset_index(drop=True),
    )


def _fuse_split(split: Split, tables: Sequence[pd.DataFrame], seen: Sequence[set[str]], iou: float) -> pd.DataFrame:
    sizes = split.manifest.set_index("image_id")[["width", "height"]]
    frames = {str(image_id): (float(width), float(height)) for image_id, width, height in sizes.itertuples()}
    with_images = [(table, ids) for table, ids in zip(tables, seen, strict=True) if ids]
    return fuse([table for table, _ in with_images], [ids for _, ids in with_images], frames, iou)


def _count_voters(split: Split, seen: Sequence[set[str]]) -> pd.Series:
    ids = list(split.pictures)
    voters = pd.Series([sum(image_id in images for images in seen) for image_id in ids], index=ids)
    without = voters.index[voters == 0]
    if len(without):
        raise UserError(
            f"{len(without)} of {len(ids)} images of {split.name!r}, first {without[0]}, were trained on, or others of "
            "their patients were, by every member; an ensemble cannot be tuned or judged on them. Add the members of "
            "the missing folds, or name data that none has seen with --data."
        )
    return voters


def predict_split(
    weights: Weights, split: Split, folder: Path, options: InferenceOptions, again: bool = False
) -> tuple[Path, pd.DataFrame]:
    """Predict a split with every voter; see `evaluate.detector.cache.predict_split`.

    Returns:
        The file and its predictions table.
    """
    found = [cache.predict_split(weights, split, folder, options, again, one) for one in options.voters(weights)]
    if len(found) == 1:
        return found[0]
    whole, file = together([table for _, table in found]), folder / f"predictions_{split.name}-augmented.csv"
    write_predictions(file, whole)
    return file, whole


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One predictions table of those of each voter; whose a box is stands in it where there are several."""
    if len(tables) == 1:
        return tables[0]
    named = [table.assign(**{DETECTOR: f"voter {number}"}) for number, table in enumerate(tables, start=1)]
    return sort_predictions(pd.concat(named, ignore_index=True)).assign(**{VOTERS: len(tables)})
