"""Ultralytics' detection losses with this project's box and class terms in them.

`build_criterion` makes what a model's `criterion` attribute takes. Only the two terms named in `LossSettings` are
exchanged: assignment of truth to predictions, the third term (DFL or L1), gains and normalisation stay Ultralytics'.
With default settings the result is Ultralytics' own loss.

A criterion holds neither parameters nor buffers, so checkpoints are the same with it as without it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics
from train.detector import losses

if "ultralytics" not in sys.modules:  # importing it quietly anew would undo settings that were made since
    import_ultralytics()

from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.nn.modules.head import Detect, RTDETRDecoder, v10Detect
from ultralytics.utils.loss import BboxLoss, E2ELoss, v8DetectionLoss
from ultralytics.utils.ops import xywh2xyxy

IOU_LOSSES = ("ciou", "diou", "giou", "siou", "wiou")
"""Names for `LossSettings.iou_loss`; formulas in `train.detector.losses`."""

CLS_LOSSES = ("bce", "focal", "varifocal")
"""Names for `LossSettings.cls_loss`; formulas in `train.detector.losses`."""

CLS_SCALES = {"bce": 1.0, "focal": 8.0, "varifocal": 6.0}
"""Default `LossSettings.cls_scale` of YOLO heads, whose `cls` gain was tuned for cross-entropy.

Focal and varifocal loss are smaller by design: they silence the easy negatives that make up most of the cross-entropy.
At the same gain the boxes' terms would drown them. For varifocal loss, 6 restores PP-YOLOE's balance (class 1 : IoU 2.5
: DFL 0.5, arXiv:2203.16250) beside Ultralytics' gains (0.5 : 7.5 : 1.5). For focal loss, 8 lies between what
`focal_alpha` 0.25 and `focal_gamma` 2 leave of an undecided positive's gradient (1/7) and of the whole term of an
untrained head (1/9 to 1/10 for one class). Both are where a search starts, not its result. RT-DETR's class term is made
for varifocal loss and stays at 1 throughout.
"""

_ElementwiseLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings:
    """Which losses to train with. A number counts only where the loss it belongs to is chosen.

    Raises:
        UserError: A name is unknown or a number is out of its range.
    """

    iou_loss: str | None = None
    """Of `IOU_LOSSES`; None is the head's own: ciou for YOLO, giou for RT-DETR."""
    cls_loss: str | None = None
    """Of `CLS_LOSSES`; None is the head's own: bce for YOLO, Ultralytics' varifocal for RT-DETR."""
    cls_scale: float | None = None
    """Factor of the class term, on top of the `cls` gain; None takes `CLS_SCALES` for YOLO heads, 1 for RT-DETR."""
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    vfl_alpha: float = 0.75
    vfl_gamma: float = 2.0
    siou_theta: float = 4.0
    wiou_version: int = 3
    """1: static; 3: with the running mean."""
    wiou_alpha: float = 1.9
    wiou_delta: float = 3.0
    wiou_updates: int = 7000
    """Batches after which WIoU v3's running mean has forgotten 95 % of where it started; see `losses.RunningMean`."""

    def __post_init__(self) -> None:
        _check_name("iou_loss", self.iou_loss, IOU_LOSSES)
        _check_name("cls_loss", self.cls_loss, CLS_LOSSES)
        if self.cls_scale is not None:
            _check_number("cls_scale", self.cls_scale, above=0)
        for name in ("focal_alpha", "vfl_alpha"):
            _check_number(name, getattr(self, name), least=0, most=1)
        for name in ("focal_gamma", "vfl_gamma"):
            _check_number(name, getattr(self, name), least=0)
        _check_number("siou_theta", self.siou_theta, least=1)  # below, equal sides would have no finite slope
        _check_number("wiou_delta", self.wiou_delta, above=0)
        _check_number("wiou_alpha", self.wiou_alpha, above=1)
        _check_number("wiou_updates", self.wiou_updates, least=1)
        if self.wiou_version not in (1, 3):
            raise UserError(f"wiou_version={self.wiou_version}: choose 1 or 3.")


