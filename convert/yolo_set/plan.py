"""From what a source says to what is to be converted: patients, splits, folds, and what decides the outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from common.cli import print_warning
from common.data.names import BETWEEN_LABELS, CHALLENGE, SPLITS
from common.errors import UserError
from convert.sources.boxes import REJECTED_COLUMNS
from convert.sources.files import Source
from convert.sources.parsed import Parsed, digest, read_ids
from convert.yolo_set.splits import Splitting, assign, assign_fixed, leaking, strata

DETAILS = ("view", "sex", "age", "pixel_spacing_mm")
"""Columns of the manifest that a source's tables may fill where the pictures' headers do not."""

BoxesSize = tuple[float, float] | Literal["picture", "stated"]
"""What boxes are given in: a frame of this width and height, be it 1024 by 1024 pixels or 1 by 1 for shares of the
picture; the size that the source states for each picture; or the picture itself, whatever speaks against it."""


@dataclass(frozen=True)
class Plan:
    """What is to be converted.

    Attributes:
        source: Where the files are.
        images: Index image_id; columns `file` (name in the source), `split`, `fold` (nullable integer), `patient_id`,
            `label` and `boxes` (number of rows in `boxes` with coordinates; missing where there is no truth).
        boxes: The boxes table of all images but the challenge's.
        rejected: What the parser could not use.
        details: What is known of images besides their headers: index image_id, columns of `DETAILS`.
        shapes: Width and height in pixels of the picture that an image's boxes were drawn on, where the source says so.
        boxes_size: The frame that boxes are given in, in place of the picture; see `BoxesSize`.
        verify: Decode every JPEG to find those whose data end early.
        other_reading: See `Parsed`.
        class_names: The boxes' labels by class index.
        settings: What decides the outcome, for `layout.begin`.
        size: Longest side of the pictures in pixels; None keeps them as they are.
        negatives: See `layout.finish`.
        seed: See `layout.finish`.
    """

    source: Source
    images: pd.DataFrame
    boxes: pd.DataFrame
    rejected: pd.DataFrame
    class_names: list[str]
    settings: dict[str, Any]
    size: int | None = None
    negatives: float | None = None
    seed: int = 0
    details: pd.DataFrame | None = None
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    boxes_size: BoxesSize | None = None
    verify: bool = False
    other_reading: str = ""

    def frame_of(self, image_id: str) -> tuple[float, float] | None:
        """Width and height of what an image's boxes are given in; None for its picture."""
        if self.boxes_size == "stated":
            return self.shapes[image_id]
        return self.boxes_size if isinstance(self.boxes_size, tuple) else None


