"""Several members on a split and on new pictures: who has found what, and how many have looked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.data.tables import read_predictions, write_predictions
from common.errors import UserError
from evaluate.classifier.inference import predict_opacity
from evaluate.classifier.weights import load_classifier
from evaluate.detector import cache
from evaluate.detector.inference import predict
from evaluate.detector.options import InferenceOptions
from evaluate.detector.pictures import find_pictures, with_originals
from evaluate.detector.weights import load_weights
from evaluate.system import System, SystemClassifier, SystemDetector, loading, voting
from evaluate.system.finding import find_system
from evaluate.system.loading import load_system
from evaluate.system.voting import forget, kept_in, predict_pictures, predict_split, write_votes

BOXES = ["image_id", "confidence", "x", "y", "width", "height"]
OPTIONS = InferenceOptions(batch=4, device="cpu")


@pytest.fixture
def own_runs(runs, tmp_path) -> Path:
    """A copy of the trainings, to which predictions are written."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


@pytest.fixture
def split(data_set):
    return DataSet(data_set).split("test")


def alone(weights: Path, split, options=OPTIONS, **settings) -> pd.DataFrame:
    """What one detector finds, without the system."""
    loaded = load_weights(weights)
    plain = replace(options.settings(loaded), **settings)
    return predict(loaded, cache.pictures_of(split), plain, options.batch, options.device).predictions


def of(table: pd.DataFrame, detector: str) -> pd.DataFrame:
    return table.loc[table["detector"] == detector, BOXES].reset_index(drop=True)


def test_one_detector_is_a_plain_table(own_runs, split):
    system = load_system(find_system([own_runs / "a"]), OPTIONS)
    votes = predict_split(system, split)
    pd.testing.assert_frame_equal(votes.predictions, alone(own_runs / "a/weights/best.pt", split))
    assert votes.opacity is None
    assert votes.files == {"a": own_runs / "a" / "predictions_test.csv"}
    assert list(votes.voters) == [1] * 12


def test_several_detectors_are_kept_apart_in_one_table(own_runs, split, capsys):
    system = load_system(find_system([own_runs]), OPTIONS)
    votes = predict_split(system, split)
    for name in ("a", "b"):
        pd.testing.assert_frame_equal(of(votes.predictions, name), alone(own_runs / name / "weights/best.pt", split))
    assert set(votes.predictions["voters"]) == {2}
    assert not of(votes.predictions, "a").equals(of(votes.predictions, "b"))
    assert votes.predictions["confidence"].groupby(votes.predictions["image_id"]).is_monotonic_decreasing.all()
    capsys.readouterr()

    again = predict_split(load_system(find_system([own_runs]), OPTIONS), split)
    assert capsys.readouterr().out.count("made from the same weights, images and settings") == 2
    pd.testing.assert_frame_equal(again.predictions, votes.predictions)


def test_networks_that_do_not_fit_together_are_loaded_again(own_runs, split, monkeypatch):
    system = load_system(find_system([own_runs]), OPTIONS)
    assert [system.load(member) is system.load(member) for member in system.members] == [True, True]
    size = (own_runs / "a/weights/best.pt").stat().st_size
    monkeypatch.setattr(loading, "_MOST_KEPT", size)
    lean = load_system(find_system([own_runs]), OPTIONS)
    assert [lean.load(member) is lean.load(member) for member in lean.members] == [True, False]
    pd.testing.assert_frame_equal(
        predict_split(lean, split).predictions, predict_split(system, split, again=True).predictions
    )


def test_a_copy_votes_as_a_further_detector(own_runs, split):
    """With test-time augmentation the same weights look four times; the mirror image's boxes come back mirrored."""
    weights = own_runs / "a/weights/best.pt"
    system = load_system(System((SystemDetector.of(weights, augment=True),)), OPTIONS)
    assert [voter.name for voter in system.members[0].voters] == ["a", "a-flip", "a-96", "a-160"]
    votes = predict_split(system, split)
    assert set(votes.predictions["voters"]) == {4}
    pd.testing.assert_frame_equal(of(votes.predictions, "a-flip"), alone(weights, split, flip=True))
    pd.testing.assert_frame_equal(of(votes.predictions, "a-96"), alone(weights, split, imgsz=96))
    assert system.inference | {"imgsz": 128, "augment": True, "voters": 4} == system.inference
    assert system.overlapping
    other_size = System((SystemDetector.of(weights, imgsz=96), SystemDetector.of(weights)))
    assert load_system(other_size, OPTIONS).inference["imgsz"] == [96, 128]
    everywhere = load_system(find_system([own_runs]), replace(OPTIONS, augment=True))
    assert everywhere.voters == 8


