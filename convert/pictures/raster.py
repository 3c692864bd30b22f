"""Picture files (PNG, JPEG, BMP, TIFF, WebP) as sources: passed through where 8-bit grey, else rendered to it.

What a DICOM file's frame is to `convert.pictures.dicom`, a whole file is here. A PNG of 8-bit grey values, or a grey
baseline JPEG, is the picture, byte for byte but for comments, unless it asks to be turned (Exif) or is larger than
wanted. Of all others a PNG is made by these rules:

1. 8 bits: grey as OpenCV reads it, which is what training and prediction see of the file. Colours become luma
   (0.299 red + 0.587 green + 0.114 blue), so three equal channels keep their value; transparency is ignored; a picture
   that Exif says is lying is put upright.
2. 16 bits: colours become luma, and then the lowest and highest value in the picture are stretched to 0 and 255, as
   `convert.pictures.dicom` does without a window: 12 bits stored in 16, divided by 256, would be nearly black.
3. Floating point, several frames and anything beyond `MAX_PIXELS` are refused.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom import uid

from convert.pictures.codestream import EOI, INCOMPLETE, UNLIKELY, read_codestream
from convert.pictures.grey import Rendering
from convert.pictures.picture import COLOUR, MAX_PIXELS, Header, Picture, UnusablePicture, as_png, reason_of

warnings.filterwarnings("ignore", module=r"PIL\b")  # what is too large is refused here; the rest names no file

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_PNG = b"\x89PNG\r\n\x1a\n"
_SHOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"hIST"}
"""The chunks of a PNG that have a say in how it looks, and no text."""
STARTS = (_PNG, b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF")
"""What the files begin with."""
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_GREY_MODES = ("1", "L", "I", "F")
"""What the names of Pillow's modes without colour begin with."""
_MORE_FORMATS = ("PPM", "GIF", "JPEG2000", "SUN")
_ORIENTATION = 0x0112
_STRETCHED = Rendering(None, 1.0, 0.0, None, None, inverted=False, exact=False)


def to_picture(data: bytes, size: int | None = None, *, verify: bool = False) -> Picture:
    """Make an 8-bit grey picture of a picture file; see the module.

    Args:
        data: The whole file.
        size: See `convert.pictures.read_picture`.
        verify: See `convert.pictures.read_picture`.

    Raises:
        UnusablePicture: Truncated, broken, floating-point, of several frames, or too large.
    """
    header = read_header(data)
    kept = _kept(data, header, size)
    if verify and data.startswith(b"\xff\xd8"):
        _check_complete(data)
    if kept:
        return Picture(header, kept.encoded, kept.suffix, "passed through")
    pixels = to_pixels(data)
    if pixels.shape != (header.height, header.width):  # whoever reads the header alone would scale boxes wrongly
        found = f"{pixels.shape[0]} x {pixels.shape[1]}"
        raise UnusablePicture(f"decodes to {found} pixels, its header says {header.height} x {header.width}")
    return as_png(header, pixels, size, read_notes(data))


def _check_complete(jpeg: bytes) -> None:
    """Refuse a JPEG whose data end before its last pixel: only then does it matter what follows them."""
    end = jpeg.rfind(EOI)
    longer = jpeg[:end] + UNLIKELY + jpeg[end:]
    if not np.array_equal(_decoded(jpeg, cv2.IMREAD_COLOR), _decoded(longer, cv2.IMREAD_COLOR)):
        raise UnusablePicture(INCOMPLETE)


def passed_through(data: bytes, size: int | None = None) -> Literal[".jpg", ".png"] | None:
    """The suffix that the file keeps when it is stored as it is; None if it must be rendered.

    Raises:
        UnusablePicture: See `to_picture`.
    """
    kept = _kept(data, read_header(data), size)
    return kept.suffix if kept else None


class _Kept(NamedTuple):
    suffix: Literal[".jpg", ".png"]
    encoded: bytes


def _kept(data: bytes, header: Header, size: int | None) -> _Kept | None:
    """The file as it is stored where its picture needs no rendering: without comments, which may hold names."""
    if size is not None and size < max(header.width, header.height):
        return None
    if data.startswith(_PNG):
        return _Kept(".png", _without_comments(data)) if _is_grey_png(data) else None
    if data.startswith(b"\xff\xd8\xff"):
        if not data.endswith(b"\xff\xd9"):
            return None  # Ultralytics would take it for corrupt, and encode it anew in the data set's own folder
        try:
            codestream = read_codestream(data, uid.JPEGBaseline8Bit, header)
        except UnusablePicture:
            return None  # something after its end; if it is broken, decoding will tell
        return _Kept(".jpg", codestream.without_comments()) if codestream.is_grey_baseline else None
    return None


def read_header(data: bytes) -> Header:
    """Width and height, upright; all else is unknown.

    Raises:
        UnusablePicture: See `to_picture`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            width, height = image.size
            # Of a TIFF, Pillow gives the size that it has upright.
            lying = image.format != "TIFF" and _exif(image, data).get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except UnusablePicture:
        raise
    except Exception as error:  # Pillow raises all sorts of them
        raise UnusablePicture(f"not readable as a picture: {_reason(error)}") from error
    return Header(height, width) if lying else Header(width, height)


def _check_size(image: Image.Image) -> None:
    """Refuse several frames and more pixels than any radiograph has, from the header alone."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnusablePicture(f"{frames} frames, expected one")
    if image.width * image.height > MAX_PIXELS:
        raise UnusablePicture(f"{image.height} x {image.width} pixels, expected at most {MAX_PIXELS:,} in all")


