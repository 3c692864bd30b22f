from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from common.cli import execute
from common.errors import UnreadableError, UserError, WorkError
from convert import explore, rsna_to_yolo, yolo_to_coco
from convert.pictures.dicom import to_picture
from convert.sources.files import FolderSource, _opened_zip, open_source
from convert.sources.places import MAPPING_NAME, RSNA_ZIP
from convert.synthetic.dicom_writer import write_dicom
from tests.damaged_zip import REASONS, write_zip

OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"


def convert(release, *arguments: str, workers: int = 1) -> Path:
    """Write the release and convert it; the data set's folder."""
    source = release if isinstance(release, Path) else release.write()
    output = source.parent / "out"
    rsna_to_yolo.main(
        ["--source", str(source), "--output", str(output), "--workers", str(workers), *map(str, arguments)]
    )
    return output


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


def test_writes_a_data_set_that_agrees_with_the_raw_tables(good_release):
    output = convert(good_release)
    images = manifest(output)
    assert len(images) == 65
    assert images["split"].value_counts().to_dict() == {"train": 48, "val": 6, "test": 6, "challenge": 5}
    assert images.loc["image-00", ["label", "boxes", "width", "height"]].tolist() == [OPACITY, 1, 64, 48]
    assert images.loc["image-07", ["label", "boxes", "patient_id"]].tolist() == [OPACITY, 2, "00000007"]
    assert images.loc["image-02", ["label", "boxes", "sex", "view", "age"]].tolist() == [NOT_NORMAL, 0, "F", "PA", 34]
    assert images.loc["image-03", "label"] == NORMAL
    assert images.loc["image-03", "pixel_spacing_mm"] == 0.143
    assert images.loc["challenge-1", ["label", "boxes"]].isna().all()
    assert (images["stored"] == "passed through").all()

    for image_id, row in images.iterrows():
        stored = (output / row["picture"]).read_bytes()
        assert stored == to_picture(good_release.files[row["source"]]).encoded
        label = output / f"labels/{row['split']}/{image_id}.txt"
        assert label.exists() == (row["split"] != "challenge")
        if label.exists():
            assert len(label.read_text().splitlines()) == row["boxes"]
    # x 1 of 64, y 2 of 48, 10 x 20 pixels
    text = (output / f"labels/{images.loc['image-00', 'split']}/image-00.txt").read_text()
    assert text == "0 0.093750 0.250000 0.156250 0.416667\n"

    truth = pd.read_csv(output / "truth.csv")
    assert truth.columns.tolist() == ["image_id", "x", "y", "width", "height", "label"]
    assert truth["image_id"].nunique() == 60
    assert truth["x"].notna().sum() == 30
    assert truth[truth["image_id"] == "image-01"][["x", "y", "width", "height"]].to_numpy().tolist() == [
        [1, 2, 10, 20],
        [30.5, 5, 20, 30],
    ]
    assert rejected(output) == {}


def test_no_patient_is_in_two_splits(good_release):
    images = manifest(convert(good_release, "--folds", "3"))
    labelled = images[images["split"] != "challenge"]
    assert (labelled.groupby("patient_id")["split"].nunique() == 1).all()
    assert (labelled.dropna(subset="fold").groupby("patient_id")["fold"].nunique() == 1).all()
    assert set(labelled["fold"].dropna()) == {0, 1, 2}
    assert (labelled["fold"].notna() == (labelled["split"] == "train")).all()


def test_manifest_is_written_as_promised(good_release):
    lines = (convert(good_release, "--folds", "3") / "manifest.csv").read_text().splitlines()
    assert lines[0] == (
        "image_id,split,fold,patient_id,label,boxes,width,height,view,sex,age,pixel_spacing_mm,stored,note,source,"
        "picture"
    )
    assert lines[1] == (
        "challenge-0,challenge,,00000100,,,64,48,AP,F,34,0.143,passed through,,"
        "stage_2_test_images/challenge-0.dcm,images/challenge/challenge-0.jpg"
    )
    fields = next(line for line in lines if line.startswith("image-01,")).split(",")
    assert fields[2] in ("", "0", "1", "2")
    assert fields[3:8] == ["00000001", "Lung Opacity", "2", "64", "48"]


