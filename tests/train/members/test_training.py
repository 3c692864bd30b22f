"""A recipe is trained once, and then stopped in every way that there is, by taking away what is not yet there then."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml

from common.cli import execute
from evaluate.system import System
from evaluate.system.finding import find_system
from train.train import main


@pytest.fixture(scope="module")
def words(folds, recipe):
    return [f"recipe={recipe}", f"data={folds}"]


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory):
    project = tmp_path_factory.mktemp("finished")
    main([*words, f"project={project}"])
    return project / "pair"


@pytest.fixture
def stopped(finished, tmp_path):
    """A copy of the finished recipe, to take something away of."""
    return shutil.copytree(finished, tmp_path / "pair")


def read(folder):
    return json.loads((folder / "members.json").read_text())


def forget(folder, part, name):
    record = read(folder)
    del record[part][name]
    (folder / "members.json").write_text(json.dumps(record))


def times(folder):
    """When each training's weights were written."""
    return {file.parents[1].name: file.stat().st_mtime_ns for file in folder.glob("*/weights/best.pt")}


def train_again(words, folder, *more):
    """Give the command again; the trainings whose weights were written anew."""
    before = times(folder)
    assert execute(main, [*words, f"project={folder.parent}", *more]) == 0
    return {name for name, time in times(folder).items() if before.get(name) != time}


def same_weights(one, other) -> bool:
    first, second = (
        torch.load(path / "weights" / "best.pt", map_location="cpu", weights_only=False)["model"].state_dict()
        for path in (one, other)
    )
    return all(torch.equal(first[name], second[name]) for name in first)


def test_members_and_gate_of_their_folds(finished, folds):
    record = read(finished)
    assert list(record["members"]) == ["fold0-64", "fold1-64"]
    assert list(record["gates"]) == ["gate-fold0"]
    assert record["members"]["fold1-64"].keys() == {"fold", "imgsz", "score", "confidence", "epoch"}
    for name, fold in (("fold0-64", 0), ("fold1-64", 1)):
        arguments = yaml.safe_load((finished / name / "args.yaml").read_text())
        assert (arguments["data"], arguments["imgsz"]) == (str(folds / f"fold{fold}.yaml"), 64)
        assert len((finished / name / "results.csv").read_text().splitlines()) == 3
        assert not list((finished / name / "weights").glob("state-*"))  # nothing is kept to train on with
    gate = pd.read_csv(finished / "gate-fold0" / "gate.csv").set_index("image_id")["split"]
    manifest = pd.read_csv(folds / "manifest.csv").set_index("image_id")
    assert (gate[manifest.index[manifest["fold"] == 1]] == "train").all()
    assert not (gate[manifest.index[manifest["split"] != "train"]] == "train").any()
    assert not (finished.parent / "best.pt").exists()


def test_what_predicts_together_is_written_down(finished, folds):
    system = System.from_yaml(finished / "system.yaml")
    assert [(one.weights, one.imgsz, one.augment) for one in system.detectors] == [
        (finished / f"fold{fold}-64" / "weights" / "best.pt", 64, True) for fold in (0, 1)
    ]
    assert [(one.weights, one.flip) for one in system.classifiers] == [
        (finished / "gate-fold0" / "weights" / "best.pt", True)
    ]
    assert system.data == folds / "data.yaml"
    assert find_system([finished]) == system


def test_finished_it_trains_nothing_again(words, stopped, capsys):
    assert train_again(words, stopped) == set()
    assert f"fold1-64        {read(stopped)['members']['fold1-64']['score']:.4f}" in capsys.readouterr().out


def test_stopped_between_two_members(words, stopped, finished):
    forget(stopped, "members", "fold1-64")
    shutil.rmtree(stopped / "fold1-64")
    assert train_again(words, stopped, "workers=1") == {"fold1-64"}
    assert read(stopped)["members"].keys() == read(finished)["members"].keys()


def test_stopped_in_the_first_epoch_of_a_member(words, stopped, finished):
    forget(stopped, "members", "fold1-64")
    shutil.rmtree(stopped / "fold1-64" / "weights")
    (stopped / "fold1-64" / "weights").mkdir()
    lines = (stopped / "fold1-64" / "results.csv").read_text().splitlines(keepends=True)
    (stopped / "fold1-64" / "results.csv").write_text("".join(lines[:2]))  # is written before the first checkpoint
    assert train_again(words, stopped) == {"fold1-64"}
    assert read(stopped)["members"] == read(finished)["members"]
    assert same_weights(stopped / "fold1-64", finished / "fold1-64")
    assert len((stopped / "fold1-64" / "results.csv").read_text().splitlines()) == len(lines) == 3


