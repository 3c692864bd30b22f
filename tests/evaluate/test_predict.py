from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.fileset import FileSet

from common.data.tables import read_predictions
from common.errors import UserError, WorkError
from convert.pictures.dicom import to_picture
from convert.synthetic.dicom_writer import write_dicom
from evaluate import predict
from evaluate.detector.pictures import find_pictures
from evaluate.postprocess import Confidence, GateRule, Pipeline
from tests.damaged_zip import REASONS, write_zip
from tests.evaluate.scores import suppressed


@pytest.fixture(scope="module")
def release(data_set, tmp_path_factory) -> Path:
    """The test split's pictures as DICOM files in a zip like Kaggle's, and the pictures they are converted to."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "converted").mkdir()
    with zipfile.ZipFile(folder / "release.zip", "w") as archive:
        archive.writestr("stage_2_train_labels.csv", "patientId\n")
        archive.writestr("__MACOSX/stage_2_test_images/._test-00.dcm", b"junk")
        archive.writestr("stage_2_train_images/train-00.dcm", b"never read")
        for path in sorted((data_set / "images" / "test").iterdir()):
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            data = write_dicom(pixels, "jpeg-baseline", image_id=path.stem, jpeg_quality=95)
            archive.writestr(f"stage_2_test_images/{path.stem}.dcm", data)
            picture = to_picture(data)
            (folder / "converted" / f"{path.stem}{picture.suffix}").write_bytes(picture.encoded)
    return folder


def run(*arguments: object) -> int | None:
    return predict.main([str(argument) for argument in arguments])


def test_zip_of_dicoms_gives_what_the_converted_pictures_give(trained, release, tmp_path, capsys):
    zipped = (release / "release.zip", "--only", "stage_2_test_images")
    assert not run(*zipped, "--weights", trained, "--output", tmp_path / "zip", "--confidence", 0.05, "--overlays", 3)
    said = capsys.readouterr().out
    assert not run(release / "converted", "--weights", trained, "--output", tmp_path / "files", "--confidence", 0.05)
    assert (tmp_path / "zip/predictions.csv").read_bytes() == (tmp_path / "files/predictions.csv").read_bytes()
    assert (tmp_path / "zip/submission.csv").read_bytes() == (tmp_path / "files/submission.csv").read_bytes()

    submission = read_predictions(tmp_path / "zip/submission.csv")
    assert submission.image_ids == [f"test-{number:02}" for number in range(12)]
    everything = read_predictions(tmp_path / "zip/predictions.csv").predictions
    assert 0 < len(submission.predictions) < len(everything)
    wanted = suppressed(everything).query("confidence >= 0.05").reset_index(drop=True)
    pd.testing.assert_frame_equal(submission.predictions, wanted, check_exact=True)
    assert len(list((tmp_path / "zip/overlays").iterdir())) == 3
    assert not (tmp_path / "zip/rejected.csv").exists()
    assert "12 images" in said
    assert "research only" in said


def test_overlays_show_the_boxes(trained, data_set, tmp_path):
    picture = data_set / "images/test/test-00.jpg"
    truth = data_set / "truth.csv"
    run(
        picture, "--weights", trained, "--output", tmp_path, "--confidence", 0.05, "--truth", truth, "--overlays", "all"
    )
    drawn = cv2.imread(str(tmp_path / "overlays/test-00.jpg"))
    assert drawn.shape == (128, 128, 3)
    colourful = np.ptp(drawn.astype(int), axis=2) > 60
    assert colourful.any()
    run(picture, "--weights", trained, "--output", tmp_path, "--overlays", "none")
    assert list((tmp_path / "overlays").iterdir()) == []


def test_confidence_is_the_one_that_scoring_chose(trained, data_set, tmp_path, capsys):
    weights = tmp_path / "run" / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(trained.read_bytes())
    arguments = (data_set / "images/test", "--weights", weights, "--output", tmp_path / "out", "--overlays", "none")
    run(*arguments)
    assert "confidence 0.25 (not tuned: run evaluate/score.py to choose it)" in capsys.readouterr().out
    plain = read_predictions(tmp_path / "out/predictions.csv").predictions

    chosen = {"confidence": 0.004, "postprocess": {"box_scale": [0.5, 1.0]}, "inference": {"imgsz": 64}}
    (tmp_path / "run/score.json").write_text(json.dumps(chosen))
    run(*arguments)
    said = capsys.readouterr()
    assert "confidence 0.004 (chosen in " in said.out
    assert "imgsz 64 there, 128 here" in said.err
    submitted = read_predictions(tmp_path / "out/submission.csv").predictions
    kept = plain[plain["confidence"] >= 0.004].reset_index(drop=True)
    assert len(submitted) == len(kept)
    np.testing.assert_allclose(submitted["width"], kept["width"] / 2, atol=0.006)
    np.testing.assert_allclose(submitted["height"], kept["height"])

    (tmp_path / "run/score.json").write_text("{}")
    with pytest.raises(UserError, match=r"score.json: not a readable score"):
        run(*arguments)


def test_pictures_stored_smaller_give_boxes_of_the_original(trained, own_data_set, tmp_path):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    source = (own_data_set / "images/test", "--weights", trained, "--overlays", "none")
    run(*source, "--output", tmp_path / "same")
    manifest.assign(width="1280", height="640").to_csv(own_data_set / "manifest.csv", index=False)
    run(*source, "--output", tmp_path / "larger")
    same, larger = (read_predictions(tmp_path / name / "predictions.csv").predictions for name in ("same", "larger"))
    np.testing.assert_allclose(larger["x"], same["x"] * 10, atol=0.06)
    np.testing.assert_allclose(larger["y"], same["y"] * 5, atol=0.03)


def test_unreadable_files_are_listed_and_submitted_empty(trained, data_set, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.jpg").write_bytes((data_set / "images/test/test-00.jpg").read_bytes())
    (folder / "bad.dcm").write_bytes(b"not DICOM at all")
    (folder / "notes.txt").write_text("passed over")
    arguments = (folder, "--weights", trained, "--output", tmp_path / "out", "--overlays", "none")
    assert run(*arguments) == 1
    rejected = pd.read_csv(tmp_path / "out/rejected.csv")
    assert rejected["image_id"].tolist() == ["bad"]
    said = capsys.readouterr()
    assert "1 of 2 files could not be used" in said.err
    assert "1 of 2 images could not be read and look like negatives" in said.err
    assert "rejected.csv  1 that could not be read, and why" in said.out
    assert read_predictions(tmp_path / "out/submission.csv").image_ids == ["bad", "good"]
    images = pd.read_csv(tmp_path / "out/images.csv", keep_default_na=False, dtype=str).set_index("image_id")
    assert images["status"].to_dict() == {"bad": "unreadable", "good": "predicted"}
    assert images.loc["bad", "reason"] == rejected["reason"].item()
    assert images.loc["bad", "boxes"] == ""
    assert not run(*arguments, "--allow-unreadable")
    assert "1 of 2 files could not be used" in capsys.readouterr().err
    (folder / "bad.dcm").unlink()
    assert not run(*arguments)
    assert not (tmp_path / "out/rejected.csv").exists()


def test_ctrl_c_and_the_same_command_again(trained, data_set, tmp_path, monkeypatch, capsys):
    arguments = (data_set / "images/test", "--weights", trained, "--batch", "3")
    run(*arguments, "--output", tmp_path / "whole")
    from evaluate.scoring import prediction

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prediction, "draw_overlays", stopped)  # at the very end
        with pytest.raises(KeyboardInterrupt):
            run(*arguments, "--output", tmp_path / "out")
    capsys.readouterr()
    run(*arguments, "--output", tmp_path / "out")
    assert "going on: 12 of 12 images were predicted before" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["images.csv", "overlays", "predictions.csv", "submission.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in ("images.csv", "predictions.csv", "submission.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "run the same command again to go on: what was predicted so far is kept" in predict.STOPPED


def changed(data: bytes, **elements: object) -> bytes:
    """A DICOM file with other elements; None deletes one."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_a_cd_with_two_images_of_one_name_and_what_is_no_image(trained, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32), np.uint8)
    image = write_dicom(pixels, "explicit-vr", image_id="1")
    bare = dict.fromkeys(("Rows", "Columns", "PixelData"))
    report = changed(image, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", **bare)  # Basic Text SR
    state = changed(image, SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", **bare)  # a presentation state
    directory = FileSet()
    for name in ("PA0/ST0/SE0/IM000001", "PA1/ST0/SE0/IM000001"):
        directory.add(pydicom.dcmread(io.BytesIO(changed(image, SOPInstanceUID=pydicom.uid.generate_uid(), **LEVELS))))
        (tmp_path / "cd" / name).parent.mkdir(parents=True)
        (tmp_path / "cd" / name).write_bytes(image)
    directory.write(tmp_path / "set")
    for name, content in (
        ("PA0/ST0/SE0/SR000001", report),
        ("PA1/ST0/SE0/PR000001", state),
        ("DICOMDIR", (tmp_path / "set/DICOMDIR").read_bytes()),
        ("PA1/DICOMDIR", (tmp_path / "set/DICOMDIR").read_bytes()),
    ):
        (tmp_path / "cd" / name).write_bytes(content)
    assert not run(tmp_path / "cd", "--weights", trained, "--output", tmp_path / "out", "--confidence", "0")
    said = capsys.readouterr()
    assert "2 predicted, 0 unreadable, 4 no images (reports and the like)" in said.out
    ids = ["PA0_ST0_SE0_IM000001", "PA1_ST0_SE0_IM000001"]
    assert read_predictions(tmp_path / "out/submission.csv").image_ids == ids
    assert sorted(path.stem for path in (tmp_path / "out/overlays").iterdir()) == ids
    assert not (tmp_path / "out/rejected.csv").exists()
    images = pd.read_csv(tmp_path / "out/images.csv", keep_default_na=False).set_index("image_id")
    assert images.loc["SR000001", ["status", "reason"]].tolist() == ["no image", "Basic Text SR Storage"]
    assert images.loc["PR000001", "reason"] == "Grayscale Softcopy Presentation State Storage"
    assert images.loc["PA1_DICOMDIR", "reason"] == "Media Storage Directory Storage"
    assert images.loc[ids[1], "source"] == str(tmp_path / "cd/PA1/ST0/SE0/IM000001")
    only = (tmp_path / "cd/DICOMDIR", "--weights", trained, "--output", tmp_path / "only")
    with pytest.raises(WorkError, match=r"none of the 1 files is an image, first .*DICOMDIR: Media Storage"):
        run(*only)


LEVELS = {
    "PatientID": "p", "PatientName": "n", "StudyDate": "20200101", "StudyTime": "120000", "StudyID": "1",
    "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "Modality": "CR", "SeriesNumber": 1,
    "InstanceNumber": 1,
}  # fmt: skip
"""What a DICOMDIR needs to know of an image."""


def test_what_may_be_no_chest_xray_is_told_once_and_predicted(trained, tmp_path, capsys):
    image = write_dicom(np.random.default_rng(0).integers(0, 256, (40, 32), np.uint8), "explicit-vr", image_id="1")
    headers = {
        "plain": {"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "AP"},
        "empty": {"Modality": "", "BodyPartExamined": "", "ViewPosition": ""},
        "local": {"Modality": "DX", "BodyPartExamined": "THORAX PA", "ViewPosition": "PA"},
        "ct": {"Modality": "CT", "BodyPartExamined": "CHEST"},
        "ct2": {"Modality": "CT", "BodyPartExamined": "ABDOMEN"},
        "knee": {"Modality": "DX", "BodyPartExamined": "KNEE", "ViewPosition": "AP"},
        "lateral": {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "LL"},
        "raw": {"Modality": "DX", "PresentationIntentType": "FOR PROCESSING"},
    }
    for name, elements in headers.items():
        (tmp_path / f"{name}.dcm").write_bytes(changed(image, **elements))
    assert not run(tmp_path, "--weights", trained, "--output", tmp_path / "out", "--overlays", "none")
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "frontal" in line]
    assert warning.startswith(
        "warning: 5 of 8 files may be no frontal chest X-rays, and were predicted as if they were:"
    )
    assert f"Modality CT (2, first {tmp_path}/ct.dcm), Body Part Examined ABDOMEN (1, first" in warning
    assert "View Position LL (1, " in warning
    images = pd.read_csv(tmp_path / "out/images.csv", keep_default_na=False).set_index("image_id")
    others = images["status"].eq("no chest radiograph")
    assert sorted(images.index[others]) == ["ct", "ct2", "knee"]
    assert images.loc[~others, "status"].eq("predicted").all()
    assert images["boxes"].ne("").all()
    assert images["doubt"].to_dict() == {
        "plain": "", "empty": "", "local": "", "ct": "Modality CT",
        "ct2": "Modality CT; Body Part Examined ABDOMEN", "knee": "Body Part Examined KNEE",
        "lateral": "View Position LL", "raw": "Presentation Intent Type FOR PROCESSING",
    }  # fmt: skip
    assert images["sop_instance_uid"].ne("").all()


@pytest.mark.parametrize("kind", REASONS)
def test_member_that_a_zip_does_not_give_is_rejected(trained, data_set, tmp_path, capsys, kind):
    picture = (data_set / "images/test/test-00.jpg").read_bytes()
    dicom = write_dicom(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8), "explicit-vr", image_id="1")
    # Of a name without suffix, the head decides whether it is a picture at all.
    source = write_zip(tmp_path / "a.zip", {"good.jpg": picture, "bad.jpg": picture, "1.2.3": dicom}, "bad.jpg", kind)
    run(source, "--weights", trained, "--output", tmp_path / "out", "--overlays", "none")
    rejected = pd.read_csv(tmp_path / "out/rejected.csv")
    assert rejected["image_id"].tolist() == ["bad"]
    assert rejected["reason"].item().startswith(f"cannot be read: {REASONS[kind]}")
    assert [one.image_id for one in find_pictures([source])] == ["1.2.3", "bad", "good"]
    headless = write_zip(tmp_path / "b.zip", {"good.jpg": picture, "1.2.3": dicom}, "1.2.3", kind)
    capsys.readouterr()
    assert [one.image_id for one in find_pictures([headless])] == ["good"]
    assert "b.zip: passed over 1 files that cannot be read and whose names" in capsys.readouterr().err


def test_dicom_without_suffix_and_uid_names(trained, tmp_path):
    folder = tmp_path / "archive" / "series"
    folder.mkdir(parents=True)
    for name in ("IM0001", "1.2.840.113619.7", "1.2.840.113619.8.dcm"):
        pixels = np.full((32, 32), 60, np.uint8)
        (folder / name).write_bytes(write_dicom(pixels, "explicit-vr", image_id=name))
    (folder / "notes.txt").write_text("no")
    (folder / "README").write_text("no")
    run(tmp_path / "archive", "--weights", trained, "--output", tmp_path / "out", "--overlays", "none")
    ids = read_predictions(tmp_path / "out/submission.csv").image_ids
    assert ids == ["1.2.840.113619.7", "1.2.840.113619.8", "IM0001"]


def test_nothing_readable_is_failed_work(trained, tmp_path):
    (tmp_path / "bad.dcm").write_bytes(b"no")
    with pytest.raises(WorkError, match=r"1 of 1 files could not be used.*Nothing was predicted") as caught:
        run(tmp_path / "bad.dcm", "--weights", trained, "--output", tmp_path / "out")
    assert caught.value.status == 1
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.csv", "rejected.csv"]


def wrong_use(kind: str, folder: Path, trained: Path) -> list[object]:
    (folder / "empty").mkdir()
    (folder / "a").mkdir()
    (folder / "a/scan.dcm").write_bytes(b"x")
    (folder / "scan.png").write_bytes(b"x")
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    return {
        "missing": [folder / "none"],
        "empty folder": [folder / "empty"],
        "broken zip": [folder / "broken.zip"],
        "only nothing": [folder / "a", "--only", "test"],
        "no weights": [folder / "a", "--weights", folder / "none.pt"],
        "no truth": [folder / "a", "--truth", folder / "none.csv"],
        "output is a file": [folder / "a", "--weights", trained, "--output", folder / "scan.png"],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file or folder"),
        ("empty folder", "no files to predict on"),
        ("broken zip", "not a readable zip"),
        ("only nothing", "with 'test' in their path"),
        ("no weights", "no such weights file"),
        ("no truth", "no such file"),
        ("output is a file", "not a folder that can be written .*Choose another --output"),
    ],
)
def test_wrong_use_gives_one_line(kind, words, tmp_path, trained):
    arguments = wrong_use(kind, tmp_path, trained)
    with pytest.raises(UserError, match=words) as caught:
        run("--output", tmp_path / "out", *arguments)
    assert caught.value.status == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--confidence", "2"), ("--overlays", "-1"), ("--batch", "0")])
