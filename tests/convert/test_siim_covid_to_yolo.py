from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from common.errors import UserError
from convert import siim_covid_to_yolo


def convert(source: Path, *arguments: object) -> Path:
    output = source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, *arguments]
    assert not siim_covid_to_yolo.main([str(argument) for argument in given])
    return output


@pytest.fixture
def raw(siim_source, tmp_path) -> Path:
    return siim_source(tmp_path / "raw")


@pytest.fixture
def output(raw) -> Path:
    return convert(raw)


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def test_boxes_are_those_of_the_column_label(raw, output):
    """The fixture's boxes, read from the other of the two columns that hold them."""
    with (raw / "train_image_level.csv").open(newline="") as file:
        rows = {row["id"].removesuffix("_image"): row["label"].split() for row in csv.DictReader(file)}
    table = pd.read_csv(output / "truth.csv", dtype={"image_id": str})
    images = manifest(output)
    assert len(images[images["split"] != "challenge"]) == table["image_id"].nunique() == 23
    for image_id, found in table.groupby("image_id"):
        boxes = [
            tuple(map(float, rows[str(image_id)][at + 2 : at + 6])) for at in range(0, len(rows[str(image_id)]), 6)
        ]
        if rows[str(image_id)][0] == "none":
            assert found[["x", "y", "width", "height"]].isna().all(axis=None)
            assert found["label"].tolist() == ["No opacity"]
        else:
            corners = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in found.itertuples()]
            assert sorted(corners) == sorted(boxes)
            assert set(found["label"]) == {"Lung Opacity"}
    assert (table["image_id"] == "two").sum() == 2


def test_images_of_a_study_stay_together(raw, output):
    images = manifest(output)
    assert images.loc["two", ["patient_id", "view", "stored"]].tolist() == ["study-two", "AP", "decoded"]
    assert images.loc["hidden", ["split", "patient_id"]].tolist() == ["challenge", "study-t"]
    assert (images.groupby("patient_id")["split"].nunique() == 1).all()
    assert (images.groupby("patient_id").size() > 1).any()


def test_bad_rows_are_kept_apart_with_their_reasons(output):
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    reasons = dict(zip(table["image_id"], table["reason"], strict=True))
    # Odd ones have boxes, and so even ones of their study of three are no negatives.
    silent = {str(number) for number in range(0, 18, 2)}
    expected = dict.fromkeys(silent, "image has no boxes, but another image of its study has") | {
        "differs": "image has other boxes in the column label than in the column boxes",
        "garbled": "image has boxes that cannot be read",
        "label": "image has a label that cannot be read",
        "missing": "no picture of this name",
        "flat": "box has no area: 0 x 4 pixels",
    }
    assert reasons.keys() == expected.keys()
    assert all(reasons[key].startswith(text) for key, text in expected.items())
    assert not set(expected) & set(manifest(output).index)


def test_wrong_source(raw):
    (raw / "train_image_level.csv").unlink()
    with pytest.raises(UserError, match=r"no train_image_level\.csv in it"):
        convert(raw)


def test_ids_in_other_capitals_are_the_same_images(raw, output):
    expected = (output / "truth.csv").read_text()
    table = pd.read_csv(raw / "train_image_level.csv", dtype=str, keep_default_na=False)
    table["id"] = table["id"].str.upper().str.replace("_IMAGE", ".DCM_image")
    table.to_csv(raw / "train_image_level.csv", index=False)
    assert (convert(raw, "--overwrite") / "truth.csv").read_text() == expected


@pytest.mark.parametrize("value", ["'a'", "[1]", "1j", "None", "1e999"])
def test_a_box_of_no_numbers_makes_no_negative(raw, value):
    table = pd.read_csv(raw / "train_image_level.csv", dtype=str, keep_default_na=False)
    index = table.index[table["boxes"] != ""][0]
    box = f"{{'x': {value}, 'y': 1, 'width': 1, 'height': 1}}"
    table.loc[index, ["boxes", "label"]] = [
        f"[{box}, {{'x': 1, 'y': 1, 'width': 1, 'height': 1}}]",
        "opacity 1 1 1 2 2",
    ]
    table.to_csv(raw / "train_image_level.csv", index=False)
    output = convert(raw)
    image_id = table["id"][index].removesuffix("_image")
    assert image_id not in manifest(output).index
    assert image_id in set(pd.read_csv(output / "rejected.csv", dtype=str)["image_id"])
