"""From what a source says to what is to be converted: patients, splits, folds, and what decides the outcome."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import pandas as pd

from common.cli import print_warning
from common.errors import UserError
from convert.sources.boxes import REJECTED_COLUMNS
from convert.sources.parsed import Parsed, digest, read_ids
from convert.yolo_set.conversion import Plan
from convert.yolo_set.layout import CHALLENGE
from convert.yolo_set.splits import assign, assign_fixed, leaking, strata


def make_plan(parsed: Parsed, args: argparse.Namespace) -> Plan:
    """Decide everything that can be decided before the first picture is read.

    Args:
        parsed: What the source says.
        args: The options of `options.add_split_options` and `options.add_work_options`.

    Raises:
        UserError: No image is left, or a list of ids does not fit.
    """
    images = _images(parsed)
    stratum = strata(images["label"], images["boxes"])
    images["split"], digests = _split(args, parsed.fixed, images["patient_id"], stratum)

    for name in ("train", "val", "test"):
        if not (images["split"] == name).any() and (name == "train" or getattr(args, name) > 0):
            print_warning(f"no image falls to {name}: {images['patient_id'].nunique():,} patients are too few for it.")
    left_out = images.index[images["split"] == ""]
    reason = "left out: its patient is in a fixed split (--keep-leaking trains on it)"
    objections = [{"image_id": image_id, "source": parsed.files[image_id], "reason": reason} for image_id in left_out]
    rejected = parsed.rejected
    if objections:
        rejected = pd.concat([rejected, pd.DataFrame(objections, columns=REJECTED_COLUMNS)], ignore_index=True)
    images = images.drop(index=left_out)
    boxes = parsed.boxes[parsed.boxes["image_id"].isin(images.index)].reset_index(drop=True)

    images["fold"] = pd.array([pd.NA] * len(images), dtype="Int64")
    if args.folds:
        # Test stays out of every fold: it is for the last word, not for choosing.
        pool = images.index[images["split"] != "test"]
        shares = {str(fold): 1.0 for fold in range(args.folds)}
        folds = assign(images.loc[pool, "patient_id"], stratum[pool], shares, args.seed)
        images.loc[pool, "fold"] = folds.astype(int)

    everything = pd.concat([images, _challenge(parsed)]).rename_axis("image_id")
    settings = {
        **parsed.fingerprint,
        "pictures": len(everything),
        "val": digests.get("val", args.val),
        "test": digests.get("test", args.test),
        "keep_leaking": args.keep_leaking,
        "folds": args.folds,
        "negatives": args.negatives,
        "size": args.size,
        "seed": args.seed,
    }
    return Plan(
        source=parsed.source,
        images=everything,
        boxes=boxes,
        rejected=rejected,
        class_names=parsed.class_names,
        settings=settings,
        size=args.size,
        negatives=args.negatives,
        seed=args.seed,
        details=parsed.details,
        shapes=parsed.shapes,
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
    return rows.groupby("image_id", sort=True)["label"].agg("; ".join)


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
        print_warning(f"{unknown:,} of {len(ids):,} images are not in the mapping; each counts as its own patient.")
    return known.fillna(ids)


def _split(
    args: argparse.Namespace, fixed: Mapping[str, Sequence[str]], patient_id: pd.Series, stratum: pd.Series
) -> tuple[pd.Series, dict[str, str | float]]:
    """The split of every image (empty: left out), and the digests of the lists that fixed it."""
    shares = {"train": 1 - args.val - args.test, "val": args.val, "test": args.test}
    given = {name: path for name, path in (("val", args.val_ids), ("test", args.test_ids)) if path is not None}
    lists = {**fixed, **{name: read_ids(path) for name, path in given.items()}}
    if not lists:
        return assign(patient_id, stratum, shares, args.seed), {}
    for name, ids in lists.items():
        unknown = [image_id for image_id in ids if image_id not in stratum.index]
        if 0 < len(unknown) < len(ids):
            where = given.get(name, f"the {name} images")
            print_warning(f"{where}: {len(unknown):,} of {len(ids):,} ids are not in the data, as {unknown[0]}.")
    split = assign_fixed(patient_id, stratum, lists, shares, args.seed, args.keep_leaking)
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
