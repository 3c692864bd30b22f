"""From stored values to grey values, step by step as in `convert.pictures.dicom`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convert.pictures.elements import TAGS, Elements
from convert.pictures.frame import PixelFormat
from convert.pictures.picture import RESCALE, WINDOW, UnusablePicture, reason_of

_whatever_the_numbers = np.errstate(all="ignore")
"""For functions that must bear a window of 1e308 or a rescale by it."""


class _Lut(NamedTuple):
    """A lookup table: `table[0]` is for the value `first` and all below, its last entry for all above."""

    first: int
    table: NDArray[np.float64]
    highest: int

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        index = np.rint(values).astype(np.int64) - self.first
        return self.table[index.clip(0, len(self.table) - 1)]


class _Window(NamedTuple):
    center: float
    width: float
    function: str

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Grey values from 0 to 255, PS3.3 C.11.2.1.2 and C.11.2.1.3."""
        if self.function == "SIGMOID":
            return 255 / (1 + np.exp((-4 * (values - self.center) / self.width).clip(max=700)))
        exact = self.function == "LINEAR_EXACT"
        center, width = (self.center, self.width) if exact else (self.center - 0.5, self.width - 1)
        if width == 0:
            return np.where(values <= center, 0.0, 255.0)
        return ((values - center + width / 2) * 255 / width).clip(0, 255)