def build_criterion(
    model: nn.Module, settings: LossSettings | None = None, *, epochs_done: int = 0
) -> v8DetectionLoss | E2ELoss | RTDETRDetectionLoss:
    """Make the loss of a detection model, to be assigned to `model.criterion`.

    Args:
        model: Ultralytics' DetectionModel or RTDETRDetectionModel, on its device, not wrapped for several GPUs. Of a
            YOLO model `model.args` must be the training's arguments (gains `box`, `cls`, `dfl`, and `epochs`) and, if
            classes are weighted, `model.class_weights` must be set already.
        settings: Which losses; by default the head's own.
        epochs_done: Of a training that is resumed. An end-to-end head (YOLOv10, YOLO26) weighs its two branches by it.

    Returns:
        A criterion that is called as Ultralytics calls its own. For RT-DETR it replaces the class and the GIoU terms
        of every layer; the matching of queries to truth still costs GIoU.

    Raises:
        UserError: The model is none that these losses fit.
    """
    settings = settings or LossSettings()
    layers = getattr(model, "model", None)
    head = layers[-1] if isinstance(layers, nn.Sequential) else None
    if isinstance(head, RTDETRDecoder):
        return RTDETRLoss(head.nc, settings, layers=head.num_decoder_layers + 1)  # the encoder's proposals are one more
    if type(head) not in (Detect, v10Detect):
        raise UserError(
            f"the model's head is {type(head).__name__ if head is not None else 'unknown'}, and "
            f"the losses here are for box detection alone: expected Detect, v10Detect or RTDETRDecoder. "
            "Choose a detection model (yolov8, yolov10, yolo11, yolo12, yolo26, rtdetr, or train/models)."
        )
    if getattr(head, "one2one_cv2", None) is None:
        return DetectionLoss(model, settings=settings)
    criterion = E2ELoss(model, partial(DetectionLoss, settings=settings))
    if epochs_done > 0:
        criterion.updates = epochs_done - 1
        criterion.update()
    return criterion


class DetectionLoss(v8DetectionLoss):
    """The loss of one branch of a YOLO head, with the box and class terms of `settings`."""

    def __init__(
        self, model: nn.Module, tal_topk: int = 10, tal_topk2: int | None = None, *, settings: LossSettings
    ) -> None:
        super().__init__(model, tal_topk, tal_topk2)
        if settings.iou_loss not in (None, "ciou"):
            self.bbox_loss = _BoxLoss(self.reg_max, _iou_loss(settings)).to(self.device)
        cls_loss = settings.cls_loss or "bce"
        scale = CLS_SCALES[cls_loss] if settings.cls_scale is None else settings.cls_scale
        if cls_loss != "bce" or scale != 1:
            self.bce: Any = partial(_scaled, loss=_cls_loss(cls_loss, settings), scale=scale)


class _BoxLoss(BboxLoss):
    """Ultralytics' box terms with another IoU loss; the second term, DFL or L1, is its own."""

    def __init__(self, reg_max: int, iou_loss: _ElementwiseLoss) -> None:
        super().__init__(reg_max)
        self.iou_loss = iou_loss

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor,
        fg_mask: Tensor,
        imgsz: Tensor,
        stride: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The two terms; arguments and normalisation are the parent's, whose IoU term is dropped."""
        _, distance_term = super().forward(
            pred_dist,
            pred_bboxes,
            anchor_points,
            target_bboxes,
            target_scores,
            target_scores_sum,
            fg_mask,
            imgsz,
            stride,
        )
        weight = target_scores[fg_mask].sum(-1)
        iou_term = (self.iou_loss(pred_bboxes[fg_mask], target_bboxes[fg_mask]) * weight).sum() / target_scores_sum
        return iou_term, distance_term


