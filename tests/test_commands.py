"""What all commands have in common, as a user meets it: run as files, from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    "convert/sample.py",
    "convert/rsna_to_yolo.py",
    "convert/rsna_release_to_yolo.py",
    "convert/vindr_to_yolo.py",
    "convert/siim_covid_to_yolo.py",
    "convert/nih_to_yolo.py",
    "convert/coco_to_yolo.py",
    "convert/explore.py",
    "convert/csv_to_yolo.py",
    "train/gate.py",
    "train/sweep.py",
    "convert/yolo_to_coco.py",
    "convert/download.py",
    "train/train.py",
    "evaluate/predict.py",
    "evaluate/score.py",
    "benchmarks/conversion.py",
    "benchmarks/fitting.py",
    "benchmarks/gpu.py",
    "benchmarks/metric.py",
    "benchmarks/run.py",
    "benchmarks/scoring.py",
    "benchmarks/training.py",
    "demo.py",
    "study.py",
]
HEAVY = {"torch", "ultralytics", "pandas", "numpy", "cv2", "pydicom", "matplotlib", "wandb", "ray", "sklearn", "scipy"}


def test_the_list_is_complete():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("convert", "train", "evaluate", "benchmarks")
        for path in (ROOT / folder).glob("*.py")
        if "    run(main" in path.read_text()
    }
    assert found | {"demo.py", "study.py"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy_and_shows_an_example_or_the_usage(command, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{command!r}, '--help']\n"
        f"sys.path[0] = {str((ROOT / command).parent)!r}\n"  # as Python does for a script
        "try:\n"
        f"    runpy.run_path({str(ROOT / command)!r}, run_name='__main__')\n"
        "finally:\n"
        "    print('IMPORTED', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    help_text, _, imported = done.stdout.rpartition("IMPORTED")
    assert help_text.startswith("usage: ")
    assert not HEAVY & set(imported.split())


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["convert/rsna_to_yolo.py", "--source", "nowhere"], 2),
        (["convert/rsna_to_yolo.py", "--source", "."], 2),
        (["evaluate/score.py", "nowhere.pt"], 2),
        (["evaluate/score.py", "evaluate/predict.py", "nowhere"], 2),
    ],
)
def test_wrong_paths_end_in_one_line_and_no_traceback(command, status, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / command[0], *command[1:]], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == status, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
