"""Losses for boxes and for class scores, as functions of tensors; `train.detector.criterion` trains with them.

Boxes are (N, 4) tensors of upper-left and lower-right corners `x1, y1, x2, y2`, in any unit that both tensors share:
the losses do not change when all boxes are scaled alike. Results are (N,) losses, not summed, so that the caller can
weight them. The arithmetic is done in single precision at least, whatever a mixed-precision forward pass hands in.

Boxes of no width or height, identical, far apart or inverted (x2 < x1, counted as of no width) give finite losses and
finite gradients: what is divided by is kept from zero, and nothing is added to it, so ordinary boxes are not biased.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-9
"""Least divisor; far below the area of a pixel, even where the image's side is 1."""


@dataclass(frozen=True)
class _Pair:
    """What the losses are made of, each (N,): `pred` against `target`."""

    iou: Tensor
    union: Tensor
    widths: tuple[Tensor, Tensor]
    """Of pred and target."""
    heights: tuple[Tensor, Tensor]
    centre_dx: Tensor
    """From pred's centre to target's."""
    centre_dy: Tensor
    hull_width: Tensor
    """Of the smallest box that encloses both."""
    hull_height: Tensor


def _pair_up(pred: Tensor, target: Tensor) -> _Pair:
    pred, target = _at_least_float32(pred), _at_least_float32(target)
    px1, py1, px2, py2 = pred.unbind(-1)
    tx1, ty1, tx2, ty2 = target.unbind(-1)
    widths = ((px2 - px1).clamp(min=0), (tx2 - tx1).clamp(min=0))
    heights = ((py2 - py1).clamp(min=0), (ty2 - ty1).clamp(min=0))
    shared_width = (torch.minimum(px2, tx2) - torch.maximum(px1, tx1)).clamp(min=0)
    shared_height = (torch.minimum(py2, ty2) - torch.maximum(py1, ty1)).clamp(min=0)
    shared = shared_width * shared_height
    union = widths[0] * heights[0] + widths[1] * heights[1] - shared
    return _Pair(
        iou=_divide(shared, union),
        union=union,
        widths=widths,
        heights=heights,
        centre_dx=(tx1 + tx2 - px1 - px2) / 2,
        centre_dy=(ty1 + ty2 - py1 - py2) / 2,
        hull_width=torch.maximum(px2, tx2) - torch.minimum(px1, tx1),
        hull_height=torch.maximum(py2, ty2) - torch.minimum(py1, ty1),
    )


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, with a denominator (0 or more) kept from zero."""
    return numerator / denominator.clamp(min=_TINY)


def giou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Generalized IoU loss, from 0 to 2: `1 - IoU + (C - U) / C`, with U the union's and C the enclosing box's area.

    Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, arXiv:1902.09630.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.

    Returns:
        Losses (N,).
    """
    pair = _pair_up(pred, target)
    hull = pair.hull_width * pair.hull_height
    return 1 - pair.iou + _divide(hull - pair.union, hull)


def diou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Distance IoU loss, from 0 to 2: `1 - IoU + d^2 / c^2`; d between the centres, c the enclosing box's diagonal.

    Zheng et al., Distance-IoU Loss, AAAI 2020, arXiv:1911.08287.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.

    Returns:
        Losses (N,).
    """
    return _diou(_pair_up(pred, target))


def _diou(pair: _Pair) -> Tensor:
    diagonal = pair.hull_width.square() + pair.hull_height.square()
    return 1 - pair.iou + _divide(pair.centre_dx.square() + pair.centre_dy.square(), diagonal)


def ciou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Complete IoU loss: the distance IoU loss `+ a v`, for unlike shapes.

    `v = 4 / pi^2 (atan(w_target / h_target) - atan(w / h))^2`, and `a = v / (1 - IoU + v)`, taken as a constant where
    gradients are concerned. Zheng et al., Distance-IoU Loss, AAAI 2020, arXiv:1911.08287.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.

    Returns:
        Losses (N,).
    """
    pair = _pair_up(pred, target)
    slope, target_slope = (
        torch.atan(_divide(width, height)) for width, height in zip(pair.widths, pair.heights, strict=True)
    )
    unlikeness = 4 / math.pi**2 * (target_slope - slope).square()
    weight = _divide(unlikeness, 1 - pair.iou + unlikeness).detach()
    return _diou(pair) + weight * unlikeness


