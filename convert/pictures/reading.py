"""Any file that shows an image, DICOM or picture file, read by what its content is and never by its name."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from convert.pictures import dicom, raster
from convert.pictures.picture import Header, Picture, UnusablePicture


def read_picture(data: bytes, size: int | None = None, *, verify: bool = False) -> Picture:
    """Make an 8-bit grey picture of a file; how is in `convert.pictures.dicom` and `convert.pictures.raster`.

    Args:
        data: The whole file.
        size: Longest side in pixels. A larger image is downscaled to it (area averaging) and stored as PNG; a smaller
            one stays as it is.
        verify: Decode JPEG even where it is passed through, and refuse one whose data end before its last pixel, which
            decoders fill up without a word. Data of the right length but with wrong values cannot be told from an
            image even so.

    Raises:
        UnusablePicture: Neither DICOM nor a picture file, truncated, broken, or of a kind that no radiograph is.
        ValueError: `size` is not positive.
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}, expected the longest side in pixels, at least 1")
    module = raster if is_picture_file(data) else dicom
    return module.to_picture(data, size, verify=verify)


def read_header(data: bytes) -> Header:
    """Read what the file says about its image, without decoding pixels.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: Neither DICOM nor a picture file, or it describes no image that could be used.
    """
    return raster.read_header(data) if is_picture_file(data) else dicom.read_header(data)


def read_notes(data: bytes) -> tuple[str, ...]:
    """The notes of the picture that `read_picture` makes of a file, without decoding it.

    Args:
        data: The whole file.

    Raises:
        UnusablePicture: See `read_picture`.
    """
    return raster.read_notes(data) if is_picture_file(data) else dicom.read_notes(data)


def read_pixels(data: bytes, channels: int = 1) -> NDArray[np.uint8]:
    """The pixels that a model is shown of a file: those that training sees of it; see `read_shown`."""
    return read_shown(data, channels)[0]


def read_shown(data: bytes, channels: int = 1) -> tuple[NDArray[np.uint8], Header]:
    """The pixels that a model is shown of a file, those that training sees of it, and the header.

    DICOM and anything deeper than 8 bits is rendered as `read_picture` does it. A picture file of 8 bits is decoded as
    it is, as Ultralytics decodes the pictures of a data set: in colour where the model takes colour.

    Args:
        data: The whole file.
        channels: 1 for grey, 3 for colour.

    Returns:
        Pixels of shape (height, width) for grey, (height, width, 3) in the order blue, green, red for colour; of a
        picture file the header holds their size and nothing else.

    Raises:
        UnusablePicture: It cannot be decoded, or rendered.
    """
    pixels = None if has_dicom_mark(data) else raster.decode(data, channels)
    if pixels is not None:
        header = Header(width=pixels.shape[1], height=pixels.shape[0])
        if pixels.dtype == np.uint8:
            return pixels.astype(np.uint8, copy=False), header
        grey = raster.to_pixels(data)
    elif is_picture_file(data):
        raise UnusablePicture("cannot be decoded as a picture")
    else:
        grey, header = dicom.to_pixels(data)
    return grey if channels == 1 else cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False), header


def object_without_image(data: bytes) -> str:
    """The name of a DICOM object that holds no image, such as `Basic Text SR Storage`.

    Empty for images and for picture files, for objects that are not known, and for what is no DICOM file.

    Args:
        data: The whole file, or at least its header.
    """
    return dicom.object_without_image(data) if has_dicom_mark(data) else ""


def is_picture_file(data: bytes) -> bool:
    """Whether the content starts as a picture file's does; DICOM does not, having 128 free bytes and `DICM` first."""
    return data.startswith(raster.STARTS) and not has_dicom_mark(data)


def has_dicom_mark(head: bytes) -> bool:
    """Whether `DICM` follows 128 free bytes; some archives' data sets lack it.

    Args:
        head: The file, or at least its first 132 bytes.
    """
    return head[128:132] == b"DICM"


def is_kept_png(data: bytes, size: int | None = None) -> bool:
    """Whether a file is a PNG that `read_picture` stores as it is; no DICOM file is.

    Raises:
        UnusablePicture: It is a broken picture file.
    """
    return is_picture_file(data) and raster.passed_through(data, size) == ".png"
