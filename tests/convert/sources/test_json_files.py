"""JSON of others: read in the encodings that it may have, or refused without quoting it."""

from __future__ import annotations

import json

import pytest

from convert.sources.json_files import NotJson, load_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json(encoding):
    content = [{"name": "Jürgen", "id": 1}]
    assert load_json(json.dumps(content, ensure_ascii=False).encode(encoding)) == content


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'["Doe^Jane", "\xfc"]' + b" " * 10_000, r"^no text in utf-8 at byte 14$"),
        (b"[" * 100_000, r"^nested too deep$"),
        (b'{"a": ', r"^Expecting value: line 1 column 7"),
        (b"", r"^Expecting value"),
        (b"9" * 5000, r"^Exceeds the limit"),
        (b"\xff\xfe\x00", r"^no text in utf-16"),
    ],
)
def test_what_is_none_is_refused_in_few_words(data, message):
    with pytest.raises(NotJson, match=message) as error:
        load_json(data)
    assert len(repr(error.value)) < 200
    assert "Doe" not in repr(error.value)
    assert error.value.__cause__ is None
