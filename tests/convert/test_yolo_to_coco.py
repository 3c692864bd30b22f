from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common.data.tables import make_predictions, write_predictions
from common.errors import UserError
from convert import coco_to_yolo, rsna_to_yolo, vindr_to_yolo, yolo_to_coco
from evaluate import score


@pytest.fixture
def data(good_release, tmp_path) -> Path:
    """A converted data set, half of whose labelled images are the split test."""
    source = good_release.write()
    more = ["--workers", "1", "--val", "0.2", "--test", "0.5"]
    rsna_to_yolo.main(["--source", str(source), "--output", str(tmp_path / "set"), *more])
    return tmp_path / "set"


@pytest.fixture
def predictions(data, tmp_path) -> Path:
    """Boxes near the true ones, and others, for the split test."""
    truth = pd.read_csv(data / "truth.csv", dtype={"image_id": str})
    test = set(pd.read_csv(data / "test.txt", header=None)[0].map(lambda path: Path(path).stem))
    boxes = truth[truth["image_id"].isin(test)].dropna()
    random = np.random.default_rng(1)
    near = boxes[["x", "y", "width", "height"]].to_numpy() + random.uniform(-1.5, 1.5, (len(boxes), 4))
    ids = [*boxes["image_id"], *sorted(test)[:10]]
    strays = np.column_stack([random.uniform(0, 30, (10, 2)), random.uniform(5, 20, (10, 2))])
    confidence = random.uniform(0.2, 1, len(ids))
    path = tmp_path / "predictions.csv"
    write_predictions(path, make_predictions(ids, np.column_stack([confidence, np.concatenate([near, strays])])))
    return path


def export(data: Path, *arguments: object) -> Path:
    assert not yolo_to_coco.main([str(argument) for argument in ("--data", data, *arguments)])
    return data / "coco"


def evaluated(folder: Path) -> np.ndarray:
    """COCO's twelve numbers of the split test, by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "test.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "test_predictions.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_pycocotools_gets_the_map_of_score_json(data, predictions, tmp_path):
    folder = export(data, "--predictions", predictions)
    more = ["--output", tmp_path / "score", "--no-wandb", "--no-report"]
    score.main([str(argument) for argument in ("--predictions", predictions, "--data", data, *more)])
    ours = json.loads((tmp_path / "score" / "score.json").read_text())["splits"]["test"]
    stats = evaluated(folder)
    assert 0.05 < ours["map50_95"] < ours["map50"] < 1
    assert stats[0] == pytest.approx(ours["map50_95"], abs=1e-3)
    assert stats[1] == pytest.approx(ours["map50"], abs=1e-3)


def test_files_are_relative_and_whole(data):
    folder = export(data)
    manifest = pd.read_csv(data / "manifest.csv", dtype={"image_id": str}).set_index("image_id")
    seen = set()
    for split in ("train", "val", "test"):
        content = json.loads((folder / f"{split}.json").read_text())
        for image in content["images"]:
            row = manifest.loc[image["name"]]
            with Image.open(data / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"]) == (64, 48)
            assert (row["split"], row["sex"], row["age"]) == (split, image["sex"], image["age"])
            assert image["id"] not in seen
            seen.add(image["id"])
    assert len(seen) == 60
    assert sorted(path.name for path in folder.iterdir()) == ["test.json", "train.json", "val.json"]


def test_what_is_exported_can_be_converted_back(data, tmp_path):
    folder = export(data)
    arguments = ["--source", data / "images", "--output", tmp_path / "back", "--patient-key", "patient_id"]
    for name, split in (("annotations", "train"), ("val-annotations", "val"), ("test-annotations", "test")):
        arguments += [f"--{name}", folder / f"{split}.json"]
    coco_to_yolo.main([str(argument) for argument in (*arguments, "--workers", 1)])
    columns = ["image_id", "x", "y", "width", "height"]
    truth, back = (
        pd.read_csv(where / "truth.csv", dtype={"image_id": str})[columns] for where in (data, tmp_path / "back")
    )
    pd.testing.assert_frame_equal(back, truth)
    before, after = (
        pd.read_csv(where / "manifest.csv", dtype=str).set_index("image_id") for where in (data, tmp_path / "back")
    )
    before = before[before["split"] != "challenge"]
    assert (after[["split", "patient_id"]] == before[["split", "patient_id"]]).all(axis=None)


def test_several_classes(vindr_source, tmp_path, predictions):
    source = vindr_source(tmp_path / "vindr")
    arguments = ["--classes", "all", "--separate", "--workers", "1", "--val", "0", "--test", "0"]
    vindr_to_yolo.main(["--source", str(source), "--output", str(tmp_path / "all"), *arguments])
    content = json.loads((export(tmp_path / "all") / "train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert (len(names), names[4], names[8]) == (14, "Cardiomegaly", "Lung Opacity")
    image = next(image["id"] for image in content["images"] if image["name"] == "agreed")
    found = {(names[one["category_id"]], *one["bbox"]) for one in content["annotations"] if one["image_id"] == image}
    assert found == {
        ("Cardiomegaly", 40, 40, 50, 40),
        ("Infiltration", 10, 20, 40, 40),
        ("Lung Opacity", 12, 22, 40, 40),
    }
    with pytest.raises(UserError, match="of its images are not in the data set, first image-"):
        export(tmp_path / "all", "--predictions", predictions)


def test_wrong_use(data, tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.csv in it"):
        export(tmp_path)
    (data / "data.yaml").write_text("names: {0: Mass, 1: Nodule}\n")
    with pytest.raises(UserError, match=r"2 classes .* does not say which class"):
        export(data, "--predictions", tmp_path / "predictions.csv")


def test_a_yaml_elsewhere_names_the_data_set(data, tmp_path):
    yaml = tmp_path / "elsewhere" / "mine.yaml"
    yaml.parent.mkdir()
    yaml.write_text(f"train: {data}/train.txt\nval: {data}/val.txt\nnames: [Lung Opacity]\n")
    assert not yolo_to_coco.main(["--data", str(yaml)])
    assert (data / "coco" / "test.json").is_file()


@pytest.mark.parametrize(
    ("lines", "splits"),
    [
        (["image_id,confidence,x,y,width,height"], {"train", "val", "test"}),
        (["patientId,PredictionString", "{},"], {"test"}),
    ],
    ids=["predictions", "submission"],
)
def test_predictions_without_boxes_are_an_empty_list(data, tmp_path, lines, splits):
    path = tmp_path / "none.csv"
    path.write_text("\n".join(lines).format(Path((data / "test.txt").read_text().split()[0]).stem) + "\n")
    folder = export(data, "--predictions", path)
    found = {file.name.removesuffix("_predictions.json"): file for file in folder.glob("*_predictions.json")}
    assert found.keys() == splits
    assert {file.read_text().strip() for file in found.values()} == {"[]"}
