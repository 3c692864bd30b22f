"""Lookup tables whose first value is negative, however it is written: C.11.1.1 and C.11.2.1.1 by hand."""

from __future__ import annotations

import numpy as np
import pytest

from convert.pictures import decode_picture, read_picture
from tests.convert.pictures.dicom_bytes import BIG_ENDIAN, EXPLICIT, IMPLICIT, Typed, image

SYNTAXES = pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN], ids=["explicit", "implicit", "big"])
SEQUENCES = pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])


def grey(data):
    return decode_picture(read_picture(data).encoded).ravel().tolist()


@SYNTAXES
@SEQUENCES
@pytest.mark.parametrize("vr", ["US", "SS"])
def test_signed_pixels(syntax, sequence, vr):
    first = 63488 if vr == "US" else -2048
    table = [{"LUTDescriptor": Typed(vr, [4096, first, 12]), "LUTData": list(range(4096))}]
    values = [-2048, -1, 0, 2047]  # entries 0, 2047, 2048, 4095 of 4,095
    assert grey(image(values, 16, True, syntax=syntax, **{sequence: table})) == [0, 127, 128, 255]
    assert grey(image(values, 12, True, syntax=syntax, **{sequence: table})) == [0, 127, 128, 255]


@SYNTAXES
@pytest.mark.parametrize("vr", ["US", "SS"])
def test_unsigned_pixels_with_a_negative_rescale(syntax, vr):
    first = 64512 if vr == "US" else -1024
    table = [{"LUTDescriptor": Typed(vr, [3, first, 8]), "LUTData": [10, 20, 30]}]
    rescale = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    for bits in (12, 16):
        data = image([0, 1, 2, 4000], bits, syntax=syntax, VOILUTSequence=table, **rescale)
        assert grey(data) == [10, 20, 30, 30]


@SYNTAXES
@SEQUENCES
def test_unsigned_pixels_from_the_middle_on(syntax, sequence):
    table = [{"LUTDescriptor": [3, 40000, 8], "LUTData": [0, 100, 255]}]
    values = [39999, 40000, 40001, 40002, 65535]
    assert grey(image(values, 16, syntax=syntax, **{sequence: table})) == [0, 0, 100, 255, 255]


@SYNTAXES
def test_what_a_modality_lut_gives_of_signed_pixels_has_no_sign(syntax):
    modality = [{"LUTDescriptor": [3, 65535, 16], "LUTData": [39999, 40001, 40002]}]
    voi = [{"LUTDescriptor": [3, 40000, 8], "LUTData": [0, 100, 255]}]
    data = image([-1, 0, 1], 16, True, syntax=syntax, ModalityLUTSequence=modality, VOILUTSequence=voi)
    assert grey(data) == [0, 100, 255]


def test_a_first_value_that_is_written_as_negative_stays_so():
    table = [{"LUTDescriptor": Typed("SS", [6, -2, 8]), "LUTData": [1, 2, 30, 40, 50, 60]}]
    assert grey(image([0, 1, 2, 3], 16, VOILUTSequence=table)) == [30, 40, 50, 60]


def test_every_first_value_against_a_table_read_one_by_one():
    """Signed 16 bits: the value v is entry v - first, by the ends clipped; first is what two's complement says."""
    values = np.arange(-(2**15), 2**15, 257)
    entries = np.random.default_rng(5).integers(0, 256, 300)
    entries[:2] = 0, 255
    for first in (-32768, -20000, -301, -300, -1, 0, 1, 12345, 32000):
        table = [{"LUTDescriptor": [300, first % 2**16, 8], "LUTData": entries.tolist()}]
        expected = [int(entries[min(max(value - first, 0), 299)]) for value in values.tolist()]
        assert grey(image(values, 16, True, VOILUTSequence=table)) == expected
