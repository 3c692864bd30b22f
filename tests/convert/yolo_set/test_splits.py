from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from convert.yolo_set.splits import Leakage, assign, assign_fixed, leaking, random_leakage, strata

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    """6,000 images of patients with 1 to 60 images, each patient with classes of their own liking."""
    rng = np.random.default_rng(3)
    patients = []
    while sum(patients) < 6000:
        patients.append(int(min(60, rng.geometric(0.4) * rng.choice([1, 1, 1, 5]))))
    rows = []
    for number, count in enumerate(patients):
        liking = rng.dirichlet([1, 1, 1])
        for _ in range(count):
            label = rng.choice(["Lung Opacity", "No Lung Opacity / Not Normal", "Normal"], p=liking)
            boxes = rng.choice([1, 2, 3, 4], p=[0.43, 0.54, 0.02, 0.01]) if label == "Lung Opacity" else 0
            rows.append((f"patient{number}", label, boxes))
    table = pd.DataFrame(rows, columns=["patient_id", "label", "boxes"])
    table.index = [f"image{number}" for number in rng.permutation(len(table))]
    table["stratum"] = strata(table["label"], table["boxes"])
    return table


def test_no_patient_in_two_splits_and_every_image_in_one(images):
    split = assign(images["patient_id"], images["stratum"], SHARES, seed=0)
    assert set(split) == set(SHARES)
    for _, splits in split.groupby(images["patient_id"]):
        assert splits.nunique() == 1


@pytest.mark.parametrize("seed", range(3))
def test_sizes_and_classes_and_boxes_are_balanced(images, seed):
    split = assign(images["patient_id"], images["stratum"], SHARES, seed)
    sizes = split.value_counts(normalize=True)
    for name, share in SHARES.items():
        assert sizes[name] == pytest.approx(share, abs=0.002)
    for column, tolerance in (("label", 0.005), ("boxes", 0.01)):
        whole = images[column].value_counts(normalize=True)
        for name in SHARES:
            part = images.loc[split == name, column].value_counts(normalize=True)
            assert (part.reindex(whole.index, fill_value=0) - whole).abs().max() < tolerance


def test_same_seed_same_split_whatever_the_order_of_the_rows(images):
    split = assign(images["patient_id"], images["stratum"], SHARES, seed=5)
    shuffled = images.sample(frac=1, random_state=1)
    again = assign(shuffled["patient_id"], shuffled["stratum"], SHARES, seed=5)
    assert again.reindex(split.index).equals(split)
    assert not assign(images["patient_id"], images["stratum"], SHARES, seed=6).equals(split)


def test_folds_are_even(images):
    folds = assign(images["patient_id"], images["stratum"], {str(fold): 1 for fold in range(5)}, seed=0)
    assert folds.value_counts(normalize=True).sub(0.2).abs().max() < 0.002
    assert not leaking(images["patient_id"], folds).any()


def test_a_share_of_zero_stays_empty_and_bad_shares_are_refused(images):
    split = assign(images["patient_id"], images["stratum"], {"train": 0.9, "val": 0.1, "test": 0}, seed=0)
    assert set(split) == {"train", "val"}
    for shares in ({"train": -1, "val": 2}, {"train": 0, "val": 0}, {}):
        with pytest.raises(UserError, match="expected numbers of 0 or more"):
            assign(images["patient_id"], images["stratum"], shares, seed=0)


def test_fewer_patients_than_splits():
    one = pd.Series(["p", "p"], index=["a", "b"])
    assert assign(one, pd.Series(["x", "y"], index=one.index), SHARES, seed=0).tolist() == ["train", "train"]
    nobody = pd.Series([], dtype=str)
    assert len(assign(nobody, nobody, SHARES, seed=0)) == 0


def test_strata_counts_many_boxes_together():
    labels = pd.Series(["a", "a", "b"])
    assert strata(labels, pd.Series([0, 7, 3])).tolist() == ["a / 0", "a / 3", "b / 3"]


