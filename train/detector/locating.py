"""What a training starts from: the data YAML, the model's file, the checkpoint to go on with; found or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.errors import UserError, WorkError
from common.paths import PROJECT, shown
from common.quiet_ultralytics import import_ultralytics

MODELS = PROJECT / "train" / "models"


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
    """The data YAML's content as Ultralytics sees it, the data converted by its `download:` if they are not there.

    Raises:
        UserError: The YAML is wrong, or the data are not there and cannot be made.
    """
    from train.ultralytics_setup import set_up

    set_up()  # gives it the font that it would download here
    from ultralytics.data.utils import check_det_dataset

    try:
        return check_det_dataset(data)
    except Exception as error:
        reason = " ".join(str(error).split("Note dataset")[0].split())[:300]
        raise UserError(f"data: {shown(Path(data))}: {reason}. Convert the data first, or correct the YAML.") from error


def find_model(model: Any) -> tuple[Path, bool]:
    """The model's file, and whether it has yet to be downloaded.

    Raises:
        UserError: No model is named, or none of this name is here or known to Ultralytics.
    """
    if model is None:
        raise UserError(
            f"model: missing; name weights (model=yolov8m.pt) or a model's YAML (model={shown(MODELS)}/basic-cnn.yaml)"
        )
    path = Path(str(model)).expanduser()
    for place in (path, PROJECT / path, MODELS / path.name, PROJECT / ".cache" / "weights" / path.name):
        if place.is_file():
            return place.absolute(), False
    if path.suffix in {".yaml", ".yml"} or not path.suffix:
        import_ultralytics(verbose=True)
        from ultralytics.utils.checks import check_yaml

        try:  # yolov8n.yaml is derived from Ultralytics' yolov8.yaml
            from ultralytics.nn.tasks import yaml_model_load

            yaml_model_load(path)
            return path, False
        except Exception:
            found = check_yaml(str(path), hard=False)
        if found:
            return Path(found), False
    if path.suffix == ".pt" and path.name == str(path):
        return PROJECT / ".cache" / "weights" / path.name, True
    raise UserError(
        f"model: {path}: no such file. Name weights (.pt), a model's YAML, or one of Ultralytics' such as yolov8m.pt"
    )


def download_weights(target: Path) -> None:
    """Fetch one of Ultralytics' published weights.

    Raises:
        UserError: Ultralytics publishes none of this name.
        WorkError: The network does not give it.
    """
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if target.name not in GITHUB_ASSETS_NAMES:
        raise UserError(
            f"model: {target.name}: no such file, and none that Ultralytics publishes. Check the name and the path."
        )
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


def find_last(resume: Any, model: Any, project: Path, name: Any) -> Path:
    """The last.pt that is meant: named by `resume`, by `model`, by the run's `name`, or else the newest.

    Raises:
        UserError: There is none.
    """
    for named in (resume, model):
        if isinstance(named, str) and named.endswith(".pt") and Path(named).name.startswith(("last", "epoch")):
            if Path(named).is_file():
                return Path(named).absolute()
            raise UserError(f"resume: {named}: no such file; expected a training's weights/last.pt.")
    if isinstance(resume, str):
        last = Path(resume) / "weights" / "last.pt"
        if last.is_file():
            return last.absolute()
        raise UserError(f"resume: {resume}: expected a training's folder with weights/last.pt, or that file.")
    pattern = f"{name}/weights/last.pt" if name else "**/weights/last.pt"
    found = sorted(project.glob(pattern), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise UserError(
            f"resume: no {shown(project)}/{pattern}; a training can be resumed once its first epoch is done. Start it "
            "anew with the same command without resume, or name the checkpoint: resume=<run>/weights/last.pt"
        )
    return found[-1].absolute()
