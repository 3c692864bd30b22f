"""The arguments that `yolo train` does not have, by subject: names, defaults, checks. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.errors import UserError


@dataclass(frozen=True)
class Argument:
    """One argument of our own.

    Attributes:
        default: Its value when it is not given; None where the model has a default of its own.
        help: One line.
        choices: The values there are; empty for a number.
        kind: float or int, bool for a switch, str for a name.
        low: The least number allowed.
        high: The greatest number allowed.
        open: Whether `low` itself is not allowed.
        by_side: Whether it may be two numbers, for width and height.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    kind: type[int] | type[float] | type[bool] | type[str] = float
    low: float = 0
    high: float = math.inf
    open: bool = False
    by_side: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Give the value in the argument's type.

        Raises:
            UserError: It is of another type, no choice, or out of range.
        """
        if value is None and self.default is None:
            return None
        if self.choices:
            if str(value).lower() in self.choices:
                return str(value).lower()
            raise UserError(f"{name}: found {value!r}; expected one of {', '.join(self.choices)}")
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            raise UserError(f"{name}: found {value!r}; expected True or False")
        if self.kind is str:
            return str(value)
        if self.by_side and isinstance(value, list | tuple) and len(value) == 2:
            return [replace(self, by_side=False).check(name, one) for one in value]
        if not isinstance(value, bool) and isinstance(value, int | float) and self.low <= value <= self.high:
            whole = self.kind is float or value == math.floor(value)
            if whole and math.isfinite(value) and not (self.open and value == self.low):
                return self.kind(value)
        kind = "a whole number" if self.kind is int else "a number"
        low = f"more than {self.low:g}" if self.open else f"{self.low:g} or more"
        high = f", at most {self.high:g}" if self.high < math.inf else ""
        both = "; or two, for width and height" if self.by_side else ""
        raise UserError(f"{name}: found {value!r}; expected {kind}, {low}{high}{both}")


LOSS: dict[str, Argument] = {
    "iou_loss": Argument(None, "box loss; without it the head's own", ("ciou", "diou", "giou", "siou", "wiou")),
    "cls_loss": Argument(None, "class loss; without it the head's own", ("bce", "focal", "varifocal")),
    "cls_scale": Argument(None, "factor of the class loss; without it one that suits cls_loss", open=True),
    "focal_alpha": Argument(0.25, "focal: weight of positives", high=1),
    "focal_gamma": Argument(2.0, "focal: how much easy examples are silenced"),
    "vfl_alpha": Argument(0.75, "varifocal: weight of negatives", high=1),
    "vfl_gamma": Argument(2.0, "varifocal: how much easy negatives are silenced"),
    "siou_theta": Argument(4.0, "siou: exponent of the shape cost", low=1),
    "wiou_version": Argument(3, "wiou: 1 is static, 3 follows the running mean; not 2", kind=int, low=1, high=3),
    "wiou_alpha": Argument(1.9, "wiou: base of the focusing", low=1, open=True),
    "wiou_delta": Argument(3.0, "wiou: outlier degree that is left as it is", open=True),
    "wiou_updates": Argument(7000, "wiou: batches that the running mean remembers", kind=int, low=1),
}
"""The fields of `train.detector.criterion.LossSettings`, which says more about them."""

SAMPLING: dict[str, Argument] = {
    "negatives": Argument(None, "images without boxes per image with boxes, drawn anew each epoch; without it all"),
    "hard_negatives": Argument(None, "share of these that are not normal, though without opacity", high=1),
}
"""Which images an epoch is made of; see `train.detector.sampling`."""

LABELS: dict[str, Argument] = {
    "box_scale": Argument(
        1.0,
        "train on boxes resized about their centres by this, or by two: width,height",
        high=2,
        open=True,
        by_side=True,
    ),
}
"""What is trained to find, other than the labels say; see `train.detector.dataset`."""

AUGMENTATION: dict[str, Argument] = {
    "gamma": Argument(0.0, "random gamma, up to 1 + this or down to 1 / (1 + this)"),
    "contrast": Argument(0.0, "random contrast, by a factor of 1 +- this", high=1),
    "noise": Argument(0.0, "random noise of a standard deviation up to this share of white", high=1),
    "rotation": Argument(
        0.0, "random rotation by +- this many degrees, with boxes fitted anew (degrees= inflates them)", high=45
    ),
}
"""Augmentation that works on one grey channel; see `train.detector.augmentation`."""

CHECKPOINTS: dict[str, Argument] = {
    "keep_state": Argument(True, "keep at the end what `resume epochs=N` needs to train on", kind=bool),
}
"""What a finished training leaves beside its weights; see `train.detector.resuming`."""

TRACKING: dict[str, Argument] = {
    "wandb": Argument(
        True, "log to Weights & Biases: online with a login, unless W&B is switched to offline or disabled", kind=bool
    ),
    "group": Argument(None, "W&B group of the run", kind=str),
}
"""Where a training is logged to; see `train.detector.tracking` and `train.classifier.tracking`."""

RECIPE: dict[str, Argument] = {
    "recipe": Argument(None, "a named set of arguments, with reasons; what you give besides counts", kind=str),
}
"""See `train.settings.recipes`."""

SEVERAL: dict[str, str] = {
    "folds=5": "members are of so many folds of the data set, from the first on; folds=0,3 names them",
    "imgsz=512,640": "input sizes: each fold has a member of each",
    "augment=True": "members also vote on flipped and resized copies, in evaluate/score.py and predict.py",
    "gate=False": "no gate; gate=True has that of the recipe",
    "gate.NAME=VALUE": "an argument of the gates: gate.model= gate.epochs= and all of train/gate.py",
    "gate.folds=1": "as folds, of the gates",
    "gate.flip=True": "gates also look at the mirrored picture",
}
"""What a recipe of several trainings takes besides, for --help, with examples of values; see `train.members.plan`."""

OF_SEVERAL = ("folds", "gate")
"""Names that only a recipe of several trainings takes; `gate.` begins further ones."""
OF_GATES = ("folds",)
"""Names that `gate.` takes besides the arguments of `train/gate.py`."""

OWN: dict[str, Argument] = {**RECIPE, **LOSS, **SAMPLING, **LABELS, **AUGMENTATION, **CHECKPOINTS, **TRACKING}
"""Our arguments by name. Each reaches the trainer as `args.<name>`, and with it args.yaml and every checkpoint."""

GATE: dict[str, Argument] = {
    "fold": Argument(None, "validate on this fold of the data set and train on its other folds", kind=int),
    "folds": Argument(None, "train a gate for each fold of the data set, all of this many", kind=int, low=2),
    "prevalence": Argument(
        None, "share of images with an opacity where the gate is used; without it as in val", high=0.99, open=True
    ),
    "flip": Argument(False, "look at each picture's mirror image, too, wherever the gate is used", kind=bool),
    **TRACKING,
}
"""The arguments of `train/gate.py` that `yolo classify train` does not have; see `train.classifier.class_view` and
`evaluate.classifier.calibration`."""

MAY_DIFFER = frozenset({"device", "workers", "batch", "cache", "verbose", "plots", "exist_ok", "wandb", "group"})
"""What may be given anew when several trainings go on, so that they can on another machine."""
GATE_ON_RESUME = (MAY_DIFFER - {"exist_ok"}) | {"data"}
"""Of what several trainings were given, what a gate of them is told that goes on."""

USE = ("prevalence", "flip")
"""Those of them that say how the gate is used; a finished one can be given others."""

DEFAULTS: dict[str, Any] = {name: argument.default for name, argument in OWN.items()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs of the arguments of several trainings that are to go on, in words; but for what may.

    Args:
        before: As they were begun.
        now: As they are given now.
        prefix: Of each name, such as `gate.`.
    """
    return [
        f"{prefix}{name} was {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if name not in {*MAY_DIFFER, "data"} and before.get(name) != now.get(name)
    ]