def test_strata_of_images_with_several_labels():
    labels = pd.Series(["a", "b", "a"], index=["one", "one", "two"])
    found = strata(labels, pd.Series([4, 0], index=["one", "two"]), apart=True)
    assert sorted(zip(found.index, found, strict=True)) == [
        ("one", "boxes 3"), ("one", "label a"), ("one", "label b"), ("two", "boxes 0"), ("two", "label a"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def findings() -> tuple[pd.DataFrame, pd.Series]:
    """15,000 images with 14 classes of finding in more than 1,000 combinations, as VinDr-CXR has them."""
    rng = np.random.default_rng(0)
    images = [f"image{number}" for number in range(15_000)]
    frequency = np.geomspace(2000, 300, 14) / 15_000
    sick = rng.random((15_000, 1)) < 0.3
    has = sick & (rng.random((15_000, 14)) < np.clip(frequency * rng.gamma(2.0, 2.0, (15_000, 1)), 0, 0.95))
    table = pd.DataFrame(has, index=images, columns=[f"class{number}" for number in range(14)])
    table["No finding"] = ~has.any(axis=1)
    assert len(table.drop_duplicates()) > 1000  # most of them of one or two images
    return table, pd.Series((has * rng.geometric(0.6, (15_000, 14))).sum(axis=1), index=images)


@pytest.mark.parametrize("shares", [SHARES, {"train": 0.7, "val": 0.1, "test": 0.2}, dict.fromkeys("01234", 0.2)])
def test_each_of_many_classes_has_its_share_in_every_split(findings, shares):
    table, boxes = findings
    long = table.stack()
    labels = long[long].reset_index(level=1)["level_1"]
    patients = pd.Series(table.index, index=table.index)
    split = assign(patients, strata(labels, boxes, apart=True), shares, seed=0)
    for number in range(4):
        table[f"{number} boxes"] = boxes.clip(upper=3) == number
    for name, share in shares.items():
        assert (split == name).sum() == round(15_000 * share)
        off = (table[split == name].sum() - share * table.sum()).abs()
        assert (off <= (0.01 * share * table.sum()).clip(lower=1.5)).all()  # 1 %, or what whole images allow


def test_memory_does_not_grow_with_patients_times_strata():
    images = [f"image{number}" for number in range(4000)]
    stratum = pd.Series([f"stratum{number}" for number in range(2000)] * 2, index=images)
    tracemalloc.start()
    assign(pd.Series(images, index=images), stratum, SHARES, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # one number for every pair would take 64 MB


@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_exact_where_small_patients_fill_up(seed):
    rng = np.random.default_rng(seed)
    patients = pd.Series(np.repeat(range(120), rng.choice([1, 1, 1, 2, 5], 120)).astype(str))
    classes = pd.Series(rng.choice(["a", "b", "c"], len(patients)))
    split = assign(patients, classes, {"train": 0.7, "val": 0.15, "test": 0.15}, seed)
    sizes = split.value_counts()
    assert abs(sizes["train"] - 0.7 * len(patients)) < 2
    for name in ("val", "test"):
        assert abs(sizes[name] - 0.15 * len(patients)) < 1


@pytest.fixture(scope="module")
def listed(images) -> list[str]:
    return images.sample(n=200, random_state=2).index.tolist()


def test_fixed_list_is_the_split_and_its_patients_are_kept_out_of_the_rest(images, listed):
    split = assign_fixed(images["patient_id"], images["stratum"], {"val": listed}, SHARES, seed=0)
    assert set(split.index[split == "val"]) == set(listed)
    patients = set(images.loc[listed, "patient_id"])
    rest = split[~split.index.isin(listed)]
    assert (rest[images.loc[rest.index, "patient_id"].isin(patients)] == "").all()
    assert not leaking(images["patient_id"][split != ""], split[split != ""]).any()
    placed = rest[rest != ""]
    assert set(placed) == {"train", "test"}
    assert (placed == "test").mean() == pytest.approx(1 / 9, abs=0.005)  # 0.1 of 0.8 + 0.1


def test_keep_leaking_trains_on_the_other_images_of_listed_patients(images, listed):
    split = assign_fixed(images["patient_id"], images["stratum"], {"val": listed}, SHARES, 0, keep_leaking=True)
    assert set(split) == {"train", "val", "test"}
    patients = set(images.loc[listed, "patient_id"])
    others = split[images["patient_id"].isin(patients) & ~split.index.isin(listed)]
    assert len(others)
    assert (others == "train").all()


def test_lists_that_cannot_be(images, listed):
    with pytest.raises(UserError, match=f"{listed[0]} is listed for val and for test"):
        assign_fixed(images["patient_id"], images["stratum"], {"val": listed, "test": listed[:1]}, SHARES, 0)
    with pytest.raises(UserError, match="none of them in this data set"):
        assign_fixed(images["patient_id"], images["stratum"], {"val": ["nobody"]}, SHARES, 0)


def test_leaking_finds_the_patient_on_both_sides():
    patients = pd.Series(["p", "p", "q", "q"])
    assert leaking(patients, pd.Series(["train", "val", "val", "val"])).tolist() == [True, True, False, False]


def test_random_leakage_is_the_mean_over_all_divisions():
    patients = pd.Series(["a", "a", "b", "c", "c", "c", "d"])
    shares = []
    for drawn in itertools.combinations(range(7), 3):
        trained = set(patients.drop(list(drawn)))
        shares.append(sum(patients[image] in trained for image in drawn) / 3)
    found = random_leakage(patients, 3 / 7)
    assert found.expected == pytest.approx(sum(shares) / len(shares), abs=1e-12)
    assert min(shares) <= found.low <= found.expected <= found.high <= max(shares)


def test_random_leakage_of_patients_with_one_image_is_none():
    assert random_leakage(pd.Series(list("abcdefgh")), 0.25) == Leakage(0.0, 0.0, 0.0)
    assert random_leakage(pd.Series(["a"] * 8), 0.25).expected == 1.0
    assert random_leakage(pd.Series(["a", "a"]), 0.0) == Leakage(0.0, 0.0, 0.0)
