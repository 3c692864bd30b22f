"""Which images of one data set are those of another, or of their patients: by id, name, file and content."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.cli import progress
from common.data.data_set import DataSet
from common.files import sha256
from evaluate.detector.lineage import seen_at_nih

_UNIQUE_NAME = re.compile(r"(?=.*\d)[0-9A-Fa-f.-]{20,}|\d{8}_\d{3}")
"""Names that mean the same image wherever they are: UUIDs and checksums, DICOM UIDs, NIH's patient and follow-up."""

_NUMBERED = re.compile(r"patient-\d{1,9}")
"""Names that an earlier version gave to patients; in another conversion the same one is somebody else. What stands for
a Patient ID now has ten digits, hexadecimal ones, and means the same ID everywhere."""

_MOST_BYTES = 4_000_000_000
"""Of pictures to be read for comparing contents: some seconds from a local disk."""

_MANY = 1_000
"""So many take long enough to show how far it is."""


@dataclass(frozen=True)
class Recognised:
    """The images of a split that are known from elsewhere.

    Attributes:
        images: Whether each image is known, bool by image id.
        patients: Whether it is, or another image of its patient, bool by image id.
        patients_known: Whether patients could be compared.
        not_seen: What could not be seen, one clause each.
    """

    images: pd.Series
    patients: pd.Series
    patients_known: bool
    not_seen: tuple[str, ...]


def recognise(scored: DataSet, split: str, other: DataSet, other_split: str) -> Recognised:
    """Find the images of a split, and the patients, that are in a split of another data set or of the same one.

    Images are the same if the data sets know them by the same id, if their names are unique in themselves, as a UUID
    is, if they are one file, or if their files have the same content.

    Args:
        scored: The data set whose images are looked for.
        split: Its split.
        other: The data set that they may be in.
        other_split: Its split.

    Raises:
        UserError: A split is not there, or a manifest is wrong.
    """
    here, there = _list(scored, split), _list(other, other_split)
    not_seen = [clause for clause in [seen_at_nih(other, scored)] if clause]
    images = here["key"].isin(there["key"].dropna())
    if _need_contents(here, there):
        images |= here["path"].map(Path.resolve).isin(set(there["path"].map(Path.resolve)))
        images |= _same_content(here[~images], there, not_seen).reindex(here.index, fill_value=False)
        strangers = int(here["key"].isna().sum()), int(there["key"].isna().sum())
        if any(strangers):
            not_seen.append(
                f"{strangers[0]:,} of {len(here):,} images of {split!r} and {strangers[1]:,} of {len(there):,} of "
                f"{other_split!r} have no id that tells them apart, so that a copy encoded or resized anew was not "
                "recognised"
            )
        alike = here.index[~images & here["key"].isna()].intersection(there.index[there["key"].isna()])
        if len(alike):
            not_seen.append(
                f"{len(alike):,} images of {split!r} have the name of an image of {other_split!r}, such as {alike[0]}, "
                "but other content: whether they are the same is not known"
            )
    patients, patients_known = (
        _patients(scored, split, here, other, other_split, there)
        if _need_contents(here, there)
        else _patients_of_one(scored, split, other, other_split)
    )
    if not patients_known:
        not_seen.append(
            f"patients are not known both for {split!r} and for {other_split!r}, so that other images of the same "
            "patients were not recognised"
        )
    # A patient of whom one image is known is known; in the other data set he may have another name.
    own = scored.patients(split)
    patients = own.isin(own[images | patients])
    return Recognised(images, patients, patients_known, tuple(not_seen))


def _list(data: DataSet, split: str) -> pd.DataFrame:
    """By image id: `key`, equal for the same image everywhere (None where there is none), `root` and `path`."""
    pictures = data.pictures(split)
    root_of = {image_id: root for root, ids in data.roots(split).items() for image_id in ids}
    # Ids of a conversion are the source's own. Elsewhere they are mere file names, which may repeat.
    keys = [
        image_id if root_of[image_id] is not None or _UNIQUE_NAME.fullmatch(image_id) else None for image_id in pictures
    ]
    return pd.DataFrame(
        {
            "key": pd.Series(keys, index=list(pictures), dtype=object),
            "root": pd.Series([root_of[image_id] for image_id in pictures], index=list(pictures), dtype=object),
            "path": pd.Series(pictures, dtype=object),
        }
    )


