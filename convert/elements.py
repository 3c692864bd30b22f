"""The elements of a DICOM file that decide how its picture looks and what goes with it, as stored."""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any

from pydicom import dcmread, uid
from pydicom.tag import Tag

MAX_PIXELS = 100_000_000
"""Larger images are refused: no radiograph has as many pixels, a decompression bomb does."""

_MAX_INFLATED = 4 * MAX_PIXELS + 2**26  # bytes: the largest image at 32 bits, and a generous header

_KEYWORDS = (
    "SOPClassUID SOPInstanceUID SeriesDescription PatientID PatientSex PatientAge ViewPosition ImagerPixelSpacing "
    "SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated BitsStored "
    "HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit WindowCenter WindowWidth RescaleIntercept "
    "RescaleSlope VOILUTFunction ModalityLUTSequence VOILUTSequence PixelData FloatPixelData DoubleFloatPixelData"
)
TAGS = {keyword: Tag(keyword) for keyword in _KEYWORDS.split()}


class UnusableDicom(ValueError):  # noqa: N818 - the name says what it is; the message says why
    """The bytes are no image this project can use. `str(error)` is the reason in one line, without the file name."""


class Elements:
    """Element values by keyword, as stored: pydicom's conversion is slow and warns about harmless values."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._elements = dict(dataset.items())

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword] in self._elements

    def raw(self, keyword: str) -> Any:
        """The element as pydicom read it, or None."""
        return self._elements.get(TAGS[keyword])

    def content(self, keyword: str) -> bytes:
        """The value's bytes; empty if there are none."""
        value = getattr(self.raw(keyword), "value", None)
        return value if isinstance(value, bytes) else b""

    def text(self, keyword: str) -> str:
        """The first value, stripped; empty if there is none."""
        content = self.content(keyword)
        if content.isascii():
            return content.decode("ascii").split("\\")[0].strip(" \0\t\r\n")
        try:
            return str(self.dataset[TAGS[keyword]].value).strip(" \0")
        except Exception:  # an unknown character set; Latin-1 at least keeps different values different
            return content.decode("latin-1").strip(" \0")

    def number(self, keyword: str) -> float | None:
        """The first value of a decimal string, if it is a finite number."""
        try:
            number = float(self.text(keyword))
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def integer(self, keyword: str, signed: bool = False) -> int | None:
        """The value of a 16- or 32-bit element."""
        content = self.content(keyword)
        if len(content) not in (2, 4):
            return None
        little = self.raw(keyword).is_little_endian
        return int.from_bytes(content, "little" if little else "big", signed=signed)


def read_elements(data: bytes, pixels: bool = True) -> Elements:
    """Read a file's elements.

    Args:
        data: The whole file; its first 132 bytes, preamble and `DICM`, may be missing.
        pixels: Read the pixel data, too.

    Raises:
        UnusableDicom: Not DICOM, truncated, or inflating without end.
    """
    bare = data[128:132] != b"DICM"  # some archives export data sets without the file header
    try:
        _check_inflated(data)
        dataset = dcmread(BytesIO(data), stop_before_pixels=not pixels, force=bare, specific_tags=list(TAGS.values()))
    except UnusableDicom:
        raise
    except zlib.error as error:
        raise UnusableDicom(f"truncated or damaged file: its deflated data set ends early ({error})") from error
    except Exception as error:
        raise UnusableDicom(f"not readable as DICOM: {reason_of(error)}") from error
    elements = Elements(dataset)
    if bare and not (elements.text("SOPClassUID").startswith("1.2.840.10008.") and "Rows" in elements):
        raise UnusableDicom(
            f"not DICOM: starts with {data[:8]!r}, expected 'DICM' at byte 128 or a bare image data set"
        )
    if not len(dataset):  # also what pydicom returns where compressed pixel data have no end
        raise UnusableDicom("truncated file: it ends before its pixel data do")
    return elements


def _check_inflated(data: bytes) -> None:
    """Refuse a deflated data set that would not fit the largest image; pydicom inflates without a limit."""
    if data[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    if uid.DeflatedExplicitVRLittleEndian.encode() in data[144:start]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(data[start:], _MAX_INFLATED)
        if inflater.unconsumed_tail:
            raise UnusableDicom(
                f"inflates to more than {_MAX_INFLATED:,} bytes, expected at most {MAX_PIXELS:,} pixels"
            )


def kind_of(elements: Elements) -> str:
    """The name of the SOP class: what sort of object the file is."""
    return uid.UID(elements.text("SOPClassUID")).name or "an object of unknown class"


def reason_of(error: BaseException) -> str:
    """A library's exception in one line."""
    # Without pydicom's preface, "Unable to decode as exceptions were raised by all available plugins:".
    return " ".join(str(error).split()).rpartition("all available plugins: ")[2][:160] or type(error).__name__
