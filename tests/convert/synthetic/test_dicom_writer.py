"""The written files read back with pydicom alone and with GDCM, without this project's reader."""

from __future__ import annotations

import warnings
from io import BytesIO

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from convert.synthetic.dicom_writer import ENCODINGS, RSNA_JPEG_QUALITY, write_dicom

pytestmark = pytest.mark.filterwarnings("error")

SYNTAXES = {
    "jpeg-baseline": uid.JPEGBaseline8Bit,
    "jpeg-baseline-fragments": uid.JPEGBaseline8Bit,
    "explicit-vr": uid.ExplicitVRLittleEndian,
    "implicit-vr": uid.ImplicitVRLittleEndian,
    "big-endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "monochrome1": uid.ExplicitVRLittleEndian,
    "12-bit-window": uid.ExplicitVRLittleEndian,
    "signed-16-rescale": uid.ExplicitVRLittleEndian,
    "voi-lut": uid.ExplicitVRLittleEndian,
    "rle": uid.RLELossless,
    "jpeg-lossless": uid.JPEGLosslessSV1,
    "jpeg-ls": uid.JPEGLSLossless,
    "jpeg-2000": uid.JPEG2000Lossless,
}

# The elements of a file of the RSNA release, in its order.
RSNA_ELEMENTS = """
    SpecificCharacterSet SOPClassUID SOPInstanceUID StudyDate StudyTime AccessionNumber Modality ConversionType
    ReferringPhysicianName SeriesDescription PatientName PatientID PatientBirthDate PatientSex PatientAge
    BodyPartExamined ViewPosition StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber InstanceNumber
    PatientOrientation SamplesPerPixel PhotometricInterpretation Rows Columns PixelSpacing BitsAllocated BitsStored
    HighBit PixelRepresentation LossyImageCompression LossyImageCompressionMethod PixelData
""".split()  # noqa: SIM905 - fourteen lines shorter

# The quantisation table of the RSNA files, in zigzag order.
RSNA_QUANTISATION = bytes.fromhex(
    "030202020202030202020303030304060404040404080606050609080a0a0908"
    "09090a0c0f0c0a0b0e0b09090d110d0e0f101011100a0c12131210130f101010"
)


@pytest.fixture(scope="module")
def pixels():
    noise = np.random.default_rng(11).normal(0, 25, (38, 51))
    picture = np.clip(np.linspace(275, -20, 38)[:, None] + noise, 0, 255).astype(np.uint8)
    picture[0, :2] = 0, 255
    return picture


def written(pixels, encoding, **fields):
    fields = {"patient_age": "34", "patient_sex": "M", "view": "PA", "pixel_spacing_mm": 0.168, **fields}
    return write_dicom(pixels, encoding, **{"image_id": "image-1", **fields})


