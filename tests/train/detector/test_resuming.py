"""A training that is killed and resumed is the undisturbed one to the last digit, whatever it did when it was killed.

What a resume does in detail is tested in test_trainer.py and test_sampling.py, within a process.
"""

from __future__ import annotations

import random
import zlib

import pytest

from tests.train.conftest import write_data_set

from .random_kills import differences, train, train_under_kills

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
