from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pydicom
import pytest

from common.data.tables import read_predictions
from common.errors import UserError
from convert.synthetic.dicom_writer import write_dicom
from evaluate import predict
from evaluate.dicom_out.capture import make_capture
from evaluate.dicom_out.report import boxes_of
from evaluate.dicom_out.writing import write_dicoms
from tests.evaluate.dicom_out.conftest import ALGORITHM, BOXES, STUDY, dicom, outcome_of, picture_of, table, unchecked


def write(folder, data: dict[str, bytes], rows=BOXES, algorithm=ALGORITHM, doubts=()):
    folder.mkdir(exist_ok=True)
    pictures = [picture_of(name, content) for name, content in data.items()]
    outcomes = {name: outcome_of(name, dict(doubts).get(name, "")) for name in data}
    return write_dicoms(folder, pictures, outcomes, table(rows), algorithm)


def test_what_was_written_is_kept_and_what_is_missing_or_different_is_written(tmp_path, monkeypatch):
    files = {"chest": dicom("chest"), "film": dicom("film")}
    write(tmp_path / "out", files)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out/film.sc.dcm").unlink()
    (tmp_path / "out/film.sr.dcm").write_bytes(b"cut")
    again = write(tmp_path / "out", files)
    assert (again.reports, again.captures, again.kept) == (2, 2, 2)
    for path, content in before.items():
        uid = pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID
        assert pydicom.dcmread(path).SOPInstanceUID == uid, path
        assert path.name.startswith("film") or path.read_bytes() == content
    moved = [(name, confidence, x + 1, *rest) for name, confidence, x, *rest in BOXES]
    other = write(tmp_path / "out", files, rows=moved)
    assert other.kept == 0
    np.testing.assert_allclose(boxes_of(pydicom.dcmread(tmp_path / "out/chest.sr.dcm"))[:, 1], [11.37, 101.0])


def test_images_that_get_less_are_told(tmp_path):
    picture = write_dicom(np.zeros((8, 8), np.uint8), "explicit-vr", image_id="x")
    done = write(
        tmp_path / "out",
        {
            "chest": dicom("chest"),
            "knee": dicom("knee", BodyPartExamined="KNEE"),
            "homeless": dicom("homeless", StudyInstanceUID=None),
            "nameless": dicom("nameless", SeriesInstanceUID=unchecked("SeriesInstanceUID", "1.02")),
            "png": b"\x89PNG\r\n\x1a\n" + picture,
        },
        doubts={"knee": "Body Part Examined KNEE"},
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "chest.sc.dcm", "chest.sr.dcm", "nameless.sc.dcm",
    ]  # fmt: skip
    assert done.left_out == {
        "no chest radiograph by their headers": (1, "knee.dcm"),
        "no valid Study Instance UID in their headers": (1, "homeless.dcm"),
        "no valid Series or SOP Instance UID in their headers: a capture, but no report": (1, "nameless.dcm"),
        "picture files, which belong to no study": (1, "png.dcm"),
    }


def test_an_image_that_cannot_be_decoded_any_more_gets_a_report_and_no_capture(tmp_path):
    whole = dicom("chest", "jpeg-baseline")
    write(tmp_path / "out", {"chest": whole})
    done = write(tmp_path / "out", {"chest": whole[:-3000], "film": dicom("film")})
    assert (done.reports, done.captures) == (2, 1)
    ((why, (count, first)),) = done.left_out.items()
    assert why.startswith("no .sc.dcm can be made: ")
    assert (count, first) == (1, "chest.dcm")
    assert not (tmp_path / "out/chest.sc.dcm").exists()


def run(*arguments: object) -> int | None:
    return predict.main([str(argument) for argument in arguments])


