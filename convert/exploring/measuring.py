"""One pass over the pictures of a collection: headers, grey values, how faint the boxes are, and a hash for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.cli import progress
from common.data.names import COORDINATES
from common.errors import UnreadableError
from common.parallel import in_chunks
from convert.exploring.collection import Collection
from convert.pictures import Header, is_picture_file, read_picture
from convert.sources.files import Source

BINS = 64
"""Bins of the grey values 0 to 255."""
SMALL = 32
HASH_SIDE = 16
_MEASURED_SIDE = 256
_RING = 0.25


@dataclass(frozen=True)
class Measured:
    """What the pictures say.

    Attributes:
        image_ids: N images, in the order of the arrays.
        headers: By image id: what the files' headers say.
        histograms: (N, BINS) float: share of the picture's pixels in each bin of grey values.
        hashes: (N, 4) uint64: perceptual hash (pHash of 16 x 16 frequencies).
        small: (N, SMALL * SMALL) uint8: the picture shrunk to a square.
        contrasts: (N,) float: of the image's faintest box, how much brighter it is than a frame around it, in grey
            levels; NaN without boxes.
        rejected: Image id and reason of every picture that could not be read.
    """

    image_ids: list[str]
    headers: dict[str, Header]
    histograms: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    small: NDArray[np.uint8]
    contrasts: NDArray[np.float64]
    rejected: list[tuple[str, str]]


@dataclass(frozen=True)
class _Measurement:
    """What one picture says; the fields are those of `Measured`."""

    image_id: str
    header: Header | None = None
    histogram: NDArray[np.int64] | None = None
    code: NDArray[np.uint64] | None = None
    small: NDArray[np.uint8] | None = None
    contrast: float = float("nan")
    rejected: str = ""


_Job = tuple[str, str, NDArray[np.float64], tuple[float, float] | None]
"""Image id, file, its boxes (N, 4), and the width and height of the original image, where known."""


def measure(collection: Collection, workers: int, most: int | None = None, seed: int = 0) -> Measured:
    """Read pictures, with a progress bar.

    Args:
        collection: Whose files are read.
        workers: Processes; 1 works in this one.
        most: At most so many pictures, drawn by chance; None reads all.
        seed: Decides which.
    """
    files = collection.images["file"].dropna()
    if most is not None and most < len(files):
        files = files.sample(most, random_state=seed).sort_index()
    boxed = collection.boxes.dropna(subset=["x"])
    coordinates = boxed[COORDINATES].to_numpy(float)
    rows_of: Mapping[str, NDArray[np.intp]] = boxed.groupby("image_id").indices  # type: ignore[assignment]
    widths, heights = collection.images["width"].to_dict(), collection.images["height"].to_dict()
    nothing = np.empty(0, dtype=int)
    jobs: list[_Job] = []
    for image_id, file in files.items():
        width, height = widths[image_id], heights[image_id]
        size = (width, height) if width > 0 and height > 0 else None
        jobs.append((str(image_id), str(file), coordinates[rows_of.get(str(image_id), nothing)], size))
    found = in_chunks(functools.partial(_measure_pictures, collection.source), jobs, workers)
    done = list(progress(found, "looking at pictures", total=len(jobs)))
    return _together(done)


def look(collection: Collection, image_id: str) -> NDArray[np.uint8]:
    """One picture of a collection, as training sees it: grey uint8 (height, width).

    Raises:
        ValueError: It cannot be read or decoded.
        LookupError: The image has no file.
    """
    file = collection.images["file"].get(image_id)
    if file is None:
        raise LookupError(f"{image_id}: no file")
    try:
        return _decode(read_picture(collection.source.read(str(file))).encoded, cv2.IMREAD_GRAYSCALE)
    except UnreadableError as error:
        raise ValueError(f"cannot be read: {error}") from error


def _measure_pictures(source: Source, jobs: Sequence[_Job]) -> list[_Measurement]:
    cv2.setNumThreads(1)  # the processes are the parallelism
    return [_measure_picture(source, *job) for job in jobs]


def _measure_picture(
    source: Source, image_id: str, file: str, boxes_xywh: NDArray[np.float64], size: tuple[float, float] | None
) -> _Measurement:
    try:
        data = source.read(file)
        picture = read_picture(data)
        header = picture.header
        # JPEG gives an eighth or a quarter of the size for a fraction of the time.
        shrink = max(header.width, header.height) // _MEASURED_SIDE
        flag = {0: 1, 1: 1, 2: 2, 3: 2}.get(shrink, 4 if shrink < 8 else 8)
        pixels = _decode(picture.encoded, _REDUCED[flag])
    except ValueError as error:
        return _Measurement(image_id, rejected=str(error))
    except UnreadableError as error:
        return _Measurement(image_id, rejected=f"cannot be read: {error}")
    # A picture file may have been scaled down; a DICOM file is the original.
    width, height = size if size and is_picture_file(data) else (header.width, header.height)
    scale = np.array([pixels.shape[1] / width, pixels.shape[0] / height] * 2)
    return _Measurement(
        image_id,
        header,
        np.bincount(pixels.ravel() // (256 // BINS), minlength=BINS),
        perceptual_hash(pixels),
        cv2.resize(pixels, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel().astype(np.uint8),
        min((_contrast(pixels, box * scale) for box in boxes_xywh), default=float("nan")),
    )


_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def _decode(encoded: bytes, flag: int) -> NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    except cv2.error as error:
        raise ValueError("cannot be decoded as a picture") from error
    if pixels is None:
        raise ValueError("cannot be decoded as a picture")
    return np.asarray(pixels, dtype=np.uint8)


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """pHash: which of the picture's 256 lowest frequencies are above their median; hardly changed by re-encoding.

    Args:
        pixels: Grey uint8, (height, width).

    Returns:
        256 bits as (4,) uint64.
    """
    import imagehash
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash
    return np.packbits(bits.ravel()).view(np.uint64)


def _contrast(pixels: NDArray[np.uint8], box: NDArray[np.float64]) -> float:
    """Mean grey level in a box less that of a frame around it, a quarter of the box's sides wide; NaN off the picture.

    Args:
        pixels: Grey uint8, (height, width).
        box: (4,): x, y, width, height in pixels of `pixels`.
    """
    x, y, width, height = box
    inner = _cut(pixels, x, y, x + width, y + height)
    outer = _cut(pixels, x - _RING * width, y - _RING * height, x + (1 + _RING) * width, y + (1 + _RING) * height)
    around = outer.size - inner.size
    if not inner.size or not around:
        return float("nan")
    inside, whole = float(inner.sum(dtype=np.int64)), float(outer.sum(dtype=np.int64))
    return inside / inner.size - (whole - inside) / around


def _cut(pixels: NDArray[np.uint8], x1: float, y1: float, x2: float, y2: float) -> NDArray[np.uint8]:
    left, top = max(0, round(x1)), max(0, round(y1))
    return pixels[top : max(top, round(y2)), left : max(left, round(x2))]


def _together(done: list[_Measurement]) -> Measured:
    usable = [picture for picture in done if not picture.rejected]
    counts = np.array([picture.histogram for picture in usable], dtype=float).reshape(-1, BINS)
    return Measured(
        image_ids=[picture.image_id for picture in usable],
        headers={picture.image_id: picture.header for picture in usable if picture.header},
        histograms=counts / counts.sum(axis=1, keepdims=True),
        hashes=np.array([picture.code for picture in usable], dtype=np.uint64).reshape(-1, 4),
        small=np.array([picture.small for picture in usable], dtype=np.uint8).reshape(-1, SMALL * SMALL),
        contrasts=np.array([picture.contrast for picture in usable], dtype=float),
        rejected=[(picture.image_id, picture.rejected) for picture in done if picture.rejected],
    )
