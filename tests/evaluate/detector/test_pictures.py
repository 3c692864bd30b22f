from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from convert.synthetic.dicom_writer import write_dicom
from evaluate.detector.pictures import find_pictures

MARK = b"\0" * 128 + b"DICM and more"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def ids(*sources: Path, only: str = "") -> dict[str, bytes]:
    return {picture.image_id: picture.read() for picture in find_pictures(sources, only)}


def test_files_of_one_name_get_ids_of_their_paths(tmp_path, capsys):
    cd = write(
        tmp_path / "cd",
        {
            "PA0/ST0/SE0/IM000000": MARK + b"0",
            "PA1/ST0/SE0/IM000000": MARK + b"1",
            "PA1/ST0/SE0/IM000001": MARK + b"2",
            "chest1.dcm": b"3",
            "chest1.png": b"4",
            "deep/chest1.png": b"5",
        },
    )
    found = ids(cd)
    assert found == {
        "PA0_ST0_SE0_IM000000": MARK + b"0",
        "PA1_ST0_SE0_IM000000": MARK + b"1",
        "IM000001": MARK + b"2",
        "chest1.dcm": b"3",
        "chest1.png": b"4",
        "deep_chest1": b"5",
    }
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "5 of 6 files are not the only ones of their name; their image ids are taken from their paths" in said
    assert ids(cd, only="PA1") == {"IM000000": MARK + b"1", "IM000001": MARK + b"2"}
    assert not capsys.readouterr().err


def test_sources_that_hold_the_same_paths(tmp_path):
    for number in range(2):
        write(tmp_path / f"disc{number}", {"a/IM1": MARK + b"%d" % number})
        write(tmp_path, {f"disc{number}.zip": zipped({"a/IM1": MARK + b"z%d" % number})})
    found = ids(*(tmp_path / name for name in ("disc0", "disc1", "disc0.zip", "disc1.zip")))
    assert found == {
        "disc0_a_IM1": MARK + b"0",
        "disc1_a_IM1": MARK + b"1",
        "disc0_a_IM1_2": MARK + b"z0",
        "disc1_a_IM1_2": MARK + b"z1",
    }


def test_ids_never_meet_by_chance(tmp_path):
    """What one file's path gives is another's name."""
    folder = write(tmp_path / "s", {"a/x.png": b"1", "b/x.png": b"2", "a_x.png": b"3", "s_a_x.png": b"4"})
    found = ids(folder)
    assert len(found) == 4
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4"]
    assert found == ids(folder)


def test_a_file_that_is_found_twice_counts_once(tmp_path):
    folder = write(tmp_path, {"a/x.png": b"1"})
    (folder / "link").symlink_to(folder / "a")
    (folder / "a" / "loop").symlink_to(folder)
    assert ids(folder, folder / "a", folder / "a/x.png") == {"x": b"1"}


def test_dicom_of_any_suffix_and_zips_in_folders(tmp_path, capsys):
    inner = zipped({"IM1": MARK, "notes.txt": b"no"})
    folder = write(
        tmp_path / "export",
        {
            "scan.ima": MARK,
            "scan.v2.bak": MARK + b"2",
            "table.csv": b"a,b\n",
            "more/disc.zip": zipped({"d\\IM2": MARK + b"3", "__MACOSX/._IM2": MARK, "disc2.zip": inner, "e/": b""}),
        },
    )
    assert ids(folder) == {"scan.ima": MARK, "scan.v2.bak": MARK + b"2", "IM2": MARK + b"3", "IM1": MARK}
    assert not capsys.readouterr().err
    assert ids(folder, only="disc.zip/d/") == {"IM2": MARK + b"3"}
    with zipfile.ZipFile(tmp_path / "twice.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", b"1")
        archive.writestr("disc2.zip", inner)
    assert ids(tmp_path / "twice.zip") == {"x": b"1"}
    assert "twice.zip/disc2.zip: passed over: a zip that is compressed once more" in capsys.readouterr().err
    write(folder, {"broken.zip": b"PK\x03\x04 and no more"})
    with pytest.raises(UserError, match=r"export/broken.zip: not a readable zip"):
        find_pictures([folder])


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_names_that_are_no_utf8_can_be_written(tmp_path):
    from common.data.tables import write_submission
    from evaluate.detector.loading import load_picture

    data = write_dicom(np.full((8, 8), 60, np.uint8), "explicit-vr", image_id="1")
    for name in (b"caf\xe9.dcm", b"caf\xe8.dcm"):
        (tmp_path / os.fsdecode(name)).write_bytes(data)
    found = find_pictures([tmp_path])
    assert [one.image_id for one in found] == [r"caf\xe8", r"caf\xe9"]
    assert load_picture(found[0]).shape == (8, 8)
    write_submission(tmp_path / "s.csv", pd.DataFrame(columns=["image_id", "confidence", "x", "y", "width", "height"]),
                     [one.image_id for one in found])  # fmt: skip
    assert r"caf\xe9" in (tmp_path / "s.csv").read_text(encoding="utf-8")
