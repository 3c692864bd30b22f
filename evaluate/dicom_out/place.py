"""Where DICOM objects may be written: looked at before long work, without any library."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.paths import shown

OPTION = "--dicom-out"


def check_sources(folder: Path, sources: Sequence[Path]) -> None:
    """See that DICOM objects can be made, and that the folder for them hides no original.

    Raises:
        UserError: The folder lies in a source, where the next run would take its objects for images, or beside one
            that is a file, which an object might replace.
        ModuleNotFoundError: The extra `dicom-out` is not installed.
    """
    importlib.import_module("highdicom")
    place = folder.resolve()
    for source in sources:
        is_among = source.is_dir() and source.resolve() in (place, *place.parents)
        if is_among or (source.is_file() and source.suffix.lower() != ".zip" and source.resolve().parent == place):
            raise UserError(
                f"{OPTION} {shown(folder)}: lies {'in' if is_among else 'beside'} {shown(source)}: originals and "
                "what is written must lie apart, or the next prediction takes both for images. Name another folder."
            )
