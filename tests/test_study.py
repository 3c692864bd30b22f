from __future__ import annotations

import subprocess
from collections import Counter

import study
from convert import rsna_to_yolo, sample
from train import sweep, train
from train.settings.arguments import parse
from train.study.plan import plan
from train.study.space import read_space


def test_every_step_is_a_command_that_its_parser_takes_and_the_report_goes_to_the_docs(monkeypatch):
    commands, reports = [], []

    def run(command, **_options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    def write(folder, markdown, figures):
        reports.append((folder, markdown, figures))
        return folder / "report.html", markdown

    monkeypatch.setattr(subprocess, "run", run)
    noted = []
    monkeypatch.setattr(study, "_note_setup", noted.extend)
    monkeypatch.setattr("train.study.report.page.write_study_report", write)
    monkeypatch.setattr(study, "_is_trained", lambda folder: False)
    study.main([])
    for command, module in zip(commands, (sample, rsna_to_yolo, train, sweep), strict=True):
        assert command[1].endswith(f"{module.__name__.rsplit('.', maxsplit=1)[-1]}.py")
        module.build_parser().parse_args(command[2:])
    assert [line.split()[-1] for line in noted] == [command[-1] for command in commands[:3]]
    assert all(" ".join(command[1:]) in line for command, line in zip(commands[:3], noted, strict=True))
    root = study.PROJECT
    assert reports == [(root / study.STUDY, root / "docs/study.md", root / "docs/study")]
    # The space trains on what the steps before have made.
    space = read_space(root / "train" / "spaces" / "study.yaml", [])
    assert space.base["data"] == f"{study.DATASET}/data.yaml"
    assert study.STUDY.endswith(f"/{space.name}")
    # The weights that one of its blocks starts from are those of the first training.
    (warm,) = [block for block in space.blocks if block.name == "warm"]
    first = parse(commands[2][2:])
    assert f"{first['project']}/{first['name']}/weights/best.pt" == study.FIRST_WEIGHTS
    assert study.FIRST_WEIGHTS in warm.parameters["pretrained"]
    assert {name: first[name] for name in space.base if name != "epochs"} == {
        name: value for name, value in space.base.items() if name != "epochs"
    }
    assert first["epochs"] == warm.base["epochs"]


def test_the_first_training_is_not_done_twice(tmp_path):
    assert not study._is_trained(tmp_path / "run")
    (tmp_path / "run" / "weights").mkdir(parents=True)
    (tmp_path / "run" / "weights" / "best.pt").touch()
    (tmp_path / "run" / "results.csv").write_text("epoch\n" + "1\n" * (study.FIRST_EPOCHS - 1))
    assert not study._is_trained(tmp_path / "run")
    (tmp_path / "run" / "results.csv").write_text("epoch\n" + "1\n" * study.FIRST_EPOCHS)
    assert study._is_trained(tmp_path / "run")


def test_the_study_is_as_large_as_its_hour_and_asks_at_equal_steps_too():
    """Controls, repeats, test images, and the questions of a course."""
    space = read_space(study.PROJECT / "train" / "spaces" / "study.yaml", [])
    made = plan(space)
    assert 60 <= len(made) <= 80
    assert study.IMAGES * study.TEST >= 3000
    base = [trial for trial in made if len(trial.blocks) > 5]
    assert [trial.seed for trial in base] == [0, 1, 2, 3]
    repeats = Counter(trial.setting for trial in made)
    assert sum(count - 1 for count in repeats.values()) >= 12  # degrees of freedom of the training noise
    asked = {
        *("models", "optimizers", "rates", "schedule", "batches", "batches-steps", "losses", "augmentation", "sizes"),
        *("negatives", "negatives-steps", "epochs", "patience", "warm"),
    }
    assert asked <= {block.name for block in space.blocks}
    for name in ("batches-steps", "negatives-steps"):
        steps = {_steps(trial.arguments) for trial in made if name in trial.blocks}
        assert max(steps) <= 1.05 * min(steps)


def _steps(arguments):
    """Optimizer steps of a training on 620 images, 23 % of them with boxes."""
    negatives = arguments.get("negatives")
    images = 620 if negatives is None else 0.227 * 620 * (1 + negatives)
    assert arguments["nbs"] == arguments["batch"]
    return images / arguments["batch"] * arguments["epochs"]