def _need_contents(here: pd.DataFrame, there: pd.DataFrame) -> bool:
    """Whether ids do not suffice: within one conversion they do."""
    roots = {*here["root"], *there["root"]}
    return len(roots) > 1 or None in roots


def _same_content(here: pd.DataFrame, there: pd.DataFrame, not_seen: list[str]) -> pd.Series:
    """Whether each picture's bytes are those of a picture there; only files of equal size are read."""
    ours, theirs = _by_size(here["path"]), _by_size(there["path"])
    gone = len(there) - sum(map(len, theirs.values()))
    if gone:
        not_seen.append(f"{gone:,} of {len(there):,} pictures are not there any more, so contents were not compared")
    sizes = ours.keys() & theirs.keys()
    found = pd.Series(False, index=here.index)
    if sum(size * (len(ours[size]) + len(theirs[size])) for size in sizes) > _MOST_BYTES:
        not_seen.append("contents of pictures were not compared: too many have the same size")
        return found
    paths = {path: image_id for size in sizes for image_id, path in ours[size]}
    others = [path for size in sizes for _, path in theirs[size]]
    digests = _digests([*paths, *others])
    known = {digests.get(path) for path in others} - {None}
    for path, image_id in paths.items():
        found[image_id] = digests.get(path) in known
    return found


def _by_size(paths: pd.Series) -> dict[int, list[tuple[str, Path]]]:
    """Image id and path by the file's size; files that are not there are left out."""
    found: dict[int, list[tuple[str, Path]]] = {}
    for image_id, path in paths.items():
        try:
            found.setdefault(path.stat().st_size, []).append((str(image_id), path))
        except OSError:
            continue
    return found


def _digests(paths: Iterable[Path]) -> dict[Path, str]:
    found, files = {}, list(dict.fromkeys(paths))
    for path in progress(files, "comparing pictures", unit="pictures") if len(files) > _MANY else files:
        try:
            found[path] = sha256(path)
        except OSError:
            continue
    return found


def _patients_of_one(scored: DataSet, split: str, other: DataSet, other_split: str) -> tuple[pd.Series, bool]:
    """Like `_patients` within one conversion, whose names mean the same everywhere: in a tenth of the time."""
    own = scored.patients(split)
    if not scored.knows_patients(split):
        return pd.Series(False, index=own.index), False
    return own.isin(set(other.patients(other_split))), True


def _patients(
    scored: DataSet, split: str, here: pd.DataFrame, other: DataSet, other_split: str, there: pd.DataFrame
) -> tuple[pd.Series, bool]:
    """Whether each image's patient has images there, and whether that could be seen of all.

    A patient may have another name in another conversion, so each data set's own names are asked about the images of
    both, as far as it knows these images. Names are compared only if a conversion has not made them up.
    """
    found, known = pd.Series(False, index=here.index), False
    for data, name in ((scored, split), (other, other_split)):
        if not data.knows_patients(name):
            continue
        manifest = data.whole_manifest([name])
        if manifest is None:
            continue
        patient = manifest.drop_duplicates("image_id").set_index("image_id")["patient_id"]
        seen = set(patient.reindex(there["key"].dropna()).dropna())
        found |= here["key"].map(patient).isin(seen)
        known |= bool(here["key"].isin(patient.index).all() and there["key"].isin(patient.index).all())
    if scored.knows_patients(split) and other.knows_patients(other_split):
        ours, theirs = scored.patients(split), other.patients(other_split)
        made_up = ours.str.fullmatch(_NUMBERED) | False
        found |= (ours.isin(theirs) & ~made_up).reindex(here.index)
        known |= not made_up.any()
    return found, known
