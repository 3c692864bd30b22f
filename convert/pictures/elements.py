"""The elements of a DICOM file that decide how its picture looks and what goes with it, as stored."""

from __future__ import annotations

import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from typing import Any

from pydicom import dcmread, uid
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from convert.pictures.picture import MAX_PIXELS, UnusablePicture, reason_of

# Of odd values pydicom warns without naming the file, and there is nothing a user could do. Once and for all: filters
# belong to the process, so that where threads read, `warnings.catch_warnings` leaves them in disorder.
warnings.filterwarnings("ignore", module=r"pydicom\b")

_MAX_INFLATED = 4 * MAX_PIXELS + 2**26  # bytes: the largest image at 32 bits, and a generous header

_KEYWORDS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID PresentationIntentType SeriesDescription "
    "PatientID PatientSex PatientAge ViewPosition "
    "ImagerPixelSpacing SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing "
    "BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit WindowCenter "
    "WindowWidth RescaleIntercept RescaleSlope VOILUTFunction ModalityLUTSequence VOILUTSequence PixelData "
    "FloatPixelData DoubleFloatPixelData PlanarConfiguration Modality BodyPartExamined "
    + " ".join(
        f"{kind}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    )
)
TAGS = {keyword: Tag(keyword) for keyword in _KEYWORDS.split()}

