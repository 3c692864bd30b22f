"""A file that says it is weights, read without running any code that it may carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics, no_network
from common.walking import escape

EXPECTED = "expected a checkpoint as Ultralytics' training writes it, such as <run>/weights/best.pt"

_LAYERS = ("ultralytics.nn.", "ultralytics.utils.loss.", "ultralytics.utils.tal.")
"""Where the classes of a model are; those that the installed version has are all loaded."""
_ZIP, _OLD_PICKLE = b"PK\x03\x04", b"\x80"


def read_checkpoint(path: Path, otherwise: str) -> tuple[Any, Mapping[str, Any]]:
    """Read a checkpoint, of which only tensors, plain values and classes of models are loaded.

    Args:
        path: The file.
        otherwise: What can be done with a model that is not loaded, for messages.

    Returns:
        Its model, a `torch.nn.Module`: the average of the weights where there is one; and the checkpoint.

    Raises:
        UserError: The file is missing or empty, or no checkpoint with a model.
    """
    _check_content(path)
    import_ultralytics()
    from torch.nn import Module
    from ultralytics.nn.tasks import torch_safe_load

    try:
        with no_network():
            checkpoint, _ = torch_safe_load(str(path), safe_only=True)
    except AttributeError as error:  # it reaches for the model in whatever was stored
        raise UserError(f"{path}: holds no checkpoint but a single object, without a model; {EXPECTED}.") from error
    except Exception as error:  # a foreign file fails in ways beyond listing
        reason = _refused_classes(path, otherwise) or f"cannot be loaded as weights ({reason_of(error)}); {EXPECTED}."
        raise UserError(f"{path}: {reason}") from error
    network = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(network, Module):
        tensors = sum(hasattr(value, "shape") for value in checkpoint.values())
        kind = f"a bare state dict of {tensors} tensors" if tensors else f"keys {', '.join(map(str, checkpoint))[:80]}"
        raise UserError(f"{path}: holds no model but {kind}; {EXPECTED}.")
    return network, checkpoint


def _check_content(path: Path) -> None:
    """Refuse what is no PyTorch file by its first bytes, before anything tries to make sense of it."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a .pt weights file.") from error
    if path.suffix.lower() != ".pt":
        raise UserError(f"{path}: ends in {path.suffix or 'nothing'!r}; expected weights as trained, a .pt file.")
    text = head.lstrip().lower()
    if not head:
        found = "an empty file"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "a web page: the download went wrong"
    elif text.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer: fetch the file itself with `git lfs pull`"
    elif not head.startswith((_ZIP, _OLD_PICKLE)):
        found = "no PyTorch file by its first bytes"
    else:
        return
    raise UserError(f"{path}: found {found}; expected a .pt weights file, such as <run>/weights/best.pt.")


def _refused_classes(path: Path, otherwise: str) -> str:
    """What of a file may not be loaded, and the way out; empty where that is not why it failed."""
    import torch

    try:
        refused = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no file of `torch.save`
        return ""
    if not refused:
        return ""
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    other = [name for name in refused if not name.startswith(_LAYERS)]
    named = f"{escape((other or refused)[0][:100])}{more}"
    if any(name.startswith("evaluate.classifier.") for name in refused):
        return "holds an image classifier, a gate of this project; expected a detector."
    if any(name.startswith(("models.", "utils.")) for name in refused):
        return (
            f"made by YOLOv5 or v7 (it holds {named}), whose models Ultralytics does not load. Train anew, or "
            f"{otherwise}."
        )
    if not other:
        version = import_ultralytics().__version__
        return (
            f"holds {named}, which Ultralytics {version} does not have: made by another version. Train with {version}, "
            f"or {otherwise}."
        )
    return (
        f"holds the class {named}, and foreign classes are not loaded, since they could run any code; expected a model "
        f"of Ultralytics' and PyTorch's own layers. Otherwise, {otherwise}."
    )


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).replace("ERROR ❌️ ", "").strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}".rstrip(": ")