def make_plan(
    parsed: Parsed,
    splitting: Splitting,
    size: int | None = None,
    boxes_size: BoxesSize | None = None,
    verify: bool = False,
) -> Plan:
    """Decide everything that can be decided before the first picture is read.

    Args:
        parsed: What the source says.
        splitting: How images are divided.
        size: Longest side of the pictures in pixels, which are scaled down to it; None keeps them as they are.
        boxes_size: The frame that boxes are given in; None for the pictures, as far as that is plausible.
        verify: Decode every JPEG to find those whose data end early; see `convert.pictures.read_picture`.

    Raises:
        UserError: No image is left, a list of ids does not fit, or the source does not state the sizes of its pictures.
    """
    images = _images(parsed)
    if boxes_size == "stated":
        _check_stated(parsed)
    stratum = _strata(parsed, images)
    images["split"], digests = _split(splitting, parsed.fixed, images["patient_id"], stratum)

    _warn_of_empty_splits(splitting, images, fixed=digests)
    left_out = images.index[images["split"] == ""]
    reason = "left out: its patient is in a fixed split (--keep-leaking trains on it)"
    objections = [{"image_id": image_id, "source": parsed.files[image_id], "reason": reason} for image_id in left_out]
    rejected = parsed.rejected
    if objections:
        rejected = pd.concat([rejected, pd.DataFrame(objections, columns=REJECTED_COLUMNS)], ignore_index=True)
    images = images.drop(index=left_out)
    boxes = parsed.boxes[parsed.boxes["image_id"].isin(images.index)].reset_index(drop=True)

    images["fold"] = pd.array([pd.NA] * len(images), dtype="Int64")
    if splitting.folds:
        # Val and test stay out of every fold: all members of an ensemble vote on the one, the other has the last word.
        pool = images.index[images["split"] == "train"]
        patients = images.loc[pool, "patient_id"].nunique()
        if patients < splitting.folds:
            raise UserError(
                f"--folds {splitting.folds}: train has {patients:,} patients, and folds are of its images; expected "
                "one for each fold or more. Choose fewer, or another --val and --test."
            )
        shares = {str(fold): 1.0 for fold in range(splitting.folds)}
        folds = assign(images.loc[pool, "patient_id"], stratum, shares, splitting.seed)
        images.loc[pool, "fold"] = folds.astype(int)

    everything = pd.concat([images, _challenge(parsed)]).rename_axis("image_id")
    settings = {
        **parsed.fingerprint,
        "pictures": len(everything),
        "val": digests.get("val", splitting.shares["val"]),
        "test": digests.get("test", splitting.shares["test"]),
        "keep_leaking": splitting.keep_leaking,
        "folds": splitting.folds,
        **({"folds_of": "train"} if splitting.folds else {}),  # those of earlier versions were of val, too
        "negatives": None if splitting.negatives is None else float(splitting.negatives),
        "size": size,
        "seed": splitting.seed,
    }
    if boxes_size is not None:
        settings["boxes_size"] = list(boxes_size) if isinstance(boxes_size, tuple) else boxes_size
    if verify:
        settings["verify"] = True
    return Plan(
        source=parsed.source,
        images=everything,
        boxes=boxes,
        rejected=rejected,
        class_names=parsed.class_names,
        settings=settings,
        size=size,
        negatives=splitting.negatives,
        seed=splitting.seed,
        details=parsed.details,
        shapes=parsed.shapes,
        boxes_size=boxes_size,
        verify=verify,
        other_reading=parsed.other_reading,
    )


def _warn_of_empty_splits(splitting: Splitting, images: pd.DataFrame, fixed: Collection[str]) -> None:
    counts = images["split"].value_counts()
    free = sum(counts.get(name, 0) for name in SPLITS if name not in fixed)
    for name, share in splitting.shares.items():
        if name in counts or not share:
            continue
        patients = f"{images['patient_id'].nunique():,} patients are too few for it"
        print_warning(f"no image falls to {name}: {patients if free else 'the lists leave none for it'}.")
    if "train" not in counts:
        idle = "" if splitting.negatives is None else " and for --negatives"
        print_warning(f"no image is left for train{idle}: this data set is for scoring only.")


def _check_stated(parsed: Parsed) -> None:
    """Make sure that the frame of every box is known, where it is to be the stated one."""
    boxed = parsed.boxes.loc[parsed.boxes["x"].notna(), "image_id"].unique()
    unknown = [image_id for image_id in boxed if image_id not in parsed.shapes]
    if unknown:
        raise UserError(
            f"--boxes-size stated: {parsed.source.path} states no size for {len(unknown):,} of {len(boxed):,} images "
            f"with boxes, such as {unknown[0]}. Expected COCO's or VinDr's width and height, or a CSV's "
            "picture_width and picture_height; or name the size itself."
        )


