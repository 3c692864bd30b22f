"""What a training starts from: the data YAML, the scored class, the model's file, the checkpoint; found or refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import confirm, console, is_interactive, print_warning
from common.data import names as names_of
from common.errors import UserError, WorkError
from common.files import make_folder
from common.paths import CODE, PROJECT, shown
from common.quiet_ultralytics import import_ultralytics
from common.trainings import DETECTOR, find_newest

MODELS = CODE / "train" / "models"


def find_data(data: Path) -> Path:
    """The data YAML, also named by the data set's folder or relative to the project.

    Raises:
        UserError: There is none.
    """
    for place in (data, PROJECT / data):
        if (place / "data.yaml").is_file():
            return (place / "data.yaml").absolute()
        if place.is_file():
            return place.absolute()
    raise UserError(
        f"data: {data}: no such data YAML or data set folder. Check the path; python convert/rsna_to_yolo.py makes a "
        "data set, and data=rsna.yaml (the default) names it."
    )


def check_data(data: str) -> dict[str, Any]:
    """The data YAML's content as Ultralytics sees it, the data made by its `download:` if they are not there.

    That of this project's rsna.yaml converts the raw data. Another's may be any code, which runs after it was shown and
    agreed to at a terminal, and else never.

    Raises:
        UserError: The YAML is wrong, or the data are not there and cannot be made, or are not to be.
    """
    from train.ultralytics_setup import set_up

    set_up()  # gives it the font that it would download here
    from ultralytics.data.utils import check_det_dataset

    trusted = Path(data).resolve() == (CODE / "rsna.yaml").resolve()
    try:
        try:
            return check_det_dataset(data, autodownload=trusted)
        except FileNotFoundError:
            if trusted or not (script := _download_of(Path(data))):
                raise
            _agree(script, Path(data))
            return check_det_dataset(data)
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split("Note dataset")[0].split())[:300]
        raise UserError(f"data: {shown(Path(data))}: {reason}. Convert the data first, or correct the YAML.") from error


def _download_of(data: Path) -> str:
    """What a data YAML would run, or load from where, to make its data; empty where it says nothing of it."""
    import yaml

    content = yaml.safe_load(data.read_text(encoding="utf-8"))
    return str(content.get("download") or "").strip() if isinstance(content, dict) else ""


def _agree(script: str, data: Path) -> None:
    """Show what a foreign data YAML would run, and ask.

    Raises:
        UserError: Nobody is there to answer, or the answer is no.
    """
    lines = script.splitlines()
    if is_interactive():
        print_warning(f"data: {shown(data)}: its pictures are not here, and to get them it would run:")
        console().print("\n".join(f"    {line}" for line in lines))
        if confirm("Run this on your machine?"):
            return
    what = f"{lines[0][:100]}{' ...' if len(lines) > 1 or len(lines[0]) > 100 else ''}"
    raise UserError(
        f"data: {shown(data)}: its pictures are not here, and its `download:` ({what}) was not run, since it can do "
        "anything on this machine. Read it, and get the data as it does; at a terminal this command shows it and asks."
    )


def positive_class(names: Mapping[int, str]) -> int:
    """Index of the class that is scored: the only one, or the one named `Lung Opacity`.

    Args:
        names: Class names by index, as the data YAML has them.

    Raises:
        UserError: There are several and none has that name.
    """
    return names_of.positive_class(names, "names", "Rename it in the data YAML, or train with single_cls=True.")


def find_model(model: Any) -> tuple[Path, bool]:
    """The model's file, and whether it has yet to be downloaded; a name without suffix may be that of weights.

    Raises:
        UserError: No model is named, or none of this name is here or known to Ultralytics.
    """
    if model is None:
        raise UserError(
            f"model: missing; name weights (model=yolov8m.pt) or a model's YAML (model={shown(MODELS)}/basic-cnn.yaml)"
        )
    path = Path(str(model)).expanduser()
    if (found := _file(path)) is not None:
        return found, False
    if not path.suffix and path.name:  # Ultralytics completes yolov8m, too
        weights = path.with_suffix(".pt")
        if (found := _file(weights)) is not None:
            return found, False
        if weights.name == str(weights) and weights.name in _published():
            path = weights
    if path.suffix in {".yaml", ".yml"}:
        import_ultralytics(verbose=True)
        from ultralytics.utils.checks import check_yaml

        try:  # yolov8n.yaml is derived from Ultralytics' yolov8.yaml
            from ultralytics.nn.tasks import yaml_model_load

            yaml_model_load(path)
            return path, False
        except Exception:
            provided = check_yaml(str(path), hard=False)
        if provided:
            return Path(provided), False
    if path.suffix == ".pt" and path.name == str(path):
        return PROJECT / ".cache" / "weights" / path.name, True
    raise UserError(
        f"model: {path}: no such file. Name weights (.pt), a model's YAML, or one of Ultralytics' such as yolov8m.pt"
    )


def _file(path: Path) -> Path | None:
    """The model's file in one of the places where models lie; None where there is none."""
    places = (path, PROJECT / path, CODE / path, MODELS / path.name, PROJECT / ".cache" / "weights" / path.name)
    return next((place.absolute() for place in places if place.is_file()), None)


