from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data import tables
from common.errors import UserError

PREDICTIONS = "image_id,confidence,x,y,width,height\n"
SUBMISSION = "patientId,PredictionString\n"


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "given.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def random_predictions(seed: int, images: int = 20) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    ids = [f"image-{number}" for number in random.integers(0, images, 100)]
    values = np.column_stack([random.random(100), random.uniform(0.01, 1024, (100, 4))])
    return tables.make_predictions(ids, values)


def test_predictions_come_back_bit_for_bit(tmp_path):
    table = random_predictions(1)
    tables.write_predictions(tmp_path / "p.csv", table.sample(frac=1, random_state=0))
    read = tables.read_predictions(tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read.predictions, table, check_exact=True)
    assert not read.is_submission
    assert read.image_ids == sorted(set(table["image_id"]))


def test_whose_boxes_they_are_comes_back(tmp_path):
    table = random_predictions(5)
    table["detector"] = [f"=yolo {number % 3}" for number in range(len(table))]  # a spreadsheet's formula
    table["voters"] = table["image_id"].str[-1].astype(int) + 3
    table = tables.sort_predictions(table)
    tables.write_predictions(tmp_path / "p.csv", table.sample(frac=1, random_state=0).assign(more=1))
    read = tables.read_predictions(tmp_path / "p.csv").predictions
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    assert read["voters"].dtype == np.int64
    tables.write_predictions(tmp_path / "p.csv", table.drop(columns="detector"))
    assert (tmp_path / "p.csv").read_text().startswith("image_id,confidence,x,y,width,height,voters\n")


def test_equally_confident_boxes_are_in_the_order_of_their_detectors():
    values = np.tile([0.5, 1, 2, 3, 4], (3, 1))
    table = tables.make_predictions(["a", "b", "a"], values).assign(detector=["z", "k", "c"])
    given = tables.sort_predictions(table.iloc[::-1])
    assert given["detector"].tolist() == tables.sort_predictions(table)["detector"].tolist()
    assert given.groupby("image_id")["detector"].apply(list).map(sorted).tolist() == [
        rows.tolist() for _, rows in given.groupby("image_id")["detector"]
    ]


VOTING = "image_id,confidence,x,y,width,height,detector,voters\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,0.5,1,2,3,4,one,2\na,0.5,1,2,3,4,,2\n", "line 3: no detector (image a); expected one in every line"),
        ("a,0.5,1,2,3,4,one,2\nb,0.5,1,2,3,4,one,x\n", "line 3: voters is 'x'; expected a number"),
        ("a,0.5,1,2,3,4,one,0\n", "line 2: voters 0 (image a); expected a whole number from 1"),
        ("a,0.5,1,2,3,4,one,1.5\n", "line 2: voters 1.5 (image a); expected a whole number"),
        ("a,0.5,1,2,3,4,one,nan\n", "line 2: voters nan (image a); expected a whole number"),
        ("a,0.5,1,2,3,4,one,1e300\n", "line 2: voters 1e300 (image a); expected a whole number from 1 to 10,000"),
        ("a,0.5,1,2,3,4,o,2\nb,0.5,1,2,3,4,o,9\na,0.5,1,2,3,4,o,3\n", "line 4: voters 3, after 2 for the same image"),
        ("a,0.5,1,2,3,4,o,1\na,0.5,1,2,3,4,p,1\n", "line 2: voters 1, but boxes of 2 detectors (image a); expected as"),
    ],
)
def test_voters_that_cannot_be_name_the_line(tmp_path, rows, words):
    with pytest.raises(UserError) as caught:
        tables.read_predictions(file(tmp_path, VOTING + rows))
    assert words in str(caught.value)


def test_even_unrounded_numbers_come_back_bit_for_bit(tmp_path):
    table = random_predictions(2)
    table["x"] += 1 / 3
    tables.write_predictions(tmp_path / "p.csv", table)
    assert (tables.read_predictions(tmp_path / "p.csv").predictions["x"] == table["x"]).all()


def test_submission_comes_back_bit_for_bit_and_names_every_image(tmp_path):
    table = random_predictions(3)
    ids = [*set(table["image_id"]), "nothing-here"]
    tables.write_submission(tmp_path / "s.csv", table, ids)
    read = tables.read_predictions(tmp_path / "s.csv")
    pd.testing.assert_frame_equal(read.predictions, table, check_exact=True)
    assert read.is_submission
    assert read.image_ids == sorted(ids)


def test_submission_text_is_kaggles(tmp_path):
    table = tables.make_predictions(["b", "b"], np.array([[0.25, 5, 6, 7, 8], [0.5, 1.005, 2, 3, 4]]))
    tables.write_submission(tmp_path / "s.csv", table, ["b", "a"])
    assert (tmp_path / "s.csv").read_text() == SUBMISSION + "a,\nb,0.5 1.0 2.0 3.0 4.0 0.25 5.0 6.0 7.0 8.0\n"


