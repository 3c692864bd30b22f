"""Damaged files of every kind: each is read, or refused with the documented error, and never anything else."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from convert.pictures import UnusablePicture, read_header, read_notes, read_picture, read_pixels
from tests.convert.pictures.corpus import CASES, GREY, RGB, TWELVE, compressed, jpeg
from tests.convert.pictures.dicom_bytes import JPEG
from tests.mutations import mutate


def saved(pixels: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def picture_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("WEBP", {})]
    kinds += [("TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits")]
    files = [saved(pixels, kind, **options) for kind, options in kinds for pixels in (GREY, RGB)]
    files += [saved(TWELVE, "PNG"), saved(TWELVE, "TIFF"), saved(TWELVE, "TIFF", compression="tiff_lzw")]
    return [*files, saved(GREY, "PNG", exif=exif), saved(GREY, "JPEG", exif=exif)]


FILES = {"DICOM": [case.data for case in CASES], "picture files": picture_files()}


@pytest.mark.parametrize(("kind", "count"), [("DICOM", 2100), ("picture files", 900)])
def test_damage_is_refused_with_the_documented_error(kind, count):
    rng = random.Random(7)
    read_well, reasons = 0, []
    for _ in range(count):
        data = mutate(rng.choice(FILES[kind]), rng)
        for read in (read_header, read_picture, read_pixels):
            try:
                read(data)
                read_well += 1
            except UnusablePicture as error:
                reasons.append(str(error))
    assert all(reason.isprintable() and len(reason) < 300 for reason in reasons)
    assert min(read_well, len(reasons)) > count // 2  # neither always, so that both ways are gone


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_picture_is_the_same_whether_it_is_decoded_or_not(kind):
    """What a conversion that goes on reads without decoding agrees with what decoding gave."""
    rng = random.Random(8)
    usable = 0
    for _ in range(300):
        data = mutate(rng.choice(FILES[kind]), rng)
        try:
            picture = read_picture(data)
        except UnusablePicture:
            continue
        usable += 1
        assert read_header(data) == picture.header
        assert read_notes(data) == picture.notes
    assert usable > 60


def test_a_tiff_whose_second_frame_has_no_width():
    tiff = saved(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(GREY)])
    second = tiff.rindex(b"\x00\x01\x04\x00\x01\x00\x00\x00" + (48).to_bytes(4, "little"))  # tag 256, Image Width
    data = tiff[:second] + b"\x09" + tiff[second + 1 :]
    for read in (read_header, read_picture, read_pixels):
        with pytest.raises(UnusablePicture, match="not readable as a picture: Missing dimensions"):
            read(data)


def test_reasons_are_the_same_every_time():
    data = saved(GREY, "PNG")[:12] + bytes(50)
    for read in (read_header, read_picture, read_pixels):
        with pytest.raises(UnusablePicture, match=r"^not readable as a picture: of no kind that is known$"):
            read(data)


def test_a_jpeg_that_is_sound_by_its_markers_only():
    frame = bytearray(jpeg(GREY))
    table = frame.index(b"\xff\xc4") + 5
    frame[table : table + 16] = b"\xff" * 16  # more codes than there can be
    data = compressed(JPEG, bytes(frame))
    assert read_picture(data).stored == "passed through"
    with pytest.raises(UnusablePicture, match="broken JPEG: it cannot be decoded, though its markers are sound"):
        read_pixels(data)
    with pytest.raises(UnusablePicture):
        read_picture(data, verify=True)


def test_rle_without_end_is_refused_before_it_is_written_out(monkeypatch):
    (bomb,) = (case.data for case in CASES if case.name == "RLE that goes on and on")
    monkeypatch.delattr("convert.pictures.frame.get_decoder")
    with pytest.raises(UnusablePicture, match="RLE that decodes to more than 2,944 bytes, expected 40 x 48 of each"):
        read_picture(bomb)


def test_a_png_chunk_longer_than_its_file_is_refused_before_opencv_makes_room_for_it(monkeypatch):
    monkeypatch.delattr("cv2.imdecode")
    exif = Image.Exif()
    exif[0x0112] = 6
    for png, kind in ((saved(TWELVE, "PNG"), b"IDAT"), (saved(RGB, "PNG", exif=exif), b"IEND")):
        at = png.index(kind) - 4
        data = png[:at] + (2**31 - 1).to_bytes(4, "big") + png[at + 4 :]
        for read in (read_picture, read_pixels):
            with pytest.raises(UnusablePicture, match="truncated or damaged PNG"):
                read(data)
