from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from convert.pictures import UnusablePicture, is_picture_file, read_pixels
from convert.pictures.raster import passed_through, read_header, to_picture
from convert.synthetic.dicom_writer import write_dicom

ROOT = Path(__file__).resolve().parents[3]
GREY = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
SMOOTH = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)


def saved(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture file, written by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep(values: np.ndarray) -> bytes:
    """A PNG of 16 bits."""
    return cv2.imencode(".png", values)[1].tobytes()


def decoded(data: bytes) -> np.ndarray:
    """Read back with Pillow, which the module does not use for pixels."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (saved(GREY), ".png"),
        (saved(GREY, "PNG", compress_level=9), ".png"),
        (saved(GREY, "JPEG", quality=90), ".jpg"),
        (saved(GREY, "JPEG", quality=30, optimize=True), ".jpg"),
    ],
    ids=["png", "png 9", "jpeg", "jpeg 30"],
)
def test_grey_pictures_are_passed_through(data, suffix):
    picture = to_picture(data)
    assert picture.encoded == data
    assert (picture.suffix, picture.stored) == (suffix, "passed through")
    assert (picture.header.width, picture.header.height, picture.header.view) == (64, 48, None)
    assert passed_through(data) == suffix
    assert passed_through(data, 64) == suffix
    assert passed_through(data, 63) is None


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb[..., :3].astype(float) @ (0.299, 0.587, 0.114)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(COLOUR), luma(COLOUR)),
        (saved(np.dstack([COLOUR, GREY])), luma(COLOUR)),
        (saved(np.dstack([GREY] * 3)), GREY),
        (saved(np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])), GREY),  # as some of NIH's files are
        (saved(Image.fromarray(np.dstack([GREY, COLOUR[..., 0]]), "LA")), GREY),
        (saved(GREY > 100), np.where(GREY > 100, 255, 0)),
        (saved(Image.fromarray(SMOOTH).convert("P")), SMOOTH),
        (saved(GREY, "BMP"), GREY),
        (saved(GREY, "TIFF"), GREY),
        (saved(COLOUR, "TIFF", compression="tiff_lzw"), luma(COLOUR)),
        (saved(np.dstack([GREY] * 3), "WEBP", lossless=True), GREY),
    ],
    ids=["rgb", "rgba", "equal", "nih", "la", "1 bit", "palette", "bmp", "tiff", "tiff rgb", "webp"],
)
def test_other_pictures_become_grey(data, expected):
    picture = to_picture(data)
    assert (picture.suffix, picture.stored) == (".png", "decoded")
    tolerance = 0 if np.asarray(expected).dtype != float else 1.01  # libpng rounds down
    assert np.abs(decoded(picture.encoded).astype(float) - expected).max() <= tolerance
    # What prediction sees of the original is what training sees of the copy.
    assert (decoded(picture.encoded) == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)).all()


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (100, 65535), (700, 900)])
def test_16_bits_are_stretched(low, high):
    values = np.linspace(low, high, 48 * 64).round().astype(np.uint16).reshape(48, 64)
    expected = np.floor((values - low) * 255.0 / (high - low) + 0.5)
    assert (decoded(to_picture(deep(values)).encoded) == expected).all()
    assert (decoded(to_picture(deep(np.dstack([values] * 3))).encoded) == expected).all()


def test_an_even_16_bit_picture_is_black():
    assert not decoded(to_picture(deep(np.full((8, 8), 500, np.uint16))).encoded).any()


DEEP = np.linspace(700, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.T,
    6: lambda pixels: np.rot90(pixels, -1),  # to be turned by 90 degrees clockwise
    7: lambda pixels: pixels[::-1, ::-1].T,
    8: lambda pixels: np.rot90(pixels),
}


def oriented(pixels: np.ndarray, kind: str, orientation: int) -> bytes:
    if kind == "TIFF":
        return saved(pixels, kind, tiffinfo={0x0112: orientation})
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(pixels, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "PNG of 16 bits", "TIFF of 16 bits"])
def test_a_lying_picture_is_put_upright(kind, orientation):
    kind, _, bits = kind.partition(" of ")
    pixels = DEEP if bits else SMOOTH
    data = oriented(np.dstack([SMOOTH] * 3) if kind == "WEBP" else pixels, kind, orientation)
    expected = UPRIGHT[orientation](np.floor((DEEP - 700) * 255.0 / 3395 + 0.5) if bits else SMOOTH)
    assert passed_through(data) is None
    header, picture = read_header(data), to_picture(data)
    assert (header.height, header.width) == expected.shape
    assert picture.header == header
    found = decoded(picture.encoded).astype(float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (8 if kind == "JPEG" else 0)


def test_progressive_and_trailing_bytes_are_decoded():
    for data in (saved(SMOOTH, "JPEG", progressive=True), saved(SMOOTH, "JPEG") + b"more"):
        picture = to_picture(data)
        assert picture.stored == "decoded"
        assert (decoded(picture.encoded) == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_size_scales_down():
    picture = to_picture(saved(GREY), 32)
    assert decoded(picture.encoded).shape == (24, 32)
    assert (picture.header.width, picture.header.height) == (64, 48)


def spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(GREY)[:-300], "PNG"),
        (spoilt(saved(GREY)), "checksum"),
        (saved(GREY)[:-12], "a chunk is missing"),
        (saved(COLOUR)[:-300], "truncated or damaged PNG"),
        (saved(GREY, "JPEG")[:-300], "truncated"),
        (saved(COLOUR, "JPEG")[:-300], "truncated"),
        (saved(GREY, "TIFF")[:-300], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "not readable as a picture"),
        (saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "values of type float32"),
        (
            saved(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
            "2 frames, expected one",
        ),
    ],
)
def test_broken_pictures_are_refused_in_one_line(data, message):
    with pytest.raises(UnusablePicture, match=message) as error:
        to_picture(data)
    assert "\n" not in str(error.value)


def huge(kind: str) -> bytes:
    """A picture whose header says 32,000 x 32,000 pixels (a BMP: 12,000 x 12,000), with next to nothing behind it."""
    if kind == "PPM":
        return b"P5 32000 32000 255\n" + bytes(1000)
    small = saved(GREY[:16, :16], kind)
    old = {"PNG": b"IHDR\0\0\0\x10\0\0\0\x10", "JPEG": b"\x08\0\x10\0\x10", "BMP": b"\x10\0\0\0\x10\0\0\0"}[kind]
    new = {
        "PNG": b"IHDR" + struct.pack(">II", 32_000, 32_000),
        "JPEG": b"\x08" + struct.pack(">HH", 32_000, 32_000),
        "BMP": struct.pack("<II", 12_000, 12_000),
    }[kind]
    assert small.count(old) == 1
    data = small.replace(old, new)
    if kind == "PNG":
        data = data[:29] + zlib.crc32(data[12:29]).to_bytes(4, "big") + data[33:]
    return data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM"])
def test_too_many_pixels_are_refused_undecoded_for_training_and_prediction_alike(kind, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("it is decoded")

    monkeypatch.setattr("cv2.imdecode", never)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    reads = (read_pixels,) if kind == "PPM" else (to_picture, read_header, read_pixels)
    for read in reads:
        with pytest.raises(UnusablePicture, match=r"pixels, expected at most|exceeds limit"):
            read(huge(kind))


def test_dicom_is_no_picture_file():
    assert not is_picture_file(write_dicom(GREY, "jpeg-baseline", image_id="a"))
    assert is_picture_file(saved(GREY))


@pytest.mark.full
def test_a_broken_picture_is_refused_where_ultralytics_is_loaded():
    """It puts a function of its own in the place of Pillow's `open`, which raises other errors."""
    code = (
        "from common.quiet_ultralytics import import_ultralytics; import_ultralytics()\n"
        "from convert.pictures import UnusablePicture, read_picture\n"
        "try:\n"
        "    read_picture(b'\\x89PNG\\r\\n\\x1a\\n')\n"
        "except UnusablePicture as error:\n"
        "    print('REFUSED', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "REFUSED not readable as a picture: of no kind that is known" in done.stdout, done.stderr
