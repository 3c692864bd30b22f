"""The pictures and boxes that a training sees: Ultralytics' data set with what this project adds to it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from evaluate.quiet_ultralytics import import_ultralytics

import_ultralytics(verbose=True)
from ultralytics.data import YOLODataset
from ultralytics.data.utils import get_split_fraction
from ultralytics.utils import colorstr


class RSNADataset(YOLODataset):
    """Ultralytics' data set, with a label cache for every list of pictures.

    Ultralytics names the cache after the labels' folder. Two lists of pictures of one folder, such as the folds of a
    data set, would overwrite each other's and scan all labels anew in every run.
    """

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        """Load the labels of exactly these pictures from their cache, or scan them."""
        listed = hashlib.sha256("\n".join(self.im_files).encode()).hexdigest()[:12]
        return super()._load_or_scan_cache(cache_path.with_name(f"{cache_path.stem}-{listed}.cache"), cache_hash)


def build_dataset(
    args: Any, pictures: str | list[str], batch: int | None, data: dict[str, Any], mode: str, *, rect: bool, stride: int
) -> RSNADataset:
    """Make the data set of a training or of its validation, as Ultralytics' `build_yolo_dataset` does.

    Args:
        args: The training's arguments.
        pictures: A folder or a list file, or several.
        batch: Images per batch.
        data: The data YAML's content.
        mode: `train`, which augments, or `val`.
        rect: Whether the pictures of a batch keep their shape instead of being padded to a square.
        stride: The model's greatest stride.
    """
    return RSNADataset(
        img_path=pictures,
        imgsz=args.imgsz,
        batch_size=batch,
        augment=mode == "train",
        hyp=args,
        rect=rect,
        cache=args.cache or None,
        single_cls=args.single_cls or False,
        stride=stride,
        pad=0.0 if mode == "train" else 0.5,
        prefix=colorstr(f"{mode}: "),
        task="detect",
        classes=args.classes,
        data=data,
        fraction=1.0
        if data.get("complete")
        else get_split_fraction(args.fraction, "train" if mode == "train" else args.split),
    )
