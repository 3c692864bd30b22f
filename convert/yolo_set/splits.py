"""Who goes where: splits and folds that no patient straddles and that look alike.

Patients come in very different sizes (RSNA: 1 to 65 images), so drawing patients at random misses the wanted shares,
and drawing images at random puts the same lungs on both sides. Here patients are placed one by one, the largest
first, each where it brings the splits' counts nearest to their targets, stratum by stratum; the many patients with one
image come last and even out what is left. An image may belong to several strata, as one with findings of several
classes does: combinations of them would be rare, and a rare stratum cannot be divided.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError

_USUAL = 0.1
"""The share of val and of test where nobody says otherwise."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Splitting:
    """How images are divided.

    Attributes:
        val: Share of the images (0 to 1) for tuning; None is 0.1, or nothing where test is 1.
        test: Share of the images for reporting; likewise. 1 makes an external test set, on which nothing is trained.
        val_ids: A file with the images for tuning instead: a CSV, or one id a line.
        test_ids: The same for reporting.
        folds: Also divide train into so many folds, as list files; 0 for none.
        negatives: Keep so many images without boxes per image with boxes in the train lists; None keeps all.
        seed: Decides what chance decides.
        keep_leaking: Train on the other images of the patients of `val_ids` and `test_ids`, too, which are left out
            otherwise.

    Raises:
        UserError: Values that cannot be, or that contradict each other.
    """

    val: float | None = None
    test: float | None = None
    val_ids: Path | None = None
    test_ids: Path | None = None
    folds: int = 0
    negatives: float | None = None
    seed: int = 0
    keep_leaking: bool = False

    def __post_init__(self) -> None:
        for name, ids in (("val", self.val_ids), ("test", self.test_ids)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"{name} {value}: expected a share of the images between 0 and 1.")
            if value == 1 and ids is not None:
                raise UserError(f"--{name} 1 takes all images for {name}, --{name}-ids only those listed: choose one.")
        shares = self.shares
        if shares["val"] + shares["test"] > 1 + _ROUNDING:
            raise UserError(
                f"--val {shares['val']:g} and --test {shares['test']:g} are more than all images: keep their sum below "
                "1, or at 1 to train on nothing."
            )
        if self.folds < 0 or self.folds == 1:
            raise UserError(f"folds {self.folds}: expected 2 or more, or 0 for none.")
        if self.negatives is not None and self.negatives < 0:
            raise UserError(f"negatives {self.negatives}: expected a number of 0 or more, or None for all.")

    @property
    def shares(self) -> dict[str, float]:
        """Share of the images by split."""
        val = self.val if self.val is not None else _USUAL * (self.test != 1)
        test = self.test if self.test is not None else _USUAL * (self.val != 1)
        train = 1 - val - test
        return {"train": train if train > _ROUNDING else 0.0, "val": float(val), "test": float(test)}


def strata(label: pd.Series, boxes: pd.Series, *, apart: bool = False, most: int = 3) -> pd.Series:
    """What the splits are balanced over: labels and the number of boxes (`most` and more counted together).

    Args:
        label: The image's label, by image id; where `apart`, an image may have several rows.
        boxes: The number of boxes, by image id, one per image.
        apart: Balance each label and the number of boxes for themselves, not together: of images with several labels,
            most combinations are of a few images only, which would all end up in the largest split.
        most: From how many boxes on no difference is made; few images have more than three.

    Returns:
        Strata by image id; where `apart`, several rows per image.
    """
    number = boxes.clip(upper=most).astype(int).astype(str)
    if apart:
        return pd.concat(["label " + label.astype(str), "boxes " + number])
    return label.astype(str) + " / " + number


