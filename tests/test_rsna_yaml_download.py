"""The hook of rsna.yaml, run as Ultralytics does, in a copy of the project without data: at a terminal or not."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.convert.downloads.test_rsna import Kaggle, pack
from tests.convert.downloads.web import serve

ROOT = Path(__file__).resolve().parents[1]
HOOK = (
    "import pathlib, yaml\n"
    "data = yaml.safe_load(pathlib.Path('rsna.yaml').read_text())\n"
    "exec(data['download'], {'yaml': {**data, 'yaml_file': 'rsna.yaml'}})\n"
    "print('CONVERTED', flush=True)\n"
)
QUESTION = "Download them now? [y/N]"
COMMAND = [sys.executable, "-P", "-c", HOOK]


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> Kaggle:
    """Kaggle has 20 pictures."""
    from convert.synthetic.dicom_writer import write_dicom

    fake = Kaggle(tmp_path / "fake", monkeypatch)
    pictures = tmp_path / "release" / "stage_2_train_images"
    pictures.mkdir(parents=True)
    (tmp_path / "release" / "stage_2_test_images").mkdir()
    labels, classes = "patientId,x,y,width,height,Target\n", "patientId,class\n"
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        (pictures / f"i{number}.dcm").write_bytes(write_dicom(pixels, "jpeg-baseline", image_id=f"i{number}"))
        labels += f"i{number},,,,,0\n"
        classes += f"i{number},Normal\n"
    shutil.copy(pictures / "i0.dcm", pictures.parent / "stage_2_test_images" / "other.dcm")
    (pictures.parent / "stage_2_train_labels.csv").write_text(labels)
    (pictures.parent / "stage_2_detailed_class_info.csv").write_text(classes)
    pack(pictures.parent, fake.zip)
    return fake


@pytest.fixture
def project(tmp_path, monkeypatch):
    """What the hook needs of the project; RSNA's bucket is a server of this machine."""
    for name in ("CI", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    for package in ("common", "convert"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "rsna.yaml", folder)
    module = folder / "convert" / "downloads" / "rsna.py"
    with serve() as web:
        web.files = {
            "/pneumonia-challenge-dataset-mappings_2018.json": b"["
            + b",".join(b'{"subset_img_id": "i%d", "img_id": "%08d_000.png"}' % (n, n // 2) for n in range(20))
            + b"]"
        }
        text = module.read_text().replace("https://s3.amazonaws.com/east1.public.rsna.org/AI/2018", web.url)
        module.write_text(text.replace("ZIP_BYTES = 4_000_000_000", "ZIP_BYTES = 1"))
        yield folder


def at_a_terminal(project: Path, answer: bytes) -> tuple[int, str]:
    """The hook's status and words, where somebody answers its question at a terminal of their own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        os.execv(sys.executable, COMMAND)
    said, answered = b"", False
    while True:
        if answered and answer == b"\x03" and not select.select([terminal], [], [], 2)[0]:
            # Python loses a Ctrl-C that comes after the question was printed and before it waits for the answer.
            os.write(terminal, answer)
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            data = b""
        if not data:
            break
        said += data
        if not answered and QUESTION.encode() in said:
            answered = True
            os.write(terminal, answer)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def test_a_yes_at_a_terminal_downloads_and_converts(project, kaggle):
    status, said = at_a_terminal(project, b"y\n")
    assert status == 0, said
    assert said.count(QUESTION) == 1
    assert "https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge/rules" in said
    assert "21 images in" in said
    assert "CONVERTED" in said
    manifest = (project / "datasets" / "rsna" / "manifest.csv").read_text()
    assert "i7," in manifest
    assert ",00000003," in manifest  # the patient of i7, from RSNA's mapping
    assert len(kaggle.calls()) == 1


@pytest.mark.parametrize("answer", [b"\n", b"n\n", b"\x04"])
def test_all_else_at_a_terminal_ends_in_the_error_that_names_the_command(project, kaggle, answer):
    status, said = at_a_terminal(project, answer)
    assert status == 2
    assert said.count(QUESTION) == 1
    assert "no raw data there. Download them: python convert/download.py rsna" in said
    assert kaggle.calls() == []


def test_ctrl_c_at_the_question_ends_it(project, kaggle):
    status, said = at_a_terminal(project, b"\x03")
    assert status == 130
    assert "Traceback" not in said
    assert kaggle.calls() == []


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}, {"RANK": "0"}])
def test_nothing_is_asked_where_nobody_answers(project, kaggle, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if environment:
        status, said = at_a_terminal(project, b"y\n")
    else:
        # A pipe that never says anything: whoever read it would wait for ever.
        with subprocess.Popen(
            COMMAND, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            status = process.wait()
    assert status == 2, said
    assert QUESTION not in said
    assert "Download them: python convert/download.py rsna" in said
    assert kaggle.calls() == []


def test_nothing_is_asked_in_the_background_of_a_terminal(project, kaggle):
    code = (
        "import os, signal, sys\n"
        "os.setpgid(0, 0)\n"  # a group of its own that the terminal does not listen to, as after `command &`
        f"exec(compile({HOOK!r}, 'hook', 'exec'))\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        child = os.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, "-P", "-c", code])
        status = os.waitpid(child, os.WUNTRACED)[1]
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 99)
    said = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        if not data:
            break
        said += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2, said
    assert QUESTION.encode() not in said
