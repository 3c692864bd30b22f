"""What a DICOM header says about an image besides how to render it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convert.pictures.elements import MAX_PIXELS, Elements, UnusableDicom, kind_of

_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12}
_VIEW = re.compile(r"\bview:\s*([A-Z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """What is kept of a DICOM header. A field that is absent or malformed is None, or an empty string.

    Attributes:
        width: Columns of the original image, in pixels.
        height: Rows of the original image, in pixels.
        view: View Position in capitals, such as `PA` or `AP`; where it is empty, from a Series Description `view: PA`.
        sex: `M`, `F` or `O`.
        age_years: Completed years; implausible ones (RSNA has 148 to 155) are kept as they are.
        pixel_spacing_mm: Distance between rows, from Pixel Spacing, else from Imager Pixel Spacing.
        patient_id: Patient ID, without surrounding spaces.
        sop_instance_uid: SOP Instance UID.
    """

    width: int
    height: int
    view: str | None
    sex: str | None
    age_years: int | None
    pixel_spacing_mm: float | None
    patient_id: str
    sop_instance_uid: str


def header_of(elements: Elements) -> Header:
    """The header; a malformed value of one field is None and never a reason to refuse the image.

    Raises:
        UnusableDicom: Rows or columns are missing, zero or beyond all measure.
    """
    width, height = elements.integer("Columns") or 0, elements.integer("Rows") or 0
    if "Rows" not in elements and "Columns" not in elements:
        raise UnusableDicom(f"no image: {kind_of(elements)} without rows and columns, or a truncated file")
    if width < 1 or height < 1:
        raise UnusableDicom(f"{height} rows and {width} columns, expected at least one of each")
    if width * height > MAX_PIXELS:
        raise UnusableDicom(f"{height} x {width} pixels, expected at most {MAX_PIXELS:,} in all")
    view = elements.text("ViewPosition")
    if not view and (match := _VIEW.search(elements.text("SeriesDescription"))):
        view = match[1]
    sex = elements.text("PatientSex").upper()
    spacings = (elements.number("PixelSpacing"), elements.number("ImagerPixelSpacing"))
    return Header(
        width=width,
        height=height,
        view=view.upper() or None,
        sex=sex if sex in ("M", "F", "O") else None,
        age_years=age_years(elements.text("PatientAge")),
        pixel_spacing_mm=next((spacing for spacing in spacings if spacing is not None and spacing > 0), None),
        patient_id=elements.text("PatientID"),
        sop_instance_uid=elements.text("SOPInstanceUID"),
    )


def age_years(text: str) -> int | None:
    """Completed years of an AS value; without a unit, as in the RSNA files, the number is years."""
    match = _AGE.fullmatch(text.upper())
    if not match:
        return None
    days = _DAYS.get(match[2])
    return int(match[1]) if days is None else int(int(match[1]) * days / 365.25)
