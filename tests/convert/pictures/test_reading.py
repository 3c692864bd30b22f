"""The one door: what a file is decides its content, and training and prediction see the same of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from convert.pictures import (
    UnusablePicture,
    decode_picture,
    has_dicom_mark,
    is_kept_png,
    is_picture_file,
    object_without_image,
    read_header,
    read_picture,
    read_pixels,
)
from convert.synthetic.dicom_writer import ENCODINGS, write_dicom

ROOT = Path(__file__).resolve().parents[3]
GREY = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
TWELVE_BITS = np.linspace(100, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)


def saved(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep(values: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, values)[1].tobytes()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


EIGHT_BITS = {
    "grey": saved(GREY),
    "rgb": saved(COLOUR),
    "rgba": saved(np.dstack([COLOUR, GREY])),
    "1 bit": saved(GREY > 100),
    "palette": saved(Image.fromarray(COLOUR).convert("P")),
    "jpeg": saved(GREY, "JPEG"),
    "jpeg rgb": saved(COLOUR, "JPEG"),
    "jpeg turned": saved(COLOUR, "JPEG", exif=turned()),
    "png turned": saved(GREY, exif=turned()),
    "bmp": saved(COLOUR, "BMP"),
    "tiff": saved(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff grey": saved(GREY, "TIFF"),
    "webp": saved(COLOUR, "WEBP"),
    "of no kind that is converted": deep(COLOUR, ".ppm"),
}


@pytest.mark.parametrize("data", EIGHT_BITS.values(), ids=EIGHT_BITS)
def test_8_bits_are_shown_as_opencv_and_so_ultralytics_reads_them(data):
    for channels, flag in ((1, cv2.IMREAD_GRAYSCALE), (3, cv2.IMREAD_COLOR)):
        pixels, expected = read_pixels(data, channels), cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "data",
    [
        deep(TWELVE_BITS),
        deep(np.dstack([TWELVE_BITS, TWELVE_BITS[::-1], TWELVE_BITS])),
        deep(TWELVE_BITS, ".tiff"),
        *(write_dicom(GREY, encoding, image_id="a") for encoding in ENCODINGS),
    ],
    ids=["12 bits in a PNG of 16", "in colour", "tiff", *ENCODINGS],
)
def test_a_model_is_shown_what_is_converted(data):
    converted = decode_picture(read_picture(data).encoded)
    assert converted.max() > 240  # not divided by 256
    np.testing.assert_array_equal(read_pixels(data), converted)
    np.testing.assert_array_equal(read_pixels(data, 3), np.dstack([converted] * 3))


def test_content_decides_what_a_file_is():
    dicom, png = write_dicom(GREY, "jpeg-baseline", image_id="a", view="AP"), saved(GREY)
    assert (has_dicom_mark(dicom[:132]), is_picture_file(dicom)) == (True, False)
    assert (has_dicom_mark(png), is_picture_file(png)) == (False, True)
    # The 128 bytes before the mark are free: a TIFF's beginning, say.
    both = b"II*\0" + dicom[4:]
    assert (has_dicom_mark(both), is_picture_file(both)) == (True, False)
    assert read_picture(both) == read_picture(dicom)
    assert (read_header(dicom).view, read_header(png).view) == ("AP", None)
    assert read_header(dicom) == read_picture(dicom).header
    assert read_header(png) == read_picture(png).header


def test_a_truncated_picture_file_is_refused():
    for data in (saved(GREY, "JPEG")[:-300], saved(GREY)[:-300], deep(TWELVE_BITS)[:-300]):
        for read in (read_picture, read_pixels):
            with pytest.raises(UnusablePicture):
                read(data)


def test_which_png_is_kept():
    assert is_kept_png(saved(GREY))
    assert is_kept_png(saved(GREY), 64)
    assert not is_kept_png(saved(GREY), 63)
    for other in (saved(COLOUR), saved(GREY, "JPEG"), write_dicom(GREY, "explicit-vr", image_id="a")):
        assert not is_kept_png(other)


@pytest.mark.parametrize("read", [read_picture, read_header, read_pixels])
@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"II*\0", bytes(200)])
def test_what_is_neither_is_refused_in_one_line(read, data):
    with pytest.raises(UnusablePicture) as error:
        read(data)
    assert "\n" not in str(error.value)


def test_floating_point_is_refused_for_training_and_prediction_alike():
    data = saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    for read in (read_picture, read_pixels):
        with pytest.raises(UnusablePicture, match="values of type float32"):
            read(data)


def test_a_size_is_positive():
    for data in (saved(GREY), write_dicom(GREY, "explicit-vr", image_id="a")):
        with pytest.raises(ValueError, match="size is 0"):
            read_picture(data, 0)


def test_threads_leave_the_warnings_of_others_alone():
    """Their filters belong to the process; what pydicom has to say of odd values is no news to anybody."""
    code = (
        "import warnings\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from convert.pictures import UnusablePicture, read_header, read_picture\n"
        "from tests.convert.pictures.corpus import CASES\n"
        "before = list(warnings.filters)\n"
        "def read(data):\n"
        "    for one in (read_header, read_picture):\n"
        "        try:\n"
        "            one(data)\n"
        "        except UnusablePicture:\n"
        "            pass\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    list(pool.map(read, [case.data for case in CASES] * 3))\n"
        "assert warnings.filters == before\n"
        "warnings.warn('OF OTHERS')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "OF OTHERS" in done.stderr
    assert done.stderr.count("Warning") == 1, done.stderr


def with_class(sop_class: str, *, bare: bool) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(write_dicom(GREY, "explicit-vr", image_id="1")))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    for keyword in ("Rows", "Columns", "PixelData") if bare else ():
        delattr(dataset, keyword)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("sop_class", "bare", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", True, "Comprehensive SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.104.1", True, "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.59", True, "Key Object Selection Document Storage"),
        ("1.3.12.2.1107.5.9.1", True, "private object 1.3.12.2.1107.5.9.1"),
        ("1.3.12.2.1107.5.9.1", False, ""),
        ("1.2.840.10008.5.1.4.1.1.1.1", True, ""),  # a DX image that lacks its image is damaged
        ("1.2.840.10008.5.1.4.1.1.2", False, ""),
    ],
)
def test_objects_without_an_image_are_told_by_their_class(sop_class, bare, kind):
    assert object_without_image(with_class(sop_class, bare=bare)) == kind


def test_what_is_no_dicom_is_no_object_of_it():
    png = cv2.imencode(".png", GREY)[1].tobytes()
    assert [object_without_image(data) for data in (b"", png, b"\0" * 128 + b"DICM", b"x" * 500)] == [""] * 4
