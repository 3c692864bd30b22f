from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from pycocotools.coco import COCO

from common.errors import UserError
from convert import coco_to_yolo


def convert(source: Path, *arguments: object) -> Path:
    output = source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, *arguments]
    assert not coco_to_yolo.main([str(argument) for argument in given])
    return output


@pytest.fixture
def raw(coco_source, tmp_path) -> Path:
    return coco_source(tmp_path / "raw")


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


BAD = ("not there", "wrong size", "crowd", "strange", "flat", "no box")


def test_boxes_are_those_that_pycocotools_reads(raw):
    output = convert(raw)
    theirs = COCO(str(raw / "annotations" / "instances.json"))
    expected = set()
    for image in theirs.imgs.values():
        if Path(image["file_name"]).stem not in BAD:
            for one in theirs.imgToAnns[image["id"]]:
                label = theirs.cats[one["category_id"]]["name"]
                expected.add((Path(image["file_name"]).stem, *map(float, one["bbox"]), label))
    table = pd.read_csv(output / "truth.csv", dtype={"image_id": str})
    assert set(table.dropna().itertuples(index=False, name=None)) == expected
    assert table["image_id"].nunique() == 30
    # By rising category id, and so the same for every file of a set.
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "Nodule", 1: "Opacity"}
    images = manifest(output)
    both, colour = images.loc["0007_1"], images.loc["0002_0"]
    assert both["label"] == "Nodule; Opacity"
    text = (output / f"labels/{both['split']}/0007_1.txt").read_text().splitlines()
    assert text == ["1 0.199219 0.416667 0.234375 0.416667", "0 0.586914 0.416667 0.236328 0.416667"]
    assert colour["stored"] == "decoded"
    assert (images.drop("0002_0")["stored"] == "passed through").all()
    assert (output / both["picture"]).read_bytes() == (raw / "pictures/a/0007_1.png").read_bytes()


def test_bad_records_are_kept_apart_with_their_reasons(raw):
    assert rejected(convert(raw)) == {
        "not_there": "no picture of this name",
        "wrong_size": "the picture has 128 x 96 pixels, its boxes are for 1280 x 960",
        "crowd": "image has a crowd region instead of single boxes",
        "strange": "image has an annotation whose bbox is 3 numbers, expected x, y, width and height",
        "flat": "box has no area: 0 x 4 pixels",
        "no_box": "marked positive but has no box",
        "unlisted": "a picture that is not in images",
    }


@pytest.mark.parametrize("way", [["--patient-key", "ward"], ["--patient-pattern", r"(\d+)_\d\.png"]])
def test_patients(raw, way):
    images = manifest(convert(raw, *way, "--folds", "2"))
    assert images.loc["0007_1", "patient_id"] == ("w3" if way[0] == "--patient-key" else "0007")
    assert (images.groupby("patient_id")["split"].nunique() == 1).all()
    assert images["patient_id"].nunique() == (8 if way[0] == "--patient-key" else 15)


def test_unknown_patients_are_warned_about(raw, capsys):
    convert(raw)
    assert "patients are not known" in capsys.readouterr().err


def test_merged_classes_are_one(raw):
    output = convert(raw, "--classes", "nodule,opacity", "--merge", "Lung Opacity")
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "Lung Opacity"}
    assert set(pd.read_csv(output / "truth.csv").dropna()["label"]) == {"Lung Opacity"}


def test_one_class_makes_images_with_others_negatives(raw):
    images = manifest(convert(raw, "--classes", "Nodule"))
    assert images.loc["0001_1", ["label", "boxes"]].tolist() == ["Other finding", 0]
    assert images.loc["0000_1", "label"] == "No finding"
    # What is wrong with an opacity is no matter then, but for its image's size.
    assert {"strange", "flat", "no_box"} & set(images.index) == {"flat", "no_box"}


def test_files_by_split(raw, capsys):
    content = json.loads((raw / "annotations" / "instances.json").read_text())
    parts = {"train": range(100, 118), "val": range(118, 124), "test": range(124, 130)}
    for name, ids in parts.items():
        part = {
            **content,
            "images": [image for image in content["images"] if image["id"] in ids],
            "annotations": [one for one in content["annotations"] if one["image_id"] in ids],
        }
        (raw / "annotations" / f"{name}.json").write_text(json.dumps(part))
    folder = raw / "annotations"
    arguments = ["--annotations", folder / "train.json", "--val-annotations", folder / "val.json"]
    output = convert(raw, *arguments, "--test-annotations", folder / "test.json")
    images = manifest(output)
    assert images["split"].value_counts().to_dict() == {"train": 18, "val": 6, "test": 6}
    assert images.loc["0014_1", "split"] == "test"
    with pytest.raises(UserError, match=r"4 JSON files in it .* name the COCO annotations with --annotations"):
        convert(raw)


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        ({"categories": [{"id": 1}]}, [], "a category without id or name"),
        ({"images": [{"id": 1}]}, [], "an image without id or file_name"),
        ({"annotations": [{"id": 1, "bbox": [1, 2, 3, 4]}]}, [], "annotation 1 (id 1) lacks image_id or category_id"),
        ({}, ["--classes", "Mass"], "--classes Mass: not in"),
        ({}, ["--patient-key", "person"], "--patient-key person: no image record has it; the first has id, file_name"),
        ({}, ["--patient-pattern", "("], "not a regular expression"),
        ({}, ["--patient-pattern", "MRN[0-9]+"], "matches no file"),
        ({}, ["--patient-key", "ward", "--patient-pattern", "x"], "both say who the patient is; leave one out"),
        ({}, ["--annotations", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_wrong_use_is_said_in_one_line(coco_source, tmp_path, spoil, arguments, message):
    source = coco_source(tmp_path / "raw", **spoil)
    with pytest.raises(UserError) as error:
        convert(source, *arguments)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"images": []}'])
def test_other_json_is_refused(raw, text):
    (raw / "annotations" / "instances.json").write_text(text)
    with pytest.raises(UserError, match=r"expected COCO's object detection format|not readable as JSON"):
        convert(raw)


def test_names_that_are_no_utf8_as_pythons_json_has_them(tmp_path):
    raw, names = tmp_path / "raw", [os.fsdecode(b"caf\xe9%d.png" % number) for number in range(20)]
    raw.mkdir()
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64), dtype=np.uint8)
        (raw / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 30, 40]} for number in range(20)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "opacity"}]}
    (raw / "labels.json").write_text(json.dumps(content))
    found = manifest(convert(raw))
    assert sorted(found["source"]) == sorted(f"caf\\xe9{number}.png" for number in range(20))
    assert (found["boxes"] == 1).all()
