"""Pictures that are there twice: planted copies are found, other chests are not."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pandas as pd
import pytest

from convert.exploring.collection import open_collection
from convert.exploring.duplicates import LEAST_CORRELATION, find_duplicates
from convert.exploring.measuring import SMALL, perceptual_hash
from convert.exploring.sentences import duplicate_text


def chest(seed):
    """A smooth picture, as radiographs are."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 8)).astype(np.uint8)
    fine = cv2.resize(random.integers(0, 256, (64, 64)).astype(np.uint8), (256, 256))
    return cv2.addWeighted(cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC), 0.7, fine, 0.3, 0)


def shrink(picture):
    return cv2.resize(picture, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel()


def find(pictures):
    names = list(pictures)
    hashes = np.array([perceptual_hash(picture) for picture in pictures.values()])
    return find_duplicates(names, hashes, np.array([shrink(picture) for picture in pictures.values()]))


def test_planted_copies_are_found_and_nothing_else():
    pictures = {f"chest-{seed}": chest(seed) for seed in range(300)}  # more than a block of rows
    original = pictures["chest-7"]
    encoded = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    pictures["encoded"] = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    pictures["brighter"] = np.clip(pictures["chest-290"] * 0.8 + 40, 0, 255).astype(np.uint8)
    pictures["smaller"] = cv2.resize(pictures["chest-12"], (180, 180), interpolation=cv2.INTER_AREA)
    found = find(pictures)
    assert set(zip(found["first"], found["second"], strict=True)) == {
        ("chest-7", "encoded"), ("chest-290", "brighter"), ("chest-12", "smaller"),
    }  # fmt: skip
    assert (found["correlation"] >= LEAST_CORRELATION).all()


def test_bits_are_counted_as_python_counts_them():
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**63, (40, 4)).astype(np.uint64)
    hashes[30] = hashes[3] ^ np.uint64(0b1011)
    small = np.tile(random.integers(0, 256, (1, 9)).astype(np.uint8), (40, 1))  # all look the same
    names = [str(number) for number in range(40)]
    found = find_duplicates(names, hashes, small, most_bits=140)
    expected = {
        (str(i), str(j)): sum((int(a) ^ int(b)).bit_count() for a, b in zip(hashes[i], hashes[j], strict=True))
        for i in range(40)
        for j in range(i + 1, 40)
    }
    # The thirtieth is so close to the third that this one stands for it.
    expected = {pair: bits for pair, bits in expected.items() if bits <= 140 and pair[0] != "30"}
    assert expected[("3", "30")] == 12
    assert {(a, b): bits for a, b, bits in found[["first", "second", "bits"]].itertuples(index=False)} == expected


def test_equal_hashes_of_different_pictures_are_no_copies():
    hashes = np.zeros((2, 4), dtype=np.uint64)
    small = np.array([[0, 255, 0, 255], [255, 0, 255, 0]], dtype=np.uint8)
    assert find_duplicates(["a", "b"], hashes, small).empty
    assert len(find_duplicates(["a", "b"], hashes, small[[0, 0]])) == 1
    assert len(find_duplicates(["a", "b"], hashes, np.zeros((2, 4), dtype=np.uint8))) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    found = find_duplicates(["a"][:count], np.zeros((count, 4), np.uint64), np.zeros((count, 4), np.uint8))
    assert found.empty
    assert list(found) == ["first", "second", "bits", "correlation"]


def components(pairs, count):
    """The groups of images that pairs join, each as a sorted tuple: counted by hand, one pair after the other."""
    group = {number: {number} for number in range(count)}
    for first, second in pairs:
        joined = group[int(first)] | group[int(second)]
        for number in joined:
            group[number] = joined
    return {tuple(sorted(members)) for members in group.values() if len(members) > 1}


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_copies_are_in_the_groups_of_all_pairs(seed):
    """Against every pair by brute force, in groups of up to hundreds, over the edges of blocks."""
    random = np.random.default_rng(seed)
    kinds = [(random.integers(0, 2**63, 4).astype(np.uint64), random.integers(0, 256, 64)) for _ in range(12)]
    hashes, small = [], []
    for _ in range(600):
        base, pixels = kinds[min(int(random.exponential(2)), 11)]
        copy = base.copy()
        for bit in random.integers(0, 256, random.integers(0, 7)):
            copy[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        hashes.append(copy)
        small.append(np.clip(pixels + random.integers(-3, 4, 64), 0, 255))
    hashes, small = np.array(hashes), np.array(small, dtype=np.uint8)
    found = find_duplicates([str(number) for number in range(600)], hashes, small)
    pixels = small - small.mean(axis=1, keepdims=True)
    alike = np.corrcoef(pixels) >= LEAST_CORRELATION
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    pairs = np.argwhere(np.triu(alike & (bits <= 24), 1))
    assert len(pairs) > 20_000
    assert components(found[["first", "second"]].to_numpy(), 600) == components(pairs, 600)
    assert set(map(tuple, found[["first", "second"]].astype(int).to_numpy())) <= set(map(tuple, pairs))
    assert len(found) < 1200


def test_thousands_of_copies_take_no_more_time_than_as_many_pictures():
    """All pairs of 20,000 equal pictures would be 200 million; of 100 kinds, 2 million."""
    random = np.random.default_rng(0)
    for kinds in (1, 100):
        which = random.integers(0, kinds, 20_000)
        hashes = random.integers(0, 2**63, (kinds, 4)).astype(np.uint64)[which]
        small = random.integers(0, 256, (kinds, 256)).astype(np.uint8)[which]
        started = time.process_time()
        found = find_duplicates([f"{number:05}" for number in range(20_000)], hashes, small)
        assert time.process_time() - started < 10  # all pairs: minutes
        assert len(found) == 20_000 - kinds
        assert found["first"].nunique() == kinds


def test_the_text_says_how_copies_are_counted(good_release):
    found = open_collection(good_release.write())
    one, *others = sorted(found.images.index)[:3]
    pairs = pd.DataFrame({"first": [one, one], "second": others, "bits": 0, "correlation": 1.0})
    said = "Of several copies of one picture, each is paired with the first."
    assert said in duplicate_text(found, pairs, 60)
    assert said not in duplicate_text(found, pairs[:1], 60)
