"""Pictures that are there twice: planted copies are found, other chests are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from convert.exploring.duplicates import LEAST_CORRELATION, find_duplicates
from convert.exploring.measuring import SMALL, perceptual_hash


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
    expected = {pair: bits for pair, bits in expected.items() if bits <= 140}
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
