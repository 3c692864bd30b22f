from __future__ import annotations

import numpy as np
import pydicom
import pytest

from evaluate.dicom_out.capture import make_capture
from evaluate.dicom_out.report import make_report
from evaluate.dicom_out.source import source_of
from tests.evaluate.dicom_out.conftest import ALGORITHM, STUDY, dicom, output_of, unchecked


def test_patient_and_study_are_taken_over_and_an_age_of_rsna_is_mended():
    source = source_of(dicom("chest", PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 100"))
    assert source.SpecificCharacterSet == "ISO_IR 192"
    assert (source.PatientName, source.PatientID, source.PatientSex) == ("Müller^Änne", "p-17", "F")
    assert source.PatientAge == "034Y"
    assert (source.StudyInstanceUID, source.StudyDate, source.StudyTime) == (STUDY, "19010101", "000000.00")
    assert (source.Columns, source.Rows) == (151, 201)
    assert "PixelData" not in source


@pytest.mark.parametrize(
    ("keyword", "value", "mended"),
    [
        ("PatientAge", "34", "034Y"),
        ("PatientAge", "8", "008Y"),
        ("PatientAge", "034Y", "034Y"),
        ("PatientAge", "006M", "006M"),
        ("PatientAge", "148", "148Y"),
        ("PatientAge", "old", None),
        ("PatientAge", "61.0", "061Y"),
        ("PatientSex", "female", ""),
        ("PatientBirthDate", "1970-13-45", ""),
        ("StudyTime", "noon", ""),
        ("StudyDate", "20200102", "20200102"),
        ("StudyDescription", "x" * 65, None),
        ("AccessionNumber", "x" * 17, ""),
        ("PatientID", "", ""),
        ("StudyInstanceUID", "1.02.3", None),
        ("SOPInstanceUID", "not a uid", None),
        ("SeriesInstanceUID", "", None),
        ("PixelSpacing", "wide", None),
    ],
)
def test_a_value_that_is_invalid_is_mended_or_left_out(keyword, value, mended):
    source = source_of(dicom("chest", **{keyword: unchecked(keyword, value)}))
    assert source.get(keyword) == mended


def test_objects_made_from_a_header_full_of_faults_have_none(tmp_path):
    faults = {
        "PatientAge": "34", "PatientSex": "female", "PatientBirthDate": "1970-13-45", "StudyTime": "noon",
        "StudyDate": "yesterday", "StudyDescription": "x" * 65, "AccessionNumber": "x" * 17, "StudyID": "y" * 17,
        "PixelSpacing": "wide", "PatientOrientation": "up", "PatientWeight": "heavy", "InstanceNumber": "-1",
        "BodyPartExamined": "chest, of course", "ReferringPhysicianName": "a=b=c=d=e",
    }  # fmt: skip
    source = source_of(dicom("chest", **{keyword: unchecked(keyword, value) for keyword, value in faults.items()}))
    report = make_report(source, np.array([[0.5, 1, 2, 3, 4]]), ALGORITHM, ALGORITHM.uid("a"))
    capture = make_capture(source, np.zeros((9, 9, 3), np.uint8), ALGORITHM, ALGORITHM.uid("b"))
    for made in (report, capture):
        pydicom.dcmwrite(tmp_path / "made.dcm", made, enforce_file_format=True)
        assert "Error" not in output_of("dciodvfy", "-new", tmp_path / "made.dcm")


def test_what_is_no_dicom_is_told():
    assert "StudyInstanceUID" not in source_of(b"\0" * 400)
