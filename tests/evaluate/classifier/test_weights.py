from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.classifier.weights import load_classifier, load_network
from tests.evaluate.classifier.conftest import LATER


@pytest.fixture(scope="module")
def gate(make_gate) -> Path:
    return make_gate()


@pytest.fixture
def own_gate(gate, tmp_path) -> Path:
    return shutil.copytree(gate, tmp_path / "gate")


def change(gate: Path, **entries) -> Path:
    content = json.loads((gate / "gate.json").read_text())
    (gate / "gate.json").write_text(json.dumps({**content, **entries}))
    return gate


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_classifier(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gate_is_found_by_its_folder_its_table_and_its_weights(own_gate):
    (own_gate / "gate.csv").write_text("image_id,split,p_opacity\n")
    for path in (own_gate, own_gate / "gate.csv", own_gate / "weights" / "best.pt"):
        found = load_classifier(path)
        assert found.path == own_gate / "weights" / "best.pt"
        assert (found.sha256, found.positive, found.flip) == (found.record.weights_sha256, 0, False)
        assert (found.network.imgsz, found.network.names[2]) == (64, "Normal")
    shutil.move(own_gate / "weights" / "best.pt", own_gate / "best.pt")
    assert load_classifier(own_gate).path == own_gate / "best.pt"


def test_the_calibration_is_the_records(own_gate):
    change(own_gate, slope=0.5, intercept=1.5, expected_prevalence=0.35)
    found = load_classifier(own_gate).calibration
    assert (found.slope, found.intercept, found.prevalence) == (0.5, 1.5, 0.35)


def test_what_is_no_gate(own_gate, tmp_path):
    assert "nowhere: no such file or folder; expected a gate's folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty: no gate.json in it; expected a gate's folder" in refusal(tmp_path / "empty")
    change(own_gate, weights_sha256="12345678" * 8)
    message = refusal(own_gate)
    assert "gate.json was written for weights with 12345678, so that the calibration is not theirs" in message
    assert f"`python train/gate.py resume={own_gate}` calibrates these" in message
    (own_gate / "weights" / "best.pt").unlink()
    assert "no weights/best.pt in it, which looks at new pictures" in refusal(own_gate)


def test_a_record_that_does_not_suit_the_weights(own_gate):
    message = refusal(change(own_gate, classes={"Lung_Opacity": "Lung Opacity", "Normal": "Normal"}))
    assert "found the classes Lung_Opacity, Normal" in message
    assert "expected those of the weights, Lung_Opacity, No_Lung_Opacity, Normal" in message
    assert "writes it anew" in message


def test_a_record_of_an_earlier_version_is_refused_with_the_way_to_a_new_one(own_gate):
    content = json.loads((own_gate / "gate.json").read_text())
    for name in LATER:
        del content[name]
    (own_gate / "gate.json").write_text(json.dumps({**content, "temperature": 1.5}))
    message = refusal(own_gate)
    assert "of an earlier version, which does not say all that new pictures need" in message
    assert f"`python train/gate.py resume={own_gate}` writes it anew" in message


class Runs:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_no_code_in_the_file_is_run(own_gate, tmp_path):
    import torch

    weights = own_gate / "weights" / "best.pt"
    torch.save({"model": Runs(tmp_path / "ran"), "train_args": {"imgsz": 64}}, weights)
    from common.files import sha256

    change(own_gate, weights_sha256=sha256(weights))
    message = refusal(own_gate)
    assert "foreign classes are not loaded, since they could run any code" in message
    assert "name its gate.csv" in message
    assert not (tmp_path / "ran").exists()


def test_a_detector_is_no_classifier(untrained):
    with pytest.raises(UserError, match="holds a DetectionModel; expected an image classifier"):
        load_network(untrained())


@pytest.mark.parametrize("imgsz", [0, 65536, "large", None])
def test_a_size_that_no_training_has(imgsz, make_gate):
    gate = make_gate(imgsz=imgsz)
    assert "says that it was trained at imgsz=" in refusal(gate)
