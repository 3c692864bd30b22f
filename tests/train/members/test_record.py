from __future__ import annotations

import json
import shutil

import pytest
import yaml

from common.cli import execute
from common.errors import UserError
from train.members.plan import make_plan
from train.members.record import Record
from train.settings.arguments import parse
from train.settings.recipes import read_recipe
from train.train import main


@pytest.fixture
def begun(folds, recipe, tmp_path):
    """The words of a recipe whose first member is finished."""
    own = tmp_path / "mine.yaml"
    shutil.copy(recipe, own)
    words = [f"recipe={own}", f"data={folds}", f"project={tmp_path}"]
    record = Record(plan(words))
    record.begin()
    record.add("members", "fold0-64", {"score": 0.5})
    return words


def plan(words):
    given = parse(words)
    return make_plan(read_recipe(str(given["recipe"])), given)


def change(words, part, name, value):
    file = words[0].removeprefix("recipe=")
    with open(file) as opened:
        content = yaml.safe_load(opened)
    content[part][name] = {"value": value, "why": "tried"}
    with open(file, "w") as opened:
        yaml.safe_dump(content, opened)


def test_other_arguments_are_refused_and_named(begun):
    with pytest.raises(UserError, match=r"trained with other arguments \(lr0 was 0.02, now 0.5\)\. Give them as they"):
        Record(plan([*begun, "lr0=0.5"]))


@pytest.mark.parametrize("word", ["lr0=0.02", "iou=0.4", "momentum=0.937", "negatives=None", "epochs=2"])
def test_what_has_an_effect_counts_not_what_was_typed(begun, word):
    """The recipe's own value and a default, given or not, make the same training."""
    assert Record(plan([*begun, word])).content["members"] == {"fold0-64": {"score": 0.5}}


def test_an_argument_that_there_was_not_yet_is_at_its_default(begun, tmp_path):
    file = tmp_path / "mine" / "members.json"
    record = json.loads(file.read_text())
    del record["arguments"]["box_scale"], record["arguments"]["momentum"]
    assert record["arguments"]["augmentations"] is None
    record["arguments"]["given_up"] = 3  # and one that is not there any more
    file.write_text(json.dumps(record))
    assert Record(plan(begun)).content["members"]
    with pytest.raises(UserError, match=r"arguments \(momentum was 0.937, now 0.9\)"):
        Record(plan([*begun, "momentum=0.9"]))


@pytest.mark.parametrize("word", ["device=cpu", "workers=3", "batch=2", "cache=ram", "wandb=False", "plots=True"])
def test_another_machine_may_need_other_arguments(begun, word):
    assert Record(plan([*begun, word])).content["members"]


def test_a_recipe_that_has_changed_is_said(begun, capsys):
    change(begun, "arguments", "lr0", 0.01)
    changed = r"\(lr0 was 0.02, now 0.01; recipe mine itself has changed since\)"
    with pytest.raises(UserError, match=changed):
        Record(plan(begun))
    Record(plan([*begun, "lr0=0.02"]))  # as it was
    assert "recipe mine has changed since" in capsys.readouterr().err


def test_a_change_that_touches_nothing_finished_is_a_warning(begun, capsys):
    change(begun, "members", "imgsz", [64, 32])
    change(begun, "gate", "epochs", 5)  # no gate has begun
    record = Record(plan(begun))
    assert "(gate.epochs was 2, now 5; imgsz was [64], now [64, 32]); what is finished stays" in capsys.readouterr().err
    record.begin()
    Record(plan(begun))
    assert capsys.readouterr().err == ""  # once
    record.add("gates", "gate-fold0", {"epoch": 1})
    with pytest.raises(UserError, match=r"gate\.epochs was 5, now 1"):
        Record(plan([*begun, "gate.epochs=1"]))


def test_nothing_is_compared_before_anything_was_trained(folds, recipe, tmp_path):
    words = [f"recipe={recipe}", f"data={folds}", f"project={tmp_path}"]
    Record(plan(words)).begin()
    Record(plan([*words, "lr0=0.5"]))


def test_the_data_may_have_moved_and_not_changed(begun, folds, tmp_path):
    moved = shutil.copytree(folds, tmp_path / "moved")
    again = [begun[0], f"data={moved}", begun[2]]
    assert Record(plan(again)).content["members"]
    manifest = moved / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("Normal", "normal", 1))
    with pytest.raises(UserError, match=r"was trained on .*data.yaml as it was then, and .*moved.* holds other images"):
        Record(plan(again))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"members.json: not a record of a recipe's members"),
        ('{"members": []}', r"members.json: not a record"),
        ('{"format": 7, "members": {}, "arguments": {}}', r"format 7"),
        (
            json.dumps({"arguments": {"lr0": 0.1}, "members": {"fold0-64": {}}}),
            "earlier version, whose folds held",
        ),
    ],
)
def test_a_foreign_record_is_refused(begun, tmp_path, content, message):
    (tmp_path / "mine" / "members.json").write_text(content)
    with pytest.raises(UserError, match=message):
        Record(plan(begun))
    assert execute(main, begun) == 2
    assert (tmp_path / "mine" / "members.json").read_text() == content


def test_it_is_as_find_system_reads_it(begun, folds, tmp_path):
    record = json.loads((tmp_path / "mine" / "members.json").read_text())
    assert list(record["members"]) == ["fold0-64"]
    assert record["arguments"]["data"] == str(folds / "data.yaml")
