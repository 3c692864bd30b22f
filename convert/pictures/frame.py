"""The one frame in a file's pixel data: found, checked for being whole, decoded to stored values."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from convert.pictures.elements import Elements, kind_of
from convert.pictures.picture import Header, UnusablePicture, reason_of

_LITTLE_ENDIAN = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian}
NATIVE = {*_LITTLE_ENDIAN, uid.ExplicitVRBigEndian}
_BASELINE = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}  # a baseline stream is a valid extended one
HUFFMAN = {*_BASELINE, uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG = {*HUFFMAN, uid.JPEGLSLossless, uid.JPEGLSNearLossless}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}

_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers of JPEG; F7 is that of JPEG-LS
_EOI = b"\xff\xd9"  # ends JPEG, JPEG-LS and JPEG 2000 alike
_ITEM = b"\xfe\xff\x00\xe0"
_EMPTY_OFFSETS = _ITEM + bytes(4)


class PixelFormat(NamedTuple):
    """How stored values lie in the pixel data.

    Attributes:
        allocated: Bits from one value to the next.
        stored: Bits of a value.
        high_bit: The highest of them, the lowest bit of all being 0.
        signed: Whether values are two's complements.
    """

    allocated: int
    stored: int
    high_bit: int
    signed: bool

    def value_range(self) -> tuple[int, int]:
        """The least and the greatest value that can be stored."""
        count = 1 << self.stored
        return (-count // 2, count // 2 - 1) if self.signed else (0, count - 1)


def syntax_of(elements: Elements) -> uid.UID:
    """The transfer syntax, one that can be decoded."""
    syntax = elements.syntax
    if not syntax:  # a bare data set; pydicom has found out how to read it
        rows = elements.raw("Rows")
        syntax = uid.ImplicitVRLittleEndian if rows.is_implicit_VR else uid.ExplicitVRLittleEndian
        syntax = syntax if rows.is_little_endian else uid.ExplicitVRBigEndian
    return _decodable(syntax)


@lru_cache(maxsize=32)
def _decodable(text: str) -> uid.UID:
    syntax = uid.UID(text)
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnusablePicture(f"transfer syntax {syntax} ({syntax.name}), expected one for still images")
    return syntax


def pixel_format_of(elements: Elements) -> PixelFormat:
    """How values are stored; refuses colour, several frames and depths that no radiograph has."""
    photometric = elements.first_text("PhotometricInterpretation").upper()
    samples = elements.integer("SamplesPerPixel") or 1
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnusablePicture(
            f"{samples} samples per pixel, photometric interpretation {photometric!r}: "
            "expected one grey sample, MONOCHROME1 or MONOCHROME2"
        )
    frames = elements.first_number("NumberOfFrames") or 1
    if frames > 1:
        raise UnusablePicture(f"{frames:.0f} frames, expected one")
    allocated = elements.integer("BitsAllocated") or 0
    stored = elements.integer("BitsStored") or allocated
    if allocated not in (8, 16, 32) or stored > allocated:
        raise UnusablePicture(f"{stored} bits stored in {allocated} allocated, expected 8, 16 or 32 allocated")
    high_bit = elements.integer("HighBit") or 0
    if not stored <= high_bit + 1 <= allocated:
        high_bit = stored - 1
    return PixelFormat(allocated, stored, high_bit, elements.integer("PixelRepresentation") == 1)


def pixel_data_of(elements: Elements, syntax: uid.UID, header: Header, pixel_format: PixelFormat) -> bytes:
    """The value of Pixel Data, of the kind and length that the header promises."""
    element, value = elements.raw("PixelData"), elements.content("PixelData")
    if not value:
        if "FloatPixelData" in elements or "DoubleFloatPixelData" in elements:
            raise UnusablePicture("floating-point pixel data, expected integers")
        raise UnusablePicture(f"no pixel data in this {kind_of(elements)}, or a truncated file")
    encapsulated = element.length == 0xFFFFFFFF or value.startswith(_ITEM)
    expected = header.width * header.height * pixel_format.allocated // 8
    if syntax not in NATIVE:
        if not encapsulated:
            raise UnusablePicture(f"native pixel data, expected {syntax.name} as the transfer syntax says")
    elif len(value) != expected and (encapsulated or value.startswith(b"\xff\xd8\xff")):
        raise UnusablePicture(f"compressed pixel data, expected {syntax.name} as the transfer syntax says")
    elif len(value) < expected:
        raise UnusablePicture(f"truncated pixel data: {len(value):,} bytes, expected {expected:,}")
    elif len(value) >= 2 * expected:
        raise UnusablePicture(f"{len(value):,} bytes of pixel data, expected {expected:,} for the size in the header")
    return value


def frame_of(value: bytes) -> bytes:
    """The one frame of encapsulated pixel data, its fragments joined."""
    # No offset table and one fragment, as in nearly all files: nothing has to be joined.
    single = value.startswith(_EMPTY_OFFSETS) and value.startswith(_ITEM, 8)
    if single and len(value) == 16 + int.from_bytes(value[12:16], "little") > 16:
        return value[16:]
    at = 0
    while value.startswith(_ITEM, at):
        at += 8 + int.from_bytes(value[at + 4 : at + 8], "little")
    if at != len(value):
        raise UnusablePicture(f"truncated or damaged pixel data: items of {at:,} bytes in {len(value):,}")
    try:
        frames = list(generate_frames(value, number_of_frames=1))
    except Exception as error:
        raise UnusablePicture(f"damaged pixel data: {reason_of(error)}") from error
    if len(frames) != 1 or not frames[0]:
        raise UnusablePicture(f"{len(frames)} frames in the pixel data, expected one that is not empty")
    return frames[0]


def check_frame(frame: bytes, syntax: uid.UID, header: Header) -> bool:
    """Refuse a truncated frame or one of another size; say whether it is a grey baseline JPEG, sound by its markers."""
    if syntax not in _JPEG | _JPEG_2000:
        return False
    if not frame.rstrip(b"\0").endswith(_EOI):
        raise UnusablePicture(f"truncated {syntax.name}: ends with {frame[-4:].hex()}, expected the end marker ffd9")
    if syntax in _JPEG:
        return _check_jpeg(frame, syntax, header)
    if frame.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
        _check_size(bottom - top, right - left, header)
    return False


def _check_size(height: int, width: int, header: Header) -> None:
    if (height, width) != (header.height, header.width):
        raise UnusablePicture(f"frame of {height} x {width} pixels, header says {header.height} x {header.width}")


def _check_jpeg(frame: bytes, syntax: uid.UID, header: Header) -> bool:
    """Walk the markers up to the scan; see `check_frame`."""
    segments: dict[int, bytes] = {}
    if not frame.startswith(b"\xff\xd8"):
        raise UnusablePicture(f"broken JPEG: starts with {frame[:4].hex()}, expected {syntax.name}")
    at = 2
    while 0xDA not in segments:
        while frame[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if not at + 4 <= end <= len(frame) or frame[at] != 0xFF:
            raise UnusablePicture(f"broken JPEG: no marker segment at byte {at}, expected {syntax.name}")
        segments[frame[at + 1]] = frame[at + 4 : end]
        at = end
    start = next((marker for marker in segments if marker in _SOF and len(segments[marker]) >= 6), None)
    if start is None:
        raise UnusablePicture("broken JPEG: no start of frame before the scan")
    precision, height, width, components = struct.unpack(">BHHB", segments[start][:6])
    if components != 1:
        raise UnusablePicture(f"JPEG of {components} components, expected one grey component")
    _check_size(height, width, header)
    if start != 0xC0 or precision != 8 or syntax not in _BASELINE:
        return False
    if not {0xDB, 0xC4} <= segments.keys():
        raise UnusablePicture("broken JPEG: no quantisation or Huffman table before the scan")
    stray = _first_stray_marker(frame, at)
    if stray is not None and frame[stray:].rstrip(b"\0") != _EOI:
        marker = frame[stray : stray + 2].hex()
        raise UnusablePicture(f"broken JPEG: marker {marker} amid its data, expected none before the end")
    return 0xE1 not in segments  # Exif may ask readers to turn the picture


def _first_stray_marker(frame: bytes, start: int) -> int | None:
    """Where, from `start` on, the first byte FF is that is no stuffed, fill or restart byte's; None if nowhere."""
    scan = np.frombuffer(frame, np.uint8, offset=start)
    marks = np.flatnonzero(scan[:-1] == 0xFF)
    second = scan[marks + 1]
    stray = marks[(second != 0x00) & (second != 0xFF) & ((second < 0xD0) | (second > 0xD7))]
    return start + int(stray[0]) if len(stray) else None


