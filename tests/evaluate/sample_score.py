"""A score as the library gives it, for tests of what is written and shown of it."""

from __future__ import annotations

from evaluate.postprocess.gate import GateRule
from evaluate.scoring.result import (
    Difference,
    Gain,
    GateComparison,
    Interval,
    Leakage,
    Origin,
    Score,
    SplitLeakage,
    SplitScore,
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
    return Subgroup(score, interval, images, counted_images=417, counted_patients=patients)


SCORE = Score(
    weights="runs/first/weights/best.pt", weights_sha256="ab" * 32, data_fingerprint="cd" * 32,
    predictions={"val": "val.csv", "test": "test.csv"}, data="datasets/rsna.yaml", synthetic=False, tuned_on="val",
    reported_on="test", confidence=0.5, box_scale=(0.87, 0.8), gate=None,
    splits={"test": split_score(0.2345678), "val": split_score(0.2445678)},
    subgroups={"view": {"AP": subgroup(0.2, images=700), "PA": subgroup(0.26, images=505)}},
    subgroup_differences={"view": Difference("PA", "AP", 0.06, 0.012)}, inference=None,
    leakage=Leakage(trained_on="rsna.yaml", patients_known=True, splits={"test": SplitLeakage(0, 0, 0)}),
    origin=Origin(
        {"python": "3.11.4", "torch": "2.7.1"}, "python evaluate/score.py best.pt --data 'a b.yaml'", "0123abc",
        "2025-03-04T05:06:07+00:00",
    ),
)  # fmt: skip
GATE = GateComparison(
    files=("runs/gate/gate.csv",), rule=GateRule("keep", 0.31), asked="tune", tuned_on="val",
    seen_images={"val": 3, "test": 0}, confidence_without=0.4,
    gains={"test": Gain(0.2145678, 0.02, Interval(-0.001, 0.041))},
)  # fmt: skip
