from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from convert.sources import patients
from convert.sources.files import FolderSource, open_source
from convert.sources.patients import find_patients, parse_mapping
from convert.synthetic.dicom_writer import write_dicom
from tests.damaged_zip import REASONS, write_zip

RSNA = b"""[
 {"subset_img_id": "0004cfab", "img_id": "00019124_092.png", "subset_group": "train", "SOPInstanceUID": "1.2.3"},
 {"subset_img_id": "00313ee0", "img_id": "00028640_003.png"},
 {"subset_img_id": "00322d4d", "img_id": "00019124_000.png"}
]"""


def test_reads_rsna_json():
    assert parse_mapping(RSNA, "m.json").to_dict() == {
        "0004cfab": "00019124",
        "00313ee0": "00028640",
        "00322d4d": "00019124",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patientId,nih_image\na,00000001_003.png\n", {"a": "00000001"}),
        ("\ufeffimage,patient,more\na,P-7,x\nb,P-7,y\n", {"a": "P-7", "b": "P-7"}),
        ("image,patient\na,one\na,one\nb,\n\nNA,three\nc,nan\n", {"a": "one"}),
    ],
    ids=["NIH files", "patients of one's own", "duplicates and gaps"],
)
def test_reads_csv(text, expected):
    assert parse_mapping(text.encode(), "m.csv").to_dict() == expected


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"[{}]", b"{", b'{"a": 1}', b"one column\nx\n", b"\xff\xfe\x00", b"a,b\n"]
)
def test_anything_else_is_one_clear_error(data):
    with pytest.raises(UserError, match=r"m\.json: .*mapping.* Expected RSNA's pneumonia-challenge-dataset-mappings"):
        parse_mapping(data, "m.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_reads_csv_in_the_encodings_that_all_tables_may_have(encoding):
    assert parse_mapping("image,patient\na,J\u00fcrgen\n".encode(encoding), "m.csv").to_dict() == {"a": "J\u00fcrgen"}


@pytest.mark.parametrize("kind", REASONS)
def test_a_member_that_the_zip_does_not_give_has_no_patient(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    files = {f"{name}.dcm": write_dicom(pixels, "explicit-vr", image_id=name, patient_id=name) for name in ("a", "b")}
    source = open_source(write_zip(tmp_path / "raw.zip", files, "b.dcm", kind))
    known = find_patients(source, {"a": "a.dcm", "b": "b.dcm"}, None)
    assert known is not None
    assert list(known.index) == ["a"]


def test_an_image_of_two_patients_is_no_mapping():
    with pytest.raises(UserError, match=r"m\.csv: the image a has two patients, one and two; expected one"):
        parse_mapping(b"image,patient\na,one\nb,one\na,two\n", "m.csv")


def _dicoms(folder, patients):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    folder.mkdir()
    for number, patient in enumerate(patients):
        encoding = ("jpeg-baseline", "deflated", "big-endian", "implicit-vr")[number % 4]
        data = write_dicom(pixels, encoding, image_id=str(number), patient_id=patient)
        (folder / f"{number}.dcm").write_bytes(data)
    return open_source(folder), {str(number): f"{number}.dcm" for number in range(len(patients))}


def test_a_patient_from_headers_stays_the_same_when_images_come(tmp_path):
    few, many = ["m-2", "m-2", "", "m-7"], ["m-2", "m-2", "", "m-7", "a-1", "Müller"]
    first = find_patients(*_dicoms(tmp_path / "few", few), None)
    second = find_patients(*_dicoms(tmp_path / "many", many), None)
    assert first is not None
    assert second is not None
    assert first.to_dict() == {key: second[key] for key in ("0", "1", "3")}
    assert first["0"] == first["1"] != first["3"]
    assert second.nunique() == 4
    assert second.str.fullmatch("patient-[0-9a-f]{10}").all()


def test_only_the_beginnings_of_files_are_read_in_one_process_or_several(tmp_path, monkeypatch):
    source, names = _dicoms(tmp_path / "raw", [f"m-{number % 3}" for number in range(12)])
    whole, read = [], FolderSource.read
    monkeypatch.setattr(FolderSource, "read", lambda self, name: whole.append(name) or read(self, name))
    alone = find_patients(source, names, None)
    assert sorted(whole) == ["1.dcm", "5.dcm", "9.dcm"]  # a deflated data set has to be whole
    monkeypatch.setattr(patients, "_WORTH_A_PROCESS", 6)
    monkeypatch.setattr(patients, "available_cores", lambda: 2)
    assert alone is not None
    pd.testing.assert_series_equal(find_patients(source, names, None), alone)
