from __future__ import annotations

import pytest

from convert.sources.tables import is_given


@pytest.mark.parametrize("text", ["", " ", "NaN", "nan", "None", "NULL", "n/a", "NA", None, float("nan")])
def test_ways_to_say_nothing(text):
    assert not is_given(text)


@pytest.mark.parametrize("text", ["0", "-", "no", 0, 0.0, "nana"])
def test_what_says_something(text):
    assert is_given(text)
