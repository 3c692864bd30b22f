from __future__ import annotations

import json
import os

import pytest

from common.errors import UserError, WorkError
from common.files import check_writable, make_folder, sha256, write_atomic, write_json


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000, "grün\n"])
def test_content_arrives(tmp_path, content):
    write_atomic(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_empty_content_replaces_what_was_there(tmp_path):
    (tmp_path / "a").write_text("old")
    write_atomic(tmp_path / "a", "")
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_failure_leaves_the_old_content_and_no_rubbish(tmp_path, monkeypatch, failing):
    (tmp_path / "a").write_text("old")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr("common.files.memoryview", fail, raising=False)
    with pytest.raises(WorkError, match=r"a: the disk is full .* run the same command again"):
        write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folder_that_is_not_there(tmp_path):
    for content in ("x", ""):
        with pytest.raises(WorkError, match="cannot be written"):
            write_atomic(tmp_path / "no" / "a", content)


def test_json_round_trip_and_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"score": 0.1, "name": "Ä"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"score": 0.1, "name": "Ä"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


def test_folders_are_made_once_and_not_through_files(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(UserError, match=rf"^--output {path}: not a folder that can be written"):
            make_folder(path)


def test_a_folder_that_is_there_must_be_one_to_write_to(tmp_path, read_only):
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    read_only(tmp_path)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(UserError, match=rf"^the run's {folder}: .* \(Read-only file system\)\. Copy it\.$"):
            make_folder(folder, "the run's", "Copy it.")


def test_a_place_is_tried_without_making_it(tmp_path, read_only):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    read_only(tmp_path)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UserError, match=rf"^the run's {folder}: .* \(Read-only file system\)\. Copy it\.$"):
            check_writable(folder, "the run's", "Copy it.")


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
