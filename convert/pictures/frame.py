"""The one frame in a file's pixel data: found, checked for being whole, decoded to stored values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from convert.pictures.codestream import EOI, INCOMPLETE, UNLIKELY, Codestream
from convert.pictures.elements import Elements, kind_of, name_of_uid
from convert.pictures.picture import Header, UnusablePicture, reason_of

_LITTLE_ENDIAN = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian}
NATIVE = {*_LITTLE_ENDIAN, uid.ExplicitVRBigEndian}
_SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip
"""Samples per pixel by photometric interpretation; of PS3.3's, not those that are retired and that nobody writes."""
_UNKNOWN = ("unknown JPEG marker", "not supported", "Unsupported")
"""How decoders say that they lack something. Only then is the next asked: one of JPEG-LS fills in what is broken."""
_CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
_ITEM = b"\xfe\xff\x00\xe0"
_EMPTY_OFFSETS = _ITEM + bytes(4)


class PixelFormat(NamedTuple):
    """How stored values lie in the pixel data.

    Attributes:
        allocated: Bits from one value to the next.
        stored: Bits of a value.
        high_bit: The highest of them, the lowest bit of all being 0.
        signed: Whether values are two's complements.
        samples: Samples per pixel, 1 or 3.
        photometric: Photometric Interpretation, in capitals.
        planes: Whether three samples lie in planes, one after the other, and not side by side (Planar Configuration).
    """

    allocated: int
    stored: int
    high_bit: int
    signed: bool
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planes: int = 0

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
        name = name_of_uid(text)
        found = f"transfer syntax {text} ({name})" if name else "an unreadable transfer syntax"
        raise UnusablePicture(f"{found}, expected one for still images that can be decoded here")
    return syntax


def pixel_format_of(elements: Elements) -> PixelFormat:
    """How values are stored; refuses several frames and what no still picture has."""
    photometric = elements.first_text("PhotometricInterpretation").upper()
    samples = elements.integer("SamplesPerPixel") or 1
    if samples != _SAMPLES.get(photometric):
        found = repr(photometric) if _CODE.fullmatch(photometric) else "unreadable"
        raise UnusablePicture(
            f"{samples} samples per pixel, photometric interpretation {found}: "
            "expected one grey sample, MONOCHROME1 or MONOCHROME2, or a usual colour"
        )
    frames = elements.first_number("NumberOfFrames") or 1
    if frames > 1:
        raise UnusablePicture(f"{frames:g} frames, expected one")
    allocated = elements.integer("BitsAllocated") or 0
    stored = elements.integer("BitsStored") or allocated
    depths = (8, 16, 32) if samples == 1 else (8, 16)
    if allocated not in depths or stored > allocated:
        expected = ", ".join(map(str, depths[:-1]))
        raise UnusablePicture(
            f"{stored} bits stored in {allocated} allocated, expected {expected} or {depths[-1]} allocated"
        )
    high_bit = elements.integer("HighBit") or 0
    if not stored <= high_bit + 1 <= allocated:
        high_bit = stored - 1
    signed = photometric.startswith("MONOCHROME") and elements.integer("PixelRepresentation") == 1
    planes = int(samples > 1 and elements.integer("PlanarConfiguration") == 1)
    return PixelFormat(allocated, stored, high_bit, signed, samples, photometric, planes)


def pixel_data_of(elements: Elements, syntax: uid.UID, header: Header, pixel_format: PixelFormat) -> bytes:
    """The value of Pixel Data, of the kind and length that the header promises."""
    element, value = elements.raw("PixelData"), elements.content("PixelData")
    if not value:
        if "FloatPixelData" in elements or "DoubleFloatPixelData" in elements:
            raise UnusablePicture("floating-point pixel data, expected integers")
        raise UnusablePicture(f"no pixel data in this {kind_of(elements)}, or a truncated file")
    encapsulated = element.length == 0xFFFFFFFF or value.startswith(_ITEM)
    expected = header.width * header.height * pixel_format.allocated // 8 * pixel_format.samples
    if syntax in NATIVE and pixel_format.photometric == "YBR_FULL_422":
        expected = expected * 2 // 3  # two pixels share their chroma
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


