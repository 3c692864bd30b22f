"""Boxes that cannot be meant as they are read end a conversion before it writes; those that can do not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.argument_types import boxes_size
from common.errors import UserError, WorkError
from convert import coco_to_yolo, csv_to_yolo, nih_to_yolo, rsna_to_yolo, siim_covid_to_yolo, vindr_to_yolo
from convert.yolo_set.plausibility import Looked, find_fault

SIDE = 64


def chest_boxes(count: int, side: float = 1.0, seed: int = 0) -> np.ndarray:
    """Boxes (N, 4) as radiologists draw them in two lungs, in a frame of this side: from a third of the width to either
    side, of all heights.
    """
    draw = np.random.default_rng(seed)
    center = np.stack([np.where(draw.random(count) < 0.5, 0.3, 0.7), draw.uniform(0.25, 0.75, count)], axis=1)
    size = draw.uniform(0.1, 0.4, (count, 2))
    corner = np.clip(center - size / 2, 0, 1 - size)
    return np.concatenate([corner, size], axis=1) * side


def fault(boxes: np.ndarray, side: float = 512, **options: object) -> str:
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    ids = [f"i{number}" for number in range(len(boxes))]
    return find_fault(Looked(ids, boxes, np.full((len(boxes), 2), float(side))), **options)


def corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


@pytest.mark.parametrize("count", [20, 300, 3000])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda n: chest_boxes(n, 1024), "leave their picture, such as"),
        (lambda n: chest_boxes(n, 1024), "resized after the boxes were drawn: --boxes-size 1024"),
        (lambda n: chest_boxes(n, 1), "lie within one pixel, such as"),
        (lambda n: chest_boxes(n, 1), "shares of the picture: --boxes-size 1 "),
        (lambda n: corners(chest_boxes(n, 512)), "Likely width and height are the lower right corner: --as corners"),
        (lambda n: np.concatenate([chest_boxes(n, 512), chest_boxes(n, 1)]), "smaller than a pixel"),
    ],
)
def test_what_is_read_wrongly_is_told_with_its_cause(count, spoil, words):
    assert words in fault(spoil(count), other_reading="--as corners")


def test_boxes_for_smaller_pictures_are_told():
    assert "lie in the upper left quarter" in fault(chest_boxes(100, 512), 1024)
    assert "--boxes-size 512" in fault(chest_boxes(100, 512), 1024)
    assert "--boxes-size 100," in fault(chest_boxes(100, 100), 1024)
    assert "have sides below 0.5% of the picture's" in fault(chest_boxes(4, 100) / 10, 3000)


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[0, 0, 512, 512]],
        chest_boxes(1, 512),
        chest_boxes(3, 512),
        chest_boxes(3000, 512),
        np.concatenate([chest_boxes(2, 512), [[400, 10, 300, 20]]]),  # one of three
        np.concatenate([chest_boxes(2, 1024, 5), chest_boxes(1, 512)]),  # two of three: too few to tell
        np.concatenate([chest_boxes(95, 512), [[500, 10, 13, 20]] * 5]),  # 5 % stick out by a pixel
        [[500, 10, 13, 20]] * 50,  # all do
        np.concatenate([chest_boxes(95, 512), [[500, 10, 100, 20]] * 5]),  # 5 % far
        np.concatenate([chest_boxes(95, 512), [[0, 0, 0.5, 0.5]] * 5]),
        chest_boxes(50, 512) * [1, 1, 0.05, 0.05],  # small findings
        chest_boxes(29, 200),  # all in a corner, but few
        [[10, 10, 200, 300]] * 50,  # one side only
    ],
)
def test_what_can_be_meant_is_no_fault(boxes):
    assert fault(boxes) == ""


def test_with_a_frame_only_what_leaves_the_picture_is_a_fault():
    assert fault(chest_boxes(50, 100), framed=True) == ""
    assert "Correct --boxes-size" in fault(chest_boxes(50, 1024), framed=True)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", (1024, 1024)), ("1024x768", (1024, 768)), ("1", (1, 1)), ("Stated", "stated"), ("picture", "picture")],
)
def test_sizes_as_arguments(text, size):
    assert boxes_size(text) == size
    for bad in ("0", "", "1x2x3", "x", "big", "1024x"):
        with pytest.raises(Exception, match=r"expected|is not"):
            boxes_size(bad)


# The same boxes on the same pictures through every parser.


def pictures(folder: Path, ids: list[str], suffix: str = ".png") -> None:
    for number, name in enumerate(ids):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def as_csv(folder: Path, boxes: np.ndarray, **stated: int) -> list[str]:
    more = "".join(f",{value}" for value in stated.values())
    rows = [f"p{number},{','.join(map(str, box))}{more}" for number, box in enumerate(boxes.tolist())]
    head = "image,x,y,width,height" + "".join(f",picture_{name}" for name in stated)
    (folder / "boxes.csv").write_text("\n".join([head, *rows, f"n,,,,{more}"]))
    return [f"p{number}" for number in range(len(boxes))]


def as_coco(folder: Path, boxes: np.ndarray, **stated: int) -> list[str]:
    images = [{"id": number, "file_name": f"p{number}.png", **stated} for number in range(len(boxes) + 1)]
    made = [{"image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes.tolist())]
    content = {"images": images, "annotations": made, "categories": [{"id": 1, "name": "Lung Opacity"}]}
    (folder / "a.json").write_text(json.dumps(content))
    return [f"p{number}" for number in range(len(boxes) + 1)]


def as_nih(folder: Path, boxes: np.ndarray) -> list[str]:
    ids = [f"{number:08}_000" for number in range(len(boxes))]
    rows = [f"{key}.png,Pneumonia,{','.join(map(str, box))},,," for key, box in zip(ids, boxes.tolist(), strict=True)]
    (folder / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,,,", *rows]))
    return ids


def as_vindr(folder: Path, boxes: np.ndarray, **stated: int) -> list[str]:
    rows = [f"v{n},Lung Opacity,7,R8,{','.join(map(str, box))}" for n, box in enumerate(corners(boxes).tolist())]
    head = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    more = ["".join(f",{value}" for value in stated.values())] * len(rows)
    lines = [row + end for row, end in zip(rows, more, strict=True)]
    (folder / "train.csv").write_text("\n".join([head + "".join(f",{name}" for name in stated), *lines]))
    return [f"v{number}" for number in range(len(boxes))]


def as_siim(folder: Path, boxes: np.ndarray) -> list[str]:
    table = []
    for number, (box, corner) in enumerate(zip(boxes.tolist(), corners(boxes).tolist(), strict=True)):
        listed = str([dict(zip(("x", "y", "width", "height"), box, strict=True))])
        table.append((f"s{number}_image", listed, f"opacity 1 {' '.join(map(str, corner))}", f"study{number}"))
    frame = pd.DataFrame(table, columns=["id", "boxes", "label", "StudyInstanceUID"])
    frame.to_csv(folder / "train_image_level.csv", index=False)
    return [f"s{number}" for number in range(len(boxes))]


SOURCES = {
    "csv": (csv_to_yolo, as_csv),
    "coco": (coco_to_yolo, as_coco),
    "nih": (nih_to_yolo, as_nih),
    "vindr": (vindr_to_yolo, as_vindr),
    "siim": (siim_covid_to_yolo, as_siim),
}


@pytest.fixture
def convert(tmp_path):
    def run(source: str, boxes: np.ndarray, *arguments: str, suffix: str = ".png", **stated: int) -> np.ndarray:
        command, write = SOURCES[source]
        raw = tmp_path / "raw"
        raw.mkdir(exist_ok=True)
        pictures(raw, [*write(raw, boxes, **stated), "n"], suffix)
        output = tmp_path / "out"
        given = ["--source", str(raw), "--output", str(output), "--workers", "1", *arguments]
        assert not command.main(given)
        return pd.read_csv(output / "truth.csv").dropna().set_index("image_id")[["x", "y", "width", "height"]]

    return run


@pytest.mark.parametrize("source", SOURCES)
def test_every_parser_is_judged_and_scales(convert, source, tmp_path):
    boxes = chest_boxes(30, 1024)
    with pytest.raises(UserError, match=r"of 30 boxes looked at leave their picture.*--boxes-size 1024"):
        convert(source, boxes)
    assert not (tmp_path / "out").exists()
    scaled = convert(source, boxes, "--boxes-size", "1024")
    assert len(scaled) == 30
    expected = boxes * SIDE / 1024
    found = scaled.loc[sorted(scaled.index, key=lambda key: int("".join(filter(str.isdigit, key))))].to_numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)  # readers' fused boxes are rounded to 0.01
    with pytest.raises(UserError, match="boxes_size was"):
        convert(source, boxes, "--boxes-size", "2048")
    with pytest.raises(WorkError, match=r"could be used.*every box lies outside the picture of 64 x 64"):
        convert(source, boxes, "--boxes-size", "picture", "--overwrite")


@pytest.mark.parametrize("source", ["csv", "coco", "nih", "vindr", "siim"])
def test_shares_of_the_picture(convert, source):
    boxes = chest_boxes(4)
    with pytest.raises(UserError, match=r"4 of 4 boxes looked at lie within one pixel.*--boxes-size 1 "):
        convert(source, boxes)


def test_labels_of_scaled_boxes(convert, tmp_path):
    """Shares and a frame twice as wide as high, against the shares that YOLO's labels are."""
    boxes = np.array([[0.25, 0.5, 0.25, 0.25], [0.5, 0.125, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]])
    expected = ["0 0.375000 0.625000 0.250000 0.250000", "0 0.750000 0.375000 0.500000 0.500000"]
    for size, given in (("1", boxes), ("200x100", boxes * [200, 100, 200, 100])):
        truth = convert("csv", given, "--boxes-size", size, "--overwrite")
        assert truth.loc["p1"].tolist() == [32, 8, 32, 32]
        texts = {path.stem: path.read_text().strip() for path in (tmp_path / "out" / "labels").rglob("*.txt")}
        assert [texts["p0"], texts["p1"]] == expected