def test_lists_and_yaml_lead_ultralytics_to_the_pictures(good_release, capsys):
    output = convert(good_release, "--folds", "2", "--negatives", "0.5")
    told = re.search(
        r"train\.txt lists (\d+) of train's 48 images: 16 with boxes and 8 without", capsys.readouterr().out
    )
    assert told
    images = manifest(output)
    assert "path" not in yaml.safe_load((output / "data.yaml").read_text())

    def listed(name: str) -> set[str]:
        lines = (output / f"{name}.txt").read_text().splitlines()
        assert all(line.startswith("./images/") and (output / line).exists() for line in lines)
        return {Path(line).stem for line in lines}

    def ids(rows: pd.Series) -> set[str]:
        return set(images.index[rows])

    positive, train = images["boxes"] > 0, images["split"] == "train"
    assert listed("val") == ids(images["split"] == "val")
    assert listed("challenge") == ids(images["split"] == "challenge")
    assert listed("train_positives") == ids(train & positive)
    kept = listed("train")
    assert ids(train & positive) <= kept <= ids(train)
    assert len(kept) == round(1.5 * (train & positive).sum()) == int(told[1])
    assert listed("fold0_val") == ids(images["fold"] == 0)
    assert listed("fold0_train_positives") == ids((images["fold"] == 1) & positive)
    assert listed("fold0_val") | listed("fold1_val") == ids(train)
    fold = yaml.safe_load((output / "fold1.yaml").read_text())
    assert fold == {
        "train": "fold1_train.txt",
        "val": "fold1_val.txt",
        "test": "test.txt",
        "channels": 1,
        "names": {0: OPACITY},
    }
    assert yaml.safe_load((output / "positives.yaml").read_text())["train"] == "train_positives.txt"
    assert yaml.safe_load((output / "fold0_positives.yaml").read_text())["train"] == "fold0_train_positives.txt"


def test_other_encodings_are_stored_losslessly(release):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    pixels[0, :2] = 0, 255
    for encoding in ("monochrome1", "rle", "jpeg-2000", "deflated"):
        data = write_dicom(pixels, encoding, image_id=encoding, patient_age="034Y")
        release.add(encoding, OPACITY, (1, 1, 5, 5), data=data)
    output = convert(release)
    images = manifest(output)
    assert (images["stored"] == "decoded").all()
    for picture in images["picture"]:
        assert picture.endswith(".png")
        assert (cv2.imread(str(output / picture), cv2.IMREAD_UNCHANGED) == pixels).all()


def test_size_scales_pictures_down_and_leaves_truth_alone(good_release):
    output = convert(good_release, "--size", "32")
    images = manifest(output)
    assert images.loc["image-00", ["width", "height", "stored"]].tolist() == [64, 48, "decoded"]
    assert cv2.imread(str(output / images.loc["image-00", "picture"]), 0).shape == (24, 32)
    text = (output / f"labels/{images.loc['image-00', 'split']}/image-00.txt").read_text()
    assert text == "0 0.093750 0.250000 0.156250 0.416667\n"


