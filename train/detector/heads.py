"""What a model's last layer, its head, says: which kind of model it is, and which trainer it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.quiet_ultralytics import no_network

CLASSIFIER = "Classify"
RTDETR = "RTDETRDecoder"
"""Classes of heads, as models' YAMLs name them."""


def head_of_file(model: Path) -> str:
    """Name of the head's class.

    Args:
        model: Weights (`.pt`) or a model's YAML.

    Raises:
        Exception: The file is none; a YAML or a checkpoint can be wrong in ways beyond listing.
    """
    if model.suffix == ".pt":
        from ultralytics.nn.tasks import load_checkpoint

        with no_network():
            return head_of(load_checkpoint(model)[0])
    from ultralytics.nn.tasks import yaml_model_load

    return head_of_description(yaml_model_load(model))


def head_of(network: Any) -> str:
    """Name of the head's class of a network of Ultralytics', not wrapped for several GPUs."""
    return type(network.model[-1]).__name__


def head_of_description(content: Any) -> str:
    """Name of the head's class in the content of a model's YAML."""
    return str(content["head"][-1][2])


def is_end_to_end(network: Any) -> bool:
    """Whether a network's head has two branches, one of which needs no suppression (YOLOv10, YOLO26)."""
    return getattr(network.model[-1], "one2one_cv2", None) is not None


def is_detector(network: Any, kind: type) -> bool:
    """Whether a network's head is of this kind, `Detect` or `RTDETRDecoder`, and for upright boxes alone.

    Ultralytics derives the heads of other tasks from a detector's.
    """
    from ultralytics.nn.modules.head import OBB, Pose, Segment

    head = network.model[-1]
    return isinstance(head, kind) and not isinstance(head, Segment | Pose | OBB)
