"""Which system is meant. Nothing is loaded here: files stand for weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.system import System, SystemClassifier, SystemDetector
from evaluate.system.finding import find_system, home_of, typed_words_of, words_of


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No settings of Ultralytics', no runs but the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("evaluate.detector.finding.PROJECT", tmp_path)
    monkeypatch.chdir(tmp_path)


def training(name: str, task: str = "detect", content: str = "") -> Path:
    weights = Path("runs", name, "weights", "best.pt")
    weights.parent.mkdir(parents=True)
    weights.write_text(content or name)
    (weights.parents[1] / "args.yaml").write_text(f"task: {task}\n")
    return weights


def found(*named: str | Path) -> list[Path]:
    return [one.weights for one in find_system([Path(name) for name in named]).detectors]


def test_one_is_named_in_any_of_the_ways(capsys):
    weights = training("train")
    assert found(weights) == found(weights.parents[1]) == [weights]
    assert "using runs/train/weights/best.pt" in capsys.readouterr().err
    assert found() == [weights]
    assert "no runs/best.pt; using runs/train/weights/best.pt" in capsys.readouterr().err


def test_several_and_a_folder_of_trainings_without_its_gates(capsys):
    first, second = training("a"), training("b")
    training("gate", "classify")
    assert found(second, first.parents[1]) == [second, first]  # in the order named
    assert found("runs") == [first, second]
    assert "runs: passing over gate, a gate, which --gate takes" in capsys.readouterr().err


def test_a_recipe_by_its_system_or_else_by_its_members(capsys):
    folds = [training(f"winner/fold{fold}") for fold in (0, 1)]
    gate, winner = training("winner/gate", "classify"), Path("runs/winner")
    training("winner/unfinished")
    data = Path("data.yaml")
    data.write_text("names: [x]\n")
    record = {"arguments": {"data": str(data.absolute())}, "members": {"fold0": {}, "fold1": {}}}
    (winner / "members.json").write_text(json.dumps(record))
    system = find_system([winner])
    assert [one.weights for one in system.detectors] == folds
    assert system.classifiers == ()
    assert system.data == data.absolute()
    said = capsys.readouterr().err
    assert "no system.yaml, as of a recipe that is not finished; using its 2 finished detectors, without gate" in said

    whole = System(
        tuple(SystemDetector.of(path, imgsz=96) for path in folds), (SystemClassifier.of(gate, True),), data=data
    )
    whole.to_yaml(winner / "system.yaml")
    assert find_system([winner]) == find_system([winner / "system.yaml"]) == whole
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "members.json: not a record of a recipe's members"),
        ('{"members": {}}', "names no finished member. Run the recipe's command again"),
        ('{"members": {"fold7": {}}}', "runs/winner/fold7/weights/best.pt, which is not there"),
    ],
)
def test_a_recipe_whose_record_leads_nowhere(content, words):
    training("winner/fold0")
    Path("runs/winner/members.json").write_text(content)
    with pytest.raises(UserError) as caught:
        found("runs/winner")
    assert words in str(caught.value)


def test_predictions_of_any_other_detector_are_among_the_members():
    weights, file = training("train"), Path("theirs.csv")
    file.write_text("image_id,confidence,x,y,width,height\n")
    system = find_system([file, weights])
    assert [one.file for one in system.predictions] == [file]
    assert [one.weights for one in system.detectors] == [weights]


def test_the_same_weights_vote_once(tmp_path):
    weights = training("train")
    copy = Path(shutil.copytree("runs/train", "runs/copy"))
    with pytest.raises(UserError, match="is named twice; each may vote only once"):
        find_system([weights, weights.parents[1]])
    with pytest.raises(UserError, match=r"has the content of runs/copy/weights/best\.pt"):
        find_system([copy.parent])
    sizes = System((SystemDetector.of(weights, 320), SystemDetector.of(weights, 512)))  # two voters of one training
    sizes.to_yaml(Path("system.yaml"))
    assert find_system([Path("system.yaml")]) == System(
        (SystemDetector.of(Path("runs/train/weights/best.pt"), 320), SystemDetector.of(weights, 512))
    )


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("runs/gate", "is a gate's, which finds no boxes. Name a detector, and the gate with --gate runs/gate"),
        ("runs/gate/weights/best.pt", "is a gate's, which finds no boxes"),
        ("runs", "runs: nothing but gates there; expected a .pt file"),
        ("empty", "empty: no weights there; expected a .pt file, a training's folder"),
        ("gone", "gone: no such weights file"),
        ("gone.csv", "gone.csv: no such file; expected a predictions CSV"),
    ],
)
def test_what_is_no_detector(named, words):
    training("gate", "classify")
    Path("empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_system([Path(named)])
    assert words in str(caught.value)


def test_where_a_system_is_at_home():
    """Its score and post-processing lie where it can be named again by one word."""
    first, second = training("a"), training("b")
    Path("theirs.csv").write_text("image_id,confidence,x,y,width,height\n")
    runs = first.parents[2]
    assert home_of(find_system([first])) == Path.cwd() / "runs/a"
    assert home_of(find_system([runs])) == runs
    both = find_system([first, second])
    assert home_of(both) == home_of(find_system([second, first])) == Path.cwd() / "runs" / f"system-{both.digest[:8]}"
    mixed = find_system([first, Path("theirs.csv")])
    assert home_of(mixed).parent == Path.cwd() / "runs"
    assert home_of(mixed) != home_of(both)
    folder = Path("kept")
    folder.mkdir()
    find_system([first]).to_yaml(folder / "system.yaml")
    assert home_of(find_system([folder])) == home_of(find_system([folder / "system.yaml"])) == folder
    assert words_of(find_system([folder])) == "kept"
    assert words_of(both) == "runs/a/weights/best.pt, runs/b/weights/best.pt"
    assert typed_words_of(find_system([Path("runs")])) == "runs"