def test_new_pictures_are_predicted_as_the_split_is(own_runs, data_set, split, tmp_path):
    """What is submitted is what was scored, table for table."""
    theirs = tmp_path / "theirs.csv"
    write_predictions(theirs, alone(own_runs / "b/weights/best.pt", split, imgsz=96))
    system = load_system(find_system([own_runs, theirs]), OPTIONS)
    scored = predict_split(system, split)
    output = tmp_path / "out"
    output.mkdir()
    pictures = with_originals(find_pictures([data_set / "images" / "test"]))
    found = predict_pictures(system, pictures, output)
    pd.testing.assert_frame_equal(found.predictions, scored.predictions)
    pd.testing.assert_series_equal(found.voters, scored.voters)
    columns = ["image_id", "view", "width", "height"]
    pd.testing.assert_frame_equal(found.manifest, scored.manifest[columns].reset_index(drop=True), check_dtype=False)
    assert set(found.predictions["detector"]) == {"a", "b", "theirs"}
    assert len(list(output.glob("*.unfinished"))) == 2
    forget(output)
    assert not list(output.glob("*.unfinished"))


@pytest.fixture
def gates(make_gate, tmp_path) -> list[Path]:
    """Two gates, the second of which looks at the mirror image, too."""
    made = [make_gate(seed=0), make_gate(seed=1, flip=True)]
    return [Path(shutil.copytree(gate, tmp_path / "gates" / str(number))) for number, gate in enumerate(made)]


def with_gates(runs: Path, gates: list[Path]) -> System:
    flips = zip(gates, (False, True), strict=True)
    return replace(
        find_system([runs / "a"]),
        classifiers=tuple(SystemClassifier.of(gate / "weights" / "best.pt", flip) for gate, flip in flips),
    )


def test_classifiers_give_the_mean_of_what_they_think(own_runs, gates, data_set, split, tmp_path):
    system = load_system(with_gates(own_runs, gates), OPTIONS)
    scored = predict_split(system, split)
    each = [predict_opacity([load_classifier(gate)], cache.pictures_of(split), device="cpu") for gate in gates]
    assert (each[0] - each[1]).abs().max() > 0.01
    pd.testing.assert_series_equal(scored.opacity, (each[0] + each[1]) / 2, check_index_type=False)
    assert list(gates[1].glob("opacity_test-*.csv"))
    assert not {"detector", "voters"} & set(scored.predictions)  # they find no boxes

    output = tmp_path / "out"
    output.mkdir()
    found = predict_pictures(system, with_originals(find_pictures([data_set / "images" / "test"])), output)
    pd.testing.assert_frame_equal(found.predictions, scored.predictions)
    pd.testing.assert_series_equal(found.opacity, scored.opacity, check_exact=True, check_index_type=False)
    forget(output)
    assert not list(output.iterdir())

    some = list(split.pictures)[:3]
    part = predict_split(system, split, abstains={system.classifiers[0].sha256: some}).opacity
    pd.testing.assert_series_equal(part[some], each[1][some], check_index_type=False)
    pd.testing.assert_series_equal(part.drop(some), scored.opacity.drop(some))


def test_a_classifier_is_run_as_it_was_calibrated(own_runs, gates):
    with pytest.raises(UserError, match="was calibrated with flip=True, and the system runs it with flip=False"):
        load_system(
            replace(find_system([own_runs]), classifiers=(SystemClassifier.of(gates[1] / "weights/best.pt"),)), OPTIONS
        )


def test_weights_that_would_vote_twice_the_same(own_runs):
    weights = own_runs / "a/weights/best.pt"
    twice = System((SystemDetector.of(weights), SystemDetector.of(weights, 96)))
    assert load_system(twice, OPTIONS).voters == 2
    with pytest.raises(UserError, match=r"would vote twice at 96 pixels, the same each time\. Leave out --imgsz"):
        load_system(twice, replace(OPTIONS, imgsz=96))
    own_size = System((SystemDetector.of(weights), SystemDetector.of(weights, 128)))  # that of its training
    with pytest.raises(UserError, match="would vote twice at 128 pixels"):
        load_system(own_size, OPTIONS)


