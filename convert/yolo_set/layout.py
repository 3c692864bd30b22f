"""A YOLO data set on disk: what lies where, how it is begun and finished.

data.yaml                   for Ultralytics; names no absolute path, so the folder can be moved
train.txt val.txt test.txt  the pictures of each split; challenge.txt: those without a known truth
train_positives.txt, fold0_train.txt, ... and positives.yaml, fold0.yaml, ...: other choices of the same pictures
images/<split>/<image_id>.jpg|png
labels/<split>/<image_id>.txt    an empty file says that there is nothing to box
truth.csv  rejected.csv  conversion.json
manifest.csv                one row per image; written last, so that a data set without it is not finished

`--report` adds data.html, the page about the data; `yolo_to_coco.py` adds coco/. Training a gate adds classes/: links
to the pictures by class. Ultralytics adds labels/*.cache, and with `cache=disk` an .npy beside each picture. All that
goes when the data set is replaced; files of any other name stay.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from common import locks
from common.data.csv_files import write_csv
from common.data.names import CHALLENGE, SPLITS
from common.errors import UserError, WorkError
from common.files import PART, write_atomic, write_json
from common.paths import shown

FORMAT = 3
"""Raised whenever the same settings would give other files; a data set of another format is not continued."""

DATA_YAML = "data.yaml"
MANIFEST_COLUMNS = [
    "image_id", "split", "fold", "patient_id", "label", "boxes", "width", "height", "view", "sex", "age",
    "pixel_spacing_mm", "stored", "note", "source", "picture",
]  # fmt: skip
_SETTINGS = "conversion.json"
_MANIFEST = "manifest.csv"
COCO = "coco"
"""Where `yolo_to_coco.py` writes unless told otherwise."""
COCO_TRUTH, COCO_PREDICTIONS = "{split}.json", "{split}_predictions.json"
_LOCK = "conversion.lock"
_OURS = re.compile(
    r"(train|val|test|challenge|train_positives|fold\d+_(train|train_positives|val))\.txt"
    r"|(data|positives|fold\d+|fold\d+_positives)\.yaml|truth\.csv|rejected\.csv|data\.html"
)
"""The files in the data set's own folder, by their whole names; but for the manifest, which goes first, and the
settings, which are replaced in one step: without them the folder would count as somebody else's."""
_VIEW = re.compile(r"classes(-fold\d+)?")
_HALF_WRITTEN = re.compile(rf".*\.\d+{re.escape(PART)}")


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep other conversions out of an output folder: two would remove each other's half-written files.

    A finished data set may lie on a disk that is only to be read; see `locks.locked`.

    Args:
        output: The data set's folder, made if need be.

    Raises:
        WorkError: Another conversion is at work there.
    """
    made = not output.exists()
    with contextlib.suppress(OSError):  # `begin` says what is wrong with the folder, if it has to be written
        output.mkdir(parents=True, exist_ok=True)
    busy = f"{shown(output)}: another conversion is at work in it. Wait until it ends, or choose another --output."
    try:
        with locks.locked(output / _LOCK, busy):
            yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                output.rmdir()  # nothing came of it


def begin(output: Path, settings: dict[str, Any], overwrite: bool, resume: bool) -> bool:
    """Prepare the output folder; refuse one that holds anything else.

    Args:
        output: The data set's folder, made if need be.
        settings: What decides the outcome, JSON values; kept in `conversion.json`.
        overwrite: Remove a data set that is there.
        resume: Go on with an unfinished conversion of the same settings.

    Returns:
        Whether a conversion is continued. Whether it is finished already tells `is_finished`.

    Raises:
        UserError: The folder holds files that are not ours, or a data set of other settings.
        WorkError: The folder cannot be made.
    """
    settings = {"format": FORMAT, **settings}
    if output.exists() and not output.is_dir():
        raise UserError(f"{shown(output)}: a file, expected a folder or nothing. Choose another --output.")
    content = sorted(path.name for path in output.iterdir() if path.name != _LOCK) if output.exists() else []
    before = _read_settings(output)
    if content and before is None:
        raise UserError(
            f"{shown(output)}: not a data set made here (no {_SETTINGS}; found {', '.join(content[:3])}"
            f"{', ...' if len(content) > 3 else ''}). Choose another --output; nothing was touched."
        )
    if before is not None and not overwrite:
        _check_same(output, before, settings)
        if is_finished(output):
            remove_parts(output)
            return True
        if not resume:
            raise UserError(f"{shown(output)}: an unfinished conversion. Go on with --resume, or use --overwrite.")
    resumed = before is not None and not overwrite
    try:
        if before is not None and overwrite:
            _remove(output)
        for split in (*SPLITS, CHALLENGE):  # also when it goes on: somebody may have removed one
            (output / "images" / split).mkdir(parents=True, exist_ok=True)
            if split != CHALLENGE:
                (output / "labels" / split).mkdir(parents=True, exist_ok=True)
        remove_parts(output)
    except OSError as error:
        raise WorkError(
            f"{shown(output)}: cannot be made or cleared ({error.strerror}). Choose another --output."
        ) from error
    if not resumed:
        write_json(output / _SETTINGS, settings)
    return resumed


def is_finished(output: Path) -> bool:
    """Whether the data set is complete."""
    return (output / _MANIFEST).is_file()


def _read_settings(output: Path) -> dict[str, Any] | None:
    try:
        return json.loads((output / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _check_same(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    other = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if other:
        changes = "; ".join(f"{key} was {_brief(before.get(key))}, now {_brief(now.get(key))}" for key in other)
        raise UserError(
            f"{shown(output)}: holds a data set of other settings ({changes}). "
            "Choose another --output, or replace it with --overwrite."
        )


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _remove(output: Path) -> None:
    """Remove what a conversion makes and what is made of it; nothing else, as people keep lists and YAMLs of their own.

    First the manifest, so that a broken removal shows.
    """
    (output / _MANIFEST).unlink(missing_ok=True)
    for path in list(output.iterdir()):
        if _VIEW.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)
    for split in (*SPLITS, CHALLENGE):
        _remove_pictures(output / "images" / split)
        _remove_files(output / "labels" / split, re.compile(r".*\.txt"))
    # Ultralytics' lists of checked labels; they would speak of the old pictures.
    _remove_files(output / "labels", re.compile(r".*\.cache"))
    coco = [form.format(split=split) for split in SPLITS for form in (COCO_TRUTH, COCO_PREDICTIONS)]
    _remove_files(output / COCO, re.compile("|".join(map(re.escape, coco))))
    for name in ("images", "labels"):
        with contextlib.suppress(OSError):
            (output / name).rmdir()
    _remove_files(output, _OURS)


def _remove_pictures(folder: Path) -> None:
    """Remove pictures, and the arrays of `cache=disk`: Ultralytics would read an old one before the new picture.

    It gives an array the name of its picture, so one without a picture is somebody else's. The arrays go first: if the
    removal breaks off, it shows again which they are.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    pictures = [name for name in names if name.endswith((".jpg", ".png"))]
    for name in [*(f"{name[:-4]}.npy" for name in pictures), *pictures]:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove_files(folder: Path, names: re.Pattern[str]) -> None:
    """Remove a folder's files of these names, and the folder if that was all in it."""
    if not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        if names.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_parts(output: Path) -> None:
    """Remove half-written files that a killed process left."""
    for path in output.rglob(f"*{PART}"):
        if _HALF_WRITTEN.fullmatch(path.name):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Tables:
    """What a data set says about its images.

    Attributes:
        manifest: One row per image, columns `MANIFEST_COLUMNS`.
        truth: The boxes table of the images in train, val and test.
        rejected: What could not be used: `image_id, source, row, reason`.
    """

    manifest: pd.DataFrame
    truth: pd.DataFrame
    rejected: pd.DataFrame


