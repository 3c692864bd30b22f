"""A Secondary Capture of an image with the boxes drawn on it, for viewers that show no Structured Report."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from common.pages.pictures import overlay
from evaluate.dicom_out.algorithm import NOTICE, Algorithm

SERIES_NUMBER = 9902
_STRIP = 24
"""The strip with the notice is this part of the picture's shorter side."""
_THINNEST = 12


def draw(pixels: NDArray[np.uint8], boxes: NDArray[np.float64], doubt: str = "") -> NDArray[np.uint8]:
    """Draw boxes on a picture, and write what it is into a strip that is put below it and hides nothing.

    Args:
        pixels: Grey picture, uint8, (height, width).
        boxes: (N, 5): confidence, x, y, width, height in pixels of `pixels`.
        doubt: Why this may be none of the images that the algorithm is made for.

    Returns:
        uint8, (height + strip, width, 3), RGB.
    """
    drawn = overlay(pixels, None, boxes)
    height, width = pixels.shape
    words = f"{NOTICE} - {len(boxes)} regions marked" + (f" - {doubt}" if doubt else "")
    size = max(_THINNEST, min(height, width) // _STRIP)
    font = ImageFont.load_default(size * 0.7)
    left, top, right, bottom = font.getbbox(words)
    strip = Image.new("L", (int(right) + 2, size))
    ImageDraw.Draw(strip).text((1 - min(left, 0), (size - bottom - top) / 2), words, fill=255, font=font)
    letters = np.asarray(strip)
    if letters.shape[1] > width:  # all of the words, smaller
        small = cv2.resize(letters, (width - 1, size), interpolation=cv2.INTER_AREA)
        letters = np.pad(small, ((0, 0), (0, 1)))
    band = np.zeros((size, width), np.uint8)
    band[:, : letters.shape[1]] = letters
    return np.vstack([drawn, np.repeat(band[..., None], 3, axis=2)])


def make_capture(source: Dataset, picture: NDArray[np.uint8], algorithm: Algorithm, sop_instance_uid: str) -> Dataset:
    """Make the Secondary Capture of a picture.

    Args:
        source: The image, as `evaluate.dicom_out.source.source_of` gives it, with a Study Instance UID.
        picture: What is shown, uint8, (height, width, 3), RGB.
        algorithm: What has found the boxes.
        sop_instance_uid: Of the capture.

    Returns:
        A Secondary Capture Image with file meta information, uncompressed.
    """
    from highdicom.sc import SCImage
    from pydicom.sr.codedict import codes

    capture = SCImage(
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=algorithm.uid("captures", source.StudyInstanceUID),
        series_number=SERIES_NUMBER,
        sop_instance_uid=sop_instance_uid,
        instance_number=source.InstanceNumber,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate or None,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate or None,
        study_time=source.StudyTime or None,
        referring_physician_name=source.ReferringPhysicianName,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        **algorithm.equipment(),
    )
    capture.copy_patient_and_study_information(source)
    capture.PatientOrientation = source.get("PatientOrientation", "")  # empty if it is not known
    if "BodyPartExamined" in source:
        capture.BodyPartExamined = "CHEST"  # the Standard's word, which hospitals have others for
    else:
        capture.Laterality = ""  # there must be one, or a part of the body that is there once
    capture.DerivationDescription = f"{NOTICE}. Boxes with their confidence drawn on the image, and a strip below it."
    if source.LossyImageCompression == "01":  # what was lost before is not there again
        capture.LossyImageCompression = "01"
    if "SOPInstanceUID" in source and "SOPClassUID" in source:
        reference, purpose = Dataset(), Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        code = codes.DCM.SourceImageForImageProcessingOperation
        purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, "DCM", code.meaning
        reference.PurposeOfReferenceCodeSequence = [purpose]
        capture.SourceImageSequence = [reference]
    return capture
