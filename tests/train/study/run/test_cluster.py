"""What a trial's process gets of the command's environment."""

from __future__ import annotations

import pytest

from train.study.run import cluster


@pytest.mark.parametrize(
    ("variable", "mode", "passed_on"),
    [("", "offline", "offline"), ("online", "disabled", "disabled"), ("online", "online", "online"), ("", "", None)],
)
def test_a_trial_on_another_machine_knows_what_was_switched_off_here(variable, mode, passed_on, apart, monkeypatch):
    for name, value in cluster._ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    if mode:
        (apart / "wandb").mkdir()
        (apart / "wandb" / "settings").write_text(f"[default]\nmode = {mode}\n")
    assert cluster._worker_environment().get("WANDB_MODE") == passed_on