# For `_walk_usual`: tags as they stand in a file, read as one little-endian number, and the VRs by the form of length.
_WANTED = {tag >> 16 | (tag & 0xFFFF) << 16: tag for tag in TAGS.values()}
_PIXELS = TAGS["PixelData"]
_PIXEL_DATA = _PIXELS >> 16 | (_PIXELS & 0xFFFF) << 16
_SHORT_HEADER = struct.Struct("<I2sH")
_LONG_LENGTH = struct.Struct("<I")
_SHORT_VRS = set(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = {b"OB", b"OW"}  # not SQ, UN or UT: leave what may be nested or long to pydicom
_UNDEFINED = 0xFFFFFFFF
_SYNTAX = 0x00100002
_UID = re.compile(r"[0-9.]{1,64}")
_NEW_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer syntaxes that pydicom has no name for yet."""
_BASELINE = uid.JPEGBaseline8Bit.encode()


class Elements:
    """Element values by keyword, as stored: pydicom's conversion is slow and warns about harmless values.

    Attributes:
        syntax: The transfer syntax of the file header; empty without one.
        stored_class: The SOP class of the file header, where it was looked at.
    """

    def __init__(
        self, elements: dict[int, Any], syntax: str, read_dataset: Callable[[], Any], stored_class: str = ""
    ) -> None:
        """Take elements that are read.

        Args:
            elements: `pydicom.dataelem.RawDataElement` (or DataElement) by tag.
            syntax: See `syntax`.
            read_dataset: Gives the pydicom data set, for the few values that need it.
            stored_class: See `stored_class`.
        """
        self.stored_class = stored_class
        self._elements = elements
        self.syntax = syntax
        self._read_dataset = read_dataset

    @cached_property
    def dataset(self) -> Any:
        """The pydicom data set."""
        return self._read_dataset()

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword] in self._elements

    def raw(self, keyword: str) -> Any:
        """The element as it was read, or None."""
        return self._elements.get(TAGS[keyword])

    def content(self, keyword: str) -> bytes:
        """The value's bytes; empty if there are none."""
        value = getattr(self.raw(keyword), "value", None)
        return value if isinstance(value, bytes) else b""

    def first_text(self, keyword: str) -> str:
        """The first value, stripped; empty if there is none. All of them where characters are not ASCII."""
        if TAGS[keyword] not in self._elements:  # most are missing, and every file is asked for all of them
            return ""
        content = self.content(keyword)
        if content.isascii():
            return content.decode("ascii").split("\\")[0].strip(" \0\t\r\n")
        try:
            return str(self.dataset[TAGS[keyword]].value).strip(" \0")
        except Exception:  # an unknown character set; Latin-1 at least keeps different values different
            return content.decode("latin-1").strip(" \0")

    def first_number(self, keyword: str) -> float | None:
        """The first value of a decimal string, if it is a finite number."""
        text = self.first_text(keyword)
        return _number(text) if text else None

    def numbers(self, keyword: str) -> list[float | None]:
        """All values of a decimal string, None for those that are no finite numbers; empty if there is no text."""
        if TAGS[keyword] not in self._elements:
            return []
        content = self.content(keyword).strip(b" \0")
        return [_number(text) for text in content.decode("latin-1").split("\\")] if content else []

    def integer(self, keyword: str, signed: bool = False) -> int | None:
        """The value of a 16- or 32-bit element."""
        content = self.content(keyword)
        if len(content) not in (2, 4):
            return None
        little = self.raw(keyword).is_little_endian
        return int.from_bytes(content, "little" if little else "big", signed=signed)


def _number(text: str) -> float | None:
    """A finite number, or None; some writers have a comma where the Standard has a point."""
    try:
        number = float(text.strip(" \0").replace(",", ".", 1))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_elements(data: bytes, pixels: bool = True) -> Elements:
    """Read a file's elements.

    Args:
        data: The whole file; its first 132 bytes, preamble and `DICM`, may be missing.
        pixels: Read the pixel data, too.

    Raises:
        UnusablePicture: Not DICOM, truncated, or inflating without end.
    """
    if (usual := _walk_usual(data, pixels)) is not None:
        return usual
    bare = data[128:132] != b"DICM"  # some archives export data sets without the file header
    try:
        _check_inflated(data)
        dataset = _dataset(data, pixels, bare)
    except UnusablePicture:
        raise
    except zlib.error as error:
        raise UnusablePicture(f"truncated or damaged file: its deflated data set ends early ({error})") from error
    except RecursionError as error:
        raise UnusablePicture("not readable as DICOM: its sequences lie within each other without end") from error
    except Exception as error:
        raise UnusablePicture(f"not readable as DICOM: {reason_of(error)}") from error
    syntax, stored_class = (_in_file_header(dataset, name) for name in ("TransferSyntaxUID", "MediaStorageSOPClassUID"))
    elements = Elements(dict(dataset.items()), syntax, lambda: dataset, stored_class)
    if bare and not (elements.first_text("SOPClassUID").startswith("1.2.840.10008.") and "Rows" in elements):
        raise UnusablePicture(
            f"not DICOM: starts with {data[:8]!r}, expected 'DICM' at byte 128 or a bare image data set"
        )
    if not len(dataset):  # also what pydicom returns where compressed pixel data have no end
        if not is_image_class(elements):
            raise UnusablePicture(f"no image: {kind_of(elements)}")
        raise UnusablePicture("truncated file: it ends before its pixel data do")
    return elements


def _dataset(data: bytes, pixels: bool, bare: bool = False) -> Any:
    return dcmread(BytesIO(data), stop_before_pixels=not pixels, force=bare, specific_tags=list(TAGS.values()))


def _in_file_header(dataset: Any, keyword: str) -> str:
    """A UID of the file header; empty without one, or one that is damaged."""
    try:
        return str(dataset.file_meta.get(keyword) or "")
    except Exception:  # of a VR that nobody knows, say
        return ""


def _walk_usual(data: bytes, pixels: bool) -> Elements | None:
    """Read a JPEG Baseline file whose data set is flat, as all of RSNA's are, in a fifth of the time pydicom takes.

    Finds what pydicom finds, or gives up: None for another transfer syntax, a sequence, an unknown VR, or anything
    that does not add up, so that pydicom has the word on everything that is unusual.
    """
    if data[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        return None
    body = 144 + int.from_bytes(data[140:144], "little")
    found: dict[int, Any] = {}
    syntax = None
    at, end = 144, len(data)
    while at + 8 <= end:
        tag, vr, length = _SHORT_HEADER.unpack_from(data, at)
        if vr in _SHORT_VRS:
            at += 8
        elif vr in _LONG_VRS and at + 12 <= end:
            (length,) = _LONG_LENGTH.unpack_from(data, at + 8)
            at += 12
        else:
            return None
        if tag == _PIXEL_DATA:
            if syntax != _BASELINE:
                return None
            if pixels:
                value = _items(data, at) if length == _UNDEFINED else None
                if value is None:
                    return None
                found[_PIXELS] = RawDataElement(_PIXELS, vr.decode(), length, value, at, False, True)
            return Elements(found, uid.JPEGBaseline8Bit, lambda: _dataset(data, pixels))
        # Group 2 is the file header, all of it and nothing else.
        in_file_header = at <= body
        if in_file_header != (tag & 0xFFFF == 2) or at + length > (body if in_file_header else end):
            return None
        if tag == _SYNTAX:
            syntax = data[at : at + length]
        if (wanted := _WANTED.get(tag)) is not None:
            found[wanted] = RawDataElement(wanted, vr.decode(), length, data[at : at + length], at, False, True)
        at += length
    return None


def _items(data: bytes, start: int) -> bytes | None:
    """The items of encapsulated pixel data that begin at `start`, without the delimiter that must end them."""
    at = start
    while at + 8 <= len(data):
        marker, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if marker == b"\xfe\xff\xdd\xe0":
            return data[start:at]
        if marker != b"\xfe\xff\x00\xe0":
            return None
        at += 8 + length
    return None


def _check_inflated(data: bytes) -> None:
    """Refuse a deflated data set that would not fit the largest image; pydicom inflates without a limit."""
    if data[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    if uid.DeflatedExplicitVRLittleEndian.encode() in data[144:start]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(data[start:], _MAX_INFLATED)
        if inflater.unconsumed_tail:
            raise UnusablePicture(
                f"inflates to more than {_MAX_INFLATED:,} bytes, expected at most {MAX_PIXELS:,} pixels"
            )


def kind_of(elements: Elements) -> str:
    """The name of the SOP class: what sort of object the file is."""
    return name_of_uid(elements.first_text("SOPClassUID") or elements.stored_class) or "object of unknown class"


def is_image_class(elements: Elements) -> bool:
    """Whether the SOP class has pixels; an unknown one may have."""
    kind = kind_of(elements)
    return "Image Storage" in kind or not kind[0].isalpha() or kind.startswith("object")


def name_of_uid(text: str) -> str:
    """A UID's name, its number where it has none, and nothing where it is no UID.

    Where a header is damaged, a value may hold what follows it: the patient's name, say.
    """
    return _NEW_NAMES.get(text) or uid.UID(text).name if _UID.fullmatch(text) else ""
