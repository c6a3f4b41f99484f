"""Two-stream networks: sizes as published, logits of each time step, trunks for more channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from fakes import CLIP
from torch import Tensor, nn

from vidlabel.errors import CheckpointError, UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.build import build_model
from vidlabel.models.streams import SideBySide, SingleStream, TwoStream
from vidlabel.models.trunks import CNN_M, load_trunk, make_trunk, trunk_names
from vidlabel.predict.folding import fold_batchnorm
from vidlabel.specs import ClipSpec, ModelSpec

SMALL = "shufflenet_v2_x0_5"
FLOW = replace(CLIP, input="flow", step_s=0.0, pairs=2)
BOTH = replace(FLOW, input="rgb+flow")
PUBLISHED = ClipSpec(frames=1, size_px=224, resize_px=240, input="flow", step_s=0.0, pairs=10)


def _network(arch: str, clip: ClipSpec, **values: Any) -> ClipModel:
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"trunk": "mnasnet0_5", "flow_trunk": "mnasnet0_5", "dropout": 0.0}
    return build_model(ModelSpec(arch=arch, classes=4, **(chosen | values)), clip)


def _count(values: Any) -> int:
    return sum(value.numel() for value in values)


def _settle(network: nn.Module, *shape: int) -> None:
    """BatchNorm's statistics and scales become such that they matter."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        network.train()(torch.randn(shape) + 1)
    network.eval()


def _names(network: nn.Module) -> set[str]:
    """Kinds of the layers."""
    return {type(module).__name__ for module in network.modules()}


def test_the_temporal_stream_has_the_published_parameter_counts() -> None:
    with torch.device("meta"):
        network = build_model(ModelSpec(arch="temporal", classes=51, trunk=CNN_M), PUBLISHED)
    statistics = [value for name, value in network.named_buffers() if "running" in name]
    assert _count(network.parameters()) == 60_142_035
    assert _count(statistics) == 704
    assert _count([*network.parameters(), *statistics]) == 60_142_739
    convolutions = [m for m in network.trunk.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [96, 256, 512, 512, 512]
    assert convolutions[0].in_channels == 20
    dense = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
    assert dense == [2048, 1024, 51]


def test_the_spatial_stream_with_a_frozen_trunk_has_the_published_parameter_count() -> None:
    clip = replace(PUBLISHED, input="rgb", step_s=0.1)
    with torch.device("meta"):
        network = build_model(ModelSpec(arch="spatial", classes=51, trunk="resnet50"), clip)
    network.trunk.requires_grad_(False)
    assert _count(p for p in network.parameters() if p.requires_grad) == 104_499
    assert _count(network.trunk.parameters()) == 23_508_032, "ResNet-50 without its last layer"


@pytest.mark.parametrize("size", [32, 64])
def test_the_published_temporal_network_takes_other_sizes(size: int) -> None:
    trunk, width = make_trunk(CNN_M, size, 4)
    assert trunk.eval()(torch.rand(2, 4, size, size)).shape == (2, width) == (2, 1024)


@pytest.mark.parametrize(
    ("arch", "clip", "count", "width"),
    [
        ("spatial", CLIP, 4, 1280), ("temporal", FLOW, 4, 1280), ("two-stream", BOTH, 8, 2560),
        ("spatial", replace(CLIP, input="motion"), 4, 1280), ("spatial", BOTH, 4, 1280),
    ],
)  # fmt: skip
def test_each_time_step_has_logits_of_each_stream(
    arch: str, clip: ClipSpec, count: int, width: int
) -> None:
    network = _network(arch, clip).eval()
    assert network.any_time_steps
    with torch.no_grad():
        frames = network.frame_features(torch.randint(256, (2, *clip.shape), dtype=torch.uint8))
        assert frames.shape == (2, 4, width)
        found = network.step_logits(frames)
        assert found.shape == (2, count, 4)
        features, logits = network.read(frames)
    torch.testing.assert_close(features, frames.mean(1))
    torch.testing.assert_close(logits.softmax(1), logits.exp(), msg="logarithms of probabilities")
    if arch != "two-stream":
        torch.testing.assert_close(logits.exp(), found.softmax(2).mean(1))
        one_by_one = [network.step_logits(frames[:, i : i + 1]) for i in range(4)]
        torch.testing.assert_close(torch.cat(one_by_one, 1), found)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_probabilities_are_averaged_over_the_steps_and_then_over_the_streams(share: float) -> None:
    network = _network("two-stream", BOTH, flow_weight=share).eval()
    assert isinstance(network, TwoStream)
    frames = 3 * torch.randn(3, 5, 2560)
    with torch.no_grad():
        spatial = network.classify["spatial"](frames[..., :1280]).softmax(2).mean(1)
        temporal = network.classify["temporal"](frames[..., 1280:]).softmax(2).mean(1)
        _, logits = network.read(frames)
    assert (spatial - temporal).abs().max() > 0.1
    torch.testing.assert_close(logits.softmax(1), (1 - share) * spatial + share * temporal)


def test_a_class_without_any_probability_has_a_finite_logit() -> None:
    network = _network("spatial", CLIP)
    frames = torch.zeros(1, 2, 1280)
    with torch.no_grad():
        network.classify.bias.copy_(torch.tensor([0.0, 1000.0, 0.0, 0.0]))
        _, logits = network.eval().read(frames)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.softmax(1)[0], torch.tensor([0.0, 1.0, 0.0, 0.0]))


