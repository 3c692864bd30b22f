from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