def test_stopped_within_a_member_it_goes_on_with_what_is_given_anew(words, stopped, finished, monkeypatch):
    from train.detector.trainer import RSNATrainer

    forget(stopped, "members", "fold1-64")
    shutil.rmtree(stopped / "fold1-64")
    save, calls = RSNATrainer.save_model, []

    def killed(self):
        calls.append(self.save_dir.name)
        if len(calls) == 2:  # after its first epoch
            raise SystemExit(9)
        return save(self)

    with monkeypatch.context() as patch:
        patch.setattr(RSNATrainer, "save_model", killed)
        with pytest.raises(SystemExit):
            main([*words, f"project={stopped.parent}"])
    assert calls == ["fold1-64", "fold1-64"]
    assert list(read(stopped)["members"]) == ["fold0-64"]
    assert train_again(words, stopped, "device=cpu", "workers=1") <= {"fold1-64"}
    arguments = yaml.safe_load((stopped / "fold1-64" / "args.yaml").read_text())
    assert (arguments["workers"], arguments["device"]) == (1, "cpu")
    assert read(stopped)["members"] == read(finished)["members"]
    assert same_weights(stopped / "fold1-64", finished / "fold1-64")


@pytest.mark.parametrize("best_is_stripped", [True, False])
def test_stopped_after_a_members_end_and_before_it_was_noted(words, stopped, finished, capsys, best_is_stripped):
    forget(stopped, "members", "fold1-64")
    best = stopped / "fold1-64" / "weights" / "best.pt"
    if not best_is_stripped:  # last.pt goes first
        content = torch.load(best, map_location="cpu", weights_only=False)
        torch.save({**content, "optimizer": {"state": {}}, "epoch": 1}, best)
    trained = train_again(words, stopped)
    assert trained == (set() if best_is_stripped else {"fold1-64"})
    assert torch.load(best, map_location="cpu", weights_only=False)["optimizer"] is None
    assert read(stopped)["members"] == read(finished)["members"]
    assert "resume" not in capsys.readouterr().err  # how to train on is not what was asked


def test_stopped_between_the_members_and_the_gate(words, stopped, finished):
    forget(stopped, "gates", "gate-fold0")
    shutil.rmtree(stopped / "gate-fold0")
    assert train_again(words, stopped) == {"gate-fold0"}
    assert read(stopped)["gates"] == read(finished)["gates"]


def test_stopped_within_the_gate(words, stopped, monkeypatch):
    from train.classifier.trainer import GateTrainer

    forget(stopped, "gates", "gate-fold0")
    shutil.rmtree(stopped / "gate-fold0")
    save, calls = GateTrainer.save_model, []

    def killed(self):
        calls.append(self.epoch)
        if len(calls) == 2:
            raise SystemExit(9)
        return save(self)

    with monkeypatch.context() as patch:
        patch.setattr(GateTrainer, "save_model", killed)
        with pytest.raises(SystemExit):
            main([*words, f"project={stopped.parent}"])
    assert (stopped / "gate-fold0" / "weights" / "last.pt").is_file()
    assert not (stopped / "gate-fold0" / "gate.csv").is_file()
    begun = (stopped / "gate-fold0" / "results.csv").read_text().splitlines()[1]
    assert execute(main, [*words, f"project={stopped.parent}", "device=cpu", "workers=1"]) == 0
    assert yaml.safe_load((stopped / "gate-fold0" / "args.yaml").read_text())["workers"] == 1
    lines = (stopped / "gate-fold0" / "results.csv").read_text().splitlines()
    assert (len(lines), lines[1]) == (3, begun)
    assert len(pd.read_csv(stopped / "gate-fold0" / "gate.csv")) == 28  # all images


def test_stopped_before_it_was_put_together(words, stopped, finished, capsys):
    (stopped / "system.yaml").unlink()
    assert train_again(words, stopped) == set()
    assert (stopped / "system.yaml").read_bytes() == (finished / "system.yaml").read_bytes()
    assert f"\nnext: python evaluate/score.py {stopped}\n" in capsys.readouterr().out


def test_stopped_before_the_gates_probabilities_were_written(words, stopped, finished):
    forget(stopped, "gates", "gate-fold0")
    (stopped / "gate-fold0" / "gate.csv").unlink()
    assert train_again(words, stopped) == set()
    assert (stopped / "gate-fold0" / "gate.csv").read_bytes() == (finished / "gate-fold0" / "gate.csv").read_bytes()


def test_a_damaged_checkpoint_is_named_with_what_to_do(words, stopped, capsys):
    forget(stopped, "members", "fold1-64")
    last = stopped / "fold1-64" / "weights" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    assert execute(main, [*words, f"project={stopped.parent}"]) == 2
    error = capsys.readouterr().err
    assert f"{last}: cannot be read" in error
    assert f"Remove {last.parents[1]}, and give the same command again" in error


def test_further_folds_and_sizes_join_what_is_there(words, stopped):
    assert train_again(words, stopped, "imgsz=64,32", "folds=1", "gate=False", "augment=False") == {"fold0-32"}
    assert list(read(stopped)["members"]) == ["fold0-64", "fold1-64", "fold0-32"]
    system = System.from_yaml(stopped / "system.yaml")
    assert [(one.weights.parents[1].name, one.imgsz, one.augment) for one in system.detectors] == [
        ("fold0-64", 64, False), ("fold0-32", 32, False)
    ]  # fmt: skip
    assert system.classifiers == ()
