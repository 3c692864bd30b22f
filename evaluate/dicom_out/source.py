"""What a result takes over from the header of its image: patient and study, with invalid values mended or left out."""

from __future__ import annotations

import contextlib
from io import BytesIO

from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from convert.pictures import age_years

_EMPTY_IF_UNKNOWN = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Of type 2: they are in the result in any case."""
_IF_KNOWN = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "PatientComments",
    "StudyDescription", "Manufacturer", "ManufacturerModelName", "InstitutionName",
)  # fmt: skip
LINKS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_CHOICES = {"PatientSex": ("M", "F", "O")}
_FOR_PICTURES = ("BodyPartExamined", "ViewPosition", "PixelSpacing", "ImagerPixelSpacing", "PatientOrientation")
_LONGEST_NUMBER = 999


def source_of(data: bytes) -> Dataset:
    """Patient, study, and what names the image, of a DICOM file; a value that the Standard does not allow is left out.

    An age without a unit, as RSNA's `34`, becomes `034Y`. Text is in Unicode afterwards (ISO_IR 192).

    Args:
        data: The file.

    Returns:
        A data set of its own. A UID that is missing or invalid is not in it.

    Raises:
        ValueError: It cannot be read as DICOM.
    """
    try:
        read = dcmread(BytesIO(data), stop_before_pixels=True, force=True)
    except Exception as error:  # pydicom raises many kinds
        raise ValueError(f"its header cannot be read ({error})") from error
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_EMPTY_IF_UNKNOWN, *_IF_KNOWN, *_FOR_PICTURES):
        value = _valid(read, keyword)
        if value or keyword in _EMPTY_IF_UNKNOWN:
            setattr(clean, keyword, value if len(value) > 1 else "".join(value))
    for keyword in LINKS:
        text = "".join(_texts(read, keyword))
        if text and UID(text).is_valid:
            setattr(clean, keyword, text)
    for keyword in ("Rows", "Columns"):
        with contextlib.suppress(Exception):
            setattr(clean, keyword, int(read[keyword].value))
    number = "".join(_texts(read, "InstanceNumber"))
    clean.InstanceNumber = int(number) if number.isdecimal() and 0 < int(number) < 2**31 else 1
    clean.LossyImageCompression = "01" if _texts(read, "LossyImageCompression")[:1] == ["01"] else "00"
    return clean


def _valid(read: Dataset, keyword: str) -> list[str]:
    """The values of an element, none if any of them is invalid."""
    values, vr = _texts(read, keyword), dictionary_VR(keyword)
    if keyword == "PatientAge":
        years = age_years("".join(values)) if "".join(values)[-1:].isdecimal() else None
        values = values if years is None else [f"{years:03}Y"] if years <= _LONGEST_NUMBER else []
    if len(values) > 1 and dictionary_VM(keyword) == "1":
        return []
    if any(value not in _CHOICES.get(keyword, (value,)) for value in values):
        return []
    try:
        for value in values:
            validate_value(vr, value, config.RAISE)
    except ValueError:
        return []
    return values


def _texts(read: Dataset, keyword: str) -> list[str]:
    """The values of an element as text; none if it is missing, empty or cannot be decoded."""
    try:
        value = read[keyword].value if keyword in read else None
    except Exception:  # of a value that makes no sense pydicom raises many kinds
        return []
    values = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    texts = [str(one).strip(" \0") for one in values or () if one is not None]
    return texts if any(texts) else []
