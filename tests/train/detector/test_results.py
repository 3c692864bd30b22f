from __future__ import annotations

import pytest

from common.errors import WorkError
from train.classifier.results import best_epoch as best_gate_epoch
from train.detector.results import best_epoch

DETECTOR = "epoch,metrics/RSNA(B),metrics/RSNA-confidence(B),metrics/RSNA@0.25(B)\n"


def write(tmp_path, text):
    file = tmp_path / "results.csv"
    file.write_text(text)
    return file


def test_the_best_of_a_detector_is_the_first_of_the_highest(tmp_path):
    file = write(tmp_path, DETECTOR + "1,0.1,0.9,0.05\n2,0.3,0.5,0.2\n3,0.3,0.4,0.1\n4,0.2,0.3,0.15\n")
    assert best_epoch(file) == (2, 0.3, 0.5, 0.2)


def test_while_no_epoch_has_scored_the_best_is_the_last(tmp_path):
    """As best.pt is; see test_trainer.py."""
    file = write(tmp_path, DETECTOR + "1,0,0.9,0\n2,0,0.5,0\n3,0,0.4,0\n")
    assert best_epoch(file) == (3, 0, 0.4, 0)


def test_the_best_of_a_gate_is_the_last_of_the_lowest(tmp_path):
    file = write(tmp_path, "epoch,metrics/log_loss\n1,0.5\n2,0.25\n3,0.25\n4,0.75\n")
    assert best_gate_epoch(file) == 3


@pytest.mark.parametrize("text", ["", DETECTOR, "epoch,other\n1,2\n", DETECTOR + "1,nothing,0.5,0.1\n"])
def test_without_an_epoch(tmp_path, text):
    file = write(tmp_path, text)
    with pytest.raises(WorkError, match="no epoch with an RSNA score; the training ended before one"):
        best_epoch(file)
    with pytest.raises(WorkError, match="no epoch with a log-loss; the training ended before one"):
        best_gate_epoch(file)
    file.unlink()
    with pytest.raises(WorkError, match="no epoch with an RSNA score"):
        best_epoch(file)