@pytest.mark.parametrize("source", ["csv", "coco", "vindr"])
def test_stated_sizes(convert, source):
    boxes = chest_boxes(8, 64)
    stated = {"width": 128, "height": 64}
    with pytest.raises(UserError, match=r"[89] of [89] pictures looked at have another size.*--boxes-size stated"):
        convert(source, boxes, **stated)
    scaled = convert(source, boxes, "--boxes-size", "stated", **stated)
    found = scaled.loc[sorted(scaled.index)].to_numpy()
    np.testing.assert_allclose(found, boxes * [0.5, 1, 0.5, 1], atol=0.02)


def test_who_states_no_size_is_told(convert):
    with pytest.raises(UserError, match="states no size for 5 of 5 images with boxes, such as p0"):
        convert("csv", chest_boxes(5, 64), "--boxes-size", "stated")


@pytest.mark.parametrize("source", ["csv", "coco"])
def test_corners_for_sizes(convert, source):
    boxes = chest_boxes(40, 64)
    with pytest.raises(UserError, match="Likely width and height are the lower right corner: --") as error:
        convert(source, corners(boxes))
    option = str(error.value).partition("corner: ")[2].partition(". ")[0].split()
    found = convert(source, corners(boxes), *option)
    np.testing.assert_allclose(found.loc[[f"p{number}" for number in range(40)]].to_numpy(), boxes, atol=1e-9)