def check_complete(codestream: Codestream, syntax: uid.UID, header: Header, pixel_format: PixelFormat) -> None:
    """Refuse a JPEG whose data end before its last pixel.

    Decoders fill what is missing and say nothing. But only where data are missing does it matter what follows them.
    """
    longer = codestream._replace(data=codestream.data.removesuffix(EOI) + UNLIKELY + EOI)
    # pylibjpeg's decoder, since others print a complaint about the bytes added.
    decoded, same = (decode_frame(one, syntax, header, pixel_format) for one in (codestream, longer))
    if not np.array_equal(decoded, same):
        raise UnusablePicture(INCOMPLETE)


def native_values(value: bytes, syntax: uid.UID, vr: str, header: Header, pixel_format: PixelFormat) -> NDArray[Any]:
    """Stored values of native pixel data; see `decode_frame`."""
    # Bits above the high bit may hold overlays. The shift at the end removes those below the stored ones.
    stored = pixel_format.high_bit + 1
    values = _decode(value, syntax, vr, header, pixel_format._replace(stored=stored))
    return values >> (stored - pixel_format.stored)


def decode_frame(codestream: Codestream, syntax: uid.UID, header: Header, pixel_format: PixelFormat) -> NDArray[Any]:
    """Decode a compressed frame.

    Returns:
        Stored values, shape (height, width), or (height, width, 3) of three components, an integer dtype; unused bits
        removed.

    Raises:
        UnusablePicture: No decoder can read it.
    """
    allocated, components = pixel_format.allocated, codestream.components or pixel_format.samples
    if components not in (1, 3):
        raise UnusablePicture(f"{syntax.name} of {components} components, expected one grey one, or three of a colour")
    if codestream.precision > allocated:
        raise UnusablePicture(f"{syntax.name} of {codestream.precision} bits, header says {allocated} are allocated")
    if 0 < codestream.precision <= 8:  # decoders give a byte then, whatever is allocated
        allocated = 8
    form = pixel_format._replace(
        allocated=allocated, stored=min(pixel_format.stored, allocated), samples=components, planes=0
    )
    return _decode(encapsulate([codestream.for_decoders()]), syntax, "OB", header, form)


def _decode(value: bytes, syntax: uid.UID, vr: str, header: Header, pixel_format: PixelFormat) -> NDArray[Any]:
    photometric = pixel_format.photometric
    if pixel_format.samples == 1 or photometric not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        photometric = "MONOCHROME2" if pixel_format.samples == 1 else "RGB"
    options: dict[str, Any] = {
        "rows": header.height,
        "columns": header.width,
        "number_of_frames": 1,
        "allow_excess_frames": False,
        "samples_per_pixel": pixel_format.samples,
        "photometric_interpretation": photometric,
        "planar_configuration": pixel_format.planes,
        "bits_allocated": pixel_format.allocated,
        "bits_stored": pixel_format.stored,
        "pixel_representation": int(pixel_format.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
    }
    decoder = get_decoder(syntax)
    # Not GDCM or Pillow: from broken data they return what they have got without an exception.
    plugins = [name for name in decoder.available_plugins if name not in ("gdcm", "pillow")] or [""]
    reasons = []
    for plugin in plugins:
        try:
            return decoder.as_array(value, raw=True, decoding_plugin=plugin, **options)[0]
        except Exception as error:  # whatever a decoder raises, this file is the reason
            reasons.append(error)
            if not any(words in str(error) for words in _UNKNOWN):
                break
    raise UnusablePicture(f"pixel data cannot be decoded as {syntax.name}: {reason_of(reasons[0])}") from reasons[0]
