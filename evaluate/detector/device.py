"""The device that models compute on."""

from __future__ import annotations

from typing import Any

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics


def find_device(device: str | None) -> Any:
    """The torch device to predict on.

    Args:
        device: As Ultralytics takes it: `cpu`, `0`, `cuda:1`, `mps`; None takes a GPU if there is one.

    Raises:
        UserError: There is no such device.
    """
    import_ultralytics()
    from ultralytics.utils.torch_utils import select_device

    try:
        return select_device(device or "", verbose=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {device}: not available ({reason}). Try --device cpu.") from error
