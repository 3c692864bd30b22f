"""Which gates are meant, and of which kind they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from evaluate.system.gates import Gates, find_gates


@pytest.fixture
def gate(make_gate, tmp_path) -> Path:
    """A gate's folder with its table, beside which lies a table of somebody's."""
    folder = Path(shutil.copytree(make_gate(flip=True), tmp_path / "gate"))
    for file in (folder / "gate.csv", tmp_path / "theirs.csv"):
        file.write_text("image_id,p_opacity\na,0.5\n")
    return folder


def test_a_gate_is_the_same_in_any_of_its_names(gate):
    found = [find_gates([path]) for path in (gate, gate / "gate.csv", gate / "weights" / "best.pt")]
    assert found[0] == found[1] == found[2]
    (classifier,) = found[0].classifiers
    assert (classifier.weights, classifier.flip, found[0].files) == (gate / "weights" / "best.pt", True, ())


def test_a_table_without_a_record_is_no_classifier(gate, tmp_path):
    assert find_gates([tmp_path / "theirs.csv"]) == Gates(files=(tmp_path / "theirs.csv",))
    assert find_gates([]) == Gates()
    with pytest.raises(UserError, match=r"theirs\.csv: a table of probabilities, beside .*gate, a classifier"):
        find_gates([gate, tmp_path / "theirs.csv"])
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        find_gates([tmp_path / "nowhere"])
