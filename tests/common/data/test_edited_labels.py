"""Labels and truth.csv that say different things."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.errors import UserError
from convert.yolo_set import Splitting, convert


def boxes(data, split="test"):
    table = DataSet(data).split(split).truth
    return {
        image_id: rows.dropna()[["x", "y", "width", "height"]].to_numpy().tolist()
        for image_id, rows in table.groupby("image_id")
    }


def test_labels_that_say_the_same_change_nothing(own_data_set, capsys):
    """A copy, whose files are all newer than what the manifest notes; and its labels touched."""
    truth = pd.read_csv(own_data_set / "truth.csv")
    for label in (own_data_set / "labels" / "test").iterdir():
        label.touch()
    found = DataSet(own_data_set).split("test")
    wanted = truth[truth["image_id"].str.startswith("test")].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.truth, wanted, check_dtype=False)
    assert capsys.readouterr().err == ""


def test_edited_labels_are_told_and_scored(own_data_set, capsys):
    before = boxes(own_data_set)
    labels = own_data_set / "labels" / "test"
    (labels / "test-00.txt").write_text("0 0.5 0.5 0.25 0.125\n")
    (labels / "test-02.txt").write_text("")
    (labels / "test-04.txt").unlink()
    found = boxes(own_data_set)
    assert found.pop("test-00") == [[48, 56, 32, 16]]  # of 128 pixels
    assert (found.pop("test-02"), found.pop("test-04")) == ([], [])
    assert found == {image_id: rows for image_id, rows in before.items() if image_id in found}
    warning = capsys.readouterr().err
    assert (
        f"{own_data_set}: the labels of 3 images of split 'test' are not what truth.csv says, first test-00: 1 boxes"
        in warning
    )
    manifest = DataSet(own_data_set).split("test").manifest.set_index("image_id")["boxes"]
    assert (manifest["test-00"], manifest["test-02"], manifest["test-06"]) == (1, 0, 1)
    assert boxes(own_data_set, "val")
    assert "split 'val'" not in capsys.readouterr().err


def test_an_edited_truth_is_told_and_the_labels_scored(own_data_set, capsys):
    before = boxes(own_data_set)
    truth = pd.read_csv(own_data_set / "truth.csv")
    truth.loc[truth["image_id"] == "test-00", "x"] += 5
    truth.to_csv(own_data_set / "truth.csv", index=False)
    found = boxes(own_data_set)
    assert found["test-00"] == [pytest.approx(row, abs=0.01) for row in before["test-00"]]
    assert "the labels of 1 images of split 'test'" in capsys.readouterr().err
    shutil.rmtree(own_data_set / "labels")  # then there is nothing but truth.csv
    assert boxes(own_data_set)["test-00"] == [[x + 5, *rest] for x, *rest in before["test-00"]]
    assert capsys.readouterr().err == ""


def test_a_damaged_label_is_one_line(own_data_set):
    (own_data_set / "labels" / "test" / "test-00.txt").write_text("0 0.5 0.5 0.25\n")
    with pytest.raises(UserError, match=r"test-00.txt, line 1: found '0 0.5 0.5 0.25'"):
        DataSet(own_data_set).split("test")


def test_names_that_were_swapped_after_the_conversion(own_data_set, capsys):
    """The labels' number 0 is another class then, in training as well."""
    yaml = own_data_set / "data.yaml"
    plain = yaml.read_text()
    yaml.write_text(plain.replace("  0: Lung Opacity\n", "  0: Lung Opacity\n  1: Mass\n"))
    right = boxes(own_data_set)
    assert sum(map(len, right.values())) == 9
    assert capsys.readouterr().err == ""
    yaml.write_text(plain.replace("  0: Lung Opacity\n", "  0: Mass\n  1: Lung Opacity\n"))
    assert sum(map(len, boxes(own_data_set).values())) == 0
    assert "the labels of 6 images of split 'test'" in capsys.readouterr().err


def test_of_an_untouched_conversion_no_label_is_read(tmp_path, monkeypatch):
    from convert.parsers.rsna import parse
    from convert.synthetic.release import write_release

    write_release(tmp_path / "raw", images=8, test_images=0, size=64)
    data = convert(parse(tmp_path / "raw"), tmp_path / "set", Splitting(val=0.25, test=0.25))
    monkeypatch.setattr("common.data.edited_labels.read_labels", lambda *_: pytest.fail("read"))
    assert len(DataSet(data).split("test").truth)
