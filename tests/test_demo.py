from __future__ import annotations

import subprocess

import pytest

import demo
from common.errors import WorkError
from convert import rsna_to_yolo, sample
from evaluate import score


class Recorder:
    """Stands in for subprocess.run: keeps the commands, runs none."""

    def __init__(self, status: int = 0) -> None:
        self.commands: list[list[str]] = []
        self.status = status

    def __call__(self, command: list[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, self.status)


def test_every_step_is_a_command_that_its_parser_takes(monkeypatch, capsys):
    recorder = Recorder()
    monkeypatch.setattr(subprocess, "run", recorder)
    demo.main([])
    drawn, converted, trained, scored = recorder.commands
    for command, module in ((drawn, sample), (converted, rsna_to_yolo), (scored, score)):
        assert command[1].endswith(f"{module.__name__.rsplit('.', maxsplit=1)[-1]}.py")
        module.build_parser().parse_args(command[2:])

    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.cfg import get_cfg

    arguments = dict(argument.split("=", 1) for argument in trained[trained.index("train") + 1 :])
    get_cfg(overrides=demo.TRAINING)  # refuses names and types that Ultralytics does not know
    assert (demo.PROJECT / arguments["model"]).is_file()
    printed = capsys.readouterr().out
    assert "$ yolo train data=datasets/sample/data.yaml model=train/models/cnn-multiscale.yaml" in printed
    assert str(demo.PROJECT) not in printed.split("Look at")[0]
    assert "runs/demo/report.html" in printed


def test_a_step_that_fails_ends_the_demo(monkeypatch):
    recorder = Recorder(status=1)
    monkeypatch.setattr(subprocess, "run", recorder)
    with pytest.raises(WorkError, match="ended with status 1"):
        demo.main([])
    assert len(recorder.commands) == 1
