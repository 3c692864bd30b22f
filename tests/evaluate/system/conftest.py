from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.classifier.conftest import make_gate

__all__ = ["make_gate"]


@pytest.fixture(scope="session")
def runs(trained, data_set, tmp_path_factory) -> Path:
    """A folder of trainings, `a` and `b`: the tiny one, and one that finds somewhat other boxes. Not to be changed."""
    folder = tmp_path_factory.mktemp("system") / "runs"
    for name, noise in (("a", 0.0), ("b", 0.05)):
        copy_training(trained, folder / name, noise, data=str(data_set / "data.yaml"))
    return folder


def copy_training(trained: Path, run: Path, noise: float = 0.0, **train_args) -> Path:
    """Weights of a training's folder of its own: those of another, with a share of noise on each."""
    import torch

    checkpoint = torch.load(trained, weights_only=False)
    checkpoint["train_args"] |= train_args
    generator = torch.Generator().manual_seed(1)
    model = checkpoint.get("ema") or checkpoint["model"]
    with torch.no_grad():
        for value in model.parameters():
            value *= 1 + noise * torch.randn(value.shape, generator=generator).to(value.dtype)
    weights = run / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    torch.save(checkpoint, weights)
    return weights
