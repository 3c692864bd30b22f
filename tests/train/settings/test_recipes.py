from __future__ import annotations

import pytest
import yaml

from common.errors import UserError
from train.settings import arguments, options
from train.settings.recipes import FOLDER, names, read_recipe


@pytest.mark.parametrize("name", ["baseline", "fast", "winner", "winner-small"])
def test_recipes_have_known_arguments_each_with_a_reason(name):
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    recipe = read_recipe(name)
    assert recipe.values() == {key: entry["value"] for key, entry in content["arguments"].items()}
    assert recipe.values().keys() <= arguments.ultralytics_defaults().keys() | options.OWN.keys()
    choices = [*recipe.arguments.values(), *recipe.members.values(), *(recipe.gate or {}).values()]
    assert all(len(choice.why) > 10 for choice in choices)


def test_no_value_of_a_recipe_is_the_default_unless_its_reason_says_so():
    defaults = {**arguments.ultralytics_defaults(), **options.DEFAULTS}
    for name in names():
        for argument, choice in read_recipe(name).arguments.items():
            assert choice.value != defaults[argument] or "default" in choice.why or argument == "fliplr", (
                f"{name}: {argument}"
            )


def test_the_command_line_overrides_a_file_and_a_file_a_recipe(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nimgsz: 320\n")
    given = arguments.parse(["recipe=fast", f"cfg={file}", "imgsz=256"])
    assert (given["epochs"], given["imgsz"], given["negatives"]) == (7, 256, 1)
    assert given["recipe"] == "fast"


def test_winner_trains_on_positives_over_folds_and_sizes_with_a_gate():
    recipe = read_recipe("winner")
    assert recipe.values()["negatives"] == 0
    assert recipe.members["folds"].value == [0, 1, 2, 3, 4]
    assert len(recipe.members["imgsz"].value) > 1
    assert recipe.members["augment"].value
    assert recipe.values()["keep_state"] is False
    assert recipe.gate
    assert recipe.gate["folds"].value == recipe.members["folds"].value


def test_the_small_one_has_five_detectors_and_one_classifier_of_256_pixels():
    recipe, large = read_recipe("winner-small"), read_recipe("winner")
    assert len(recipe.members["folds"].value) * len(recipe.members["imgsz"].value) == 5
    assert (len(recipe.gate["folds"].value), recipe.gate["imgsz"].value) == (1, 256)
    assert recipe.values() == large.values()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arguments: {}", "expected `about"),
        ("about: x\nargumens: {}", "found 'argumens'; expected about"),
        ("about: x\narguments: [1]", "arguments: expected lines"),
        ("about: x\narguments: {lr0: 0.1}", "lr0: found 0.1; expected a value and why"),
        ("about: x\narguments: {lr0: {value: 1}}", "lr0: found {'value': 1}; expected"),
        ("about: x\nmembers: {folds: {value: [0], why: y}}", "members: expected both"),
        ("about: x\nmembers: {folds: {value: 3, why: y}, imgsz: {value: [1], why: y}}", "members: folds: found 3; exp"),
        ("about: x\nmembers: {fold: {value: [0], why: y}}", "members: fold: found it; expected folds, imgsz, augment"),
        ("about: x\nmembers: {augment: {value: 2, why: y}}", "members: augment: found 2; expected true or false"),
        ("about: x\ngate: {epochs: {value: 2, why: y}}", "gate: found without members"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, content, message):
    file = tmp_path / "r.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match="recipe:") as error:
        read_recipe(str(file))
    assert message in str(error.value)
    assert "r.yaml" in str(error.value)


def test_an_unknown_recipe_and_an_unknown_argument_in_one(tmp_path):
    with pytest.raises(UserError, match="no such recipe; expected baseline, fast, winner, winner-small"):
        arguments.parse(["recipe=slow"])
    (tmp_path / "r.yaml").write_text("about: x\narguments: {lr: {value: 1, why: because}}")
    with pytest.raises(UserError, match="lr: no such argument; did you mean lr"):
        arguments.parse([f"recipe={tmp_path / 'r.yaml'}"])
