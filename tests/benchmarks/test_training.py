from __future__ import annotations

import pytest

from benchmarks import run, training
from common.cli import execute


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data set as the benchmark makes it."""
    folder = tmp_path_factory.mktemp("benchmark")
    training.make_data_set(folder, train=6, val=4)
    return folder


def test_loading_compares_channels_on_the_same_pictures(folder, capsys):
    without, with_mosaic, memory = training.measure_loading(folder, images=4, repeats=1)
    assert "mosaic off" in without["what"]
    assert "mosaic on" in with_mosaic["what"]
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in (without, with_mosaic))
    assert memory["ratio"] == 3
    assert "0.41 MB" in memory["what"]  # 640 x 640 bytes
    assert "1.23 MB" in memory["against"]


def test_ratios_are_medians_of_the_turns_and_the_order_alternates(folder, monkeypatch):
    monkeypatch.setattr(training, "available_cores", lambda: 2)
    started = []
    epochs = {"ours-0": 2.0, "plain-0": 4.0, "ours-1": 1.0, "plain-1": 3.0, "ours-2": 4.0, "plain-2": 4.0}

    def fake(folder, command, name, count):
        started.append(name)
        return 20.0, epochs.get(name, 8.0)

    monkeypatch.setattr(training, "_train", fake)
    epoch, whole, shipped = training.measure_training(folder, epochs=3, repeats=3)
    assert (epoch["seconds"], epoch["ratio"]) == (2.0, 2.0)  # of 2, 3 and 1
    assert (whole["seconds"], whole["ratio"]) == (20.0, 1.0)
    assert shipped["ratio"] == 4.0
    assert started == ["ours-0", "plain-0", "shipped-0", "plain-1", "ours-1", "ours-2", "plain-2"]
    assert "6 + 4 images" in epoch["what"]


def test_both_ways_train(folder, monkeypatch):
    monkeypatch.setitem(training.SETTINGS, "imgsz", 64)
    monkeypatch.setattr(training, "available_cores", lambda: 1)  # then there is nothing to show of a core left idle
    rows = training.measure_training(folder, epochs=2, repeats=1)
    assert len(rows) == 2
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in rows)
    results = {way: (folder / "runs" / f"{way}-0" / "results.csv").read_text() for way in ("ours", "plain")}
    assert "metrics/RSNA(B)" in results["ours"]
    assert "metrics/RSNA(B)" not in results["plain"]


def test_a_failed_training_is_no_result(folder, monkeypatch):
    monkeypatch.setitem(training.SETTINGS, "model", "nowhere.yaml")
    with pytest.raises(RuntimeError, match="ended with status 2"):
        training._train(folder, [str(training.ROOT / "train" / "train.py")], "failed", 2)


def test_some_benchmarks_are_chosen_by_name_and_keep_nothing(monkeypatch, capsys):
    row = {"what": "memory of a picture", "seconds": None, "ratio": 3.0, "against": "three channels"}
    monkeypatch.setattr("benchmarks.training.measure", lambda: [row])
    monkeypatch.setattr("benchmarks.metric.measure", lambda: pytest.fail("not asked for"))
    monkeypatch.setattr("benchmarks.results.write_rows", lambda rows: pytest.fail("not the whole table"))
    assert execute(run.main, ["training"]) == 0
    said = capsys.readouterr().out
    assert "memory of a picture" in said
    assert "kept in" not in said
    assert execute(run.main, ["trainings"]) == 2
    assert "; expected metric, " in capsys.readouterr().err
