"""A picture as the project has it: 8 bits, one grey channel, as a JPEG or PNG file, and what is known besides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 100_000_000
"""Larger images are refused: no radiograph has as many pixels, a decompression bomb does."""

FOR_PROCESSING, COLOUR = "for processing", "colour made grey"
WINDOW, RESCALE = "window ignored", "rescale ignored"
NOTES = {
    FOR_PROCESSING: "raw values that are not meant to be looked at, rendered as if they were",
    COLOUR: "the luma of a picture in colour",
    WINDOW: "its header's window cannot be read, so it is shown as if there were none",
    RESCALE: "its header's rescale slope or intercept cannot be read, so it is shown as if there were none",
}
"""What can be noted of a picture, and what it means."""


class UnusablePicture(ValueError):  # noqa: N818 - the name says what it is; the message says why
    """The bytes are no image this project can use. `str(error)` is the reason in one line, without the file name.

    The reason quotes the header only where it says what was found of the element in question, and never what may name
    a patient.
    """


@dataclass(frozen=True)
class Header:
    """What is kept of a file's header. A field that is absent or malformed is None, or an empty string.

    Of a picture file only width and height are known.

    Attributes:
        width: Columns of the original image, in pixels.
        height: Rows of the original image, in pixels.
        view: View Position in capitals, such as `PA` or `AP`; where it is empty, from a Series Description `view: PA`.
        sex: `M`, `F` or `O`.
        age_years: Completed years; implausible ones (RSNA has 148 to 155) are kept as they are.
        pixel_spacing_mm: Distance between rows, from Pixel Spacing, else from Imager Pixel Spacing.
        patient_id: Patient ID, without surrounding spaces.
        sop_instance_uid: SOP Instance UID.
        study_instance_uid: Study Instance UID.
        series_instance_uid: Series Instance UID.
        for_processing: Presentation Intent Type is FOR PROCESSING: raw values of a detector, which a maker's own
            software would turn into the image that is looked at.
        modality: Modality in capitals, such as `CR`.
        body_part: Body Part Examined in capitals, such as `CHEST`.
    """

    width: int
    height: int
    view: str | None = None
    sex: str | None = None
    age_years: int | None = None
    pixel_spacing_mm: float | None = None
    patient_id: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    for_processing: bool = False
    modality: str = ""
    body_part: str = ""


@dataclass(frozen=True)
class Picture:
    """A rendered image.

    Attributes:
        header: Of the original image, also where the picture was downscaled.
        encoded: A whole JPEG or PNG file, one 8-bit grey channel.
        suffix: Of the file to write.
        stored: Whether `encoded` is the DICOM's own frame or the file itself, or was rendered.
        notes: What somebody who looks at it should know, of `NOTES`; for the manifest.
    """

    header: Header
    encoded: bytes
    suffix: Literal[".jpg", ".png"]
    stored: Literal["passed through", "decoded"]
    notes: tuple[str, ...] = ()


def decode_picture(encoded: bytes) -> NDArray[np.uint8]:
    """Decode a stored picture to what training sees.

    Args:
        encoded: A whole JPEG or PNG file.

    Returns:
        Grey values, shape (height, width), dtype uint8.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # as for no bytes at all; for most other input it returns None
        pixels = None
    if pixels is None:
        raise ValueError(f"{len(encoded)} bytes starting with {encoded[:8]!r} are no picture OpenCV can decode")
    return pixels.astype(np.uint8, copy=False)


def downscale(pixels: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Scale grey values down (area averaging) so that their longest side is `size`; smaller ones stay as they are.

    Args:
        pixels: Grey values, shape (height, width).
        size: Longest side in pixels; None leaves them as they are.
    """
    height, width = pixels.shape
    if size is None or size >= max(height, width):
        return pixels
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def as_png(header: Header, pixels: NDArray[np.uint8], size: int | None, notes: tuple[str, ...] = ()) -> Picture:
    """Store grey values as PNG, downscaled (area averaging) if larger than `size`.

    Args:
        header: Goes with the picture.
        pixels: Grey values, shape (height, width).
        size: Longest side in pixels; a smaller picture stays as it is.
        notes: See `Picture`.
    """
    pixels = downscale(pixels, size)
    # The lowest level that compresses: a higher one takes up to twice as long to save a few per cent.
    encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return Picture(header, encoded, ".png", "decoded", notes)


def reason_of(error: BaseException) -> str:
    """A library's exception in one line."""
    # Without pydicom's preface, "Unable to decode as exceptions were raised by all available plugins:".
    return " ".join(str(error).split()).rpartition("all available plugins: ")[2][:160] or type(error).__name__