def siou_loss(pred: Tensor, target: Tensor, theta: float = 4.0) -> Tensor:
    """SCYLLA IoU loss: `1 - IoU + (distance + shape) / 2`, where the distance depends on its direction.

    With a the angle between the line of centres and the x axis, c_w and c_h the enclosing box's sides, and (dx, dy)
    from centre to centre: angle = sin(2a) = 2 |dx dy| / (dx^2 + dy^2), the closed form of the paper's
    `1 - 2 sin^2(asin(sin a) - pi/4)`; distance = the sum over x and y of `1 - exp(-(2 - angle) (dx / c_w)^2)`; shape =
    the sum over width and height of `(1 - exp(-|w - w_target| / max(w, w_target)))^theta`.
    Gevorgyan, SIoU Loss: More Powerful Learning for Bounding Box Regression, 2022, arXiv:2205.12740.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.
        theta: How little small differences of shape count, 1 or more; the paper has 2 to 6, about 4.

    Returns:
        Losses (N,).
    """
    pair = _pair_up(pred, target)
    dx, dy = pair.centre_dx, pair.centre_dy
    angle = _divide(2 * (dx * dy).abs(), dx.square() + dy.square())
    distance = sum(
        1 - torch.exp((angle - 2) * _divide(offset, side).square())
        for offset, side in ((dx, pair.hull_width), (dy, pair.hull_height))
    )
    shape = sum(
        (1 - torch.exp(-_divide((side - other).abs(), torch.maximum(side, other)))).pow(theta)
        for side, other in (pair.widths, pair.heights)
    )
    return 1 - pair.iou + (distance + shape) / 2


class RunningMean:
    """Exponential running mean of `1 - IoU`, against which WIoU v3 calls a box ordinary or an outlier.

    A plain object with a detached number in it, neither module nor buffer: it travels with no checkpoint. It moves
    only while gradients are recorded, so that validation leaves it alone. Copying it, as Ultralytics does for its
    averaged model, gives the same object, or validation would for ever compare with the first epoch's mean.
    """

    def __init__(self, updates: int = 7000) -> None:
        """Start at 1, the loss of boxes that do not touch.

        Args:
            updates: Number of updates after which 95 % of the mean comes from values seen since; the paper's t n, for
                the t-th epoch of n batches: the momentum is 1 - 0.05^(1 / (t n)).
        """
        self.momentum = 1 - 0.05 ** (1 / updates)
        self.value: Tensor = torch.tensor(1.0)

    def update(self, values: Tensor) -> None:
        """Take in the mean of `values` (N,); nothing for N = 0, no finite mean, or where no gradients are recorded."""
        if values.numel() and torch.is_grad_enabled():
            mean = values.detach().mean()
            value = self.value.to(mean)
            moved = value * (1 - self.momentum) + mean * self.momentum
            # One overflow in mixed precision would stay in the mean for ever. Chosen on the device: it need not wait.
            self.value = torch.where(mean.isfinite(), moved, value)

    def __deepcopy__(self, memo: dict) -> RunningMean:
        return self


