"""DICOM files put together byte by byte, so that every fault and freedom of the format can be had."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
JPEG, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RLE = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.51", "4.70", "4.80", "4.90", "5")
)
SECONDARY_CAPTURE, DX = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1.1"

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "OW": "H", "AT": "H"}
_LONG = {"OB", "OV", "OW", "SQ", "UN", "UT"}
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


class Typed:
    """A value with a VR that is not the dictionary's, or whose length is stated wrongly."""

    def __init__(self, vr: str, value: Any, length: int | None = None) -> None:
        self.vr, self.value, self.length = vr, value, length


def element(tag: int, vr: str, value: Any, *, implicit: bool, order: str, length: int | None = None) -> bytes:
    """One data element; a list of dicts is a sequence, a list of numbers is packed by the VR, text is padded."""
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if vr == "SQ":
        items = [data_set(item, implicit=implicit, order=order) for item in value]
        content = b"".join(struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    elif isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        content = value.encode()
        content += (b"\0" if vr == "UI" else b" ") * (len(content) % 2)
    else:
        numbers = [value] if isinstance(value, int) else list(value)
        content = struct.pack(f"{order}{len(numbers)}{_NUMBERS[vr]}", *numbers)
    length = len(content) if length is None else length
    if implicit:
        return head + struct.pack(f"{order}I", length) + content
    if vr in _LONG:
        return head + vr.encode() + bytes(2) + struct.pack(f"{order}I", length) + content
    return head + vr.encode() + struct.pack(f"{order}H", length) + content


def data_set(elements: dict[str, Any], *, implicit: bool = False, order: str = "<") -> bytes:
    """Elements by keyword, sorted by tag; a value of None leaves the element out."""
    parts = {}
    for keyword, value in elements.items():
        if value is None:
            continue
        tag, length = int(Tag(keyword)), None
        vr = dictionary_VR(keyword)
        if isinstance(value, Typed):
            vr, value, length = value.vr, value.value, value.length
        vr = {"US or SS": "US", "US or OW": "OW" if isinstance(value, bytes) else "US", "OB or OW": "OW"}.get(vr, vr)
        parts[tag] = element(tag, vr, value, implicit=implicit, order=order, length=length)
    return b"".join(parts[tag] for tag in sorted(parts))


def file_meta(syntax: str, sop_class: str = SECONDARY_CAPTURE) -> bytes:
    """Preamble, mark and file header."""
    meta = data_set(
        {
            "FileMetaInformationVersion": Typed("OB", b"\0\1"),
            "MediaStorageSOPClassUID": sop_class,
            "MediaStorageSOPInstanceUID": "1.2.3",
            "TransferSyntaxUID": syntax,
            "ImplementationClassUID": "1.2.3.4",
        }
    )
    return bytes(128) + b"DICM" + element(0x00020000, "UL", len(meta), implicit=False, order="<") + meta


def encapsulated(*fragments: bytes, offsets: bytes = b"") -> Typed:
    """Compressed pixel data of undefined length: offset table, fragments, end."""
    parts = [offsets, *(fragment + b"\0" * (len(fragment) % 2) for fragment in fragments)]
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in parts)
    return Typed("OB", items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)


def dicom(elements: dict[str, Any], syntax: str = EXPLICIT, *, head: bytes | None = None) -> bytes:
    """A whole file.

    Args:
        elements: By keyword; see `data_set`.
        syntax: How the data set is written, and what the file header says.
        head: What comes before the data set instead of the usual.
    """
    body = data_set(elements, implicit=syntax == IMPLICIT, order=">" if syntax == BIG_ENDIAN else "<")
    return (file_meta(syntax) if head is None else head) + body


def image(values: Any, bits: int = 8, signed: bool = False, *, syntax: str = EXPLICIT, **elements: Any) -> bytes:
    """A file of stored values, native unless Pixel Data is given.

    Args:
        values: Shape (height, width), or one row.
        bits: Stored bits of a value; up to 8 are allocated 8, up to 16 are allocated 16.
        signed: Whether values are two's complements.
        syntax: The transfer syntax.
        elements: More elements, or others; None leaves one out.
    """
    values = np.atleast_2d(values)
    order = ">" if syntax == BIG_ENDIAN else "<"
    size = 1 if bits <= 8 else 2
    content = values.astype(f"{order}{'i' if signed else 'u'}{size}").tobytes()
    return dicom(
        {
            "SOPClassUID": SECONDARY_CAPTURE,
            "SOPInstanceUID": "1.2.3",
            "Modality": "DX",
            "PatientID": "p",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": values.shape[0],
            "Columns": values.shape[1],
            "BitsAllocated": 8 * size,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(signed),
            "PixelData": Typed("OB" if size == 1 else "OW", content + b"\0" * (len(content) % 2)),
            **elements,
        },
        syntax,
    )
