"""Image classifiers of libraries by their names: which there are, and one of them built for one grey channel.

Ultralytics is not imported here, since it looks for the network once, when it is: first it has to be known whether
weights of its own are to be downloaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from torch import nn

TORCHVISION, TIMM, XRV = "torchvision", "timm", "xrv"
LIBRARIES = (TORCHVISION, TIMM, XRV)

_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
"""No path and no address among them: timm would read either."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TWO_OUTPUTS = {"googlenet", "inception_v3"}
_XRV_ARCHITECTURES = {"densenet121": "densenet121", "resnet50": "resnet50"}
"""TorchXRayVision's networks begin with these names, and are torchvision's but for the one channel."""
_XRV_MEAN, _XRV_STD = 0.5, 1 / 2048
"""Of pixels from 0 to 1: TorchXRayVision's are from -1024 to 1024."""


@dataclass(frozen=True)
class Architecture:
    """A network of a library.

    Attributes:
        library: One of `LIBRARIES`.
        name: What the library calls it; with timm also which pretrained weights are meant, after a dot.
    """

    library: str
    name: str

    def __str__(self) -> str:
        """As it is typed, `timm:convnext_tiny`."""
        return f"{self.library}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Read what `str` gives.

        Raises:
            UserError: It is no such text, or the library has no such network.
        """
        library, _, name = text.partition(":")
        if library not in LIBRARIES or not _NAME.fullmatch(name):
            raise UserError(
                f"model: found {text[:80]!r}; expected a network's name after its library, such as timm:convnext_tiny, "
                "torchvision:resnet50 or xrv:densenet121-res224-all."
            )
        found = cls(library, name)
        found._check()
        return found

    def _check(self) -> None:
        if self.library == TIMM:
            timm = import_timm()
            known = timm.is_model(self.name)
        elif self.library == TORCHVISION:
            known = self.name in torchvision_names()
        else:
            known = self.name.partition("-")[0] in _XRV_ARCHITECTURES
        if not known:
            raise UserError(f"model: {self}: {self.library} has no such image classifier here. Check the name.")

    @property
    def normalisation(self) -> tuple[float, float]:
        """Mean and standard deviation of the grey pixels, from 0 to 1, that the pretrained weights are made for."""
        if self.library == XRV:
            return _XRV_MEAN, _XRV_STD
        mean, std = _IMAGENET_MEAN, _IMAGENET_STD
        if self.library == TIMM:
            settings = import_timm().models.get_pretrained_cfg(self.name)
            if settings is not None:
                mean, std = settings.mean, settings.std
        return sum(mean) / len(mean), sum(std) / len(std)

    def build(self, classes: int, imgsz: int) -> nn.Module:
        """The library's network with random weights, for float32 (N, 1, imgsz, imgsz), giving (N, classes) logits.

        Raises:
            UserError: There is none of this size.
        """
        from torch import nn

        try:
            network = self._build(classes, imgsz)
        except Exception as error:  # what a library raises for a size that it has no network for, or of a changed name
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"model: {self}: cannot be built for imgsz={imgsz} ({type(error).__name__}: {reason}). Take the "
                "size that it was published for, or another network."
            ) from error
        last = network.get_submodule(last_layer(network))
        if isinstance(last, nn.Linear):  # timm's begin so large that a few classes are told apart with certainty
            nn.init.normal_(last.weight, std=0.01)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
        return network

    def _build(self, classes: int, imgsz: int) -> nn.Module:
        if self.library == TIMM:
            timm = import_timm()
            settings = timm.models.get_pretrained_cfg(self.name)
            sized = {"img_size": imgsz} if settings is not None and settings.fixed_input_size else {}
            return timm.create_model(self.name, pretrained=False, num_classes=classes, in_chans=1, **sized)
        from torchvision.models import get_model

        name = self.name if self.library == TORCHVISION else _XRV_ARCHITECTURES[self.name.partition("-")[0]]
        sized = {"image_size": imgsz} if name.startswith("vit_") else {}
        network = get_model(name, weights=None, num_classes=classes, **sized)
        _take_one_channel(network)
        return network


def is_architecture(model: Any) -> bool:
    """Whether a model is named as a library's network, `timm:convnext_tiny`, and not by its file."""
    return isinstance(model, str) and model.partition(":")[0] in LIBRARIES and ":" in model


def import_timm() -> Any:
    """The module.

    Raises:
        UserError: It is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(
            f"model: needs {error.name}, which is not installed; `pip install '.[gate]'` in the project's folder, or "
            "`pip install timm`."
        ) from error
    return timm


@cache
def torchvision_names() -> frozenset[str]:
    """Torchvision's image classifiers that give one output."""
    from torchvision import models

    return frozenset(models.list_models(module=models)) - _TWO_OUTPUTS


def last_layer(network: Any) -> str:
    """Name of the layer whose outputs are the classes: timm says which; torchvision's is the last with weights."""
    if hasattr(network, "get_classifier"):
        classifier = network.get_classifier()
        return next(name for name, layer in network.named_modules() if layer is classifier)
    *_, (last, _) = network.named_parameters()
    return last.rpartition(".")[0]


def _take_one_channel(network: nn.Module) -> None:
    """Put a convolution of one input channel in the place of the first one, which has three."""
    from torch import nn

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            parent, _, attribute = name.rpartition(".")
            grey = nn.Conv2d(
                1,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                layer.dilation,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            setattr(network.get_submodule(parent), attribute, grey)
            return