def test_the_command_from_dicoms_to_reports(trained, data_set, tmp_path, capsys):
    import cv2

    scans = tmp_path / "scans"
    scans.mkdir()
    for path in sorted((data_set / "images/test").iterdir())[:3]:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        data = write_dicom(
            pixels, "explicit-vr", image_id=path.stem, patient_age="34", view="AP", study_uid=f"{STUDY}.{path.stem[-1]}"
        )
        (scans / f"{path.stem}.dcm").write_bytes(data)
    knee = pydicom.dcmread(scans / "test-00.dcm")
    knee.BodyPartExamined = "KNEE"
    knee.save_as(scans / "knee.dcm")
    originals = {path: path.read_bytes() for path in scans.iterdir()}
    given = (scans, "--weights", trained, "--output", tmp_path / "out", "--confidence", 0.05, "--overlays", "none")
    assert not run(*given, "--dicom-out", tmp_path / "archive")
    said = capsys.readouterr()
    assert "archive  3 Structured Reports, 3 Secondary Captures\n" in said.out
    assert "archive: lacks 1 of 4 images, first " in said.err
    assert "knee.dcm: no chest radiograph by their headers" in said.err
    assert {path: path.read_bytes() for path in scans.iterdir()} == originals

    images = pd.read_csv(tmp_path / "out/images.csv", keep_default_na=False, dtype=str).set_index("image_id")
    assert images["status"].to_dict() == {
        "knee": "no chest radiograph", "test-00": "predicted", "test-01": "predicted", "test-02": "predicted",
    }  # fmt: skip
    assert images["class"].eq("Lung Opacity").all()
    assert images.loc["test-01", "study_instance_uid"] == f"{STUDY}.1"
    read = pydicom.dcmread(scans / "test-01.dcm")
    assert images.loc["test-01", "series_instance_uid"] == read.SeriesInstanceUID
    assert images.loc["test-01", "sop_instance_uid"] == read.SOPInstanceUID

    submitted = dict(iter(read_predictions(tmp_path / "out/submission.csv").predictions.groupby("image_id")))
    assert submitted
    for image_id in ("test-00", "test-01", "test-02"):
        boxes = boxes_of(pydicom.dcmread(tmp_path / f"archive/{image_id}.sr.dcm"))
        wanted = submitted[image_id].iloc[:, 1:].to_numpy() if image_id in submitted else np.empty((0, 5))
        np.testing.assert_allclose(boxes, wanted, atol=0.01)
    assert not run(*given, "--dicom-out", tmp_path / "archive")
    assert "3 Secondary Captures (6 of them were there before)" in capsys.readouterr().out


def test_stopped_while_writing_and_the_same_command_again(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "scans").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"scans/{name}.dcm").write_bytes(dicom(name * 3))
    given = (
        tmp_path / "scans",
        "--weights",
        trained,
        "--output",
        tmp_path / "out",
        "--dicom-out",
        tmp_path / "archive",
    )
    made = []

    def stop_at_the_second(*arguments):
        if made:
            raise KeyboardInterrupt
        made.append(make_capture(*arguments))
        return made[0]

    with monkeypatch.context() as patch:
        patch.setattr("evaluate.dicom_out.writing.make_capture", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(*given)
    there = {path: path.read_bytes() for path in (tmp_path / "archive").iterdir()}
    assert sorted(path.name for path in there) == ["a.sc.dcm", "a.sr.dcm", "b.sr.dcm"]
    capsys.readouterr()
    run(*given)
    said = capsys.readouterr()
    assert "going on: 3 of 3 images were predicted before" in said.err
    assert "3 Structured Reports, 3 Secondary Captures (3 of them were there before)" in said.out
    assert {path: path.read_bytes() for path in there} == there


def test_a_folder_among_the_originals_and_a_missing_library_are_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(b"x")
    with pytest.raises(UserError, match=r"--dicom-out .*: lies beside .*a.dcm: originals and what is written must"):
        run(tmp_path / "a.dcm", "--dicom-out", tmp_path)
    with pytest.raises(UserError, match=r"--dicom-out .*out: lies in .*: originals and what is written must") as caught:
        run(tmp_path, "--dicom-out", tmp_path / "deep/out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(ModuleNotFoundError, match="highdicom"):
        run(tmp_path / "a.dcm", "--dicom-out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
