"""Grey values of what is stored in colour: the luma, as `convert.pictures.raster` has it of picture files.

Secondary captures and scanned films are often stored in colour although they are grey; of equal channels the luma is
their value.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut

from convert.pictures.elements import Elements
from convert.pictures.picture import UnusablePicture, reason_of

PALETTE = "PALETTE COLOR"


def luma(pixels: NDArray[Any], luma_first: bool) -> NDArray[Any]:
    """The luma of three samples.

    Args:
        pixels: Shape (height, width, 3), 8 or 16 bits unsigned.
        luma_first: They are luma and two chroma, and not red, green and blue.

    Returns:
        Shape (height, width), of the same type.
    """
    if luma_first:
        return pixels[..., 0]
    unsigned = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}")
    return cv2.cvtColor(unsigned, cv2.COLOR_RGB2GRAY)


def palette_luma(pixels: NDArray[Any], elements: Elements) -> NDArray[np.uint8]:
    """The luma of values that a palette gives colours, PS3.3 C.7.6.3.1.5.

    Raises:
        UnusablePicture: The palette is missing or broken.
    """
    try:
        colours = apply_color_lut(pixels, elements.dataset)[..., :3]
    except Exception as error:
        raise UnusablePicture(f"broken palette: {reason_of(error)}") from error
    if colours.dtype != np.uint8:
        # Some writers say 16 bits and use 8.
        colours = (colours >> 8 if colours.max() > 0xFF else colours).astype(np.uint8)
    return luma(colours, luma_first=False)
