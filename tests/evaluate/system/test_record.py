"""`system.yaml`, written and read."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from evaluate.system import System, SystemClassifier, SystemDetector, SystemPredictions


@pytest.fixture
def members(tmp_path) -> Path:
    """A folder of files that stand for weights: nothing loads them here."""
    folder = tmp_path / "winner"
    for name in ("fold0", "fold1", "gate"):
        (folder / name / "weights").mkdir(parents=True)
        (folder / name / "weights" / "best.pt").write_bytes(name.encode())
    (folder / "other.csv").write_text("image_id,confidence,x,y,width,height\n")
    return folder


def system_of(folder: Path) -> System:
    return System(
        (
            SystemDetector.of(folder / "fold0" / "weights" / "best.pt"),
            SystemDetector.of(folder / "fold1" / "weights" / "best.pt", imgsz=384, augment=True),
        ),
        (SystemClassifier.of(folder / "gate" / "weights" / "best.pt", flip=True),),
        (SystemPredictions.of(folder / "other.csv"),),
        folder.parent / "datasets" / "data.yaml",
    )


def test_what_is_written_is_read_again_also_after_the_folder_was_moved(members, tmp_path):
    system = system_of(members)
    system.to_yaml(members / "system.yaml")
    assert System.from_yaml(members / "system.yaml") == system

    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(members, tmp_path / "elsewhere" / "winner"))
    found = System.from_yaml(moved / "system.yaml")
    assert [one.weights for one in found.detectors] == [moved / name / "weights/best.pt" for name in ("fold0", "fold1")]
    assert found.identity == system.identity
    assert found.data == tmp_path / "elsewhere" / "datasets" / "data.yaml"


def test_the_file_says_in_plain_words_what_is_in_it(members, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # relative paths are the current folder's, those in the file are the file's
    system_of(Path("winner")).to_yaml(Path("winner/system.yaml"))
    content = yaml.safe_load((members / "system.yaml").read_text())
    first = hashlib.sha256(b"fold0").hexdigest()
    assert content["detectors"][0] == {
        "weights": "fold0/weights/best.pt", "sha256": first, "imgsz": None, "augment": False,
    }  # fmt: skip
    assert content["classifiers"][0]["flip"] is True
    assert content["predictions"][0]["file"] == "other.csv"
    assert content["data"] == "../datasets/data.yaml"
    assert list(content)[-1] == "complete"


def test_identity_is_of_all_members_in_any_order(members):
    system = system_of(members)
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in ("fold0", "fold1", "gate")]
    digests.append(hashlib.sha256((members / "other.csv").read_bytes()).hexdigest())
    assert system.identity == tuple(sorted(digests))
    turned = System(system.detectors[::-1], system.classifiers, system.predictions)
    assert turned.identity == system.identity
    assert turned.digest == system.digest != System(system.detectors).digest
    assert System(system.detectors, system.classifiers).digest == System(system.detectors).digest


def test_a_member_that_is_missing_or_changed_is_refused(members):
    file = members / "system.yaml"
    system_of(members).to_yaml(file)
    gate = members / "gate" / "weights" / "best.pt"
    gate.write_bytes(b"trained again")
    with pytest.raises(
        UserError, match=r"gate/weights/best\.pt is another file than when .* Run the command"
    ) as caught:
        System.from_yaml(file)
    assert hashlib.sha256(b"trained again").hexdigest()[:12] in str(caught.value)
    assert "\n" not in str(caught.value)
    gate.unlink()
    with pytest.raises(UserError, match=r"names .*gate/weights/best\.pt, which is not there\. Run the command"):
        System.from_yaml(file)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("format: 1", "format: 2", "format is 2; expected format: 1"),
        ("format: 1", "format: true", "format is True"),
        ("complete: true\n", "", "the file lacks complete"),
        ("imgsz: 384", "imgsz: 0", "detectors, number 2: imgsz is 0; expected pixels, 1 to 8192, or null"),
        ("imgsz: 384", "imgsz: true", "imgsz is True"),
        ("augment: true", "augment: 1", "detectors, number 2: augment is 1; expected true or false"),
        ("flip: true", "tilt: true", "classifiers, number 1 lacks flip"),
        ("weights: fold0/weights/best.pt", "weights: 3", "detectors, number 1: weights is 3; expected a text"),
        ("sha256: ", "sha256: x", "sha256 is 'x"),
        ("classifiers:", "classifiers: 1\nx:", "the file has 'x'"),
        ("detectors:", "detectors: }", "no readable YAML, at line"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_one_line(members, before, after, words):
    file = members / "system.yaml"
    system_of(members).to_yaml(file)
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(UserError) as caught:
        System.from_yaml(file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_no_prefix_of_the_file_is_taken_for_the_whole(members):
    file = members / "system.yaml"
    system_of(members).to_yaml(file)
    whole = file.read_text()
    for length in range(0, len(whole.rstrip()), 7):
        file.write_text(whole[:length])
        with pytest.raises(UserError):
            System.from_yaml(file)


def test_without_anything_that_votes(members):
    System((), (SystemClassifier.of(members / "gate" / "weights" / "best.pt"),)).to_yaml(members / "system.yaml")
    with pytest.raises(UserError, match="no detector and no predictions"):
        System.from_yaml(members / "system.yaml")