def test_arguments_out_of_range(option, capsys):
    with pytest.raises(SystemExit) as caught:
        predict.main(["x.dcm", *option])
    assert caught.value.code == 2
    assert f"found '{option[1]}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "predictions need a post-processing: name it with --pipeline"),
        (["--pipeline", "p.yaml", "--weights", "a.pt"], "--weights: .*p.csv holds predictions, on which it cannot act"),
        (["--pipeline", "p.yaml", "--class", "Mass"], "--class: .*p.csv holds predictions"),
        (["folder", "--pipeline", "p.yaml"], "p.csv: predictions, among pictures"),
        (["--pipeline", "PIPELINE", "--data", "DATA"], "p.csv: 1 of 1 images, first stranger, are not in .*data.yaml"),
        (["q.csv", "--pipeline", "PIPELINE", "--data", "DATA"], "image stranger is in two of them"),
        (["v.csv", "--pipeline", "PIPELINE", "--data", "DATA"], "p.csv: lacks voters, which .*v.csv has"),
    ],
)
def test_predictions_that_cannot_be_made_a_submission(options, words, data_set, tmp_path):
    for name in ("p.csv", "q.csv"):
        (tmp_path / name).write_text("image_id,confidence,x,y,width,height\nstranger,0.5,1,2,3,4\n")
    (tmp_path / "v.csv").write_text("image_id,confidence,x,y,width,height,voters\nother,0.5,1,2,3,4,2\n")
    Pipeline().to_yaml(tmp_path / "pipeline.yaml")
    known = {
        "PIPELINE": tmp_path / "pipeline.yaml",
        "DATA": data_set,
        **{name: tmp_path / name for name in ("q.csv", "v.csv")},
    }
    with pytest.raises(UserError, match=words):
        run(tmp_path / "p.csv", *(known.get(one, one) for one in options), "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gate_of_predictions_is_a_table_of_its_probabilities(data_set, tmp_path):
    (tmp_path / "p.csv").write_text(
        "image_id,confidence,x,y,width,height\ntest-00,0.5,1,2,30,40\ntest-01,0.9,1,2,30,40\n"
    )
    (tmp_path / "g.csv").write_text("image_id,p_opacity\ntest-00,0.9\ntest-01,0.2\n")
    Pipeline(gate=GateRule("keep", 0.5), confidence=Confidence(0.6)).to_yaml(tmp_path / "p.yaml")
    given = (tmp_path / "p.csv", "--pipeline", tmp_path / "p.yaml", "--data", data_set, "--output", tmp_path / "out")
    with pytest.raises(UserError, match=r"p.yaml: was fitted with a gate: name the file"):
        run(*given)
    assert not run(*given, "--gate", tmp_path / "g.csv")
    assert read_predictions(tmp_path / "out/submission.csv").predictions.empty
    assert not run(*given, "--gate", tmp_path / "g.csv", "--confidence", 0.4)
    submission = read_predictions(tmp_path / "out/submission.csv")
    assert submission.predictions.to_numpy().tolist() == [["test-00", 0.5, 1.0, 2.0, 30.0, 40.0]]
    assert len(submission.image_ids) == 12
    (tmp_path / "g.csv").write_text("image_id,p_opacity\ntest-00,0.9\n")
    with pytest.raises(UserError, match=r"g.csv: 1 of the 2 images are not in it, first test-01"):
        run(*given, "--gate", tmp_path / "g.csv")
