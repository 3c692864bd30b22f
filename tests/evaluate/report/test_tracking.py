"""What of a score goes to Weights & Biases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.tracking import tracker as tracking
from evaluate.report.tracking import log_score
from evaluate.scoring.run import Scored
from tests.evaluate.sample_score import SCORE


class Recorder:
    """Stands for a run: keeps what it is given."""

    def __init__(self) -> None:
        self.logged, self.summed, self.where = {}, {}, "here"

    def log(self, values):
        self.logged |= values

    def summary(self, values):
        self.summed |= values

    def artifact(self, *_):
        pass

    def finish(self):
        pass


@pytest.fixture
def run(monkeypatch, tmp_path):
    recorder = Recorder()
    monkeypatch.setattr(tracking, "start", lambda **_: recorder)

    def log(score):
        scored = Scored(score, SimpleNamespace(), {}, [], [tmp_path / "score.json"], None)
        assert log_score(scored, [Path("p.csv")]) == "here"
        return recorder

    return log


def test_an_interval_is_logged_only_where_it_means_something(run):
    recorder = run(SCORE)
    low, high = SCORE.interval_95
    assert (recorder.logged["test/low_95"], recorder.logged["test/high_95"]) == (low, high)
    assert not {"val/low_95", "val/high_95"} & recorder.logged.keys()  # of the split that the threshold was chosen on
    assert recorder.summed == {"rsna_score": SCORE.score, "low_95": low, "high_95": high, "confidence": 0.5}


def test_of_few_patients_no_interval_is_logged(run):
    few = replace(SCORE.reported, interval_95=None)
    recorder = run(replace(SCORE, splits={**SCORE.splits, "test": few}))
    assert recorder.summed == {"rsna_score": SCORE.score, "confidence": 0.5}
    assert "test/low_95" not in recorder.logged
    assert recorder.logged["test/score"] == SCORE.score