def test_sizes_for_corners(convert, tmp_path):
    boxes = chest_boxes(40, 64)
    wrong = ["--columns", "x_min=x,y_min=y,x_max=width,y_max=height"]
    with pytest.raises(
        UserError, match=r"boxes end before they begin.*Likely what is read as corners is sizes: "
    ) as error:
        convert("csv", boxes, *wrong)
    option = str(error.value).partition("is sizes: ")[2].partition(". ")[0].split()
    found = convert("csv", boxes, *option)
    np.testing.assert_allclose(found.loc[[f"p{number}" for number in range(40)]].to_numpy(), boxes, atol=1e-9)


def test_nothing_left_is_an_error(convert, tmp_path):
    with pytest.raises(
        WorkError, match=r"none of the 2 images with boxes could be used, the first, p0: every box lies"
    ):
        convert("csv", np.array([[200.0, 200, 10, 10], [100, 200, 10, 10]]))
    with pytest.raises(UserError, match=r"none of its boxes can be used \(2 objections.*has no area"):
        convert("csv", np.array([[20.0, 20, 0, 10], [10, 20, 0, 10]]), "--overwrite")


def test_a_kaggle_release_with_smaller_pictures(good_release):
    """Pictures of 64 x 48 pixels, boxes for 1024 x 1024, as the challenge's own are."""
    for number, line in enumerate(good_release.labels):
        image_id, *_, target = line.split(",")
        if target == "1":
            good_release.labels[number] = f"{image_id},{264 + number * 5},152,213,379,1"
    source = good_release.write()
    command = ["--source", str(source), "--output", str(source.parent / "out"), "--workers", "1"]
    with pytest.raises(UserError, match=r"30 of 30 boxes looked at leave their picture.*--boxes-size \d+"):
        rsna_to_yolo.main(command)
    rsna_to_yolo.main([*command, "--boxes-size", "1024"])
    truth = pd.read_csv(source.parent / "out" / "truth.csv").dropna()
    np.testing.assert_allclose(truth[["y", "width", "height"]], [[152 * 48 / 1024, 213 / 16, 379 * 48 / 1024]] * 30)


def test_pictures_that_were_not_looked_at_are_judged_in_the_end(convert, monkeypatch, tmp_path):
    monkeypatch.setattr("convert.yolo_set.plausibility.SAMPLE", 1)
    with pytest.raises(UserError, match=r"of 30 boxes looked at leave their picture"):
        convert("csv", np.concatenate([chest_boxes(10, 64), chest_boxes(20, 1024)]))
    assert not (tmp_path / "out" / "manifest.csv").exists()
