"""What is said of a file that cannot be used: what it is, and nothing of whom it shows."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from convert.pictures import UnusablePicture, decode_picture, read_header, read_picture
from tests.convert.pictures.corpus import GREY, compressed, jpeg, segment
from tests.convert.pictures.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    Typed,
    dicom,
    file_meta,
    image,
)
from tests.mutations import mutate

MARK = "QXZJ"  # in everything that says who somebody is
PERSON = {
    "PatientName": f"{MARK}^ALICE",
    "PatientID": f"{MARK}77",
    "PatientAddress": f"12 {MARK} Street",
    "InstitutionName": f"{MARK} Hospital",
    "ReferringPhysicianName": f"{MARK}^BOB",
    "AccessionNumber": f"{MARK}9",
    "SeriesDescription": f"{MARK} chest",
    "PatientSex": "F",
    "PatientAge": "034Y",
}


def refused(data: bytes, read=read_picture) -> str:
    with pytest.raises(UnusablePicture) as error:
        read(data)
    return str(error.value)


def without_image(sop_class: str, **elements) -> bytes:
    return dicom({"SOPClassUID": sop_class, "SOPInstanceUID": "1.2.3", **PERSON, **elements})


def test_what_is_no_image_is_named():
    directory = dicom({"FileSetID": "CD"}, head=file_meta(EXPLICIT, "1.2.840.10008.1.3.10"))
    for read in (read_picture, read_header):
        assert refused(directory, read) == "no image: Media Storage Directory Storage"
        for kind, name in (
            ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
            ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
            ("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR Storage"),
        ):
            assert refused(without_image(kind), read) == f"no image: {name}"
        cut = image(GREY, **PERSON)[:400]
        assert "without rows and columns, or a truncated file" in refused(cut, read)


def test_jpeg_xl_is_called_by_its_name():
    data = compressed("1.2.840.10008.1.2.4.110", b"\xff\x0a" + bytes(100))
    assert "transfer syntax 1.2.840.10008.1.2.4.110 (JPEG XL Lossless), expected" in refused(data)


def test_sequences_without_end():
    start = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    meta = len(file_meta(EXPLICIT))
    data = image(GREY)
    pixels = data.index(b"\xe0\x7f\x10\x00")
    nested = data[:pixels] + (start + item) * 3000 + data[pixels:]
    assert meta < pixels
    assert refused(nested) == "not readable as DICOM: its sequences lie within each other without end"


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SOPClassUID": Typed("UI", f"1.2.3 {MARK}"), "Rows": None, "Columns": None}, "no image: object of unknown"),
        ({"PhotometricInterpretation": f"MONO {MARK}^ALICE IS HER NAME"}, "photometric interpretation unreadable"),
        ({"PhotometricInterpretation": "CIELAB"}, "photometric interpretation 'CIELAB'"),
        ({"NumberOfFrames": "1e300"}, "1e\\+300 frames, expected one"),
    ],
)
def test_values_are_quoted_where_they_are_what_they_should_be(elements, message):
    with pytest.raises(UnusablePicture, match=message) as error:
        read_picture(image(GREY, **elements))
    assert MARK not in str(error.value)


def commented_jpeg(*segments: bytes) -> bytes:
    """With segments after the first one, which is JFIF's."""
    frame = jpeg(GREY)
    return frame[:20] + b"".join(segments) + frame[20:]


COMMENTS = {
    "COM": segment(0xFE, MARK.encode()),
    "two": segment(0xFE, MARK.encode()) + segment(0xFE, MARK.encode()),
    "APP13": segment(0xED, b"Photoshop 3.0\0" + MARK.encode()),
    "APP2 and fill bytes": b"\xff\xff" + segment(0xE2, MARK.encode()),
    "JFIF with a thumbnail": segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\2\1" + (MARK + "xx").encode()),
    "JFXX": segment(0xE0, b"JFXX\0\x10" + MARK.encode()),
}


@pytest.mark.parametrize("comment", COMMENTS)
def test_comments_are_left_out_of_a_jpeg_that_is_passed_through(comment):
    frame = commented_jpeg(COMMENTS[comment])
    for data in (frame, compressed(JPEG, frame)):
        picture = read_picture(data)
        assert (picture.stored, picture.suffix) == ("passed through", ".jpg")
        assert MARK.encode() not in picture.encoded
        assert picture.encoded.replace(b"\xff" * 3, b"\xff") == jpeg(GREY)
        np.testing.assert_array_equal(decode_picture(picture.encoded), decode_picture(frame))


def test_text_is_left_out_of_a_png_that_is_passed_through():
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", MARK)
    text.add_text("Doctor", MARK, zip=True)
    text.add_itxt("Title", MARK)
    plain, commented = (io.BytesIO() for _ in range(2))
    Image.fromarray(GREY).save(plain, "PNG", dpi=(72, 72))
    Image.fromarray(GREY).save(commented, "PNG", dpi=(72, 72), pnginfo=text, icc_profile=MARK.encode() * 9)
    for data in (commented.getvalue(), plain.getvalue() + MARK.encode()):
        assert MARK.encode() in data
        assert read_picture(data).stored == "passed through"
        assert read_picture(data).encoded == plain.getvalue()
    assert read_picture(plain.getvalue()).encoded == plain.getvalue()


def test_no_damage_brings_a_patient_into_a_message():
    table = {"VOILUTSequence": [{"LUTDescriptor": [3, 0, 8], "LUTData": [0, 9, 255], "LUTExplanation": MARK}]}
    whole = [image(GREY, syntax=syntax, **PERSON, **table) for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN)]
    whole += [compressed(JPEG, jpeg(GREY), **PERSON), image(GREY, **PERSON)[len(file_meta(EXPLICIT)) :]]
    whole += [without_image("1.2.840.10008.5.1.4.1.1.88.22")]
    rng = random.Random(11)
    refusals = 0
    for _ in range(2000):
        data = mutate(rng.choice(whole), rng)
        for read in (read_header, read_picture):
            try:
                read(data)
            except UnusablePicture as error:
                refusals += 1
                message = str(error)
                assert not any(part in message for part in ("QXZ", "XZJ", "ALICE", "Street")), message
                assert message.isprintable()
                assert len(message) < 300
    assert refusals > 500
