"""What an image classifier says about pictures: its logits, as its own validation would compute them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import progress
from common.errors import WorkError
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics
from train.classifier.calibration import Floats

import_ultralytics(verbose=True)
import cv2
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from ultralytics.data import ClassificationDataset
from ultralytics.data.augment import classify_transforms
from ultralytics.nn.tasks import load_checkpoint


class _Pictures(Dataset):
    """Pictures as Ultralytics' classifiers are validated on them: three channels, the middle square, normalised."""

    def __init__(self, files: Sequence[Path], imgsz: int) -> None:
        self._files = [str(file) for file in files]
        self._transform = classify_transforms(imgsz)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Any:
        pixels = ClassificationDataset.imread(self._files[index])
        if pixels is None:
            raise WorkError(f"{shown(Path(self._files[index]))}: cannot be read as a picture. Convert the data again.")
        return self._transform(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))


def predict_logits(
    weights: Path, pictures: Sequence[Path], device: Any, batch: int = 64, workers: int = 0
) -> tuple[Floats, dict[int, str]]:
    """Look at pictures with a trained classifier.

    Args:
        weights: A classifier's checkpoint; pictures are resized to the size that it was trained with.
        pictures: (N,) files.
        device: A torch device.
        batch: Pictures at a time.
        workers: Processes that read them; 0 reads them in this one.

    Returns:
        float64 (N, C) logits, and the class names by index.

    Raises:
        WorkError: A picture cannot be read.
    """
    model, checkpoint = load_checkpoint(weights)
    model = model.float().eval().to(device)
    loader = DataLoader(
        _Pictures(pictures, int(checkpoint["train_args"]["imgsz"])),
        batch_size=batch,
        num_workers=workers,
    )
    found = [np.empty((0, len(model.names)))]
    with torch.inference_mode():
        for images in progress(loader, "looking at all pictures", total=len(loader), unit="batches"):
            _, logits = model(images.to(device))
            found.append(logits.double().cpu().numpy())
    return np.concatenate(found), dict(model.names)
