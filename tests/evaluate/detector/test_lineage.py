"""What weights began with: the chain of trainings before theirs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from evaluate.detector.lineage import trace
from evaluate.detector.weights import load_weights
from tests.evaluate.scores import QUICK, read, run


@pytest.fixture
def chain(untrained, data_set, tmp_path):
    """Makes weights that began with others."""

    def make(name: str, began_with: object, data: Path = data_set / "data.yaml") -> Path:
        path = tmp_path / name / "weights" / "best.pt"
        path.parent.mkdir(parents=True)
        shutil.copy(untrained(model=os.fspath(began_with), data=str(data)), path)
        return path

    return make


@pytest.mark.parametrize("began_with", ["yolov8n.yaml", "yolov8n.pt", "/gone/yolov8m.pt"])
def test_a_network_without_weights_and_published_ones_end_the_trail(chain, began_with):
    found = trace(load_weights(chain("only", began_with)))
    assert (found.data, found.not_seen) == ((), ())


def test_a_chain_is_followed_to_its_beginning(chain, own_data_set):
    first = chain("first", "yolov8n.pt", own_data_set / "data.yaml")
    second = chain("second", first)
    third = chain("third", second)
    found = trace(load_weights(third))
    assert [data.yaml.parent.name for data in found.data] == ["tiny", "own"]
    assert found.not_seen == ()


def test_where_the_trail_is_lost(chain, untrained, tmp_path):
    gone = trace(load_weights(chain("a", tmp_path / "gone.pt")))
    assert "gone.pt, which is not there any more" in gone.not_seen[0]
    resumed = chain("b", tmp_path / "b" / "weights" / "last.pt")
    shutil.copy(resumed, resumed.with_name("last.pt"))
    assert "was resumed and does not say what it began with" in trace(load_weights(resumed)).not_seen[0]
    replaced = chain("c", tmp_path / "best.pt")
    shutil.copy(replaced, tmp_path / "best.pt")
    assert "has been replaced since" in trace(load_weights(replaced)).not_seen[0]
    foreign = tmp_path / "chexnet.pt"
    foreign.write_bytes(b"no checkpoint")
    found = trace(load_weights(chain("d", foreign)))
    assert "chexnet.pt, of which is not known what it has seen" in found.not_seen[0]
    assert "chexnet.pt: by its name it was trained on images of NIH ChestX-ray14, from which all" in found.not_seen[1]
    moved = chain("e", chain("f", "yolov8n.yaml", tmp_path / "gone.yaml"))
    assert "was trained on" in trace(load_weights(moved)).not_seen[0]


def test_a_score_says_what_the_training_before_has_seen(chain, own_data_set, capsys):
    (own_data_set / "tests.yaml").write_text("train: test.txt\nval: val.txt\nnames: [Lung Opacity]\n")
    before = chain("before", "yolov8n.yaml", own_data_set / "tests.yaml")
    weights = chain("after", before)
    run(weights, "--confidence", 0.5, *QUICK)
    found = read(weights.parents[1])["leakage"]
    assert (found["test"]["images"], found["test"]["patients"]) == (12, 6)
    assert [Path(path).name for path in found["earlier"]] == ["tests.yaml"]
    assert "LEAKAGE: of split 'test', 12 images were trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_said"),
    [
        ("nih-densenet121.pt", True), ("CheXNet.pt", True), ("xrv-all-resnet50.pt", True), ("chestx-ray14_m.pt", True),
        ("cxr8.pt", True), ("vindr.pt", False), ("finish.pt", False), ("yolov8n.pt", False), ("best.pt", False),
    ],
)  # fmt: skip
def test_weights_whose_name_says_that_they_have_seen_nih(name, is_said, chain, tmp_path):
    found = trace(load_weights(chain("a", tmp_path / "gone" / name)))
    said = [clause for clause in found.not_seen if "NIH ChestX-ray14" in clause]
    assert len(said) == is_said


@pytest.mark.parametrize("how", ["conversion", "names", "neither"])
def test_a_score_says_that_training_on_nih_may_have_shown_the_test_images(how, chain, own_data_set, data_set, capsys):
    """A detector trained on NIH's images, then on the challenge's, whose images are the same with other names."""
    noted = own_data_set / "conversion.json"
    if how == "conversion":
        noted.write_text(json.dumps({**json.loads(noted.read_text()), "source": "NIH ChestX-ray14"}))
    if how == "names":
        picture = next((own_data_set / "images" / "train").iterdir())
        shutil.copy(picture, own_data_set.parent / f"00000013_005{picture.suffix}")
        (own_data_set / "train.txt").write_text(f"{own_data_set.parent}/00000013_005{picture.suffix}\n")
    before = chain("before", "yolov8n.yaml", own_data_set / "data.yaml")
    weights = chain("after", before)
    run(weights, "--confidence", 0.5, *QUICK)
    said = "which was trained on, is of NIH ChestX-ray14, from which all images of the challenge are taken"
    assert any(said in clause for clause in read(weights.parents[1])["leakage"]["not_seen"]) == (how != "neither")
    assert (said in " ".join(capsys.readouterr().err.split())) == (how != "neither")
    run(before, "--confidence", 0.5, *QUICK)  # on itself there is nothing to say
    assert said not in " ".join(capsys.readouterr().err.split())
