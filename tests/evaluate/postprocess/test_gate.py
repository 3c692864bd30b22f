from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.data_set import DataSet
from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.metrics.rsna import rsna_score
from evaluate.postprocess import gate
from evaluate.postprocess.fitting import fit
from evaluate.postprocess.gate import read_gates
from evaluate.postprocess.steps import GATE_MODES, GateRule
from evaluate.postprocess.suppression import Suppression


def case(
    seed: int, images: int = 30, informative: float = 2.0, decimals: int = 6
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Truth, predictions and probabilities; the higher `informative`, the more these know what is there.

    The fewer `decimals` of confidences, the more of these are equal.
    """
    random = np.random.default_rng(seed)
    truth, ids, values, chance = [], [], [], {}
    for number in range(images):
        image_id, positive = f"i{number:02}", random.random() < 0.4
        chance[image_id] = round(1 / (1 + np.exp(-random.normal(informative * (2 * positive - 1), 1.0))), 2)
        box = random.integers(20, 60, 4)
        truth.append((image_id, *(box if positive else [np.nan] * 4)))
        for _ in range(random.integers(0, 4)):
            ids.append(image_id)
            values.append([round(random.random(), decimals), *(box + random.integers(-9, 10, 4))])
    columns = ["image_id", "x", "y", "width", "height"]
    return pd.DataFrame(truth, columns=columns), make_predictions(ids, np.array(values)), pd.Series(chance)


def every_gate(predictions: pd.DataFrame, chance: pd.Series) -> dict[tuple, pd.DataFrame]:
    """Every gate that there can be and what it leaves, prediction by prediction."""
    rows = predictions.to_dict("records")
    weighed = [{**row, "confidence": row["confidence"] * chance[row["image_id"]]} for row in rows]
    tables = {("none", None): rows, ("weigh", None): weighed}
    for threshold in (-1, *chance):
        tables["keep", threshold] = [row for row in rows if chance[row["image_id"]] > threshold]
    return {rule: pd.DataFrame(kept, columns=predictions.columns) for rule, kept in tables.items()}


def best_by_brute_force(truth: pd.DataFrame, tables: dict[tuple, pd.DataFrame]) -> float:
    return max(rsna_score(truth, table, value) for table in tables.values() for value in {0.0, *table["confidence"]})


def tune(truth, predictions, chance, *modes):
    """The gate and its confidence, boxes being as they come."""
    ids = truth["image_id"].unique()
    manifest = pd.DataFrame({"image_id": ids, "view": "AP", "width": 512.0, "height": 512.0})
    fixed = {"suppression": Suppression("none", None)}
    return fit(
        truth, predictions, manifest, chance, steps=("gate", "confidence"), fixed=fixed, gate_modes=modes or GATE_MODES
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_tuned_gate_is_never_worse_than_none_nor_better_than_all(seed):
    """One that knows much is taken; what it must gain is a test of its own, in test_fitting."""
    truth, predictions, chance = case(seed, images=90, informative=4.0)
    fitted = tune(truth, predictions, chance, "none", "weigh", "keep")
    assert fitted.gate.mode != "none"
    tables = every_gate(predictions, chance)
    kept = fitted.gate.apply(predictions, chance)
    assert rsna_score(truth, kept, fitted.confidence.least) == fitted.fitted_on.score
    assert best_by_brute_force(truth, tables) >= fitted.fitted_on.score
    assert fitted.fitted_on.score > best_by_brute_force(truth, {"none": tables["none", None]})


def test_an_image_with_predictions_and_without_probability():
    truth, predictions, chance = case(0)
    missing = predictions["image_id"].iloc[3]
    with pytest.raises(UserError, match=f"no probability for image {missing}, which has predictions"):
        tune(truth, predictions, chance.drop(missing))


def test_a_gate_that_knows_the_wrong_thing_is_left_out():
    truth, predictions, chance = case(3, informative=-4.0)
    fitted = tune(truth, predictions, chance)
    assert fitted.gate == GateRule("none")
    assert fitted.fitted_on.score == rsna_score(truth, predictions, fitted.confidence.least)
    assert fitted.gate.apply(predictions, chance) is predictions


def test_of_equals_the_simplest():
    truth, predictions, chance = case(1)
    assert tune(truth, predictions, chance * 0 + 0.5).gate == GateRule("none")
    assert tune(truth, empty_predictions(), chance).gate == GateRule("none")


def write(path: Path, rows: list[tuple[str, str, object]]) -> Path:
    pd.DataFrame(rows, columns=["image_id", "split", "p_opacity"]).to_csv(path, index=False)
    return path


def all_rows(chance: float = 0.5, **roles: str) -> list[tuple[str, str, object]]:
    """A row for every image of val and test; what each split was used for may differ."""
    return [
        (f"{split}-{number:02}", roles.get(split, split), chance) for split in ("val", "test") for number in range(12)
    ]


def read(data_set: Path, *paths: Path) -> gate.GateProbabilities:
    data = DataSet(data_set)
    return read_gates(list(paths), data, {name: data.split(name) for name in ("val", "test")})


def test_probabilities_of_the_images_that_are_scored(data_set, tmp_path, capsys):
    found = read(data_set, write(tmp_path / "gate.csv", [*all_rows(0.25), ("stranger", "train", 0.9)]))
    assert found.probabilities.to_dict() == {image_id: 0.25 for image_id, *_ in all_rows()}
    assert found.seen == {"val": 0, "test": 0}
    assert capsys.readouterr().err == ""


def test_of_several_gates_those_count_that_have_not_seen_the_image(data_set, tmp_path, capsys):
    first = write(tmp_path / "first.csv", all_rows(0.9, val="train"))
    second = write(tmp_path / "second.csv", all_rows(0.2))
    found = read(data_set, first, second).probabilities
    assert found["val-00"] == 0.2
    assert found["test-00"] == pytest.approx(0.55)
    said = capsys.readouterr().err
    assert "LEAKAGE" not in said
    assert "the mean of those gates that have not seen it, of 1 to 1 on 'val' and of 2 to 2 on 'test'. A mean" in said
    read(data_set, write(tmp_path / "other.csv", all_rows(0.1)), second)
    assert capsys.readouterr().err == ""
    third = write(tmp_path / "third.csv", all_rows(0.1, val="train"))
    found = read(data_set, first, third)
    assert found.probabilities["val-00"] == pytest.approx(0.5)
    assert found.seen == {"val": 12, "test": 0}
    assert "LEAKAGE: 12 images of split 'val' were trained on by the gate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "gate.csv: the file is empty"),
        ("image_id,P\na,1\n", "line 1: found the columns image_id,P; expected image_id,split,p_opacity"),
        ("image_id,p_opacity\nval-00,0.5\nval-01,1.2\n", "line 3: p_opacity is 1.2 .image val-01.; expected a prob"),
        ("image_id,p_opacity\nval-00,-0.1\n", "line 2: p_opacity is -0.1"),
        ("image_id,p_opacity\nval-00,nan\n", "line 2: p_opacity is nan"),
        ("image_id,p_opacity\nval-00,high\n", "line 2: p_opacity is 'high'; expected a number"),
        ("image_id,p_opacity\nval-00,0.5\nval-00,0.5\n", "line 3: image val-00 again, after line 2"),
        (
            "image_id,p_opacity\nval-00,0.5\n",
            r"11 of the 12 images of split 'val' are not in it, first val-01.*gate.py",
        ),
    ],
)
def test_wrong_files(text, message, data_set, tmp_path):
    (tmp_path / "gate.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read(data_set, tmp_path / "gate.csv")
    assert "gate.csv" in str(caught.value)


def test_the_record_beside_it_tells_of_another_data_set(data_set, tmp_path):
    path = write(tmp_path / "gate.csv", all_rows())
    (tmp_path / "gate.json").write_text(json.dumps({"manifest": "0" * 64, "data": "other.yaml"}))
    with pytest.raises(UserError, match=r"gate.json beside it says that it was trained on other.yaml, whose manifest"):
        read(data_set, path)
    digest = hashlib.sha256((data_set / "manifest.csv").read_bytes()).hexdigest()
    (tmp_path / "gate.json").write_text(json.dumps({"manifest": digest}))
    assert len(read(data_set, path).probabilities) == 24
    (tmp_path / "gate.json").write_text("of something else")
    assert len(read(data_set, path).probabilities) == 24
