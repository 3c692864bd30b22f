"""A YOLO data set as the scorer sees it: pictures, truth and patients of each split.

A data set that this project converted
has a `manifest.csv` and a `truth.csv` above its pictures; any other one is read from its YOLO label files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data import yolo_labels
from common.data.data_yaml import (
    PICTURE_SUFFIXES,
    class_names,
    find_yaml,
    list_pictures,
    read_yaml,
    resolve_split,
)
from common.data.edited_labels import truth_of_labels
from common.data.names import scored_classes
from common.data.tables import is_manifest, read_manifest, read_truth
from common.errors import UserError
from common.paths import shown
from common.walking import escape

_SETTINGS = "conversion.json"
_MANIFEST = "manifest.csv"
_TRUTH = "truth.csv"


@dataclass(frozen=True)
class Split:
    """The images of one split.

    Attributes:
        name: Such as `val`.
        pictures: Picture file by image id, sorted by id.
        truth: The boxes table of these images.
        manifest: The manifest's rows of these images, sorted by id. For a data set that this project did not convert,
            every image is a patient of its own and view, sex and age are empty.
        has_patients: Whether patients are known; see `DataSet.knows_patients`.
    """

    name: str
    pictures: dict[str, Path]
    truth: pd.DataFrame
    manifest: pd.DataFrame
    has_patients: bool


class DataSet:
    """A data YAML and what it leads to.

    Attributes:
        yaml: The data YAML.
        names: Class names by index.
        scored: Indices of the classes that are scored, as one: of a single class, as a rule.
    """

    def __init__(self, data: Path, wanted: str | None = None) -> None:
        """Read a data YAML, or the one of a data set's folder.

        Args:
            data: The file or the folder.
            wanted: The class that is scored; see `common.data.names.scored_classes`.

        Raises:
            UserError: There is no such file or folder, it is no data YAML, or its classes are not ours.
        """
        self.yaml = find_yaml(data)
        self._content = read_yaml(self.yaml)
        self.names = class_names(self._content.get("names"), self._content.get("nc"), shown(self.yaml))
        self.scored = scored_classes(self.names, shown(self.yaml), wanted)
        self._pictures: dict[str, dict[str, Path]] = {}
        self._roots: dict[Path, Path | None] = {}
        self._ids: dict[str, dict[Path | None, list[str]]] = {}
        self._tables: dict[Path, pd.DataFrame] = {}
        self._patients: dict[str, pd.Series] = {}

    def has(self, split: str) -> bool:
        """Whether the YAML names this split, or its data set has a list of this name, and there are pictures in it.

        Raises:
            UserError: What it names does not exist.
        """
        if split in self._pictures:
            return True
        return any(list_pictures(entry, self.yaml, split) for entry in self._entries(split) or ())

    def pictures(self, split: str) -> dict[str, Path]:
        """Picture file by image id (the file's stem; see `walking.escape`), sorted by id.

        A picture listed several times counts once.

        Raises:
            UserError: There is no such split, it is empty, a path of it is missing, or two files share a stem.
        """
        if split not in self._pictures:
            self._pictures[split] = self._read_pictures(split)
        return self._pictures[split]

    def roots(self, split: str) -> dict[Path | None, list[str]]:
        """Image ids by the folder of the converted data set that they belong to; by None where they belong to none.

        Raises:
            UserError: A data set was not converted to its end.
        """
        if split not in self._ids:
            found: dict[Path | None, list[str]] = {}
            for image_id, path in self.pictures(split).items():
                folder = path.parent
                if folder not in self._roots:
                    self._roots[folder] = find_root(folder)
                found.setdefault(self._roots[folder], []).append(image_id)
            self._ids[split] = found
        return self._ids[split]

    def patients(self, split: str) -> pd.Series:
        """Patient by image id; the image id itself where patients are not known."""
        if split not in self._patients:
            parts = [
                pd.Series(ids, index=ids) if root is None else _rows_of(self._manifest(root), ids, root)["patient_id"]
                for root, ids in self.roots(split).items()
            ]
            self._patients[split] = pd.concat(parts).sort_index().rename("patient_id").rename_axis("image_id")
        return self._patients[split].copy()

    def knows_patients(self, split: str) -> bool:
        """Whether patients are known: a conversion that does not know them makes every image its own patient."""
        for root in self.roots(split):
            if root is None:
                return False
            manifest = self._manifest(root)
            if (manifest["patient_id"] == manifest["image_id"]).all():
                return False
        return True

    def whole_manifest(self, splits: list[str]) -> pd.DataFrame | None:
        """All rows of the manifests that these splits' images are in; None where there is no manifest."""
        roots = {root for split in splits for root in self.roots(split) if root is not None}
        return pd.concat([self._manifest(root) for root in sorted(roots)], ignore_index=True) if roots else None

    def is_synthetic(self, splits: list[str]) -> bool | None:
        """Whether a program drew any of the pictures, as the conversions noted; None where none did."""
        roots = {root for split in splits for root in self.roots(split) if root is not None}
        noted = [_read_settings(root).get("synthetic") for root in roots]
        known = [bool(value) for value in noted if value is not None]
        return any(known) if known else None

    def sources(self, split: str) -> set[str]:
        """What the split's images were converted from, such as `NIH ChestX-ray14`, as the conversions noted.

        Raises:
            UserError: See `pictures`.
        """
        return {str(_read_settings(root).get("source") or "") for root in self.roots(split) if root} - {""}

    def picture_size(self, split: str) -> int | None:
        """The longest side that the split's pictures were scaled down to when they were converted, in pixels.

        None where they were not, where that is not known, and where conversions of several sizes are mixed.

        Raises:
            UserError: See `pictures`.
        """
        sizes = {_read_settings(root).get("size") if root else None for root in self.roots(split)}
        size = sizes.pop() if len(sizes) == 1 else None
        return size if isinstance(size, int) and size > 0 else None

    def challenge_ids(self) -> set[str]:
        """Images of the converted data sets that are in the split `challenge`: those whose truth may not be public."""
        ids: set[str] = set()
        for split in ("val", "test"):
            for root in self.roots(split) if self.has(split) else ():
                if root is not None:
                    manifest = self._manifest(root)
                    ids.update(manifest.loc[manifest["split"] == "challenge", "image_id"])
        return ids

    def split(self, name: str) -> Split:
        """Read pictures, truth and manifest rows of a split.

        Raises:
            UserError: See `pictures`; or images have no truth, or a label file is wrong.
        """
        pictures = self.pictures(name)
        truths: list[pd.DataFrame] = []
        manifests: list[pd.DataFrame] = []
        roots = self.roots(name)
        for root, ids in roots.items():
            if root is None:
                truth, manifest = yolo_labels.read(
                    {image_id: pictures[image_id] for image_id in ids}, self.names, self.scored, name
                )
            else:
                manifest = _rows_of(self._manifest(root), ids, root).reset_index()
                truth = truth_of_labels(
                    name,
                    {image_id: pictures[image_id] for image_id in ids},
                    self._truth_of(root, ids, name),
                    manifest.set_index("image_id")[["width", "height"]],
                    self.names,
                    self.scored,
                    # Among several classes their names decide which of the labels are scored.
                    (root / _MANIFEST, root / _TRUTH, *([self.yaml] if len(self.names) > 1 else [])),
                )
                counts = truth.groupby("image_id")["x"].count()
                manifest["boxes"] = manifest["image_id"].map(counts).astype(float)
            truths.append(truth)
            manifests.append(manifest)
        truth = pd.concat(truths, ignore_index=True).sort_values("image_id", kind="stable", ignore_index=True)
        manifest = pd.concat(manifests, ignore_index=True).sort_values("image_id", ignore_index=True)
        return Split(name, pictures, truth, manifest, has_patients=self.knows_patients(name))

    def _entries(self, split: str) -> list[Path] | None:
        """The split's folders, lists or files; from the YAML, or `<split>.txt` of the converted data set."""
        if entries := resolve_split(self._content, split, self.yaml):
            return entries
        for other in ("val", "train", "test"):
            if split != other and self._content.get(other) and self.has(other):
                for root in self.roots(other):
                    if root is not None and (root / f"{split}.txt").is_file():
                        return [root / f"{split}.txt"]
        return None

    def _read_pictures(self, split: str) -> dict[str, Path]:
        entries = self._entries(split)
        if entries is None:
            known = [name for name in ("train", "val", "test") if self._content.get(name)]
            raise UserError(
                f"{shown(self.yaml)}: has no split {split!r}; it has {', '.join(known) or 'none'}. "
                "Name one of these, or add the split to the YAML."
            )
        found: dict[str, Path] = {}
        for path in dict.fromkeys(path for entry in entries for path in list_pictures(entry, self.yaml, split)):
            image_id = escape(path.stem)
            if image_id in found:
                raise UserError(
                    f"{shown(self.yaml)}: split {split!r} has two pictures named {image_id}: "
                    f"{shown(found[image_id])} and {shown(path)}. The name is the image id: rename one or leave it out."
                )
            found[image_id] = path
        if not found:
            raise UserError(
                f"{shown(self.yaml)}: split {split!r} has no pictures; looked in "
                f"{', '.join(shown(entry) for entry in entries)} for {', '.join(PICTURE_SUFFIXES)}."
            )
        return dict(sorted(found.items()))

    def _manifest(self, root: Path) -> pd.DataFrame:
        """The manifest; with several classes, its boxes are those of the class that is scored."""
        if root / _MANIFEST not in self._tables:
            table = read_manifest(root / _MANIFEST)
            if len(self.names) > 1:
                boxes = self._truth(root).groupby("image_id")["x"].count()
                table["boxes"] = table["image_id"].map(boxes).astype(float)
            self._tables[root / _MANIFEST] = table
        return self._tables[root / _MANIFEST]

    def _truth(self, root: Path) -> pd.DataFrame:
        if root / _TRUTH not in self._tables:
            self._tables[root / _TRUTH] = self._one_class(read_truth(root / _TRUTH))
        return self._tables[root / _TRUTH]

    def _one_class(self, truth: pd.DataFrame) -> pd.DataFrame:
        """The truth of the class that is scored: images whose boxes are all of others keep one row without a box."""
        if len(self.names) == len(self.scored):
            return truth
        kept = truth[truth["x"].isna() | truth["label"].isin([self.names[index] for index in self.scored])]
        others = truth[~truth["image_id"].isin(kept["image_id"])].drop_duplicates("image_id")
        others = others.assign(**dict.fromkeys(("x", "y", "width", "height"), math.nan))
        return pd.concat([kept, others]).sort_index()

    def _truth_of(self, root: Path, ids: list[str], split: str) -> pd.DataFrame:
        table = self._truth(root)
        missing = sorted(set(ids) - set(table["image_id"]))
        if missing:
            challenge = set(self._manifest(root).query("split == 'challenge'")["image_id"])
            if challenge.issuperset(missing):
                raise UserError(
                    f"{shown(root)}: split {split!r} has {len(missing)} images of the challenge's own test set, first "
                    f"{missing[0]}, whose truth is not public in this release. Upload a submission to Kaggle, or "
                    "convert RSNA's own release, which has it."
                )
            raise UserError(
                f"{shown(root / 'truth.csv')}: {len(missing)} images of split {split!r} are not in it, first "
                f"{missing[0]}. Convert the data again."
            )
        return table[table["image_id"].isin(ids)]


def _read_settings(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_root(folder: Path) -> Path | None:
    """The nearest folder above a picture's that is a converted data set; None if there is none.

    A `manifest.csv` alone is no sign of one, as many programs write such a file: `conversion.json` lies beside ours, or
    it has our columns.

    Raises:
        UserError: The data set was not converted to its end.
    """
    for parent in (folder, *folder.parents):
        has_settings = (parent / _SETTINGS).is_file()
        if (parent / _MANIFEST).is_file():
            if has_settings or is_manifest(parent / _MANIFEST):
                return parent
        elif has_settings:
            raise UserError(
                f"{shown(parent)}: has {_SETTINGS} but no {_MANIFEST}, which is written last: the conversion did not "
                "finish. Run the same conversion command again; it goes on where it stopped."
            )
    return None


def converted_root(data: Path) -> Path:
    """The folder of the converted data set that a folder is, or that a data YAML leads to, wherever it lies.

    Raises:
        UserError: The YAML is none, leads nowhere or to several data sets, or to one that was not converted here.
    """
    if data.is_dir():
        return data
    yaml = find_yaml(data)
    content = read_yaml(yaml)
    entries = [entry for split in ("train", "val", "test") for entry in resolve_split(content, split, yaml) or ()]
    if missing := [entry for entry in entries if not entry.exists()]:
        raise UserError(
            f"{shown(yaml)}: names {shown(missing[0])}, which does not exist. Convert the data first "
            "(python convert/rsna_to_yolo.py), or correct the YAML."
        )
    roots = {find_root(entry if entry.is_dir() else entry.parent) for entry in entries}
    if len(roots) != 1 or None in roots:
        found = ", ".join(shown(root) for root in sorted(filter(None, roots))) or "none"
        raise UserError(
            f"{shown(yaml)}: leads to {found}; expected one data set that was converted here (manifest.csv). Name its "
            "folder."
        )
    return roots.pop() or yaml.parent


def _rows_of(manifest: pd.DataFrame, ids: list[str], root: Path) -> pd.DataFrame:
    table = manifest.set_index("image_id")
    missing = [image_id for image_id in ids if image_id not in table.index]
    if missing:
        raise UserError(
            f"{shown(root / 'manifest.csv')}: {len(missing)} listed images are not in it, first {missing[0]}. "
            "List and manifest belong to different conversions: convert again."
        )
    return table.loc[ids]


def warn_unknown_patients(split: Split) -> None:
    """Say that the interval cannot account for patients with several images."""
    if not split.has_patients:
        print_warning(
            f"patients of split {split.name!r} are not known (no manifest.csv, or a conversion without the mapping or "
            "column that names them): every image counts as a patient of its own, so the interval is too narrow where "
            "patients have several images"
        )
