"""Predictions and submissions that somebody hands in."""

from __future__ import annotations

import pandas as pd
import pytest

from common.data.tables import write_predictions, write_submission
from common.errors import UserError
from evaluate.metrics.rsna import confidence_sweep, rsna_score
from tests.evaluate.scores import QUICK, invented, read, run, truth_of


def test_submission_of_one_split_is_scored_as_it_is(data_set, tmp_path, capsys):
    table = invented(data_set, "test")
    file = tmp_path / "mine.csv"
    write_submission(file, table, [f"test-{number:02}" for number in range(12)])
    run("--predictions", file, "--data", data_set, *QUICK)
    found = read(tmp_path / "mine-score")
    assert found["score"] == rsna_score(truth_of(data_set, "test"), table)
    assert (found["confidence"], found["tuned_on"], found["reported_on"], found["weights"]) == (0.0, None, "test", None)
    assert list(found["splits"]) == ["test"]
    said = capsys.readouterr()
    assert "not tuned" in said.err
    assert "not in the submission" not in said.err
    run("--predictions", file, "--data", data_set, "--confidence", 0.6, "--output", tmp_path / "out", *QUICK)
    at = read(tmp_path / "out")
    assert at["score"] == rsna_score(truth_of(data_set, "test"), table, 0.6) != found["score"]


def test_one_split_is_tuned_where_that_is_asked_for(data_set, tmp_path, capsys):
    """As with weights: with a warning, and not silently left as it is."""
    table = invented(data_set, "test")
    write_predictions(tmp_path / "mine.csv", table)
    run("--predictions", tmp_path / "mine.csv", "--data", data_set, "--tune-on", "test", "--report-on", "test", *QUICK)
    found = read(tmp_path / "mine-score")
    assert (found["tuned_on"], found["reported_on"]) == ("test", "test")
    assert found["score"] == confidence_sweep(truth_of(data_set, "test"), table)["score"].max()
    assert "tuned and reported on the same split 'test': the score flatters" in capsys.readouterr().err


@pytest.mark.parametrize("files", [1, 2])
def test_predictions_of_both_splits_are_tuned(files, data_set, tmp_path):
    val, test, train = (invented(data_set, split, seed) for split, seed in (("val", 1), ("test", 2), ("train", 3)))
    paths = [tmp_path / f"{number}.csv" for number in range(files)]
    if files == 1:
        write_predictions(paths[0], pd.concat([val, test, train]))  # of train nothing is asked
    else:
        write_predictions(paths[0], val)
        write_predictions(paths[1], test)
    run("--predictions", *paths, "--data", data_set, "--output", tmp_path / "out", *QUICK)
    found = read(tmp_path / "out")
    sweep = confidence_sweep(truth_of(data_set, "val"), val)
    assert found["tuned_on"] == "val"
    assert found["splits"]["val"]["score"] == sweep["score"].max()
    assert found["score"] == rsna_score(truth_of(data_set, "test"), test, found["confidence"])


def test_images_missing_from_a_submission_count_as_empty(data_set, tmp_path, capsys):
    table = invented(data_set, "test")
    part = table[table["image_id"] >= "test-04"]
    write_submission(tmp_path / "part.csv", part, [f"test-{number:02}" for number in range(4, 12)])
    run("--predictions", tmp_path / "part.csv", "--data", data_set, *QUICK)
    found = read(tmp_path / "part-score")
    assert found["splits"]["test"]["images"] == 12
    assert found["score"] == rsna_score(truth_of(data_set, "test"), part)
    assert "4 of the 12 images of split 'test' are not in the submission (such as test-00)" in capsys.readouterr().err


def test_votes_that_are_handed_in_differ_between_the_splits(data_set, tmp_path, capsys):
    val, test = (invented(data_set, split, seed) for split, seed in (("val", 1), ("test", 2)))
    write_predictions(tmp_path / "val.csv", val.assign(detector="a", voters=1))
    write_predictions(tmp_path / "test.csv", test.assign(detector="a", voters=2))
    files = ("--predictions", tmp_path / "val.csv", tmp_path / "test.csv", "--data", data_set)
    run(*files, "--output", tmp_path / "out", *QUICK)
    said = "1 voters have looked at an image of 'val', 2 at one of 'test'"
    assert said in capsys.readouterr().err
    write_predictions(tmp_path / "test.csv", test.assign(detector="a", voters=1))
    run(*files, "--output", tmp_path / "out", *QUICK)
    assert "voters have looked" not in capsys.readouterr().err
    write_predictions(tmp_path / "test.csv", test)
    with pytest.raises(UserError, match=r"test\.csv: lacks detector, voters, which .*val\.csv has; expected"):
        run(*files, "--output", tmp_path / "out", *QUICK)
