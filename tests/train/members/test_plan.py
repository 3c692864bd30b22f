from __future__ import annotations

import shutil

import pytest
import yaml

from common.cli import execute
from common.errors import UserError
from train.members.plan import make_plan
from train.settings.arguments import parse
from train.settings.recipes import read_recipe
from train.train import main


@pytest.fixture
def plan(folds, recipe, tmp_path):
    """Makes the plan of the recipe with further words."""

    def make(*words: str):
        given = parse([f"recipe={recipe}", f"data={folds}", f"project={tmp_path}", *words])
        return make_plan(read_recipe(str(recipe)), given)

    return make


def test_each_fold_has_a_detector_of_each_size_and_a_gate_where_the_recipe_has_one(plan, folds, tmp_path):
    made = plan("imgsz=64,32")
    assert [one.name for one in made.detectors] == ["fold0-64", "fold0-32", "fold1-64", "fold1-32"]
    assert [one.arguments["imgsz"] for one in made.detectors] == [64, 32, 64, 32]
    assert [one.arguments["data"] for one in made.detectors] == [str(folds / f"fold{k}.yaml") for k in (0, 0, 1, 1)]
    assert [(one.name, one.arguments["data"]) for one in made.gates] == [("gate-fold0", str(folds / "fold0.yaml"))]
    assert (made.augment, made.folder) == (True, tmp_path / "pair")
    assert not {"augment", "folds", "recipe", "project"} & set(made.detectors[0].arguments)
    assert {one.arguments["group"] for one in (*made.detectors, *made.gates)} == {"pair"}
    assert plan("group=mine").gates[0].arguments["group"] == "mine"


def test_everything_can_be_made_shorter_by_arguments(plan, cnn):
    made = plan("folds=1", "epochs=1", "augment=False", "gate.epochs=3", "gate.imgsz=64", "gate.flip=False", "seed=4")
    assert [one.name for one in made.detectors] == ["fold0-64"]
    assert made.detectors[0].arguments["epochs"] == 1
    gate = made.gates[0].arguments
    assert (gate["epochs"], gate["imgsz"], gate["seed"], gate["batch"]) == (3, 64, 4, 8)
    assert (made.augment, gate["flip"]) == (False, False)
    assert "folds" not in gate
    assert gate["model"] == "basic-cnn-cls.yaml"
    for model in ("yolov8n-cls.yaml", "resnet18", "torchvision:resnet18"):  # whatever a gate takes
        assert plan(f"gate.model={model}").gates[0].arguments["model"] == model