def read_notes(data: bytes) -> tuple[str, ...]:
    """The notes that `to_picture` would give, without decoding.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: See `to_picture`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            palette = image.getpalette() if image.mode == "P" else None
            grey = palette[0::3] == palette[1::3] == palette[2::3] if palette else image.mode.startswith(_GREY_MODES)
    except Exception as error:  # Pillow raises all sorts of them
        raise UnusablePicture(f"not readable as a picture: {_reason(error)}") from error
    return () if grey else (COLOUR,)


def _reason(error: Exception) -> str:
    """What Pillow has to say.

    Of a file that it does not know it names an address in memory; and Ultralytics, where it is loaded, makes it look
    for a decoder that is not installed.
    """
    unknown = isinstance(error, (UnidentifiedImageError, ImportError))
    return "of no kind that is known" if unknown else reason_of(error)


def _exif(image: Image.Image, data: bytes) -> Image.Exif:
    if not data.startswith(_PNG):
        return image.getexif()
    # Pillow would decode the whole picture to look for what may come after it.
    exif = Image.Exif()
    exif.load(next((content for kind, content in _chunks(data) if kind == b"eXIf"), b""))
    return exif


def _is_grey_png(data: bytes) -> bool:
    """Whether a PNG holds 8-bit grey values and nothing that changes them; refuses one that is not whole."""
    kinds: dict[bytes, bytes] = {}
    for kind, content in _chunks(data):
        kinds.setdefault(kind, content)
    if b"IEND" not in kinds or len(kinds.get(b"IHDR", b"")) != 13 or b"IDAT" not in kinds:
        raise UnusablePicture("truncated PNG: a chunk is missing, expected IHDR, IDAT and IEND")
    depth, colour = kinds[b"IHDR"][8:10]
    return (depth, colour) == (8, 0) and not kinds.keys() & {b"tRNS", b"eXIf", b"acTL"}


def _without_comments(png: bytes) -> bytes:
    """The same picture, chunk for chunk, without text and whatever else is not needed to show it."""
    chunks = list(_chunks(png))
    kept = [(kind, content) for kind, content in chunks if kind in _SHOWN]
    if len(kept) == len(chunks) and len(png) == len(_PNG) + sum(12 + len(content) for _, content in chunks):
        return png
    whole = ((len(content).to_bytes(4, "big"), kind + content) for kind, content in kept)
    return _PNG + b"".join(size + part + zlib.crc32(part).to_bytes(4, "big") for size, part in whole)


def _check_chunks(data: bytes) -> None:
    """Refuse a PNG with a chunk longer than the file: OpenCV makes room for it first."""
    if data.startswith(_PNG):
        deque(_chunks(data), maxlen=0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4 or zlib.crc32(kind + content) != int.from_bytes(checksum, "big"):
            raise UnusablePicture(f"truncated or damaged PNG: the checksum of its chunk at byte {at} is wrong")
        yield kind, content
        if kind == b"IEND":
            return
        at += 12 + length


def to_pixels(data: bytes) -> NDArray[np.uint8]:
    """Decode to grey values, shape (height, width), upright.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: Truncated, broken or floating-point.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            grey = image.mode.startswith(_GREY_MODES)
            image.load()  # OpenCV fills what is missing in a truncated file and says nothing; Pillow raises
    except Exception as error:  # Pillow raises all sorts of them
        raise UnusablePicture(f"cannot be decoded: {_reason(error)}") from error
    _check_chunks(data)
    # Not as it is (IMREAD_UNCHANGED), which would leave a lying PNG so.
    raw = _decoded(data, cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR))
    if raw.dtype == np.uint8:
        return (raw if grey else _decoded(data, cv2.IMREAD_GRAYSCALE)).astype(np.uint8, copy=False)
    if raw.dtype != np.uint16:
        raise UnusablePicture(f"values of type {raw.dtype}, expected 8- or 16-bit integers")
    return _STRETCHED.apply(raw if grey else cv2.cvtColor(raw, cv2.COLOR_BGR2GRAY))


def decode(data: bytes, channels: int) -> NDArray[Any] | None:
    """What OpenCV makes of a file, at the file's own depth; None where it makes nothing of it.

    It also knows some kinds that are not converted; none is decoded whose size is not known before.

    Args:
        data: The whole file.
        channels: 1 for grey, 3 for colour.

    Returns:
        Upright, shape (height, width) or (height, width, 3) in the order blue, green, red; of 8 bits what Ultralytics
        sees of such a file.

    Raises:
        UnusablePicture: Of several frames, too large, or broken at its beginning.
    """
    known = data.startswith(STARTS)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS if known else _MORE_FORMATS) as image:
            _check_size(image)
        _check_chunks(data)
    except UnusablePicture:
        raise
    except Exception as error:  # Pillow raises all sorts of them
        if not known and not isinstance(error, Image.DecompressionBombError):
            return None
        raise UnusablePicture(f"not readable as a picture: {_reason(error)}") from error
    colours = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), colours | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None


def _decoded(data: bytes, flags: int) -> NDArray[Any]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UnusablePicture(f"cannot be decoded: {reason_of(error)}") from error
    if pixels is None:
        raise UnusablePicture("cannot be decoded as a picture")
    return pixels
