"""Models that early PyTorch stored whole, with their classes, read without running any code that they may carry.

TorchXRayVision's DenseNets are such files, whose format `torch.load(weights_only=True)` does not know. Here they are
read as PyTorch reads them, but of all that a file may ask for only tensors, PyTorch's own layers and plain containers
are given to it. Other classes of modules are stood in for by an empty one: it holds the tensors, and does nothing.
"""

from __future__ import annotations

import importlib
import io
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class _Shell(nn.Module):
    """A module whose class is not here."""


class _Nothing:
    """What is not needed any more."""


_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How every file begins that PyTorch stored before 1.6: a number of its own, pickled."""
_GIVEN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): nn.Parameter,
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"): _Nothing,  # of layers before PyTorch 1.3
}
_STOOD_IN_FOR = "torchxrayvision.models"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _GIVEN:
            return _GIVEN[module, name]
        if module.startswith("torch.nn.modules."):
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and issubclass(found, nn.Module):
                return found
        if module == _STOOD_IN_FOR:
            return _Shell
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and foreign code is not run")


def is_whole_model(file: Path) -> bool:
    """Whether a file is of the format that early PyTorch had.

    Raises:
        OSError: It cannot be read.
    """
    with open(file, "rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def read_whole_model(file: Path) -> Any:
    """What such a file holds.

    Raises:
        UnpicklingError: It asks for what is not given to it.
        Exception: It is damaged.
    """

    def load(opened: Any, **kwargs: Any) -> Any:
        return _Unpickler(opened, **kwargs).load()

    def loads(data: bytes, **kwargs: Any) -> Any:
        return load(io.BytesIO(data), **kwargs)

    reader = SimpleNamespace(Unpickler=_Unpickler, load=load, loads=loads, __name__="restricted pickle")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the source code of its classes is not that of today's
        return torch.load(file, map_location="cpu", pickle_module=reader, weights_only=False)
