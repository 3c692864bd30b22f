"""Which trainings are of one setting: plan and analysis agree, whether a default is given or left out."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import yaml

from train.study.analysis.noise import measure, setting_keys
from train.study.analysis.study_results import read_study
from train.study.analysis.summary import analyse
from train.study.plan import plan
from train.study.space import read_space


def test_a_default_that_one_block_gives_and_another_leaves_out_is_one_setting(tmp_path):
    space = tmp_path / "space.yaml"
    content = {
        "base": {"model": "basic-cnn.yaml", "epochs": 3, "optimizer": "SGD"},
        "blocks": [
            {"name": "loss", "parameters": {"iou_loss": [None, "giou"]}},
            {"name": "opt", "seeds": [0, 1], "parameters": {"optimizer": ["SGD", "AdamW"]}},
        ],
    }
    space.write_text(yaml.safe_dump(content, sort_keys=False))
    trials = plan(read_space(space))
    assert len({trial.setting for trial in trials}) == 3
    folder = tmp_path / "study"
    for trial in trials:  # scores that differ by setting, and by 0.02 from seed to seed
        place = folder / "trials" / trial.id
        place.mkdir(parents=True)
        score = 0.1 * (trial.setting + 1) + 0.02 * trial.seed
        images = {"image_id": [f"i{number}" for number in range(6)], "patient_id": [*"aabbcc"], "split": "val"}
        pd.DataFrame(images).assign(score=score).to_csv(place / "scores.csv", index=False)
        same = {name: getattr(trial, name) for name in ("id", "blocks", "settings", "arguments", "seed", "fold")}
        record = {**same, "status": "finished", "command": "x", "val": {"score": score}}
        (place / "trial.json").write_text(json.dumps(record))
    blocks = [{"name": block["name"], "parameters": block["parameters"]} for block in content["blocks"]]
    (folder / "study.json").write_text(json.dumps({"name": "study", "command": "x", "blocks": blocks}))
    study = read_study(folder)
    by_setting = study.trials.groupby(setting_keys(study.trials)).groups.values()
    found = {frozenset(names) for names in by_setting}
    assert found == {frozenset(trial.id for trial in trials if trial.setting == number) for number in range(3)}
    assert sorted(map(len, found)) == [1, 2, 2]  # giou; SGD, which both blocks train; AdamW
    noise = measure(study).noise
    assert (noise.settings, noise.degrees) == (2, 2)
    assert np.isclose(noise.deviation, 0.02 / np.sqrt(2))
    assert len(analyse(study).settings) == 3
