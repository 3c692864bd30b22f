from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torchvision import ops

from train.detector import losses
from train.detector.losses import RunningMean


def wiou_v3(pred, target):
    return losses.wiou_v3_loss(pred, target, RunningMean())


BOX_LOSSES = {
    "giou": losses.giou_loss,
    "diou": losses.diou_loss,
    "ciou": losses.ciou_loss,
    "siou": losses.siou_loss,
    "wiou_v1": losses.wiou_v1_loss,
    "wiou_v3": wiou_v3,
}
CLS_LOSSES = {"bce": losses.bce_loss, "focal": losses.focal_loss, "varifocal": losses.varifocal_loss}

every_box_loss = pytest.mark.parametrize("loss", BOX_LOSSES.values(), ids=BOX_LOSSES)
every_cls_loss = pytest.mark.parametrize("loss", CLS_LOSSES.values(), ids=CLS_LOSSES)

# Overlap 1 x 1, areas 4 and 4, union 7, hull 3 x 3, centres (1, 1) and (2, 2).
CORNER = ([[0.0, 0.0, 2.0, 2.0]], [[1.0, 1.0, 3.0, 3.0]])


def boxes(count: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pairs, in part overlapping, of whole sizes from 1 to 60."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 50, (2, count, 2), generator=random).float()
    sizes = torch.randint(1, 60, (2, count, 2), generator=random).float()
    both = torch.cat((corners, corners + sizes), -1)
    return both[0], both[1]


# --- the papers' formulas, one pair of boxes at a time, in plain Python ---------------------------------------------


def geometry(a, b):
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    centres = ((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
    hull = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    return iou, centres, hull


def paper_siou(pred, truth, theta=4):
    iou, ((x, y), (x_gt, y_gt)), (c_w, c_h) = geometry(pred, truth)
    sigma = math.hypot(x_gt - x, y_gt - y)
    sine = (max(y_gt, y) - min(y_gt, y)) / sigma if sigma else 0
    angle_cost = 1 - 2 * math.sin(math.asin(sine) - math.pi / 4) ** 2
    gamma = 2 - angle_cost
    distance_cost = (1 - math.exp(-gamma * ((x_gt - x) / c_w) ** 2)) + (1 - math.exp(-gamma * ((y_gt - y) / c_h) ** 2))
    w, h, w_gt, h_gt = pred[2] - pred[0], pred[3] - pred[1], truth[2] - truth[0], truth[3] - truth[1]
    omega_w, omega_h = abs(w - w_gt) / max(w, w_gt), abs(h - h_gt) / max(h, h_gt)
    shape_cost = (1 - math.exp(-omega_w)) ** theta + (1 - math.exp(-omega_h)) ** theta
    return 1 - iou + (distance_cost + shape_cost) / 2


def paper_wiou_v1(pred, truth):
    iou, ((x, y), (x_gt, y_gt)), (w_g, h_g) = geometry(pred, truth)
    return math.exp(((x - x_gt) ** 2 + (y - y_gt) ** 2) / (w_g**2 + h_g**2)) * (1 - iou)


def paper_wiou_v3(pred, truth, mean, alpha=1.9, delta=3):
    beta = (1 - geometry(pred, truth)[0]) / mean
    return beta / (delta * alpha ** (beta - delta)) * paper_wiou_v1(pred, truth)


def paper_varifocal(logit, q, alpha, gamma):
    p = 1 / (1 + math.exp(-logit))
    if q > 0:
        return -q * (q * math.log(p) + (1 - q) * math.log(1 - p))
    return -alpha * p**gamma * math.log(1 - p)


# --- boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (losses.giou_loss, ops.generalized_box_iou_loss),
        (losses.diou_loss, ops.distance_box_iou_loss),
        (losses.ciou_loss, ops.complete_box_iou_loss),
    ],
)
def test_values_and_gradients_are_torchvisions(loss, reference):
    pred, target = boxes()
    ours, theirs = pred.clone().requires_grad_(), pred.clone().requires_grad_()

    torch.testing.assert_close(loss(ours, target), reference(theirs, target), rtol=0, atol=1e-5)

    loss(ours, target).sum().backward()
    reference(theirs, target).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("theta", [2.0, 4.0])
def test_siou_is_the_papers(theta):
    pred, target = boxes()
    expected = torch.tensor([paper_siou(*pair, theta) for pair in zip(pred.tolist(), target.tolist(), strict=True)])
    torch.testing.assert_close(losses.siou_loss(pred, target, theta), expected, rtol=0, atol=1e-5)


def test_wiou_v1_is_the_papers():
    pred, target = boxes()
    expected = torch.tensor([paper_wiou_v1(*pair) for pair in zip(pred.tolist(), target.tolist(), strict=True)])
    torch.testing.assert_close(losses.wiou_v1_loss(pred, target), expected, rtol=0, atol=1e-5)


def test_wiou_v3_is_the_papers_over_several_batches():
    running_mean, mean, momentum = RunningMean(updates=20), 1.0, 1 - 0.05 ** (1 / 20)
    for seed in range(3):
        pred, target = boxes(seed=seed)
        pairs = list(zip(pred.tolist(), target.tolist(), strict=True))
        mean = (1 - momentum) * mean + momentum * sum(1 - geometry(*pair)[0] for pair in pairs) / len(pairs)
        expected = torch.tensor([paper_wiou_v3(*pair, mean, alpha=1.6, delta=4) for pair in pairs])
        actual = losses.wiou_v3_loss(pred, target, running_mean, alpha=1.6, delta=4)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        assert running_mean.value.item() == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.giou_loss, 6 / 7 + 2 / 9),
        (losses.diou_loss, 6 / 7 + 2 / 18),
        (losses.ciou_loss, 6 / 7 + 2 / 18),  # of the same shape
        (losses.siou_loss, 6 / 7 + (1 - math.exp(-1 / 9))),  # at 45 degrees: angle cost 1, both axes alike
        (losses.wiou_v1_loss, 6 / 7 * math.exp(2 / 18)),
    ],
)
def test_worked_example(loss, expected):
    pred, target = map(torch.tensor, CORNER)
    assert loss(pred, target).item() == pytest.approx(expected, abs=1e-6)


