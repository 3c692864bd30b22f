from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from common.data.tables import read_manifest, read_truth
from common.errors import UserError
from convert import csv_to_yolo, explore
from convert.pictures.dicom import to_picture

COLUMNS = ("--columns", "image=file,x_min=left,y_min=top,x_max=right,y_max=bottom,label=finding")


def convert(source: Path, *arguments: object, output: Path | None = None) -> Path:
    output = output or source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, *arguments]
    assert not csv_to_yolo.main([str(argument) for argument in given])
    return output


@pytest.fixture
def raw(csv_source, tmp_path) -> Path:
    return csv_source(tmp_path / "raw")


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def boxes(output: Path) -> dict[str, list[tuple]]:
    table = pd.read_csv(output / "truth.csv", dtype={"image_id": str}).dropna()
    columns = ["x", "y", "width", "height", "label"]
    return {str(key): list(rows[columns].itertuples(index=False, name=None)) for key, rows in table.groupby("image_id")}


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


def test_corners_in_columns_of_other_names(raw):
    output = convert(raw, *COLUMNS)
    found = boxes(output)
    assert found.pop("one_same") == [(1, 2, 29, 38, "opacity")]
    assert found.pop("two_same") == [(5, 2, 30, 38, "nodule")]
    assert found.pop("image_with_spaces") == [(1, 2, 29, 38, "opacity"), (7, 2, 23, 38, "nodule")]
    # The rest read without the project's code; p9 and p15 have a bad row, of which only p15's speaks against the image.
    with (raw / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:30]
    expected = {}
    for number, row in enumerate(rows):
        if row["left"] and number != 15 and number not in (6, 12):
            left, top, right, bottom = (float(row[name]) for name in ("left", "top", "right", "bottom"))
            expected[f"p{number}"] = [(left, top, right - left, bottom - top, "opacity")]
    assert {key: value for key, value in found.items() if key not in ("p6", "p12")} == expected
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "nodule", 1: "opacity"}


def test_dicoms_and_pictures_named_in_any_way(raw):
    output = convert(raw, *COLUMNS)
    images = manifest(output)
    assert images.loc["p2", ["source", "view", "label"]].tolist() == ["p2.dcm", "AP", "normal"]
    assert images.loc["p3", ["source", "boxes"]].tolist() == ["deep/p3.dcm", 1]
    assert images.loc["1.2.840.5", ["source", "age"]].tolist() == ["1.2.840.5", 61]
    assert images.loc["p7", ["source", "sex", "stored"]].tolist() == ["deep/p7.png", "F", "passed through"]
    assert images.loc["image_with_spaces", "stored"] == "passed through"
    for image_id in ("p3", "1.2.840.5"):
        data = (raw / images.loc[image_id, "source"]).read_bytes()
        assert (output / images.loc[image_id, "picture"]).read_bytes() == to_picture(data).encoded
    # Two DICOMs are of one patient, whose number in the hospital goes nowhere.
    assert images.loc["p2", "patient_id"] == images.loc["p3", "patient_id"] != images.loc["1.2.840.5", "patient_id"]
    assert images.loc["p2", "patient_id"].startswith("patient-")
    assert images.loc["p2", "split"] == images.loc["p3", "split"]
    assert not [
        path for path in output.rglob("*.*") if path.suffix in (".csv", ".json") and b"MRN" in path.read_bytes()
    ]


def test_bad_rows_are_kept_apart_with_their_reasons(raw):
    output = convert(raw, *COLUMNS)
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    reasons = [tuple(pair) for pair in table[["image_id", "reason"]].to_numpy()]
    for image_id, text in [
        ("", "no image id"),
        ("absent", "no picture of this name"),
        ("same", "several pictures of this name: one/same.png, two/same.png"),
        ("p5", "box has no area: -29 x 38 pixels"),
        ("p6", "box is partly empty"),
        ("p9", "box has a coordinate that is not a number"),
        ("p12", "image has both a box and a row that says it has none"),
        ("p15", "image has a box without a label"),
        ("nobody", "a picture without a row in boxes.csv"),
    ]:
        assert any(key == image_id and reason.startswith(text) for key, reason in reasons), (image_id, reasons)
    assert not {"p5", "p12", "p15", "nobody", "same", "absent"} & set(manifest(output).index)
    lines = (raw / "boxes.csv").read_text().splitlines()
    row = int(table.loc[table["reason"].str.startswith("box has a coordinate"), "row"].iloc[0])
    assert lines[row - 1].startswith("one,p9.png")


def test_pictures_without_a_row_can_be_negatives(raw):
    lines = (raw / "boxes.csv").read_text().splitlines()
    # Of boxes without a picture nobody knows which negative they are on.
    (raw / "boxes.csv").write_text(
        "\n".join(line for line in lines if ",same.png" not in line and "absent" not in line)
    )
    images = manifest(convert(raw, *COLUMNS, "--unlisted-negative"))
    assert images.loc["nobody", ["label", "boxes"]].tolist() == ["No finding", 0]


