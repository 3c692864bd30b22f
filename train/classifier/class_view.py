"""The data set as an image classifier wants it: a folder for each class, of links to the pictures.

classes/                     lies in the data set's folder and moves with it; classes-fold0/ and so on for its folds
classes/<split>/<class>/<image_id>.jpg|png    train, val, test; relative symbolic links, so that no picture is copied
classes/view.json            which label each class folder stands for, which one is the opacity, how many images it has

`yolo classify train data=<data set>/classes` works with it as well. Splits and labels are those of the manifest; an
image without label, as in the challenge's own test set, is left out. An image of several classes
(`Consolidation; Lung Opacity`) belongs to the opacity's where that is one of them, else to the most frequent of its
classes. Where the system has no symbolic links, hard links
take their place. Ultralytics keeps its list of checked pictures beside the splits (`classes/train.cache`), and makes it
anew when files or paths have changed; with `cache=disk` it puts its copies of the pictures here too.

Folder names are the labels with everything but letters and digits replaced by `_`: `No Lung Opacity / Not Normal` is
`No_Lung_Opacity_Not_Normal`. Ultralytics numbers the classes in alphabetical order of the folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning, progress
from common.data.csv_files import read_csv
from common.data.names import BETWEEN_LABELS
from common.errors import UserError, WorkError
from common.files import sha256, write_json
from common.paths import shown

FOLDER, RECORD = "classes", "view.json"
SPLITS = ("train", "val", "test")
CALIBRATION = "calibration"
"""What a gate of a fold uses the images of val for that are in no fold: its training never sees them."""
_MANIFEST = "manifest.csv"
_FORMAT = 2
"""Raised whenever the same manifest would give another view."""
_UNFINISHED_SECONDS = 3600
"""A half-made view older than this belongs to nobody any more: making one takes seconds."""


@dataclass(frozen=True)
class ClassView:
    """A view and what it shows.

    Attributes:
        folder: Its folder, which is what a classifier is trained with.
        classes: Label by class folder, in alphabetical order of the folders.
        positive: Class folder of the opacity.
        fold: The fold that is validated on; None for the data set's own splits.
        manifest: SHA-256 of the manifest.
        images: One row per image of the manifest, sorted: `image_id`, `split` (what it is used for here: with a fold,
            `val` is the fold and `train` the others, and
            `CALIBRATION` are those of val in none), `label` (empty if unknown), `picture` (Path).
    """

    folder: Path
    classes: dict[str, str]
    positive: str
    fold: int | None
    manifest: str
    images: pd.DataFrame


def make_view(root: Path, positive: str, fold: int | None = None) -> ClassView:
    """Make the view of a data set, or find the one that is there still right.

    Args:
        root: The data set's folder, with `manifest.csv`.
        positive: Label of the images with opacity.
        fold: Validate on this fold and train on the others, instead of the data set's own splits.

    Raises:
        UserError: The manifest is missing or lacks what is needed, or a picture that it names is not there.
        WorkError: The links cannot be made.
    """
    manifest = root / _MANIFEST
    images = _read_images(manifest)
    images["label"] = one_class_each(images["label"], positive)
    if fold is not None:
        images["split"] = _fold_splits(images, fold, manifest)
    digest = sha256(manifest)
    used = images[images["split"].isin(SPLITS) & (images["label"] != "")]
    _check_labels(images, used, positive, manifest)
    classes = _class_folders(used["label"].unique().tolist(), manifest)
    folder_of = {label: folder for folder, label in classes.items()}
    images["picture"] = [root / picture for picture in images["picture"]]
    view = ClassView(
        folder=root / (FOLDER if fold is None else f"{FOLDER}-fold{fold}"),
        classes=classes,
        positive=folder_of[positive],
        fold=fold,
        manifest=digest,
        images=images.drop(columns="fold"),
    )
    links = used.assign(label=used["label"].map(folder_of))
    counts = {
        split: {folder: int(((links["split"] == split) & (links["label"] == folder)).sum()) for folder in classes}
        for split in SPLITS
        if (links["split"] == split).any()
    }
    record = {
        "format": _FORMAT,
        "manifest": digest,
        "fold": fold,
        "positive": view.positive,
        "classes": classes,
        "images": counts,
    }
    if not _is_current(view.folder, record):
        _build(view.folder, record, links, root)
    return view


def folds_of(root: Path) -> list[int]:
    """The folds that a data set's images are in, by its manifest.

    Raises:
        UserError: The manifest is missing, or none.
    """
    return _folds(_read_images(root / _MANIFEST))


def read_positive(folder: Path) -> str:
    """Class folder of the opacity in the view at `folder`.

    Raises:
        UserError: It is not a view.
    """
    try:
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["positive"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{shown(folder)}: no view of a data set by class (no {RECORD}); expected {FOLDER}/."
        ) from error


def class_folder(label: str) -> str:
    """The folder name that stands for a label."""
    return re.sub(r"[\W_]+", "_", label).strip("_")


def one_class_each(labels: pd.Series, positive: str) -> pd.Series:
    """The class that each image is sorted into, for a classifier gives an image one only.

    Args:
        labels: The manifest's, in which `; ` stands between an image's several classes.
        positive: The class that the classifier is for: an image that has it among others is of this class.

    Returns:
        One class for each image: `positive` where it is among them, else the one that most images have; of equally
        frequent ones the first by name.
    """
    several = labels.str.contains(BETWEEN_LABELS, regex=False)
    if not several.any():
        return labels
    frequency = labels.str.split(BETWEEN_LABELS, regex=False).explode().value_counts()

    def one(label: str) -> str:
        classes = label.split(BETWEEN_LABELS)
        return positive if positive in classes else min(classes, key=lambda name: (-frequency[name], name))

    return labels.where(~several, labels[several].map({label: one(label) for label in labels[several].unique()}))


def _read_images(manifest: Path) -> pd.DataFrame:
    """`image_id, split, fold, label, picture`, all text, sorted by image."""
    try:
        table = read_csv(manifest.read_bytes()).reset_index(drop=True)
    except FileNotFoundError:
        raise UserError(
            f"{shown(manifest)}: no such file, and it is what says which class an image has. A gate needs a data set "
            "that this project converted: python convert/rsna_to_yolo.py"
        ) from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{shown(manifest)}: not a readable CSV ({reason}). Convert the data again.") from error
    missing = [name for name in ("image_id", "split", "label", "picture") if name not in table]
    if missing:
        raise UserError(
            f"{shown(manifest)}: has no column {' or '.join(missing)}, from which the classes are read; found "
            f"{', '.join(map(str, table.columns[:8]))}. Convert the data again."
        )
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise UserError(f"{shown(manifest)}: image {twice.iloc[0]} is there twice; expected it once. Convert again.")
    if "fold" not in table:
        table["fold"] = ""
    return table[["image_id", "split", "fold", "label", "picture"]].sort_values("image_id", ignore_index=True)


def _fold_splits(images: pd.DataFrame, fold: int, manifest: Path) -> pd.Series:
    """What each image is used for: `val` in the fold, `train` in another one, its own split in none.

    But one of the data set's own val that is in no fold is kept for the calibration: its epoch is chosen on the fold,
    and the share of opacities that counts is val's, on which everything else is tuned, and not the folds'.
    """
    folds, known = pd.to_numeric(images["fold"], errors="coerce"), _folds(images)
    if fold not in known:
        found = f"folds {', '.join(map(str, known))}" if known else "no folds"
        raise UserError(
            f"fold={fold}: {shown(manifest)} has {found}. Name one of these, or convert with --folds N to have N."
        )
    own = images["split"].where(images["split"] != "val", CALIBRATION)
    return own.where(folds.isna(), folds.eq(fold).map({True: "val", False: "train"}))


def _folds(images: pd.DataFrame) -> list[int]:
    return sorted(int(value) for value in pd.to_numeric(images["fold"], errors="coerce").dropna().unique())


def _check_labels(images: pd.DataFrame, used: pd.DataFrame, positive: str, manifest: Path) -> None:
    if used.empty:
        raise UserError(f"{shown(manifest)}: no image has a label; a gate learns from the column `label`.")
    for split in ("train", "val"):
        labels = sorted(used.loc[used["split"] == split, "label"].unique())
        if positive not in labels:
            raise UserError(
                f"{shown(manifest)}: no image of split {split!r} is labelled {positive!r}, which is what the data YAML "
                f"calls the class; found {', '.join(labels) or 'no image'}. Correct `names` in the YAML, or the splits."
            )
        if len(labels) == 1:
            raise UserError(
                f"{shown(manifest)}: all images of split {split!r} are labelled {positive!r}; a gate needs others too."
            )
    unlabelled = int((images["split"].isin(SPLITS) & (images["label"] == "")).sum())
    if unlabelled:
        print_warning(f"{shown(manifest)}: {unlabelled:,} images have no label; they are left out of the training")


def _class_folders(labels: list[str], manifest: Path) -> dict[str, str]:
    folders: dict[str, str] = {}
    for label in labels:
        folder = class_folder(label)
        other = next((known for name, known in folders.items() if name.lower() == folder.lower()), None)
        if not folder or other is not None:
            clash = f"and {other!r} would share a folder" if other is not None else "gives no folder name"
            raise UserError(f"{shown(manifest)}: label {label!r} {clash}; rename one of the labels.")
        folders[folder] = label
    return dict(sorted(folders.items()))


def _is_current(folder: Path, record: dict[str, Any]) -> bool:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        found.pop("links")
        return found == record and all(
            _count(folder / split / name) == count
            for split, counts in record["images"].items()
            for name, count in counts.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _count(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(not entry.name.endswith(".npy") for entry in entries)


def _build(folder: Path, record: dict[str, Any], links: pd.DataFrame, root: Path) -> None:
    """Make the view beside its place and put it there when it is whole."""
    gone = [picture for picture in links["picture"] if not (root / picture).is_file()]
    if gone:
        raise UserError(
            f"{shown(root / gone[0])}: no such picture, though {_MANIFEST} names it ({len(gone):,} are missing). "
            "Convert the data again."
        )
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    with _explained(folder):
        for left in folder.parent.glob(f".{FOLDER}*-*"):
            if left == unfinished or time.time() - left.stat().st_mtime > _UNFINISHED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        try:
            for split, counts in record["images"].items():
                for name in counts:
                    (unfinished / split / name).mkdir(parents=True)
            kind = _link_all(unfinished, links, root)
            write_json(unfinished / RECORD, {**record, "links": kind})
            _put_in_place(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    if not _is_current(folder, record):
        raise WorkError(f"{shown(folder)}: another process changed it at the same time. Run the same command again.")


def _link_all(target: Path, links: pd.DataFrame, root: Path) -> str:
    """Make the links; return which kind."""
    kind = "symbolic"
    rows = list(zip(links["image_id"], links["split"], links["label"], links["picture"], strict=True))
    for image_id, split, name, picture in progress(rows, "linking pictures by class"):
        source = root / picture
        link = target / split / name / f"{image_id}{source.suffix}"
        if kind == "symbolic":
            try:
                link.symlink_to(os.path.relpath(source, link.parent))
                continue
            except (OSError, NotImplementedError):  # Windows without the right to, or a file system without
                kind = "hard"
        link.hardlink_to(source)
    return kind


def _put_in_place(made: Path, folder: Path) -> None:
    if folder.exists():
        old = made.with_name(f"{made.name}-old")
        os.replace(folder, old)
        shutil.rmtree(old)
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise  # else another process was faster


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename2 is not None:
            raise WorkError(
                f"{shown(folder)}: neither symbolic nor hard links can be made here ({error.strerror}), and copies "
                "would double the data set. Move the data set to a file system with links."
            ) from error
        raise WorkError(
            f"{shown(folder)}: cannot be written ({error.strerror}). Check the data set's folder and its permissions."
        ) from error