class RTDETRLoss(RTDETRDetectionLoss):
    """RT-DETR's loss with the box and class terms of `settings`, in every decoder layer and for denoising queries.

    Where `settings` name a class loss, it is summed over queries and divided by the number of truth boxes, as
    Ultralytics does for varifocal loss; for cross-entropy, too, which Ultralytics divides by the number of queries.
    """

    def __init__(self, nc: int, settings: LossSettings, layers: int) -> None:
        """See `build_criterion`.

        Args:
            nc: Number of classes.
            settings: Which losses.
            layers: How often the box loss is called for one batch, for WIoU's running mean.
        """
        super().__init__(nc=nc, use_vfl=True)
        self.cls_name = settings.cls_loss
        self.cls_loss = _cls_loss(settings.cls_loss, settings) if settings.cls_loss else None
        self.loss_gain["class"] *= 1.0 if settings.cls_scale is None else settings.cls_scale
        # Denoising queries start near the truth: WIoU must not measure the others by their mean.
        self.iou_losses = (
            {}
            if settings.iou_loss in (None, "giou")
            else {postfix: _iou_loss(settings, calls_per_batch=layers) for postfix in ("", "_dn")}
        )

    def _get_loss_class(
        self, pred_scores: Tensor, targets: Tensor, gt_scores: Tensor, num_gts: int, postfix: str = ""
    ) -> dict[str, Tensor]:
        if self.cls_loss is None:
            return super()._get_loss_class(pred_scores, targets, gt_scores, num_gts, postfix)
        scores = nn.functional.one_hot(targets, self.nc + 1)[..., :-1].to(gt_scores.dtype)
        if self.cls_name != "focal":  # which asks for labels; the others for how well the box fits
            scores = scores * gt_scores.unsqueeze(-1)
        loss = self.cls_loss(pred_scores, scores).sum() / max(num_gts, 1)
        return {f"loss_class{postfix}": loss * self.loss_gain["class"]}

    def _get_loss_bbox(self, pred_bboxes: Tensor, gt_bboxes: Tensor, postfix: str = "") -> dict[str, Tensor]:
        terms = super()._get_loss_bbox(pred_bboxes, gt_bboxes, postfix)
        if self.iou_losses and len(gt_bboxes):
            loss = self.iou_losses[postfix](xywh2xyxy(pred_bboxes), xywh2xyxy(gt_bboxes)).sum() / len(gt_bboxes)
            terms[f"loss_giou{postfix}"] = self.loss_gain["giou"] * loss
        return terms


def _iou_loss(settings: LossSettings, calls_per_batch: int = 1) -> _ElementwiseLoss:
    """The box loss, (N, 4) and (N, 4) to (N,), with a running mean of its own where it needs one."""
    match settings.iou_loss:
        case "ciou":
            return losses.ciou_loss
        case "diou":
            return losses.diou_loss
        case "giou":
            return losses.giou_loss
        case "siou":
            return partial(losses.siou_loss, theta=settings.siou_theta)
        case "wiou" if settings.wiou_version == 1:
            return losses.wiou_v1_loss
        case "wiou":
            mean = losses.RunningMean(settings.wiou_updates * calls_per_batch)
            return partial(losses.wiou_v3_loss, running_mean=mean, alpha=settings.wiou_alpha, delta=settings.wiou_delta)
    raise AssertionError(settings.iou_loss)


def _cls_loss(name: str, settings: LossSettings) -> _ElementwiseLoss:
    match name:
        case "bce":
            return losses.bce_loss
        case "focal":
            return partial(losses.focal_loss, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
        case "varifocal":
            return partial(losses.varifocal_loss, alpha=settings.vfl_alpha, gamma=settings.vfl_gamma)
    raise AssertionError(name)


def _scaled(logits: Tensor, targets: Tensor, loss: _ElementwiseLoss, scale: float) -> Tensor:
    return loss(logits, targets) * scale


def _check_name(argument: str, value: Any, names: tuple[str, ...]) -> None:
    if value is not None and value not in names:
        raise UserError(f"{argument}={value}: no such loss. Choose one of {', '.join(names)}, or leave it out.")


def _check_number(
    argument: str, value: Any, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most or value <= above:
        low = f"more than {above:g}" if above > -math.inf else f"at least {least:g}"
        high = f" and at most {most:g}" if most < math.inf else ""
        raise UserError(f"{argument}={value}: expected a number, {low}{high}.")
