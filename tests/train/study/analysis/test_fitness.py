"""The RSNA score against mAP as what chooses weights: by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from train.study.analysis.fitness import compare_fitness
from train.study.analysis.study_results import read_study

BLOCKS = [{"name": "lr", "parameters": {"lr0": [0.1, 0.2, 0.3, 0.4, 0.5]}}]


@pytest.fixture
def folder(tmp_path, write_study):
    """Scores on val and test fall as lr0 rises; mAP on val ranks two pairs of neighbours the other way round."""
    maps = {0.1: 0.4, 0.2: 0.5, 0.3: 0.3, 0.4: 0.1, 0.5: 0.2}
    return write_study(
        tmp_path / "study", BLOCKS, lambda settings, _: 0.6 - settings["lr0"],
        costs=lambda settings: {"map50_95": maps[settings["lr0"]]},
    )  # fmt: skip


def with_map(folder, trial, rsna, maps):
    table = pd.DataFrame({"epoch": range(1, len(rsna) + 1), "metrics/RSNA(B)": rsna, "metrics/mAP50-95(B)": maps})
    table.to_csv(folder / "trials" / trial / "run" / "results.csv", index=False)


def test_what_choosing_by_map_would_lose(folder):
    with_map(folder, "t000", [0.1, 0.3, 0.2], [0.1, 0.2, 0.25])  # mAP takes epoch 3: 0.1 less, for 0.05 of mAP
    with_map(folder, "t001", [0.1, 0.3, 0.3], [0.1, 0.2, 0.1])  # both take epoch 2
    found = compare_fitness(read_study(folder))
    assert (found.runs, found.same, found.judged) == (2, 1, 5)
    assert (found.lost, found.worst, found.lost_map) == pytest.approx((0.05, 0.1, 0.025))
    assert found.rank_rsna == pytest.approx(1)
    assert found.rank_map == pytest.approx(1 - 6 * (1 + 1 + 0 + 1 + 1) / (5 * 24))  # Spearman's formula without ties


def test_epochs_without_map_say_nothing(folder):
    assert compare_fitness(read_study(folder)) is None


def test_too_few_trainings_have_no_ranks(tmp_path, write_study):
    blocks = [{"name": "lr", "parameters": {"lr0": [0.1, 0.2]}}]
    folder = write_study(tmp_path / "study", blocks, lambda settings, _: settings["lr0"])
    with_map(folder, "t000", [0.1], [0.1])
    found = compare_fitness(read_study(folder))
    assert (found.runs, found.same) == (1, 1)
    assert math.isnan(found.rank_rsna)
    assert math.isnan(found.rank_map)
