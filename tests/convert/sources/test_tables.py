from __future__ import annotations

import pytest

from convert.sources.tables import first_fields, is_given, read_table


def test_everything_is_text_and_the_index_is_the_line():
    table = read_table(b" a , b\n01,1.0\n\n,\nNA,\n2\n")
    assert table.to_dict("index") == {2: {"a": "01", "b": "1.0"}, 5: {"a": "NA", "b": ""}, 6: {"a": "2", "b": ""}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding):
    assert read_table("na\u00efve\n\u00fc\n".encode(encoding)).to_dict("list") == {"na\u00efve": ["\u00fc"]}
    assert first_fields('\u00fc,1\n"b", 2\nc\n'.encode(encoding)) == ["\u00fc", "b", "c"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"a\n1,2,3\n1,2,3,4\n"])
def test_what_is_no_table(data):
    with pytest.raises(ValueError, match=r"."):
        read_table(data)


@pytest.mark.parametrize("text", ["", " ", "NaN", "nan", "None", "NULL", "n/a", "NA", None, float("nan")])
def test_ways_to_say_nothing(text):
    assert not is_given(text)


@pytest.mark.parametrize("text", ["0", "-", "no", 0, 0.0, "nana"])
def test_what_says_something(text):
    assert is_given(text)
