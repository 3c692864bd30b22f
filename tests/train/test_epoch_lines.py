"""What a training shows while it runs: its lines against its own results.csv, without Ultralytics' tables."""

from __future__ import annotations

import csv
import logging
import re
import sys
from types import SimpleNamespace

import pytest

from train.epoch_lines import COLUMNS, Column, EpochLines, duration


def shown(text):
    """The lines that stay: what is written over with a carriage return is gone."""
    return [line.rpartition("\r")[2].rstrip() for line in text.rstrip("\n").split("\n")]


@pytest.fixture(scope="module", autouse=True)
def _talking():
    """Ultralytics as a training has it; other tests may have imported it silently."""
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics(verbose=True)
    from ultralytics.utils import LOGGER

    before = LOGGER.getEffectiveLevel()
    LOGGER.setLevel(logging.INFO)
    yield
    LOGGER.setLevel(before)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A training of three epochs: its results, and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        stream = SimpleNamespace(write=written.append, flush=lambda: None, isatty=lambda: False)
        patch.setattr(sys, "stdout", stream)
        trainer = train(tmp_path_factory.mktemp("lines"), mosaic=0)
    with open(trainer.csv, newline="") as file:
        return list(csv.DictReader(file)), "".join(written)


def test_every_epoch_has_one_line_with_what_results_csv_says(run):
    results, text = run
    lines = shown(text)
    (head,) = [line for line in lines if "RSNA" in line]
    assert head.split() == ["epoch", "box", "cls", "dfl", "mAP50", "RSNA", "at", "conf", "best", "left"]
    rows = [line for line in lines if re.match(r" *\d+/3 ", line)]
    assert [row.split()[0] for row in rows] == ["1/3", "2/3", "3/3"]
    best, best_epoch = 0.0, 0
    for row, result in zip(rows, results, strict=True):
        cells = row.split()
        keys = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/mAP50(B)", "metrics/RSNA(B)",
                "metrics/RSNA-confidence(B)"]  # fmt: skip
        for cell, key in zip(cells[1:], keys, strict=False):
            assert float(cell) == pytest.approx(float(result[key]), abs=6e-4, rel=0.5 if "e" in cell else 1e-3)
        score, epoch = float(result["metrics/RSNA(B)"]), int(result["epoch"])
        if score > best or not best:
            best, best_epoch = score, epoch
        at = ["new"] if best_epoch == epoch else ["at", str(best_epoch)]
        assert float(cells[7]) == pytest.approx(best, abs=6e-4)
        assert cells[8 : 8 + len(at)] == at
    assert re.search(r" \d+ s$", rows[0])
    assert not re.search(r" s$", rows[2])  # nothing is left


def test_nothing_else_is_printed_while_it_trains_and_no_line_is_too_long(run):
    _, text = run
    lines = shown(text)
    begun = next(place for place, line in enumerate(lines) if line.startswith("   epoch"))
    assert all(len(line) <= COLUMNS for line in lines[begun:])
    assert len(lines) - begun == 1 + 3
    for words in ("GPU_mem", "Instances", "Box(P"):
        assert words not in text


def test_ultralytics_speaks_again_afterwards(run):
    from ultralytics.utils import LOGGER

    assert LOGGER.getEffectiveLevel() == logging.INFO


class Fake:
    """A trainer as far as the lines need it."""

    def __init__(self, epochs=60, losses=("box_loss", "cls_loss", "dfl_loss")):
        self.epochs, self.epoch, self.stop, self.metrics = epochs, 0, False, {"score": 0.0}
        self.tloss = dict.fromkeys(losses, 1.23456)
        self.stopper = SimpleNamespace(best_epoch=0, best_fitness=0.0, patience=3)
        self.validator, self.train_loader, self.hooks = SimpleNamespace(training=True), [0] * 4, {}

    def add_callback(self, event, action):
        self.hooks[event] = action

    def run_epoch(self, number, score):
        self.epoch = number - 1
        self.hooks["on_train_epoch_start"](self)
        for _ in self.train_loader:
            self.hooks["on_train_batch_end"](self)
        self.hooks["on_train_epoch_end"](self)
        if score is not None:
            self.metrics = {"score": score}
            if score > self.stopper.best_fitness:
                self.stopper.best_epoch, self.stopper.best_fitness = number, score
        self.hooks["on_fit_epoch_end"](self)


@pytest.fixture
def fake():
    made = Fake()
    made.lines = EpochLines([Column("score", "score")])
    made.lines.hook_into(made)
    yield made
    made.lines.close()


def test_an_epoch_that_was_not_validated_says_so(fake, capsys):
    fake.run_epoch(1, 0.25)
    fake.run_epoch(2, None)
    lines = shown(capsys.readouterr().out)
    assert lines[1].split()[:7] == ["1/60", "1.235", "1.235", "1.235", "0.250", "0.250", "new"]
    assert lines[2].split()[4:8] == ["-", "0.250", "at", "1"]


def test_the_head_comes_again_and_early_stopping_is_told(fake, capsys):
    for epoch in range(1, 31):
        fake.stop = epoch == 30
        fake.run_epoch(epoch, min(epoch, 27) / 100)
    lines = shown(capsys.readouterr().out)
    assert sum(line.split()[0] == "epoch" for line in lines) == 2
    assert lines[-1] == "stopped: no better epoch than 27 for 3 epochs"


def test_the_final_validation_is_no_epoch(fake, capsys):
    fake.run_epoch(1, 0.1)
    fake.validator.training = False
    fake.hooks["on_fit_epoch_end"](fake)
    assert len(shown(capsys.readouterr().out)) == 2


def test_in_a_terminal_the_running_epoch_is_told_and_overwritten(fake, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("train.epoch_lines._LIVE_SECONDS", -1.0)
    fake.run_epoch(1, 0.1)
    text = capsys.readouterr().out
    assert re.search(r"\r +1/60 +25% of its batches, \d+ s left of them", text)
    assert "validating" in text
    assert [line.split()[0] for line in shown(text)] == ["epoch", "1/60"]


def test_a_silent_ultralytics_stays_silent(fake, capsys):
    from ultralytics.utils import LOGGER

    LOGGER.setLevel(logging.ERROR)
    fake.run_epoch(1, 0.1)
    LOGGER.setLevel(logging.INFO)
    assert capsys.readouterr().out == ""


def test_many_or_long_numbers_still_fit(capsys):
    made = Fake(epochs=1000, losses=("a_loss", "b_loss", "c_loss", "d_loss", "e_loss"))
    made.tloss = dict.fromkeys(made.tloss, 123456.0)
    lines = EpochLines([Column("mAP50", "score"), Column("RSNA", "score"), Column("at conf", "score", 9)])
    lines.hook_into(made)
    made.run_epoch(999, 0.00001)
    lines.close()
    head, row = shown(capsys.readouterr().out)
    assert max(len(head), len(row)) <= COLUMNS
    assert "1e+05" in row
    assert "1e-05" in row


def test_times():
    assert [duration(seconds) for seconds in (0.4, 89, 90, 720, 12_240)] == ["0 s", "89 s", "2 min", "12 min", "3.4 h"]
