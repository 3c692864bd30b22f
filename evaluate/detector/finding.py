"""Which weights are meant: named, the best, or else the newest detector's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.cli import print_warning
from common.errors import UserError
from common.paths import PROJECT, shown
from common.quiet_ultralytics import users_runs
from common.trainings import BEST_RUNS_FILE, find_newest, find_original

DEFAULT_WEIGHTS = Path("runs/best.pt")


def find_weights(asked: Path = DEFAULT_WEIGHTS) -> tuple[Path, str]:
    """Find the weights that are meant.

    Args:
        asked: A `.pt` file; a run's folder, whose `weights/best.pt` is taken; or `runs/best.pt`, for which the newest
            `runs/**/weights/best.pt` of a detector is taken where it does not exist, in the current folder or else the
            project; no gate, and no member of a recipe or trial of a study. Of a copy whose training is known by the
            `best.json` beside it, such as `runs/best.pt`, the training's own file is taken. Where there is nothing in
            either place, the newest of the folder that this user's `yolo train` saves to; a newer one that is not
            taken is warned of.

    Returns:
        The file, and what to tell the user about the choice (empty if it is the file asked for).

    Raises:
        UserError: There are none.
    """
    is_default = (asked.parent.name, asked.name) == DEFAULT_WEIGHTS.parts[-2:]
    if asked.is_file():
        return _original(asked, is_default)
    if asked.is_dir():
        for candidate in (asked / "weights" / "best.pt", asked / "best.pt"):
            if candidate.is_file():
                return candidate, f"using {shown(candidate)}"
        raise UserError(f"{asked}: a folder without weights/best.pt. Name a .pt file or a training's folder.")
    if is_default:
        others: list[str] = []
        folders = [asked.parent] if asked.is_absolute() else [asked.parent, PROJECT / asked.parent]
        elsewhere = users_runs()
        for folder in [*folders, elsewhere] if elsewhere else folders:
            if folder is not elsewhere and (folder / asked.name).is_file():
                path, note = _original(folder / asked.name, is_default)
                return path, note or f"using {shown(path)}"
            found = find_newest([folder])
            if found.file is not None:
                of = f", the newest of {found.count} trainings" if found.count > 1 else ""
                if folder is not elsewhere:
                    _warn_of_newer(found.file, found.file.stat().st_mtime_ns, [elsewhere])
                return found.file, f"no {asked}; using {shown(found.file)}{of}"
            others += [words for words in [found.other_words()] if words]
        there = f"; found only {' and '.join(dict.fromkeys(others))}" if others else ""
        raise UserError(
            f"{asked}: no such file, and no detector's {asked.parent}/**/weights/best.pt either{there}. "
            "Train first (yolo train data=rsna.yaml model=yolov8m.pt), or name a .pt file."
        )
    raise UserError(f"{asked}: no such weights file. Check the path; a training writes <run>/weights/best.pt.")


def _original(weights: Path, is_default: bool) -> tuple[Path, str]:
    """The weights in their training's folder, and what to tell the user; the file itself if it is no copy of such."""
    original = find_original(weights)
    if is_default:
        record = weights.with_name(BEST_RUNS_FILE)  # written whenever a training was compared, whatever came of it
        compared = max(file.stat().st_mtime_ns for file in (weights, record) if file.is_file())
        _warn_of_newer(original or weights, compared, [weights.parent, users_runs()])
    if original is None:
        return weights, ""
    return original, f"{shown(weights)} is a copy of {shown(original)}: using that, and its training's folder"


def _warn_of_newer(taken: Path, since: int, folders: Sequence[Path | None]) -> None:
    """Say so where a detector has been trained later than some time (in nanoseconds), and is not what is taken."""
    newest = find_newest(folder for folder in folders if folder).file
    if newest is not None and newest.resolve() != taken.resolve() and newest.stat().st_mtime_ns > since:
        print_warning(
            f"{shown(newest)} was trained later than {shown(taken)}, which is used here: name it if it is meant"
        )
