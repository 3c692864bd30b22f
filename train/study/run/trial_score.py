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
from evaluate.detector.options import InferenceOptions
from evaluate.detector.weights import Weights, find_training_data
from evaluate.postprocess import fit
from evaluate.scoring.fitting import start_of
from evaluate.scoring.numbers import judge, score_split
from evaluate.scoring.result import SplitScore
from train.study.run.score_parts import take_apart


@dataclass(frozen=True)
class TrialScore:
    """What `trial.json` says of a trial's score.

    Attributes:
        val: `score`, `confidence` (tuned here, so the score flatters), `interval_95`, and in
            `lost` where it is lost; see `score_parts`.
        test: `score`, `interval_95`, `lost`, at val's confidence; None without a test split whose truth is known.
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
    data = DataSet(find_training_data(weights), weights.data_class)
    options = InferenceOptions(device=device)
    splits = {"val": data.split("val")}
    if (test := _test_split(data)) is not None:
        splits["test"] = test
    predictions = {name: predict_split(weights, split, folder, options)[1] for name, split in splits.items()}
    val = splits["val"]
    fixed = {"suppression": start_of([predictions["val"]], weights.suppresses).suppression}
    pipeline = fit(val.truth, predictions["val"], val.manifest, steps=("confidence",), fixed=fixed)
    judged = {name: judge(split, predictions[name], pipeline) for name, split in splits.items()}
    results = {name: score_split(one) for name, one in judged.items()}
    tables = [
        one.patients.to_frame().assign(split=name).join(one.scores.rename("score")) for name, one in judged.items()
    ]
    said = {name: _score_and_interval(one) | {"lost": take_apart(judged[name])} for name, one in results.items()}
    return TrialScore(
        val=said["val"] | {"confidence": pipeline.confidence.least},
        test=said.get("test"),
        map50_95=results["val"].map50_95,
        table=pd.concat(tables).rename_axis("image_id").to_csv(lineterminator="\n"),
    )


def measure(weights: Weights, device: str | None) -> dict[str, Any]:
    """`parameters`, `gflops` and `milliseconds` (on `device`) of the model at its image size."""
    from train.study.run.cost import measure_cost

    cost = measure_cost(weights.path, weights.imgsz, weights.channels, timed=True, device=device)
    return {name: getattr(cost, name) for name in ("parameters", "gflops", "milliseconds")}


def _score_and_interval(split: SplitScore) -> dict[str, Any]:
    return {"score": split.score, "interval_95": list(split.interval_95 or (None, None))}


def _test_split(data: DataSet) -> Split | None:
    if not data.has("test"):
        return None
    try:
        return data.split("test")
    except UserError as error:  # as of the challenge's own test set
        print_warning(f"no score on test: {error}")
        return None
