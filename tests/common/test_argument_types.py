from __future__ import annotations

import argparse

import pytest

from common import argument_types as types


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (types.positive_int, "7", 7),
        (types.share, "0", 0.0),
        (types.share, "1e-1", 0.1),
        (types.share, "1", 1.0),
        (types.ratio, "2.5", 2.5),
        (types.side_in_pixels, "16", 16),
        (types.side_in_pixels, "640.0", 640),
        (types.process_count, "1", 1),
        (types.picture_count, "All", None),
        (types.picture_count, "none", 0),
        (types.picture_count, "20", 20),
        (types.fold_count, "0", 0),
        (types.fold_count, "5", 5),
        (types.names_or_all, " a, b,,", ["a", "b"]),
        (types.names_or_all, "ALL", None),
        (types.names_or_all, "all, b", ["all", "b"]),
    ],
)
def test_values(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (types.positive_int, "0", "a whole number above 0, found '0'"),
        (types.positive_int, "1.5", "a whole number above 0, found '1.5'"),
        (types.share, "1.1", "'1.1' is not a share between 0 and 1"),
        (types.share, "nan", "'nan' is not a share between 0 and 1"),
        (types.ratio, "-1", "'-1' is not a number of 0 or more"),
        (types.side_in_pixels, "15", "at least 16"),
        (types.process_count, "0", "at least 1"),
        (types.picture_count, "some", "all, none or a whole number of pictures"),
        (types.side_in_pixels, "640.7", "'640.7' is not a whole number of pixels, at least 16"),
        (types.process_count, "1.9", "'1.9' is not a whole number of processes, at least 1"),
        (types.picture_count, "0.5", "'0.5' is not all, none or a whole number of pictures"),
        (types.fold_count, "2.5", "'2.5' is not a whole number of folds"),
        (types.fold_count, "inf", "'inf' is not a whole number of folds"),
        (types.fold_count, "1", "one fold leaves nothing to train on"),
        (types.names_or_all, ",", "names nothing"),
    ],
)
def test_what_cannot_be(kind, text, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        kind(text)
