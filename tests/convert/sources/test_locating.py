from __future__ import annotations

from pathlib import Path

import pytest

from convert.sources.files import open_source
from convert.sources.locating import locate

FILES = [
    "a/one.png", "b/one.png", "two.PNG", "c/three.dcm", "1.2.840.113.7", "c/IM0001", "d/x y.jpeg", "c/._three.dcm",
    "notes.txt", "labels.csv", "e/f/deep.tiff", "two.json",
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "image_id", "file"),
    [
        ("two.PNG", "two", "two.PNG"),
        ("two", "two", "two.PNG"),
        ("two.dcm", "two", "two.PNG"),  # as the table still calls it after a conversion
        ("c/three.dcm", "three", "c/three.dcm"),
        ("elsewhere/three", "three", "c/three.dcm"),
        (r"C:\data\c\three.dcm", "three", "c/three.dcm"),
        ("/home/me/a/one.png", "a_one", "a/one.png"),
        ("b/one", "b_one", "b/one.png"),
        ("1.2.840.113.7", "1.2.840.113.7", "1.2.840.113.7"),
        ("1.2.840.113.7.dcm", "1.2.840.113.7", "1.2.840.113.7"),
        ("IM0001", "IM0001", "c/IM0001"),
        ("x y.jpeg", "x_y", "d/x y.jpeg"),
        ("deep.tiff", "deep", "e/f/deep.tiff"),
    ],
)
def test_finds_a_picture_by_whatever_name(source, name, image_id, file):
    found = locate(source, [name])
    assert found.ids == {name: image_id}
    assert found.files == {image_id: file}
    assert not found.objections
    assert file not in found.unnamed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one.png", "several pictures of this name: a/one.png, b/one.png"),
        ("four.png", "no picture of this name"),
        ("notes.txt", "no picture of this name"),
        ("", "no picture of this name"),
        ("/", "no picture of this name"),
    ],
)
def test_says_why_there_is_none(source, name, reason):
    found = locate(source, [name])
    assert found.objections == {name: reason}
    assert not found.files
    assert "/" not in found.ids[name]


def test_pictures_that_nobody_names(source):
    unnamed = locate(source, ["two", "a/one.png"]).unnamed
    assert set(unnamed) == {"b/one.png", "c/three.dcm", "1.2.840.113.7", "c/IM0001", "d/x y.jpeg", "e/f/deep.tiff"}
    assert unnamed["b/one.png"] == "b_one"