def test_zip_gives_the_same_data_set(raw, tmp_path, tree):
    output = convert(raw, *COLUMNS)
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for path in sorted(raw.rglob("*")):
            archive.write(path, path.relative_to(raw))
        archive.writestr("__MACOSX/._p2.dcm", b"junk")
    assert tree(convert(tmp_path / "raw.zip", *COLUMNS, output=tmp_path / "other")) == tree(output)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image_id,x,y,width,height", "{},10,20,30,40"),
        ("file_name,x_min,y_min,x_max,y_max", "{},10,20,40,60"),
        ("image,x_center,y_center,width,height", "{},25,40,30,40"),
    ],
    ids=["size", "corners", "centre"],
)
def test_three_ways_to_write_a_box_by_their_usual_names(raw, tmp_path, header, row):
    lines = [header + ",patient,age,view"]
    for number in range(5, 30):
        filled = row.format(f"p{number}") if number % 2 else f"p{number},,,,"
        lines.append(f"{filled},person {number // 2},{number},pa")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    output = convert(raw, "--boxes", table, "--label", "Pneumonia")
    assert boxes(output) == {f"p{number}": [(10, 20, 30, 40, "Pneumonia")] for number in range(5, 30, 2)}
    images = manifest(output)
    assert images.loc["p8", ["label", "boxes", "patient_id", "age", "view"]].tolist() == [
        "No finding", 0, "person 4", 8, "PA",
    ]  # fmt: skip
    assert (images.groupby("patient_id")["split"].nunique() == 1).all()


def test_truth_of_a_converted_set_is_such_a_csv(raw, tmp_path):
    """What the project writes, it reads: the same truth, now of the converted pictures."""
    first = convert(raw, *COLUMNS)
    second = convert(first / "images", "--boxes", first / "truth.csv", output=tmp_path / "again")
    assert boxes(second) == boxes(first)
    assert set(manifest(second).index) == set(manifest(first).index)


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (None, [], "no column names the image; found left, file, top"),
        (None, ["--columns", "image=file"], "no columns for boxes; found left, file, top"),
        (None, ["--columns", "image=picture"], "no column picture; found left, file, top"),
        (None, ["--boxes", "nowhere.csv"], "nowhere.csv: cannot be read (No such file"),
        (lambda folder: (folder / "more.csv").write_text("a\n1\n"), COLUMNS, "2 CSV files in it"),
        (lambda folder: (folder / "boxes.csv").write_text("image,x,y,width,height\np7,,,,\n"), [], "no class to take"),
    ],
)
def test_wrong_use_is_said_in_one_line(raw, spoil, arguments, message):
    if spoil:
        spoil(raw)
    with pytest.raises(UserError) as error:
        convert(raw, *arguments)
    assert message in str(error.value)
    assert not (raw.parent / "out").exists()


@pytest.mark.parametrize("text", ["image", "image=", "pixels=x", "image=a,image=b", ""])
def test_columns_that_cannot_be(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        csv_to_yolo.main(["--source", "x", "--columns", text])
    assert "--columns" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "found"), [("p55.png", "no picture of this name"), ("", "it is empty")])
def test_a_box_whose_picture_is_not_found_makes_no_negative(raw, tmp_path, name, found):
    """Where pictures without a row are negatives, one whose row has another name would be one of them."""
    table = tmp_path / "table.csv"
    table.write_text(f"image,x,y,width,height\np5.png,1,2,3,4\n{name},1,2,3,4\n")
    with pytest.raises(UserError, match=rf"table.csv, row 3: has a box for the image '{name}': {found}"):
        convert(raw, "--boxes", table, "--unlisted-negative")
    assert not (tmp_path / "out").exists()
    assert set(manifest(convert(raw, "--boxes", table)).index) == {"p5"}


