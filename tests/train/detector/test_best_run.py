from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.data.fingerprint import data_fingerprint
from common.trainings import find_original
from train.detector.best_run import offer, read_records


@pytest.fixture
def run(tmp_path):
    """Makes a run's folder with weights of the given content."""

    def make(name: str) -> Path:
        weights = tmp_path / "runs" / name / "weights" / "best.pt"
        weights.parent.mkdir(parents=True)
        weights.write_text(f"weights of {name}")
        return weights

    return make


def give(weights: Path, score: float, fingerprint: str = "a" * 64):
    folder = weights.parents[2]
    return offer(folder, weights, score, fingerprint, "data.yaml", {"epochs": 3, "path": Path("x")})


def test_the_best_run_stays(run, tmp_path):
    folder = tmp_path / "runs"
    assert give(run("first"), 0.2).is_best
    assert give(run("better"), 0.3).is_best
    worse = give(run("worse"), 0.1)
    equal = give(run("equal"), 0.3)
    assert (worse.is_best, equal.is_best) == (False, False)
    assert (folder / "best.pt").read_text() == "weights of better"
    assert not (folder / "best.pt").is_symlink()
    assert worse.best.run == str(folder / "better")
    content = json.loads((folder / "best.json").read_text())
    assert content["best.pt"] == "a" * 64
    record = content["data_sets"]["a" * 64]
    assert record["weights_sha256"] == hashlib.sha256(b"weights of better").hexdigest()
    assert (record["score"], record["arguments"]) == (0.3, {"epochs": 3, "path": "x"})
    assert not list(folder.glob("*.part"))


def test_the_record_does_not_tell_where_the_runs_lie(run, tmp_path):
    folder = tmp_path / "runs"
    weights = run("first")
    offer(folder, weights, 0.2, "a" * 64, "/home/me/rsna/data.yaml", {"data": "/home/me/rsna/data.yaml"})
    text = (folder / "best.json").read_text()
    assert "/home/me" not in text
    assert str(tmp_path) not in text
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert read_records(moved).data_sets["a" * 64].run == str(moved / "first")
    assert find_original(moved / "best.pt") == moved / "first" / "weights" / "best.pt"
    # An earlier version wrote whole paths.
    (moved / "best.json").write_text(text.replace('"first"', f'"{moved}/first"'))
    assert read_records(moved).data_sets["a" * 64].run == str(moved / "first")
    assert find_original(moved / "best.pt") == moved / "first" / "weights" / "best.pt"


def test_another_data_sets_best_is_put_aside_and_comes_back(run, tmp_path):
    folder = tmp_path / "runs"
    give(run("a1"), 0.5, "a" * 64)
    outcome = give(run("b1"), 0.1, "b" * 64)
    assert outcome.is_best
    assert outcome.put_aside == folder / "best-aaaaaaaa.pt"
    assert outcome.put_aside.read_text() == "weights of a1"
    assert (folder / "best.pt").read_text() == "weights of b1"

    shutil.rmtree(folder / "a1")  # the copy put aside is all there is
    back = give(run("a2"), 0.4, "a" * 64)
    assert not back.is_best
    assert (folder / "best.pt").read_text() == "weights of a1"
    assert (folder / "best-bbbbbbbb.pt").read_text() == "weights of b1"
    assert not (folder / "best-aaaaaaaa.pt").exists()


def test_a_record_whose_weights_are_gone_does_not_win(run, tmp_path):
    folder = tmp_path / "runs"
    give(run("lost"), 0.9)
    shutil.rmtree(folder / "lost")
    (folder / "best.pt").unlink()
    assert give(run("new"), 0.2).is_best
    assert (folder / "best.pt").read_text() == "weights of new"


NAN = json.dumps({"best.pt": "a" * 64, "data_sets": {"a" * 64: {"run": "runs/x", "score": float("nan")}}})


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"data_sets": {"a": {"score": "high"}}}', '{"data_sets": 3}', NAN, NAN.replace("NaN", "7")],
)
def test_a_damaged_record_is_put_aside(run, tmp_path, capsys, content):
    weights = run("only")
    (tmp_path / "runs" / "best.json").write_text(content)
    assert give(weights, 0.2).is_best
    assert (tmp_path / "runs" / "best.damaged.json").read_text() == content
    assert capsys.readouterr().err.count("warning: ") == 1
    assert read_records(tmp_path / "runs").holds == "a" * 64


def test_a_record_of_an_earlier_version_still_counts(run, tmp_path):
    give(run("old"), 0.5)
    file = tmp_path / "runs" / "best.json"
    content = json.loads(file.read_text())
    del content["data_sets"]["a" * 64]["weights_sha256"]
    file.write_text(json.dumps(content))
    assert not give(run("new"), 0.4).is_best
    assert read_records(tmp_path / "runs").data_sets["a" * 64].weights_sha256 is None
    assert give(run("newest"), 0.6).is_best


def test_trainings_that_end_together(run, tmp_path):
    offers = [(run(f"r{number}"), number / 100) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: give(*item), offers))
    assert (tmp_path / "runs" / "best.pt").read_text() == "weights of r23"
    assert read_records(tmp_path / "runs").data_sets["a" * 64].score == 0.23


def test_fingerprint_depends_on_the_manifest_and_the_validation_list_alone(data_set, tmp_path):
    copy = shutil.copytree(data_set, tmp_path / "elsewhere")
    first = data_fingerprint({"val": str(data_set / "val.txt"), "train": str(data_set / "train.txt")})
    assert data_fingerprint({"val": str(copy / "val.txt"), "train": None}) == first
    assert len(first) == 64
    (copy / "val.txt").write_text((copy / "val.txt").read_text().replace("val00", "val01"))
    second = data_fingerprint({"val": str(copy / "val.txt")})
    (copy / "manifest.csv").write_text("image_id\n")
    third = data_fingerprint({"val": [str(copy / "val.txt")]})
    folder = data_fingerprint({"val": str(copy / "images" / "val")})
    (copy / "images" / "val" / "val07.png").unlink()
    assert len({first, second, third, folder, data_fingerprint({"val": str(copy / "images" / "val")})}) == 5
