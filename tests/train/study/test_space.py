from __future__ import annotations

import itertools
import json
import math
import random
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from common.cli import execute
from common.errors import UserError
from train.settings.arguments import parse
from train.study.plan import command, effective, identity, plan
from train.study.space import SPACES, read_space
from train.study.space_values import Range
from train.sweep import main

BASE = {"model": "basic-cnn.yaml", "epochs": 3}


def write(folder: Path, **content) -> Path:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def trials(folder: Path, *words: str, **content) -> list:
    return plan(read_space(write(folder, **{"base": BASE, **content}), words))


def test_a_grid_is_every_combination_once_per_seed(tmp_path):
    made = trials(
        tmp_path, seeds=[3, 5], parameters={"optimizer": ["SGD", "Adam", "AdamW"], "lr0": [0.01, 0.1]}, name="s"
    )
    wanted = itertools.product(["SGD", "Adam", "AdamW"], [0.01, 0.1], [3, 5])
    assert [(t.settings["optimizer"], t.settings["lr0"], t.seed) for t in made] == list(wanted)
    assert [t.id for t in made] == [f"t{number:03}" for number in range(12)]
    assert [t.setting for t in made] == [number // 2 for number in range(12)]
    assert all(t.arguments["seed"] == t.seed and t.arguments["epochs"] == 3 and t.blocks == ("s",) for t in made)


def test_blocks_share_a_setting_that_both_have(tmp_path):
    made = trials(
        tmp_path,
        base={**BASE, "optimizer": "SGD"},
        seeds=[0, 1],
        blocks=[
            {"name": "optimizers", "seeds": [0, 1, 2], "parameters": {"optimizer": ["SGD", "Adam"]}},
            # 0.01 is the default that the first block trains with
            {"name": "rates", "parameters": {"lr0": [0.01, "1e-3"]}, "base": {"momentum": 0.937}},
        ],
    )
    assert len(made) == 3 + 3 + 2  # and not the 2 of lr0=0.01 again
    shared = [t for t in made if len(t.blocks) == 2]
    # Seed 2 is the first block's alone; the second is given it too, since it repeats the same setting.
    assert [(t.blocks, t.settings, t.seed) for t in shared] == [
        (("optimizers", "rates"), {"optimizer": "SGD", "lr0": 0.01}, seed) for seed in (0, 1, 2)
    ]
    assert len({t.setting for t in shared}) == 1
    assert {t.arguments["lr0"] for t in made if t.blocks == ("rates",)} == {0.001}
    assert len({identity(t.arguments) for t in made}) == len(made)


def test_only_changes_arguments_of_one_value(tmp_path):
    parameters = {"model": ["basic-cnn.yaml", "yolov8n.yaml"], "batch": [8, 16]}
    only = {"model": {"yolov8n.yaml": {"epochs": 20}}, "batch": {16: {"nbs": 32}}}
    made = trials(tmp_path, base={}, blocks=[{"name": "b", "parameters": parameters, "only": only}])
    found = {
        (t.settings["model"], t.settings["batch"]): (t.arguments.get("epochs"), t.arguments.get("nbs")) for t in made
    }
    assert found == {
        ("basic-cnn.yaml", 8): (None, None), ("basic-cnn.yaml", 16): (None, 32),
        ("yolov8n.yaml", 8): (20, None), ("yolov8n.yaml", 16): (20, 32),
    }  # fmt: skip
    assert all("epochs" not in t.settings for t in made)


def test_words_change_the_base(tmp_path):
    (first, *_) = trials(tmp_path, "epochs=1", "lr0=1e-3", parameters={"batch": [8, 16]})
    assert (first.arguments["epochs"], first.arguments["lr0"], first.arguments["batch"]) == (1, 0.001, 8)


def test_a_command_repeats_its_trial(tmp_path):
    base = {**BASE, "data": "a b.yaml", "freeze": [0, 1], "cos_lr": True, "iou_loss": "SIoU", "optimizer": "SGD"}
    for trial in trials(tmp_path, base=base, parameters={"lr0": [1e-5, 0.1], "cls_loss": [None, "focal"]}):
        words = shlex.split(command(trial.arguments))
        assert words[:2] == ["python", "train/train.py"]
        assert identity(parse(words[2:])) == identity(trial.arguments)
        assert parse(words[2:])["cls_loss"] == trial.settings["cls_loss"]


def test_folds_take_the_data_sets_own_lists(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    content = yaml.safe_dump({"train": "train.txt", "val": "val.txt", "names": {0: "Lung Opacity"}})
    for name in ("data", "fold0", "fold1"):
        (root / f"{name}.yaml").write_text(content)
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(yaml.safe_dump({"train": "set/train.txt", "val": "set/val.txt", "names": {0: "Lung Opacity"}}))
    for data in (root, root / "data.yaml", elsewhere):
        made = trials(tmp_path, base={**BASE, "data": str(data)}, folds=2, parameters={"batch": [8, 16]})
        assert [(t.fold, Path(t.arguments["data"]).name) for t in made] == [(0, "fold0.yaml"), (1, "fold1.yaml")] * 2
        assert [t.setting for t in made] == [0, 0, 1, 1]
    with pytest.raises(UserError, match=r"no fold2\.yaml in .*set; expected a data set converted with that many folds"):
        trials(tmp_path, base={**BASE, "data": str(root)}, folds=3, parameters={"batch": [8]})


def test_random_settings_are_distinct_within_range_and_repeatable(tmp_path):
    given = {
        "method": "random",
        "trials": 40,
        "base": {**BASE, "optimizer": "SGD"},
        "seeds": [0, 1],
        "parameters": {"lr0": {"low": "1e-4", "high": "1e-1", "log": True}, "batch": {"low": 8, "high": 16}},
    }
    made = trials(tmp_path, **given)
    assert len(made) == 80
    assert len({identity(t.arguments) for t in made}) == 80
    assert all(1e-4 <= t.settings["lr0"] <= 1e-1 for t in made)
    assert {t.settings["batch"] for t in made} <= set(range(8, 17))
    assert made == trials(tmp_path, **given)
    assert made != trials(tmp_path, **given, seed=1)
    few = trials(tmp_path, **{**given, "parameters": {"batch": [8, 16, 32]}})
    assert Counter(t.settings["batch"] for t in few) == {8: 2, 16: 2, 32: 2}


@pytest.mark.parametrize("log", [False, True])
def test_a_range_is_drawn_from_evenly(log):
    source = random.Random(0)
    drawn = [Range(1, 1000, log).draw(source) for _ in range(4000)]
    middle = math.sqrt(1000) if log else 500.5
    assert abs(sum(value < middle for value in drawn) / 4000 - 0.5) < 0.03
    whole = Counter(Range(1, 4, log, whole=True).draw(source) for _ in range(4000))
    assert set(whole) == {1, 2, 3, 4}
    assert all(isinstance(value, int) for value in whole)


GRID = {"base": BASE, "parameters": {"batch": [8, 16]}}
BLOCK = {"name": "b", "parameters": {"batch": [8, 16]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**GRID, "metod": "grid"}, "metod: no such key; did you mean method?"),
        ({**GRID, "method": "bayes"}, "method: found 'bayes'; expected one of grid, random, tpe"),
        ({**GRID, "name": "../x"}, "name: found '../x'; expected letters"),
        ({**GRID, "trials": 3}, "trials: found 3; expected none with method grid"),
        ({**GRID, "method": "random"}, "trials: found None; expected how many settings"),
        ({**GRID, "method": "tpe", "trials": 0}, "trials: found 0; expected a whole number, 1 or more"),
        ({**GRID, "seeds": [0, 0]}, r"seeds: found \[0, 0\]; expected a list of different whole numbers"),
        ({**GRID, "seeds": 2}, "seeds: found 2; expected a list"),
        ({**GRID, "seeds": [0], "folds": 5}, "seeds, folds: found both"),
        ({**GRID, "folds": 1}, "folds: found 1; expected a whole number, 2 or more"),
        ({**GRID, "base": {**BASE, "seed": 1}, "seeds": [0]}, "base: found a seed beside `seeds`"),
        ({"base": BASE}, "blocks, parameters: found neither"),
        ({**GRID, "blocks": [BLOCK]}, "blocks, parameters: found both"),
        ({"base": BASE, "blocks": [BLOCK], "method": "random", "trials": 2}, "blocks are for a grid"),
        ({"base": BASE, "blocks": {"b": BLOCK}}, "blocks: found .*; expected a list of blocks"),
        ({"base": BASE, "blocks": [{**BLOCK, "parametrs": 1}]}, "block b: parametrs: no such key; did you mean para"),
        ({"base": BASE, "blocks": [BLOCK, BLOCK]}, "block b: name: found twice"),
        ({"base": BASE, "blocks": [{**BLOCK, "base": {"batch": 2}}]}, "block b: batch: found in `base` and in `para"),
        ({**GRID, "parameters": {}}, r"parameters: found \{\}; expected lines such as"),
        ({**GRID, "parameters": {"epoch": [1]}}, "parameters: epoch: no such argument; did you mean epochs?"),
        ({**GRID, "parameters": {"iou_loss": ["siou", "foo"]}}, "parameters: iou_loss: found 'foo'; expected one of"),
        ({**GRID, "parameters": {"batch": 8}}, "parameters: batch: found 8; expected a list of values"),
        ({**GRID, "parameters": {"batch": [8, 8.0]}}, "parameters: batch: found 8.0 twice"),
        ({**GRID, "parameters": {"lr0": {"low": 1, "high": 2}}}, "lr0: found a range; expected a list of values"),
        ({**GRID, "parameters": {"data": ["a", "b"]}}, "data: cannot be varied: scores on other data"),
        ({**GRID, "parameters": {"seed": [0, 1]}}, "seed: cannot be varied: use `seeds`"),
        ({**GRID, "base": {**BASE, "project": "x"}}, "base: project: cannot be set: every trial has a folder"),
        ({**GRID, "base": {**BASE, "resume": True}}, "base: resume: cannot be set: a study is resumed"),
        ({**GRID, "base": {"epochs": 3}}, "base: model: missing"),
        ({**GRID, "base": {**BASE, "recipe": "winner"}}, "recipe: winner is several trainings"),
        ({**GRID, "parameters": {"lr0": [0.1, 0.01]}}, "lr0: is ignored with optimizer: auto"),
        ({**GRID, "scheduler": {"type": "asha", "graze": 1}}, "scheduler: graze: no such key; did you mean grace?"),
        ({**GRID, "scheduler": {"type": "pbt"}}, "scheduler: type: found 'pbt'; expected asha"),
        ({**GRID, "scheduler": {"reduction": 1}}, "reduction: found 1; expected a whole number, 2 or more"),
        (
            {"base": BASE, "scheduler": {"type": "asha"}, "blocks": [BLOCK, {**BLOCK, "name": "other"}]},
            "scheduler: found one beside 2 blocks; expected one block",
        ),
        (
            {"base": BASE, "controls": [0], "parameters": {"batch": [8, 32]}},
            "controls: found seeds for the base's own setting, which no block here trains",
        ),
        ({**GRID, "controls": 4}, "controls: found 4; expected a list of different whole numbers"),
        ({**GRID, "best_of": "batch"}, "best_of: found 'batch'; expected one of two or more crossed parameters"),
        ({**GRID, "singly": "yes"}, "singly: found 'yes' with method grid; expected true or false"),
        ({**GRID, "controls": [0], "folds": 2}, "controls: found beside `folds`"),
        ({**GRID, "controls": [0], "method": "random", "trials": 2}, "controls: found with method random"),
        (
            {"base": BASE, "blocks": [{**BLOCK, "parameters": {"batch": [8]}, "controls": [0]}]},
            "block b: controls: found seeds .* which no value",
        ),
        ({"base": BASE, "blocks": [{**BLOCK, "only": {"lr0": {1: {}}}}]}, "only: lr0: found no such parameter"),
        ({"base": BASE, "blocks": [{**BLOCK, "only": {"batch": {9: {}}}}]}, "found the value '9'; expected one of 8"),
        ({"base": BASE, "blocks": [{**BLOCK, "only": {"batch": {8: {"batch": 1}}}}]}, "batch: is varied in this block"),
    ],
)  # fmt: skip
def test_mistakes_are_named(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        plan(read_space(write(tmp_path, **content)))
    assert "space.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0, "high": 1, "log": True}, "found 0 to 1; expected low below high, both above 0"),
        ({"low": 2, "high": 1}, "found 2 to 1; expected low below high"),
        ({"low": "a", "high": 1}, "low: found 'a'; expected a number"),
        ({"low": 1}, "high: found None; expected a number"),
        ({"lo": 1, "high": 2}, "lo: no such key; did you mean low?"),
        ({"low": 1, "high": 2, "log": "yes"}, "log: found 'yes'; expected true or false"),
    ],
)
def test_wrong_ranges(values, message, tmp_path):
    content = {"base": {**BASE, "optimizer": "SGD"}, "method": "random", "trials": 2, "parameters": {"lr0": values}}
    with pytest.raises(UserError, match=message):
        read_space(write(tmp_path, **content))


