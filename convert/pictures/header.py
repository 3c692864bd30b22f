"""What a DICOM header says about an image besides how to render it; and ages as DICOM writes them."""

from __future__ import annotations

import re

from convert.pictures.elements import Elements, is_image_class, kind_of
from convert.pictures.picture import MAX_PIXELS, Header, UnusablePicture

_AGE = re.compile(r"(\d{1,3})(?:([DWMY])|\.0+)?")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12}
_VIEW = re.compile(r"\bview:\s*([A-Z]+)", re.IGNORECASE)


def header_of(elements: Elements) -> Header:
    """The header; a malformed value of one field is None and never a reason to refuse the image.

    Raises:
        UnusablePicture: Rows or columns are missing, zero or beyond all measure.
    """
    width, height = elements.integer("Columns") or 0, elements.integer("Rows") or 0
    if "Rows" not in elements and "Columns" not in elements:
        doubt = " without rows and columns, or a truncated file" if is_image_class(elements) else ""
        raise UnusablePicture(f"no image: {kind_of(elements)}{doubt}")
    if width < 1 or height < 1:
        raise UnusablePicture(f"{height} rows and {width} columns, expected at least one of each")
    if width * height > MAX_PIXELS:
        raise UnusablePicture(f"{height} x {width} pixels, expected at most {MAX_PIXELS:,} in all")
    view = elements.first_text("ViewPosition")
    if not view and (match := _VIEW.search(elements.first_text("SeriesDescription"))):
        view = match[1]
    sex = elements.first_text("PatientSex").upper()
    spacings = (elements.first_number("PixelSpacing"), elements.first_number("ImagerPixelSpacing"))
    return Header(
        width=width,
        height=height,
        view=view.upper() or None,
        sex=sex if sex in ("M", "F", "O") else None,
        age_years=age_years(elements.first_text("PatientAge")),
        pixel_spacing_mm=next((spacing for spacing in spacings if spacing is not None and spacing > 0), None),
        patient_id=elements.first_text("PatientID"),
        sop_instance_uid=elements.first_text("SOPInstanceUID"),
        study_instance_uid=elements.first_text("StudyInstanceUID"),
        series_instance_uid=elements.first_text("SeriesInstanceUID"),
        for_processing=elements.first_text("PresentationIntentType").upper() == "FOR PROCESSING",
        modality=elements.first_text("Modality").upper(),
        body_part=elements.first_text("BodyPartExamined").upper(),
    )


def age_years(text: str) -> int | None:
    """Completed years of an AS value; without a unit, as in the RSNA files, the number is years.

    So is a whole number with a point (`61.0`): a table's column of ages with gaps is often written as floats.
    """
    match = _AGE.fullmatch(text.upper())
    if not match:
        return None
    days = _DAYS.get(match[2])
    return int(match[1]) if days is None else int(int(match[1]) * days / 365.25)
