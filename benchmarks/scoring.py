"""Compare scoring kept predictions with a script of what is published: python benchmarks/scoring.py.

The work is that of `evaluate/score.py --predictions`, as a whole process: read the predictions of two splits, choose
the confidence on one, score the other, with intervals, subgroups, mAP and the report; without Weights & Biases, whose
time is that of its own start. There are 20 predictions an image, as of a detector that keeps what is above 0.001.

The alternative is what one would put together otherwise: a process that reads the same files, scores val image by image
at 100 confidences as published kernels do (benchmarks/metric.py has it) and test at the best of them, and asks
pycocotools for the mAP of both. It gives the same numbers, but the best of 100 confidences instead of all, and no
intervals, subgroups or report: it does less, so the ratio is the least that can be said. Most of ours is Python loading
its libraries and drawing the report.

A gate is tuned on val besides, in this process: its 500 thresholds from one matching, against the metric asked anew for
each, which is timed at some of them and scaled up.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from common.cli import parser, run

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 3_000
"""Of both splits together; the challenge's own test set has as many."""
PREDICTIONS_PER_IMAGE = 20
CONFIDENCES = 100
"""At which the alternative scores val."""
GATES = 25
"""Thresholds of a gate at which the alternative is timed."""
SPLITS = ("val", "test")
SIDE = 1024
"""Pixels of an image, which the boxes refer to; the pictures that are stored are smaller."""


