"""Every oddity of the corpus, through conversion and prediction alike, against known pixels."""

from __future__ import annotations

import numpy as np
import pytest

from convert.pictures import UnusablePicture, decode_picture, read_header, read_notes, read_picture
from evaluate.detector.loading import Picture, load_picture
from tests.convert.pictures.corpus import CASES

RENDERED = [case for case in CASES if case.grey is not None]
REFUSED = [case for case in CASES if case.grey is None]


def shown(data: bytes, channels: int) -> np.ndarray:
    """What a model is shown by `evaluate/predict.py`."""
    return load_picture(Picture("a", "a.dcm", lambda: data), channels)


def test_names_are_told_apart():
    assert len({case.name for case in CASES}) == len(CASES) > 80


@pytest.mark.parametrize("case", RENDERED, ids=lambda case: case.name)
def test_known_pixels(case):
    picture = read_picture(case.data)
    converted = decode_picture(picture.encoded)
    assert converted.shape == case.grey.shape
    assert np.abs(converted.astype(int) - case.grey).max() <= case.tolerance
    assert (picture.stored, picture.notes) == (case.stored, case.notes)
    # What going on with a conversion knows without decoding.
    assert read_header(case.data) == picture.header
    assert read_notes(case.data) == case.notes
    assert (picture.header.height, picture.header.width) == case.grey.shape

    np.testing.assert_array_equal(shown(case.data, 1), converted)
    np.testing.assert_array_equal(shown(case.data, 3), np.dstack([converted] * 3))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused_with_a_reason(case):
    with pytest.raises(UnusablePicture, match=case.reason) as error:
        read_picture(case.data)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=case.reason.removeprefix("no image: ")):  # which prediction has as a status
        shown(case.data, 1)
