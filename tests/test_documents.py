"""What the documents say to type exists: commands, options, make targets, files, links; and the page of Python runs."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "datasets" / "README.md",
    ROOT / "ARCHITECTURE.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
WRITTEN = [page for page in PAGES if page.name != "study.md"]  # which is made by `make study`
_COMMAND = re.compile(r"python ((?:convert|train|evaluate)/\w+)\.py([^\n`#|]*)")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_commands_and_their_options_exist(page):
    for path, words in _COMMAND.findall(page.read_text()):
        parser = importlib.import_module(path.replace("/", ".")).build_parser()
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", words):
            assert option in parser._option_string_actions, f"{page.name}: python {path}.py{words}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert (
        set(re.findall(r"\bmake ([a-z]+)\b(?=[` \n]*(?:`|$|#|CPU=))", page.read_text(), flags=re.MULTILINE)) <= targets
    )


def test_files_that_architecture_names_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = re.findall(r"^\| `((?:common|convert|train|evaluate)/(?:[\w/]*/)?)`", text, flags=re.MULTILINE)
    assert len(rooms) > 15
    for room in rooms:
        assert (ROOT / room).is_dir(), room
    for path in re.findall(r"`((?:common|convert|train|evaluate|tests)/[\w/]+\.(?:py|yaml))`", text):
        assert (ROOT / path).is_file(), path


@pytest.mark.full
@pytest.mark.slow
def test_the_page_of_python_runs(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), flags=re.DOTALL)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score, usable, _ = re.search(r"(\S+) None (\d+) (\d+)\s*$", done.stdout).groups()  # too few for an interval
    assert 0 <= float(score) <= 1
    assert usable == "4"
    assert (tmp_path / "way" / "found" / "submission.csv").read_text().count("\n") == 5
    assert {path.name for path in tmp_path.iterdir()} == {"way"}
