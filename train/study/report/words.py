"""Settings, scores and differences of a study as its report writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from common.pages.wording import count, is_number, score_text
from train.study.analysis.block_view import Comparison
from train.study.analysis.noise import Estimate

MEANINGS = {
    "lr0": "first learning rate",
    "lrf": "last learning rate, as a share of the first",
    "cos_lr": "learning rate falls as a cosine",
    "warmup_epochs": "epochs of warm-up",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "batch": "images per batch",
    "nbs": "images per step of the optimizer",
    "epochs": "epochs",
    "patience": "epochs without a better score before training stops",
    "imgsz": "image size in pixels",
    "iou_loss": "box loss",
    "cls_loss": "class loss",
    "negatives": "images without boxes, per image with boxes",
    "hard_negatives": "share of negatives that are not normal",
    "mosaic": "share of images that are mosaics",
    "degrees": "rotation in degrees",
    "rotation": "rotation in degrees",
    "scale": "random scale",
    "gamma": "random gamma",
    "contrast": "random contrast",
    "noise": "random noise",
    "fliplr": "share of images flipped left to right",
    "dropout": "dropout",
}
"""What arguments mean, for axes and headings."""

_TELLING = ("model", "optimizer")
"""Arguments whose values say what they are."""
NOISE = "which is within noise"


def title_of(parameter: str) -> str:
    """A parameter with its meaning, as in `first learning rate (lr0)`."""
    meaning = MEANINGS.get(parameter)
    return f"{meaning} ({parameter})" if meaning and meaning != parameter else parameter


def value_text(parameter: str, value: Any) -> str:
    """A value without the path of a model, `not set` for None."""
    if value is None or value != value:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if is_number(value):
        return f"{value:g}"
    return PurePath(str(value)).stem if parameter == "model" else str(value)


def named(parameter: str, value: Any) -> str:
    """A value that says whose it is: `AdamW`, `batch 16`."""
    text = value_text(parameter, value)
    return text if parameter in _TELLING else f"{parameter} {text}"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line, `model=yolov8n, lr0=0.01`."""
    return ", ".join(f"{name}={value_text(name, value)}" for name, value in settings.items()) or "as the base"


def plus_minus(half_width: float | None) -> str:
    """Half of a 95 % interval, `± 0.012`."""
    return f"±\N{NO-BREAK SPACE}{score_text(half_width)}" if half_width is not None else "± unknown"


def size(effect: Estimate) -> str:
    """How large a difference is, whatever its sign: `0.041 ± 0.012`."""
    return f"{score_text(abs(effect.value))} {plus_minus(effect.half_width)}"


def signed(effect: Estimate) -> str:
    """A difference with its sign, `−0.041 ± 0.012`."""
    return f"{signed_number(effect.value)} {plus_minus(effect.half_width)}"


def signed_number(value: float) -> str:
    """A score's difference with its sign; none where it rounds to nothing."""
    text = score_text(abs(value))
    sign = "" if float(text) == 0 else "+" if value > 0 else "\N{MINUS SIGN}"
    return f"{sign}{text}"


def estimate_interval(estimate: Estimate) -> tuple[float, float] | None:
    """The 95 % interval of a score, cut to 0 to 1."""
    if estimate.half_width is None:
        return None
    return max(0.0, estimate.value - estimate.half_width), min(1.0, estimate.value + estimate.half_width)


def verdict(comparison: Comparison) -> str:
    """What a table says of a comparison."""
    if not comparison.is_real:
        return "within noise"
    return "higher" if comparison.effect.value > 0 else "lower"


def noise_words(comparison: Comparison) -> str:
    """The words for a difference that is not called real, with the reason where the interval alone would call it so."""
    half = comparison.effect.half_width
    alone = half is not None and abs(comparison.effect.value) > half and comparison.family > 1
    return f"{NOISE}, given that {comparison.family} differences were looked at" if alone else NOISE


def times(ratio: float) -> str:
    """A ratio of costs, `12x`."""
    return f"{ratio:.0f}x" if ratio >= 9.95 else f"{ratio:.1f}x"


def of_count(number: int, noun: str) -> str:
    """`1 trial`, `3 trials`, `1,204 images`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