def finish(output: Path, tables: Tables, class_names: list[str], negatives: float | None, seed: int) -> None:
    """Write tables, lists and YAML files; the manifest last.

    Args:
        output: The data set's folder, its pictures and labels already there.
        tables: Everything known about the images.
        class_names: The boxes' labels, by class index.
        negatives: Keep this many images without boxes per image with boxes in the train lists; None keeps all.
        seed: Decides which of them.
    """
    manifest = tables.manifest.sort_values("image_id", kind="stable")
    lists = _lists(manifest, negatives, seed)
    for name, pictures in lists.items():
        write_atomic(output / f"{name}.txt", "".join(f"./{picture}\n" for picture in pictures))
    write_atomic(output / DATA_YAML, _yaml(class_names, "train", "val"))
    write_atomic(output / "positives.yaml", _yaml(class_names, "train_positives", "val"))
    for train in lists:
        if train.startswith("fold") and not train.endswith("_val"):
            fold = train.split("_")[0]
            name = train.replace("_train", "")
            write_atomic(output / f"{name}.yaml", _yaml(class_names, train, f"{fold}_val"))
    write_csv(output / "truth.csv", tables.truth)
    write_csv(output / "rejected.csv", tables.rejected)
    remove_parts(output)
    write_csv(output / _MANIFEST, manifest[MANIFEST_COLUMNS])


