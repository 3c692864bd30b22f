"""The quick walk over usual files against pydicom, which is the reference: same pictures, same refusals."""

from __future__ import annotations

import numpy as np
import pytest

from convert.pictures import UnusablePicture, elements, read_header
from convert.pictures.dicom import to_picture
from convert.synthetic.dicom_writer import ENCODINGS, write_dicom


def write(encoding: str = "jpeg-baseline", **header) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    header = {"patient_age": "34", "patient_sex": "M", "view": "AP", "pixel_spacing_mm": 0.2, **header}
    return write_dicom(pixels, encoding, image_id="an-image", **header)


def outcome(data: bytes) -> object:
    """The picture and the header, or the reason for refusing."""
    try:
        return to_picture(data), read_header(data)
    except UnusablePicture as error:
        return str(error)


@pytest.fixture
def by_pydicom(monkeypatch):
    """The outcome without the quick walk."""

    def give(data: bytes) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(elements, "_walk_usual", lambda *_args: None)
            return outcome(data)

    return give


def test_walk_takes_what_rsna_has_and_nothing_else():
    taken = {encoding for encoding in ENCODINGS if elements._walk_usual(write(encoding), True) is not None}
    assert taken == {"jpeg-baseline", "jpeg-baseline-fragments"} & set(ENCODINGS)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_same_outcome_for_every_encoding(encoding, by_pydicom):
    assert outcome(write(encoding)) == by_pydicom(write(encoding))


@pytest.mark.parametrize(
    "header",
    [{"patient_age": ""}, {"patient_sex": "Ü"}, {"view": "ÄÖ"}, {"patient_id": "Jürgen"}, {"pixel_spacing_mm": None}],
)
def test_same_outcome_for_odd_header_values(header, by_pydicom):
    data = write(**header)
    assert outcome(data) == by_pydicom(data)


def test_same_outcome_wherever_the_file_is_cut(by_pydicom):
    data = write()
    for length in [*range(0, 1100, 7), *range(1100, len(data), 53)]:
        assert outcome(data[:length]) == by_pydicom(data[:length]), length


def test_same_outcome_for_damaged_headers(by_pydicom):
    data = write()
    random = np.random.default_rng(1)
    end = data.index(b"\xe0\x7f\x10\x00") + 24  # the header, up to the first item of the pixel data
    differing = 0
    for _ in range(1000):
        damaged = bytearray(data)
        for at in random.integers(128, end, random.integers(1, 4)):
            damaged[at] = random.integers(256)
        result = outcome(bytes(damaged))
        expected = by_pydicom(bytes(damaged))
        refused = isinstance(result, str) and isinstance(expected, str)  # of several faults each may name another
        assert refused or result == expected, damaged[128:end].hex()
        differing += result != outcome(data)
    assert differing > 100  # the damage matters
