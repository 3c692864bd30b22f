"""Radiographs with boxes drawn on them, and pictures as part of a page.

Colours are those of Okabe and Ito (*Color Universal Design*, 2008), which stay apart for all common forms of colour
blindness; line style and a mark beside the confidence say the same once more for a print in grey. Every line has a
black casing, so that it shows on bone as well as on lung.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are the first pixels outside."""

TRUTH_COLOUR: Rgb = (86, 180, 233)
PREDICTION_COLOUR: Rgb = (240, 228, 66)
MISS_COLOUR: Rgb = (230, 97, 0)
"""A prediction known to meet no truth box."""

_CASING: Rgb = (0, 0, 0)
_SMALLEST_FONT = 6


def overlay(
    pixels: NDArray[np.uint8],
    truth_xywh: NDArray[np.float64] | None,
    predictions: NDArray[np.float64],
    hits: NDArray[np.bool_] | None = None,
    truth_labels: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """Draw truth boxes (dashed, blue) and predictions (solid, yellow, with their confidence) on a radiograph.

    Lines and letters grow with the picture, labels stay inside the frame and off each other where there is room, and
    no pixel outside of lines and labels changes. Boxes are clipped to the frame; one wholly outside is not drawn.

    Args:
        pixels: Grey picture, uint8, (height, width).
        truth_xywh: Truth boxes, (N, 4): x, y, width, height in pixels of `pixels`, origin upper-left; rows with NaN
            (an image without boxes) are ignored. None draws no truth.
        predictions: (M, 5): confidence, x, y, width, height, in any order.
        hits: Whether each prediction meets a truth box, (M,), as from `evaluate.metrics.rsna.match`. A miss is drawn in
            orange and its label ends in an x. None draws all predictions alike.
        truth_labels: The name of each truth box, (N,), written beside it; None writes none.

    Returns:
        A new uint8 picture, (height, width, 3), RGB.

    Raises:
        ValueError: An array's shape or type is not the one named above.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels: expected uint8 (height, width), found {pixels.dtype} {pixels.shape}")
    truth = _rows(np.empty((0, 4)) if truth_xywh is None else truth_xywh, 4, "truth_xywh")
    found = _rows(predictions, 5, "predictions")
    if hits is not None and len(hits) != len(found):
        raise ValueError(f"hits: expected {len(found)} values, one for each prediction, found {len(hits)}")
    if truth_labels is not None and len(truth_labels) != len(truth):
        raise ValueError(f"truth_labels: expected {len(truth)} names, one for each box, found {len(truth_labels)}")

    rgb = np.repeat(pixels[:, :, None], 3, axis=2)
    line = line_width(pixels.shape)
    # Falling confidence: the strongest label gets the best place. Drawn in the reverse order: it lies on top.
    order = np.argsort(-found[:, 0], kind="stable")
    labels: list[tuple[Rectangle, str, Rgb]] = []
    for index in order[::-1]:
        missed = hits is not None and not hits[index]
        colour = MISS_COLOUR if missed else PREDICTION_COLOUR
        frame = _clip(found[index, 1:], pixels.shape)
        if frame is None:
            continue
        _stroke(rgb, list(_edges(frame, line)), colour, line)
        labels.append((frame, f"{found[index, 0]:.2f}{' x' if missed else ''}", colour))
    named: list[tuple[Rectangle, str, Rgb]] = []
    for box, name in zip(truth, truth_labels or [""] * len(truth), strict=True):
        # Over the predictions: where both coincide, the gaps of the dashes show the prediction.
        if (frame := _clip(box, pixels.shape)) is not None:
            dashes = [dash for edge in _edges(frame, line) for dash in _dashes(edge, line)]
            _stroke(rgb, dashes, TRUTH_COLOUR, line)
            named += [(frame, name, TRUTH_COLOUR)] if name else []
    _write_labels(rgb, [*labels[::-1], *named], line)
    return rgb


def line_width(shape: tuple[int, ...]) -> int:
    """Width of the coloured line, in pixels, for a picture of this (height, width, ...)."""
    return max(1, round(max(shape[:2]) / 150))


def casing_width(line: int) -> int:
    """Width, in pixels, of the black casing on either side of a line of this width."""
    return max(1, line // 3)


def thumbnail(picture: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink a picture, (height, width) or (height, width, 3), to `longest` pixels; a smaller one stays as it is."""
    height, width = picture.shape[:2]
    if max(height, width) <= longest:
        return picture.copy()
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def data_uri(picture: NDArray[np.uint8], suffix: str = ".jpg", quality: int = 82) -> str:
    """Encode a grey or RGB uint8 picture as a `data:` URI, so that a page needs no file beside it.

    Args:
        picture: (height, width) or (height, width, 3) in RGB.
        suffix: `.jpg` (small) or `.png` (exact).
        quality: JPEG quality, 1-100. Colour is not subsampled, which would smear thin lines.
    """
    kinds = {".jpg": "jpeg", ".png": "png"}
    if suffix not in kinds:
        raise ValueError(f"suffix: expected one of {', '.join(kinds)}, found {suffix!r}")
    options = []
    if suffix == ".jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(suffix, stored, options)
    return f"data:image/{kinds[suffix]};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _rows(values: NDArray[np.float64], columns: int, name: str) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=float)
    if rows.size == 0:
        return np.empty((0, columns))
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"{name}: expected shape (N, {columns}), found {rows.shape}")
    return rows


