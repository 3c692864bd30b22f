"""Pictures that are there twice: found by perceptual hash, confirmed on the pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_BITS = 24
"""Of the hash's 256 bits, how many may differ. Re-encoded and brightened copies differ in a few, two chests in about
half; the pixels have the last word."""
LEAST_CORRELATION = 0.99
"""Between the shrunken pictures. Two radiographs of one patient, taken anew, reach less."""
CLOSE_BITS, CLOSE_CORRELATION = MOST_BITS // 2, 1 - (1 - LEAST_CORRELATION) / 4
"""Half as far in bits and in angle (which goes with the root): whoever is so close to one of two copies that are so
close is a copy of the other, too, so that one of the two stands for both."""
MOST_CANDIDATES = 100
"""Of an image, the nearest by their hashes; only these are compared by their pixels."""
_BLOCK = 256
_COLUMNS = ("first", "second", "bits", "correlation")


def find_duplicates(
    image_ids: list[str], hashes: NDArray[np.uint64], small: NDArray[np.uint8], most_bits: int = MOST_BITS
) -> pd.DataFrame:
    """Images that show the same picture as an earlier one, be it encoded, scaled or brightened differently.

    Every image is compared with those before it, but for close copies (`CLOSE_BITS`, `CLOSE_CORRELATION`), for which
    the first of them stands: some seconds for thirty thousand different images, and time in proportion for any number
    of copies. So an image is paired with the first of several close copies only, not with each of them.

    Args:
        image_ids: N images.
        hashes: (N, 4) uint64, as `measuring.perceptual_hash` makes them.
        small: (N, S) uint8, the pictures shrunk to S pixels.
        most_bits: Hashes may differ in so many bits.

    Returns:
        Columns first, second (image ids, first before second in the order given), bits (that differ), correlation.
    """
    count = len(image_ids)
    close_bits = most_bits // 2
    standing = np.empty(count, dtype=np.int64)  # for themselves, and for their close copies
    own = np.empty_like(hashes)  # their hashes, in one piece
    stand = 0
    parts: list[pd.DataFrame] = []
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        before = _matches(hashes[rows], own[:stand], rows, standing[:stand], hashes, small, most_bits)
        parts.append(before)
        taken = set(before.loc[_are_close(before, close_bits), "second"].tolist())
        left = np.array([row for row in rows.tolist() if row not in taken], dtype=np.int64)
        among = _matches(hashes[left], hashes[left], left, left, hashes, small, most_bits)
        among, new = _first_of_close(among, left, close_bits)
        parts.append(among)
        standing[stand : stand + len(new)], own[stand : stand + len(new)] = new, hashes[new]
        stand += len(new)
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_COLUMNS))
    names = np.array(image_ids, dtype=object)
    for name in ("first", "second"):
        found[name] = names[found[name].to_numpy(dtype=np.int64)]
    return found.sort_values(["bits", "first", "second"], kind="stable").reset_index(drop=True)


def _matches(
    block: NDArray[np.uint64],
    others: NDArray[np.uint64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    small: NDArray[np.uint8],
    most_bits: int,
) -> pd.DataFrame:
    """The pairs of one of `rows` and an earlier one of `columns` that are the same picture; both are places.

    Args:
        block: The hashes of `rows`.
        others: The hashes of `columns`.
        rows: Places of images.
        columns: Likewise.
        hashes: Of all images.
        small: Of all images.
        most_bits: See `find_duplicates`.
    """
    # The first word alone leaves few of different pictures.
    near = np.bitwise_count(block[:, 0, None] ^ others[None, :, 0]) <= most_bits
    second, first = (places[index] for places, index in zip((rows, columns), np.nonzero(near), strict=True))
    earlier = first < second
    first, second = first[earlier], second[earlier]
    bits = np.zeros(len(first), dtype=np.int64)
    for word in range(hashes.shape[1]):
        bits += np.bitwise_count(hashes[first, word] ^ hashes[second, word])
    near_all = bits <= most_bits
    first, second, bits = first[near_all], second[near_all], bits[near_all]
    order = np.lexsort((first, bits, second))
    first, second, bits = first[order], second[order], bits[order]
    if len(second):
        begins = np.flatnonzero(np.r_[True, second[1:] != second[:-1]])
        rank = np.arange(len(second)) - np.repeat(begins, np.diff(np.r_[begins, len(second)]))
        nearest = rank < MOST_CANDIDATES
        first, second, bits = first[nearest], second[nearest], bits[nearest]
    correlation = _correlations(small, first, second)
    found = pd.DataFrame(dict(zip(_COLUMNS, (first, second, bits, correlation), strict=True)))
    return found[found["correlation"] >= LEAST_CORRELATION]


def _are_close(pairs: pd.DataFrame, close_bits: int) -> pd.Series:
    return (pairs["bits"] <= close_bits) & (pairs["correlation"] >= CLOSE_CORRELATION)


def _first_of_close(
    pairs: pd.DataFrame, rows: NDArray[np.int64], close_bits: int
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The pairs whose first stands for itself, and the places of all such images among `rows`."""
    taken: set[int] = set()
    kept = np.zeros(len(pairs), dtype=bool)
    pairs = pairs.sort_values(["second", "first"])
    close = _are_close(pairs, close_bits).to_numpy()
    for place, (first, second) in enumerate(zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True)):
        if first not in taken:
            kept[place] = True
            if close[place]:
                taken.add(second)
    return pairs[kept], np.array([row for row in rows.tolist() if row not in taken], dtype=np.int64)


def _correlations(small: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Between the shrunken pictures at these places; of two flat ones 1, of one flat one and another 0."""
    result = np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        a, b = (small[places[part]].astype(float) for places in (first, second))
        a, b = (pixels - pixels.mean(axis=1, keepdims=True) for pixels in (a, b))
        norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        flat = ~(a.any(axis=1) | b.any(axis=1))
        result[part] = np.where(norm > 0, (a * b).sum(axis=1) / np.where(norm > 0, norm, 1), flat)
    return result