def test_siou_along_an_axis_counts_the_distance_double():
    pred, target = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    assert losses.siou_loss(pred, target).item() == pytest.approx(2 / 3 + (1 - math.exp(-2 / 9)) / 2, abs=1e-6)


def test_wiou_gradient_takes_hull_and_focus_as_constants():
    pred, target = (torch.tensor(box, dtype=torch.float64) for box in CORNER)
    pred.requires_grad_()
    mean = RunningMean()
    losses.wiou_v3_loss(pred, target, mean).sum().backward()

    def with_constants(x1):  # IoU and centre distance move with x1; hull and focus stay
        shared = 1 * (2 - max(x1, 1))
        iou = shared / ((2 - x1) * 2 + 4 - shared)
        return math.exp(((2 - (x1 + 2) / 2) ** 2 + 1) / 18) * (1 - iou)

    beta = 6 / 7 / mean.value.item()
    slope = (with_constants(1e-6) - with_constants(-1e-6)) / 2e-6 * beta / (3 * 1.9 ** (beta - 3))
    assert pred.grad[0, 0].item() == pytest.approx(slope, rel=1e-6)


def test_ciou_gradient_takes_the_shapes_weight_as_a_constant():
    pred, target = (
        torch.tensor([[0.0, 0.0, 4.0, 1.0]], dtype=torch.float64),
        torch.tensor([[1.0, 0.0, 3.0, 3.0]]).double(),
    )
    pred.requires_grad_()
    losses.ciou_loss(pred, target).sum().backward()

    def shape(width):
        return 4 / math.pi**2 * (math.atan(2 / 3) - math.atan(width)) ** 2

    weight = shape(4) / (1 - 2 / 8 + shape(4))
    diou = pred.detach().clone().requires_grad_()
    losses.diou_loss(diou, target).sum().backward()
    slope = weight * (shape(4 + 1e-6) - shape(4 - 1e-6)) / 2e-6
    assert (pred.grad - diou.grad)[0, 2].item() == pytest.approx(slope, rel=1e-5)


@every_box_loss
def test_boxes_that_fit_cost_nothing_and_others_something(loss):
    pred, target = boxes()
    torch.testing.assert_close(loss(target, target), torch.zeros(len(target)))
    differ = (pred != target).any(-1)
    assert (loss(pred, target)[differ] > 0).all()


@every_box_loss
def test_scale_does_not_matter(loss):
    pred, target = boxes()
    torch.testing.assert_close(loss(pred / 1024, target / 1024), loss(pred, target), rtol=1e-4, atol=1e-5)


@every_box_loss
def test_descent_brings_disjoint_boxes_together(loss):
    target = torch.tensor([[40.0, 40.0, 60.0, 70.0]])
    pred = torch.tensor([[30.0, 20.0, 50.0, 45.0]], requires_grad=True)
    optimizer = torch.optim.Adam([pred], lr=0.5)
    before = ops.box_iou(pred.detach(), target).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss(pred, target).sum().backward()
        optimizer.step()
    assert before < 0.1
    assert ops.box_iou(pred.detach(), target).item() > 0.9


DEGENERATE = {
    "identical": ([1.0, 2.0, 5.0, 6.0], [1.0, 2.0, 5.0, 6.0]),
    "disjoint": ([0.0, 0.0, 1.0, 1.0], [1e4, 1e4, 1.1e4, 1.2e4]),
    "touching": ([0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]),
    "point": ([3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 5.0, 6.0]),
    "points": ([3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]),
    "two points": ([3.0, 3.0, 3.0, 3.0], [4.0, 5.0, 4.0, 5.0]),
    "no width": ([3.0, 2.0, 3.0, 6.0], [3.0, 1.0, 3.0, 5.0]),
    "no height": ([1.0, 2.0, 5.0, 2.0], [1.0, 2.0, 5.0, 6.0]),
    "inverted": ([5.0, 6.0, 1.0, 2.0], [1.0, 2.0, 5.0, 6.0]),
    "origin": ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
}


