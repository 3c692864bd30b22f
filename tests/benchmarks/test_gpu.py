from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from benchmarks import gpu, watched
from common.cli import execute

SMALL = ["--device", "cpu", "--model", "train/models/basic-cnn.yaml", "--imgsz", "64", "--batch", "4", "--drawn", "16"]
SMALL += ["--images", "24", "--val", "5", "--predicted", "3", "--warmup", "1", "--batches", "3"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A benchmark with its data made, small enough for a CPU."""
    folder = tmp_path_factory.mktemp("gpu")
    args = gpu.build_parser().parse_args([*SMALL, "--output", str(folder / "output")])
    args.output.mkdir()
    (folder / "data").mkdir()
    bench = gpu.Bench(args, folder / "data")
    bench.make_data()
    return bench


def test_pictures_are_repeated_with_their_labels_up_to_the_number_asked_for(bench):
    for split, count in (("train", 24), ("val", 5)):
        pictures, labels = (
            {file.stem: file for file in (bench.folder / kind / split).iterdir()} for kind in ("images", "labels")
        )
        assert len(pictures) == count
        assert pictures.keys() == labels.keys()
        converted = {file.stat().st_ino: file for file in (bench.folder / "converted").rglob("*.*")}
        for name, picture in pictures.items():
            original = converted[picture.stat().st_ino]
            assert converted[labels[name].stat().st_ino].stem == original.stem
    assert len(list((bench.folder / "dicoms").glob("*.dcm"))) == len(list((bench.folder / "pictures").iterdir())) == 3


def test_a_training_is_watched_from_its_first_batch_to_its_checkpoint(bench):
    before = time.time()
    seen = bench._train(gpu.Way("ours", 1), whole=True)
    assert seen is not None, (bench.args.output / "ours-1-whole.log").read_text()
    first, second = seen["epochs"]
    moments = [before, first["start"], seen["start"], seen["end"], first["trained"], first["saved"], second["start"]]
    assert moments == sorted(moments)
    assert second["start"] < second["trained"] < second["saved"] < time.time()
    assert seen["batches"] == 3
    assert seen["rate"] == pytest.approx(3 * 4 / (seen["end"] - seen["start"]))
    assert 0 <= seen["waits"] <= 1
    assert (bench.folder / "runs" / "ours-1-whole" / "weights" / "best.pt").is_file()


def test_a_failed_training_leaves_its_row_out(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.args, "model", "nowhere.yaml")
    assert bench._train(gpu.Way("plain", 1), whole=False) is None
    assert "nowhere.yaml" in capsys.readouterr().out.replace("\n", "")


def test_every_way_is_trained_once_and_set_against_its_alternative(bench, monkeypatch):
    rates = {"ours": 20.0, "plain": 10.0}
    trained = []

    def fake(way, whole):
        trained.append(way)
        return None if "compile=True" in way.extra else {"rate": rates[way.who], "busy": None, "waits": 0.25}

    monkeypatch.setattr(bench, "_train", fake)
    monkeypatch.setattr(bench, "rows", [])
    monkeypatch.setattr(bench, "_seen", {})
    bench.measure_training()
    assert len(trained) == len(set(trained))
    assert set(trained) == {way for pair in gpu.pairs() for way in pair}
    kept = json.loads((bench.args.output / "gpu.json").read_text())
    assert len(kept) == len(gpu.pairs()) - 1
    assert [row["ratio"] for row in kept] == [2, 2, 2, 2, 2, 2, 1, 2]
    assert all(row["busy"] is None and row["waits"] == 0.25 for row in kept)


def test_the_window_counts_only_its_own_waiting(tmp_path, monkeypatch):
    clock = iter([100.0, 103.0])
    monkeypatch.setattr(watched, "time", SimpleNamespace(time=lambda: next(clock), perf_counter=time.perf_counter))
    watch = watched.Watch(tmp_path / "seen.json", first=2, last=5, stop=False)
    for waited in (10.0, 20.0, 0.5, 0.25, 0.25, 40.0):
        watch.waited += waited
        watch._batch_done()
    seen = {"start": 100.0, "end": 103.0, "waited": 1.0, "batches": 3, "epochs": []}
    assert watched.read(tmp_path / "seen.json") == seen


def test_nothing_begins_when_the_time_is_up(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "ends", time.monotonic())
    bench.measure_prediction()
    assert "left out, the time is up" in capsys.readouterr().out
    assert execute(gpu.main, ["--minutes", "0", "--output", str(tmp_path / "output"), *SMALL]) == 2
    assert "no time for sample" in capsys.readouterr().err


def test_the_driver_is_asked_between_two_times_only():
    busy = gpu.Busy()
    busy.samples = [(1.0, 0.2), (2.0, 0.8), (3.0, 1.0), (4.0, 0.0)]
    assert busy.share(2, 3) == pytest.approx(0.9)
    assert busy.share(5, 6) is None
