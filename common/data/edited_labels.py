"""Label files of a converted data set that do not say what its `truth.csv` says: which of the two is scored.

Training reads the labels, and nothing else. After a conversion both say the same. If somebody edits one of them, or the
class names in the data YAML, a model would be trained on one truth and scored on another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import print_warning
from common.data.names import COORDINATES
from common.data.yolo_labels import NEGATIVE_LABEL, label_path, name_of, picture_size, read_labels
from common.paths import shown

_TOLERANCE = 0.1
"""Pixels. Labels have six decimals, hundredths of a pixel."""


def truth_of_labels(
    split: str,
    pictures: Mapping[str, Path],
    truth: pd.DataFrame,
    sizes: pd.DataFrame,
    names: Mapping[int, str],
    scored: Collection[int],
    files: tuple[Path, ...],
) -> pd.DataFrame:
    """The truth of a split, with the boxes of the labels where these are others; a warning counts such images.

    Args:
        split: Its name, for the message.
        pictures: Picture file by image id, of one converted data set.
        truth: The boxes table of these images as the conversion wrote it, of the classes that are scored.
        sizes: `width` and `height` of the original images in pixels, by image id.
        names: Class names by index, as the labels' numbers mean them now.
        scored: Indices of the classes that are scored.
        files: The manifest, which is written after all labels; then what else tells the truth apart, as truth.csv. If
            none of these and no label has changed since, nothing is read.

    Returns:
        The truth. If no picture has a label file, as where the labels were left away, it is `truth` itself.

    Raises:
        UserError: A label file is damaged, or a picture whose size is not known cannot be read.
    """
    labels = {image_id: label_path(path) for image_id, path in pictures.items()}
    times = {image_id: _changed(path) for image_id, path in labels.items()}
    manifest, *others = files
    written = manifest.stat().st_mtime_ns
    missing = [image_id for image_id, time in times.items() if time is None]
    newest = max([time for time in (*times.values(), *map(_changed, others)) if time is not None], default=0)
    if len(missing) == len(pictures) or (newest <= written and not missing):
        return truth
    known = {
        str(image_id): rows for image_id, rows in truth.dropna(subset=COORDINATES).groupby("image_id")[COORDINATES]
    }
    changed: dict[str, np.ndarray] = {}
    for image_id, path in labels.items():
        shares = read_labels(path, len(names), scored) if times[image_id] is not None else np.empty((0, 4))
        there = known[image_id].to_numpy(float) if image_id in known else np.empty((0, 4))
        if not len(shares) and not len(there):
            continue
        width, height = sizes.loc[image_id, ["width", "height"]].to_numpy(float)
        if not width > 0:
            width, height = picture_size(pictures[image_id])
        boxes = shares * np.array([width, height, width, height])
        if not _are_equal(boxes, there):
            changed[image_id] = boxes
    if not changed:
        return truth
    first = next(iter(changed))
    print_warning(
        f"{shown(manifest.parent)}: the labels of {len(changed)} images of split {split!r} are not what truth.csv "
        f"says, first {first}: {len(changed[first])} boxes of {name_of(names, scored)} in {labels[first].name}, "
        f"{len(known.get(first, ()))} in truth.csv. Labels, truth.csv or the classes' names were edited after the "
        "conversion. Scored is what the labels say, which is what is trained on; to undo edits, convert again"
    )
    rows = [
        (image_id, *box, name_of(names, scored) if len(boxes) else NEGATIVE_LABEL)
        for image_id, boxes in changed.items()
        for box in boxes.tolist() or [[np.nan] * 4]
    ]
    edited = pd.DataFrame(rows, columns=["image_id", *COORDINATES, "label"])
    return pd.concat([truth[~truth["image_id"].isin(list(changed))], edited], ignore_index=True)


def _changed(path: Path) -> int | None:
    """When a file was last changed, in nanoseconds; None where there is none. A copy is changed when it is made."""
    try:
        status = path.stat()
    except OSError:
        return None
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two sets of boxes, (N, 4) each, are the same but for rounding; repeated boxes count once."""
    distances = np.abs(first[:, None] - second[None]).max(axis=2) <= _TOLERANCE
    return bool(distances.any(axis=0).all() and distances.any(axis=1).all())
