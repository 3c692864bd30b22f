"""Whether two scores are of the same data: a checksum of what a score on the validation images depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.data.data_yaml import read_yaml, resolve_split
from common.errors import UserError


def data_fingerprint(data: Mapping[str, Any]) -> str:
    """Tell data sets apart by what a score depends on: the manifest, where there is one, and the validation images.

    Args:
        data: A data YAML with absolute paths, as Ultralytics' `check_det_dataset` gives it.

    Returns:
        64 hexadecimal digits. Moving or renaming the data set's folder does not change them.
    """
    return _fingerprint(map(Path, data["val"] if isinstance(data["val"], list) else [data["val"]]))


def yaml_fingerprint(yaml: Path) -> str | None:
    """The same of a data YAML as it lies on the disk.

    Args:
        yaml: The data YAML.

    Returns:
        What `data_fingerprint` gives for it; None where it names no validation images, or they are not there.
    """
    try:
        entries = resolve_split(read_yaml(yaml), "val", yaml)
        return _fingerprint(entries) if entries else None
    except (OSError, UserError):
        return None


def _fingerprint(entries: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        manifest = entry.parent / "manifest.csv"
        digest.update(manifest.read_bytes() if manifest.is_file() else b"no manifest")
        if entry.is_dir():
            names = sorted(str(path.relative_to(entry)) for path in entry.rglob("*") if path.is_file())
            digest.update("\n".join(names).encode("utf-8", "surrogateescape"))  # names are bytes
        else:
            digest.update(entry.read_bytes())
    return digest.hexdigest()
