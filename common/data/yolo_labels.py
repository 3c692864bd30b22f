"""Truth from YOLO label files, for data sets that this project did not convert."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import print_warning, progress
from common.data.tables import MANIFEST_COLUMNS, TRUTH_COLUMNS
from common.errors import UserError
from common.paths import shown

NEGATIVE_LABEL = "No box"
_EXIF_ORIENTATION = 0x0112


def read(
    pictures: Mapping[str, Path], names: Mapping[int, str], scored: Collection[int], split: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labels of pictures into a boxes table, and make a manifest for them.

    A picture without a label file counts as a negative, as it does in Ultralytics' training; a warning counts them.

    Args:
        pictures: Picture file by image id.
        names: Class names by index.
        scored: Indices of the classes to take; boxes of others are left out.
        split: Name for the manifest and messages.

    Returns:
        The boxes table in pixels of the pictures, and a manifest whose patients are the images themselves.

    Raises:
        UserError: A picture or a label file cannot be read; the message names it.
    """
    rows: list[tuple[str, float, float, float, float, str]] = []
    manifest: list[dict[str, object]] = []
    missing: list[Path] = []
    for image_id, picture in progress(pictures.items(), f"reading labels of {split}", total=len(pictures)):
        width, height = picture_size(picture)
        path = label_path(picture)
        boxes = np.empty((0, 4))
        if path.is_file():
            boxes = read_labels(path, len(names), scored) * (width, height, width, height)
        else:
            missing.append(path)
        label = name_of(names, scored) if len(boxes) else NEGATIVE_LABEL
        coordinates = boxes.tolist() or [[math.nan] * 4]
        rows += [(image_id, x, y, w, h, label) for x, y, w, h in coordinates]
        manifest.append(
            {"image_id": image_id, "split": split, "patient_id": image_id, "label": label, "boxes": float(len(boxes))}
            | {"width": float(width), "height": float(height), "view": "", "sex": "", "age": math.nan}
        )
    if missing:
        print_warning(
            f"{len(missing)} of {len(pictures)} pictures of {split!r} have no label file, first {shown(missing[0])}: "
            "they count as images without boxes"
        )
    return pd.DataFrame(rows, columns=TRUTH_COLUMNS), pd.DataFrame(manifest, columns=MANIFEST_COLUMNS)


def name_of(names: Mapping[int, str], scored: Collection[int]) -> str:
    """What boxes of these classes are called together, such as `Lung Opacity` or `Mass; Nodule`."""
    return "; ".join(names[index] for index in scored)


def label_path(picture: Path) -> Path:
    """The label file of a picture: the last folder `images` of its path becomes `labels`, the suffix `.txt`."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(os.fspath(picture).rsplit(images, 1))).with_suffix(".txt")


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the file's header.

    Raises:
        UserError: The file is missing or no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            return (picture.height, picture.width) if turned else picture.size
    except (OSError, ValueError, ImportError) as error:  # the last where Ultralytics has changed Pillow's `open`
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"{shown(path)}: cannot be read as a picture ({reason}). Replace it or leave it out."
        ) from error


def read_labels(path: Path, classes: int, scored: Collection[int]) -> np.ndarray:
    """The boxes of some classes: x, y, width, height as shares of the picture, (N, 4) float.

    Raises:
        UserError: A line is not `class x_center y_center width height`, or out of range.
    """
    boxes: list[tuple[float, float, float, float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        tokens = line.split()
        if not tokens:
            continue
        try:
            index, x, y, width, height = (float(token) for token in tokens)
        except ValueError:
            raise UserError(
                f"{shown(path)}, line {number}: found {line.strip()[:60]!r}; expected 5 numbers, "
                "`class x_center y_center width height`."
            ) from None
        if index not in range(classes):
            raise UserError(f"{shown(path)}, line {number}: class {index:g}; expected 0 to {classes - 1}.")
        if not (min(x, y) >= -0.01 and max(x, y, width, height) <= 1.01 and width > 0 and height > 0):
            raise UserError(
                f"{shown(path)}, line {number}: found {line.strip()[:60]!r}; expected shares of the picture, 0 to 1, "
                "with width and height above 0."
            )
        if index in scored:
            boxes.append((x - width / 2, y - height / 2, width, height))
    # Ultralytics drops repeated lines as well.
    return np.array(list(dict.fromkeys(boxes)), dtype=float).reshape(-1, 4)
