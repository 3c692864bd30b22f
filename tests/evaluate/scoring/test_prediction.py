from __future__ import annotations

import json
from pathlib import Path

import cv2
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.data.tables import read_predictions
from convert.pictures import read_picture
from convert.synthetic.dicom_writer import write_dicom
from evaluate.scoring.prediction import PredictionRequest, predict_files
from evaluate.system.voting import predict_split
from tests.evaluate.scores import system_of

SMALL = 128


@pytest.fixture
def scaled_down(own_data_set, tmp_path) -> tuple[Path, Path]:
    """DICOM files three times as large as the data set's pictures, and the data set that `--size` makes of them."""
    raw = tmp_path / "raw"
    raw.mkdir()
    names = []
    for number, path in enumerate(sorted((own_data_set / "images/test").iterdir())):
        pixels = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None, fx=3.1, fy=2.9)
        data = write_dicom(pixels, ("jpeg-baseline", "explicit-vr")[number % 2], image_id=path.stem)
        (raw / f"{path.stem}.dcm").write_bytes(data)
        path.with_suffix(".png").write_bytes(read_picture(data, SMALL).encoded)
        path.unlink()
        names.append(f"./images/test/{path.stem}.png\n")
    (own_data_set / "test.txt").write_text("".join(names))
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    test = manifest["split"] == "test"
    manifest.loc[test, "width"], manifest.loc[test, "height"] = str(pixels.shape[1]), str(pixels.shape[0])
    manifest.to_csv(own_data_set / "manifest.csv", index=False)
    (own_data_set / "conversion.json").write_text(json.dumps({"size": SMALL}))
    return raw, own_data_set


def knows(how: str, trained: Path, data: Path, folder: Path) -> Path:
    """Weights that know how large their pictures were: from the model, the data set, or the scoring beside them."""
    import torch

    checkpoint = torch.load(trained, weights_only=False)
    checkpoint["train_args"]["data"] = str(data / "data.yaml" if how == "data set" else folder / "gone.yaml")
    if how == "model":
        (checkpoint.get("ema") or checkpoint["model"]).picture_size = SMALL
    path = folder / "run/weights/best.pt"
    path.parent.mkdir(parents=True)
    torch.save(checkpoint, path)
    if how == "scoring":
        chosen = {"confidence": 0.05, "postprocess": {}, "inference": {"imgsz": 128, "picture_size": SMALL}}
        (folder / "run/score.json").write_text(json.dumps(chosen))
    return path


@pytest.mark.parametrize("how", ["model", "data set", "scoring"])
def test_dicoms_give_the_boxes_that_scoring_found_on_pictures_stored_smaller(how, trained, scaled_down, tmp_path):
    raw, data = scaled_down
    weights = knows(how, trained, data, tmp_path)
    scored = predict_split(system_of(weights), DataSet(data).split("test"), tmp_path).predictions
    predict_files(PredictionRequest((raw,), weights, tmp_path / "out", overlays=0))
    predicted = read_predictions(tmp_path / "out/predictions.csv").predictions
    assert len(scored) > 12
    pd.testing.assert_frame_equal(predicted, scored, check_exact=True)
