from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import WorkError
from common.locks import locked

ROOT = Path(__file__).resolve().parents[2]
OTHER = """
import sys
from pathlib import Path
from common.errors import WorkError
from common.locks import locked
try:
    with locked(Path(sys.argv[1]), "taken"):
        print("free")
        if len(sys.argv) > 2:
            import os
            os._exit(0)
except WorkError as error:
    print(error)
"""


def other(file: Path, *dies: str) -> str:
    """What another process finds that wants the lock."""
    command = [sys.executable, "-c", OTHER, str(file), *dies]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_another_process_is_told_and_the_file_is_removed(tmp_path):
    file = tmp_path / "a.lock"
    with locked(file, "taken"):
        assert other(file) == "taken\n"
        assert file.exists()
    assert not file.exists()
    assert other(file) == "free\n"
    assert not file.exists()


def test_an_error_inside_frees_it(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a.lock", "taken"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_bars_nobodys_way(tmp_path):
    file = tmp_path / "a.lock"
    other(file, "dies")
    assert file.exists()
    with locked(file, "taken"):
        pass
    assert not file.exists()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), NotImplementedError()])
def test_where_nothing_can_be_locked_work_goes_on(tmp_path, monkeypatch, error):
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    with locked(tmp_path / "a.lock", "taken"):
        done = True
    assert done
    assert list(tmp_path.iterdir()) == []


def test_a_lock_in_the_same_process_counts_too(tmp_path):
    file = tmp_path / "a.lock"
    with locked(file, "taken"), pytest.raises(WorkError, match="taken"), locked(file, "taken"):
        pass
