"""A score as the library gives it, for tests of what is written and shown of it."""

from __future__ import annotations

from collections.abc import Sequence

from evaluate.metrics.calibration import Bin
from evaluate.metrics.errors import KINDS
from evaluate.metrics.figures import BoxLevel, Figure, ImageLevel
from evaluate.metrics.ranking import FALSE_BOXES, IMAGE_FIGURES
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, FittedOn, MostBoxes, Rescoring, Sides
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import (
    Difference,
    Gain,
    GateUse,
    Interval,
    Leakage,
    Origin,
    Score,
    SplitLeakage,
    SplitScore,
    Step,
    Subgroup,
)


def split_score(score: float) -> SplitScore:
    """The numbers of a split."""
    return SplitScore(
        score=score, interval_95=Interval(score - 0.0123, score + 0.0234), images=1205, positive_images=301,
        counted_images=417, truth_boxes=480, predictions=500, true_positives=240, false_positives=260,
        false_negatives=239, map50=0.3217, map50_95=0.1618, counted_patients=399,
    )  # fmt: skip


def subgroup(score: float, images: int = 700, patients: int = 200) -> Subgroup:
    """The numbers of a group of images."""
    interval = Interval(score - 0.0123, score + 0.0234)
    sensitivity, specificity = Figure(0.8, Interval(0.7, 0.9), 90), Figure(0.6, None, 19)
    return Subgroup(score, interval, images, 417, patients, sensitivity, specificity)


def figures(names: Sequence[str], value: float = 0.5) -> dict[str, Figure]:
    """So many figures, all alike."""
    return {name: Figure(value, Interval(value - 0.05, value + 0.05), 150) for name in names}


SHARES = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
IMAGE_LEVEL = ImageLevel(
    true_positives=211, false_negatives=90, false_positives=206, true_negatives=698,
    figures={
        **figures(SHARES), **figures(IMAGE_FIGURES), **figures(["auc"], 0.85), "brier": Figure(0.14, None, 19),
        "calibration_error": Figure(0.0567, None, 399),
    },
    reliability=(Bin(900, 0.02, 0.1), Bin(305, 0.6, 0.7)),
)  # fmt: skip
BOX_LEVEL = BoxLevel(
    froc=figures([*(f"{rate:g}" for rate in FALSE_BOXES), "mean"]),
    errors={**dict.fromkeys(KINDS, 0), "missed": 150, "poorly placed": 89, "on a distractor": 123},
)


PIPELINE = Pipeline(
    suppression=Suppression("nms", 0.3),
    most_boxes=MostBoxes(3),
    rescoring=Rescoring(0.1, 1.5, 0.2, -0.3),
    box_scale=BoxScale(Sides(0.87, 0.8), Sides(0.9, 0.85), Sides(0.87, 0.8)),
    confidence=Confidence(0.5),
    fitted_on=FittedOn(1205, 0.2445678, "val", ("ab" * 32,), "cd" * 32),
)
FITTED = ("suppression", "most_boxes", "box_scale", "by_view", "confidence")
STEPS = (
    Step("confidence", None, Gain(0.2145678, 0.0, None)),
    Step("box_scale", Gain(0.2245678, 0.021, Interval(0.001, 0.042)), Gain(0.2345678, 0.02, Interval(0.004, 0.036))),
)
SCORE = Score(
    weights="runs/first/weights/best.pt", weights_sha256=("ab" * 32,), data_fingerprint="cd" * 32,
    predictions={"val": "val.csv", "test": "test.csv"}, data="datasets/rsna.yaml", synthetic=False, tuned_on="val",
    reported_on="test", pipeline=PIPELINE, fitted=FITTED, steps=STEPS, gate=None,
    splits={"test": split_score(0.2345678), "val": split_score(0.2445678)},
    subgroups={"view": {"AP": subgroup(0.2, images=700), "PA": subgroup(0.26, images=505)}},
    subgroup_differences={"view": Difference("PA", "AP", 0.06, 0.012)}, inference=None,
    leakage=Leakage(trained_on="rsna.yaml", patients_known=True, splits={"test": SplitLeakage(0, 0, 0)}),
    origin=Origin(
        {"python": "3.11.4", "torch": "2.7.1"}, "python evaluate/score.py best.pt --data 'a b.yaml'", "0123abc",
        "2025-03-04T05:06:07+00:00",
    ),
    image_level=IMAGE_LEVEL, box_level=BOX_LEVEL,
)  # fmt: skip
GATE = GateUse(files=("runs/gate/gate.csv",), asked="tune", tuned_on="val", seen_images={"val": 3, "test": 0})
