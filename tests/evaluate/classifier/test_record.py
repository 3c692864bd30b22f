from __future__ import annotations

import json

import pytest

from common.errors import UserError
from evaluate.classifier.record import read_record, write_record
from tests.evaluate.classifier.conftest import CONTENT, LATER


def test_a_record_is_read_and_written_as_it_stands_in_the_file(tmp_path):
    (tmp_path / "gate.json").write_text(json.dumps(CONTENT))
    record = read_record(tmp_path)
    assert (record.epoch, record.slope, record.intercept, record.weights_sha256) == (3, 0.75, -0.25, "ab" * 32)
    assert list(record.splits) == ["val", "test"]
    assert (record.splits["val"].images, record.splits["val"].after.log_loss) == (8, 0.3)
    assert record.splits["test"].before.brier == 0.1
    write_record(tmp_path, record)
    written = json.loads((tmp_path / "gate.json").read_text())
    assert written == CONTENT
    assert list(written) == list(CONTENT)  # for people, in this order


def test_a_temperature_of_an_earlier_version_stays_one(tmp_path):
    content = {"temperature" if name == "slope" else name: value for name, value in CONTENT.items()}
    content |= {"temperature": 1.25}
    for name in LATER[1:]:
        del content[name]
    (tmp_path / "gate.json").write_text(json.dumps(content))
    record = read_record(tmp_path)
    assert (record.temperature, record.slope, record.intercept, record.prevalence) == (1.25, None, None, None)
    write_record(tmp_path, record)
    written = json.loads((tmp_path / "gate.json").read_text())
    assert written == content
    assert list(written) == list(content)


def test_without_a_test_split_and_of_an_earlier_version(tmp_path):
    content = {name: value for name, value in CONTENT.items() if name not in {"test", "weights_sha256"}}
    (tmp_path / "gate.json").write_text(json.dumps(content))
    record = read_record(tmp_path)
    assert list(record.splits) == ["val"]
    assert record.weights_sha256 is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        json.dumps({**CONTENT, "val": {"images": 8}}),
        json.dumps({name: value for name, value in CONTENT.items() if name != "slope"}),
    ],
)
def test_what_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "gate.json").write_text(content)
    with pytest.raises(UserError, match=r"gate\.json: not the record of a gate"):
        read_record(tmp_path)
