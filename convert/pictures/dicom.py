"""DICOM to 8-bit greyscale picture, rendered one way only; and the header fields that go with it.

A frame that is already an 8-bit greyscale JPEG, and whose header asks for no other rendering, is not decoded: its bytes
are the picture. Everything else is decoded by pydicom's plugins, rendered and stored without loss as PNG.

Rendering follows DICOM PS3.3, in this order:

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

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from convert.pictures.elements import read_elements
from convert.pictures.frame import (
    HUFFMAN,
    NATIVE,
    check_complete,
    check_frame,
    decode_frame,
    frame_of,
    pixel_data_of,
    pixel_format_of,
    syntax_of,
)
from convert.pictures.grey import rendering_of
from convert.pictures.header import header_of
from convert.pictures.picture import FOR_PROCESSING, Header, Picture, UnusablePicture, as_png, decode_picture, reason_of


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep pydicom's warnings about odd values back: they name no file, and there is nothing a user could do.

    Python's warning filters belong to the process: where threads read at once, a warning may slip through.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_quietly()
def to_picture(data: bytes, size: int | None = None, *, verify: bool = False) -> Picture:
    """Render a DICOM file as an 8-bit picture.

    A JPEG is passed through when it is baseline (SOF0), 8-bit, of one component and of the size the header states, and
    nothing in the header changes grey values (step by step as in the module's docstring). `encoded` is then the frame
    as `pydicom.encaps.generate_frames` gives it, the fragments joined, without the zero byte that DICOM adds after the
    end of a JPEG of odd length: Ultralytics takes a file that ends with it for corrupt, and encodes the picture anew. A
    JPEG with an APP1 segment (Exif) is decoded, since some readers would turn it.

    The JPEG is checked by its markers: start, tables, size, one scan without foreign markers, end. This finds truncated
    and overwritten files. It does not find damage inside the entropy-coded data that leaves the markers alone.

    Args:
        data: The whole file.
        size: See `convert.pictures.read_picture`.
        verify: Decode JPEG twice more, so that one whose data end before its last pixel is refused although it has an
            end marker. Data of the right length but with wrong values cannot be told from an image even so.

    Raises:
        UnusablePicture: Not DICOM, truncated, without pixel data, colour, multi-frame, broken or not decodable.
    """
    elements = read_elements(data)
    header = header_of(elements)
    syntax = syntax_of(elements)
    pixel_format = pixel_format_of(elements)
    value = pixel_data_of(elements, syntax, header, pixel_format)
    rendering = rendering_of(elements, pixel_format)
    notes = _notes(header)

    if syntax not in NATIVE:
        frame = frame_of(value)
        baseline = check_frame(frame, syntax, header)
        if verify and syntax in HUFFMAN:
            check_complete(frame, syntax, header, pixel_format)
        if baseline and pixel_format.allocated == 8 and rendering.is_identity():
            if size is None or max(header.width, header.height) <= size:
                return Picture(header, frame.rstrip(b"\0"), ".jpg", "passed through", notes)
            return as_png(header, _decode_jpeg(frame), size, notes)
    vr = elements.raw("PixelData").VR or "OW"
    return as_png(header, rendering.apply(decode_frame(value, syntax, vr, header, pixel_format)), size, notes)


@_quietly()
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
    return _notes(header_of(read_elements(data)))


def _notes(header: Header) -> tuple[str, ...]:
    return (FOR_PROCESSING,) if header.for_processing else ()


def _decode_jpeg(frame: bytes) -> NDArray[np.uint8]:
    try:
        return decode_picture(frame)
    except ValueError as error:
        raise UnusablePicture(f"broken JPEG: {reason_of(error)}") from error
