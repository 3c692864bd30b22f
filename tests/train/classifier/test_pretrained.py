from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from torchvision import models

from common.errors import UserError, WorkError
from evaluate.classifier.architectures import Architecture
from evaluate.classifier.networks import ImageNetwork
from train.classifier import pretrained
from train.classifier.pretrained import SEEN, fetch, load_start, read_state

SMALL = "torchvision:shufflenet_v2_x0_5"


def network(name: str = SMALL, classes: int = 2) -> ImageNetwork:
    torch.manual_seed(1)
    return ImageNetwork(name, classes, 64).eval()


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    """A network as a library publishes it, for colour and a thousand classes; its numbers are drawn here."""
    torch.manual_seed(0)
    made = models.shufflenet_v2_x0_5(weights=None).eval()
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return made


def same_features(ours: ImageNetwork, theirs: torch.nn.Module) -> None:
    """Both see the same in a grey picture: what reaches the last layer is equal."""
    pictures = torch.rand(2, 1, 64, 64).expand(-1, 3, -1, -1)
    mean, std = ours.yaml["mean"], ours.yaml["std"]
    found = []
    hooks = [
        layer.register_forward_hook(lambda _, given, __: found.append(given[0]))
        for layer in (ours.network.fc, theirs.fc)
    ]
    with torch.inference_mode():
        ours(pictures)
        theirs((pictures - mean) / std)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    assert found[0].std() > 0.01


@pytest.mark.parametrize("kind", ["plain", "nested", "parallel", "half", "gate", "named otherwise"])
def test_weights_of_a_file_are_those_of_the_network(kind, published, tmp_path, capsys):
    state = published.state_dict()
    content = {
        "plain": state,
        "nested": {"state_dict": state, "epoch": 3},
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "half": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        "named otherwise": {f"net_{name}": value for name, value in state.items()},
    }
    file = tmp_path / "start.pth"
    if kind == "gate":
        gate = network(classes=3)
        load_start(gate, save(state, tmp_path / "first.pth"))
        save({"model": gate.half(), "train_args": {"imgsz": 64}}, file)
    else:
        save(content[kind], file)
    ours = network()
    before = ours.network.fc.weight.clone()
    load_start(ours, file)
    assert torch.equal(ours.network.fc.weight, before)  # of other classes
    theirs = published
    if kind in ("half", "gate"):
        theirs = models.shufflenet_v2_x0_5(weights=None).eval()
        theirs.load_state_dict({name: value.half().float() if value.is_floating_point() else value
                                for name, value in state.items()})  # fmt: skip
    same_features(ours, theirs)
    warned = kind == "named otherwise"
    assert ("taken in their order, in which all kinds and shapes agree" in capsys.readouterr().err) == warned
    assert ours.yaml["pretrained_on"] == ""


def save(content, file: Path) -> Path:
    torch.save(content, file)
    return file


def test_the_last_layer_is_taken_where_it_is_of_as_many_classes(published, tmp_path):
    ours = network(classes=1000)
    load_start(ours, save(published.state_dict(), tmp_path / "start.pt"))
    assert torch.equal(ours.network.fc.weight, published.fc.weight)


def test_safetensors_and_what_is_no_weights(published, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the extra [gate] is not installed")
    safetensors.save_file(published.state_dict(), tmp_path / "start.safetensors")
    ours = network()
    load_start(ours, tmp_path / "start.safetensors")
    same_features(ours, published)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            lambda: models.resnet18(weights=None).state_dict(),
            "found nothing for conv1.0.weight; expected (24, 1,",
        ),
        (lambda: {"epoch": 3}, "holds no tensors by name"),
        (lambda: [1, 2], "holds no tensors by name"),
    ],
)
def test_other_content_is_refused(content, words, tmp_path):
    file = save(content(), tmp_path / "start.pt")
    with pytest.raises(UserError) as caught:
        load_start(network(), file)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"pretrained: {file}: ")
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_shape_is_refused(published, tmp_path):
    state = published.state_dict()
    state["conv5.0.weight"] = torch.zeros(7, 192, 1, 1)
    with pytest.raises(UserError, match=r"found a tensor of \(7, 192, 1, 1\) for conv5.0.weight; expected \(1024, "):
        load_start(network(), save(state, tmp_path / "start.pt"))