def check_complete(frame: bytes, syntax: uid.UID, header: Header, pixel_format: PixelFormat) -> None:
    """Refuse a JPEG whose data end before its last pixel.

    Decoders fill what is missing and say nothing. But only where data are missing does it matter what follows them.
    """
    end = frame.rindex(_EOI)
    longer = frame[:end] + b"\x5a\x33\xc7\x1d" * 16 + _EOI
    # pylibjpeg's decoder, since others print a complaint about the bytes added.
    values = (encapsulate([content]) for content in (frame, longer))
    decoded, same = (decode_frame(value, syntax, "OB", header, pixel_format) for value in values)
    if not np.array_equal(decoded, same):
        raise UnusablePicture("broken JPEG: its data end before its last pixel, expected data for every pixel")


def decode_frame(value: bytes, syntax: uid.UID, vr: str, header: Header, pixel_format: PixelFormat) -> NDArray[Any]:
    """Stored values, shape (height, width), an integer dtype; unused bits removed."""
    native = syntax in NATIVE
    options: dict[str, Any] = {
        "rows": header.height,
        "columns": header.width,
        "number_of_frames": 1,
        "allow_excess_frames": False,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": pixel_format.allocated,
        # Bits above the high bit may hold overlays. The shift at the end removes those below the stored ones.
        "bits_stored": pixel_format.high_bit + 1 if native else pixel_format.stored,
        "pixel_representation": int(pixel_format.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
    }
    try:
        decoder = get_decoder(syntax)
        # Not GDCM or Pillow: from broken data they return what they have got without an exception.
        plugin = next((name for name in decoder.available_plugins if name not in ("gdcm", "pillow")), "")
        pixels, _ = decoder.as_array(value, raw=True, decoding_plugin=plugin, **options)
    except Exception as error:  # whatever a decoder raises, this file is the reason
        raise UnusablePicture(f"pixel data cannot be decoded as {syntax.name}: {reason_of(error)}") from error
    return pixels >> (pixel_format.high_bit + 1 - pixel_format.stored) if native else pixels