def test_a_file_that_is_none(tmp_path, capsys):
    assert execute(main, [str(tmp_path / "no.yaml"), "--dry-run"]) == 2
    assert "no such space file" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("a: [")
    assert execute(main, [str(tmp_path / "bad.yaml"), "--dry-run"]) == 2
    assert "bad.yaml: cannot be read" in capsys.readouterr().err
    assert execute(main, []) == 2
    assert "space.yaml: missing" in capsys.readouterr().err


def test_dry_run_shows_every_trial_and_makes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, **GRID, seeds=[0, 1])
    assert execute(main, [str(file), "--dry-run", "epochs=2"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line.startswith("t0")] == ["t000", "t001", "t002", "t003"]
    assert "4 trainings of 2 settings" in said
    assert "epochs=2" in said
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_spaces_that_are_provided(file):
    space = read_space(Path(file.stem))
    assert space.file == file
    assert space.title != space.name
    assert space.about
    assert all(block.about for block in space.blocks)
    if space.method == "tpe":
        assert space.scheduler
        return
    made = plan(space)
    assert len({identity(trial.arguments) for trial in made}) == len(made) > 1
    for block in space.blocks:  # every value of every parameter is tried
        for name, values in block.parameters.items():
            assert {json.dumps(t.settings[name]) for t in made if block.name in t.blocks} == set(
                map(json.dumps, values)
            )


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"iou_loss": "ciou"}, {"cls_loss": "bce", "focal_gamma": 3}),
        ({"iou_loss": "siou", "wiou_delta": 2}, {"iou_loss": "siou"}),
        ({"patience": 0}, {"patience": 100, "epochs": 100}),
        ({"batch": 16.0}, {}),
    ],
)
def test_equal_trainings_have_one_identity(one, two):
    assert identity({"model": "yolov8n.yaml", **one}) == identity({"model": "yolov8n.yaml", **two})