def test_names_in_other_capitals_are_the_same_picture(raw, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("image,x,y,width,height\nP5.PNG,1,2,3,4\np5.png,5,6,7,8\np6,,,,\n")
    assert boxes(convert(raw, "--boxes", table)) == {"p5": [(1, 2, 3, 4, "Lung Opacity"), (5, 6, 7, 8, "Lung Opacity")]}


def test_pictures_whose_names_are_no_utf8_are_converted(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = ["image,x,y,width,height"]
    for number in range(20):
        name = f"caf\xe9{number}.png"  # as written by a program that thinks in Latin-1, as is the table
        cv2.imwrite(str(tmp_path / "one.png"), np.random.default_rng(number).integers(0, 255, (40, 50), np.uint8))
        (tmp_path / "one.png").rename(raw / os.fsdecode(name.encode("latin-1")))
        lines.append(f"{name},1,2,30,20")
    (raw / "boxes.csv").write_bytes("\n".join(lines).encode("latin-1"))
    output = convert(raw)
    assert sorted(manifest(output)["source"]) == sorted(f"caf\\xe9{number}.png" for number in range(20))
    assert len(boxes(output)) == 20
    assert rejected(output) == {}
    assert explore.main([str(output), "--output", str(tmp_path / "page.html"), "--no-wandb"]) in (0, None)


def test_a_table_that_a_german_spreadsheet_has_saved(raw, tmp_path):
    table = tmp_path / "Tabelle.csv"
    text = 'Image;X;Y;Width;Height;Label;Row;Text\r\np5.png;1,5;2;3,25;4;Knötchen;7;"rechts; oben"\r\np6.png;;;;;;;\r\n'
    found = []
    for encoding in ("latin-1", "utf-8-sig"):
        table.write_bytes(text.encode(encoding))
        output = convert(raw, "--boxes", table, "--overwrite")
        found.append((boxes(output), set(manifest(output).index)))
    assert found == [({"p5": [(1.5, 2, 3.25, 4, "Knötchen")]}, {"p5", "p6"})] * 2
    table.write_text(text.replace(";4;", ";4;;;"), encoding="latin-1")
    with pytest.raises(UserError, match=r"Tabelle\.csv: not a readable CSV \(line 2 has 10 fields, the header 8"):
        convert(raw, "--boxes", table, "--overwrite")


def _with_patients(folder: Path, *rows: str) -> Path:
    table = folder / "patients.csv"
    table.write_text("\n".join(["image,x,y,width,height,patient,sex,age", *rows]) + "\n")
    return table


def test_what_is_known_of_an_image_is_what_a_row_of_it_says_first(raw, tmp_path):
    table = _with_patients(
        tmp_path, "p5.png,1,2,3,4,,,", "p5.png,5,6,7,8,A,F,", "p5.png,1,6,7,8,A,M,61.0", "p6.png,,,,,B,,"
    )
    images = manifest(convert(raw, "--boxes", table))
    assert images.loc["p5", ["patient_id", "sex", "age"]].tolist() == ["A", "F", 61]
    assert images.loc["p6", "patient_id"] == "B"


def test_an_image_of_two_patients_is_rejected(raw, tmp_path):
    table = _with_patients(tmp_path, "p5.png,1,2,3,4,A,,", "p5.png,5,6,7,8,B,,", "p6.png,1,2,3,4,B,,")
    output = convert(raw, "--boxes", table)
    assert set(manifest(output).index) == {"p6"}
    assert rejected(output)["p5"] == "image has two patients: A and B"


def test_a_pattern_for_patients_that_is_given_counts_and_not_a_column_that_is_there(raw, tmp_path):
    table = _with_patients(tmp_path, "p5.png,1,2,3,4,A,,", "p6.png,1,2,3,4,A,,")
    assert set(manifest(convert(raw, "--boxes", table))["patient_id"]) == {"A"}
    output = convert(raw, "--boxes", table, "--patient-pattern", r"(\d+)\.png", "--overwrite")
    assert set(manifest(output)["patient_id"]) == {"5", "6"}
    with pytest.raises(UserError, match=r"--columns patient=sex and --patient-pattern 'x': both say .*leave one out"):
        convert(raw, "--boxes", table, "--patient-pattern", "x", "--columns", "patient=sex", "--overwrite")


def test_foreign_text_is_no_formula_in_the_tables(raw, tmp_path):
    formula = "=HYPERLINK(1)"
    table = _with_patients(tmp_path, f"p5.png,1,2,3,4,{formula},,", "p6.png,,,,,+1,,", f"{formula}.png,1,2,3,4,x,,")
    output = convert(raw, "--boxes", table, "--label", "@opacity")
    written = (output / "manifest.csv").read_text() + (output / "rejected.csv").read_text()
    assert f",'{formula}," in written
    assert f",{formula}," not in written
    assert read_manifest(output / "manifest.csv").set_index("image_id")["patient_id"].to_dict() == {
        "p5": formula, "p6": "+1",
    }  # fmt: skip
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "@opacity"}
    assert read_truth(output / "truth.csv")["label"][0] == "@opacity"


@pytest.mark.parametrize("header", ["image,x,y,width,height", "image,x_min,y_min,x_max,y_max"])
@pytest.mark.parametrize(
    "labels", [("", "", ""), (",opacity", ",opacity", ",opacity"), (",opacity", ",normal", ",none")]
)
def test_dummy_boxes_are_none(raw, tmp_path, capsys, header, labels):
    """As exports that give a box to every image write them: negatives, whatever label they repeat."""
    table = tmp_path / "table.csv"
    boxes_of = ("10,20,40,60", "0,0,1,1", "0.0,0,1.0,1")
    rows = [f"p{number},{box}{label}" for number, box, label in zip((5, 6, 7), boxes_of, labels, strict=True)]
    table.write_text("\n".join([header + (",label" if labels[0] else ""), *rows]) + "\n")
    images = manifest(convert(raw, "--boxes", table))
    assert images["boxes"].to_dict() == {"p5": 1, "p6": 0, "p7": 0}
    assert images.loc["p6", "label"] == ("normal" if labels[1] == ",normal" else "No finding")
    assert "(2 rows) is not taken for a box" in capsys.readouterr().err