def wiou_v1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Wise IoU loss v1, from 0 to e: `(1 - IoU) exp(d^2 / c^2)`; d between the centres, c the enclosing diagonal.

    c is taken as a constant where gradients are concerned.
    Tong et al., Wise-IoU: Bounding Box Regression Loss with Dynamic Focusing Mechanism, 2023, arXiv:2301.10051.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.

    Returns:
        Losses (N,).
    """
    return _wiou_v1(_pair_up(pred, target))


def _wiou_v1(pair: _Pair) -> Tensor:
    diagonal = (pair.hull_width.square() + pair.hull_height.square()).detach()
    return (1 - pair.iou) * torch.exp(_divide(pair.centre_dx.square() + pair.centre_dy.square(), diagonal))


def wiou_v3_loss(
    pred: Tensor, target: Tensor, running_mean: RunningMean, alpha: float = 1.9, delta: float = 3.0
) -> Tensor:
    """Wise IoU loss v3: v1 times `b / (delta alpha^(b - delta))`, which favours boxes of ordinary quality.

    `b = (1 - IoU) / running mean of (1 - IoU)` is the box's outlier degree, a constant where gradients are concerned.
    The factor is 1 at b = delta and has its maximum at b = 1 / ln(alpha). The mean is updated first, then used.
    Tong et al., Wise-IoU, 2023, arXiv:2301.10051.

    Args:
        pred: Boxes (N, 4), corners.
        target: Boxes (N, 4), corners.
        running_mean: Mean of `1 - IoU` over the batches so far; updated.
        alpha: More than 1.
        delta: More than 0; the paper's best pair is alpha 1.9, delta 3.

    Returns:
        Losses (N,).
    """
    pair = _pair_up(pred, target)
    unlike = (1 - pair.iou).detach()
    running_mean.update(unlike)
    outlier = _divide(unlike, running_mean.value.to(unlike))
    return _wiou_v1(pair) * outlier / (delta * alpha ** (outlier - delta))


def bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy `-q log p - (1 - q) log(1 - p)`, with `p = sigmoid(logit)`, elementwise.

    Args:
        logits: Of any shape.
        targets: q, from 0 to 1, of the same shape.

    Returns:
        Losses of that shape.
    """
    return functional.binary_cross_entropy_with_logits(
        _at_least_float32(logits), _at_least_float32(targets), reduction="none"
    )


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss: cross-entropy times `a (1 - p_t)^gamma`, which silences what is already well classified.

    `p_t = q p + (1 - q) (1 - p)` and `a = q alpha + (1 - q) (1 - alpha)`. The paper has q in {0, 1}; between them this
    interpolates, as torchvision and Ultralytics do, and the least loss is then not exactly at p = q.
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002.

    Args:
        logits: Of any shape.
        targets: q, from 0 to 1, of the same shape.
        alpha: Weight of positives, from 0 to 1; negatives have 1 - alpha.
        gamma: 0 or more; 0 leaves the weighted cross-entropy.

    Returns:
        Losses of that shape.
    """
    logits, targets = _at_least_float32(logits), _at_least_float32(targets)
    p = logits.sigmoid()
    wrongness = targets * (1 - p) + (1 - targets) * p
    balance = targets * alpha + (1 - targets) * (1 - alpha)
    # Kept from zero, where a power below 1 has no finite slope.
    return bce_loss(logits, targets) * balance * wrongness.clamp(min=_TINY).pow(gamma)


def varifocal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Varifocal loss: cross-entropy times q where q > 0, times `alpha p^gamma` where q = 0.

    q is the IoU-aware classification score (IACS): for the object's class how well the box fits, else 0.
    Zhang et al., VarifocalNet: An IoU-aware Dense Object Detector, CVPR 2021, arXiv:2008.13367.

    Args:
        logits: Of any shape.
        targets: q, from 0 to 1, of the same shape.
        alpha: Weight of negatives against positives, 0 or more.
        gamma: 0 or more; how little easy negatives count.

    Returns:
        Losses of that shape.
    """
    logits, targets = _at_least_float32(logits), _at_least_float32(targets)
    negative = alpha * logits.sigmoid().clamp(min=_TINY).pow(gamma)
    return bce_loss(logits, targets) * torch.where(targets > 0, targets, negative)
