"""Where Ray listens, and what a trial's process gets of the command's environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from common.paths import CODE
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


STARTS = """
import json, sys
sys.path[0] = sys.argv[1]
from train.study.run.cluster import connected

with connected(None):
    import psutil, ray

    @ray.remote
    def imported():
        import os, this  # a module of Python's that nothing has imported before

        return this.__file__, os.getcwd()

    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {one.laddr.ip for process in family for one in process.net_connections() if one.status == "LISTEN"}
    print(json.dumps({"imported": ray.get(imported.remote()), "listening": sorted(listening)}))
"""


def test_ray_on_this_machine_is_reached_by_nobody_else_and_runs_no_file_of_the_current_folder(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "this.py").write_text("")
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "starts.py").write_text(STARTS)
    done = subprocess.run(
        [sys.executable, "apart/starts.py", str(CODE)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "RAY_ADDRESS": "192.0.2.1:6379"},  # of nobody: an address for documentation
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "RAY_ADDRESS=192.0.2.1:6379 is set; this study runs on this machine alone" in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    module, folder = said["imported"]
    assert not module.startswith(str(tmp_path))
    assert folder == str(tmp_path)  # relative paths mean the same in a trial
    assert {address.removeprefix("::ffff:") for address in said["listening"]} <= {"127.0.0.1", "::1"}
    assert said["listening"]
