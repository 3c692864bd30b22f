from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pandas as pd
import pytest
import yaml

from common.errors import UserError
from convert import nih_to_yolo

OPACITY = "Lung Opacity"


def convert(source: Path, *arguments: object) -> Path:
    output = source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, *arguments]
    assert not nih_to_yolo.main([str(argument) for argument in given])
    return output


@pytest.fixture
def raw(nih_source, tmp_path) -> Path:
    return nih_source(tmp_path / "raw")


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def boxes(output: Path, image_id: str) -> list[list]:
    table = pd.read_csv(output / "truth.csv").dropna().set_index("image_id")
    return table.loc[[image_id], ["x", "y", "width", "height", "label"]].to_numpy().tolist()


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


def name(number: int) -> str:
    """The id of the fixture's image."""
    return f"{number // 2:08}_{number % 2:03}"


def test_boxes_negatives_and_details(raw):
    output = convert(raw)
    assert boxes(output, name(0)) == [[10.5, 20.25, 30.125, 40, OPACITY]]
    assert boxes(output, name(1)) == [[1, 2, 30, 40, OPACITY], [60, 2, 30, 40, OPACITY]]
    assert boxes(output, name(9)) == [[100, 80, 28, 16, OPACITY]]  # cut at the edge
    assert boxes(output, name(10)) == [[1, 2, 30, 40, OPACITY]]  # one opacity, two names, one of them boxed
    images = manifest(output)
    assert images.loc[name(1), ["patient_id", "view", "sex", "age", "boxes"]].tolist() == ["00000000", "AP", "F", 58, 2]
    assert images.loc[name(2), ["label", "boxes", "sex"]].tolist() == ["Other finding", 0, "M"]
    assert images.loc[name(3), ["label", "view"]].tolist() == ["No finding", "AP"]
    assert images.loc[name(7), "label"] == "Other finding"
    # 4 and 6 are labelled, but not boxed; 8 has a box without area; 11 an unknown finding.
    assert set(images.index) == {name(number) for number in range(32) if number not in (4, 6, 8, 11)}
    assert (images.groupby("patient_id")["split"].nunique() == 1).all()


def test_pictures_are_passed_through_unless_they_have_channels(raw):
    output = convert(raw)
    images = manifest(output)
    for image_id, row in images.iterrows():
        original = (raw / row["source"]).read_bytes()
        stored = (output / row["picture"]).read_bytes()
        if image_id == name(5):
            assert row["stored"] == "decoded"
            assert (
                cv2.imread(str(output / row["picture"]), cv2.IMREAD_UNCHANGED)
                == cv2.imread(str(raw / row["source"]))[..., 0]
            ).all()
        else:
            assert row["stored"] == "passed through"
            assert stored == original


def test_an_interrupted_conversion_ends_with_the_same_bytes(raw, tree):
    output = convert(raw)
    whole = tree(output)
    (output / "manifest.csv").unlink()
    pictures = sorted((output / "images").rglob("*.png"))
    for picture in pictures[::2]:
        picture.unlink()
    assert tree(convert(raw)) == whole


def test_bad_rows_are_kept_apart_with_their_reasons(raw, capsys):
    output = convert(raw)
    assert rejected(output) == {
        name(8): "box has no area: 0 x 40 pixels",
        name(11): "image has an unknown finding: 'Tumour'",
        "00000778_000": "no picture of this name",
    }
    said = capsys.readouterr().err
    assert "1 images of Data_Entry_2017.csv are not in" in said
    assert "2 images are labelled with a chosen finding, but not boxed" in said


def test_without_the_table_of_all_images_there_are_no_negatives(nih_source, tmp_path, capsys):
    output = convert(nih_source(tmp_path / "raw", entries=False))
    assert "there are no negatives" in capsys.readouterr().err
    images = manifest(output)
    assert (images["boxes"] > 0).all()
    assert set(images.index) == {name(number) for number in (0, 1, 9, 10, *range(22, 32))}
    assert images["view"].isna().all()
    assert rejected(output)[name(2)].startswith("image has boxes of other findings alone")


def test_separate_classes(raw):
    output = convert(raw, "--classes", "pneumonia,infiltrate,Mass", "--separate")
    assert yaml.safe_load((output / "data.yaml").read_text())["names"] == {0: "Infiltration", 1: "Mass", 2: "Pneumonia"}
    assert boxes(output, name(1)) == [[1, 2, 30, 40, "Pneumonia"], [60, 2, 30, 40, "Infiltration"]]
    assert boxes(output, name(2)) == [[1, 2, 30, 40, "Mass"]]
    reasons = rejected(output)
    assert reasons[name(4)] == "image has Infiltration, too, but no box of it"
    assert reasons[name(10)] == "image has Infiltration, too, but no box of it"


def test_the_list_of_boxes_read_another_way_says_the_same(raw):
    """As the facts advise: skip the header, take the columns by their place."""
    listed = pd.read_csv(raw / "BBox_List_2017.csv", skiprows=1, header=None)
    listed = listed[listed[1].isin(["Infiltrate", "Pneumonia"]) & (listed[4] > 0)]
    output = convert(raw, "--val", "0", "--test", "0")
    table = pd.read_csv(output / "truth.csv").dropna()
    found = {(row.image_id, row.x, row.y) for row in table.itertuples()}
    assert found == {
        (file.removesuffix(".png"), x, y)
        for file, x, y in listed[[0, 2, 3]].itertuples(index=False)
        if not file.startswith("00000778")
    }


def test_wrong_sources_and_classes(raw):
    with pytest.raises(UserError, match="--classes Opacity: not in ChestX-ray14's boxes"):
        convert(raw, "--classes", "Opacity")
    (raw / "BBox_List_2017.csv").unlink()
    with pytest.raises(UserError, match=r"no BBox_List_2017\.csv in it"):
        convert(raw)
    shutil.rmtree(raw)
    with pytest.raises(UserError, match="no such folder or zip"):
        convert(raw)


def test_a_smaller_copy_with_other_endings_has_the_same_images(raw):
    expected = (convert(raw) / "truth.csv").read_text()
    table = raw / "BBox_List_2017.csv"
    table.write_text(table.read_text().replace(".png", ".JPG"))
    assert (convert(raw, "--overwrite") / "truth.csv").read_text() == expected


def test_a_list_without_heights_is_refused(raw):
    """Its boxes have no names, and what follows them, such as the line's number, is none of them."""
    table = raw / "BBox_List_2017.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join(row[:5]) for row in rows))
    with pytest.raises(UserError, match=r"BBox_List_2017\.csv has 3 columns besides Image Index and Finding Label"):
        convert(raw)
