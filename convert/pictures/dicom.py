"""DICOM to 8-bit greyscale picture, rendered one way only; and the header fields that go with it.

A frame that is already an 8-bit greyscale JPEG, and whose header asks for no other rendering, is not decoded: its bytes
are the picture. Everything else is decoded by pydicom's plugins, rendered and stored without loss as PNG.

Rendering follows DICOM PS3.3, in this order; of what is stored in colour, the luma takes the place of the stored values
of step 1, and where the header says so as well (RGB, YBR, PALETTE COLOR) steps 1, 4 and 5 do not apply, nor a window:

1. Modality LUT, or rescale slope and intercept (C.11.1).
2. The first VOI LUT, else the first window, LINEAR, LINEAR_EXACT or SIGMOID (C.11.2), to the range 0 to 255. With
   neither, 8-bit unsigned values are kept as they are, and any other depth is stretched from the lowest and highest
   value in the image to 0 and 255: 12 bits stored in 16, divided by 256, would be nearly black.
3. Rounding to the nearest integer, halves up.
4. MONOCHROME1 is inverted (C.7.6.3.1.2). Presentation LUT Shape has no say: in an image it only repeats the polarity
   (INVERSE goes with MONOCHROME1, IDENTITY with MONOCHROME2), so obeying both would invert twice; and where the two
   contradict each other, scanners are known that write a wrong shape beside the right photometric interpretation.
5. Pixel padding (C.7.5.1.1.2) becomes black; it takes no part in the stretch of step 2.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, uid

from convert.pictures.codestream import BASELINE, HUFFMAN, Codestream, read_codestream
from convert.pictures.colour import PALETTE, luma, palette_luma
from convert.pictures.elements import Elements, read_elements
from convert.pictures.frame import (
    NATIVE,
    PixelFormat,
    check_complete,
    decode_frame,
    frame_of,
    native_values,
    pixel_data_of,
    pixel_format_of,
    syntax_of,
)
from convert.pictures.grey import Rendering, rendering_of
from convert.pictures.header import header_of
from convert.pictures.picture import (
    COLOUR,
    FOR_PROCESSING,
    Header,
    Picture,
    UnusablePicture,
    as_png,
    decode_picture,
)


def to_picture(data: bytes, size: int | None = None, *, verify: bool = False) -> Picture:
    """Render a DICOM file as an 8-bit picture.

    A JPEG is passed through when it is baseline (SOF0), 8-bit, of one component and of the size the header states, and
    nothing in the header changes grey values (step by step as in the module's docstring). `encoded` is then the frame
    as `pydicom.encaps.generate_frames` gives it, the fragments joined, without the byte that DICOM adds after the end
    of a JPEG of odd length: Ultralytics takes a file that ends with it for corrupt, and encodes the picture anew. A
    JPEG with an APP1 segment (Exif) is decoded, since some readers would turn it; other segments that are no part of
    the picture (COM, APPn) are left out, since they may hold names. How a JPEG is checked is in
    `convert.pictures.codestream`.

    Args:
        data: The whole file.
        size: See `convert.pictures.read_picture`.
        verify: See `convert.pictures.read_picture`.

    Raises:
        UnusablePicture: Not DICOM, truncated, without pixel data, multi-frame, broken or not decodable.
    """
    opened = _open(data)
    header, codestream = opened.header, opened.codestream
    if codestream is not None:
        if verify and opened.syntax in HUFFMAN:
            check_complete(codestream, opened.syntax, header, opened.pixel_format)
        if codestream.is_grey_baseline and opened.is_plain():
            if size is None or max(header.width, header.height) <= size:
                return Picture(header, codestream.without_comments(), ".jpg", "passed through", opened.notes)
            return as_png(header, _decoded(codestream.data), size, opened.notes)
    return as_png(header, opened.rendering.apply(opened.stored_values()), size, opened.notes)


def to_pixels(data: bytes) -> tuple[NDArray[np.uint8], Header]:
    """The pixels of the picture that `to_picture` makes, shape (height, width), and the header.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: See `to_picture`; or it is a JPEG that is sound by its markers only.
    """
    picture = to_picture(data)
    return _decoded(picture.encoded), picture.header


def read_header(data: bytes) -> Header:
    """Read the header fields without looking at the pixel data.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: Not DICOM, or it describes no image: rows or columns are missing or zero.
    """
    return header_of(read_elements(data, pixels=False))


def read_notes(data: bytes) -> tuple[str, ...]:
    """The notes that `to_picture` would give, without decoding.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: See `to_picture`.
    """
    return _open(data).notes


def object_without_image(data: bytes) -> str:
    """See `convert.pictures.object_without_image`."""
    try:
        dataset = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["SOPClassUID", "Rows", "Columns"])
        sop_class = uid.UID(str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")))
    except Exception:  # what is wrong with it, reading it as an image has said
        return ""
    if sop_class.is_private and sop_class.is_valid and "Rows" not in dataset and "Columns" not in dataset:
        return f"private object {sop_class}"  # such as Siemens' CSA Non-Image Storage, which CDs are full of
    return sop_class.name if sop_class.name.endswith("Storage") and "Image" not in sop_class.name else ""


class _Opened(NamedTuple):
    """All of a file but its decoded pixels; `codestream` is None where they are native."""

    elements: Elements
    header: Header
    syntax: uid.UID
    pixel_format: PixelFormat
    rendering: Rendering
    value: bytes
    codestream: Codestream | None

    def is_plain(self) -> bool:
        """Whether 8-bit values are grey values."""
        return self.pixel_format.photometric != PALETTE and self.rendering.is_identity()

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Picture`."""
        samples = (self.codestream.components if self.codestream else 0) or self.pixel_format.samples
        notes: tuple[str, ...] = (FOR_PROCESSING,) if self.header.for_processing else ()
        if samples == 3 or self.pixel_format.photometric == PALETTE:
            notes += (COLOUR,)
        return notes + self.rendering.notes

    def stored_values(self) -> NDArray[Any]:
        """Stored values, of colours the luma; shape (height, width)."""
        photometric, luma_first = self.pixel_format.photometric, None
        if self.codestream is None:
            vr = self.elements.raw("PixelData").VR or "OW"
            values = native_values(self.value, self.syntax, vr, self.header, self.pixel_format)
        else:
            values = decode_frame(self.codestream, self.syntax, self.header, self.pixel_format)
            luma_first = self.codestream.luma_first
        if photometric == PALETTE:
            return palette_luma(values, self.elements)
        if values.ndim == 3:
            if luma_first is None:  # libjpeg's guess where the header does not know of three components
                guessed = photometric.startswith("MONOCHROME") and self.syntax in BASELINE
                luma_first = guessed or photometric.startswith("YBR")
            return luma(values, luma_first)
        return values


def _open(data: bytes) -> _Opened:
    elements = read_elements(data)
    header = header_of(elements)
    syntax = syntax_of(elements)
    pixel_format = pixel_format_of(elements)
    value = pixel_data_of(elements, syntax, header, pixel_format)
    rendering = rendering_of(elements, pixel_format)
    codestream = None if syntax in NATIVE else read_codestream(frame_of(value), syntax, header)
    return _Opened(elements, header, syntax, pixel_format, rendering, value, codestream)


def _decoded(encoded: bytes) -> NDArray[np.uint8]:
    try:
        return decode_picture(encoded)
    except ValueError as error:
        raise UnusablePicture("broken JPEG: it cannot be decoded, though its markers are sound") from error
