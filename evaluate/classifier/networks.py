"""Image classifiers of torchvision, timm and TorchXRayVision, as Ultralytics trains, validates and stores its own.

They look at one grey channel, since all three of a radiograph are equal: the first convolution has one input channel,
and pretrained weights are summed over theirs (`train.classifier.pretrained`).

A checkpoint holds the network's name and its tensors, and nothing else: when it is read, the network is built from its
name, by the library that is installed here. So no foreign class has to be loaded, and no code of a file runs.
"""

from __future__ import annotations

import copy
from typing import Any

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics
from evaluate.classifier.architectures import Architecture

import_ultralytics(verbose=True)
import torch
from torch import nn
from ultralytics.nn.tasks import ClassificationModel


class ImageNetwork(ClassificationModel):
    """A library's network among Ultralytics' classifiers.

    Attributes:
        yaml: What `get_model` needs to build it again: `architecture`, `nc`, `imgsz`, `mean`, `std`, `channels`, and
            `pretrained_on`: what is to be known of the images that its pretrained weights have seen, else empty.
        names: Class folders by index.
    """

    names: Any

    def __init__(
        self, architecture: str, nc: int, imgsz: int, mean: float | None = None, std: float | None = None
    ) -> None:
        """Build it with random weights.

        Args:
            architecture: See `Architecture.parse`.
            nc: How many classes.
            imgsz: Side of its input in pixels.
            mean: Of grey pixels from 0 to 1; None: what its pretrained weights are made for.
            std: See `mean`.

        Raises:
            UserError: There is no such network, or its library is not installed.
        """
        super(ClassificationModel, self).__init__()  # whose own reads a YAML of layers
        chosen = Architecture.parse(architecture)
        usual = chosen.normalisation
        self.yaml: dict[str, Any] = {
            "architecture": str(chosen),
            "nc": nc,
            "imgsz": imgsz,
            "mean": usual[0] if mean is None else mean,
            "std": usual[1] if std is None else std,
            "channels": 3,
            "pretrained_on": "",
        }
        self.model = nn.Sequential(GreyNetwork(chosen.build(nc, imgsz), self.yaml["mean"], self.yaml["std"]))
        self.stride = torch.Tensor([1])
        self.names = {index: f"{index}" for index in range(nc)}
        self.task = "classify"

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """What the network gives; Ultralytics' own goes through its layers one by one."""
        return self.model(x)

    def check(self) -> None:
        """Show it a black picture of its size.

        Raises:
            UserError: It cannot take one.
        """
        side, was_training = self.yaml["imgsz"], self.training
        try:
            with torch.inference_mode():
                self.eval()(torch.zeros(1, 3, side, side))
        except Exception as error:  # as many ways as there are networks
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"model: {self.yaml['architecture']}: cannot look at pictures of imgsz={side} ({type(error).__name__}: "
                f"{reason}). Take the size that it was published for, or another network."
            ) from error
        self.train(was_training)

    @property
    def network(self) -> nn.Module:
        """The library's network."""
        return self.model[0].network

    def __reduce__(self) -> tuple[Any, ...]:
        """What a checkpoint holds of it: how it is built, its tensors, and what belongs to its training."""
        built = tuple(self.yaml[name] for name in ("architecture", "nc", "imgsz", "mean", "std"))
        kept: dict[str, Any] = {name: vars(self)[name] for name in ("names", "transforms") if name in vars(self)}
        state: dict[str, Any] = {
            "weights": dict(self.state_dict()),
            "pretrained_on": self.yaml["pretrained_on"],
            **kept,
        }
        return type(self), built, state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__reduce__` gives; 16-bit weights become 32-bit ones again."""
        self.load_state_dict(state["weights"])
        self.yaml["pretrained_on"] = str(state["pretrained_on"])
        for name in ("names", "transforms"):
            if name in state:
                setattr(self, name, state[name])

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageNetwork:
        """A copy on the same device and of the same precision, which what a checkpoint holds would not give."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


class GreyNetwork(nn.Module):
    """A network for one grey channel behind pictures of three equal ones from 0 to 1."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, pictures: torch.Tensor) -> Any:
        """Logits (N, C) of (N, 3, side, side); not in training, as Ultralytics' heads, probabilities before them."""
        logits = self.network((pictures[:, :1] - self.mean) / self.std)
        return logits if self.training else (logits.softmax(1), logits)


# Its class may be in a checkpoint; it runs nothing of the file but the name of a network.
torch.serialization.add_safe_globals([ImageNetwork])
