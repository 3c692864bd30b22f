from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from common.data.data_set import DataSet
from common.errors import UserError
from convert import vindr_to_yolo

OPACITY = "Lung Opacity"


def convert(source: Path, *arguments: object) -> Path:
    output = source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, "--val", 0, "--test", 0, *arguments]
    assert not vindr_to_yolo.main([str(argument) for argument in given])
    return output


@pytest.fixture
def raw(vindr_source, tmp_path) -> Path:
    return vindr_source(tmp_path / "raw")


def truth(output: Path) -> dict[str, list[list[float]]]:
    """Boxes and their readers by image."""
    table = pd.read_csv(output / "truth.csv", dtype={"image_id": str})
    assert table.columns.tolist() == ["image_id", "x", "y", "width", "height", "label", "readers"]
    boxed = table.dropna()
    return {
        str(image_id): rows[["x", "y", "width", "height", "readers"]].to_numpy().tolist()
        for image_id, rows in boxed.groupby("image_id")
    }


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


def test_readers_boxes_are_fused_and_counted(raw):
    output = convert(raw)
    assert truth(output) == {
        "agreed": [[11, 21, 40, 40, 2]],  # the mean of the two
        "apart": [[0, 0, 20, 20, 1], [50, 0, 20, 20, 1], [90.5, 0, 20, 20, 1]],
        "twice": [[10.5, 10.5, 30, 30, 1], [70, 70, 20, 20, 1]],
        "single": [[30, 30, 30, 30, 1]],
        "half": [[30, 30, 30, 30, 1]],
    }
    images = manifest(output)
    assert images.loc["agreed", ["label", "boxes", "sex", "age"]].tolist() == [OPACITY, 1, "F", 34]
    assert images.loc["heart", ["label", "boxes"]].tolist() == ["Other finding", 0]
    assert images.loc[f"{0:032x}", ["label", "boxes"]].tolist() == ["No finding", 0]
    assert images.loc["ff00", "split"] == "challenge"
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: OPACITY}
    table = pd.read_csv(output / "truth.csv", dtype={"image_id": str}).set_index("image_id")
    assert table.loc[f"{3:032x}", "readers"] == 3  # all three found nothing
    assert table.loc["heart", "readers"] == 3
    # MONOCHROME1 and windows are rendered: the pictures are those that were stored.
    picture = cv2.imread(str(output / images.loc["agreed", "picture"]), cv2.IMREAD_UNCHANGED)
    assert (picture == np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)).all()


def test_bad_rows_are_kept_apart_with_their_reasons(raw):
    output = convert(raw)
    reasons = rejected(output)
    assert set(manifest(output).index) & {"swapped", "itself", "strange", "missing"} == set()
    expected = {
        "swapped": "no usable box is left on an image marked positive",
        "half": "box is partly empty",
        "itself": "image has both a box and a row that says it has none",
        "strange": "no usable box is left on an image marked positive",
        "missing": "no picture of this name",
    }
    assert reasons.keys() == expected.keys()
    assert all(reasons[key].startswith(text) for key, text in expected.items())
    table = pd.read_csv(output / "rejected.csv", dtype=str)
    with (raw / "train.csv").open() as file:
        lines = file.read().splitlines()
    for row in table.dropna(subset="row").itertuples():
        assert lines[int(row.row) - 1].split(",")[0] == row.image_id


def test_boxes_of_too_few_readers_make_an_image_neither_positive_nor_negative(raw):
    output = convert(raw, "--min-readers", "2")
    assert truth(output) == {"agreed": [[11, 21, 40, 40, 2]]}
    assert not {"single", "apart", "twice", "half"} & set(manifest(output).index)
    assert rejected(output)["single"] == "no box of at least 2 readers"


def test_separate_classes_keep_their_names_and_indices(raw):
    output = convert(raw, "--classes", "lung opacity,6,Cardiomegaly", "--separate")
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {
        0: "Cardiomegaly",
        1: "Infiltration",
        2: OPACITY,
    }
    table = pd.read_csv(output / "truth.csv").dropna().set_index("image_id")
    assert table.loc["agreed", ["label", "x", "width", "readers"]].to_numpy().tolist() == [
        ["Cardiomegaly", 40, 50, 2],
        ["Infiltration", 10, 40, 1],
        [OPACITY, 12, 40, 1],
    ]
    images = manifest(output)
    assert images.loc["agreed", "label"] == "Cardiomegaly; Infiltration; Lung Opacity"
    assert images.loc["apart", "label"] == "Other finding"  # consolidation was not taken
    text = (output / f"labels/{images.loc['agreed', 'split']}/agreed.txt").read_text()
    assert [line.split()[0] for line in text.splitlines()] == ["0", "1", "2"]
    # The score is of one of them.
    split = DataSet(output).split("train")
    assert split.truth[split.truth["image_id"] == "agreed"]["x"].tolist() == [12]
    assert split.truth[split.truth["image_id"] == "heart"]["x"].isna().all()
    boxes = split.manifest.set_index("image_id")["boxes"]
    assert (boxes["agreed"], boxes["heart"]) == (1, 0)
    assert split.truth["image_id"].nunique() == len(images) - 1  # without the challenge's


def test_an_independent_reading_of_the_table_counts_the_same(raw):
    with (raw / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {row["image_id"] for row in rows}
    opacity = {row["image_id"] for row in rows if row["class_id"] in ("4", "6", "7")}
    images = manifest(convert(raw))
    labelled = images[images["split"] != "challenge"]
    lost = {"swapped", "itself", "strange", "missing"}
    assert set(labelled.index) == ids - lost
    assert set(labelled.index[labelled["boxes"] > 0]) == opacity - lost


def test_the_order_of_the_rows_changes_nothing(raw, tree):
    output = convert(raw)
    before = (output / "truth.csv").read_bytes()
    header, *lines = (raw / "train.csv").read_text().splitlines()
    (raw / "train.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert (convert(raw, "--overwrite") / "truth.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda folder: (folder / "train.csv").unlink(), [], "no train.csv in it"),
        (lambda folder: (folder / "train.csv").write_text("image_id,x\na,1\n"), [], "no column class_name"),
        (lambda folder: None, ["--classes", "Pneumonia"], "--classes Pneumonia: not in VinDr-CXR, which has Aortic"),
    ],
)
def test_wrong_sources_and_classes(raw, spoil, arguments, message):
    spoil(raw)
    with pytest.raises(UserError) as error:
        convert(raw, *arguments)
    assert message in str(error.value)


def test_ids_with_an_ending_or_in_other_capitals_are_the_same_images(raw, tmp_path):
    """As tables of copies with other pictures have them: here, too, no reader's box gets lost."""
    expected = truth(convert(raw))
    lines = (raw / "train.csv").read_text().splitlines()
    renamed = [f"{line.split(',')[0].upper()}.png,{line.split(',', 1)[1]}" for line in lines[1::2]]
    (raw / "train.csv").write_text("\n".join([lines[0], *renamed, *lines[2::2]]))
    assert truth(convert(raw, "--overwrite")) == expected


def test_no_finding_with_a_dummy_box_is_no_finding(raw):
    """As the challenge's submissions write it, and copies of the table for other programs."""
    expected = manifest(convert(raw))
    table = (raw / "train.csv").read_text()
    (raw / "train.csv").write_text(re.sub(r"(No finding,14,R\d+),,,,$", r"\1,0,0,1,1", table, flags=re.MULTILINE))
    found = manifest(convert(raw, "--overwrite"))
    pd.testing.assert_frame_equal(found[["label", "boxes"]], expected[["label", "boxes"]])
