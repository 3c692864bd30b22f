from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError

torch = pytest.importorskip("torch")

from evaluate.classifier import architectures  # noqa: E402
from evaluate.classifier.architectures import Architecture  # noqa: E402
from evaluate.classifier.networks import ImageNetwork  # noqa: E402

SMALL = "torchvision:shufflenet_v2_x0_5"
NAMES = {0: "Lung_Opacity", 1: "Normal"}


def grey(side: int = 64, pictures: int = 2):
    """Pictures of three equal channels."""
    values = np.random.default_rng(0).random((pictures, 1, side, side), dtype=np.float32)
    return torch.tensor(values).expand(-1, 3, -1, -1)


def make(name: str = SMALL, imgsz: int = 64, **more) -> ImageNetwork:
    torch.manual_seed(0)
    made = ImageNetwork(name, 2, imgsz, **more).eval()
    made.names = NAMES
    return made


def stored(model: ImageNetwork, path: Path | None = None):
    """A checkpoint's bytes, as a file to read."""
    file = path or io.BytesIO()
    torch.save({"model": model, "train_args": {"imgsz": 64, "task": "classify"}}, file)
    if path is None:
        file.seek(0)
    return file


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "mobilenet_v3_small", "squeezenet1_1"),
        *("shufflenet_v2_x0_5", "regnet_y_400mf", "swin_v2_t", "vit_b_16", "mnasnet0_5", "vgg11"),
    ],
)
def test_torchvisions_networks_look_at_one_channel_and_give_the_classes(name):
    model = make(f"torchvision:{name}")
    first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    assert first.in_channels == 1
    with torch.inference_mode():
        shares, logits = model(grey())
    assert logits.shape == (2, 2)
    torch.testing.assert_close(shares, logits.softmax(1))
    assert model.train()(grey()).shape == (2, 2)


def test_it_is_the_librarys_network_on_normalised_pixels():
    from torchvision.models import shufflenet_v2_x0_5

    model, pictures = make(), grey()
    theirs = shufflenet_v2_x0_5(num_classes=2)
    state = model.network.state_dict()
    for_colour = {**state, "conv1.0.weight": state["conv1.0.weight"].repeat(1, 3, 1, 1) / 3}
    theirs.load_state_dict(for_colour)
    mean, std = sum((0.485, 0.456, 0.406)) / 3, sum((0.229, 0.224, 0.225)) / 3
    with torch.inference_mode():
        torch.testing.assert_close(model(pictures)[1], theirs.eval()((pictures - mean) / std), rtol=1e-4, atol=1e-5)


def test_xrv_sees_pixels_as_its_library_gives_them():
    """From -1024 for black to 1024 for white."""
    model = make("xrv:densenet121-res224-all")
    seen = []
    model.network.features.conv0.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.inference_mode():
        model(torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 1, 64, 192)[..., :64].expand(-1, 3, -1, -1))
        model(torch.zeros(1, 3, 64, 64))
        model(torch.ones(1, 3, 64, 64))
    assert (seen[1] == -1024).all()
    assert (seen[2] == 1024).all()
    assert seen[0].shape == (1, 1, 64, 64)


def test_a_checkpoint_holds_a_name_and_tensors_and_gives_the_same_network():
    model = make()
    model.yaml["pretrained_on"] = "seen"
    file = stored(copy.deepcopy(model).half())
    assert set(torch.serialization.get_unsafe_globals_in_checkpoint(file)) == set()  # but for those that are allowed
    file.seek(0)
    again = torch.load(file, weights_only=True)["model"].eval()
    assert isinstance(again, ImageNetwork)
    assert (again.names, again.yaml["architecture"], again.yaml["pretrained_on"]) == (NAMES, SMALL, "seen")
    with torch.inference_mode():
        torch.testing.assert_close(again(grey())[1], model.half().float()(grey())[1], rtol=0, atol=0)


def test_a_detector_s_place_is_not_for_it(tmp_path):
    """Whoever looks for a detector has not imported the module that lets its class be loaded."""
    from evaluate.detector.weights import load_weights

    stored(make(), tmp_path / "best.pt")
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(UserError, match=r"best\.pt: holds an image classifier, a gate of this project; expected a"):
            load_weights(tmp_path / "best.pt")
    finally:
        torch.serialization.add_safe_globals([ImageNetwork])
    with pytest.raises(UserError, match="a model for the task 'classify'; expected a detector"):
        load_weights(tmp_path / "best.pt")


def test_a_changed_default_of_the_library_changes_no_stored_network(monkeypatch):
    model = make()
    file = stored(model)
    monkeypatch.setattr(architectures, "_IMAGENET_MEAN", (0.1, 0.1, 0.1))
    assert torch.load(file, weights_only=True)["model"].yaml["mean"] == model.yaml["mean"] != 0.1


def test_a_copy_keeps_precision_and_shares_nothing():
    model = make().half()
    made = copy.deepcopy(model)
    one, other = next(model.parameters()), next(made.parameters())
    assert other.dtype == torch.float16
    assert other.data_ptr() != one.data_ptr()
    assert (made.names, made.yaml) == (model.names, model.yaml)


def test_no_path_and_no_address_is_a_network(tmp_path):
    """What a checkpoint names is built, and timm would fetch or read what these say."""
    for name in (
        "timm:hf-hub:someone/model",
        "timm:local-dir:/tmp",
        "timm:../x",
        "timm:",
        "other:resnet18",
        "resnet18",
    ):
        with pytest.raises(UserError, match="expected a network's name after its library"):
            Architecture.parse(name)
    for name in ("torchvision:resnet19", "torchvision:googlenet", "xrv:alexnet"):
        with pytest.raises(UserError, match="has no such image classifier here"):
            Architecture.parse(name)
    evil = make()
    evil.yaml["architecture"] = "timm:hf-hub:someone/model"
    file = stored(evil)
    with pytest.raises(UserError, match="expected a network's name after its library"):
        torch.load(file, weights_only=True)


def test_a_size_that_no_network_has():
    with pytest.raises(UserError, match=r"torchvision:vit_b_16: cannot be built for imgsz=65 \("):
        make("torchvision:vit_b_16", imgsz=65)


def test_a_size_that_a_network_cannot_look_at():
    model = make("torchvision:maxvit_t", imgsz=64)
    with pytest.raises(UserError, match=r"torchvision:maxvit_t: cannot look at pictures of imgsz=64 \("):
        model.check()
    make().check()


def test_the_classes_are_equally_likely_at_first():
    for name in (SMALL, "torchvision:efficientnet_b0", "torchvision:convnext_tiny"):
        with torch.inference_mode():
            shares, _ = make(name)(grey())
        assert shares.min() > 0.3


def test_timm_is_told_how_to_get(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm, which is not installed; `pip install '.\[gate\]'`"):
        Architecture.parse("timm:convnext_tiny")


@pytest.mark.parametrize(
    ("name", "imgsz"), [("tf_efficientnet_lite0", 64), ("vit_tiny_patch16_224", 64), ("convnext_atto", 64)]
)
def test_timms_networks(name, imgsz):
    pytest.importorskip("timm", reason="the extra [gate] is not installed")
    model = make(f"timm:{name}", imgsz)
    with torch.inference_mode():
        shares, logits = model(grey(imgsz))
    assert logits.shape == (2, 2)
    assert shares.min() > 0.05
    again = torch.load(stored(model), weights_only=True)["model"].eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(grey(imgsz))[1], logits, rtol=0, atol=0)
    with pytest.raises(UserError, match="timm has no such image classifier here"):
        Architecture.parse("timm:no_such_network")