def read(data):
    """As pydicom reads it, with every value converted; an age of `34` warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(BytesIO(data))
        dataset.walk(lambda parent, element: None)
    return dataset


def test_every_encoding_is_listed():
    assert set(ENCODINGS) == set(SYNTAXES)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pydicom_alone_gives_back_the_pixels(encoding, pixels):
    dataset = read(written(pixels, encoding))
    assert dataset.file_meta.TransferSyntaxUID == SYNTAXES[encoding]
    values = apply_modality_lut(dataset.pixel_array, dataset)
    grey = apply_voi_lut(values, dataset).astype(float)
    if encoding == "voi-lut":
        grey /= 257  # a table of 16 bits
    elif encoding in ("12-bit-window", "big-endian"):
        grey *= 255 / 4095  # pydicom's windows end in the range of the values before them
    elif encoding == "signed-16-rescale":
        low, high = (2 * stored - 500 for stored in (-(2**15), 2**15 - 1))
        grey = (grey - low) / (high - low) * 255
    if encoding == "monochrome1":
        assert dataset.PhotometricInterpretation == "MONOCHROME1"
        grey = 255 - grey
    if encoding.startswith("jpeg-baseline"):
        assert 0 < np.abs(grey - pixels).mean() < 8
    else:
        np.testing.assert_array_equal(np.rint(grey), pixels)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gdcm_gives_back_the_stored_values(encoding, pixels, tmp_path):
    file = tmp_path / "written.dcm"
    data = written(pixels, encoding)
    file.write_bytes(data)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    image = reader.GetImage()
    assert [image.GetDimension(0), image.GetDimension(1)] == [51, 38]
    dataset = read(data)
    dtype = {(8, 0): "u1", (16, 0): "<u2", (16, 1): "<i2"}[dataset.BitsAllocated, dataset.PixelRepresentation]
    stored = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype).reshape(38, 51)
    if encoding.startswith("jpeg-baseline"):
        assert 0 < np.abs(stored.astype(int) - pixels).mean() < 8
    else:
        np.testing.assert_array_equal(stored, dataset.pixel_array)


def test_the_stored_values_are_as_announced(pixels):
    values = {
        encoding: read(written(pixels, encoding)).pixel_array
        for encoding in ("12-bit-window", "signed-16-rescale", "voi-lut", "big-endian")
    }
    assert {name: (array.min(), array.max()) for name, array in values.items()} == {
        "12-bit-window": (1000, 3040),
        "big-endian": (1000, 3040),
        "signed-16-rescale": (-200, 310),
        "voi-lut": (100, 865),
    }


def test_jpeg_baseline_looks_like_an_rsna_file(pixels):
    dataset = read(written(pixels, "jpeg-baseline"))
    assert [element.keyword for element in dataset] == RSNA_ELEMENTS
    assert [element.keyword for element in dataset.file_meta] == [
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    ]
    expected = {
        "SOPClassUID": uid.SecondaryCaptureImageStorage,
        "StudyDate": "19010101",
        "StudyTime": "000000.00",
        "Modality": "CR",
        "ConversionType": "WSD",
        "SeriesDescription": "view: PA",
        "PatientName": "image-1",
        "PatientID": "image-1",
        "PatientSex": "M",
        "PatientAge": "34",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 38,
        "Columns": 51,
        "PixelSpacing": [0.168, 0.168],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "LossyImageCompression": "01",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert {keyword: dataset[keyword].value for keyword in expected} == expected


def test_the_jpeg_is_that_of_the_rsna_files(pixels):
    dataset = read(written(pixels, "jpeg-baseline"))
    assert len(list(generate_fragments(dataset.PixelData))) == 2  # the empty offset table and one fragment
    jpeg = next(generate_frames(dataset.PixelData, number_of_frames=1))
    # Start, quantisation table 0 of 8 bits, baseline frame of 8 bits with one component: no JFIF segment between.
    assert jpeg[:7] == b"\xff\xd8\xff\xdb\x00\x43\x00"
    assert jpeg[7:71] == RSNA_QUANTISATION
    assert jpeg[71:81] == b"\xff\xc0\x00\x0b\x08\x00\x26\x00\x33\x01"
    assert jpeg.rstrip(b"\0").endswith(b"\xff\xd9")
    assert RSNA_JPEG_QUALITY == 92


def test_fragments_hold_the_same_jpeg(pixels):
    whole, parts = (read(written(pixels, name)).PixelData for name in ("jpeg-baseline", "jpeg-baseline-fragments"))
    assert [len(part) % 2 for part in generate_fragments(parts)] == [0, 0, 0, 0]
    assert b"".join(generate_fragments(parts)) == b"".join(generate_fragments(whole))


def test_jpeg_quality_counts(pixels):
    small, large = (len(written(pixels, "jpeg-baseline", jpeg_quality=quality)) for quality in (30, 95))
    assert small < large


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_arguments_give_the_same_bytes(encoding, pixels):
    assert written(pixels, encoding) == written(pixels.copy(), encoding)
    assert written(pixels, encoding) != written(pixels, encoding, image_id="image-2")


def test_uids_are_valid_distinct_and_depend_on_the_image(pixels):
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    names = ("image-1", "image-2")
    uids = [read(written(pixels, "explicit-vr", image_id=name))[key].value for name in names for key in keywords]
    assert len(set(uids)) == 6
    assert all(uid.UID(text).is_valid for text in uids)
    given = read(written(pixels, "explicit-vr", study_uid="1.2.3", series_uid="1.2.4", sop_uid="1.2.5"))
    assert [given[key].value for key in keywords] == ["1.2.3", "1.2.4", "1.2.5"]
    assert given.file_meta.MediaStorageSOPInstanceUID == "1.2.5"


def test_optional_fields(pixels):
    dataset = read(write_dicom(pixels, "explicit-vr", image_id="image-1", patient_id="p7"))
    assert dataset.PatientID == "p7"
    assert "PixelSpacing" not in dataset
    assert dataset.LossyImageCompression == "00"
    assert "LossyImageCompressionMethod" not in dataset
    # One third has more digits than a decimal string may have characters.
    assert len(str(read(written(pixels, "explicit-vr", pixel_spacing_mm=1 / 3)).PixelSpacing[0])) <= 16


@pytest.mark.parametrize("shape", [(21, 33), (37, 53), (64, 2)])
@pytest.mark.parametrize("encoding", ["explicit-vr", "implicit-vr", "rle", "jpeg-ls", "monochrome1"])
def test_odd_sizes(encoding, shape):
    pixels = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    dataset = read(written(pixels, encoding))
    expected = 255 - pixels if encoding == "monochrome1" else pixels
    np.testing.assert_array_equal(dataset.pixel_array, expected)
    assert len(written(pixels, encoding)) % 2 == 0


def test_a_view_of_an_array_is_written_like_a_copy(pixels):
    assert written(pixels.T, "jpeg-lossless") == written(pixels.T.copy(), "jpeg-lossless")
    assert written(pixels[:, ::-1], "jpeg-baseline") == written(pixels[:, ::-1].copy(), "jpeg-baseline")


def test_wrong_use_is_refused(pixels):
    with pytest.raises(ValueError, match=r"encoding is 'gif', expected one of jpeg-baseline, "):
        written(pixels, "gif")
    for wrong in (pixels.astype(float), pixels[0], np.dstack([pixels] * 3), pixels[:0]):
        with pytest.raises(ValueError, match=r"expected uint8 of shape \(height, width\)"):
            written(wrong, "explicit-vr")
    with pytest.raises(ValueError, match="even number"):
        written(pixels[:37], "jpeg-lossless")