@pytest.mark.parametrize(
    ("model", "one", "two"),
    [
        ("rtdetr-l.yaml", {"iou_loss": "ciou"}, {}),  # GIoU is its own
        ("yolov8n.yaml", {"iou_loss": "siou", "siou_theta": 2}, {"iou_loss": "siou"}),
        ("yolov8n.yaml", {"iou_loss": "giou"}, {}),
        ("yolov8n.yaml", {"patience": 99}, {}),
    ],
)
def test_different_trainings_have_two(model, one, two):
    assert identity({"model": model, **one}) != identity({"model": model, **two})


def test_values_that_train_the_same_are_refused(tmp_path):
    with pytest.raises(UserError, match="iou_loss: found iou_loss None and ciou, which train the very same"):
        trials(tmp_path, parameters={"iou_loss": [None, "giou", "ciou"]})


def test_singly_changes_one_parameter_at_a_time(tmp_path):
    block = {"name": "b", "singly": True, "parameters": {"mosaic": [0, 0.5, 1.0], "fliplr": [0.5, 0]}}
    made = trials(tmp_path, seeds=[0, 1], blocks=[block])
    assert [(t.settings["mosaic"], t.settings["fliplr"]) for t in made if t.seed == 0] == [
        (0, 0.5), (0.5, 0.5), (1.0, 0.5), (0, 0),
    ]  # fmt: skip
    assert len(made) == 8


