"""Which images an epoch is made of: all, or those with boxes and as many without as were asked for; in random order.

The draw of an epoch depends on nothing but the seed and the epoch's number. So every process of a training on several
GPUs, every worker that loads pictures and a resumed training make the same one, without telling each other.

Workers load ahead: they begin an epoch before the trainer does. So an image is asked for by a number that says its
epoch too, `epoch * images + image`. From the seed, the epoch and the image follow all random numbers of its
augmentation (`seeded`), and the other pictures of a mosaic are of that epoch's draw
(`train.detector.dataset.RSNADataset`): which process loads a picture, and after which others, makes no difference.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.data_set import find_root
from common.data.names import DISTRACTOR
from common.data.tables import read_manifest
from common.errors import UserError
from common.paths import shown
from train.settings.options import SAMPLING

NOT_NORMAL = DISTRACTOR
"""The manifest's label of hard negatives: something is wrong with these lungs, though it is no opacity."""


@dataclass(frozen=True)
class Draw:
    """What epochs are drawn from, and how much of it.

    Attributes:
        positives: Numbers of the images with boxes; every epoch has them all.
        hard: Numbers of the images without boxes that are not normal; empty where this is not distinguished.
        other: Numbers of all further images without boxes.
        hard_count: How many of `hard` an epoch gets.
        other_count: How many of `other` an epoch gets.
        seed: The training's seed.
        warnings: Where the data could not give what was asked for.
        shuffled: Whether an epoch has them in random order, or in the data set's.
    """

    positives: NDArray[np.int64]
    hard: NDArray[np.int64]
    other: NDArray[np.int64]
    hard_count: int
    other_count: int
    seed: int
    warnings: tuple[str, ...] = ()
    shuffled: bool = True

    def __len__(self) -> int:
        """Images of an epoch."""
        return len(self.positives) + self.hard_count + self.other_count

    @property
    def total(self) -> int:
        """Images of the data set."""
        return len(self.positives) + len(self.hard) + len(self.other)

    def images(self, epoch: int) -> NDArray[np.int64]:
        """The images of an epoch (from 0) by number, each once."""
        generator = np.random.default_rng([self.seed, epoch])
        hard = generator.choice(self.hard, self.hard_count, replace=False)
        other = generator.choice(self.other, self.other_count, replace=False)
        images = np.concatenate([self.positives, hard, other])
        return generator.permutation(images) if self.shuffled else np.sort(images)

    def __str__(self) -> str:
        """One line for the log."""
        count, total = self.hard_count + self.other_count, len(self.hard) + len(self.other)
        hard = f" ({self.hard_count} of them not normal)" if len(self.hard) else ""
        return f"Each epoch: the {len(self.positives)} images with boxes, {count} of {total} without{hard}, drawn anew."


def all_images(count: int, seed: int = 0, *, shuffled: bool = True) -> Draw:
    """Epochs of all images of a data set.

    Args:
        count: How many there are.
        seed: The training's seed.
        shuffled: Whether an epoch has them in random order, or in the data set's.
    """
    none = np.empty(0, dtype=np.int64)
    return Draw(np.arange(count), none, none, 0, 0, seed, shuffled=shuffled)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Let `random`, NumPy and PyTorch on the CPU draw by these numbers alone, and afterwards go on as before.

    Without workers pictures are loaded in the training's own process, whose random numbers (of a drop-out, of the size
    with `multi_scale`) must not depend on it.

    Args:
        numbers: What the random numbers follow from, 0 or more each.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # Ultralytics' generator
    first, second, third = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(first)
    np.random.seed(second)  # noqa: NPY002
    torch.default_generator.manual_seed(third)  # not that of the GPU
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def check_arguments(negatives: float | None, hard_negatives: float | None) -> None:
    """Refuse what cannot be meant.

    Raises:
        UserError: A value is out of range, or there is a share of negatives but no number of them.
    """
    SAMPLING["negatives"].check("negatives", negatives)
    SAMPLING["hard_negatives"].check("hard_negatives", hard_negatives)
    if hard_negatives is not None and negatives is None:
        raise UserError(
            f"hard_negatives: {hard_negatives:g} is a share of the images without boxes that are drawn, and without "
            "negatives= all are taken. Add how many per image with boxes, such as negatives=1."
        )


