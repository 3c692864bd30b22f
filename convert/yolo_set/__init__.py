"""From the boxes table to a data set on disk: splits, plan, conversion, layout; and COCO JSON of what is there.

`convert(parsed, output, splitting)` is the whole way in one call. Imports `convert.sources` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convert.yolo_set.conversion import convert
    from convert.yolo_set.splits import Splitting

__all__ = ["Splitting", "convert"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the package alone stays light."""
    from importlib import import_module

    modules = {"convert": "convert.yolo_set.conversion", "Splitting": "convert.yolo_set.splits"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(modules[name]), name)
