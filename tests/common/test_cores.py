from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import cores
from common.cores import available_cores

ROOT = Path(__file__).resolve().parents[2]


ALL = available_cores()


@pytest.mark.full
@pytest.mark.parametrize(
    ("asked", "launched", "threads"),
    [("3", False, 3), (None, False, ALL), ("many", False, ALL), ("0", False, ALL), ("3", True, ALL)],
)
def test_threads_are_those_that_the_user_asks_for(asked, launched, threads):
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "LOCAL_RANK")}
    given = {**({"OMP_NUM_THREADS": asked} if asked else {}), **({"LOCAL_RANK": "0"} if launched else {})}
    code = (
        "import train.detector.trainer, torch\nfrom ultralytics.utils import torch_utils\n"
        "from common.cores import computing_threads\nprint(computing_threads(), torch_utils.NUM_THREADS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env={**kept, **given}
    )
    assert done.stdout.split()[-2:] == [str(threads)] * 2


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),  # docker run --cpus 2, version 2
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/", {}, 64),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "10000 100000"}, 1),
        ("0::/", {"cpu.max": "9900000 100000"}, 64),
        ("0::/", {"cpu.max": "strange"}, 64),
        ("0::/a.slice/b", {"a.slice/cpu.max": "300000 100000", "a.slice/b/cpu.max": "max 100000"}, 3),  # of a parent
        ("0::/a.slice/b", {"a.slice/cpu.max": "300000 100000", "a.slice/b/cpu.max": "50000 50000"}, 1),
        ("0::/../../system.slice", {"cpu.max": "400000 100000"}, 4),
        (
            "11:memory:/x\n4:cpu,cpuacct:/docker/0123",  # version 1, seen from inside
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "100000", "cpu/x/cpu.cfs_period_us": "50000"}, 2),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 64),
        ("4:cpuset:/x", {"cpuset/cpu.max": "100000 100000"}, 64),
        ("1:name=systemd:/\n0::/x", {"unified/x/cpu.max": "500000 100000"}, 5),  # both versions at once
        (None, {}, 64),
    ],
)
def test_cores_are_those_that_a_container_grants(tmp_path, monkeypatch, membership, files, expected):
    for name, content in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(content)
    if membership is not None:
        (tmp_path / "membership").write_text(f"{membership}\n")
    monkeypatch.setattr(cores, "_CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)), raising=False)
    assert available_cores() == expected
