"""What predict.py takes from a score.json, and when it does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.detector.finding import find_weights
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, FittedOn, GateRule, Sides
from evaluate.scoring.choice import DEFAULT, choose_pipeline, misfit, read_choice
from evaluate.scoring.result import write_score
from tests.evaluate.scores import QUICK, QUIET, read, run, system_of
from tests.evaluate.scoring.test_result import SCORE, of_an_older_version


def test_a_file_of_an_older_version(tmp_path):
    """What a prediction needs can be read of less than a score."""
    (tmp_path / "score.json").write_text('{"confidence": 0.25, "postprocess": {}}')
    choice = read_choice(tmp_path / "score.json")
    assert (choice.pipeline, choice.weights_sha256, choice.words) == (DEFAULT, (), "")


def test_what_a_score_has_chosen(tmp_path):
    found = read_choice(write_score(tmp_path, SCORE))
    assert (found.pipeline, found.inference) == (SCORE.pipeline, {"imgsz": 640, "augment": False})
    assert found.words == ", on val of datasets/rsna.yaml"
    given = read_choice(write_score(tmp_path, replace(SCORE, tuned_on=None)))
    assert given.words == ", where it was given and not tuned"


def test_of_a_gated_score_of_an_older_version_counts_what_was_best_without(tmp_path):
    content = of_an_older_version(
        postprocess={"box_scale": [0.9, 0.8], "gate": {"files": ["g.csv"], "mode": "weigh", "threshold": None}},
        gate={"asked": "tune", "tuned_on": "val", "seen_images": {}, "without": {"confidence": 0.4, "splits": {}}},
        inference={"imgsz": 640, "nms_iou": 0.4},
    )
    (tmp_path / "score.json").write_text(json.dumps(content))
    found = read_choice(tmp_path / "score.json")
    scale = BoxScale.common(Sides(0.9, 0.8))
    assert (found.pipeline, found.had_gate) == (Pipeline(box_scale=scale, confidence=Confidence(0.4)), True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": float("nan")}, {"confidence": -0.1}, {"confidence": "x"}, {"postprocess": {"box_scale": [0, 1]}},
        {"postprocess": {"box_scale": [1, float("inf")]}}, {"postprocess": {"box_scale": [1]}},
        {"postprocess": {"gate": {"mode": "weigh"}}, "gate": {"without": {"confidence": float("nan")}}},
    ],
)  # fmt: skip
def test_a_choice_that_would_predict_nothing_is_refused(tmp_path, wrong):
    (tmp_path / "score.json").write_text(json.dumps({"confidence": 0.25, "postprocess": {}} | wrong))
    with pytest.raises(UserError, match=r"score.json: not a readable score"):
        read_choice(tmp_path / "score.json")


def changed(weights: Path) -> None:
    """Other weights in the same place, as a second training into the same folder leaves."""
    import torch

    checkpoint = torch.load(weights, weights_only=False)
    torch.save({**checkpoint, "date": "2020-01-01T00:00:00+00:00"}, weights)


def test_the_pipeline_of_the_weights_that_were_there_before_is_refused(run_folder, capsys):
    weights = run_folder / "weights" / "best.pt"
    run(run_folder, *QUICK)
    chosen = read(run_folder)["confidence"]
    loaded = system_of(weights)
    capsys.readouterr()
    pipeline, origin = choose_pipeline(None, loaded)
    assert (pipeline.confidence.least, capsys.readouterr().err) == (chosen, "")
    assert pipeline.fitted_on.weights == loaded.detector_checksums
    assert origin.startswith(f"chosen in {run_folder / 'pipeline.yaml'}, on val of ")
    assert choose_pipeline(0.7, loaded)[0] == replace(pipeline, confidence=Confidence(0.7))
    changed(weights)
    loaded = system_of(weights)
    words = rf"pipeline.yaml: was fitted .* other weights, not of .*best.pt as it is now.*score.py {weights}$"
    with pytest.raises(UserError, match=words):
        choose_pipeline(None, loaded)
    named, _ = choose_pipeline(None, loaded, run_folder / "pipeline.yaml")
    assert named == pipeline
    assert "was fitted to the predictions of other weights" in capsys.readouterr().err
    (run_folder / "pipeline.yaml").unlink()
    assert choose_pipeline(None, loaded) == (DEFAULT, "not tuned: run evaluate/score.py to choose it")
    warning = capsys.readouterr().err
    assert "is the score of other weights, not of" in warning
    assert f"python evaluate/score.py {weights}" in warning


def test_a_pipeline_that_was_brought_here_by_itself(run_folder, capsys):
    run(run_folder, *QUICK)
    (run_folder / "score.json").unlink()
    loaded = system_of(run_folder / "weights" / "best.pt")
    capsys.readouterr()
    pipeline, origin = choose_pipeline(None, loaded)
    assert pipeline == Pipeline.from_yaml(run_folder / "pipeline.yaml")
    assert (origin, capsys.readouterr().err) == (f"fitted in {run_folder / 'pipeline.yaml'}", "")


@pytest.mark.parametrize(
    ("fitted", "gate", "classifiers", "words"),
    [
        ("", False, "", ""), ("a", False, "", ""), ("ab", False, "", "and of other weights"),
        ("b", False, "", "other weights"),
        ("ac", True, "c", ""), ("ac", True, "", ""), ("a", True, "c", ""), ("ac", True, "d", "another gate"),
        ("c", True, "c", "other weights"), ("a", False, "c", ""),
    ],
)  # fmt: skip
def test_whose_pipeline_it_is(fitted, gate, classifiers, words):
    """Each letter stands for a file; the detector is `a`."""
    on = FittedOn(weights=tuple(fitted))
    found = misfit(Pipeline(gate=GateRule("weigh" if gate else "none"), fitted_on=on), "a", classifiers)
    assert (words in found) if words else not found


def test_a_confidence_that_was_given_does_not_replace_a_tuned_one(run_folder, capsys):
    """As by a look at another confidence, or a score on data that have nothing to tune on."""
    run(run_folder, *QUICK)
    tuned = read(run_folder)["confidence"]
    run(run_folder, "--confidence", "0.9", *QUIET)
    run(run_folder, "--confidence", "0.8", *QUIET)
    assert "from now on" not in capsys.readouterr().err
    loaded = system_of(run_folder / "weights" / "best.pt")
    for file, origin in (("pipeline.yaml", "chosen in "), ("score-*.json", f"chosen in {run_folder}/score-20")):
        pipeline, words = choose_pipeline(None, loaded)
        assert pipeline.confidence.least == tuned
        assert words.startswith(origin)
        for one in run_folder.glob(file):
            one.unlink()
    pipeline, origin = choose_pipeline(None, loaded)
    assert (pipeline.confidence.least, origin.endswith(", where it was given and not tuned")) == (0.8, True)


def test_a_score_of_predictions_is_not_one_of_weights(run_folder, tmp_path, capsys):
    write_score(run_folder, replace(SCORE, weights=None, weights_sha256=(), inference=None))
    loaded = system_of(run_folder / "weights" / "best.pt")
    assert choose_pipeline(None, loaded)[0] == DEFAULT
    assert "is the score of predictions that were handed in" in capsys.readouterr().err


def test_a_confidence_of_other_data_is_told(run_folder, own_data_set, capsys):
    listed = own_data_set / "val.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:10]))
    run(run_folder, "--data", own_data_set, *QUICK)
    loaded = system_of(run_folder / "weights" / "best.pt")
    capsys.readouterr()
    pipeline, origin = choose_pipeline(None, loaded)
    assert pipeline.confidence.least == read(run_folder)["confidence"]
    assert f"is a score on {own_data_set.name}/data.yaml, and the weights were trained on " in capsys.readouterr().err
    assert origin.endswith(f", on val of {own_data_set.name}/data.yaml")


@pytest.fixture
def best(run_folder, tmp_path, monkeypatch) -> Path:
    """`runs/best.pt`, as train/train.py leaves it: a copy of `runs/train/weights/best.pt`."""
    from train.detector.best_run import offer

    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, tmp_path / "runs" / "train")
    offer(Path("runs"), Path("runs/train/weights/best.pt"), 0.5, "f" * 64, "data.yaml", {})
    return Path("runs/best.pt")


def test_from_train_to_score_to_predict_by_the_defaults(best, data_set, capsys):
    """The command that train.py prints names the training, and predict.py takes runs/best.pt: the same weights."""
    from evaluate import predict

    run("runs/train/weights/best.pt", *QUICK)
    chosen = read(Path("runs/train"))["confidence"]
    picture = str(data_set / "images" / "test" / "test-00.jpg")
    capsys.readouterr()
    assert not predict.main([picture, "--overlays", "none"])
    said = capsys.readouterr()
    assert f"at confidence {chosen:.6g} (chosen in runs/train/pipeline.yaml, on val of " in said.out
    assert "runs/best.pt is a copy of runs/train/weights/best.pt" in said.err

    run("--no-wandb")  # the default of score.py is the training, with its curves and its name
    assert not Path("runs/score.json").exists()
    page = Path("runs/train/report.html").read_text()
    assert "– train, best.pt</title>" in page
    assert "results.csv was not at hand" not in page

    changed(Path("runs/train/weights/best.pt"))  # trained into again: best.pt is no copy of it any more
    assert find_weights(best) == (best, "")


def test_a_better_training_does_not_inherit_the_confidence(best, tmp_path, capsys):
    from train.detector.best_run import offer

    run(*QUICK)
    shutil.copytree("runs/train/weights", "runs/better/weights")
    changed(Path("runs/better/weights/best.pt"))
    offer(Path("runs"), Path("runs/better/weights/best.pt"), 0.6, "f" * 64, "data.yaml", {})
    path, note = find_weights(best)
    assert path.resolve() == tmp_path / "runs" / "better" / "weights" / "best.pt"
    assert "runs/best.pt is a copy of runs/better/weights/best.pt" in note
    loaded = system_of(path)
    assert choose_pipeline(None, loaded)[1] == "not tuned: run evaluate/score.py to choose it"
    # A training that was removed: the copy is all there is, and a score of it lies beside it.
    shutil.rmtree("runs/better")
    assert find_weights(best) == (best, "")
    run(*QUICK)
    assert read(Path("runs"))["weights"] == "runs/best.pt"


def test_data_that_were_converted_anew_since_the_training_are_told(best, own_data_set, capsys):
    """Another split of the same images would put some that were trained on into val and test."""
    import torch

    from common.data.fingerprint import yaml_fingerprint
    from train.detector.best_run import offer

    weights = Path("runs/train/weights/best.pt")
    checkpoint = torch.load(weights, weights_only=False)
    checkpoint["train_args"]["data"] = str(own_data_set / "data.yaml")
    torch.save(checkpoint, weights)
    offer(Path("runs"), weights, 0.5, yaml_fingerprint(own_data_set / "data.yaml"), "data.yaml", {})
    run(*QUICK)
    assert "the data set is another one" not in capsys.readouterr().err
    listed = own_data_set / "val.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:10]))
    run(*QUICK)
    assert "own/data.yaml: the data set is another one than when runs/train" in capsys.readouterr().err


def test_a_copy_is_found_where_its_folder_was_moved_to(best, tmp_path, monkeypatch):
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert find_weights(Path("moved/best.pt"))[0] == Path("moved/train/weights/best.pt")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"data_sets": 3}', '{"data_sets": {"a": {}}}', '{"data_sets": {"a": 1}}']
)
def test_a_damaged_record_leaves_the_copy_as_it_is(best, content):
    Path("runs/best.json").write_text(content)
    assert find_weights(best) == (best, "")
