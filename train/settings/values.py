"""Values of Ultralytics' arguments that it takes as they come, and fails of later, or leaves without effect."""

from __future__ import annotations

from typing import Any

from common.errors import UserError

OPTIMIZERS = ("auto", "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "MuSGD")
"""Those of Ultralytics, which compares without case."""

_CACHES = (None, True, False, "ram", "disk")


def refuse_unusable(values: Any) -> None:
    """Refuse what Ultralytics' own check lets pass.

    Args:
        values: All arguments, as attributes.

    Raises:
        UserError: A value cannot be what is meant.
    """
    size = values.imgsz
    if not _is_whole(size, 1) and not (isinstance(size, list | tuple) and size and all(_is_whole(x, 1) for x in size)):
        raise UserError(
            f"imgsz: found {size!r}; expected the side of the square that pictures are laid in, in pixels, such as 640."
        )
    if str(values.optimizer).lower() not in {name.lower() for name in OPTIMIZERS}:
        raise UserError(f"optimizer: found {values.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}.")
    if not (values.freeze is None or _is_whole(values.freeze, 0) or _is_list_of_whole(values.freeze)):
        raise UserError(
            f"freeze: found {values.freeze!r}; expected how many of the first layers are frozen, or a list of their "
            "numbers, such as freeze=10 or freeze=[0,1,2]."
        )
    if not any(values.cache is one or (isinstance(one, str) and values.cache == one) for one in _CACHES):
        raise UserError(f"cache: found {values.cache!r}; expected True or ram, disk, or False.")
    if isinstance(values.multi_scale, bool):
        raise UserError(
            f"multi_scale: found {values.multi_scale}; expected a share of imgsz, such as multi_scale=0.25 for sizes "
            "from 0.75 to 1.25 times imgsz, or 0 for one size."
        )
    if not (values.classes is None or _is_whole(values.classes, 0) or _is_list_of_whole(values.classes)):
        raise UserError(
            f"classes: found {values.classes!r}; expected a list of numbers from the data YAML's names, as classes=[0]."
        )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_list_of_whole(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_whole(one, 0) for one in value)


def check_device(device: Any) -> None:
    """Refuse a device that is not here.

    Args:
        device: As in `device=`; None and "" leave the choice to Ultralytics, which takes a GPU where there is one.

    Raises:
        UserError: There is no such device.
    """
    if device is None or device == "":
        return
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    import torch
    from ultralytics.utils.torch_utils import select_device

    try:
        select_device(device, verbose=False)
    except Exception as error:  # ValueError, AssertionError and what a back end raises
        count = torch.cuda.device_count()
        there = f"PyTorch {torch.__version__} sees {count or 'no'} GPU{'' if count == 1 else 's'} here"
        remedy = f"expected cpu{f', or 0 to {count - 1}' if count else ''}. Leave it out to have one chosen."
        raise UserError(f"device: found {device}; {there}, {remedy}") from error
