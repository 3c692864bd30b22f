from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

from common.errors import UserError
from convert import sample
from convert.synthetic.dicom_writer import ENCODINGS

TRAIN, TEST = "stage_2_train_images", "stage_2_test_images"
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
SUBMISSION, MAPPING = "stage_2_sample_submission.csv", "pneumonia-challenge-dataset-mappings_2018.json"
SYNTAXES = {
    "jpeg-baseline": "1.2.840.10008.1.2.4.50",
    "explicit-vr": "1.2.840.10008.1.2.1",
    "implicit-vr": "1.2.840.10008.1.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}


def _make(output: Path, *more: str, size: int = 64) -> Path:
    sample.main(["--output", str(output), "--size", str(size), "--workers", "1", *more])
    return output


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def _digests(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample with every encoding several times, and the usual one for half of the files."""
    folder = tmp_path_factory.mktemp("sample") / "deep" / "sample"
    return _make(folder, "--images", "54", "--test-images", "6", "--odd-encodings", "0.5", "--seed", "7", size=128)


@pytest.fixture(scope="module")
def headers(made: Path) -> dict[str, pydicom.Dataset]:
    return {file.stem: pydicom.dcmread(file) for file in sorted(made.glob("*/*.dcm"))}


def test_the_layout_is_the_real_one(made: Path) -> None:
    assert {file.name for file in made.iterdir()} == {TRAIN, TEST, LABELS, CLASSES, SUBMISSION, MAPPING, "sample.json"}
    train, test = ({file.stem for file in (made / folder).iterdir()} for folder in (TRAIN, TEST))
    assert (len(train), len(test)) == (54, 6)
    assert not train & test
    assert {file.suffix for folder in (TRAIN, TEST) for file in (made / folder).iterdir()} == {".dcm"}


def test_labels_are_written_as_in_the_real_file(made: Path) -> None:
    header, *rows = _rows(made / LABELS)
    assert header == ["patientId", "x", "y", "width", "height", "Target"]
    assert {row[0] for row in rows} == {file.stem for file in (made / TRAIN).iterdir()}
    negative = [row for row in rows if row[5] == "0"]
    assert all(row[1:5] == ["", "", "", ""] for row in negative)
    assert len(negative) == len({row[0] for row in negative})
    positive = [row for row in rows if row[5] == "1"]
    assert len({row[0] for row in positive}) == 12  # 22.5 % of 54
    assert len(positive) > 12
    assert not {row[0] for row in positive} & {row[0] for row in negative}
    for row in positive:
        assert all(re.fullmatch(r"\d+\.0", value) for value in row[1:5])
        x, y, width, height = map(float, row[1:5])
        assert width > 0
        assert height > 0
        assert max(x + width, y + height) <= 128
    assert b"\r" not in (made / LABELS).read_bytes()


def test_classes_repeat_once_per_box(made: Path) -> None:
    header, *rows = _rows(made / CLASSES)
    labels = _rows(made / LABELS)[1:]
    assert header == ["patientId", "class"]
    assert [row[0] for row in rows] == [row[0] for row in labels]
    assert all((name == "Lung Opacity") == (row[5] == "1") for (_, name), row in zip(rows, labels, strict=True))
    by_image = dict(rows)
    counts = [list(by_image.values()).count(name) for name in ("No Lung Opacity / Not Normal", "Normal")]
    assert counts == [24, 18]  # 44.3 % and 33.2 % of 54


def test_the_example_submission_is_the_real_one(made: Path) -> None:
    lines = (made / SUBMISSION).read_text().splitlines()
    ids = sorted(file.stem for file in (made / TEST).iterdir())
    assert lines == ["patientId,PredictionString", *(f"{image_id},0.5 0 0 100 100" for image_id in ids)]


def test_the_mapping_is_consistent(made: Path, headers: dict[str, pydicom.Dataset]) -> None:
    records = json.loads((made / MAPPING).read_text())
    assert {record["subset_img_id"] for record in records} == set(headers)
    assert len(records) == 60
    patients: dict[str, set[str]] = {"train": set(), "test": set()}
    sexes: dict[str, set[str]] = {}
    for record in records:
        header = headers[record["subset_img_id"]]
        for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            assert record[uid] == header[uid].value
        assert re.fullmatch(r"\d{8}_\d{3}\.png", record["img_id"])
        assert record["orig_labels"]
        assert isinstance(record["orig_labels"], list)
        patients[record["subset_group"]].add(record["img_id"][:8])
        sexes.setdefault(record["img_id"][:8], set()).add(header.PatientSex)
    assert all(len(values) == 1 for values in sexes.values())
    assert not patients["train"] & patients["test"]
    assert len(patients["train"]) < 54


def test_every_encoding_is_there_and_readable(made: Path, headers: dict[str, pydicom.Dataset]) -> None:
    written = json.loads((made / "sample.json").read_text())["encodings"]
    assert set(written) == set(ENCODINGS)
    assert written["jpeg-baseline"] == 30
    syntaxes = [header.file_meta.TransferSyntaxUID for header in headers.values()]
    for name, syntax in SYNTAXES.items():
        assert syntaxes.count(syntax) >= written[name], name
    for header in headers.values():
        assert header.pixel_array.shape == (128, 128)
        assert np.ptp(header.pixel_array) > 100


def test_headers_are_like_the_real_ones(headers: dict[str, pydicom.Dataset]) -> None:
    with_unit = 0
    for image_id, header in headers.items():
        assert header.PatientID == image_id
        assert header.Modality == "CR"
        assert header.ViewPosition in ("AP", "PA")
        assert header.PatientSex in ("F", "M")
        # The patient is as large as at 1024 pixels.
        assert 0.115 * 8 - 1e-6 <= float(header.PixelSpacing[0]) <= 0.1988 * 8 + 1e-6
        with_unit += bool(re.fullmatch(r"\d{3}Y", header.PatientAge))
        assert re.fullmatch(r"\d{3}Y|[1-9]\d{0,2}", header.PatientAge)
        age = int(header.PatientAge.rstrip("Y"))
        assert 1 <= age <= 92 or 148 <= age <= 155
    assert with_unit == 30


def test_pictures_show_the_boxes(made: Path, headers: dict[str, pydicom.Dataset]) -> None:
    """What the table calls an opacity is brighter than the same place in pictures without one."""
    boxes = [(row[0], *map(float, row[1:5])) for row in _rows(made / LABELS)[1:] if row[5] == "1"]
    plain = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"}
    pixels = {k: h.pixel_array.astype(float) for k, h in headers.items() if h.file_meta.TransferSyntaxUID in plain}
    positive = {box[0] for box in boxes}
    healthy = np.mean([value for key, value in pixels.items() if key not in positive], axis=0)
    gains = []
    for image_id, x, y, width, height in boxes:
        if image_id in pixels:
            place = np.s_[int(y) : int(y + height), int(x) : int(x + width)]
            gains.append(pixels[image_id][place].mean() - healthy[place].mean())
    assert len(gains) >= 8
    assert np.mean(gains) > 8


def test_the_usual_share_of_encodings(tmp_path: Path) -> None:
    folder = _make(tmp_path / "s", "--images", "40", "--test-images", "20")
    written = json.loads((folder / "sample.json").read_text())["encodings"]
    assert written.pop("jpeg-baseline") == 57
    assert list(written.values()) == [1, 1, 1]


def test_files_depend_on_settings_only_not_on_workers(tmp_path: Path) -> None:
    arguments = ["--images", "9", "--test-images", "3", "--odd-encodings", "0.3"]
    one = _digests(_make(tmp_path / "one", *arguments))
    two = _digests(_make(tmp_path / "two", *arguments, "--workers", "2"))
    other = _digests(_make(tmp_path / "other", *arguments, "--seed", "1"))
    assert one == two
    assert len(one) == 12 + 5
    assert not {name for name in one if name.endswith(".dcm")} & set(other)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    for more in ([], ["--overwrite"]):
        with pytest.raises(UserError, match=r"not empty, and not made by this command"):
            _make(tmp_path, "--images", "2", *more)
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]
    with pytest.raises(UserError, match="a file, expected a folder"):
        _make(tmp_path / "precious.txt", "--images", "2")


def test_a_finished_sample_is_kept_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--images", "2", "--test-images", "1"]
    folder = _make(tmp_path / "s", *arguments)
    first = _digests(folder)
    stamp = (folder / LABELS).stat().st_mtime_ns
    capsys.readouterr()
    _make(folder, *arguments)
    assert "there already" in capsys.readouterr().out
    assert (folder / LABELS).stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"other settings.*images 2.*wanted images 3.*--overwrite"):
        _make(folder, "--images", "3", "--test-images", "1")
    assert _digests(folder) == first
    (folder / "notes.txt").write_text("mine")
    _make(folder, "--images", "3", "--test-images", "0", "--overwrite")
    assert len(list((folder / TRAIN).iterdir())) == 3
    assert not list((folder / TEST).iterdir())
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_unfinished_run_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--images", "4", "--test-images", "1"]
    whole = _digests(_make(tmp_path / "whole", *arguments))
    folder = tmp_path / "broken"

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("convert.synthetic.tables.write_kaggle_tables", fail)
        with pytest.raises(KeyboardInterrupt):
            _make(folder, *arguments, "--seed", "9")
    assert not (folder / "sample.json").exists()
    assert len(list((folder / TRAIN).iterdir())) == 4
    # Nothing of the other seed's pictures may stay.
    assert _digests(_make(folder, *arguments)) == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "at least 1"),
        (["--size", "65"], "odd, expected an even"),
        (["--size", "32"], "at least 64"),
        (["--odd-encodings", "1.5"], "between 0 and 1"),
        (["--workers", "many"], "at least 1"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sample.main(["--output", str(tmp_path / "s"), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
