from __future__ import annotations

import subprocess

import study
from convert import rsna_to_yolo, sample
from train import sweep
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
    study.main([])
    for command, module in zip(commands, (sample, rsna_to_yolo, sweep), strict=True):
        assert command[1].endswith(f"{module.__name__.rsplit('.', maxsplit=1)[-1]}.py")
        module.build_parser().parse_args(command[2:])
    assert [line.split()[:2] for line in noted] == [["python", command[1]] for command in commands[:2]]
    root = study.PROJECT
    assert reports == [(root / study.STUDY, root / "docs/study.md", root / "docs/study")]
    # The space trains on what the steps before have made.
    space = read_space(root / "train" / "spaces" / "study.yaml", [])
    assert space.base["data"] == f"{study.DATASET}/data.yaml"
    assert study.STUDY.endswith(f"/{space.name}")