def test_submission_refuses_a_prediction_of_another_image(tmp_path):
    with pytest.raises(ValueError, match="'b'"):
        tables.write_submission(tmp_path / "s.csv", tables.make_predictions(["b"], np.ones((1, 5))), ["a"])
    assert not (tmp_path / "s.csv").exists()


def test_sorted_by_image_then_falling_confidence():
    table = tables.make_predictions(
        ["b", "a", "b"], np.array([[0.1, 1, 1, 1, 1], [0.2, 1, 1, 1, 1], [0.3, 1, 1, 1, 1]])
    )
    assert table[["image_id", "confidence"]].to_numpy().tolist() == [["a", 0.2], ["b", 0.3], ["b", 0.1]]


def test_made_predictions_are_rounded_and_have_area():
    table = tables.make_predictions(
        ["a", "a"], np.array([[0.12345678, 1.234, 2.345678, 3.111, 4.999], [0.5, 1, 1, 0.004, 9]])
    )
    assert table.iloc[:, 1:].to_numpy().tolist() == [[0.123457, 1.23, 2.35, 3.11, 5.0]]


def test_no_predictions_at_all(tmp_path):
    tables.write_predictions(tmp_path / "p.csv", tables.empty_predictions())
    read = tables.read_predictions(tmp_path / "p.csv")
    assert read.predictions.empty
    assert list(read.predictions.columns) == tables.PREDICTION_COLUMNS
    tables.write_submission(tmp_path / "s.csv", tables.empty_predictions(), ["a"])
    assert tables.read_predictions(tmp_path / "s.csv").image_ids == ["a"]


def test_reads_what_spreadsheets_leave(tmp_path):
    text = "\ufeffpatientId, PredictionString\r\na, 0.5 1 2 3 4 \r\n\r\nb,\r\n"
    read = tables.read_predictions(file(tmp_path, text))
    assert read.image_ids == ["a", "b"]
    assert read.predictions.iloc[0, 1:].tolist() == [0.5, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        (" \n \n", ["is empty"]),
        ("id,score\na,1\n", ["line 1", "id,score", "image_id,confidence", "patientId"]),
        (SUBMISSION + "a,0.5 1 2 3\n", ["line 2", "a", "4 values", "groups of 5"]),
        (SUBMISSION + "a,\n\nb,0.5 1 2 x 4\n", ["line 4", "b", "'x'"]),
        (SUBMISSION + "a,\nb,\na,0.5 1 2 3 4\n", ["line 4", "image a", "line 2"]),
        (SUBMISSION + "a,0.5 1 2 -3 4\n", ["line 2", "-3 4", "above 0"]),
        (SUBMISSION + "a,1.5 1 2 3 4\n", ["line 2", "confidence 1.5", "0 to 1"]),
        (SUBMISSION + "a,0.5 nan 2 3 4\n", ["line 2", "not finite"]),
        (SUBMISSION + "a,\nb,0.5 1_0_0 2 3 4\n", ["line 3", "b", "'1_0_0'", "expected a number"]),
        (SUBMISSION + "a,0.5 1 \u0662 3 4\n", ["line 2", "'\u0662'", "expected a number"]),
        (PREDICTIONS + "a,0.5,1,2,3,4\nb,0.5,1,2,3_0,4\n", ["line 3", "width", "'3_0'"]),
        (PREDICTIONS + "a,0.\u0665,1,2,3,4\n", ["line 2", "confidence", "'0.\u0665'"]),
        (SUBMISSION + "a,0.5 1 2 3 4,7\n", ["not a readable CSV", "expected the columns"]),
        (SUBMISSION + "a,\nb,0.5 1 2 3 4,7\n", ["not a readable CSV", "line 3"]),
        (SUBMISSION + ",0.5 1 2 3 4\n", ["line 2", "no image id"]),
        (PREDICTIONS + "a,0.5,1,2,3,4\nb,high,1,2,3,4\n", ["line 3", "confidence", "'high'"]),
        (PREDICTIONS + "a,0.5,1,2,3\n", ["line 2 has 5 fields, the header 6"]),
        (PREDICTIONS + "a,0.5,1,2,3,\n", ["line 2", "height", "''"]),
        ("x,Image_Id,IMAGE_ID\n", ["the column image_id is there 2 times: Image_Id and IMAGE_ID; keep one"]),
        (PREDICTIONS + "a,0.5,1,2,0,4\n", ["line 2", "0 4", "above 0"]),
        (PREDICTIONS + "a,inf,1,2,3,4\n", ["line 2", "not finite"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ["not a readable CSV", "image_id"]),
    ],
)
def test_bad_predictions_name_the_line(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        tables.read_predictions(file(tmp_path, text))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "given.csv"))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            tables.read_predictions(path)


