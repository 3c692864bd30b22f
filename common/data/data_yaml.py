"""A YOLO data YAML resolved to picture files, as Ultralytics does it, without importing Ultralytics.

Follows `check_det_dataset` and `BaseDataset.get_img_files` of the pinned version, so that what is scored is what
`yolo val` would read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data.names import POSITIVE_CLASS
from common.errors import UserError
from common.paths import shown
from common.quiet_ultralytics import read_folder, settings_files
from common.walking import files_below, path_of

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What OpenCV reads everywhere; Ultralytics accepts a few more."""

_NO_SPLITS = {
    "path",
    "names",
    "nc",
    "channels",
    "download",
    "yaml_file",
    "kpt_shape",
    "flip_idx",
    "kpt_names",
    "colors",
}
"""Other keys of a data YAML."""


def class_names(names: Any, count: Any, where: str) -> dict[int, str]:
    """Class names by index, from a YAML's or checkpoint's `names` (list or mapping) or its `nc`.

    Raises:
        UserError: There is neither.
    """
    if isinstance(names, Mapping):
        return {int(index): str(name) for index, name in names.items()}
    if isinstance(names, list | tuple):
        return {index: str(name) for index, name in enumerate(names)}
    if isinstance(count, int):
        return {index: f"class_{index}" for index in range(count)}
    raise UserError(f"{where}: has no `names`; expected the class names, such as `names: {{0: {POSITIVE_CLASS}}}`.")


def find_yaml(data: Path) -> Path:
    """The data YAML itself, or the one in a data set's folder.

    Raises:
        UserError: There is none, or more than one without the name `data.yaml`.
    """
    if data.is_dir():
        found = [data / "data.yaml"] if (data / "data.yaml").is_file() else sorted(data.glob("*.y*ml"))
        if len(found) != 1:
            raise UserError(
                f"{data}: expected one data YAML in this folder, found {len(found)}. "
                "Name the file itself, or convert the data first: python convert/rsna_to_yolo.py"
            )
        return found[0]
    if not data.is_file():
        raise UserError(f"{data}: no such data YAML or data set folder. Check the path, or name another with --data.")
    return data


def read_yaml(path: Path) -> dict[str, Any]:
    """The YAML's content.

    Raises:
        UserError: It is no YAML, or names no split.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a readable YAML ({reason}); expected a YOLO data YAML.") from error
    if not isinstance(content, dict) or not content.keys() & {"train", "val", "test", "validation"}:
        raise UserError(f"{path}: not a YOLO data YAML; expected the keys `train`, `val` and `names`.")
    return content


def resolve_split(content: Mapping[str, Any], split: str, yaml: Path) -> list[Path] | None:
    """The folders, lists or files that a data YAML names for a split; None where it names none.

    Raises:
        UserError: The YAML's `path` leads nowhere.
    """
    if split in _NO_SPLITS:
        return None
    value = content.get(split) or (content.get("validation") if split == "val" else None)
    if not value:
        return None
    base = _base(content, yaml)
    return [_resolve(base, str(text)) for text in (value if isinstance(value, list) else [value])]


def _base(content: Mapping[str, Any], yaml: Path) -> Path:
    """The folder that the splits are relative to."""
    text = content.get("path")
    if not text:
        return yaml.parent
    base = Path(str(text))
    if base.is_absolute() or base.exists():
        return base
    candidates = [folder / base for folder in (read_folder("datasets_dir", settings_files()), yaml.parent) if folder]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tried = ", ".join(str(candidate) for candidate in (base.absolute(), *candidates))
    raise UserError(
        f"{shown(yaml)}: `path: {text}` leads nowhere (tried {tried}). Remove the line, so that the splits are "
        "relative to the YAML, or write an absolute path."
    )


def _resolve(base: Path, text: str) -> Path:
    path = (base / text).resolve()
    if not path.exists() and text.startswith("../"):  # Ultralytics forgives this old spelling
        path = (base / text[3:]).resolve()
    return path


def list_pictures(entry: Path, yaml: Path, split: str) -> list[Path]:
    """The pictures of a folder (with its subfolders) or of a list file, in their order, repetitions included.

    A list's paths that start with `./` are relative to the list, others to the current folder.

    Raises:
        UserError: The entry does not exist, or the list names something else than pictures.
    """
    if entry.is_dir():
        files = (Path(path_of(entry, name)) for name in files_below(entry))
        return sorted(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    if not entry.is_file():
        raise UserError(
            f"{shown(yaml)}: split {split!r} names {shown(entry)}, which does not exist. "
            "Convert the data first (python convert/rsna_to_yolo.py), or correct the YAML."
        )
    lines = entry.read_text(encoding="utf-8-sig").split("\n")
    paths = [
        entry.parent / line[2:] if line.startswith("./") else Path(line)
        for line in (line.strip() for line in lines)
        if line
    ]
    wrong = next((path for path in paths if path.suffix.lower() not in PICTURE_SUFFIXES), None)
    if wrong is not None:
        raise UserError(
            f"{shown(entry)}: {wrong.name[:80]!r} is no picture; expected one path per line, ending in "
            f"{', '.join(PICTURE_SUFFIXES)}."
        )
    return paths
