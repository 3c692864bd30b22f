from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import random
import zipfile

import pytest

from common.data.csv_files import LINE, first_fields
from common.errors import UnreadableError, UserError
from convert.sources import files
from convert.sources.files import open_source, read_table
from convert.sources.parsed import read_file
from tests.damaged_zip import REASONS, write_zip
from tests.mutations import mutate


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    """The same three files in a folder and in a zip."""
    files = {"top.csv": b"a,b\n1,2\n", "deep/images/x.dcm": b"pixels", "deep/images/y.DCM": b"more", "other/x.dcm": b""}
    folder = tmp_path / "data"
    if request.param == "folder":
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return open_source(folder)
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("deep")
        for name, content in files.items():
            archive.writestr(name, content)
    return open_source(path)


def test_lists_and_reads_files(source):
    assert source.names == ["deep/images/x.dcm", "deep/images/y.DCM", "other/x.dcm", "top.csv"]
    assert source.read("deep/images/x.dcm") == b"pixels"
    assert source.find("x.dcm") == ["deep/images/x.dcm", "other/x.dcm"]
    assert source.below("images", ".dcm") == {"x": "deep/images/x.dcm", "y": "deep/images/y.DCM"}


def test_travels_to_another_process(source):
    assert pickle.loads(pickle.dumps(source)).read("deep/images/y.DCM") == b"more"


def test_table_counts_lines_as_an_editor_does(source):
    table = source.table("top.csv", ["a"], "")
    assert table.to_dict("records") == [{"a": "1", "b": "2", LINE: 2}]


def test_a_column_called_row_stays_what_it_is(tmp_path):
    (tmp_path / "t.csv").write_text("row,line, line\n7,8,9\n")
    assert open_source(tmp_path).table("t.csv", ["row"], "")[["row", LINE]].to_numpy().tolist() == [["7", 2]]


@pytest.mark.parametrize(
    "encoded",
    [
        "naïve,b\r\n1,\r\n".encode("utf-8-sig"),
        "naïve,b\n1,\n".encode("latin-1"),
        "naïve,b\n1,\n".encode("utf-16"),
        " naïve , b\n1,\n".encode(),
        '"naïve","b"\n"1",""\n'.encode(),
        "naïve,b\n\n1,\n\n".encode(),
    ],
    ids=["utf-8 with mark and crlf", "latin-1", "utf-16", "spaces in the header", "quotes", "blank lines"],
)
def test_table_takes_the_encodings_that_spreadsheets_write(tmp_path, encoded):
    (tmp_path / "t.csv").write_bytes(encoded)
    table = open_source(tmp_path).table("t.csv", ["naïve", "b"], "")
    assert table[["naïve", "b"]].to_dict("records") == [{"naïve": "1", "b": ""}]


def test_blank_lines_do_not_shift_the_line_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n\n3\n")
    assert open_source(tmp_path).table("t.csv", ["a"], "")[LINE].tolist() == [2, 4]


def test_table_may_be_packed_as_download_tools_leave_it(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("t.csv", "a\n1\n")
    (tmp_path / "t.csv.zip").write_bytes(inner.getvalue())
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress(b"a\n2\n"))
    source = open_source(tmp_path)
    assert source.table("t.csv", ["a"], "")["a"].tolist() == ["1"]
    assert source.table("u.csv", ["a"], "")["a"].tolist() == ["2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no t\.csv in it \(it is empty\)\. Get it\."),
        (b"", r"not a readable CSV"),
        (b"x,y\n1,2\n", r"no column a; found x, y; expected a"),
        (b"a,b\n1,2,3,4\n1,2,3,4,5\n", r"not a readable CSV"),
    ],
    ids=["missing", "empty", "other columns", "ragged"],
)
def test_table_errors_name_file_and_remedy(tmp_path, content, message):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path).table("t.csv", ["a"], "Get it.")


def test_table_that_is_there_twice(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match=r"there 2 times: one/t\.csv, two/t\.csv"):
        open_source(tmp_path).table("t.csv", ["a"], "")


def test_what_is_no_source(tmp_path):
    with pytest.raises(UserError, match="no such folder or zip"):
        open_source(tmp_path / "nothing")
    half = tmp_path / "half.zip"
    half.write_bytes(b"PK\x03\x04 and then the connection broke")
    with pytest.raises(UserError, match=r"not a readable zip.*download it again"):
        open_source(half)


def test_zip_member_with_a_wrong_checksum_is_an_error(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.dcm", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123x56789"))
    with pytest.raises(UnreadableError, match="damaged in the zip"):
        open_source(path).read("x.dcm")


@pytest.mark.parametrize("kind", REASONS)
def test_table_that_its_zip_does_not_give_is_the_users_to_mend(tmp_path, kind):
    path = write_zip(tmp_path / "data.zip", {"t.csv": b"a\n1\n" * 50}, "t.csv", kind)
    with pytest.raises(UserError, match=r"data\.zip/t\.csv: cannot be read: ") as caught:
        open_source(path).table("t.csv", ["a"], "")
    assert REASONS[kind] in str(caught.value)


@pytest.mark.parametrize("kind", REASONS)
def test_packed_table_that_is_damaged_is_the_users_to_mend(tmp_path, kind):
    write_zip(tmp_path / "t.csv.zip", {"t.csv": b"a\n1\n" * 50}, "t.csv", kind)
    with pytest.raises(UserError, match=r"t\.csv\.zip: not a readable CSV") as caught:
        open_source(tmp_path).table("t.csv", ["a"], "")
    assert REASONS[kind] in str(caught.value)


