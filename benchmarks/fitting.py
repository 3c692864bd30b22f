"""Compare fitting post-processing with asking the metric anew for every setting: python benchmarks/fitting.py.

Predictions are drawn as in benchmarks/metric.py: of the RSNA training set's size by one detector, and by five, whose
boxes differ; and of 3,000 images, where what each step brings to unseen patients is computed as well, as
`evaluate/score.py` does.

The alternative takes the pipeline's steps on the tables and asks for the best confidence, for each setting of
suppression, most boxes and box scale, common and by view, once, one after the other: the search as one would write it
first. It is timed at some of the settings and scaled up. A fit goes round until nothing changes and fits a rescoring
besides, so it does more.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from common.cli import parser, run

if TYPE_CHECKING:
    import pandas as pd

SIZES = ((26_684, 200_000, 1), (26_684, 200_000, 5), (3_000, 22_500, 1), (3_000, 22_500, 5))
"""Images, predictions, and the detectors that these are of."""
UNSEEN_UP_TO = 3_000
"""On so many images at most, what each step brings to unseen patients is timed, too."""
SETTINGS = 8
"""At which the alternative is timed."""


def make_case(images: int, predictions: int, detectors: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw truth, predictions and a manifest with two images a patient; of several detectors, boxes differ a little."""
    import numpy as np
    import pandas as pd

    from benchmarks.metric import make_tables
    from common.data.names import COORDINATES
    from common.data.tables import round_predictions

    truth, one = make_tables(images, predictions // detectors)
    tables = []
    for detector in range(detectors):
        random = np.random.default_rng(detector)
        table = one.copy()
        if detectors > 1:
            table[COORDINATES] = (one[COORDINATES] * random.normal(1, 0.05, (len(one), 4))).clip(lower=1.0)
            table["confidence"] = (one["confidence"] + random.normal(0, 0.1, len(one))).clip(0.001, 1)
            table["detector"] = f"detector {detector}"
        tables.append(round_predictions(table))
    ids = truth["image_id"].unique()
    manifest = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": [f"patient-{number // 2}" for number in range(len(ids))],
            "view": np.random.default_rng(0).choice(["AP", "PA"], len(ids)),
            "width": 1024.0,
            "height": 1024.0,
        }
    )
    return truth, pd.concat(tables, ignore_index=True), manifest


def measure(
    sizes: Sequence[tuple[int, int, int]] = SIZES, repeats: int = 1, settings: int = SETTINGS
) -> list[dict[str, Any]]:
    """Time both ways on the same tables, in this process.

    Args:
        sizes: As `SIZES`.
        repeats: Ours is timed so often; the median counts.
        settings: At so many settings the alternative is timed.

    Returns:
        One row for each size; see `benchmarks.results`.

    Raises:
        RuntimeError: What was fitted does not score what it says.
    """
    import statistics

    from evaluate.metrics.rsna import best_confidence
    from evaluate.postprocess import BoxScale, Pipeline, fit, gains
    from evaluate.postprocess.fitting import MOST_BOXES, SIDES, SUPPRESSIONS_OF_ONE, SUPPRESSIONS_OF_SEVERAL

    rows = []
    for images, predictions, detectors in sizes:
        tables = make_case(images, predictions, detectors)
        unseen = images <= UNSEEN_UP_TO
        seconds = []
        for _ in range(repeats):
            start = perf_counter()
            fitted = fit(*tables)
            if unseen:
                gains(*tables)
            seconds.append(perf_counter() - start)
        truth, table, manifest = tables
        if abs(best_confidence(truth, fitted.apply(table, manifest))[1] - fitted.fitted_on.score) > 1e-9:
            raise RuntimeError(f"the pipeline that was fitted does not score {fitted.fitted_on.score}")
        suppressions = SUPPRESSIONS_OF_SEVERAL if detectors > 1 else SUPPRESSIONS_OF_ONE
        count = len(suppressions) + len(MOST_BOXES) + 3 * len(SIDES)
        start = perf_counter()
        for sides in SIDES[:: len(SIDES) // settings][:settings]:
            one = Pipeline(suppression=suppressions[0], box_scale=BoxScale.common(sides))
            best_confidence(truth, one.apply(table, manifest))
        theirs = (perf_counter() - start) * count / settings
        voters = f"{detectors} detectors" if detectors > 1 else "one detector"
        rows.append(
            {
                "what": f"fit post-processing{', with what each step brings to unseen patients' if unseen else ''} "
                f"({images:,} images, {len(table):,} predictions of {voters})",
                "seconds": statistics.median(seconds),
                "ratio": theirs / statistics.median(seconds),
                "against": f"{count} settings, each put on the tables (timed at {settings}, scaled to {count})"
                + ("; once, not for each fold and step" if unseen else ""),
            }
        )
    return rows


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/fitting.py", "Compare fitting post-processing with the metric asked anew.")
    command.add_argument("--repeats", type=int, default=1, help="how often ours is timed; the median counts")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    arguments = build_parser().parse_args(argv)
    from benchmarks.results import print_rows

    print_rows(measure(repeats=arguments.repeats))
    return None


if __name__ == "__main__":
    run(main)