def _images(parsed: Parsed) -> pd.DataFrame:
    """One row per image with truth, by image id: label, boxes, file, patient_id."""
    if parsed.boxes.empty:
        first = parsed.rejected["reason"].iloc[0] if len(parsed.rejected) else "there are no annotations"
        raise UserError(
            f"{parsed.source.path}: no picture has a usable annotation ({len(parsed.files):,} pictures, "
            f"{len(parsed.rejected):,} objections, the first: {first}). Do labels and pictures belong together?"
        )
    grouped = parsed.boxes.groupby("image_id", sort=True)
    images = pd.DataFrame({"label": _labels(parsed), "boxes": grouped["x"].count().astype("Int64")})
    images["file"] = images.index.map(parsed.files)
    images["patient_id"] = _patient_ids(images.index, parsed.patients)
    return images


def _labels(parsed: Parsed) -> pd.Series:
    """The label of each image; of an image with boxes of several classes, all of them, by class index."""
    order = {name: index for index, name in enumerate(parsed.class_names)}
    rows = parsed.boxes[["image_id", "label"]].drop_duplicates()
    rows = rows.assign(index=rows["label"].map(lambda name: order.get(name, len(order))))
    rows = rows.sort_values("index", kind="stable")
    return rows.groupby("image_id", sort=True)["label"].agg(BETWEEN_LABELS.join)


def _strata(parsed: Parsed, images: pd.DataFrame) -> pd.Series:
    """What the splits are balanced over. With one class an image has one label, and all there is are a few strata."""
    if len(parsed.class_names) == 1:
        return strata(images["label"], images["boxes"])
    labels = parsed.boxes[["image_id", "label"]].drop_duplicates().set_index("image_id")["label"]
    return strata(labels, images["boxes"], apart=True)


def _challenge(parsed: Parsed) -> pd.DataFrame:
    files = pd.Series(dict(parsed.challenge_files), dtype=str).sort_index()
    images = pd.DataFrame({"file": files, "split": CHALLENGE})
    images["patient_id"] = _patient_ids(images.index, parsed.patients)
    images["fold"] = pd.array([pd.NA] * len(images), dtype="Int64")
    return images


def _patient_ids(image_ids: pd.Index, patients: pd.Series | None) -> pd.Series:
    """The real patient where known, else the image itself."""
    ids = pd.Series(image_ids, index=image_ids, dtype=str)
    if patients is None or ids.empty:
        return ids
    known = ids.map(patients)
    unknown = int(known.isna().sum())
    if unknown:
        print_warning(
            f"the patients of {unknown:,} of {len(ids):,} images are not known: each counts as one of its own."
        )
    return known.fillna(ids)


def _split(
    splitting: Splitting, fixed: Mapping[str, Sequence[str]], patient_id: pd.Series, stratum: pd.Series
) -> tuple[pd.Series, dict[str, str | float]]:
    """The split of every image (empty: left out), and the digests of the lists that fixed it."""
    shares, seed = splitting.shares, splitting.seed
    lists_of = (("val", splitting.val_ids), ("test", splitting.test_ids))
    given = {name: path for name, path in lists_of if path is not None}
    whole = 1 in (splitting.val, splitting.test)  # the user's word, as a list is, comes before the source's
    lists = {**({} if whole else fixed), **{name: read_ids(path) for name, path in given.items()}}
    if not lists:
        return assign(patient_id, stratum, shares, seed), {}
    for name, ids in lists.items():
        unknown = [image_id for image_id in ids if image_id not in patient_id.index]
        if 0 < len(unknown) < len(ids):
            where = given.get(name, f"the {name} images")
            print_warning(f"{where}: {len(unknown):,} of {len(ids):,} ids are not in the data, as {unknown[0]}.")
    split = assign_fixed(patient_id, stratum, lists, shares, seed, splitting.keep_leaking)
    left_out = int((split == "").sum())
    if left_out:
        print_warning(
            f"{left_out:,} images are left out because their patients are in a fixed split; --keep-leaking trains on "
            "them."
        )
    straddling = int(leaking(patient_id[split != ""], split[split != ""]).sum())
    if straddling:
        print_warning(f"{straddling:,} images have a patient in more than one split: expect scores that are too good.")
    return split, {name: digest("\n".join(sorted(ids)).encode()) for name, ids in lists.items()}
