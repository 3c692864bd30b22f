from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.walking import escape, files_below, is_clutter, path_of, unescape


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_all_files_below_in_order(tmp_path):
    make(tmp_path, "b.dcm", "a-b/x", "a/x", "a/b/c/d.png")
    assert files_below(tmp_path) == ["a-b/x", "a/b/c/d.png", "a/x", "b.dcm"]
    assert files_below(tmp_path, deep=False) == ["b.dcm"]


def test_what_systems_leave_is_passed_over(tmp_path):
    make(tmp_path, "x.dcm", "._x.dcm", ".DS_Store", ".git/x.dcm", "__MACOSX/in/._x.dcm", "__MACOSX/y.dcm")
    make(tmp_path, "@eaDir/x.dcm/THUMB.jpg", "lost+found/y", "in/.hidden/x.png", "in/__MACOSX.png")
    assert files_below(tmp_path) == ["in/__MACOSX.png", "x.dcm"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.dcm", False), ("a/x.dcm", False), ("a.b/x", False), ("x", False), ("__MACOSX.png", False),
        (".x", True), ("a/._x.dcm", True), (".a/x", True), ("a/__MACOSX/x.dcm", True), ("__MACOSX", True),
    ],
)  # fmt: skip
def test_clutter_by_name(name, expected):
    assert is_clutter(name) is expected


def test_a_hidden_folder_that_is_named_itself_is_walked(tmp_path):
    make(tmp_path, ".cache/x.dcm")
    assert files_below(tmp_path / ".cache") == ["x.dcm"]


def test_linked_folders_and_files_are_followed(tmp_path):
    make(tmp_path, "disk/one/x.dcm", "disk/y.dcm", "raw/t.csv")
    (tmp_path / "raw/images").symlink_to(tmp_path / "disk")
    (tmp_path / "raw/z.dcm").symlink_to(tmp_path / "disk/y.dcm")
    assert files_below(tmp_path / "raw") == ["images/one/x.dcm", "images/y.dcm", "t.csv", "z.dcm"]
    (tmp_path / "to raw").symlink_to(tmp_path / "raw")
    assert files_below(tmp_path / "to raw") == files_below(tmp_path / "raw")


def test_links_cannot_lead_in_circles(tmp_path):
    make(tmp_path, "root/b/x.dcm", "root/c/y.dcm", "beside/w.dcm")
    root = tmp_path / "root"
    (root / "again").symlink_to(root)
    (root / "b" / "parent").symlink_to("..")
    (root / "b" / "above").symlink_to("../..")  # contains the root itself
    (root / "a").symlink_to("c")  # the same folder under an earlier name
    assert files_below(root) == ["b/above/beside/w.dcm", "b/x.dcm", "c/y.dcm"]


def test_many_folders_that_link_to_all_others_are_soon_done(tmp_path):
    for name in range(14):
        make(tmp_path, f"{name}/{name}.dcm")
        for other in range(14):
            (tmp_path / str(name) / f"to{other}").symlink_to(tmp_path / str(other))
    assert len(files_below(tmp_path)) == 14


def test_what_is_no_file_is_passed_over(tmp_path, monkeypatch):
    make(tmp_path, "x.dcm")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "null.dcm").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as open_socket:
        monkeypatch.chdir(tmp_path)  # a socket's path has at most 108 characters
        open_socket.bind("socket.dcm")
        assert files_below(tmp_path) == ["x.dcm"]


def test_a_link_that_leads_nowhere_is_listed(tmp_path):
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.dcm").symlink_to("self.dcm")
    assert files_below(tmp_path) == ["gone.dcm", "self.dcm"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, "a/x.dcm", "closed/y.dcm")
    real = os.scandir

    def scandir(path):  # tests may run as root, who may read everything
        if os.fspath(path).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"closed: this folder cannot be listed \(Permission denied\)"):
        files_below(tmp_path)


def test_a_folder_that_is_none(tmp_path):
    make(tmp_path, "file")
    for name in ("nothing", "file"):
        with pytest.raises(UserError, match=f"{name}: this folder cannot be listed"):
            files_below(tmp_path / name)


def test_names_that_are_no_utf8_can_be_written_and_opened(tmp_path):
    given = [b"caf\xe9.dcm", b"caf\\xe9.dcm", "café.dcm".encode(), b"line\nbreak.dcm", b"\x1b[2J.dcm", b"\xff/z.dcm"]
    for name in given:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    names = files_below(tmp_path)
    assert names == [
        "\\x1b[2J.dcm", "\\xff/z.dcm", "caf\\x5cxe9.dcm", "caf\\xe9.dcm", "café.dcm", "line\\x0abreak.dcm",
    ]  # fmt: skip
    for name in names:
        assert name.encode().decode() == name
        assert name.isprintable()
        with open(path_of(tmp_path, name), "rb") as file:
            assert escape(os.fsdecode(file.read())) == name


@given(st.binary(max_size=12))
def test_escaping_can_be_undone_and_leaves_printable_names_alone(data):
    text = os.fsdecode(data)
    escaped = escape(text)
    assert os.fsencode(unescape(escaped)) == data
    escaped.encode()
    if text.isprintable() and "\\" not in text:
        assert escaped == text


@given(st.lists(st.sampled_from(["\\", "x", "e", "9", "\udce9", "\\xe9", "5", "c"]), max_size=8))
def test_no_two_names_are_escaped_alike(parts):
    text = "".join(parts)
    assert unescape(escape(text)) == text


def test_half_a_character_of_utf16_is_escaped(tmp_path):
    assert escape("a\ud83d.png") == "a\\xed\\xa0\\xbd.png"
