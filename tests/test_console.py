"""The console command `rsna`, and what a command says where a library is missing."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from common import cli, commands, console
from common.cli import execute
from common.commands import COMMANDS, as_typed
from tests.test_commands import COMMANDS as FILES
from tests.test_commands import HEAVY

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _as_typed_here(monkeypatch):
    monkeypatch.setattr(commands, "_through_console", True)


def run(*words: str) -> int:
    return execute(console._dispatch, words)


def test_every_command_is_there_under_one_name():
    files = {file for file in FILES if file.split("/")[0] in ("convert", "train", "evaluate")}
    assert {module.replace(".", "/") + ".py" for module in COMMANDS.values()} == files


@pytest.mark.parametrize("words", COMMANDS)
def test_help_speaks_of_the_command_as_it_is_typed(words, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*words, "--help")
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: {' '.join(('rsna', *words))} ")
    assert "python convert/" not in said
    assert "python train/" not in said
    assert "python evaluate/" not in said


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("Run python convert/rsna_to_yolo.py --folds 5.", "Run rsna convert rsna --folds 5."),
        ("as evaluate/score.py does", "as rsna score does"),
        ("python train/own.py", "python train/own.py"),
        ("Next: yolo train data=rsna.yaml model=yolov8m.pt", "Next: rsna train model=yolov8m.pt"),
        ("runs/train/train.py", "runs/train/train.py"),
    ],
)
def test_commands_in_messages(text, typed, monkeypatch):
    assert as_typed(text) == typed
    monkeypatch.setattr(commands, "_through_console", False)
    assert as_typed(text) == text


def test_wrong_words_end_in_one_line(capsys):
    for words in (["nope"], ["convert", "nope"], ["completion"], ["completion", "tcsh"]):
        assert run(*words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: rsna ")
        assert err.count("\n") == 1


def test_of_a_command_that_is_gone_it_is_said_what_to_type(capsys):
    assert run("ensemble", "runs/winner") == 2
    said = capsys.readouterr().err
    assert said == (
        "error: rsna ensemble: there is no such command any more; `rsna score` and `rsna predict --weights` take "
        "several trainings, or a folder of them, themselves.\n"
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_tells_the_version(words, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*words, "--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{' '.join(('rsna', *words))} {version(cli.DISTRIBUTION)}\n"


def test_version_help_and_groups(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"rsna {version(cli.DISTRIBUTION)}\n"
    assert run() == run("--help") == 0
    said = capsys.readouterr().out
    for words in COMMANDS:
        assert f"  {words[0]} " in said
    assert run("convert") == 0
    assert "rsna-release,vindr,siim-covid" in capsys.readouterr().out


def test_a_commands_status_is_the_consoles(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("convert", "csv", "--source", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rsna conv", {"convert "}),
        ("rsna convert si", {"siim-covid "}),
        ("rsna convert rsna --fol", {"--folds "}),
        ("rsna score --gate-m", {"--gate-mode "}),
        ("rsna sample --layout ", {"kaggle", "release"}),
        ("rsna completion z", {"zsh "}),
    ],
)
def test_the_shell_completes(line, expected):
    code = "import os; os.dup2(1, 8); os.dup2(2, 9); from common.console import main; main()"
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split("\x0b")) == expected, done.stderr


_GO_ON = "run the same command again to go on"
_STARTS_OVER = "nothing of it is kept, and the same command starts over"
_CONVERTERS = [words for words in COMMANDS if words[0] == "convert" and words[1] != "to-coco"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        *((" ".join(words), _GO_ON) for words in _CONVERTERS),
        ("convert rsna --overwrite", "run the same command again, without --overwrite, to go on"),
        ("convert rsna --no-resume", "run the same command again, without --no-resume, to go on"),
        ("convert to-coco", _STARTS_OVER),
        ("download rsna", _GO_ON),
        ("sample", _STARTS_OVER),
        ("explore raw", _STARTS_OVER),
        ("train model=x epochs=2", _STARTS_OVER),
        ("train model=x name=mine", _STARTS_OVER),
        ("train resume", _GO_ON),
        ("train resume=runs/train", _GO_ON),
        ("train recipe=winner", _GO_ON),
        ("train recipe=no-such-recipe", _STARTS_OVER),
        ("gate model=x", _STARTS_OVER),
        ("gate resume", _GO_ON),
        ("sweep losses", _GO_ON),
        ("sweep losses --overwrite", "run the same command again, without --overwrite, to go on"),
        ("score", f"{_GO_ON}: what was predicted so far is kept"),
        (
            "score --again",
            "run the same command again, without --again, to go on: what was predicted so far is kept",
        ),
        ("predict .", f"{_GO_ON}: what was predicted so far is kept"),
    ],
)
def test_after_ctrl_c_every_command_says_what_is_so(typed, expected, monkeypatch, capsys):
    def stop(_argv):
        raise KeyboardInterrupt

    words = tuple(typed.split())
    module = importlib.import_module(COMMANDS.get(words[:2]) or COMMANDS[words[:1]])
    monkeypatch.setattr(module, "main", stop)
    assert run(*words) == 130
    assert capsys.readouterr().err == f"error: stopped by the user; {expected}\n"
    monkeypatch.setattr(commands, "_through_console", False)
    given = words[2:] if words[0] == "convert" else words[1:]
    assert execute(stop, given, module.STOPPED) == 130
    assert capsys.readouterr().err == f"error: stopped by the user; {expected}\n"


@pytest.mark.parametrize("command", ["train", "gate"])
def test_after_ctrl_c_in_a_training_its_own_folder_is_named(command, tmp_path, monkeypatch, capsys):
    from train.settings import command_line

    def stop(_argv):
        command_line.note_run(tmp_path / "a run-2")
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "_begun", [])
    monkeypatch.setattr(importlib.import_module(COMMANDS[(command,)]), "main", stop)
    assert run(command, "model=x", "name=a run") == 130
    assert capsys.readouterr().err == f"error: stopped by the user; {_STARTS_OVER}\n"  # its first epoch is not done
    (tmp_path / "a run-2" / "weights").mkdir(parents=True)
    (tmp_path / "a run-2" / "weights" / "last.pt").touch()
    assert run(command, "model=x", "name=a run") == 130
    assert capsys.readouterr().err == (
        f"error: stopped by the user; rsna {command} 'resume=a run-2' goes on after the last finished epoch; "
        "the same command would begin a new training\n"
    )


@pytest.mark.parametrize("file", [*(file for file in FILES if not file.startswith("benchmarks/"))])
def test_every_command_passes_its_words_on_when_it_is_run_as_a_file(file):
    assert (ROOT / file).read_text().rstrip().endswith("run(main, STOPPED)")


def test_completion_is_code_for_the_shell(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert run("completion", shell) == 0
        assert "rsna" in capsys.readouterr().out


def test_nothing_heavy_is_imported_before_a_command_knows_what_to_do():
    code = (
        "import sys; sys.argv = ['rsna', 'score', '--help']\n"
        "from common.console import main\n"
        "try: main()\n"
        "finally: print('IMPORTED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.rpartition("IMPORTED")[2].split())


@pytest.mark.parametrize(
    ("missing", "is_checkout", "has_environment", "expected"),
    [
        ("pandas", True, False, "Run: make setup, and then: source .venv/bin/activate"),
        ("pandas", True, True, "another Python than the project's. Run: source "),
        ("torch", False, False, "pip install 'rsna-pneumonia-workshop[train]'"),
        ("ray.tune", False, False, "pip install 'rsna-pneumonia-workshop[ray]'"),
        ("gdcm", False, False, "pip install 'rsna-pneumonia-workshop[sample]'"),
    ],
)
def test_a_missing_library_is_one_line(missing, is_checkout, has_environment, expected, monkeypatch, tmp_path, capsys):
    if has_environment:
        (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(cli, "CODE", tmp_path)
    monkeypatch.setattr(cli, "IS_CHECKOUT", is_checkout)

    def main(_):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    assert execute(main, []) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: no module named {missing}: ")
    assert expected in said
    assert said.count("\n") == 1


def test_a_missing_module_of_our_own_is_a_bug():
    def main(_):
        importlib.import_module("convert.no_such_module")

    with pytest.raises(ModuleNotFoundError):
        execute(main, [])


BARE = {
    "convert/explore.py": ["."],
    "convert/download.py": ["rsna-mapping", "--output", "raw"],
    "convert/coco_to_yolo.py": ["--source", "."],
    "convert/csv_to_yolo.py": ["--source", "."],
    "convert/sample.py": ["--output", "sample"],
    "train/train.py": ["model=x"],
    "train/gate.py": ["model=x"],
    "train/sweep.py": ["losses"],
    "evaluate/predict.py": ["."],
}


@pytest.mark.parametrize("file", [file for file in FILES if file != "benchmarks/gpu.py"])  # it starts further processes
def test_every_command_says_so_in_a_bare_clone(file, tmp_path):
    """Python without any library, as if `make setup` had never run."""
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / file), *BARE.get(file, [])],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(errors) == 1
    missing = r"error: no module named \w+: .* Run: (make setup|source )"
    assert re.match(missing, errors[0]) or "no raw data there" in errors[0], errors