def test_zip_and_several_processes_give_the_same_data_set(good_release, tmp_path, tree):
    # More than 200 images, so that two processes are really used.
    for number in range(200):
        good_release.add(f"more-{number}", NORMAL)
    output = convert(good_release)
    with zipfile.ZipFile(tmp_path / "release.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(good_release.folder.rglob("*")):
            archive.write(path, path.relative_to(good_release.folder))
    other = tmp_path / "other"
    rsna_to_yolo.main(
        ["--source", str(tmp_path / "release.zip"), "--output", str(other), "--workers", "2"],
    )
    assert tree(other) == tree(output)


def spoil(release, member: str, kind: str) -> Path:
    """The release as a deflated zip of which one member cannot be read."""
    release.write()
    files = {path.relative_to(release.folder).as_posix(): path for path in release.folder.rglob("*") if path.is_file()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    return write_zip(release.folder.parent / "release.zip", contents, member, kind)


def test_zips_in_the_folder_or_in_the_zip_as_kaggle_served_them_give_the_same_data_set(good_release, tmp_path, tree):
    expected = tree(convert(good_release))
    first, raw = tmp_path / "first", good_release.folder
    first.mkdir()
    for name in ("stage_2_train_images", "stage_2_test_images"):
        with zipfile.ZipFile(first / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (raw / name).iterdir():
                archive.write(file, file.name)
    for table in raw.glob("*.csv"):
        with zipfile.ZipFile(first / f"{table.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(table, table.name)
    shutil.copy(raw / MAPPING_NAME, first)
    outer, kept = tmp_path / "all.zip", tmp_path / "kept" / RSNA_ZIP.name
    with zipfile.ZipFile(outer, "w") as archive:
        for file in first.iterdir():
            archive.write(file, file.name)
    kept.parent.mkdir()
    shutil.copy(outer, kept)
    for number, source in enumerate((first, outer, kept.parent)):
        output = tmp_path / f"out{number}"
        # Two processes, which open the inner zips themselves.
        rsna_to_yolo.main(["--source", str(source), "--output", str(output), "--workers", str(1 + number % 2)])
        found = tree(output)
        assert found.keys() == expected.keys()
        different = {name for name in expected if found[name] != expected[name]}
        assert different == {"manifest.csv"}  # which says where in the source a picture is
        assert manifest(output).loc["image-00", "source"] == "stage_2_train_images.zip/image-00.dcm"
    assert explore.main([str(kept.parent), "--output", str(tmp_path / "page.html"), "--no-wandb"]) in (0, None)


def test_a_damaged_member_of_a_zip_in_the_folder_is_rejected(good_release):
    source = good_release.write()
    pictures = source / "stage_2_train_images"
    contents = {file.name: file.read_bytes() for file in pictures.iterdir()}
    shutil.rmtree(pictures)
    write_zip(source / "stage_2_train_images.zip", contents, "image-30.dcm", "damaged")
    found = rejected(convert(source))
    assert found.keys() == {"image-30"}
    assert found["image-30"].startswith("cannot be read: damaged in the zip")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_tables_that_a_german_spreadsheet_has_saved_give_the_same_data_set(good_release, tree, encoding):
    expected = tree(convert(good_release))
    for table in good_release.folder.glob("*.csv"):
        text = table.read_text().replace(",", ";").replace(".", ",").replace("patientId", "PatientID")
        assert (";30,5;" in text) == ("labels" in table.name)
        table.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    found = tree(convert(good_release.folder, "--overwrite"))
    assert {name for name in expected | found if expected.get(name) != found.get(name)} <= {"conversion.json"}


def test_decimal_commas_that_are_delimiters_too_are_an_error(good_release):
    good_release.labels[3] = "image-01,30,5,5,20,3,30,5,1"
    with pytest.raises(UserError, match=r"labels\.csv: not a readable CSV \(line 4 has 9 fields, the header 6"):
        convert(good_release)


def test_an_image_that_is_there_twice_is_an_error_with_both_places(good_release):
    good_release.files["backup/stage_2_train_images/image-00.dcm"] = b"another"
    with pytest.raises(UserError, match=r"image-00: backup/stage_2_train_\S*-00.dcm and stage_2_train_\S*-00.dcm"):
        convert(good_release)


@pytest.mark.parametrize("kind", REASONS)
def test_one_member_that_the_zip_does_not_give_is_rejected_and_the_others_are_converted(good_release, kind):
    output = convert(spoil(good_release, "stage_2_train_images/image-00.dcm", kind))
    reasons = rejected(output)
    assert list(reasons) == ["image-00"]
    assert reasons["image-00"].startswith(f"cannot be read: {REASONS[kind]}")
    assert len(manifest(output)) == 64


@pytest.mark.parametrize("name", ["stage_2_train_labels.csv", "pneumonia-challenge-dataset-mappings_2018.json"])
@pytest.mark.parametrize("kind", REASONS)
def test_a_table_or_mapping_that_the_zip_does_not_give_ends_in_one_line(good_release, name, kind):
    with pytest.raises(UserError, match=f"{name}: cannot be read") as caught:
        convert(spoil(good_release, name, kind))
    assert REASONS[kind] in str(caught.value)


def test_bad_rows_and_files_are_kept_apart_with_their_reasons(release):
    good = [(1, 2, 10, 20)]
    release.add("good", OPACITY, *good)
    release.add("negative", NORMAL)
    release.add("clipped", OPACITY, (-5, 2, 10, 20), (50, 40, 20, 20))
    release.add("half-outside", OPACITY, (1, 2, 10, 20), (64, 0, 10, 10))
    release.add("outside", OPACITY, (100, 100, 10, 10))
    release.add("partly-empty", OPACITY, (1, 2, "", 20))
    release.add("no-area", OPACITY, (1, 2, 0, 20))
    release.add("truncated", OPACITY, *good, data=release.files["stage_2_train_images/good.dcm"][:-500])
    release.add("no-dicom", OPACITY, *good, data=b"this is no DICOM file")
    release.add("two-classes", NORMAL)
    release.classes.append(f"two-classes,{NOT_NORMAL}")
    release.add("target-contradicts", NORMAL)
    release.labels[-1] = "target-contradicts,1,2,3,4,1"
    release.add("box-on-negative", NORMAL)
    release.labels[-1] = "box-on-negative,1,2,3,4,0"
    release.add("strange-target", NORMAL)
    release.labels[-1] = "strange-target,,,,,yes"
    release.add("unknown-class", "Lung opacity?")
    release.labels += ["no-file,,,,,0", "../evil,,,,,0", "no-class,,,,,0", "good,1,2,10,20,1"]
    release.classes += [f"no-file,{NORMAL}", f"../evil,{NORMAL}"]
    release.files["stage_2_train_images/no-class.dcm"] = release.files["stage_2_train_images/good.dcm"]
    release.files["stage_2_train_images/unlabelled.dcm"] = release.files["stage_2_train_images/good.dcm"]
    output = convert(release, "--val", "0", "--test", "0")

    assert set(manifest(output).index) == {"good", "negative", "clipped", "half-outside"}
    truth = pd.read_csv(output / "truth.csv").set_index("image_id")[["x", "y", "width", "height"]]
    assert truth.loc["clipped"].to_numpy().tolist() == [[0, 2, 5, 20], [50, 40, 14, 8]]
    assert truth.loc["half-outside"].tolist() == [1, 2, 10, 20]
    reasons = rejected(output)
    expected = {
        "good": "duplicate of an earlier row",
        "half-outside": "box 64 0 10 10 lies outside the picture",
        "outside": "every box lies outside the picture of 64 x 48 pixels",
        "partly-empty": "box is partly empty",
        "no-area": "box has no area: 0 x 20 pixels",
        "truncated": "truncated",
        "no-dicom": "",
        "two-classes": "image has two classes",
        "target-contradicts": "image has Target 1 but the class 'Normal'",
        "box-on-negative": "marked negative but has a box",
        "strange-target": "image has Target 'yes', expected 0 or 1",
        "unknown-class": "image has an unknown class: 'Lung opacity?'",
        "no-file": "labelled, but no DICOM",
        "../evil": "is not a plain name",
        "no-class": "image has no row in stage_2_detailed_class_info.csv",
        "unlabelled": "a DICOM without a row",
    }
    assert reasons.keys() == expected.keys()
    for image_id, text in expected.items():
        assert text in reasons[image_id], image_id
    assert not list(output.parent.rglob("evil*"))


def test_closing_table_counts_what_was_converted_and_rejected(good_release, capsys):
    good_release.add("bad", OPACITY, (1, 2, 0, 20))
    convert(good_release)
    printed = capsys.readouterr()
    assert "65 images in" in printed.out
    assert "1  box has no area: 0 x 20 pixels" in printed.out
    assert "yolo train data=" in printed.out


def test_missing_mapping_is_warned_about_and_used_when_given(good_release, capsys):
    good_release.mapping.clear()
    source = good_release.write()
    output = convert(source)
    assert "--nih-mapping" in capsys.readouterr().err
    assert manifest(output).loc["image-03", "patient_id"] == "image-03"

    mapping = source.parent / "mapping.csv"
    rows = [f"image-{number:02},{number % 7:08}_003.png" for number in range(59)]
    mapping.write_text("patientId,nih_image\n" + "\n".join(rows) + "\n")
    output = convert(source, "--overwrite", "--nih-mapping", mapping)
    assert manifest(output).loc["image-10", "patient_id"] == "00000003"
    warned = capsys.readouterr().err
    assert "the patients of 1 of 60 images are not known" in warned
    assert "the patients of 5 of 5 images are not known" in warned  # the challenge's


def test_fixed_split_lists(good_release, capsys):
    source = good_release.write()
    listed = source.parent / "val.csv"
    listed.write_text("patientId\nimage-00\nimage-01\n")
    output = convert(source, "--val-ids", listed, "--test", "0.2")
    images = manifest(output)
    assert set(images.index[images["split"] == "val"]) == {"image-00", "image-01"}
    assert not {"image-20", "image-40", "image-21", "image-41"} & set(images.index)  # of the same two patients
    assert rejected(output)["image-20"].startswith("left out: its patient is in a fixed split")
    assert "4 images are left out" in capsys.readouterr().err

    output = convert(source, "--val-ids", listed, "--test", "0.2", "--keep-leaking", "--overwrite")
    assert manifest(output).loc["image-20", "split"] == "train"
    assert "have a patient in more than one split" in capsys.readouterr().err


def test_folds_of_earlier_versions_held_val_and_are_not_taken_for_those_of_now(good_release):
    output = convert(good_release, "--folds", "2")
    settings = json.loads((output / "conversion.json").read_text())
    assert (settings["folds"], settings.pop("folds_of")) == (2, "train")
    (output / "conversion.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"of other settings \(folds_of was null, now \"train\"\).*--overwrite"):
        convert(good_release, "--folds", "2")
    assert "folds_of" not in json.loads((convert(good_release, "--overwrite") / "conversion.json").read_text())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "stage_2_train_labels.csv").unlink(), r"no stage_2_train_labels\.csv in it"),
        (lambda folder: (folder / "stage_2_detailed_class_info.csv").unlink(), "no stage_2_detailed_class_info"),
        (
            lambda folder: (folder / "stage_2_train_labels.csv").write_text("patientId,x,y,width,Target\na,1,2,3,1\n"),
            "no column height; found patientId, x, y, width, Target",
        ),
        (lambda folder: (folder / "stage_2_train_images").rename(folder / "elsewhere"), r"no \.dcm file in a folder"),
        (
            lambda folder: (folder / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\n"),
            "no picture has a usable annotation",
        ),
        (
            lambda folder: (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text("[{]"),
            "not an image-to-patient mapping",
        ),
    ],
    ids=["no labels", "no classes", "no column", "no pictures", "no rows", "bad mapping"],
)
def test_source_that_cannot_be_used(good_release, spoil, message):
    source = good_release.write()
    spoil(source)
    with pytest.raises(UserError, match=message):
        convert(source)
    assert not (source.parent / "out").exists()


def test_too_few_patients_for_every_split_are_warned_about(release, capsys):
    release.add("a", NORMAL)
    release.add("b", OPACITY, (1, 2, 10, 20))
    convert(release)
    assert "no image falls to val: 2 patients are too few for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "filled"),
    [
        (["--test", "1"], {"test": 60}),
        (["--val", "1"], {"val": 60}),
        (["--test-ids", "all"], {"test": 60}),
        (["--val", "0.5", "--test", "0.5"], {"val": 30, "test": 30}),
    ],
)
def test_a_set_to_be_scored_on_only(good_release, arguments, filled, capsys):
    source = good_release.write()
    listed = source.parent / "ids.txt"
    listed.write_text("\n".join(f"image-{number:02}" for number in range(60)))
    output = convert(source, *(str(listed) if argument == "all" else argument for argument in arguments))
    printed = capsys.readouterr()
    assert "no image is left for train: this data set is for scoring only" in printed.err
    assert "too few" not in printed.err
    images = manifest(output)
    assert images.loc[images["split"] != "challenge", "split"].value_counts().to_dict() == filled
    # Ultralytics wants the keys `train` and `val` and the files that they name, even for `yolo val split=test`.
    content = yaml.safe_load((output / "data.yaml").read_text())
    for name in ("train", "val", "test"):
        assert content[name] == f"{name}.txt"
        lines = (output / content[name]).read_text().splitlines()
        assert sorted(lines) == sorted("./" + images.loc[images["split"] == name, "picture"])
    options = "" if len(filled) > 1 else f" --report-on {next(iter(filled))} (at the confidence"
    assert f"Next: python evaluate/score.py WEIGHTS --data {output / 'data.yaml'}{options}" in printed.out


def test_options_that_have_nothing_to_act_on_are_told(good_release, capsys):
    convert(good_release, "--test", "1", "--negatives", "1")
    assert "no image is left for train and for --negatives" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"--folds 3: train has 0 patients, and folds are of its images"):
        convert(good_release, "--test", "1", "--folds", "3", "--overwrite")


def test_no_usable_picture_at_all(release):
    release.add("a", NORMAL, data=b"x")
    with pytest.raises(WorkError, match="none of its 1 images could be used; the first"):
        convert(release)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "/no/such/folder"], "no such folder or zip"),
        (["--val", "0.7", "--test", "0.4"], "are more than all images"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, message, capsys):
    assert execute(rsna_to_yolo.main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--val", "2"], ["--folds", "1"], ["--workers", "0"], ["--negatives", "-1"]])
def test_option_values_that_cannot_be(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        rsna_to_yolo.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_output_that_is_not_ours_is_left_alone(good_release):
    output = good_release.folder.parent / "out"
    output.mkdir()
    (output / "thesis.docx").write_text("years of work")
    for arguments in ([], ["--overwrite"]):
        with pytest.raises(UserError, match=r"not a data set made here .*thesis\.docx"):
            convert(good_release, *arguments)
    assert [path.name for path in output.iterdir()] == ["thesis.docx"]


def test_output_that_is_a_file(good_release):
    (good_release.folder.parent / "out").write_text("")
    with pytest.raises(UserError, match="a file, expected a folder"):
        convert(good_release)


def test_a_place_that_is_only_to_be_read_is_refused_before_the_source_is_read(good_release, read_only, capsys):
    source = good_release.write()
    output = convert(source)
    (output.parent / "locked").mkdir()
    read_only(output.parent)
    capsys.readouterr()
    convert(source)  # finished: only looked at
    assert "is converted already" in capsys.readouterr().out
    refused = {
        ("--output", str(output.parent / "locked" / "new")): "Choose another --output.",
        ("--overwrite",): "Choose another --output.",
        ("--report",): f"Without --report, and then: python convert/explore.py {output} --output page.html",
    }
    for arguments, remedy in refused.items():
        place = Path(arguments[1]) if len(arguments) > 1 else output
        with pytest.raises(UserError) as caught:
            convert(source, *arguments)
        assert f"{place}: not a folder that can be written (Read-only file system). {remedy}" in str(caught.value)
        assert "reading" not in capsys.readouterr().out
    assert list((output.parent / "locked").iterdir()) == []


def test_finished_data_set_is_not_done_again(good_release, capsys):
    output = convert(good_release)
    before = (output / "manifest.csv").stat().st_mtime_ns
    convert(good_release)
    assert "is converted already" in capsys.readouterr().out
    assert (output / "manifest.csv").stat().st_mtime_ns == before
    for name in ("val", "test", "train"):  # lists that somebody has removed since
        (output / f"{name}.txt").unlink()
        convert(good_release)
        assert "Next: yolo train" in capsys.readouterr().out


def test_other_settings_are_refused_and_overwritten_on_demand(good_release):
    output = convert(good_release)
    with pytest.raises(UserError, match="seed was 0, now 1"):
        convert(good_release, "--seed", "1")
    (output / "labels" / "train.cache").write_text("what Ultralytics leaves")
    for view in ("classes", "classes-fold0"):  # what the gate leaves
        (output / view).mkdir()
        (output / view / "image.jpg").symlink_to("../images/train/image.jpg")
    convert(good_release, "--seed", "1", "--overwrite")
    assert not (output / "labels" / "train.cache").exists()
    assert not list(output.glob("classes*"))


def test_overwriting_removes_by_name_what_was_made_and_leaves_the_rest(good_release, tree):
    output = convert(good_release, "--folds", "2", "--report", "--size", "32")
    yolo_to_coco.main(["--data", str(output)])
    fresh = convert(good_release, "--output", output.parent / "fresh", "--seed", "1").parent / "fresh"
    picture = next((output / "images" / "train").iterdir())
    for name in (picture.relative_to(output).with_suffix(".npy"), "labels/val.cache", "images/val/a.jpg.77.part"):
        (output / name).write_text("what Ultralytics or a killed process leaves")
    (output / "coco" / "test_predictions.json").write_text("[]")
    own = ["notes.txt", "mine.yaml", "fold.yaml", "train_mine.txt", "my_positives.txt", "big.part", "coco/notes.json",
           "images/train/mine.npy", "images/train/notes.txt", "labels/mine.txt", "images/other/mine.jpg"]  # fmt: skip
    for name in own:
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text("mine")
    convert(good_release, "--seed", "1", "--overwrite")
    assert tree(output) == tree(fresh) | dict.fromkeys(own, b"mine")


def test_unfinished_data_set_with_no_resume_is_refused(good_release):
    output = convert(good_release)
    (output / "manifest.csv").unlink()
    with pytest.raises(UserError, match="unfinished conversion"):
        convert(good_release, "--no-resume")


@pytest.mark.parametrize("gone", ["images/train", "labels", "images/challenge"])
def test_a_folder_that_was_removed_is_made_again(good_release, tree, gone):
    output = convert(good_release)
    whole = tree(output)
    (output / "manifest.csv").unlink()
    shutil.rmtree(output / gone)
    convert(good_release)
    assert tree(output) == whole


def test_full_disk_ends_in_one_line_and_is_resumed(good_release, monkeypatch, tree):
    whole = tree(convert(good_release))
    replace = os.replace

    def full(source: str, target: str) -> None:
        if Path(target).stem == "image-30":
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(WorkError, match="the disk is full"):
            convert(good_release, "--overwrite")
    output = good_release.folder.parent / "out"
    assert not (output / "manifest.csv").exists()
    assert not list(output.rglob("*.part"))
    assert list(output.rglob("image-29.*"))
    assert not list(output.rglob("image-30.*"))
    convert(good_release)
    assert tree(output) == whole


def _vanish(way: str, source: Path) -> None:
    pictures = source / "stage_2_train_images"
    if way == "moved":
        source.rename(source.with_name("elsewhere"))
    elif way == "part of it unmounted":
        pictures.rename(source.with_name("elsewhere"))
        pictures.mkdir()
    elif way == "zip moved":
        source.rename(source.with_name("elsewhere"))
    else:
        os.truncate(source, 2000)


@pytest.mark.parametrize("way", ["moved", "part of it unmounted", "zip moved", "zip cut short"])
def test_source_that_vanishes_ends_the_run_and_is_resumed(good_release, tree, monkeypatch, way):
    source = good_release.write()
    if "zip" in way:
        source = Path(shutil.make_archive(str(source), "zip", source))
    whole, content = tree(convert(source)), source.read_bytes() if "zip" in way else b""
    read, names = type(open_source(source)).read, []

    def vanishing(self, name: str, *limit: int) -> bytes:
        if "images" in name:
            names.append(name)
        if len(names) == 50 and names[-1] == name:  # of 20 looked at and 65 converted
            _vanish(way, source)
            _opened_zip.cache_clear()  # as in a worker that starts only now
        return read(self, name, *limit)

    command = ["--source", str(source), "--output", str(source.parent / "out"), "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(type(open_source(source)), "read", vanishing)
        with pytest.raises(WorkError, match=r"cannot be read any more .*run the same command again"):
            rsna_to_yolo.main([*command, "--overwrite"])
    output = source.parent / "out"
    assert not (output / "manifest.csv").exists()
    assert len(list(output.rglob("labels/*/*.txt"))) > 20
    elsewhere = source.with_name("elsewhere")
    if way == "zip cut short":
        source.write_bytes(content)
    elif way == "part of it unmounted":
        (source / "stage_2_train_images").rmdir()
        elsewhere.rename(source / "stage_2_train_images")
    else:
        elsewhere.rename(source)
    _opened_zip.cache_clear()
    rsna_to_yolo.main(command)
    assert tree(output) == whole


def test_a_file_that_cannot_be_read_is_rejected_and_a_short_machine_is_not_its_fault(good_release, monkeypatch):
    source, read = good_release.write(), FolderSource.read

    def failing(number: int):
        def one_fails(self, name: str, *limit: int) -> bytes:
            if name.endswith("image-30.dcm"):
                raise UnreadableError(os.strerror(number)) from OSError(number, os.strerror(number))
            return read(self, name, *limit)

        return one_fails

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "read", failing(errno.EMFILE))
        with pytest.raises(WorkError, match="Too many open files"):
            convert(source)
    for number in (errno.ENOENT, errno.EACCES, errno.EIO):
        with monkeypatch.context() as patch:
            patch.setattr(FolderSource, "read", failing(number))
            assert rejected(convert(source, "--overwrite")).keys() == {"image-30"}


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_and_resumed_it_is_the_same_data_set(good_release, tree, workers):
    for number in range(250):
        good_release.add(f"more-{number}", OPACITY, (1, 2, 3, 4), data=None if number % 10 else b"broken")
    source = good_release.write()
    whole = tree(convert(source))
    output = source.parent / "killed"
    command = [sys.executable, "convert/rsna_to_yolo.py", "--source", source, "--output", output]
    command += ["--workers", str(workers)]
    killed = []
    for pictures in (1, 100, 250):  # killed when so many are there, and run again
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and sum(1 for _ in (output / "images").rglob("*.jpg")) < pictures:
            assert time.monotonic() < deadline, f"{pictures} pictures were never there"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        killed.append(process.wait() == -signal.SIGKILL)
        # Whatever is there is whole; the data set says that it is finished only if it is.
        left = {name: data for name, data in tree(output).items() if not name.endswith((".part", ".lock"))}
        assert left.items() <= whole.items()
        assert "manifest.csv" not in left or left == whole
    assert killed[0]
    (output / "images" / "train" / "left.jpg.123.part").write_bytes(b"half")
    rsna_to_yolo.main(["--source", str(source), "--output", str(output), "--workers", str(workers)])
    assert tree(output) == whole