def make_draw(
    files: Sequence[str],
    labels: Sequence[Mapping[str, Any]],
    negatives: float,
    hard_negatives: float | None = None,
    seed: int = 0,
) -> Draw:
    """Plan the epochs of a training.

    Args:
        files: The pictures.
        labels: One per picture, as Ultralytics holds them: `cls` has a row for each box.
        negatives: Images without boxes per image with boxes, 0 or more. If there are fewer, all are taken.
        hard_negatives: The share of them, 0 to 1, that is `NOT_NORMAL` by the manifest above the pictures; None takes
            them as they come. Where one kind does not suffice, the other fills up.
        seed: The training's seed.

    Raises:
        UserError: A value is out of range, no image has boxes, or hard negatives are asked for and no manifest says
            which these are.
    """
    check_arguments(negatives, hard_negatives)
    boxed = np.array([len(label["cls"]) > 0 for label in labels], dtype=bool)
    positives, others = np.flatnonzero(boxed), np.flatnonzero(~boxed)
    if not len(positives):
        raise UserError(
            f"negatives: none of the {len(files)} training images has a box (first: {shown(Path(files[0]))}), so there "
            "is nothing to draw images without boxes for. Check the data set's train list and its labels/ folder, and "
            "the argument classes= if it is given."
        )
    warnings = []
    wanted = round(negatives * len(positives))
    count = min(wanted, len(others))
    if count < wanted:
        warnings.append(
            f"negatives={negatives:g} asks for {wanted} images without boxes beside the {len(positives)} with; there "
            f"are only {count}, so every epoch has them all."
        )
    if hard_negatives is None:
        return Draw(positives, others[:0], others, 0, count, seed, tuple(warnings))
    is_hard = _not_normal([files[int(number)] for number in others])
    hard, other = others[is_hard], others[~is_hard]
    wanted_hard = round(hard_negatives * count)
    hard_count = min(max(wanted_hard, count - len(other)), len(hard))
    if hard_count != wanted_hard:
        lacking = len(hard) if hard_count < wanted_hard else f"{len(other)} others"
        warnings.append(
            f"hard_negatives={hard_negatives:g} asks for {wanted_hard} images of {NOT_NORMAL!r} among the {count} "
            f"without boxes; there are only {lacking}, so every epoch has {hard_count}."
        )
    return Draw(positives, hard, other, hard_count, count - hard_count, seed, tuple(warnings))


def _not_normal(files: Sequence[str]) -> NDArray[np.bool_]:
    """Which of these pictures the manifest above them labels as not normal."""
    roots: dict[Path, Path | None] = {}
    labels: dict[Path, dict[str, str]] = {}
    found = np.zeros(len(files), dtype=bool)
    for number, file in enumerate(map(Path, files)):
        if file.parent not in roots:
            roots[file.parent] = find_root(file.parent)
        root = roots[file.parent]
        if root is None:
            raise UserError(
                f"hard_negatives: {shown(file)}: no manifest.csv in a folder above it, so nobody knows which images "
                "without boxes are not normal. Convert the data with python convert/rsna_to_yolo.py, or leave "
                "hard_negatives out."
            )
        if root not in labels:
            table = read_manifest(root / "manifest.csv")
            labels[root] = dict(zip(table["image_id"], table["label"], strict=True))
        label = labels[root].get(file.stem)
        if label is None:
            raise UserError(
                f"hard_negatives: {shown(root / 'manifest.csv')}: has no row for {file.stem}, which the train list "
                "names. List and manifest belong to different conversions: convert again, or leave hard_negatives out."
            )
        found[number] = label == NOT_NORMAL
    return found


class DrawnSampler:
    """The images of the epochs for one process of a training, by numbers that say their epoch.

    Several processes share an epoch's images: none gets another's, but for the few that make the shares equal.

    Attributes:
        epoch: The epoch that the trainer is in; the loader begins there when it begins anew.
        coming: The epoch that the loader, going on, will give next; None before the first one.
    """

    def __init__(self, draw: Draw, rank: int = 0, processes: int = 1) -> None:
        self.draw, self.rank, self.processes = draw, rank, processes
        self.epoch = 0
        self.coming: int | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.draw) / self.processes)

    def share(self, epoch: int) -> list[int]:
        """This process' share of an epoch."""
        images = np.resize(self.draw.images(epoch), len(self) * self.processes)  # repeats the first ones
        return (images[self.rank :: self.processes] + epoch * self.draw.total).tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self.share(self.epoch))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the trainer is in."""
        self.epoch = epoch


class _Epochs:
    """The batches of one epoch after the other, in place of what makes Ultralytics' loader infinite.

    A worker process may be an epoch ahead of the trainer; so the epochs are counted here, from the trainer's on.

    Attributes:
        sampler: Batches of one epoch; its length is the loader's.
    """

    def __init__(self, batches: Any) -> None:
        self.sampler = batches

    def __iter__(self) -> Iterator[list[int]]:
        size = self.sampler.batch_size
        for epoch in itertools.count(self.sampler.sampler.epoch):
            share = self.sampler.sampler.share(epoch)
            for number in range(len(self.sampler)):
                yield share[number * size : (number + 1) * size]


def drawn_loader(loader: Any, draw: Draw, *, rank: int = 0, processes: int = 1, drop_last: bool = False) -> Any:
    """Make a loader of what is drawn, epoch by epoch, from Ultralytics' own.

    Args:
        loader: Ultralytics' loader; its data set is told of the draw.
        draw: What to load.
        rank: Which of the processes this is, from 0.
        processes: How many train together.
        drop_last: Whether to leave out an epoch's last batch if it is not full.
    """
    loader.dataset.follow(draw)
    sampler = DrawnSampler(draw, rank, processes)
    size = min(loader.batch_size, len(draw))
    batches = math.ceil(len(sampler) / size)
    workers = min(loader.num_workers, batches) if batches > 1 else 0  # as Ultralytics does
    drawn = type(loader)(
        dataset=loader.dataset,
        batch_size=size,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=loader.prefetch_factor if workers else None,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        drop_last=drop_last and len(sampler) > size,
    )
    object.__setattr__(drawn, "batch_sampler", _Epochs(drawn.batch_sampler.sampler))
    return drawn


def begin_epoch(loader: Any, epoch: int) -> None:
    """Let a loader of what is drawn give `epoch` next, also where one is repeated after a loss that was no number."""
    sampler = loader.sampler
    sampler.set_epoch(epoch)
    if sampler.coming not in {None, epoch}:
        loader.reset()
    sampler.coming = epoch + 1
