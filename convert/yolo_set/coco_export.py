"""A data set made here, and predictions for it, as COCO JSON for other programs: pycocotools, FiftyOne, ...

Boxes and sizes are in pixels of the original image, also where the pictures were downscaled. File names are relative to
the data set's folder. Image ids are numbers, as pycocotools wants them, over the whole data set; the id of the image
itself, its patient, view, sex and age are further keys of its record. Category ids are class indices plus one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from common.data.names import POSITIVE_CLASS, SPLITS
from common.data.tables import MANIFEST_COLUMNS, PredictionsFile, read_as_text, read_predictions, read_truth
from common.errors import UserError
from common.files import make_folder, write_json
from common.paths import shown
from convert.sources.boxes import COORDINATES
from convert.yolo_set.layout import COCO_PREDICTIONS, COCO_TRUTH, DATA_YAML, is_finished

_DETAILS = ("patient_id", "view", "sex", "age")


def export(data: Path, output: Path, predictions: Path | None = None) -> list[Path]:
    """Write `<split>.json` for each split with images, and `<split>_predictions.json` for each that was predicted on.

    These are the splits of which the predictions name images; where they name none, nothing was found in any split.

    Args:
        data: The data set's folder.
        output: The folder to write to; made if need be.
        predictions: A predictions CSV or a Kaggle submission.

    Returns:
        The files.

    Raises:
        UserError: The data set is none of ours or not finished; a prediction is for an image that it has not, or it has
            several classes and none that predictions are of.
        WorkError: A file cannot be written.
    """
    if not is_finished(data):
        raise UserError(f"{shown(data)}: no manifest.csv in it. Expected a finished data set made by a converter here.")
    manifest = read_as_text(data / "manifest.csv", MANIFEST_COLUMNS)
    truth = read_truth(data / "truth.csv")
    names = [str(name) for _, name in sorted(yaml.safe_load((data / DATA_YAML).read_text())["names"].items())]
    manifest = manifest.sort_values("image_id", ignore_index=True)
    number = {image_id: index for index, image_id in enumerate(manifest["image_id"], start=1)}
    found = _predictions(predictions, number, names) if predictions is not None else None

    make_folder(output, remedy="Choose another --output.")
    written: list[Path] = []
    for split in SPLITS:
        images = manifest[manifest["split"] == split]
        if images.empty:
            continue
        path = output / COCO_TRUTH.format(split=split)
        write_json(path, _truth(images, truth, names, number, split))
        written.append(path)
        if found is not None and (not found.image_ids or images["image_id"].isin(found.image_ids).any()):
            own = found.predictions[found.predictions["image_id"].isin(images["image_id"])]
            path = output / COCO_PREDICTIONS.format(split=split)
            write_json(path, _results(own, number, names.index(_scored(names)) + 1))
            written.append(path)
    return written


def _truth(
    images: pd.DataFrame, truth: pd.DataFrame, names: list[str], number: dict[str, int], split: str
) -> dict[str, Any]:
    boxed = truth[truth["image_id"].isin(images["image_id"]) & truth["x"].notna()]
    return {
        "info": {"description": f"split {split}; boxes in pixels of the original images"},
        "images": [_image(record, number) for record in images.to_dict("records")],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names, start=1)],
        "annotations": [
            {
                "id": index,
                "image_id": number[image_id],
                "category_id": names.index(label) + 1,
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
            for index, (image_id, x, y, width, height, label) in enumerate(
                boxed[["image_id", *COORDINATES, "label"]].itertuples(index=False, name=None), start=1
            )
        ],
    }


def _image(record: dict[Any, Any], number: dict[str, int]) -> dict[str, Any]:
    details = {name: record[name] for name in _DETAILS if record[name] != ""}
    if "age" in details:
        details["age"] = int(details["age"])
    return {
        "id": number[record["image_id"]],
        "file_name": record["picture"],
        "width": int(record["width"]),
        "height": int(record["height"]),
        "name": record["image_id"],
        **details,
    }


def _predictions(path: Path, number: dict[str, int], names: list[str]) -> PredictionsFile:
    _scored(names)
    table = read_predictions(path.expanduser())
    unknown = sorted(set(table.image_ids) - number.keys())
    if unknown:
        raise UserError(f"{path}: {len(unknown)} of its images are not in the data set, first {unknown[0]}.")
    return table


def _scored(names: list[str]) -> str:
    if len(names) > 1 and POSITIVE_CLASS not in names:
        raise UserError(
            f"the data set has {len(names)} classes ({', '.join(names[:3])}, ...) and none named {POSITIVE_CLASS}: a "
            "predictions file does not say which class it is of. Leave --predictions out."
        )
    return POSITIVE_CLASS if POSITIVE_CLASS in names else names[0]


def _results(predictions: pd.DataFrame, number: dict[str, int], category: int) -> list[dict[str, Any]]:
    boxes = predictions[COORDINATES].to_numpy(float)
    scores = predictions["confidence"].to_numpy(float)
    return [
        {"image_id": number[image_id], "category_id": category, "bbox": box, "score": score}
        for image_id, box, score in zip(
            predictions["image_id"], np.asarray(boxes).tolist(), scores.tolist(), strict=True
        )
    ]
