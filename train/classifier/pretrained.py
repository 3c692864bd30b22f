"""Weights that a gate of torchvision, timm or TorchXRayVision starts from: fetched once, or any file; fitted to it.

A file may hold a state dict (`.pt`, `.pth`, `.safetensors`), also under `state_dict` or `model`, or a gate's
checkpoint. Nothing in it is run. Tensors belong to each other by name, or, where no name is the same, by their order,
in which all kinds and shapes must agree. The first convolution's weights are summed over the colours, since the network
sees one channel; the last layer's are left out, since its classes are other ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.cli import print_warning
from common.errors import UserError, WorkError
from common.files import PART
from common.paths import PROJECT, shown
from evaluate.classifier.architectures import TIMM, TORCHVISION, Architecture, import_timm, last_layer
from evaluate.classifier.networks import ImageNetwork
from train.classifier.whole_models import is_whole_model, read_whole_model

FOLDER = PROJECT / ".cache" / "weights"

_XRV_RELEASE = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
_DENSENET = "-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
_XRV_FILES = {
    "densenet121-res224-all": f"nih-pc-chex-mimic_ch-google-openi-kaggle{_DENSENET}",
    "densenet121-res224-nih": f"nih{_DENSENET}",
    "densenet121-res224-pc": f"pc{_DENSENET}",
    "densenet121-res224-chex": f"chex{_DENSENET}",
    "densenet121-res224-rsna": f"kaggle{_DENSENET}",
    "densenet121-res224-mimic_nb": f"mimic_nb{_DENSENET}",
    "densenet121-res224-mimic_ch": f"mimic_ch{_DENSENET}",
    "resnet50-res512-all": "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt",
}
"""Files of TorchXRayVision's release, by the names that its library gives them."""
SEEN = (
    "TorchXRayVision trained these weights on images of the NIH, among which are the challenge's, those of its test "
    "set, too, with labels of their own: scores on them flatter"
)
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


def fetch(architecture: Architecture) -> Path:
    """The file with a network's published weights, downloaded where it is not here yet.

    Raises:
        UserError: There are none of this name.
        WorkError: The network does not give it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    if architecture.library == TIMM:
        return _fetch_timm(architecture)
    if architecture.library == TORCHVISION:
        from torchvision.models import get_model_weights

        url = get_model_weights(architecture.name).DEFAULT.url
    elif architecture.name in _XRV_FILES:
        url = f"{_XRV_RELEASE}{_XRV_FILES[architecture.name]}"
    else:
        raise UserError(f"model: {architecture}: no such weights; expected xrv: and one of {', '.join(_XRV_FILES)}.")
    file = FOLDER / url.rsplit("/", 1)[-1]
    if not file.is_file():
        part = file.with_name(f"{file.name}{PART}")
        digest = re.search(r"-([0-9a-f]{8,})\.pth$", file.name)
        try:
            torch.hub.download_url_to_file(url, str(part), hash_prefix=digest[1] if digest else None)
        except Exception as error:
            part.unlink(missing_ok=True)
            raise _not_fetched(
                architecture, error, f"Fetch {url} elsewhere, and put it into {shown(FOLDER)}/"
            ) from error
        part.replace(file)
    return file


def _fetch_timm(architecture: Architecture) -> Path:
    """Timm's weights, which it gets from the Hugging Face Hub, as a state dict in a file of ours."""
    timm = import_timm()
    settings = timm.models.get_pretrained_cfg(architecture.name)
    file = FOLDER / f"timm-{architecture.name}.pt"
    if file.is_file():
        return file
    if settings is None or not (settings.hf_hub_id or settings.url):
        raise UserError(f"model: {architecture}: timm has no weights of it; say pretrained=False, or name a file.")
    try:
        state = timm.create_model(architecture.name, pretrained=True).state_dict()
    except Exception as error:
        where = f"https://huggingface.co/{settings.hf_hub_id}" if settings.hf_hub_id else settings.url
        raise _not_fetched(architecture, error, f"Fetch it elsewhere from {where}, and say pretrained=FILE") from error
    part = file.with_name(f"{file.name}{PART}")
    torch.save(state, part)
    part.replace(file)
    return file


def _not_fetched(architecture: Architecture, error: Exception, remedy: str) -> WorkError:
    reason = " ".join(str(error).split())[:120]
    return WorkError(f"model: {architecture}: its weights are not here and cannot be downloaded ({reason}). {remedy}.")