class Runs:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_the_file_is_run(zipped, tmp_path):
    file = tmp_path / "start.pt"
    torch.save({"conv": Runs(tmp_path / "ran")}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"cannot be loaded as weights \(UnpicklingError"):
        read_state(file)
    assert not (tmp_path / "ran").exists()
    file.write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(UserError, match="cannot be loaded as weights"):
        read_state(file)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def whole_densenet(tmp_path, monkeypatch):
    """A file as TorchXRayVision publishes its DenseNets: the object, in PyTorch's early format, of its own classes."""
    library = types.ModuleType("torchxrayvision")
    library.models = types.ModuleType("torchxrayvision.models")
    monkeypatch.setitem(sys.modules, "torchxrayvision", library)
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", library.models)
    torch.manual_seed(2)
    made = models.densenet121(weights=None, num_classes=18)
    made.features.conv0 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    for layer in made.modules():
        if type(layer).__module__ == "torchvision.models.densenet":
            name = type(layer).__name__
            if not hasattr(library.models, name):
                theirs = type(name, (torch.nn.Module,), {"__module__": "torchxrayvision.models"})
                setattr(library.models, name, theirs)
            object.__setattr__(layer, "__class__", getattr(library.models, name))
    file = tmp_path / "nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
    torch.save(made, file, _use_new_zipfile_serialization=False)
    return file, {name: value.clone() for name, value in made.state_dict().items()}


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_densenet_of_xrv_is_read_and_what_it_has_seen_is_noted(whole_densenet):
    file, state = whole_densenet
    assert b"torchxrayvision.models" in file.read_bytes()
    ours = network("xrv:densenet121-res224-nih")
    load_start(ours, file)
    found = ours.network.state_dict()
    for name, value in state.items():
        if not name.startswith("classifier."):
            assert torch.equal(found[name], value), name
    assert ours.yaml["pretrained_on"] == SEEN
    padchest = file.rename(file.with_name(file.name.replace("nih-", "pc-")))
    load_start(ours, padchest)
    assert ours.yaml["pretrained_on"] == ""


def test_torchvisions_weights_are_fetched_once(published, tmp_path, monkeypatch):
    asked = []

    def download(url, target, hash_prefix=None, **_):
        asked.append((url, hash_prefix))
        torch.save(published.state_dict(), target)

    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        file = fetch(Architecture.parse(SMALL))
        assert file == tmp_path / "weights" / "shufflenetv2_x0.5-f707e7126e.pth"
    assert asked == [("https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth", "f707e7126e")]
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    ours = network()
    load_start(ours, file)
    same_features(ours, published)


def test_weights_that_cannot_be_fetched_are_told_with_their_address(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    for name, url in (
        (SMALL, "https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth"),
        (
            "xrv:resnet50-res512-all",
            "https://github.com/mlmed/torchxrayvision/releases/download/v1/pc-nih-rsna-siim-vin",
        ),
    ):
        with pytest.raises(WorkError) as caught:
            fetch(Architecture.parse(name))
        message = str(caught.value)
        assert message.startswith(f"model: {name}: its weights are not here and cannot be downloaded (no network")
        assert f"Fetch {url}" in message
    with pytest.raises(UserError, match="xrv:densenet121-res224-mine: no such weights; expected xrv: and one of"):
        fetch(Architecture.parse("xrv:densenet121-res224-mine"))
    assert not list(tmp_path.iterdir())


def test_timms_weights_are_fetched_once(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm", reason="the extra [gate] is not installed")
    asked, create = [], timm.create_model

    def create_model(name, pretrained=False, **more):
        asked.append(pretrained)
        return create(name, **more)

    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setattr(timm, "create_model", create_model)
    for _ in range(2):
        file = fetch(Architecture.parse("timm:convnext_atto"))
    assert (file.name, asked) == ("timm-convnext_atto.pt", [True])
    ours = ImageNetwork("timm:convnext_atto", 2, 64)
    load_start(ours, file)
    first = torch.load(file, weights_only=True)["stem.0.weight"]
    torch.testing.assert_close(ours.network.state_dict()["stem.0.weight"], first.sum(1, keepdim=True))
