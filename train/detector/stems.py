"""Pretrained weights whose pictures have another number of channels than the data: colour to grey, and grey to colour.

A grey picture as colour is three equal channels. So a convolution's weights summed over its input's channels give the
very same on the one channel, and weights for one channel spread evenly over three do so on colour. Ultralytics does the
first for `model.0.conv`, the only convolution on the picture in most models. yolov9e has two, and RT-DETR's has another
name: they would start with random weights.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NoReturn

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics

import_ultralytics(verbose=True)
import torch
from torch import nn
from ultralytics.nn.tasks import yaml_model_load


def with_input_channels(model: Any, channels: int) -> dict[str, Any]:
    """A model's YAML content whose first layer takes pictures of so many channels.

    Most layers are told by Ultralytics when the model is built; a ResNetLayer has the number in the YAML.

    Args:
        model: A YAML file, or its content.
        channels: The data's, 1 or 3.
    """
    content: dict[str, Any] = deepcopy(model) if isinstance(model, dict) else yaml_model_load(model)
    _, _, layer, arguments = content["backbone"][0]
    if layer == "ResNetLayer":
        arguments[0] = channels
    return content


def adapt_stems(model: nn.Module, weights: nn.Module) -> list[str]:
    """Give every convolution on the picture the pretrained weights, from any number of channels to 1 or from 1 to any.

    Args:
        model: The model to be trained, pretrained weights loaded as far as their shapes agree.
        weights: The pretrained model.

    Returns:
        Names of the weights that were adapted; none where the numbers of channels agree.

    Raises:
        UserError: The numbers of channels differ in another way, and the weights would stay random.
    """
    found, expected = _input_channels(weights), _input_channels(model)
    if found == expected:
        return []
    pretrained = weights.state_dict()
    adapted = []
    for name, convolution in model.named_modules():
        theirs = pretrained.get(f"{name}.weight")
        if not isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) or convolution.groups > 1 or theirs is None:
            continue
        ours, inputs = convolution.weight, _input_dimension(convolution)
        on_picture = (ours.shape[inputs], theirs.shape[inputs]) == (expected, found)
        if not on_picture or ours.select(inputs, 0).shape != theirs.select(inputs, 0).shape:
            continue
        if expected != 1 != found:
            if name == "model.0.conv":  # Ultralytics has copied the channels that there are in both
                continue
            raise UserError(
                f"model: {name} was trained on pictures of {found} channels, the data have {expected}; weights can be "
                "adapted to or from one channel only. Correct `channels:` in the data YAML, or start from the model's "
                "YAML, untrained."
            )
        with torch.no_grad():
            # Summed, or spread evenly over the channels.
            ours.copy_(theirs.sum(inputs, keepdim=True) if expected == 1 else theirs / expected)
        adapted.append(f"{name}.weight")
    return adapted


def _input_dimension(convolution: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """Which dimension of a convolution's weights its input's channels are."""
    return 0 if isinstance(convolution, nn.ConvTranspose2d) else 1


def refuse_channels(found: int | str, channels: int) -> NoReturn:
    """Raise the UserError for a model that takes pictures of `found` channels, where the data have `channels`."""
    raise UserError(
        f"model: its first layer takes {found} channels whatever the data, and the data have {channels}. Choose "
        f"another model, or set `channels: {found}` in the data YAML, which reads grey pictures as equal channels."
    )


def check_input(model: nn.Module, channels: int) -> None:
    """Make sure that a model's first convolution takes the data's pictures.

    Raises:
        UserError: It takes another number of channels, which its YAML fixes.
    """
    found = _input_channels(model)
    if found != channels:
        refuse_channels(found, channels)


def _input_channels(model: nn.Module) -> int:
    """Channels that a model's first convolution takes."""
    return next(part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d))
