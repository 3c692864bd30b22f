"""The house's rules that `make lint` checks, and those that a glance at the tree would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("common", "convert", "train", "evaluate", "benchmarks")
LINT = Path(sys.executable).parent / "lint-imports"


@pytest.mark.skipif(not LINT.is_file(), reason="import-linter is not installed")
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("common/files.py", "import evaluate.metrics.rsna", "rooms"),
        ("convert/sources/files.py", "from convert.yolo_set import splits", "convert: commands"),
        ("convert/synthetic/phantom.py", "import convert.sources.boxes", "downloads and synthetic"),
        ("evaluate/metrics/rsna.py", "import common.data.data_set", "metrics know no file"),
        ("evaluate/detector/weights.py", "import convert.parsers.rsna", "of convert only the detector"),
        ("evaluate/scoring/run.py", "import evaluate.report.page", "evaluate: commands"),
        ("train/detector/trainer.py", "import evaluate.classifier.weights", "knows the metric alone"),
        ("train/classifier/trainer.py", "import evaluate.scoring.run", "how classifiers look at pictures"),
        ("train/detector/locating.py", "import train.detector.trainer", "no circle"),
        ("train/study/analysis/noise.py", "import train.study.report.page", "a study's run"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, contract):
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.yaml", "*.md"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text().replace("from __future__ import annotations\n", f"{line}\n", 1))
    done = subprocess.run([LINT, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    broken = " ".join(done.stdout.partition("Broken contracts")[2].split())
    assert contract in broken
    assert "-> " in broken


def modules() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_no_module_is_longer_than_400_lines():
    assert [path for path in modules() if len(path.read_text().splitlines()) > 400] == []


def test_no_package_holds_more_than_sixteen_modules():
    folders = [path.parent for path in modules() if path.name != "__init__.py"]
    assert {folder for folder in folders if folders.count(folder) > 16} == set()


def test_every_package_says_what_it_is_for():
    for path in (path for path in modules() if path.name == "__init__.py"):
        assert path.read_text().startswith('"""'), path
