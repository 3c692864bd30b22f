from __future__ import annotations

import numpy as np
import pytest

from common.pages.wording import MISSING, confidence_text, count, interval_text, is_number, join, percent, score_text


@pytest.mark.parametrize("value", [None, "0.5", float("nan"), float("inf"), True, [0.5]])
def test_what_is_no_number_is_written_as_missing(value):
    assert not is_number(value)
    assert score_text(value) == count(value) == percent(value) == MISSING


def test_numbers():
    assert score_text(0.25475) == "0.255"
    assert score_text(np.float64(0)) == "0.000"
    assert count(26684) == "26,684"
    assert count(np.int64(7)) == "7"
    assert [percent(share) for share in (0, 0.012, 0.0994, 0.0996, 0.5, 1)] == [
        "0\xa0%", "1.2\xa0%", "9.9\xa0%", "10\xa0%", "50\xa0%", "100\xa0%",
    ]  # fmt: skip


def test_only_nothing_is_0_percent_and_only_all_is_100():
    shares = (0.0004, 1e-9, 0.0006, 0.994, 0.9951, 0.9994, 0.9996, 1 - 1e-9, 1.004, 1e-14, 1 - 1e-14)
    assert [percent(share) for share in shares] == [
        "<0.1\xa0%", "<0.1\xa0%", "0.1\xa0%", "99\xa0%", "99.5\xa0%", "99.9\xa0%", ">99.9\xa0%", ">99.9\xa0%",
        "100\xa0%", "0\xa0%", "100\xa0%",
    ]  # fmt: skip


def test_a_small_confidence_is_not_written_as_none():
    assert [confidence_text(value) for value in (0, 0.000123, 0.003093, 0.0099, 0.0149, 0.5, 1)] == [
        "0.00", "0.0001", "0.003", "0.01", "0.01", "0.50", "1.00",
    ]  # fmt: skip


def test_intervals():
    assert interval_text([0.2014, 0.23]) == "0.201 to 0.230"
    for bounds in (None, [], [0.1], [0.1, None], [float("nan"), 1]):
        assert interval_text(bounds) == MISSING


def test_join():
    assert [join(list(text)) for text in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