def _lists(manifest: pd.DataFrame, negatives: float | None, seed: int) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}

    def add(name: str, rows: pd.DataFrame) -> None:
        lists[name] = rows["picture"].tolist()

    def add_train(name: str, rows: pd.DataFrame) -> None:
        add(name, _thin_negatives(rows, negatives, seed))
        add(f"{name}_positives", rows[rows["boxes"] > 0])

    by_split = {name: manifest[manifest["split"] == name] for name in (*SPLITS, CHALLENGE)}
    add_train("train", by_split["train"])
    for name in ("val", "test", CHALLENGE):
        add(name, by_split[name])
    for fold in sorted(manifest["fold"].dropna().unique()):
        add_train(f"fold{fold}_train", manifest[manifest["fold"].notna() & (manifest["fold"] != fold)])
        add(f"fold{fold}_val", manifest[manifest["fold"] == fold])
    return lists


def _thin_negatives(rows: pd.DataFrame, negatives: float | None, seed: int) -> pd.DataFrame:
    if negatives is None:
        return rows
    positive = rows["boxes"] > 0
    wanted = min(round(negatives * int(positive.sum())), int((~positive).sum()))
    kept = rows[~positive].sample(n=wanted, random_state=seed).index
    return rows[positive | rows.index.isin(kept)]


def _yaml(class_names: list[str], train: str, val: str) -> str:
    names = yaml.safe_dump({"names": dict(enumerate(class_names))}, sort_keys=False, allow_unicode=True)
    return (
        "# For Ultralytics. No `path`: everything is relative to this file, wherever it is moved.\n"
        f"train: {train}.txt\nval: {val}.txt\ntest: test.txt\n"
        "channels: 1  # grey pictures stay one channel; pretrained RGB stems are summed, which changes no activation\n"
        f"{names}"
    )


def reasons(rejected: pd.DataFrame, most: int = 12) -> Iterable[tuple[str, int]]:
    """The reasons for rejection, the most frequent first, with similar ones (other numbers, other names) as one.

    Returns:
        Pairs of a reason and how many rows have it; what exceeds `most` reasons is summed up as the last one.
    """
    kind = rejected["reason"].str.replace(r"'[^']*'", "'...'", regex=True).str.replace(r"\d[\d,.]*", "n", regex=True)
    counts = kind.value_counts()
    example = rejected["reason"].groupby(kind).first().to_dict()
    for text, count in counts.iloc[:most].items():
        yield str(example[text] if count == 1 else text), int(count)
    if len(counts) > most:
        yield "other reasons", int(counts.iloc[most:].sum())
