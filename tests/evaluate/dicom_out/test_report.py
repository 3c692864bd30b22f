from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest

from evaluate.dicom_out.algorithm import NOTICE, Algorithm
from evaluate.dicom_out.report import boxes_of, make_report
from evaluate.dicom_out.source import source_of
from tests.evaluate.dicom_out.conftest import ALGORITHM, BOXES, dicom, objects, output_of

CHEST = np.array([one[1:] for one in BOXES[1::-1]])
"""By falling confidence."""


def test_dciodvfy_finds_no_error(written):
    for path in objects(written, ".sr"):
        assert "Error" not in output_of("dciodvfy", "-new", path)


def test_read_back_by_highdicom_to_the_same_boxes(written):
    from highdicom.sr import srread

    report = srread(written / "out/chest.sr.dcm")
    groups = report.content.get_planar_roi_measurement_groups()
    found = []
    for group in groups:
        corners = group.roi.value
        assert len(corners) == 5
        np.testing.assert_array_equal(corners[0], corners[-1])
        found.append([*corners.min(0), *np.ptp(corners, 0)])
        assert group.finding_type.value == "112001"
        assert group.finding_sites[0].value.meaning == "Lung"
        region = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        assert region.ReferencedSOPInstanceUID == pydicom.dcmread(written / "chest.dcm").SOPInstanceUID
    np.testing.assert_allclose(found, CHEST[:, 1:], atol=0.01)
    np.testing.assert_allclose(boxes_of(report), CHEST, atol=0.005)
    assert boxes_of(pydicom.dcmread(written / "out/clear.sr.dcm")).shape == (0, 5)


def test_dcmtk_reads_the_same_boxes(written):
    said = output_of("dsrdump", "+Pl", written / "out/chest.sr.dcm")
    assert said.startswith("Comprehensive SR Document")
    polylines = re.findall(r"POLYLINE,([^)]*)\)", said)
    corners = [[tuple(map(float, point.split("/"))) for point in line.split(",")] for line in polylines]
    wanted = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for _, x, y, w, h in CHEST]
    np.testing.assert_allclose(corners, wanted, atol=0.01)
    certainties = re.findall(r'"Certainty of Finding"\)="([\d.]+)" \(%', said)
    np.testing.assert_allclose([float(one) for one in certainties], 100 * CHEST[:, 0], atol=1e-4)


@pytest.mark.parametrize(("name", "regions"), [("chest", 2), ("film", 1), ("clear", 0)])
def test_it_says_how_many_regions_there_are_what_has_found_them_and_that_it_is_research(written, name, regions):
    said = output_of("dsrdump", "+Pl", written / f"out/{name}.sr.dcm")
    assert said.count('"Image Region"') == regions
    assert f'"Number of marked regions")="{regions}.0"' in said
    assert '"Algorithm Name")="rsna-pneumonia-workshop"' in said
    assert '"Algorithm Parameters")="detector best.pt, SHA-256 abc"' in said
    assert "It must not guide the care of a patient" in said
    assert "Verification Flag   : UNVERIFIED" in said
    assert "PRELIMINARY" in said
    assert NOTICE in said
    assert "frontal" not in said


def test_a_doubt_stands_in_the_report(written):
    said = output_of("dsrdump", "+Pl", written / "out/lateral.sr.dcm")
    assert "May be no frontal chest X-ray: View Position LL" in said


def test_patient_and_study_are_those_of_the_image(written):
    for path in objects(written):
        made, image = pydicom.dcmread(path), pydicom.dcmread(written / f"{path.name.split('.')[0]}.dcm")
        assert made.PatientAge == "034Y"
        for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyDate"):
            assert made[keyword].value == image[keyword].value, keyword
        assert made.SeriesInstanceUID != image.SeriesInstanceUID
    evidence = pydicom.dcmread(written / "out/film.sr.dcm").CurrentRequestedProcedureEvidenceSequence[0]
    image = pydicom.dcmread(written / "film.dcm")
    (series,) = evidence.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    for suffix in (".sr", ".sc"):  # one series of reports and one of captures in the study
        assert len({pydicom.dcmread(path).SeriesInstanceUID for path in objects(written, suffix)}) == 1
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in objects(written)]
    assert len(set(uids)) == len(uids)


def test_another_class_has_a_code_of_its_own(tmp_path):
    algorithm = Algorithm(
        "a", "1", (), "Pneumothorax, tension (large) and a name beyond all measure of any code there is"
    )
    made = make_report(source_of(dicom("chest")), np.array([[0.5, 1, 2, 3, 4]]), algorithm, algorithm.uid("r"))
    pydicom.dcmwrite(tmp_path / "r.dcm", made, enforce_file_format=True)
    assert "Error" not in output_of("dciodvfy", "-new", tmp_path / "r.dcm")
    assert "(PNEUMOTHORAX_TEN,99RSNAWORKSHOP" in output_of("dsrdump", "+Pl", tmp_path / "r.dcm")


def test_uids_follow_from_algorithm_and_content():
    assert ALGORITHM.uid("report", "a") == ALGORITHM.uid("report", "a")
    other = Algorithm(ALGORITHM.name, ALGORITHM.version, ("detector other.pt",), ALGORITHM.finding)
    uids = {
        ALGORITHM.uid("report", "a"),
        ALGORITHM.uid("capture", "a"),
        ALGORITHM.uid("report", "b"),
        other.uid("report", "a"),
    }
    assert len(uids) == 4
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