def assign(patient_id: pd.Series, stratum: pd.Series, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Place every image in a split: patients whole, strata balanced, shares met; the same for the same seed.

    A greedy minimisation of the squared distance between the counts (split by stratum) and their targets, each
    relative to its target so that rare strata weigh as much as common ones. No split grows beyond its size (its share,
    rounded up) while the patient fits into another.

    Args:
        patient_id: One per image, by image id; images of the same patient stay together.
        stratum: What to balance, by image id, one or several rows per image, see `strata`; rows of other images are of
            no account.
        shares: The wanted share of the images by split name; they are scaled to sum to 1. A share of 0 stays empty.
        seed: Decides ties and the order of patients of equal size.

    Returns:
        The split's name for every image, with the index of `patient_id`.

    Raises:
        UserError: Shares are negative or sum to nothing.
    """
    names = [name for name, share in shares.items() if share > 0]
    if min(shares.values(), default=-1) < 0 or not names:
        raise UserError(f"split shares {dict(shares)}: expected numbers of 0 or more, at least one above 0.")
    if len(patient_id) == 0:
        return pd.Series([], index=patient_id.index, dtype=str)
    wanted = np.array([shares[name] for name in names], dtype=float)
    wanted /= wanted.sum()

    # By sorted name, not by appearance: the order of the source's rows must not change the outcome.
    patients, patient = np.unique(patient_id.to_numpy(dtype=str), return_inverse=True)
    size = np.bincount(patient)
    row, column, count = _counts(patient_id.index, patient, stratum)
    first = np.searchsorted(row, np.arange(len(patients) + 1))
    target = wanted[:, None] * np.bincount(column, weights=count)[None, :]
    weight = 1 / np.maximum(target, 1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(patients))
    # The largest first, and of one size those of most strata: who has the least to say evens out what is left.
    belongs = np.bincount(row, weights=count)
    order = order[np.lexsort((-belongs[order], -size[order]))]

    # Plain numbers, since a patient is of few strata and there are few splits: NumPy would take twice the time.
    excess, weights = (-target).tolist(), weight.tolist()
    room = np.ceil(target[:, -1] - 1e-9).tolist()
    chosen = np.empty(len(patients), dtype=int)
    columns, counts, begins, sizes = column.tolist(), count.tolist(), first.tolist(), size.tolist()
    for index in order.tolist():
        rows = range(begins[index], begins[index + 1])
        open_splits = [split for split, left in enumerate(room) if left >= sizes[index]] or range(len(room))
        best, least = 0, math.inf
        for split in open_splits:
            over, weight_of = excess[split], weights[split]
            # |excess + new|^2 - |excess|^2, stratum by stratum, is new * (2 * excess + new).
            cost = sum(counts[at] * (2 * over[columns[at]] + counts[at]) * weight_of[columns[at]] for at in rows)
            if cost < least:
                best, least = split, cost
        chosen[index] = best
        for at in rows:
            excess[best][columns[at]] += counts[at]
        room[best] -= sizes[index]
    return pd.Series(np.array(names, dtype=object)[chosen[patient]], index=patient_id.index, name="split")


def _counts(images: pd.Index, patient: np.ndarray, stratum: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many images a patient has in a stratum, where there are any: most patients are in few of the strata.

    Returns:
        Patient (ascending), stratum's number and count. The last stratum is all images together, which keeps the
        splits' sizes right where the others are small.
    """
    position = images.get_indexer(stratum.index)
    known = position >= 0
    kinds, kind = np.unique(stratum.to_numpy(dtype=str)[known], return_inverse=True)
    everything = len(kinds)
    pairs = np.concatenate([patient[position[known]], patient]) * (everything + 1)
    pairs += np.concatenate([kind, np.full(len(patient), everything)])
    pairs, count = np.unique(pairs, return_counts=True)
    return pairs // (everything + 1), pairs % (everything + 1), count


def assign_fixed(
    patient_id: pd.Series,
    stratum: pd.Series,
    fixed: Mapping[str, Collection[str]],
    shares: Mapping[str, float],
    seed: int,
    keep_leaking: bool = False,
) -> pd.Series:
    """Like `assign`, with some splits given as lists of images.

    Args:
        patient_id: One per image; its index is the image id.
        stratum: See `assign`.
        fixed: Image ids by split name.
        shares: The wanted shares of all splits; those of fixed ones are not used.
        seed: See `assign`.
        keep_leaking: Put the other images of a fixed split's patients into train. By default they are left out: the
            model would have seen the lungs that it is scored on.

    Returns:
        The split's name for every image; empty for an image that is left out.

    Raises:
        UserError: An image is in two lists, or a list has no image of this data set.
    """
    split = pd.Series("", index=patient_id.index, name="split", dtype=object)
    for name, ids in fixed.items():
        listed = split.index.isin(list(ids))
        if not listed.any():
            raise UserError(
                f"the list of {name} images has {len(ids)} ids, none of them in this data set (first: "
                f"{next(iter(ids), 'none')!r}). Expected one image id a line, or a CSV with them in its first column."
            )
        twice = listed & (split != "").to_numpy()
        if twice.any():
            raise UserError(f"image {split.index[twice][0]} is listed for {split[twice].iloc[0]} and for {name}.")
        split[listed] = name
    rest = split == ""
    shared = rest & patient_id.isin(patient_id[~rest])
    if keep_leaking:
        split[shared] = "train"
    free = rest & ~shared
    open_shares = {name: share for name, share in shares.items() if name not in fixed}
    split[free] = assign(patient_id[free], stratum, open_shares, seed)
    return split


def leaking(patient_id: pd.Series, split: pd.Series) -> pd.Series:
    """Which images have a patient who is in more than one split.

    Args:
        patient_id: One per image.
        split: One per image, same index.

    Returns:
        A boolean per image.
    """
    return split.groupby(patient_id).transform("nunique") > 1


@dataclass(frozen=True)
class Leakage:
    """Share of the validation images whose patient is trained on, if images are divided by chance.

    Attributes:
        expected: The mean over all divisions.
        low: 95 of 100 divisions lie between this
        high: and this.
    """

    expected: float
    low: float
    high: float


def random_leakage(patient_id: pd.Series, val: float = 0.2, draws: int = 200, seed: int = 0) -> Leakage:
    """What a split that does not know the patients would leak.

    The expected value is exact: an image of a patient with n images escapes only if the n - 1 others are drawn for
    validation as well, which C(m - 1, n - 1) / C(N - 1, n - 1) of the divisions of N images do that draw m. The range
    is that of divisions that were drawn.

    Args:
        patient_id: One per image.
        val: Share of the images that are drawn for validation.
        draws: How many divisions the range is taken from.
        seed: Decides which.
    """
    codes, patients = pd.factorize(patient_id)
    images, drawn = len(codes), round(val * len(codes))
    if drawn in (0, images):
        return Leakage(0.0, 0.0, 0.0)
    sizes = np.bincount(codes)[codes]
    others = np.arange(sizes.max() - 1)
    # The first k others are all drawn with the product of (m - 1 - i) / (N - 1 - i) for i < k.
    steps = np.clip(drawn - 1 - others, 0, None) / (images - 1 - others)
    escapes = np.concatenate([[1.0], np.cumprod(steps)])
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(draws):
        order = rng.permutation(codes)
        shares.append(np.bincount(order[drawn:], minlength=len(patients))[order[:drawn]].astype(bool).mean())
    low, high = np.quantile(shares, [0.025, 0.975])
    return Leakage(float(1 - escapes[sizes - 1].mean()), float(low), float(high))
