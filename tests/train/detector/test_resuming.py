"""A training that is killed and resumed is the undisturbed one to the last digit, whatever it did when it was killed.

What a resume does in detail is tested in test_trainer.py and test_sampling.py, within a process.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from common.cli import execute
from common.errors import WorkError
from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from tests.train.conftest import QUICK, ROOT, write_data_set  # noqa: E402
from train.detector.resuming import release  # noqa: E402
from train.train import main  # noqa: E402

from .random_kills import differences, train, train_under_kills  # noqa: E402

EPOCHS, BATCHES = 4, 7
VARIANTS = {
    "plain": ["iou_loss=wiou"],
    "drawn": ["negatives=0.3", "noise=0.02", "rotation=5"],
    "mixed": ["mixup=0.5", "cutmix=0.5", "imgsz=96", "multi_scale=0.25", "optimizer=SGD", "lr0=0.01"],
}


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """Forty images to train on; ten of them without boxes."""
    return write_data_set(tmp_path_factory.mktemp("datasets") / "forty", {"train": 40, "val": 8, "test": 4})


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_kills_change_nothing(forty, tmp_path, variant):
    """With two loader workers, and gradients gathered up to the default of 64 images: over the end of an epoch."""
    argv = [
        f"data={forty}", "model=cnn-batchnorm.yaml", "imgsz=64", f"epochs={EPOCHS}", "batch=6", "workers=2", "seed=5",
        "device=cpu", "optimizer=AdamW", "lr0=0.004", "close_mosaic=1", "plots=False", "amp=False", "wandb=False",
        "deterministic=False", *VARIANTS[variant],
    ]  # fmt: skip
    assert train([*argv, f"project={tmp_path / 'whole'}"], tmp_path / "whole.txt") == 0, (
        tmp_path / "whole.txt"
    ).read_text()[-4000:]
    moments = random.Random(zlib.crc32(variant.encode()))
    kills = [(moments.uniform(share, 0.8), moments.uniform(0, 0.5)) for share in (0.3, 0)]
    assert train_under_kills(argv, tmp_path / "cut", kills, EPOCHS, BATCHES) >= 1
    assert not differences(tmp_path / "cut" / "train", tmp_path / "whole" / "train")


def make_trainer(data: str, project: Path, **given):
    """A trainer that has its folder, and has not begun."""
    from train.detector.trainer import RSNATrainer

    given = {"model": "basic-cnn.yaml", "data": data, "project": str(project), **given}
    return RSNATrainer(overrides={**given, "device": "cpu", "wandb": False, "deterministic": False})


def test_two_trainings_do_not_write_into_one_folder(data_set, tmp_path):
    data = str(data_set / "data.yaml")
    holds = make_trainer(data, tmp_path, exist_ok=True)
    before = (holds.save_dir / "args.yaml").read_bytes()
    with pytest.raises(WorkError, match=r"train: another training is at work in it. Wait until it ends, or choose"):
        make_trainer(data, tmp_path, exist_ok=True, lr0=0.5)
    assert (holds.save_dir / "args.yaml").read_bytes() == before
    other = make_trainer(data, tmp_path)  # without exist_ok, the next free folder
    assert other.save_dir.name == "train-2"
    release(other._lock)
    release(holds._lock)
    again = make_trainer(data, tmp_path, exist_ok=True)
    assert again.save_dir == holds.save_dir
    release(again._lock)
    with pytest.raises(RuntimeError, match="nowhere"):
        make_trainer("nowhere.yaml", tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_process_that_is_killed_holds_no_folder(data_set, tmp_path):
    code = "import os, sys; from pathlib import Path; from tests.train.detector.test_resuming import make_trainer; "
    code += "make_trainer(sys.argv[1], Path(sys.argv[2]), exist_ok=True); os.kill(os.getpid(), 9)"
    data = str(data_set / "data.yaml")
    ended = subprocess.run([sys.executable, "-c", code, data, tmp_path], check=False, capture_output=True, cwd=ROOT)
    assert ended.returncode == -9, ended.stderr.decode()
    assert (tmp_path / ".train.lock").is_file()
    release(make_trainer(data, tmp_path, exist_ok=True)._lock)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_pictures_that_are_removed_during_the_training_end_in_one_line(forty, tmp_path, capsys, monkeypatch):
    from train.detector.trainer import RSNATrainer

    data = shutil.copytree(forty, tmp_path / "data")
    save = RSNATrainer.save_model
    removed = lambda self: (save(self), shutil.rmtree(data / "images" / "train"))[0]  # noqa: E731
    monkeypatch.setattr(RSNATrainer, "save_model", removed)
    words = [f"{name}={value}" for name, value in {**QUICK, "workers": 1}.items()]
    argv = [f"data={data}", "model=basic-cnn.yaml", f"project={tmp_path / 'runs'}", "epochs=9", *words]
    assert execute(main, argv) == 1
    (message,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert re.search(r"images/train/train\d\d.png: cannot be read any more", message)
    assert f"go on with resume={tmp_path / 'runs' / 'train'}" in message