def _published() -> frozenset[str]:
    """The names of the files that Ultralytics publishes."""
    import_ultralytics(verbose=True)
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    return frozenset(GITHUB_ASSETS_NAMES)


def download_weights(target: Path) -> None:
    """Fetch one of Ultralytics' published weights.

    Raises:
        UserError: Ultralytics publishes none of this name.
        WorkError: The network does not give it.
    """
    if target.name not in _published():
        raise UserError(
            f"model: {target.name}: no such file, and none that Ultralytics publishes. Check the name and the path."
        )
    from ultralytics.utils.downloads import attempt_download_asset

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        attempt_download_asset(target)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WorkError(
            f"model: {target.name} is not here and cannot be downloaded ({reason}). Fetch it elsewhere from "
            f"https://github.com/ultralytics/assets/releases and put it into {shown(target.parent)}/"
        ) from error
    if not target.is_file():
        raise WorkError(f"model: {target.name} is not here and its download failed. Check the network, and try again.")


@dataclass(frozen=True)
class Resumable:
    """Which checkpoints a command goes on with, and what it says where there is none.

    Attributes:
        kind: What was trained, where no training is named; see `common.trainings`.
        files: How the name of a checkpoint begins that may be named itself.
        no_file: Said of a file that is not there.
        no_run: Said of a folder that is not a training's.
        remedy: Said where no training is found.
    """

    kind: str = DETECTOR
    files: tuple[str, ...] = ("last", "epoch")
    no_file: str = "no such file; expected a training's weights/last.pt."
    no_run: str = "expected a training's folder with weights/last.pt, or that file."
    remedy: str = (
        "a training can be resumed once its first epoch is done. Start it anew with the same command without resume, "
        "or name the checkpoint: resume=<run>/weights/last.pt"
    )


DETECTORS = Resumable()


def find_last(resume: Any, project: Path, name: Any, model: Any = None, kind: Resumable = DETECTORS) -> Path:
    """The last.pt that is meant; see `_find_last`. It lies where a training can go on writing.

    Raises:
        UserError: There is none, or its folder cannot be written.
    """
    last = _find_last(resume, project, name, model, kind)
    make_folder(last.parent, "resume:", "A training goes on in its own folder: copy that to where it can be written.")
    return last


def _find_last(resume: Any, project: Path, name: Any, model: Any, kind: Resumable) -> Path:
    """The last.pt that is meant: named by `resume`, by `model`, by the run's `name`, or else the newest of its kind.

    Args:
        resume: A checkpoint, a training's folder, or True.
        project: The folder of the runs.
        name: A run's name; None takes the newest run, which is no member of a recipe and no trial of a study: those go
            on by their own commands.
        model: The argument `model`, as a checkpoint may be named there too.
        kind: Which checkpoints they may be.

    Raises:
        UserError: There is none.
    """
    resume, model = (os.fspath(one) if isinstance(one, os.PathLike) else one for one in (resume, model))
    for named in (resume, model):
        if isinstance(named, str) and named.endswith(".pt") and Path(named).name.startswith(kind.files):
            file = Path(named).expanduser()
            if file.is_file():
                return file.absolute()
            raise UserError(f"resume: {named}: {kind.no_file}")
    if isinstance(resume, str):
        last = Path(resume).expanduser() / "weights" / "last.pt"
        if last.is_file():
            return last.absolute()
        raise UserError(f"resume: {resume}: {kind.no_run}")
    if name:
        pattern = f"{name}/weights/last.pt"
        named_so = sorted(project.glob(pattern), key=lambda file: file.stat().st_mtime_ns)
        if not named_so:
            raise UserError(f"resume: no {shown(project)}/{pattern}; {kind.remedy}")
        return named_so[-1].absolute()
    found = find_newest([project], "last.pt", kind.kind)
    if found.file is None:
        others = found.other_words()
        there = f", only {others}" if others else ""
        raise UserError(f"resume: no {kind.kind}'s {shown(project)}/**/weights/last.pt{there}; {kind.remedy}")
    return found.file.absolute()