def test_each_stream_sees_its_own_channels() -> None:
    network = _network("two-stream", BOTH).eval()
    clips = torch.randint(256, (1, *BOTH.shape), dtype=torch.uint8)
    other = torch.randint(256, (1, *BOTH.shape), dtype=torch.uint8)
    with torch.no_grad():
        ours = network.frame_features(clips)
        colours = network.frame_features(torch.cat([other[:, :, :3], clips[:, :, 3:]], 2))
        flow = network.frame_features(torch.cat([clips[:, :, :3], other[:, :, 3:]], 2))
        alone = network.trunk.get_submodule("temporal")(network.normalise(clips[0].float())[:, 3:])
    assert not torch.equal(colours[..., :1280], ours[..., :1280])
    assert torch.equal(colours[..., 1280:], ours[..., 1280:])
    assert torch.equal(flow[..., :1280], ours[..., :1280])
    assert not torch.equal(flow[..., 1280:], ours[..., 1280:])
    torch.testing.assert_close(alone.mean((2, 3)), ours[0, :, 1280:], atol=1e-5, rtol=1e-4)


def test_flow_loses_its_mean_and_colours_keep_theirs() -> None:
    normalise = Normalise(BOTH)
    pixels = torch.rand(2, 7, 8, 9) * 200
    found = normalise(pixels)
    assert found.shape == pixels.shape
    assert found[:, 3:].mean((2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(normalise(pixels + 20)[:, 3:], found[:, 3:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, :3], Normalise(CLIP)(pixels[:, :3]))
    torch.testing.assert_close(Normalise(FLOW)(pixels[:, 3:]), found[:, 3:])


@pytest.mark.parametrize("kind", ["rgb", "motion", "flow"])
def test_two_streams_need_frames_and_flow(kind: Any) -> None:
    with pytest.raises(UsageError, match=rf"two-stream needs --input rgb\+flow, got {kind}"):
        _network("two-stream", replace(CLIP, input=kind))


@pytest.mark.parametrize(
    ("arch", "clip", "trunks"),
    [
        ("spatial", CLIP, {"trunk": SMALL}),
        ("temporal", FLOW, {"trunk": "mobilenet_v3_small"}),
        ("temporal", FLOW, {"trunk": CNN_M}),
        ("two-stream", BOTH, {"trunk": "mobilenet_v3_small", "flow_trunk": SMALL}),
    ],
    ids=["spatial", "temporal", "published", "two-stream"],
)
def test_training_steps_lower_the_loss(arch: str, clip: ClipSpec, trunks: dict[str, str]) -> None:
    network = _network(arch, clip, **trunks).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    clips = torch.randint(256, (4, *clip.shape), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 1])
    losses = []
    for _ in range(6):
        step_logits = network.step_logits(network.frame_features(clips))
        wanted = labels[:, None].expand(step_logits.shape[:2])
        loss = nn.functional.cross_entropy(step_logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        grown = [p.grad is not None and bool(p.grad.any()) for p in network.classify.parameters()]
        assert all(grown), "every stream learns"
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def _random_weights(folder: Path, name: str) -> tuple[str, dict[str, Tensor]]:
    """A file as torchvision's, and what is in it."""
    torch.manual_seed(1)
    network = torchvision.models.get_model(name, weights=None)
    state = network.state_dict()
    path = folder / f"{name}.pth"
    torch.save(state, path)
    return str(path), state


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (SMALL, "conv1.0.weight"), ("mobilenet_v3_small", "features.0.0.weight"),
        ("mnasnet0_5", "layers.0.weight"),
    ],
)  # fmt: skip
def test_kernels_for_more_channels_are_the_mean_over_the_colours(
    name: str, first: str, tmp_path: Path
) -> None:
    path, state = _random_weights(tmp_path, name)
    trunk, width = make_trunk(name, 64, 20)
    load_trunk(trunk, name, path)
    own = trunk.state_dict()
    kernels = own.pop(first.removeprefix("layers."))
    assert kernels.shape[1] == 20
    for channel in range(20):
        assert torch.equal(kernels[:, channel], state[first].mean(1))
    for key, value in own.items():
        assert torch.equal(value, state[f"layers.{key}" if name == "mnasnet0_5" else key])
    found = trunk.eval()(torch.rand(1, 20, 64, 64))
    assert found.shape[1] == width
    # So pictures that are grey in every channel look as they did, but for their strength.
    plain, _ = make_trunk(name, 64)
    load_trunk(plain, name, path)
    layer, wide = (
        next(m for m in each.modules() if isinstance(m, nn.Conv2d)) for each in (plain, trunk)
    )
    grey = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(
        wide(grey.expand(1, 20, 64, 64)) * 3 / 20, layer(grey.expand(1, 3, 64, 64)),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("flow_trunk", [SMALL, CNN_M])
def test_weights_go_to_the_streams_that_they_fit(flow_trunk: str, tmp_path: Path) -> None:
    path, state = _random_weights(tmp_path, SMALL)
    network = _network("two-stream", BOTH, trunk=SMALL, flow_trunk=flow_trunk)
    before = {name: value.clone() for name, value in network.trunk.state_dict().items()}
    network.load_pretrained(path)
    after = network.trunk.state_dict()
    assert torch.equal(after["spatial.conv1.0.weight"], state["conv1.0.weight"])
    assert torch.equal(after["spatial.conv5.1.bias"], state["conv5.1.bias"])
    for name, value in after.items():
        if name.startswith("temporal."):
            if flow_trunk == CNN_M:
                assert torch.equal(value, before[name]), "they are of another network"
            elif name == "temporal.conv1.0.weight":
                assert torch.equal(value[:, 2], state["conv1.0.weight"].mean(1))
            else:
                assert torch.equal(value, state[name.removeprefix("temporal.")])


def test_weights_of_another_network_are_one_clear_line(tmp_path: Path) -> None:
    path, _ = _random_weights(tmp_path, "mnasnet0_5")
    trunk, _ = make_trunk("resnet18", 64, 20)
    with pytest.raises(CheckpointError, match=r"--trunk-weights .*do not fit resnet18"):
        load_trunk(trunk, "resnet18", path)
    assert CNN_M in trunk_names()
    trunk, _ = make_trunk(CNN_M, 64, 20)
    with pytest.raises(CheckpointError, match=f"--trunk-weights imagenet: .* {CNN_M}"):
        load_trunk(trunk, CNN_M, "imagenet")
    with pytest.raises(CheckpointError, match=f"do not fit {CNN_M}"):
        load_trunk(trunk, CNN_M, path)


def test_the_own_weights_of_the_published_network_can_be_loaded(tmp_path: Path) -> None:
    torch.manual_seed(2)
    trunk, _ = make_trunk(CNN_M, 32, 4)
    torch.save(trunk.state_dict(), tmp_path / "flow.pth")
    torch.manual_seed(3)
    other, _ = make_trunk(CNN_M, 32, 4)
    load_trunk(other, CNN_M, str(tmp_path / "flow.pth"))
    for name, value in trunk.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize(
    ("spatial", "temporal", "left"), [("mnasnet0_5", "resnet18", 0), (SMALL, CNN_M, 2)]
)
def test_folding_keeps_what_both_streams_say(spatial: str, temporal: str, left: int) -> None:
    torch.manual_seed(0)
    trunk = SideBySide(make_trunk(spatial, 64)[0], make_trunk(temporal, 64, 4)[0], 3)
    _settle(trunk, 4, 7, 64, 64)
    folded = fold_batchnorm(trunk)
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == left
    assert "BatchNorm2d" in _names(trunk), "folded is a copy"
    pixels = torch.randn(2, 7, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels), trunk(pixels), atol=1e-4, rtol=1e-3)


def test_norms_after_an_activation_are_not_folded() -> None:
    """Between the convolutions of `cnn_m_2048` and their BatchNorm lies a ReLU."""
    torch.manual_seed(0)
    trunk, _ = make_trunk(CNN_M, 32, 4)
    _settle(trunk, 8, 4, 32, 32)
    folded = fold_batchnorm(trunk)
    assert [type(a) for a in folded.modules()][1:] == [type(a) for a in trunk.modules()][1:]
    pixels = torch.randn(2, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels), trunk(pixels))


def test_streams_are_what_they_are_called() -> None:
    assert isinstance(_network("spatial", CLIP), SingleStream)
    assert isinstance(_network("temporal", FLOW), SingleStream)
    assert not _network("cnn-birnn", CLIP).any_time_steps
