from __future__ import annotations

import contextlib
import gzip
import io
import random
import struct
import zipfile
import zlib

import pytest

from common.errors import UnreadableError
from common.zips import Archive, read_member, unpack_gzip
from tests.damaged_zip import REASONS, write_zip
from tests.mutations import mutate

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


def write(path, *members, method=zipfile.ZIP_DEFLATED):
    """Write (name, content), in order; a name that is bytes is stored as it is, without the flag of UTF-8."""
    stand_ins = {}
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, (name, content) in enumerate(members):
            if isinstance(name, bytes):
                stand_ins[f"{number:0{len(name)}d}".encode()] = name
                name = f"{number:0{len(name)}d}"
            archive.writestr(zipfile.ZipInfo(name), content, method)
    data = path.read_bytes()
    for stand_in, name in stand_ins.items():
        assert data.count(stand_in) == 2  # before the member and in the directory
        data = data.replace(stand_in, name)
    path.write_bytes(data)
    return Archive(path)


def test_names_as_programs_of_windows_and_macos_write_them(tmp_path):
    archive = write(
        tmp_path / "a.zip",
        (b"raw\\images\\x.dcm", b"1"),
        ("./y.dcm", b"2"),
        ("/top/z.dcm", b"3"),
        ("__MACOSX/raw/._x.dcm", b"rubbish"),
        ("raw/._x.dcm", b"rubbish"),
        ("raw/.DS_Store", b"rubbish"),
        ("../../etc/passwd", b"rubbish"),
        ("raw/folder/", b""),
        (b"raw\\folder\\", b""),
    )
    assert archive.names == ["raw/images/x.dcm", "top/z.dcm", "y.dcm"]
    assert [archive.read(name) for name in archive.names] == [b"1", b"3", b"2"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("Müller.dcm".encode(), "Müller.dcm"),  # macOS: UTF-8, and does not say so
        ("Müller.dcm".encode("cp437"), "Müller.dcm"),  # Windows's Explorer in German
        ("胸部.dcm".encode(), "胸部.dcm"),
        (b"a\x1b[2J.dcm", "a\\x1b[2J.dcm"),
    ],
)
def test_names_in_other_encodings(tmp_path, stored, expected):
    archive = write(tmp_path / "a.zip", (stored, b"1"))
    assert archive.names == [expected]
    assert archive.read(expected) == b"1"


def test_name_in_unicode_beside_another(tmp_path):
    raw = b"M\xfcller.dcm"
    for stands_for, expected in ((raw, "Müller.dcm"), (b"of an older name", "M\u207fller.dcm")):
        field = b"\x01" + struct.pack("<I", zlib.crc32(stands_for)) + "Müller.dcm".encode()
        entry = zipfile.ZipInfo("0" * len(raw))
        entry.extra = struct.pack("<HH", 0x7075, len(field)) + field
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(entry, b"1")
        path = tmp_path / "a.zip"
        path.write_bytes(path.read_bytes().replace(b"0" * len(raw), raw))
        assert Archive(path).names == [expected]


def test_a_name_that_is_there_twice_is_read_where_both_are_the_same(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = write(tmp_path / "a.zip", ("x", b"1"), ("y", b"1"), ("x", b"2"), ("y", b"1"))
    assert archive.names == ["x", "y"]
    assert archive.read("y") == b"1"
    with pytest.raises(UnreadableError, match="2 times in the zip, with different content; keep one"):
        archive.read("x")
    with pytest.raises(UnreadableError, match="not in the zip"):
        archive.read("z")


def test_no_more_is_read_than_the_limit(tmp_path):
    archive = write(tmp_path / "a.zip", ("x", bytes(1000)), ("y", bytes(999)))
    with pytest.raises(UnreadableError, match="too large: 1,000 bytes, expected at most 999"):
        archive.read("x", limit=999)
    assert archive.read("x", most=10, limit=999) == bytes(10)
    assert archive.read("y", limit=999) == bytes(999)


def test_a_member_that_promises_less_than_it_unpacks_to_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    write(path, ("x", bytes(50_000_000)))
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[22:26] = data[central + 24 : central + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    unpacked, real = [], zipfile.ZipExtFile._read1

    def counted(file, most):
        unpacked.append(most)
        return real(file, most)

    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", counted)
    with pytest.raises(UnreadableError, match=r"damaged in the zip \(Bad CRC-32"):
        Archive(path).read("x")
    assert sum(unpacked) < 1000


def test_gzip_is_unpacked_up_to_the_limit():
    data = gzip.compress(bytes(10_000_000)) + gzip.compress(b"end")
    assert unpack_gzip(data, 10_000_003) == bytes(10_000_000) + b"end"
    with pytest.raises(UnreadableError, match=r"too large: 10,000,003 bytes or more, expected at most 10,000,002"):
        unpack_gzip(data, 10_000_002)
    with pytest.raises(UnreadableError, match=r"damaged \.gz"):
        unpack_gzip(data[:-30], 1 << 30)


def test_a_zip_in_a_zip_is_read_where_it_lies(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            archive.writestr(f"{number}.dcm", bytes([number]) * 5000)
    outer = write(tmp_path / "a.zip", ("before", b"1"), ("in.zip", inner.getvalue()), method=zipfile.ZIP_STORED)
    opened = outer.open_inner("in.zip")
    for number in reversed(range(50)):
        assert opened.read(f"{number}.dcm") == bytes([number]) * 5000
    with pytest.raises(UnreadableError, match="not a readable zip"):
        outer.open_inner("before")
    compressed = write(tmp_path / "b.zip", ("in.zip", inner.getvalue()))
    with pytest.raises(UnreadableError, match="compressed once more in its zip; extract it"):
        compressed.open_inner("in.zip")


def test_what_is_no_zip(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    for path in (tmp_path / "a.zip", tmp_path / "nothing.zip"):
        with pytest.raises(UnreadableError, match="not a readable zip"):
            Archive(path)


def test_damaged_zips_raise_nothing_but_what_is_documented(tmp_path):
    rng = random.Random(1)
    wholes = []
    for number, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", method) as archive:
            archive.writestr("in/x.dcm", bytes(range(64)) * 3)
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w", method) as archive:
            archive.writestr("a/x.dcm", bytes(range(256)))
            archive.writestr("ü/y.dcm", b"y" * 300)
            archive.writestr(zipfile.ZipInfo("images.zip"), inner.getvalue())
        wholes.append((tmp_path / f"{number}.zip").read_bytes())
    read = refused = 0
    path = tmp_path / "damaged.zip"
    for number in range(2500):
        data = mutate(wholes[number % 4], rng)
        on_disk = number % 10 == 0  # where alone a zip in it can be opened; writing takes nearly all of the time
        if on_disk:
            path.write_bytes(data)
        try:
            archive = Archive(path if on_disk else io.BytesIO(data))
        except UnreadableError:
            refused += 1
            continue
        for name in archive.names:
            name.encode()
            with contextlib.suppress(UnreadableError):
                archive.read(name)
                read += 1
            if name.endswith(".zip"):
                with contextlib.suppress(UnreadableError):
                    inner = archive.open_inner(name)
                    for member in inner.names:
                        inner.read(member)
    assert read > 1000
    assert refused > 200
