"""The closing table and what has to be minded: planted effects against what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from train.study.analysis.study_results import read_study
from train.study.analysis.summary import analyse
from train.study.report.choices import choice_table, fairness_sentences
from train.study.report.content import shorten
from train.study.report.observations import observe
from train.study.report.tables import parts_table
from train.study.trial_record import LOST

NBSP = "\N{NO-BREAK SPACE}"
BLOCKS = [
    {"name": "optimizer", "parameters": {"optimizer": ["AdamW", "SGD", "Adam"]}},
    {"name": "batch", "parameters": {"batch": [8, 32]}},
    {"name": "flips", "base": {"fliplr": 0.5}, "parameters": {"gamma": [0, 0.3]}},
]
GAINS = {"SGD": -0.2, "Adam": 0.0, 32: -0.1}


def score(settings, seed):
    gain = sum(GAINS.get(value, 0.0) for value in settings.values())
    return 0.6 + gain + 0.002 * (-1) ** (seed + len(str(settings)))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory, write_study):
    folder = write_study(
        tmp_path_factory.mktemp("choices") / "study", BLOCKS, score, seeds=(0, 1, 2, 3),
        base={"epochs": 10, "optimizer": "AdamW", "batch": 8, "gamma": 0}, controls=[0, 1, 2, 3],
        costs=lambda settings: {"steps": 100 if settings.get("batch") == 32 else 400},
        curve=lambda settings, _: np.linspace(0.1, 0.5, 10) if settings.get("optimizer") == "SGD" else [0.3] * 10,
    )  # fmt: skip
    for file in folder.glob("trials/*/trial.json"):
        content = json.loads(file.read_text())
        lack = 1 - content["test"]["score"]
        content["test"]["lost"] = {**dict.fromkeys(LOST, 0.1), "missed": lack - 0.4}
        file.write_text(json.dumps(content))
    return analyse(read_study(folder))


def test_what_is_chosen_how_surely_and_where_it_holds(analysis):
    table = choice_table(analysis)
    optimizer, batch, gamma = ([cell.replace(NBSP, " ") for cell in row] for row in table.rows)
    assert optimizer[:2] == ["optimizer", "AdamW; Adam may do as well"]
    assert optimizer[2].startswith("SGD against AdamW: −0.200 ± 0.00")
    assert "q < 0.001 (4 trainings each)" in optimizer[2]
    assert optimizer[4] == "4 of 12 trainings had not converged"  # SGD's, which still rise
    assert batch[:2] == ["batch", "8"]
    assert batch[4] == "steps differ (100 to 400): it may be only how long they learned"
    assert gamma[:2] == ["gamma (Flips)", "no difference seen"]
    assert gamma[2].startswith("nothing beyond noise; at most")
    assert gamma[3].startswith("from 0.00")
    assert gamma[4] == "fliplr=0.5"
    assert "all 4 differences" in table.note


def test_what_has_to_be_minded(analysis):
    optimizer, batch, gamma = analysis.effects
    (text,) = fairness_sentences(analysis, optimizer)
    assert text.startswith("Not converged: 4 of 12 trainings (SGD)")
    (text,) = fairness_sentences(analysis, batch)
    assert text.startswith("Mind the steps: batch 32 took 100 of the optimizer, 8 400;")
    assert fairness_sentences(analysis, gamma) == []


def test_the_headline_counts_what_it_looked_at(analysis):
    said = [one.text.replace(NBSP, " ") for one in observe(analysis) if one.block is None]
    text = next(text for text in said if text.startswith("Of 4 differences that were looked at, 2 are beyond noise"))
    assert "optimizer (AdamW over SGD: 0.200 ± 0.00" in text
    assert ", with 4.0x the steps)" in text
    assert "Nothing beyond noise: gamma;" in text
    assert any(text.startswith("20 of 24 trainings had converged: the last fifth") for text in said)


def test_a_difference_taken_apart(analysis):
    table = parts_table(analysis)
    assert table.rows[1][:4] == ("optimizer: SGD against AdamW", "−0.200", "−0.200", "0.000")
    blocks = [one.text for one in observe(analysis) if one.block == "optimizer"]
    assert "Taken apart, SGD against AdamW (−0.200): missed boxes −0.200." in blocks


def test_commands_are_shortened_only_where_they_are_alike():
    commands = {
        "t000": "python train/train.py model=a.yaml epochs=3 seed=0",
        "t001": "python train/train.py model=a.yaml epochs=3 seed=1",
        "t002": "python train/train.py model='b c.yaml' epochs=3 lr0=0.1 seed=0",
    }
    again, short = shorten(commands)
    assert again == 'again() { python train/train.py model=a.yaml epochs=3 seed=0 "$@"; }'
    assert short == {"t000": "again", "t001": "again seed=1", "t002": "again 'model=b c.yaml' lr0=0.1"}
    other = {**commands, "t003": "python train/gate.py model=a.yaml"}
    assert shorten(other) == ("", other)
