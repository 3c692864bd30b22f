"""The pictures and boxes that a training sees: Ultralytics' data set with what this project adds to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.paths import shown
from common.quiet_ultralytics import import_ultralytics

import_ultralytics(verbose=True)
from ultralytics.data import YOLODataset
from ultralytics.data.augment import BaseMixTransform, Compose
from ultralytics.data.utils import get_split_fraction
from ultralytics.utils import colorstr

from train.detector.augmentation import grey_transforms
from train.detector.sampling import Draw, seeded

_LEAST_MORE = 16
"""How many images of the epoch a small batch is mixed with, at least."""


class RSNADataset(YOLODataset):
    """Ultralytics' data set with a label cache for every list, epochs of a choice, our augmentation, boxes of a size.

    Ultralytics names the cache after the labels' folder. Two lists of pictures of one folder, such as the folds of a
    data set, would overwrite each other's and scan all labels anew in every run.

    Once it follows a draw, images are asked for by `epoch * images + image`. What comes out follows from the draw's
    seed and these numbers alone. All random numbers are drawn by them; and the other pictures of a mosaic, MixUp or
    CutMix are of the same batch, or of as many more that are drawn for it from the epoch, instead of those that happen
    to be in memory, as with Ultralytics. (Of the whole epoch, each mosaic would read four files.)

    With `box_scale` what is trained on are boxes of another size about the same centres. What is validated on stays
    what the labels say, and predictions stay as they come, since that is how the weights will be scored.
    """

    stretched = False
    _draw: Draw | None = None
    _epoch: int | None = None
    _drawn: list[int]
    _pool: list[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loaded: dict[int, tuple[Any, Any, Any]] = {}  # the pictures of the batch that is being made
        scale = getattr(kwargs["hyp"], "box_scale", 1.0) if kwargs["augment"] else 1.0
        self._box_scale = np.broadcast_to(scale, 2)
        super().__init__(*args, **kwargs)

    def get_labels(self) -> list[dict[str, Any]]:
        """The labels; of a training with its boxes resized, and clipped to their pictures."""
        labels = super().get_labels()
        if (self._box_scale == 1).all():
            return labels
        return [{**label, "bboxes": _resized(label["bboxes"], self._box_scale)} for label in labels]

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> tuple[Any, Any, Any]:
        """A picture in the model's size: its longer side, or both if the data set's pictures are stretched."""
        if i in self._loaded:
            picture, before, after = self._loaded[i]
            return picture.copy(), before, after
        cached = self.augment and self.ims[i] is not None
        picture, before, after = super().load_image(i, rect_mode and not self.stretched, resize_short)
        if self.buffer and self._draw is not None:  # of the latest pictures, which nobody uses then
            self.buffer.clear()
            self.ims[i], self.im_hw0[i], self.im_hw[i] = None, None, None
            if self._pool is not self._drawn:
                self._loaded[i] = picture, before, after
                cached = True
        # Augmentation may draw into the picture, and what is kept in memory must stay as it is.
        return picture.copy() if cached else picture, before, after

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        """Load the labels of exactly these pictures from their cache, or scan them."""
        listed = hashlib.sha256("\n".join(self.im_files).encode()).hexdigest()[:12]
        return super()._load_or_scan_cache(cache_path.with_name(f"{cache_path.stem}-{listed}.cache"), cache_hash)

    def cache_labels(self, path: Path = Path("./labels.cache")) -> dict[str, Any]:
        """Scan the labels and write their cache, whole or not at all: another training may do so at the same time."""
        part = path.with_name(f"{path.stem}.{os.getpid()}{path.suffix}")
        try:
            labels = super().cache_labels(part)
        except ValueError as error:
            if "No labels found" not in str(error):
                raise
            picture, expected = Path(self.im_files[0]), Path(self.label_files[0])
            beside = ", and there are labels beside the pictures" if picture.with_suffix(".txt").is_file() else ""
            raise UserError(
                f"data: none of the {len(self.im_files)} pictures has a label file{beside}; expected for "
                f"{shown(picture)} the file {shown(expected)} (`images` in its path is `labels` there, and an empty "
                "file means no box). Put them there, or convert the data anew."
            ) from error
        with contextlib.suppress(OSError):  # a read-only folder: then there is no cache
            os.replace(part, path)
        return labels

    def follow(self, draw: Draw) -> None:
        """From now on give the images of a draw; see `train.detector.sampling`."""
        self._draw, self._epoch = draw, None
        self._mix_what_is_drawn(self.transforms)

    def build_transforms(self, hyp: Any = None) -> Any:
        """Ultralytics' transforms, mixing only what is drawn, and before the one that makes tensors, ours.

        They are built anew when mosaic is closed.
        """
        transforms = super().build_transforms(hyp)
        if self.augment:
            for transform in grey_transforms(hyp):
                transforms.insert(-1, transform)
        if self._draw is not None:
            self._mix_what_is_drawn(transforms)
        return transforms

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """The augmented images of a batch."""
        if self._draw is None:
            return [self[index] for index in indices]
        epoch, images = indices[0] // self.ni, [index % self.ni for index in indices]
        self._begin(epoch)
        with seeded(self._draw.seed, epoch, *images):
            self._pool = images + random.choices(self._drawn, k=max(len(images), _LEAST_MORE))
        try:
            return [self[index] for index in indices]
        finally:
            self._pool = self._drawn
            self._loaded.clear()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """An augmented image, of the epoch that its number says; alone, it is mixed with any of the epoch."""
        if self._draw is None:
            return super().__getitem__(index)
        epoch, image = divmod(index, self.ni)
        self._begin(epoch)
        with seeded(self._draw.seed, epoch, image):
            return super().__getitem__(image)

    def _begin(self, epoch: int) -> None:
        if self._draw is not None and epoch != self._epoch:
            self._epoch, self._drawn = epoch, self._draw.images(epoch).tolist()
            self._pool = self._drawn

    def _mix_what_is_drawn(self, transforms: Any) -> None:
        for step in _mixing_steps(transforms):
            step.get_indexes = partial(self._others, getattr(step, "n", 2) - 1)

    def _others(self, count: int) -> list[int]:
        """Images to mix into another."""
        return random.choices(self._pool, k=count)


def _resized(boxes: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes resized about their centres.

    Args:
        boxes: (N, 4) centre x, centre y, width, height as shares of the picture's sides.
        factors: (2,) on width and height.
    """
    half = boxes[:, 2:] * factors / 2
    start, end = (boxes[:, :2] - half).clip(0, 1), (boxes[:, :2] + half).clip(0, 1)
    return np.hstack([(start + end) / 2, end - start]).astype(boxes.dtype)


def _mixing_steps(transform: Any) -> Iterator[Any]:
    """The steps of an augmentation that take other pictures."""
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from _mixing_steps(step)
    elif isinstance(transform, BaseMixTransform):
        yield transform
        yield from _mixing_steps(transform.pre_transform)


class StretchedDataset(RSNADataset):
    """The same with pictures stretched to squares instead of padded, as RT-DETR's predictor does."""

    stretched = True


def build_dataset(
    args: Any,
    pictures: str | list[str],
    batch: int | None,
    data: dict[str, Any],
    mode: str,
    *,
    stride: int,
    rect: bool = False,
    stretched: bool = False,
) -> RSNADataset:
    """Make the data set of a training or of its validation, as Ultralytics' `build_yolo_dataset` does.

    Args:
        args: The training's arguments.
        pictures: A folder or a list file, or several.
        batch: Images per batch.
        data: The data YAML's content.
        mode: `train`, which augments, or `val`.
        stride: The model's greatest stride.
        rect: Whether the pictures of a batch keep their shape instead of being padded to a square.
        stretched: Whether pictures are stretched to a square.
    """
    kind = StretchedDataset if stretched else RSNADataset
    return kind(
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