def load_start(network: ImageNetwork, file: Path) -> None:
    """Put weights of a file into a network, all but those of its last layer where the classes are other ones.

    What is to be known of the images that they have seen is noted in the network.

    Raises:
        UserError: The file cannot be read, holds no tensors, or those of another architecture.
    """
    state, seen = read_state(file)
    take_over(network, state, f"pretrained: {shown(file)}")
    network.yaml["pretrained_on"] = seen


def take_over(network: ImageNetwork, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Put tensors into a network, all but those of its last layer where the classes are other ones.

    Args:
        network: The network.
        state: Tensors by name.
        where: Where they come from, for messages.

    Raises:
        UserError: They are of another architecture.
    """
    network.network.load_state_dict(_fit(state, network, where), strict=False)


def read_state(file: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors in a file by name, and what is to be known of the images that they have seen.

    Raises:
        UserError: The file cannot be read, or holds no tensors.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = read_whole_model(file) if is_whole_model(file) else torch.load(file, "cpu", weights_only=True)
    except ModuleNotFoundError as error:
        raise UserError(f"pretrained: {shown(file)}: needs {error.name}; `pip install {error.name}`.") from error
    except Exception as error:  # a foreign file fails in ways beyond listing
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"pretrained: {shown(file)}: cannot be loaded as weights ({type(error).__name__}: {reason}); expected a "
            "state dict (.pt, .pth, .safetensors) or a gate's checkpoint."
        ) from error
    seen = SEEN if _is_of_the_nih(file) else ""
    if isinstance(content, Mapping):
        content = next(
            (content[key] for key in ("ema", "model", "state_dict") if content.get(key) is not None), content
        )
    if isinstance(content, ImageNetwork):
        content, seen = content.network, content.yaml["pretrained_on"]
    if isinstance(content, nn.Module):
        content = content.state_dict()
    tensors = {
        name.removeprefix("module."): value.float()
        for name, value in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(value, torch.Tensor) and not name.endswith("num_batches_tracked")
    }
    if not tensors:
        raise UserError(
            f"pretrained: {shown(file)}: holds no tensors by name; expected a state dict (.pt, .pth, .safetensors), "
            "or a gate's checkpoint."
        )
    return tensors, seen


def _fit(state: Mapping[str, torch.Tensor], network: ImageNetwork, where: str) -> dict[str, torch.Tensor]:
    """The tensors by the names, and of the shapes, that the network has."""
    wanted = {
        name: value for name, value in network.network.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    state = {_OLD_DENSENET.sub(r"\1\2.", name): value for name, value in state.items()}
    last = {name for name in wanted if name.startswith(f"{last_layer(network.network)}.")}
    if not wanted.keys() & state.keys():
        state = _by_order(state, wanted, last)
    fitted = {}
    for name, value in wanted.items():
        given = state.get(name)
        if given is not None and given.shape != value.shape and _is_colour(given, value):
            given = given.sum(1, keepdim=True)
        if given is not None and given.shape == value.shape:
            fitted[name] = given
        elif name not in last:
            found = "nothing" if given is None else f"a tensor of {tuple(given.shape)}"
            raise UserError(
                f"{where}: found {found} for {name}; expected {tuple(value.shape)}, for "
                f"{network.yaml['architecture']} at imgsz={network.yaml['imgsz']}. Are they of another architecture, "
                "or for another size?"
            )
    return fitted


def _by_order(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], last: set[str]
) -> dict[str, torch.Tensor]:
    """Tensors that have other names, by their order; none where kinds or shapes do not agree in it."""
    agree = len(state) == len(wanted) and all(
        one.rpartition(".")[2] == other.rpartition(".")[2]
        and (state[one].shape == wanted[other].shape or _is_colour(state[one], wanted[other]) or other in last)
        for one, other in zip(state, wanted, strict=True)
    )
    if not agree:
        return {}
    print_warning(
        f"pretrained: its tensors have other names, such as {next(iter(state))} for {next(iter(wanted))}; they are "
        "taken in their order, in which all kinds and shapes agree"
    )
    return dict(zip(wanted, state.values(), strict=True))


def _is_colour(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a tensor is a convolution's of three input channels where one channel is wanted."""
    return given.ndim == wanted.ndim == 4 and (given.shape[1], wanted.shape[1]) == (3, 1)


def _is_of_the_nih(file: Path) -> bool:
    """Whether images of the NIH are among those that the file's name lists; the challenge's are such, too."""
    return file.name in _XRV_FILES.values() and bool({"nih", "kaggle", "rsna"} & set(file.name.split("-")))