def test_controls_repeat_the_bases_own_setting_for_every_block_that_has_it(tmp_path):
    blocks = [
        {"name": "mosaic", "parameters": {"mosaic": [0, 1.0]}},
        {"name": "losses", "parameters": {"iou_loss": [None, "giou"]}},
        {"name": "long", "base": {"epochs": 6}, "controls": [0, 1], "parameters": {"lrf": [0.01, 1.0]}},
    ]
    base = {**BASE, "mosaic": 0}
    made = trials(tmp_path, base=base, controls=[0, 1, 2], blocks=blocks)
    found = Counter(
        (t.blocks, t.settings.get("mosaic"), t.settings.get("iou_loss"), t.settings.get("lrf")) for t in made
    )
    assert found == {
        (("mosaic", "losses"), 0, None, None): 3, (("mosaic",), 1.0, None, None): 1,
        (("losses",), None, "giou", None): 1, (("long",), None, None, 0.01): 2, (("long",), None, None, 1.0): 1,
    }  # fmt: skip
    assert sorted(t.seed for t in made if t.settings.get("mosaic") == 0) == [0, 1, 2]


@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.stem)
def test_no_provided_space_trains_the_same_twice(file):
    space = read_space(file)
    if space.method == "tpe":
        (block,) = space.blocks
        lists = {name: values for name, values in block.parameters.items() if isinstance(values, tuple)}
        made = [
            {**space.base, **dict(zip(lists, values, strict=True))} for values in itertools.product(*lists.values())
        ]
    else:
        made = [trial.arguments for trial in plan(space)]
    assert [name for name, count in Counter(map(identity, made)).items() if count > 1] == []


def test_provided_spaces_cover_what_is_argued_about():
    varied: set[str] = set()
    for file in SPACES.glob("*.yaml"):
        space = read_space(file)
        for block in space.blocks:
            if space.method == "tpe":
                varied |= {n for n, values in block.parameters.items() if isinstance(values, Range) or len(values) > 1}
                continue
            made = [effective(trial.arguments) for trial in plan(space) if block.name in trial.blocks]
            # Trained with different values, and not only listed.
            varied |= {name for name in block.parameters if len({json.dumps(one[name]) for one in made}) > 1}
    assert varied >= {
        "optimizer", "lr0", "lrf", "cos_lr", "warmup_epochs", "batch", "epochs", "patience", "iou_loss", "cls_loss",
        "imgsz", "model", "negatives", "fliplr", "mosaic", "rotation", "gamma",
    }  # fmt: skip
    assert effective(read_space(Path("optimizer")).base)["data"].endswith("rsna.yaml")
