"""What weights began with: the trainings before theirs, whose images they have seen as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
_NIH = "NIH ChestX-ray14"
_NIH_IMAGE = re.compile(r"\d{8}_\d{3}")
"""Patient and follow-up: the names of NIH's images."""
_TRAINED_ON_NIH = re.compile(
    r"chexnet|chest-?x-?ray-?(8|14)|cxr-?(8|14)|xrv|torchxrayvision|(^|[-_.])nih([-_.]|$)", re.I
)
"""How the names of weights say so; TorchXRayVision's have all seen it, but for a few of a single other data set."""


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
    or where a file or its data are not there any more; that is told. So it is if a file's name says that it has seen
    the images of NIH.
    """
    lineage, files = _follow(weights)
    said = _may_have_seen("by its name it was trained on images")
    by_name = [f"it began with {shown(Path(file))}: {said}" for file in files if _says_nih(file)]
    return replace(lineage, not_seen=(*lineage.not_seen, *by_name))


def seen_at_nih(trained: DataSet, scored: DataSet) -> str:
    """What of images of NIH cannot be recognised in others, as a clause; empty where there is nothing to say.

    The challenge's images, those that it was decided on among them, are some of NIH's, with other names and encoded
    anew: only the patients tell, and only where both data sets have NIH's.

    Args:
        trained: What was trained on.
        scored: What is scored.
    """
    if not _is_of_nih(trained) or _is_of_nih(scored):
        return ""
    return f"{shown(trained.yaml)}, which was trained on, {_may_have_seen('is')}"


def _is_of_nih(data: DataSet) -> bool:
    """Whether a data set was converted from NIH's, or has training images of such names."""
    try:
        said = any("nih" in source.lower() for source in data.sources("train"))
        return said or any(_NIH_IMAGE.fullmatch(image_id) for image_id in data.pictures("train"))
    except UserError:  # said elsewhere
        return False


def _may_have_seen(verb: str) -> str:
    return (
        f"{verb} of {_NIH}, from which all images of the challenge are taken: that those scored here, or its test "
        "images, were seen cannot be excluded"
    )


def _says_nih(file: str) -> bool:
    return _TRAINED_ON_NIH.search(Path(file).stem) is not None


def _follow(weights: Weights) -> tuple[Lineage, list[str]]:
    """The trainings before, and the files that they began with, as named there."""
    files: list[str] = []
    found: list[DataSet] = []
    path, arguments, visited = weights.path, weights.train_args, {weights.sha256}
    for _ in range(_MOST_STEPS):
        named = _began_with(arguments)
        if named is None:
            break
        files.append(named)
        before = _locate(named, path)
        if before is None:
            if _is_published(named):
                break
            return Lineage(tuple(found), (f"{shown(path)} began with {named}, which is not there any more",)), files
        if before.name == "last.pt" and before.resolve().parent == path.resolve().parent:
            return Lineage(tuple(found), (f"{shown(path)} was resumed and does not say what it began with",)), files
        digest = sha256(before)
        if digest in visited:
            lost = f"{shown(path)} began with what {shown(before)} was then, and has been replaced since"
            return Lineage(tuple(found), (lost,)), files
        visited.add(digest)
        path, arguments = before, _arguments_of(before)
        seen = Path(str(arguments.get("data") or "")).name.lower()
        if seen.startswith(_PHOTOGRAPHS) or (not seen and _is_published(path.name)):
            break
        try:
            found.append(DataSet(training_data(path, arguments), ALL_CLASSES))
        except UserError as error:
            why = str(error).partition(". ")[0]  # what follows is the remedy for weights that are to be scored
            lost = f"it began with {shown(path)}, of which is not known what it has seen ({why})"
            return Lineage(tuple(found), (lost,)), files
    return Lineage(tuple(found)), files


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
