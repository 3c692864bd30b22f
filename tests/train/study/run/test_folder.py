"""Which setting a study calls its best."""

from __future__ import annotations

from train.study.run.folder import best_setting
from train.study.trial_record import FAILED, FINISHED, SplitOutcome, TrialRecord


def record(lr0, seed, score, status=FINISHED):
    val = None if status == FAILED else SplitOutcome(score, (score, score))
    arguments = {"lr0": lr0, "seed": seed}
    return TrialRecord(f"t{seed}", 0, ("b",), {"lr0": lr0}, arguments, seed, None, status, val=val)


def test_best_is_the_highest_mean_whatever_the_number_of_trainings():
    repeated = [record(0.1, 0, 0.5), record(0.1, 1, 0.7)]
    assert best_setting([*repeated, record(0.2, 0, 0.65)]).score == 0.65
    assert best_setting([*repeated, record(0.2, 0, 0.55)]).records == repeated


def test_half_failed_settings_count_only_where_there_is_no_other():
    half = [record(0.1, 0, 0.9), record(0.1, 1, 0, FAILED)]
    assert best_setting([*half, record(0.2, 0, 0.3)]).score == 0.3
    assert best_setting(half).score == 0.9
    assert best_setting([record(0.1, 1, 0, FAILED)]) is None
    assert best_setting([]) is None