@pytest.mark.parametrize(
    ("words", "gates"),
    [
        (["gate=False"], []),
        (["folds=1,"], ["gate-fold0"]),
        (["folds=[1]"], ["gate-fold1"]),
        (["gate.folds=2"], ["gate-fold0", "gate-fold1"]),
        (["gate.folds=1,0"], ["gate-fold1", "gate-fold0"]),
        (["gate.folds=None"], ["gate"]),
    ],
)
def test_which_folds_have_a_gate(plan, words, gates):
    assert [one.name for one in plan(*words).gates] == gates


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folds=0"], "folds: found 0; expected how many folds"),
        (["folds=[0,0]"], r"folds: found \[0, 0\]; expected whole numbers, each once"),
        (["folds=all"], "folds: found 'all'; expected how many folds"),
        (
            ["folds=3"],
            r"its data set has folds 0 to 1 only \(no fold2.yaml\). .* --folds 3 .* or train on these: folds=2",
        ),
        (["gate.folds=4"], r"no fold2.yaml"),
        (["gate=5"], "gate: found 5; expected True or False"),
        (["gate=False", "gate.epochs=1"], "gate.epochs: found it with gate=False"),
        (["gate.data=x"], "gate.data: is that of the whole recipe; give data="),
        (["gate.fold=1"], r"gate.fold: is that of the whole recipe; give gate.folds=\[0\]"),
        (["gate.epoch=1"], "gate.epoch: no such argument; did you mean gate.epochs"),
        (["gate.flip"], "gate.flip: has no value; write gate.flip=VALUE"),
        (["augment=3"], "augment: found 3; expected True or False"),
        (["resume"], "resume: a recipe of several trainings goes on by itself"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(plan, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        plan(*words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["folds=2", "gate=False", "gate.epochs=1"])
def test_arguments_of_several_trainings_need_such_a_recipe(word):
    with pytest.raises(UserError, match=f"{word.split('=')[0]}: only a recipe of several trainings takes it"):
        parse(["recipe=fast", word])
    with pytest.raises(UserError, match="only a recipe of several trainings"):
        parse(["model=x.pt", word])


def test_a_data_set_without_folds_is_refused(data_set, recipe, tmp_path, capsys):
    assert execute(main, [f"recipe={recipe}", f"data={data_set}", f"project={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "its data set has no folds (no fold0.yaml). Convert the data with --folds 2 (" in error
    assert not list(tmp_path.iterdir())


def test_data_that_are_not_there_are_not_converted_without_folds(recipe, tmp_path, capsys):
    (tmp_path / "later.yaml").write_text(
        "train: none/train.txt\nval: none/val.txt\nnames: {0: Lung Opacity}\n"
        f"download: |\n  from pathlib import Path\n  Path(r'{tmp_path / 'converted'}').touch()\n"
    )
    assert execute(main, [f"recipe={recipe}", f"data={tmp_path / 'later.yaml'}", f"project={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "none/train.txt is not there" in error
    assert "Convert the data first: python convert/rsna_to_yolo.py --folds 2" in error
    assert [path.name for path in tmp_path.iterdir()] == ["later.yaml"]


@pytest.mark.parametrize("role", ["train", "val"])
def test_folds_that_hold_images_of_val_are_refused(folds, recipe, tmp_path, capsys, role):
    """As those do that were made before folds were of train alone; no member may have seen val."""
    root = tmp_path / "earlier"
    shutil.copytree(folds, root)
    with (root / f"fold1_{role}.txt").open("a") as file:
        file.write("".join((root / "val.txt").read_text().splitlines(keepends=True)[:3]))
    words = [f"recipe={recipe}", f"data={root}", f"project={tmp_path / 'runs'}"]
    assert execute(main, words) == 2
    error = capsys.readouterr().err
    assert "fold1.yaml: 3 of the 8 images of val are in this fold's lists" in error
    assert "Convert the data again, with --folds 2 --overwrite" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_weights_that_cannot_be_had_are_said_before_anything_trains(folds, recipe, tmp_path, capsys):
    content = yaml.safe_load(recipe.read_text())
    content["gate"]["model"]["value"] = "nowhere/cls.pt"
    (tmp_path / "offline.yaml").write_text(yaml.safe_dump(content))
    words = [f"recipe={tmp_path / 'offline.yaml'}", f"data={folds}", f"project={tmp_path / 'runs'}"]
    assert execute(main, words) == 2
    assert "model: nowhere/cls.pt: no such file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imgsz=64,0"], "imgsz: found 0; expected the side of the square"),
        (["gate.epochs=x"], "epochs"),
        (["gate.optimizer=adan"], "optimizer: found 'adan'"),
        (["device=7"], "device: found 7"),
    ],
)
def test_wrong_arguments_of_later_trainings_are_said_before_the_first(folds, recipe, tmp_path, capsys, words, message):
    words = [f"recipe={recipe}", f"data={folds}", f"project={tmp_path / 'runs'}", *words]
    assert execute(main, words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_fold_that_nothing_can_be_drawn_from_is_said_before_the_first_training(folds, recipe, tmp_path, capsys):
    root = tmp_path / "poor"
    shutil.copytree(folds, root)
    negatives = [line for line in (root / "fold1_train.txt").read_text().splitlines() if line.endswith("0.png")]
    (root / "fold1_train.txt").write_text("\n".join(negatives[:1]) + "\n")  # number 0 of four has no box
    words = [f"recipe={recipe}", f"data={root}", f"project={tmp_path / 'runs'}", "negatives=0"]
    assert execute(main, words) == 2
    assert "negatives" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