@every_box_loss
@pytest.mark.parametrize("pair", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("scale", [1.0, 1 / 1024])
def test_degenerate_boxes_are_finite(loss, pair, scale):
    pred, target = (torch.tensor([box]) * scale for box in pair)
    pred.requires_grad_()
    value = loss(pred, target)
    value.sum().backward()
    assert value.isfinite().all()
    assert value.item() >= 0
    assert pred.grad.isfinite().all()


@every_box_loss
def test_shapes_and_precision(loss):
    pred, target = boxes(5)
    assert loss(pred, target).shape == (5,)
    assert loss(pred[:0], target[:0]).shape == (0,)
    assert loss(pred.double(), target.double()).dtype == torch.float64
    half = loss(pred.half() * 16, target * 16)  # areas of up to 900,000 are beyond half precision
    torch.testing.assert_close(half, loss(pred * 16, target * 16))


# --- the running mean -------------------------------------------------------------------------------------------------


def test_running_mean_forgets_95_percent_in_the_updates_given():
    mean = RunningMean(updates=50)
    for _ in range(50):
        mean.update(torch.zeros(3))
    assert mean.value.item() == pytest.approx(0.05, rel=1e-3)


def test_running_mean_stays_for_no_boxes_and_in_validation():
    mean = RunningMean(updates=2)
    mean.update(torch.zeros(0))
    with torch.no_grad():
        mean.update(torch.zeros(3))
    with torch.inference_mode():
        mean.update(torch.zeros(3))
    assert mean.value.item() == 1


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_running_mean_survives_what_is_no_number(broken):
    """One overflow in mixed precision must not make every later loss NaN."""
    mean = RunningMean(updates=2)
    mean.update(torch.tensor([0.5, broken]))
    assert mean.value.item() == 1
    mean.update(torch.full((2,), 0.5))
    assert 0.5 < mean.value.item() < 1
    pred, target = boxes()
    pred[0] = broken
    losses.wiou_v3_loss(pred, target, mean)
    assert losses.wiou_v3_loss(*boxes(), mean).isfinite().all()


def test_running_mean_holds_no_graph_and_is_shared_by_copies():
    mean = RunningMean(updates=2)
    mean.update(torch.zeros(3, requires_grad=True) * 2)
    assert not mean.value.requires_grad
    assert (
        copy.deepcopy({"loss": partial(losses.wiou_v3_loss, running_mean=mean)})["loss"].keywords["running_mean"]
        is mean
    )


# --- classes ----------------------------------------------------------------------------------------------------------


def scores(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 50, 1, generator=random) * 4
    targets = torch.rand(4, 50, 1, generator=random) * (torch.rand(4, 50, 1, generator=random) > 0.6)
    return logits, targets


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5), (0.5, 0.0)])
@pytest.mark.parametrize("hard", [True, False])
def test_focal_is_torchvisions(alpha, gamma, hard):
    logits, targets = scores()
    targets = targets.ceil() if hard else targets
    expected = ops.sigmoid_focal_loss(logits, targets, alpha, gamma)
    torch.testing.assert_close(losses.focal_loss(logits, targets, alpha, gamma), expected, rtol=1e-5, atol=1e-5)


def test_focal_worked_example():
    # p = 0.5; a positive: 0.25 * 0.25 * ln 2, a negative: 0.75 * 0.25 * ln 2
    values = losses.focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(values, torch.tensor([1 / 16, 3 / 16]) * math.log(2))


def test_bce_is_the_definition():
    logits, targets = scores()
    p = logits.double().sigmoid()
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log())
    torch.testing.assert_close(losses.bce_loss(logits, targets), expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (0.25, 1.5), (1.0, 0.0)])
def test_varifocal_is_the_papers(alpha, gamma):
    logits, targets = scores()
    pairs = zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True)
    expected = torch.tensor([paper_varifocal(x, q, alpha, gamma) for x, q in pairs]).view_as(logits)
    assert (targets == 0).any()
    assert (targets > 0).any()
    torch.testing.assert_close(losses.varifocal_loss(logits, targets, alpha, gamma), expected, rtol=1e-5, atol=1e-5)


def test_varifocal_positive_is_least_where_score_is_fit():
    logits = torch.linspace(-3, 3, 601)
    best = losses.varifocal_loss(logits, torch.full_like(logits, 0.7)).argmin()
    assert logits[best].sigmoid().item() == pytest.approx(0.7, abs=0.003)


@every_cls_loss
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_are_finite(loss, gamma):
    logits = torch.tensor([-200.0, -40.0, 0.0, 40.0, 200.0]).repeat(3, 1).requires_grad_()
    targets = torch.tensor([[0.0], [0.4], [1.0]]).expand(3, 5)
    value = loss(logits, targets) if loss is losses.bce_loss else loss(logits, targets, gamma=gamma)
    value.sum().backward()
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert logits.grad.isfinite().all()


@every_cls_loss
def test_elementwise_in_single_precision_at_least(loss):
    logits, targets = scores()
    assert loss(logits, targets).shape == logits.shape
    assert loss(logits[:0], targets[:0]).shape == (0, 50, 1)
    half = loss(logits.half(), targets.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.half().float(), targets.half().float()))
