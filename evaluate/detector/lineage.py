"""What weights began with: the trainings before theirs, whose images they have seen as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.data_set import DataSet
from common.data.names import ALL_CLASSES
from common.errors import UserError
from common.files import sha256
from common.paths import PROJECT, shown
from common.quiet_ultralytics import import_ultralytics
from evaluate.detector.weights import Weights, run_folder, training_data

_PHOTOGRAPHS = ("coco", "open-images", "lvis", "objects365", "voc", "dota", "imagenet", "saco")
"""How the names of the data begin that Ultralytics trains its published models on: no radiographs among them."""
_MOST_STEPS = 20


@dataclass(frozen=True)
class Lineage:
    """The trainings before one.

    Attributes:
        data: Their data sets, the latest first.
        not_seen: What is not known of them, one clause each.
    """

    data: tuple[DataSet, ...] = ()
    not_seen: tuple[str, ...] = ()


def trace(weights: Weights) -> Lineage:
    """Follow weights back, from the file that each training began with to the one that that began with.

    The trail ends at a network without weights or with those that Ultralytics publishes, which have seen photographs,
    or where a file or its data are not there any more; that is told.
    """
    found: list[DataSet] = []
    path, arguments, visited = weights.path, weights.train_args, {weights.sha256}
    for _ in range(_MOST_STEPS):
        named = _began_with(arguments)
        if named is None:
            break
        before = _locate(named, path)
        if before is None:
            if _is_published(named):
                break
            return Lineage(tuple(found), (f"{shown(path)} began with {named}, which is not there any more",))
        if before.name == "last.pt" and before.resolve().parent == path.resolve().parent:
            return Lineage(tuple(found), (f"{shown(path)} was resumed and does not say what it began with",))
        digest = sha256(before)
        if digest in visited:
            return Lineage(
                tuple(found), (f"{shown(path)} began with what {shown(before)} was then, and has been replaced since",)
            )
        visited.add(digest)
        path, arguments = before, _arguments_of(before)
        seen = Path(str(arguments.get("data") or "")).name.lower()
        if seen.startswith(_PHOTOGRAPHS) or (not seen and _is_published(path.name)):
            break
        try:
            found.append(DataSet(training_data(path, arguments), ALL_CLASSES))
        except UserError as error:
            why = str(error).partition(". ")[0]  # what follows is the remedy for weights that are to be scored
            return Lineage(
                tuple(found), (f"it began with {shown(path)}, of which is not known what it has seen ({why})",)
            )
    return Lineage(tuple(found))


def _began_with(arguments: Mapping[str, Any]) -> str | None:
    """The weights file that a training began with, as Ultralytics chooses it; None for a network without weights."""
    for name in ("model", "pretrained"):
        value = arguments.get(name)
        if isinstance(value, str) and value.endswith(".pt"):
            return value
    return None


def _locate(named: str, weights: Path) -> Path | None:
    path = Path(named).expanduser()
    folders = [Path()] if path.is_absolute() else [Path(), run_folder(weights), PROJECT, PROJECT / ".cache" / "weights"]
    return next((folder / path for folder in folders if (folder / path).is_file()), None)


def _is_published(named: str) -> bool:
    """Whether Ultralytics publishes weights of this name."""
    import_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    return Path(named).name in GITHUB_ASSETS_NAMES


def _arguments_of(path: Path) -> Mapping[str, Any]:
    """A checkpoint's training arguments, without running code that it may carry; none where it cannot be read."""
    import_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
        return dict(checkpoint.get("train_args") or {})
    except Exception:  # a foreign file fails in ways beyond listing; what it has seen is then not known
        return {}