def test_truth_has_nan_for_images_without_boxes(tmp_path):
    text = "image_id,x,y,width,height,label\na,1,2,3,4.5,Lung Opacity\nb,,,,,Normal\n"
    truth = tables.read_truth(file(tmp_path, text))
    assert list(truth.columns) == tables.TRUTH_COLUMNS
    assert truth.iloc[0].tolist() == ["a", 1, 2, 3, 4.5, "Lung Opacity"]
    assert truth.loc[1, tables.COORDINATES].isna().all()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,1,2,3,,x\n", ["line 2", "image a", "empty coordinates"]),
        ("b,1,2,3,4,x\na,,,,,x\na,1,2,3,4,x\n", ["line 3", "image a", "without box"]),
        ("a,1,2,0,4,x\n", ["line 2", "without area"]),
        ("a,1,2,3,four,x\n", ["line 2", "height", "'four'"]),
        ("a,1,2,3,4_0,x\n", ["line 2", "height", "'4_0'"]),
    ],
)
def test_bad_truth_names_the_line(tmp_path, rows, words):
    with pytest.raises(UserError) as caught:
        tables.read_truth(file(tmp_path, "image_id,x,y,width,height,label\n" + rows))
    for word in words:
        assert word in str(caught.value)


def test_manifest_types_and_errors(tmp_path, data_set):
    manifest = tables.read_manifest(data_set / "manifest.csv")
    row = manifest.set_index("image_id").loc["val-02"]
    assert row["patient_id"] == "val-patient-1"
    assert (row["age"], row["boxes"], row["width"]) == (30.0, 1.0, 128.0)
    assert np.isnan(manifest.set_index("image_id").loc["val-00", "age"])
    lines = (data_set / "manifest.csv").read_text().splitlines()
    with pytest.raises(UserError, match=r"line 4: image train-00 again, after line 2"):
        tables.read_manifest(file(tmp_path, "\n".join([*lines[:3], lines[1]])))


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("common.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="disk is full"):
        tables.write_predictions(tmp_path / "p.csv", random_predictions(4))
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_a_german_spreadsheet_has_saved(tmp_path):
    table = random_predictions(4)
    tables.write_predictions(tmp_path / "p.csv", table)
    text = (tmp_path / "p.csv").read_text().replace(",", ";").replace(".", ",").replace("image_id", "Image_ID")
    read = tables.read_predictions(file(tmp_path, text.replace("\n", "\r\n").encode("utf-8-sig")))
    pd.testing.assert_frame_equal(read.predictions, table, check_exact=True)
    tables.write_submission(tmp_path / "s.csv", table, ["nothing-here", *table["image_id"]])
    text = (tmp_path / "s.csv").read_text().replace(",", ";").replace(".", ",").replace("patientId", "PatientID")
    read = tables.read_predictions(file(tmp_path, text.encode("utf-16")))
    pd.testing.assert_frame_equal(read.predictions, table, check_exact=True)


def test_a_column_called_line_stays_what_it_is(tmp_path):
    read = tables.read_gate(file(tmp_path, "line,image_id,p_opacity\nx,a,0.5\n"))
    assert read["p_opacity"].tolist() == [0.5]
    with pytest.raises(UserError, match="line 3: no image id"):
        tables.read_gate(file(tmp_path, "line,image_id,p_opacity\nx,a,0.5\ny,,0.5\n"))


def test_predictions_are_sorted_as_python_sorts_them():
    random = np.random.default_rng(3)
    ids = random.choice(["b", "a-10", "a-2", "A", "ä", "a", "aa", "10", "9"], 400)
    table = pd.DataFrame(
        {
            "image_id": pd.Series(ids, dtype=object), "confidence": random.choice([0.1, 0.5, 0.9], 400),
            "x": np.arange(400.0), "y": 0.0, "width": 1.0, "height": 1.0,
            "detector": random.choice(["two", "one", "Two"], 400), "voters": 3,
        }
    )  # fmt: skip
    rows = list(zip(table["image_id"], -table["confidence"], table["detector"], table["x"], strict=True))
    assert list(tables.sort_predictions(table)["x"]) == [row[3] for row in sorted(rows, key=lambda row: row[:3])]
    plain = tables.sort_predictions(table.drop(columns=["detector", "voters"]))
    assert list(plain["x"]) == [row[3] for row in sorted(rows, key=lambda row: row[:2])]
    assert tables.sort_predictions(table[:0]).empty
