from __future__ import annotations

import os
from pathlib import Path

import pytest

from convert.sources.boxes import is_image_id
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


@pytest.mark.parametrize(
    ("name", "file"),
    [("P5.PNG", "p5.png"), ("p5", "p5.png"), ("P5.dcm", "p5.png"), ("7.0", "7.png"), ("7.00", "7.png"), ("7", "7.png")],
)
def test_capitals_and_a_tables_decimals_do_not_hide_a_picture(tmp_path, name, file):
    for own in ("p5.png", "7.png", "Q.png", "q.PNG"):
        (tmp_path / own).touch()
    found = locate(open_source(tmp_path), [name, "Q", "q"])
    assert found.files[found.ids[name]] == file
    # Where capitals do tell pictures apart, they count.
    assert [found.files[found.ids[own]] for own in ("Q", "q")] == ["Q.png", "q.PNG"]
    assert locate(open_source(tmp_path), ["Q.TIF"]).ids == {"Q.TIF": "Q"}


@pytest.mark.parametrize(
    ("file", "names", "kept"),
    [
        ("a/1.png", ["a/1.png", "b/1.png"], ["a/1.png"]),
        ("a/1.png", ["x/a/1.png", "1", "/a/1.png", "b/1.png"], ["x/a/1.png", "1", "/a/1.png"]),
        ("z/1.png", ["a/1.png", "b/1.png"], []),
        ("1.png", ["a/1.png", "b/1.png"], []),
        ("1.png", ["a/1.png", "1.png", "x/a/1.png", "1"], ["a/1.png", "1.png", "x/a/1.png", "1"]),
    ],
)
def test_paths_that_exclude_each_other_are_not_one_picture(tmp_path, file, names, kept):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    found = locate(open_source(tmp_path), names)
    assert [name for name in names if name not in found.objections] == kept
    assert all(
        reason == f"no picture of this path, and {file} is called otherwise, too"
        for reason in found.objections.values()
    )
    assert list(found.files.values()) == [file] * bool(kept)


def test_ids_of_pictures_differ_though_their_signs_do_not(tmp_path):
    names = [
        "x y.png",
        "x_y.png",
        "x+y.png",
        "a/b.png",
        "a_b.png",
        f"{'n' * 120}1{'0' * 100}.png",
        f"{'n' * 121}{'0' * 100}.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = locate(open_source(tmp_path), names)
    assert len(set(found.ids.values())) == len(names)
    assert {name: found.files[key] for name, key in found.ids.items()} == {name: name for name in names}
    assert all(map(is_image_id, found.ids.values()))
    assert found.ids["a/b.png"] == "b"


@pytest.mark.parametrize(("files", "name"), [(["q_r.png"], "q r.png"), (["1.png", "1.dcm"], "1")])
def test_a_name_without_a_picture_has_no_pictures_id(tmp_path, files, name):
    for file in files:
        (tmp_path / file).touch()
    found = locate(open_source(tmp_path), [name, *files])
    assert set(found.objections) == {name}
    assert {file: found.files[found.ids[file]] for file in files} == {file: file for file in files}
    assert found.ids[name] not in found.files


@pytest.mark.parametrize("name", ["café.png", "café", "caf\udce9.png", "images/caf\\xe9.png"])
def test_a_file_whose_name_is_no_utf8_is_found_by_what_tables_say_of_it(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / os.fsdecode(b"caf\xe9.png")).touch()
    found = locate(open_source(tmp_path), [name])
    assert found.ids == {name: "caf_xe9"}
    assert found.files == {"caf_xe9": "images/caf\\xe9.png"}
