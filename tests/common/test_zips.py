from __future__ import annotations

import zipfile

import pytest

from common.errors import UnreadableError
from common.zips import read_member
from tests.damaged_zip import REASONS, write_zip

FILES = {"good.dcm": b"good" * 500, "bad.dcm": bytes(range(256)) * 9}


@pytest.mark.parametrize("kind", REASONS)
def test_a_spoiled_member_is_one_exception_that_names_the_cause_and_the_others_are_read(tmp_path, kind):
    with zipfile.ZipFile(write_zip(tmp_path / "a.zip", FILES, "bad.dcm", kind)) as archive:
        for member in ("bad.dcm", archive.getinfo("bad.dcm")):
            with pytest.raises(UnreadableError) as caught:
                read_member(archive, member)
            assert str(caught.value).startswith(REASONS[kind])
            assert "\n" not in str(caught.value)
        assert read_member(archive, "good.dcm") == FILES["good.dcm"]
        assert read_member(archive, "good.dcm", 6) == b"goodgo"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_flipped_byte_raises_anything_else(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x", bytes(range(64)))
    whole, end = path.read_bytes(), path.read_bytes().index(b"PK\x01\x02")
    unreadable = 0
    for place in range(end):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with zipfile.ZipFile(path) as archive:
            try:
                read_member(archive, "x")
            except UnreadableError:
                unreadable += 1
    assert unreadable > 20


def test_a_member_too_large_for_the_memory_is_unreadable_too(tmp_path, monkeypatch):
    def full(_file, _most=-1):
        raise MemoryError

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"12345")
    monkeypatch.setattr(zipfile.ZipExtFile, "read", full)
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(UnreadableError, match=r"too large for this machine's memory \(5 bytes\)"),
    ):
        read_member(archive, "x")
