from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torchvision import ops

from common.errors import UserError
from common.paths import PROJECT
from train.detector import losses
from train.detector.criterion import CLS_LOSSES, CLS_SCALES, IOU_LOSSES, LossSettings, build_criterion

from ultralytics.cfg import get_cfg  # isort: skip  (after train.detector.criterion, which imports it quietly)
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, SegmentationModel  # isort: skip

YOLO = ("yolov8n.yaml", "yolo11n.yaml", "yolov10n.yaml", "yolo26n.yaml", str(PROJECT / "train/models/basic-cnn.yaml"))
RTDETR = "rtdetr-resnet50.yaml"
ONE_BY_ONE = [{"iou_loss": name} for name in IOU_LOSSES] + [{"cls_loss": name} for name in CLS_LOSSES]
ONE_BY_ONE.append({"iou_loss": "wiou", "wiou_version": 1})


def label(value) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else value.rsplit("/", 1)[-1]


def make_batch(channels: int, *, boxes: bool = True) -> dict[str, torch.Tensor]:
    """Three pictures of 64 pixels: two boxes, none, one."""
    rows = [[0, 0.3, 0.35, 0.4, 0.5], [0, 0.7, 0.6, 0.45, 0.4], [2, 0.5, 0.5, 0.6, 0.7]] if boxes else []
    table = torch.tensor(rows).reshape(-1, 5)
    image = torch.rand(3, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    return {"img": image, "batch_idx": table[:, 0], "cls": torch.zeros(len(rows), 1), "bboxes": table[:, 1:]}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """So small tensors are faster on one thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model_of():
    """Builds each model once; with its arguments, in training mode."""
    models: dict[str, torch.nn.Module] = {}

    def build(name: str) -> torch.nn.Module:
        if name not in models:
            torch.manual_seed(0)
            rtdetr = name == RTDETR
            models[name] = (RTDETRDetectionModel if rtdetr else DetectionModel)(
                name, ch=3 if rtdetr else 1, nc=1, verbose=False
            ).train()
            models[name].args = get_cfg(overrides={"epochs": 10})
        models[name].criterion = None
        models[name].zero_grad(set_to_none=True)
        return models[name]

    return build


@pytest.fixture(scope="module")
def predictions_of(model_of):
    """What a model predicts for `make_batch`, computed once, as leaves with gradients."""
    made: dict[tuple[str, bool], object] = {}

    def leaves(value):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.detach().clone().requires_grad_()
        if isinstance(value, dict):
            return {key: leaves(item) for key, item in value.items()}
        return type(value)(leaves(item) for item in value) if isinstance(value, list | tuple) else value

    @torch.no_grad()
    def forward(name: str, boxes: bool):
        model, batch = model_of(name), make_batch(3 if name == RTDETR else 1, boxes=boxes)
        torch.manual_seed(0)  # denoising queries are drawn
        if name != RTDETR:
            return model(batch["img"])
        targets = {
            "cls": batch["cls"].long().view(-1),
            "bboxes": batch["bboxes"],
            "batch_idx": batch["batch_idx"].long(),
            "gt_groups": [2, 0, 1] if boxes else [0, 0, 0],
        }
        return model.predict(batch["img"], batch=targets)

    def predict(name: str, *, boxes: bool = True):
        if (name, boxes) not in made:
            made[name, boxes] = forward(name, boxes)
        return leaves(made[name, boxes])

    return predict


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors(item)]


def evaluate(model, predictions, batch, criterion):
    """The summed loss, its items, and its gradient with respect to the predictions, joined."""
    model.criterion = criterion
    loss, items = model.loss(batch, predictions)
    inputs = [tensor for tensor in tensors(predictions) if tensor.requires_grad]
    for tensor in inputs:
        tensor.grad = None
    loss.sum().backward()
    gradient = torch.cat([tensor.grad.flatten() for tensor in inputs if tensor.grad is not None])
    return loss.detach().sum(), items, gradient


@pytest.mark.parametrize("boxes", [True, False], ids=["boxes", "empty"])
@pytest.mark.parametrize("name", [*YOLO, RTDETR], ids=label)
def test_defaults_are_ultralytics_own_loss(model_of, predictions_of, name, boxes):
    model, predictions = model_of(name), predictions_of(name, boxes=boxes)
    batch = make_batch(3 if name == RTDETR else 1, boxes=boxes)
    model.nc = 1  # as Ultralytics' trainers set it; its RT-DETR loss needs it

    stock = evaluate(model, predictions, batch, model.init_criterion())
    ours = evaluate(model, predictions, batch, build_criterion(model))

    assert stock[0] > 0
    torch.testing.assert_close(ours, stock, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*YOLO, RTDETR], ids=label)
def test_naming_the_heads_own_losses_changes_nothing(model_of, predictions_of, name):
    model, predictions, batch = model_of(name), predictions_of(name), make_batch(3 if name == RTDETR else 1)
    own = (
        {"iou_loss": "giou", "cls_loss": "varifocal", "vfl_alpha": 0.25, "vfl_gamma": 1.5}
        if name == RTDETR
        else {"iou_loss": "ciou", "cls_loss": "bce"}
    )
    default = evaluate(model, predictions, batch, build_criterion(model))
    named = evaluate(model, predictions, batch, build_criterion(model, LossSettings(**own)))
    if name == RTDETR:  # a query that touches no truth is a negative of ours, and of no weight to Ultralytics
        torch.testing.assert_close(named[1], default[1], rtol=0.02, atol=0)
    else:
        torch.testing.assert_close(named, default, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("settings", ONE_BY_ONE, ids=label)
@pytest.mark.parametrize("name", [*YOLO, RTDETR], ids=label)
def test_every_variant_is_finite_and_its_own(model_of, predictions_of, name, settings):
    model = model_of(name)
    criterion = build_criterion(model, LossSettings(**settings))
    default = evaluate(model, predictions_of(name), make_batch(3 if name == RTDETR else 1), build_criterion(model))

    for boxes in (True, False):
        batch = make_batch(3 if name == RTDETR else 1, boxes=boxes)
        loss, items, gradient = evaluate(model, predictions_of(name, boxes=boxes), batch, criterion)
        assert loss.isfinite()
        assert loss > 0
        assert all(item.isfinite() for item in items.values())
        assert gradient.isfinite().all()
        assert gradient.any()
        if boxes:
            changed = {key for key in items if not torch.isclose(items[key], default[1][key], rtol=1e-6)}
            own = ("giou", None) if name == RTDETR else ("ciou", "bce")
            box_item = "giou_loss" if name == RTDETR else "box_loss"
            if settings.get("iou_loss") not in (None, own[0]):
                assert changed == {box_item}
            elif settings.get("cls_loss") not in (None, own[1]):
                assert changed == {"cls_loss"}
            else:
                assert not changed


@pytest.mark.parametrize("name", [YOLO[0], YOLO[3], YOLO[4]], ids=label)
def test_gradients_reach_every_parameter(model_of, name):
    model = model_of(name)
    model.criterion = build_criterion(model, LossSettings(iou_loss="wiou", cls_loss="varifocal"))
    loss, _ = model.loss(make_batch(1))
    loss.sum().backward()
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    assert all(value.grad is not None and value.grad.isfinite().all() for value in trained.values())
    assert next(iter(trained.values())).grad.any()


def test_box_term_is_the_weighted_loss_of_assigned_boxes(model_of, predictions_of):
    model = model_of(YOLO[0])
    criterion = build_criterion(model, LossSettings(iou_loss="giou"))
    seen = {}
    assigner = criterion.assigner

    def spy(scores, boxes, *rest):
        seen.update(boxes=boxes, result=assigner(scores, boxes, *rest))
        return seen["result"]

    criterion.assigner = spy
    items = evaluate(model, predictions_of(YOLO[0]), make_batch(1), criterion)[1]
    _, target_boxes, target_scores, foreground, _ = seen["result"]
    giou = ops.generalized_box_iou_loss(seen["boxes"][foreground], target_boxes[foreground])
    weight = target_scores[foreground].sum(-1)
    expected = 7.5 * (giou * weight).sum() / target_scores.sum().clamp(min=1)
    assert foreground.any()
    torch.testing.assert_close(items["box_loss"], expected, rtol=1e-4, atol=1e-6)


def test_class_term_is_the_scaled_loss_of_assigned_scores(model_of, predictions_of):
    model, predictions = model_of(YOLO[0]), predictions_of(YOLO[0])
    criterion = build_criterion(model, LossSettings(cls_loss="focal", cls_scale=3, focal_alpha=0.4, focal_gamma=1.5))
    seen = {}
    assigner = criterion.assigner

    def spy(*args):
        seen["scores"] = assigner(*args)[2]
        return assigner(*args)

    criterion.assigner = spy
    items = evaluate(model, predictions, make_batch(1), criterion)[1]
    focal = ops.sigmoid_focal_loss(predictions["scores"].detach().permute(0, 2, 1), seen["scores"], 0.4, 1.5)
    torch.testing.assert_close(items["cls_loss"], 0.5 * 3 * focal.sum() / seen["scores"].sum().clamp(min=1))


@pytest.mark.parametrize("cls_loss", ["bce", "focal", "varifocal"])
def test_class_scale(model_of, predictions_of, cls_loss):
    def class_item(name, scale):
        model, batch = model_of(name), make_batch(3 if name == RTDETR else 1)
        criterion = build_criterion(model, LossSettings(cls_loss=cls_loss, cls_scale=scale))
        return evaluate(model, predictions_of(name), batch, criterion)[1]["cls_loss"]

    torch.testing.assert_close(class_item(YOLO[0], None), class_item(YOLO[0], 1) * CLS_SCALES[cls_loss])
    torch.testing.assert_close(class_item(RTDETR, None), class_item(RTDETR, 1))
    torch.testing.assert_close(class_item(RTDETR, 2.5), class_item(RTDETR, 1) * 2.5)


def test_rtdetr_focal_is_ultralytics(model_of, predictions_of):
    from ultralytics.models.utils.loss import RTDETRDetectionLoss

    model, predictions, batch = model_of(RTDETR), predictions_of(RTDETR), make_batch(3)
    reference = evaluate(model, predictions, batch, RTDETRDetectionLoss(nc=1, use_fl=True, gamma=1.5, alpha=0.4))
    settings = LossSettings(cls_loss="focal", focal_alpha=0.4, focal_gamma=1.5)
    torch.testing.assert_close(evaluate(model, predictions, batch, build_criterion(model, settings)), reference)


def test_rtdetr_box_term_is_of_corners(model_of):
    criterion = build_criterion(model_of(RTDETR), LossSettings(iou_loss="diou"))
    pred, truth = torch.tensor([[0.4, 0.4, 0.2, 0.2]]), torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    terms = criterion._get_loss_bbox(pred, truth)
    assert terms["loss_giou"].item() == pytest.approx(2 * (6 / 7 + 2 / 18), abs=1e-5)
    assert terms["loss_bbox"].item() == pytest.approx(5 * 0.2, abs=1e-5)


def running_means(criterion) -> list[losses.RunningMean]:
    if hasattr(criterion, "one2many"):
        return running_means(criterion.one2many) + running_means(criterion.one2one)
    functions = criterion.iou_losses.values() if hasattr(criterion, "iou_losses") else [criterion.bbox_loss.iou_loss]
    return [function.keywords["running_mean"] for function in functions]


@pytest.mark.parametrize("name", [YOLO[0], YOLO[3], RTDETR], ids=label)
def test_wiou_means_are_apart_and_still_in_validation(model_of, predictions_of, name):
    model, batch = model_of(name), make_batch(3 if name == RTDETR else 1)
    model.criterion = build_criterion(model, LossSettings(iou_loss="wiou", wiou_updates=5))
    means = running_means(model.criterion)
    assert len(set(map(id, means))) == len(means) == (1 if name == YOLO[0] else 2)

    with torch.no_grad():
        model.loss(batch, predictions_of(name))
    assert [mean.value.item() for mean in means] == [1] * len(means)
    model.loss(batch, predictions_of(name))
    values = [mean.value.item() for mean in means]
    assert all(0 < value < 1 for value in values)
    assert len(set(values)) == len(values)

    assert running_means(copy.deepcopy(model.criterion)) == means  # the averaged model validates with the same mean


@pytest.mark.parametrize("name", [YOLO[0], YOLO[3], RTDETR], ids=label)
def test_criterion_holds_no_state_and_can_be_pickled(model_of, predictions_of, name):
    model, batch = model_of(name), make_batch(3 if name == RTDETR else 1)
    before = set(model.state_dict())
    criterion = build_criterion(model, LossSettings(iou_loss="wiou", cls_loss="focal"))
    model.criterion = criterion
    assert set(model.state_dict()) == before
    assert not [key for key, _ in model.named_parameters() if "criterion" in key]

    expected = evaluate(model, predictions_of(name), batch, copy.deepcopy(criterion))
    fresh = build_criterion(model, LossSettings(iou_loss="wiou", cls_loss="focal"))
    actual = evaluate(model, predictions_of(name), batch, pickle.loads(pickle.dumps(fresh)))
    torch.testing.assert_close(actual, expected)


def test_class_weights_count(model_of, predictions_of):
    model, predictions, batch = model_of(YOLO[0]), predictions_of(YOLO[0]), make_batch(1)
    settings = LossSettings(cls_loss="varifocal")
    plain = evaluate(model, predictions, batch, build_criterion(model, settings))[1]["cls_loss"]
    model.class_weights = torch.tensor([3.0])
    try:
        weighted = evaluate(model, predictions, batch, build_criterion(model, settings))[1]["cls_loss"]
    finally:
        del model.class_weights
    torch.testing.assert_close(weighted, plain * 3)


def test_resumed_end_to_end_head_goes_on_with_its_weights(model_of):
    model = model_of(YOLO[3])
    went_through, resumed = build_criterion(model), build_criterion(model, epochs_done=4)
    for _ in range(4):
        went_through.update()
    assert (resumed.updates, resumed.o2m, resumed.o2o) == (4, went_through.o2m, went_through.o2o)
    assert resumed.o2m < build_criterion(model).o2m


def test_mixed_precision(model_of, predictions_of):
    model, predictions, batch = model_of(YOLO[0]), predictions_of(YOLO[0]), make_batch(1)
    criterion = build_criterion(model, LossSettings(iou_loss="siou", cls_loss="varifocal"))
    single = evaluate(model, predictions, batch, criterion)[1]
    half = {
        key: [item.bfloat16() for item in value] if isinstance(value, list) else value.detach().bfloat16()
        for key, value in predictions.items()
    }
    with torch.autocast("cpu", torch.bfloat16):
        items = criterion(half, batch)[1]
    torch.testing.assert_close(items, single, rtol=0.1, atol=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"iou_loss": "eiou"}, "iou_loss=eiou: no such loss. Choose one of ciou, diou, giou, siou, wiou"),
        ({"cls_loss": "BCE"}, "cls_loss=BCE: no such loss. Choose one of bce, focal, varifocal"),
        ({"cls_scale": 0}, "cls_scale=0: expected a number, more than 0"),
        ({"focal_alpha": 1.5}, "focal_alpha=1.5: expected a number, at least 0 and at most 1"),
        ({"vfl_alpha": "x"}, "vfl_alpha=x: expected a number"),
        ({"focal_gamma": -1}, "focal_gamma=-1: expected a number, at least 0"),
        ({"vfl_gamma": float("nan")}, "vfl_gamma=nan"),
        ({"siou_theta": 0.5}, "siou_theta=0.5: expected a number, at least 1"),
        ({"wiou_alpha": 1}, "wiou_alpha=1: expected a number, more than 1"),
        ({"wiou_delta": 0}, "wiou_delta=0"),
        ({"wiou_updates": 0}, "wiou_updates=0: expected a number, at least 1"),
        ({"wiou_version": 2}, "wiou_version=2: choose 1 or 3"),
    ],
    ids=label,
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UserError) as caught:
        LossSettings(**settings)
    assert words in str(caught.value)


def test_other_tasks_are_refused():
    model = SegmentationModel("yolov8n-seg.yaml", ch=1, nc=1, verbose=False)
    model.args = get_cfg()
    with pytest.raises(UserError, match=r"head is Segment, .*expected Detect"):
        build_criterion(model)
    with pytest.raises(UserError, match="head is unknown"):
        build_criterion(torch.nn.Linear(1, 1))