def make_data(folder: Path, images: int) -> None:
    """Write a converted data set of two splits, with very small pictures, to `data`, and predictions_<split>.csv."""
    import cv2
    import numpy as np
    import pandas as pd

    from benchmarks.metric import make_tables

    truth, predictions = make_tables(images, images * PREDICTIONS_PER_IMAGE)
    predictions["confidence"] = predictions["confidence"].round(6).clip(0.001)
    for start, size in (("x", "width"), ("y", "height")):  # within the pictures, as a detector's are
        end = (predictions[start] + predictions[size]).clip(upper=SIDE)
        predictions[start] = predictions[start].clip(lower=0)
        predictions[size] = (end - predictions[start]).round(2)
    boxes = truth.groupby("image_id")["x"].count()  # sorted by id
    random, root = np.random.default_rng(0), folder / "data"
    manifest = pd.DataFrame(
        {
            "image_id": boxes.index,
            "split": np.repeat(SPLITS, [images // 2, images - images // 2]),
            "fold": "",
            "patient_id": [f"patient-{number // 2}" for number in range(images)],
            "label": np.where(boxes > 0, "Lung Opacity", "Normal"),
            "boxes": boxes.to_numpy(),
            "width": SIDE,
            "height": SIDE,
            "view": random.choice(["AP", "PA"], images),
            "sex": random.choice(["F", "M"], images),
            "age": random.integers(1, 95, images),
            "pixel_spacing_mm": 0.143,
            "stored": "passed through",
            "source": "drawn",
        }
    )
    manifest["picture"] = "images/" + manifest["split"] + "/" + manifest["image_id"] + ".jpg"
    picture = cv2.imencode(".jpg", random.integers(0, 256, (64, 64), dtype=np.uint8))[1].tobytes()
    for split in SPLITS:
        ids = manifest.loc[manifest["split"] == split, "image_id"]
        (root / "images" / split).mkdir(parents=True)
        for image_id in ids:
            (root / "images" / split / f"{image_id}.jpg").write_bytes(picture)
        (root / f"{split}.txt").write_text("".join(f"./images/{split}/{image_id}.jpg\n" for image_id in ids))
        mine = predictions[predictions["image_id"].isin(ids)].sort_values("image_id", kind="stable")
        mine.to_csv(folder / f"predictions_{split}.csv", index=False)
    labels = truth["image_id"].map(manifest.set_index("image_id")["label"])
    truth.assign(label=labels).to_csv(root / "truth.csv", index=False)
    (root / "data.yaml").write_text("train: val.txt\nval: val.txt\ntest: test.txt\nchannels: 1\nnames:\n  0: Opacity\n")
    (root / "conversion.json").write_text(json.dumps({"synthetic": True}))
    manifest.to_csv(root / "manifest.csv", index=False)


def score_plainly(folder: Path) -> None:
    """The alternative: read, score image by image, ask pycocotools; print a JSON object as the last line."""
    import numpy as np
    import pandas as pd
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from benchmarks.metric import by_image, score_image_by_image

    thresholds = [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75]
    boxes = ["x", "y", "width", "height"]
    truth = pd.read_csv(folder / "data" / "truth.csv")
    manifest = pd.read_csv(folder / "data" / "manifest.csv")
    found: dict[str, Any] = {}
    for split in SPLITS:
        ids = manifest.loc[manifest["split"] == split, "image_id"]
        mine = truth[truth["image_id"].isin(ids)]
        predictions = pd.read_csv(folder / f"predictions_{split}.csv")
        images = by_image(mine, predictions)
        if split == "val":
            levels = np.linspace(0.001, 0.95, CONFIDENCES).tolist()
            scores = [score_image_by_image(images, level, thresholds) for level in levels]
            found["confidence"] = levels[int(np.argmax(scores))]
        found[split] = {"score": score_image_by_image(images, found["confidence"], thresholds)}

        number = {image_id: index for index, image_id in enumerate(ids)}
        coco = COCO()
        coco.dataset = {
            "images": [{"id": index} for index in number.values()],
            "categories": [{"id": 1, "name": "opacity"}],
            "annotations": [
                {"id": row, "image_id": number[image_id], "category_id": 1, "bbox": box, "area": box[2] * box[3],
                 "iscrowd": 0}
                for row, (image_id, *box) in enumerate(mine.dropna()[["image_id", *boxes]].itertuples(index=False), 1)
            ],
        }  # fmt: skip
        coco.createIndex()
        rows = predictions[["image_id", "confidence", *boxes]].itertuples(index=False)
        evaluation = COCOeval(
            coco,
            coco.loadRes(
                [
                    {"image_id": number[image_id], "category_id": 1, "bbox": box, "score": score}
                    for image_id, score, *box in rows
                ]
            ),
            "bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found[split] |= {"map50_95": evaluation.stats[0], "map50": evaluation.stats[1]}
    print(json.dumps(found))


def measure(images: int = IMAGES, repeats: int = 3, gates: int = GATES) -> list[dict[str, Any]]:
    """Time both ways, one after the other, on the same files.

    Args:
        images: Number of images of both splits together.
        repeats: Each is timed so often; the medians count.
        gates: Thresholds of a gate at which the alternative is timed.

    Returns:
        One row for each comparison; see `benchmarks.results`.

    Raises:
        RuntimeError: A process failed, or the two do not give the same numbers.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, images)
        files = [str(folder / f"predictions_{split}.csv") for split in SPLITS]
        score = ["evaluate/score.py", "--predictions", *files, "--data", str(folder / "data"), "--no-wandb"]
        score += ["--fit", "confidence"]  # which is what the alternative chooses
        plainly = "import sys, pathlib; from benchmarks.scoring import score_plainly as score; "
        plainly += "score(pathlib.Path(sys.argv[1]))"
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(_time([*score, "--output", str(folder / "score")])[0])
            seconds, said = _time(["-c", plainly, str(folder)])
            theirs.append(seconds)
        if not (folder / "score" / "report.html").is_file():
            raise RuntimeError("evaluate/score.py wrote no report")
        found = json.loads((folder / "score" / "score.json").read_text(encoding="utf-8"))
        _require_equal(folder, found, json.loads(said.splitlines()[-1]))
        gate = _measure_gate(folder, gates, repeats)
    count = f"{images:,} images, {images * PREDICTIONS_PER_IMAGE:,} kept predictions"
    row = {
        "what": f"`evaluate/score.py --predictions`, start to end, with report ({count})",
        "seconds": statistics.median(ours),
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "against": f"plain Python, image by image, at {CONFIDENCES} confidences, and pycocotools, start to end; no "
        "intervals, no report",
    }
    return [row, gate]


def _time(arguments: Sequence[str]) -> tuple[float, str]:
    """Run Python in a process of its own; seconds, and what it said."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: status {done.returncode}\n{done.stderr}")
    return seconds, done.stdout


def _require_equal(folder: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Check that both give the same score at the alternative's confidence, and the same mAP."""
    from common.data.data_set import DataSet
    from evaluate.metrics.rsna import Sweep

    data = DataSet(folder / "data")
    for split in SPLITS:
        score = Sweep.from_tables(data.split(split).truth, _predictions(folder, split)).score(theirs["confidence"])
        pairs = [(score, theirs[split]["score"])]
        pairs += [(ours["splits"][split][name], theirs[split][name]) for name in ("map50", "map50_95")]
        if any(abs(one - other) > 1e-9 for one, other in pairs):
            raise RuntimeError(f"{split}: ours and the alternative's score, mAP50, mAP50-95 differ: {pairs}")
    if ours["splits"]["val"]["score"] < theirs["val"]["score"] - 1e-12:
        raise RuntimeError("the best of all confidences is worse than the best of some")


def _measure_gate(folder: Path, gates: int, repeats: int) -> dict[str, Any]:
    """Tune a gate on val in both ways."""
    import numpy as np
    import pandas as pd

    from common.data.data_set import DataSet
    from evaluate.metrics.rsna import best_confidence
    from evaluate.postprocess import GateRule, Suppression, fit
    from evaluate.postprocess.fitting import THRESHOLDS
    from evaluate.postprocess.steps import GateMode

    modes: tuple[GateMode, ...] = ("keep",)
    split, predictions = DataSet(folder / "data").split("val"), _predictions(folder, "val")
    truth = split.truth
    positive = truth.groupby("image_id")["x"].count() > 0
    noise = np.random.default_rng(1).normal(0, 1, len(positive))
    probabilities = pd.Series(1 / (1 + np.exp(-(2.5 * positive - 2 + noise))), index=positive.index)
    ours = []
    for _ in range(repeats):
        start = perf_counter()
        fitted = fit(
            truth,
            predictions,
            split.manifest,
            probabilities,
            steps=("gate", "confidence"),
            fixed={"suppression": Suppression("none", None)},
            gate_modes=modes,
        )
        ours.append(perf_counter() - start)
    values = np.unique(probabilities)[:-1]
    count = min(len(values), THRESHOLDS)
    start = perf_counter()
    for value in values[np.linspace(0, len(values) - 1, gates).round().astype(int)].tolist():
        best_confidence(truth, GateRule("keep", value).apply(predictions, probabilities))
    theirs = (perf_counter() - start) * count / gates
    score = fitted.fitted_on.score
    if abs(best_confidence(truth, fitted.gate.apply(predictions, probabilities))[1] - score) > 1e-9:
        raise RuntimeError(f"the gate that was chosen does not score {score}")
    return {
        "what": f"tune a gate: {count} thresholds, each with its best confidence ({len(positive):,} images)",
        "seconds": statistics.median(ours),
        "ratio": theirs / statistics.median(ours),
        "against": f"the metric asked anew at every threshold (timed at {gates}, scaled to {count})",
    }


def _predictions(folder: Path, split: str) -> pd.DataFrame:
    from common.data.tables import read_predictions

    return read_predictions(folder / f"predictions_{split}.csv").predictions


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/scoring.py", "Compare scoring kept predictions with published ways.")
    command.add_argument("--images", type=int, default=IMAGES, help="images of both splits together")
    command.add_argument("--repeats", type=int, default=3, help="how often each way is timed; the medians count")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    arguments = build_parser().parse_args(argv)
    from benchmarks.results import print_rows

    print_rows(measure(arguments.images, arguments.repeats))
    return None


if __name__ == "__main__":
    run(main)
