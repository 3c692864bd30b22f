"""Scores that answer another question than the one in their place."""

from __future__ import annotations

import json

from tests.evaluate.scores import QUICK, QUIET, read, run


def kept(folder):
    names = ("score-*.json", "report-*.html", "pipeline-*.yaml")
    return [sorted(path.name for path in folder.glob(name)) for name in names]


def test_the_same_scoring_again_replaces_its_score(run_folder, capsys):
    run(run_folder, "--no-wandb")
    run(run_folder, "--no-wandb")
    assert kept(run_folder) == [[], [], []]
    assert "was another score" not in capsys.readouterr().err


def test_another_scoring_keeps_score_and_report(run_folder, capsys):
    run(run_folder, "--no-wandb", "--fit", "confidence")
    files = ("score.json", "report.html", "pipeline.yaml")
    first, page, fitted = ((run_folder / name).read_text() for name in files)
    of_images = (run_folder / "outcomes.csv").read_text()
    capsys.readouterr()
    run(run_folder, "--report-on", "val", "--tune-on", "test", *QUICK)
    said = capsys.readouterr().err
    assert "was another score (it differs in: the split tuned on, the split reported on); kept as score-" in said
    (name,), (report,), (pipeline,) = kept(run_folder)
    assert (run_folder / name).read_text() == first
    assert (run_folder / report).read_text() == page
    assert (run_folder / pipeline).read_text() == fitted
    assert (run_folder / "pipeline.yaml").read_text() != fitted
    assert not (run_folder / "report.html").exists()  # it was of the other score
    (outcomes,) = run_folder.glob("outcomes-*.csv")
    assert outcomes.read_text() == of_images != (run_folder / "outcomes.csv").read_text()
    now, before = read(run_folder)["confidence"], json.loads(first)["confidence"]
    changes = f"predict.py takes confidence {now:.6g} with these weights from now on, instead of {before:.6g}"
    assert (changes in said) == (now != before)

    fitted = (run_folder / "pipeline.yaml").read_text()
    run(run_folder, "--confidence", "0.3", *QUIET)
    run(run_folder, "--confidence", "0.3", *QUIET)
    assert len(kept(run_folder)[0]) == 2
    assert "the steps that are fitted" in capsys.readouterr().err
    assert (run_folder / "pipeline.yaml").read_text() == fitted  # nothing was fitted since
    assert len(kept(run_folder)[2]) == 1


def test_the_score_of_weights_that_are_gone_is_replaced(run_folder):
    """As `make demo` trains into the same folder again and again."""
    import torch

    run(run_folder, *QUICK)
    weights = run_folder / "weights" / "best.pt"
    torch.save({**torch.load(weights, weights_only=False), "date": "2020-01-01T00:00:00+00:00"}, weights)
    before = read(run_folder)["weights_sha256"]
    run(run_folder, "--confidence", "0.3", *QUIET)
    assert read(run_folder)["weights_sha256"] != before
    assert kept(run_folder) == [[], [], []]


def test_weights_that_are_scored_into_one_folder_by_turns(run_folder, tmp_path):
    import torch

    other = tmp_path / "other" / "weights" / "best.pt"
    other.parent.mkdir(parents=True)
    torch.save({**torch.load(run_folder / "weights" / "best.pt", weights_only=False), "date": "2020-01-01"}, other)
    run(run_folder, "--output", tmp_path / "out", *QUICK)
    run(other, "--output", tmp_path / "out", *QUICK)
    assert len(kept(tmp_path / "out")[0]) == 1


def test_a_damaged_score_is_replaced(run_folder, capsys):
    (run_folder / "score.json").write_text("{}")
    run(run_folder, *QUICK)
    assert read(run_folder)["reported_on"] == "test"
    assert kept(run_folder) == [[], [], []]
    assert "could not be read as a score, and is replaced" in capsys.readouterr().err