def test_a_stopped_prediction_of_several_goes_on(own_runs, data_set, tmp_path, monkeypatch, capsys):
    pictures = with_originals(find_pictures([data_set / "images" / "test"]))
    system = load_system(find_system([own_runs]), OPTIONS)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    expected = predict_pictures(system, pictures, whole).predictions

    def stop(weights, *args, **kwargs):
        if weights.path.parents[1].name == "b":
            raise KeyboardInterrupt
        return predict(weights, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(voting, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            predict_pictures(system, pictures, stopped)
    capsys.readouterr()
    found = predict_pictures(system, pictures, stopped)
    assert "going on: 12 of 12 images were predicted before" in capsys.readouterr().err
    pd.testing.assert_frame_equal(found.predictions, expected)


def test_a_picture_that_one_cannot_read_counts_for_none(own_runs, data_set, tmp_path):
    folder = Path(shutil.copytree(data_set / "images" / "test", tmp_path / "pictures"))
    (folder / "test-00.jpg").write_bytes(b"\xff\xd8 no picture")
    output = tmp_path / "out"
    output.mkdir()
    found = predict_pictures(load_system(find_system([own_runs]), OPTIONS), find_pictures([folder]), output)
    assert [one.status for one in found.outcomes[:2]] == ["unreadable", "predicted"]
    assert "test-00" not in set(found.predictions["image_id"]) | set(found.voters.index) | set(
        found.manifest["image_id"]
    )


def test_who_has_trained_on_an_image_abstains(own_runs, split):
    system = load_system(find_system([own_runs]), OPTIONS)
    first = system.members[0].detector.sha256
    ids = list(split.pictures)
    votes = predict_split(system, split, abstains={first: ids[:5]})
    assert list(votes.voters) == [1] * 5 + [2] * 7
    counted = votes.predictions.drop_duplicates("image_id").set_index("image_id")["voters"]
    pd.testing.assert_series_equal(counted, votes.voters.loc[counted.index], check_index_type=False)
    whole = alone(own_runs / "a/weights/best.pt", split)
    expected = whole[~whole["image_id"].isin(ids[:5])].reset_index(drop=True)
    pd.testing.assert_frame_equal(of(votes.predictions, "a"), expected)
    assert not (own_runs / "a" / "predictions_test.csv").exists()  # which is of the whole split


def test_the_table_is_written_once_and_read_back(own_runs, split, tmp_path):
    system = load_system(find_system([own_runs]), OPTIONS)
    votes = predict_split(system, split)
    file = tmp_path / "votes_test.csv"
    write_votes(file, votes)
    pd.testing.assert_frame_equal(read_predictions(file).predictions, votes.predictions)
    before = file.stat().st_mtime_ns
    write_votes(file, votes)
    assert file.stat().st_mtime_ns == before
    file.write_text(file.read_text().replace("test-00", "test-02"))  # edited: not what they said
    write_votes(file, votes)
    pd.testing.assert_frame_equal(read_predictions(file).predictions, votes.predictions)


def test_predictions_are_kept_where_nothing_else_is(own_runs, split, tmp_path, read_only):
    read_only(own_runs)
    system = load_system(find_system([own_runs]), OPTIONS)
    with pytest.raises(UserError, match=r"the weights' folder .*Name another one with --output"):
        predict_split(system, split)
    votes = predict_split(system, split, tmp_path / "out")
    assert (
        votes.files["a"] == kept_in(system, own_runs / "a/weights/best.pt", tmp_path / "out") / "predictions_test.csv"
    )
    one = load_system(find_system([own_runs / "a"]), OPTIONS)
    assert predict_split(one, split, tmp_path / "out").files["a"] == tmp_path / "out" / "predictions_test.csv"


def test_a_file_votes_where_it_has_images(own_runs, data_set, split, tmp_path, capsys):
    """It has looked at all images of a split that it has any of, and at none of another one."""
    theirs = tmp_path / "a.csv"  # named as a training is
    table = alone(own_runs / "b/weights/best.pt", split)
    write_predictions(theirs, table[table["image_id"] < "test-06"])
    system = load_system(find_system([own_runs / "a", theirs]), OPTIONS)
    votes = predict_split(system, split)
    assert set(votes.voters) == {2}
    name = f"a-{system.system.predictions[0].sha256[:8]}"
    assert set(votes.predictions["detector"]) == {"a", name}
    votes = predict_split(system, DataSet(data_set).split("val"))
    assert set(votes.voters) == {1}
    assert "a.csv: has none of the 12 images of val, so it does not vote there" in capsys.readouterr().err
    with pytest.raises(UserError, match="predictions, which cannot look at new pictures"):
        predict_pictures(load_system(find_system([theirs]), OPTIONS), [], tmp_path)
