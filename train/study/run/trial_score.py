"""The score of a trial's weights: chosen on val, reported on test, by the functions of `evaluate/score.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split
from common.errors import UserError
from evaluate.detector.cache import predict_split
from evaluate.detector.inference import Settings
from evaluate.detector.weights import Weights, find_training_data
from evaluate.metrics.rsna import image_scores
from evaluate.postprocess.boxes import keep
from evaluate.scoring.numbers import choose_confidence, score_split


@dataclass(frozen=True)
class TrialScore:
    """What `trial.json` says of a trial's score.

    Attributes:
        val: `score`, `confidence` (tuned here, so the score flatters), `interval_95`.
        test: `score`, `interval_95`, at val's confidence; None without a test split whose truth is known.
        map50_95: COCO mAP on val.
        table: CSV text of `image_id, patient_id, split, score`; empty where the image does not count.
    """

    val: dict[str, Any]
    test: dict[str, Any] | None
    map50_95: float | None
    table: str


def score_weights(weights: Weights, folder: Path, device: str | None) -> TrialScore:
    """Predict val and test, choose the confidence on val, score both.

    Args:
        weights: The trial's best.
        folder: Where the predictions are kept.
        device: See `evaluate.detector.inference.predict`.

    Raises:
        UserError: The data set is not there any more, or wrong.
        WorkError: No picture could be read.
    """
    data = DataSet(find_training_data(weights))
    settings = Settings(imgsz=weights.imgsz)
    splits = {"val": data.split("val")}
    if (test := _test_split(data)) is not None:
        splits["test"] = test
    predictions = {
        name: predict_split(weights, split, settings, folder, device=device)[1] for name, split in splits.items()
    }
    choice, _ = choose_confidence(splits["val"].truth, predictions["val"])
    results = {name: score_split(split, predictions[name], choice) for name, split in splits.items()}
    tables = []
    for name, split in splits.items():
        scores = image_scores(split.truth, keep(predictions[name], choice.confidence)).rename("score")
        patients = split.manifest.set_index("image_id")[["patient_id"]]
        tables.append(patients.assign(split=name).join(scores))
    chosen = {"score": results["val"]["score"], "confidence": choice.confidence}
    return TrialScore(
        val={**chosen, "interval_95": results["val"]["interval_95"]},
        test={key: results["test"][key] for key in ("score", "interval_95")} if test is not None else None,
        map50_95=results["val"]["map50_95"],
        table=pd.concat(tables).rename_axis("image_id").to_csv(lineterminator="\n"),
    )


def measure(weights: Weights, device: str | None) -> dict[str, Any]:
    """`parameters`, `gflops` and `milliseconds` (on `device`) of the model at its image size."""
    from train.detector.cost import measure_cost

    cost = measure_cost(weights.path, weights.imgsz, weights.channels, timed=True, device=device)
    return {name: getattr(cost, name) for name in ("parameters", "gflops", "milliseconds")}


def _test_split(data: DataSet) -> Split | None:
    if not data.has("test"):
        return None
    try:
        return data.split("test")
    except UserError as error:  # as of the challenge's own test set
        print_warning(f"no score on test: {error}")
        return None
