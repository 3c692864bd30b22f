from __future__ import annotations

import cv2
import numpy as np
import pydicom
import pytest

from common.pages.pictures import overlay
from convert.pictures import read_shown
from evaluate.dicom_out.capture import draw, make_capture
from evaluate.dicom_out.source import source_of
from tests.evaluate.dicom_out.conftest import ALGORITHM, BOXES, SHAPE, dicom, objects, output_of


def test_dciodvfy_finds_no_error(written):
    for path in objects(written, ".sc"):
        assert "Error" not in output_of("dciodvfy", "-new", path)


def test_dcmtk_and_pydicom_read_the_picture_with_its_boxes(written, tmp_path):
    output_of("dcm2pnm", "+op", written / "out/chest.sc.dcm", tmp_path / "chest.ppm")
    shown = cv2.cvtColor(cv2.imread(str(tmp_path / "chest.ppm")), cv2.COLOR_BGR2RGB)
    grey = read_shown((written / "chest.dcm").read_bytes(), 1)[0]
    boxes = np.array([one[1:] for one in BOXES[:2]])
    assert shown.shape[0] > SHAPE[0]
    np.testing.assert_array_equal(shown[: SHAPE[0]], overlay(grey, None, boxes))
    np.testing.assert_array_equal(pydicom.dcmread(written / "out/chest.sc.dcm").pixel_array, shown)
    clear = pydicom.dcmread(written / "out/clear.sc.dcm").pixel_array[: SHAPE[0]]
    plain = read_shown((written / "clear.dcm").read_bytes(), 1)[0]
    np.testing.assert_array_equal(clear, np.repeat(plain[..., None], 3, axis=2))


@pytest.mark.parametrize("part", [None, "", "CHEST", "LUNG", "RIB", "HEART", "PORT CHEST"])
def test_other_words_for_a_chest(part, tmp_path):
    source = source_of(dicom("chest", BodyPartExamined=part))
    pydicom.dcmwrite(tmp_path / "c.dcm", make_capture(source, np.zeros((9, 9, 3), np.uint8), ALGORITHM, "1.2.3"))
    assert "Error" not in output_of("dciodvfy", "-new", tmp_path / "c.dcm")


def test_what_it_was_made_from_is_named(written):
    capture, image = pydicom.dcmread(written / "out/chest.sc.dcm"), pydicom.dcmread(written / "chest.dcm")
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert capture.LossyImageCompression == "01"  # its source is a JPEG
    assert "LossyImageCompression" not in pydicom.dcmread(written / "out/clear.sc.dcm")
    assert capture.ImageType[0] == "DERIVED"
    assert "RESEARCH ONLY" in capture.DerivationDescription
    assert "RESEARCH ONLY" in capture.SeriesDescription


@pytest.mark.parametrize("shape", [(40, 30), (300, 200), (1024, 1024), (2000, 2500)])
def test_the_notice_stands_below_the_picture(shape):
    pixels = np.full(shape, 90, np.uint8)
    drawn = draw(pixels, np.empty((0, 5)), "View Position LL")
    strip = drawn[shape[0] :]
    assert drawn.shape[1:] == (shape[1], 3)
    np.testing.assert_array_equal(drawn[: shape[0]], 90)
    assert 12 <= len(strip) <= max(12, min(shape) // 24)
    bright = strip[..., 0] > 60
    assert bright.any(0).sum() > shape[1] / 4
    assert not bright[0].any()  # no letter is cut
    assert not bright[:, -1].any()
    assert not bright[-1].any()
