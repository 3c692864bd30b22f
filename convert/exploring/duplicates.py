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
_BLOCK = 256


def find_duplicates(
    image_ids: list[str], hashes: NDArray[np.uint64], small: NDArray[np.uint8], most_bits: int = MOST_BITS
) -> pd.DataFrame:
    """Pairs of images that show the same picture, be it encoded, scaled or brightened differently.

    All pairs of hashes are compared, a block of rows at a time: some seconds for thirty thousand images.

    Args:
        image_ids: N images.
        hashes: (N, 4) uint64, as `measuring.perceptual_hash` makes them.
        small: (N, S) uint8, the pictures shrunk to S pixels.
        most_bits: Hashes may differ in so many bits.

    Returns:
        Columns first, second (image ids, first before second in the order given), bits (that differ), correlation.
    """
    firsts: list[int] = []
    seconds: list[int] = []
    bits: list[int] = []
    for start in range(0, len(hashes), _BLOCK):
        block, rest = hashes[start : start + _BLOCK], hashes[start:]
        distance = np.zeros((len(block), len(rest)), dtype=np.uint16)
        for word in range(hashes.shape[1]):
            distance += np.bitwise_count(block[:, word, None] ^ rest[None, :, word])
        rows, columns = np.nonzero(distance <= most_bits)
        later = columns > rows
        firsts += (start + rows[later]).tolist()
        seconds += (start + columns[later]).tolist()
        bits += distance[rows[later], columns[later]].tolist()
    correlations = [_correlation(small[i], small[j]) for i, j in zip(firsts, seconds, strict=True)]
    found = pd.DataFrame(
        {
            "first": [image_ids[index] for index in firsts],
            "second": [image_ids[index] for index in seconds],
            "bits": bits,
            "correlation": correlations,
        }
    )
    found = found[found["correlation"] >= LEAST_CORRELATION]
    return found.sort_values(["bits", "first", "second"], kind="stable").reset_index(drop=True)


def _correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    a, b = first.astype(float) - first.mean(), second.astype(float) - second.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float(not (a.any() or b.any()))