class Rendering(NamedTuple):
    """From stored values to grey values, as the header asks."""

    modality: _Lut | None
    slope: float
    intercept: float
    voi: _Lut | _Window | None
    padding: tuple[int, int] | None
    inverted: bool
    exact: bool  # 8 bits, unsigned: a grey value already
    notes: tuple[str, ...] = ()  # what of the header could not be obeyed; see `Picture`

    def is_identity(self) -> bool:
        """Whether every 8-bit value is its own grey value, whatever the image."""
        if not self.exact or self.inverted:
            return False
        return self[:5] == (None, 1, 0, None, None) or self._maps_to_itself()

    @_whatever_the_numbers
    def _maps_to_itself(self) -> bool:
        values = np.arange(256)
        return np.array_equal(self._modality_values(values), values) and np.array_equal(self.grey(values), values)

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey values of stored values, shape (height, width), dtype uint8.

        Raises:
            UnusablePicture: The header's window or table leaves one level of what are several values.
        """
        lowest, highest = int(pixels.min()), int(pixels.max())
        if highest - lowest > 0xFFFF:
            values, inverse = np.unique(pixels, return_inverse=True)
            table = self.grey(values.astype(np.int64))
            self._check_levels(values, table)
            return table[inverse].reshape(pixels.shape)
        offsets = np.subtract(pixels, lowest, dtype=np.int64)
        present = np.flatnonzero(np.bincount(offsets.ravel()))
        table = np.zeros(highest - lowest + 1, np.uint8)
        table[present] = self.grey(present + lowest)
        self._check_levels(present + lowest, table[present])
        return table[offsets]

    def _check_levels(self, stored: NDArray[np.int64], grey: NDArray[np.uint8]) -> None:
        """Refuse one grey level for several values: nobody could see anything, and a detector would find nothing."""
        image = self._is_image(stored)
        stored, grey = stored[image], grey[image]
        if len(stored) < 2 or (grey != grey[0]).any():
            return
        voi = self.voi
        cause = f"window {voi.center:g} / {voi.width:g}" if isinstance(voi, _Window) else "lookup table"
        raise UnusablePicture(
            f"the {cause} in the header makes one grey level of all values from {stored.min()} to {stored.max()}, "
            "expected one that shows them"
        )

    @_whatever_the_numbers
    def grey(self, stored: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Grey values of all the stored values of one image, in any order and shape."""
        values = self._modality_values(stored)
        image = self._is_image(stored)
        if self.voi is not None:
            grey = self.voi(values) * 255 / self.voi.highest if isinstance(self.voi, _Lut) else self.voi(values)
        elif self.exact and np.array_equal(values, stored):
            grey = values
        else:
            lowest, highest = (values[image].min(), values[image].max()) if image.any() else (0, 0)
            grey = (values - lowest) * 255 / (highest - lowest if highest > lowest else 1)
        # Multiplied before dividing, above, so that exact halves stay exact.
        rounded = np.floor(grey + 0.5).clip(0, 255).astype(np.uint8)
        return np.where(image, 255 - rounded if self.inverted else rounded, np.uint8(0))

    def _is_image(self, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which values are not padding."""
        if not self.padding:
            return np.ones(stored.shape, bool)
        return (stored < self.padding[0]) | (stored > self.padding[1])

    def _modality_values(self, stored: NDArray[np.int64]) -> NDArray[Any]:
        if self.modality is not None:
            return self.modality(stored)
        return stored if (self.slope, self.intercept) == (1, 0) else stored * self.slope + self.intercept


def rendering_of(elements: Elements, pixel_format: PixelFormat) -> Rendering:
    """What the header asks for; tables and windows that contradict themselves are refused."""
    if not pixel_format.photometric.startswith("MONOCHROME"):  # the rest is for grey images
        return Rendering(None, 1.0, 0.0, None, None, inverted=False, exact=pixel_format.allocated == 8)
    modality = _lut(elements, "ModalityLUTSequence", *pixel_format.value_range())
    notes: tuple[str, ...] = ()
    rescale = [numbers[0] for name in ("Slope", "Intercept") if (numbers := elements.numbers(f"Rescale{name}"))]
    slope, intercept = 1.0, 0.0
    if rescale:
        notes += (RESCALE,) * (None in rescale)
        slope = elements.first_number("RescaleSlope") or 1.0  # zero would erase the image; toolkits read it as one
        intercept = elements.first_number("RescaleIntercept") or 0.0
    voi: _Lut | _Window | None = None
    if "VOILUTSequence" in elements:
        if modality is not None:
            ends = [modality.table.min(), modality.table.max()]
        else:
            ends = sorted(slope * end + intercept for end in pixel_format.value_range())
        voi = _lut(elements, "VOILUTSequence", *ends)
    if voi is None:
        voi, ignored = _first_window(elements)
        notes += (WINDOW,) * ignored
    keywords = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    padding = [elements.integer(keyword, pixel_format.signed) for keyword in keywords]
    limits = sorted(end for end in padding if end is not None)
    return Rendering(
        modality=modality,
        slope=slope,
        intercept=intercept,
        voi=voi,
        padding=(limits[0], limits[-1]) if limits and padding[0] is not None else None,
        inverted=pixel_format.photometric == "MONOCHROME1",
        exact=pixel_format.stored == 8 and not pixel_format.signed,
        notes=notes,
    )


def _first_window(elements: Elements) -> tuple[_Window | None, bool]:
    """The first window that is one, as headers may hold several; and whether there is none although one is stated."""
    centers, widths = elements.numbers("WindowCenter"), elements.numbers("WindowWidth")
    function = elements.first_text("VOILUTFunction").upper()
    for center, width in zip(centers, widths, strict=False):
        if center is not None and width is not None:
            valid = width > 0 if function in ("LINEAR_EXACT", "SIGMOID") else width >= 1
            if valid:
                return _Window(center, width, function), False
    # Scanners write a width of zero for "no window".
    return None, len(centers) != len(widths) or None in centers or any(width != 0 for width in widths)


def _lut(elements: Elements, keyword: str, lowest: float, highest: float) -> _Lut | None:
    """The first table of a LUT sequence, PS3.3 C.11.1.1 and C.11.2.1.1.

    Args:
        elements: The file's.
        keyword: The sequence's.
        lowest: The least value that the table can be asked for.
        highest: The greatest.
    """
    if keyword not in elements:
        return None
    try:
        items = list(elements.dataset[TAGS[keyword]].value or ())
        if keyword == "VOILUTSequence":  # some writers leave items empty; what a picture looks like is no loss then
            items = [item for item in items if item.get("LUTDescriptor")]
        if not items:
            return None
        entries, first, bits = (int(value) for value in items[0].LUTDescriptor)
        content = items[0].LUTData
        entries = entries % 2**16 or 2**16
        if isinstance(content, bytes):
            # Eight-bit entries may come one to a byte.
            order = "<" if elements.raw("PixelData").is_little_endian else ">"
            content = np.frombuffer(content, f"{order}u2" if len(content) >= 2 * entries else np.uint8)
        first = _first_mapped(first, entries, lowest, highest, bool(elements.raw("PixelData").is_implicit_VR))
        table = np.asarray(content, np.float64).ravel()[:entries]
        if len(table) < entries or not 1 <= bits <= 16:
            raise ValueError(f"{len(table)} entries of {bits} bits, {entries} announced")
    except Exception as error:
        raise UnusablePicture(f"broken {keyword}: {reason_of(error)}") from error
    return _Lut(first, table.clip(0, 2**bits - 1), 2**bits - 1)


def _first_mapped(stated: int, entries: int, lowest: float, highest: float, implicit: bool) -> int:
    """The first value that a table is for, which has 16 bits and by the Standard a sign where values can be negative.

    Writers often state it without one (63488 for -2048), and in implicit VR pydicom guesses from the stored pixels,
    whatever a rescale has made of them. So what the Standard says is taken, unless only the other reading reaches any
    of the values.
    """
    if stated < 0 and not implicit:
        return stated  # a VR of SS, which is no guess
    signed, unsigned = (stated + 2**15) % 2**16 - 2**15, stated % 2**16
    readings = (signed, unsigned) if lowest < 0 else (unsigned, signed)
    return next((first for first in readings if first <= highest and first + entries > lowest), readings[0])
