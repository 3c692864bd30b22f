"""The gate in scoring: an image classifier's P(opacity), read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.cli import print_warning
from common.data.data_set import DataSet, Split
from common.data.tables import read_gate
from common.errors import UserError
from common.files import sha256
from common.paths import shown

_TRAINED_ON = "train"


@dataclass(frozen=True)
class GateProbabilities:
    """What the gates' files say about the images that are scored.

    Attributes:
        files: The files.
        probabilities: P(opacity) by image_id, of the images of all splits that are scored.
        seen: Of each split, how many images the gates were trained on.
    """

    files: list[Path]
    probabilities: pd.Series
    seen: dict[str, int]


def read_gates(paths: Sequence[Path], data: DataSet, splits: Mapping[str, Split]) -> GateProbabilities:
    """Read one gate's file or several, for the images that are scored.

    Of several, an image gets the mean of those that were not trained on it, as is the way with gates of different
    folds; if all were, the mean of all.

    Args:
        paths: Files as `train/gate.py` writes them.
        data: The data set that is scored.
        splits: Its splits that are scored.

    Raises:
        UserError: A file is wrong, belongs to another data set, or all of them lack an image.
    """
    for path in paths:
        _check_data_set(path, data, list(splits))
    rows = pd.concat([read_gate(path) for path in paths], ignore_index=True)
    rows["seen"] = rows["split"] == _TRAINED_ON
    rows = rows[rows["seen"] == rows.groupby("image_id")["seen"].transform("all")]
    images = rows.groupby("image_id").agg(p_opacity=("p_opacity", "mean"), seen=("seen", "all"), gates=("seen", "size"))
    names = ", ".join(shown(path) for path in paths)
    parts, seen = [], {}
    for name, split in splits.items():
        missing = [image_id for image_id in split.pictures if image_id not in images.index]
        if missing:
            raise UserError(
                f"{names}: {len(missing):,} of the {len(split.pictures):,} images of split {name!r} are not in it, "
                f"first {missing[0]}. Is it the gate of another data set? Train one on this: python train/gate.py "
                f"data={shown(data.yaml)} ..."
            )
        found = images.loc[list(split.pictures)]
        parts.append(found["p_opacity"])
        seen[name] = int(found["seen"].sum())
        if seen[name]:
            print_warning(
                f"LEAKAGE: {seen[name]:,} images of split {name!r} were trained on by the gate ({names}), such as "
                f"{found.index[found['seen']][0]}: its probabilities of them are too good to be true"
            )
    counts = {name: images.loc[list(split.pictures), "gates"] for name, split in splits.items()}
    if len({(int(one.min()), int(one.max())) for one in counts.values()}) > 1:
        told = " and ".join(f"of {one.min()} to {one.max()} on {name!r}" for name, one in counts.items())
        print_warning(
            f"{names}: an image's probability is the mean of those gates that have not seen it, {told}. A mean of more "
            "is less often extreme, so what is tuned on one split may not suit the other"
        )
    probabilities = pd.concat(parts)
    return GateProbabilities(list(paths), probabilities[~probabilities.index.duplicated()], seen)


def _check_data_set(path: Path, data: DataSet, splits: list[str]) -> None:
    """Refuse a gate whose record says that it was trained on a data set with another manifest."""
    record = path.with_suffix(".json")
    try:
        content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        trained_on = content["manifest"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # probabilities of some other classifier: the images alone must tell
    roots = {root for split in splits for root in data.roots(split)}
    digests = {sha256(root / "manifest.csv") if root is not None else "" for root in roots}
    if trained_on not in digests:
        raise UserError(
            f"{shown(path)}: {record.name} beside it says that it was trained on {content.get('data')}, whose manifest "
            f"is not that of {shown(data.yaml)}: images or splits differ. Train a gate on this data: python "
            f"train/gate.py data={shown(data.yaml)} ..."
        )