def test_packed_files_that_broke_off_are_the_users_to_mend(tmp_path):
    whole = gzip.compress(bytes(range(256)) * 20)
    flipped = bytes(byte ^ 0xFF for byte in whole[10:18])
    for spoiled in (whole[:-20], whole[:10] + flipped + whole[18:], b"no gzip"):
        (tmp_path / "t.csv.gz").write_bytes(spoiled)
        with pytest.raises(UserError, match=r"t\.csv\.gz: not a readable CSV \(damaged \.gz"):
            open_source(tmp_path).table("t.csv", ["a"], "")
        with pytest.raises(UserError, match=r"t\.csv\.gz: cannot be read \(damaged \.gz"):
            read_file(tmp_path / "t.csv.gz")


def test_file_that_has_gone_cannot_be_read(source):
    if source.path.suffix == ".zip":
        files._opened_zip.cache_clear()
        source.path.unlink()
    else:
        (source.path / "top.csv").unlink()
    with pytest.raises(UnreadableError, match="No such file"):
        source.read("top.csv")


def test_linked_folder_of_a_source_is_read(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x.dcm").write_bytes(b"pixels")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "images").symlink_to(tmp_path / "disk")
    source = open_source(tmp_path / "raw")
    assert source.below("images", ".dcm") == {"x": "images/x.dcm"}
    assert source.read("images/x.dcm") == b"pixels"


def test_file_whose_name_is_no_utf8_is_read(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.dcm", "wb") as file:
        file.write(b"pixels")
    source = open_source(tmp_path)
    assert source.names == ["caf\\xe9.dcm"]
    assert source.read("caf\\xe9.dcm") == b"pixels"


def test_pipe_is_refused_and_not_waited_for(tmp_path):
    source = open_source(tmp_path)
    os.mkfifo(tmp_path / "x.dcm")
    with pytest.raises(UnreadableError, match="a pipe or a device, expected a file"):
        source.read("x.dcm")
    with pytest.raises(UnreadableError, match="No such file"):
        source.read("y.dcm")
    with pytest.raises(UnreadableError, match="Is a directory"):
        source.read(".")


@pytest.mark.parametrize("where", ["folder", "zip"])
@pytest.mark.parametrize("top", ["", "images/"])
def test_a_zip_in_a_source_takes_the_place_of_its_folder(tmp_path, where, top):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{top}x.dcm", b"pixels")
    if where == "folder":
        (tmp_path / "raw" / "in").mkdir(parents=True)
        (tmp_path / "raw" / "in" / "images.zip").write_bytes(inner.getvalue())
        source = open_source(tmp_path / "raw")
    else:
        with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
            archive.writestr("in/images.zip", inner.getvalue())
        source = open_source(tmp_path / "raw.zip")
    assert source.names == ["in/images.zip"]
    assert source.below("other", ".dcm") == {}
    assert source.below("images", ".dcm") == {"x": f"in/images.zip/{top}x.dcm"}
    assert source.below("images", ".dcm") == {"x": f"in/images.zip/{top}x.dcm"}
    there = pickle.loads(pickle.dumps(source))
    assert there.read(f"in/images.zip/{top}x.dcm") == b"pixels"


def test_a_zip_beside_its_folder_is_not_looked_into(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.dcm").touch()
    (tmp_path / "images.zip").write_bytes(b"anything")
    assert open_source(tmp_path).below("images", ".dcm") == {"x": "images/x.dcm"}


def test_a_zip_that_takes_the_place_of_a_folder_and_is_none(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"anything")
    with pytest.raises(UserError, match=r"images\.zip: not a readable zip"):
        open_source(tmp_path).below("images", ".dcm")


def test_two_files_of_one_image_are_an_error(source):
    assert source.below("deep", ".dcm") == {}
    with pytest.raises(UserError, match=r"two files for the image x: deep/images/x\.dcm and other/x\.dcm"):
        source.below("", ".dcm")


def test_a_file_above_the_limit_is_not_read(source):
    assert source.read("top.csv", 8) == b"a,b\n1,2\n"
    with pytest.raises(UnreadableError, match="too large: 8 bytes, expected at most 7"):
        source.read("top.csv", 7)


def test_a_table_above_the_limit_is_the_users_to_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_OF_A_TABLE", 200)
    content = b"a\n" * 1000
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("t.csv", content)
    for name, data in (("t.csv", content), ("t.csv.gz", gzip.compress(content)), ("t.csv.zip", packed.getvalue())):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: .*too large: 2,000 bytes( or more)?, expected at most 200"):
            open_source(tmp_path).table("t.csv", ["a"], "")
        (tmp_path / name).unlink()


def test_damaged_tables_raise_nothing_but_what_is_documented():
    rng = random.Random(2)
    rows = "".join(f'p{number};{number},5;"a; {number}";\r\n' for number in range(20))
    text = f"image;x;label;\r\n{rows}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    wholes = [
        ("t.csv", text.encode("utf-8-sig")),
        ("t.csv", text.replace(";", ",").encode()),
        ("t.csv", text.encode("utf-16")),
        ("t.csv.gz", gzip.compress(text.encode("utf-16"))),
        ("t.csv.zip", packed.getvalue()),
    ]
    refusals, read = [], 0
    for number in range(2000):
        name, whole = wholes[number % len(wholes)]
        data = mutate(whole, rng)
        try:
            table = read_table(data, name, name, ["image", "x"], ["label"])
        except UserError as error:
            refusals.append(str(error))
        else:
            assert not table.isna().any(axis=None)
            assert {"image", "x", LINE} <= set(table.columns)
            read += 1
        with contextlib.suppress(ValueError):
            first_fields(data)
    assert read > 300
    assert len(refusals) > 300
    assert not [refusal for refusal in refusals if "\n" in refusal]