def _clip(xywh: NDArray[np.float64], shape: tuple[int, ...]) -> Rectangle | None:
    """Clip a box to the frame and round it to whole pixels, at least one; None when nothing of it is inside."""
    x, y, width, height = xywh
    if not np.isfinite(xywh).all() or x >= shape[1] or y >= shape[0] or x + width <= 0 or y + height <= 0:
        return None
    left, top = min(round(max(x, 0.0)), shape[1] - 1), min(round(max(y, 0.0)), shape[0] - 1)
    right, bottom = min(round(x + width), shape[1]), min(round(y + height), shape[0])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _edges(box: Rectangle, line: int) -> Iterator[Rectangle]:
    """Yield the four sides as filled rectangles: `line` pixels wide, inside the box, its outermost pixels included."""
    left, top, right, bottom = box
    yield left, top, right, min(top + line, bottom)
    yield left, max(bottom - line, top), right, bottom
    yield left, top, min(left + line, right), bottom
    yield max(right - line, left), top, right, bottom


def _dashes(edge: Rectangle, line: int) -> Iterator[Rectangle]:
    """Cut a side into dashes of equal length that begin and end with one, so that corners are always drawn."""
    left, top, right, bottom = edge
    along_x = right - left >= bottom - top
    start, stop = (left, right) if along_x else (top, bottom)
    pieces = max(1, round((stop - start) / (5 * line)))
    pieces += 1 - pieces % 2
    marks = np.linspace(start, stop, pieces + 1).round().astype(int)
    for first, last in zip(marks[:-1:2].tolist(), marks[1::2].tolist(), strict=True):
        yield (first, top, last, bottom) if along_x else (left, first, right, last)


def _stroke(rgb: NDArray[np.uint8], pieces: list[Rectangle], colour: Rgb, line: int) -> None:
    casing = casing_width(line)
    for left, top, right, bottom in pieces:
        rgb[max(top - casing, 0) : bottom + casing, max(left - casing, 0) : right + casing] = _CASING
    for left, top, right, bottom in pieces:
        rgb[top:bottom, left:right] = colour


def _write_labels(rgb: NDArray[np.uint8], labels: list[tuple[Rectangle, str, Rgb]], line: int) -> None:
    """Write each text beside its box; the first ones get the best places."""
    size = max(11, round(max(rgb.shape[:2]) / 24))
    taken: list[Rectangle] = []
    for box, text, colour in labels:
        patch = _text_patch(text, colour, size, rgb.shape)
        if patch is None:
            continue
        height, width = patch.shape[:2]
        places = list(_places(box, width, height, line, rgb.shape))
        left, top = next((p for p in places if not _meets((*p, p[0] + width, p[1] + height), taken)), places[0])
        rgb[top : top + height, left : left + width] = patch
        taken.append((left, top, left + width, top + height))


def _text_patch(text: str, colour: Rgb, size: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Render black letters on `colour`, smaller where the frame is; None where no legible letter fits."""
    for points in range(size, _SMALLEST_FONT - 1, -1):
        font = ImageFont.load_default(points)
        left, _, right, _ = font.getbbox(text)
        # The height of digits, for all labels alike.
        _, top, _, bottom = font.getbbox("0")
        pad = max(1, points // 5)
        width, height = int(np.ceil(right - left)) + 2 * pad, int(np.ceil(bottom - top)) + 2 * pad
        # In a tiny picture letters of the usual size would hide it; the smallest ones may take what there is.
        share = (0.5, 0.25) if points > _SMALLEST_FONT else (1.0, 1.0)
        if width <= share[0] * shape[1] and height <= share[1] * shape[0]:
            patch = Image.new("RGB", (width, height), colour)
            ImageDraw.Draw(patch).text((pad - left, pad - top), text, fill=(0, 0, 0), font=font)
            return np.asarray(patch, dtype=np.uint8)
    return None


def _places(box: Rectangle, width: int, height: int, line: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield (left, top) for a label, best first: above the box, below it, inside it; always in the frame."""
    left, top, right, bottom = box
    casing = casing_width(line)
    last_left, last_top = shape[1] - width, shape[0] - height
    sides = [min(left, last_left), max(0, min(right - width, last_left))]
    rows = [top - height - casing, bottom + casing]
    for row in rows:
        if 0 <= row <= last_top:
            yield from ((side, row) for side in sides)
    for row in (top + line, bottom - line - height):
        yield from ((side, min(max(row, 0), last_top)) for side in sides)


def _meets(place: Rectangle, taken: list[Rectangle]) -> bool:
    left, top, right, bottom = place
    return any(left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in taken)
