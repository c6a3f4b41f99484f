"""The network: sizes as published, and parts that do what they say."""

from __future__ import annotations

import pytest
import torch
from fakes import CLIP, settled_network
from torch import nn

from vidlabel.errors import UsageError
from vidlabel.models import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn, Normalise
from vidlabel.specs import ClipSpec, ModelSpec


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> CnnBiRnn:
    return settled_network()


def test_published_parameter_counts(network: CnnBiRnn) -> None:
    assert _count(network.trunk) == 937_512
    assert _count(network.embed) == 327_936


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_each_cell_reads_both_directions(cell: str) -> None:
    torch.manual_seed(0)
    network = build_model(ModelSpec(classes=3, cell=cell, hidden=8), CLIP).eval()  # type: ignore[arg-type]
    frames = torch.rand(1, 6, 1280)
    sequence, _ = network.rnn(network.embed(frames))
    assert sequence.shape == (1, 6, 16)
    changed = frames.clone()
    changed[:, -1] += 1
    again, _ = network.rnn(network.embed(changed))
    assert torch.equal(sequence[:, 0, :8], again[:, 0, :8]), "forward: the past only"
    assert not torch.equal(sequence[:, 0, 8:], again[:, 0, 8:]), "backward: the future"


def test_rgb_is_normalised_as_imagenet() -> None:
    pixels = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1) * 255
    assert Normalise("rgb")(pixels).abs().max() < 1e-5


def test_motion_input_sees_change_not_stillness() -> None:
    normalise = Normalise("motion")
    still = torch.full((1, 3, 4, 4), 77.0)
    assert normalise(still)[:, 1:].abs().max() < 1e-5
    moving = still.clone()
    moving[:, 2] += 30
    assert normalise(moving)[:, 2].min() > 0.5
    assert normalise(moving)[:, 1].abs().max() < 1e-5


def test_residual_blocks_start_as_the_identity() -> None:
    network = build_model(ModelSpec(classes=3), CLIP).eval()
    blocks = [m for m in network.trunk.modules() if getattr(m, "apply_residual", False)]
    assert blocks
    for block in blocks:
        x = torch.rand(1, block.layers[0].in_channels, 8, 8)
        assert torch.equal(block(x), x)


def test_wrong_sizes_name_their_flag() -> None:
    with pytest.raises(UsageError, match="--kernel"):
        ModelSpec(kernel=4)
    with pytest.raises(UsageError, match="--resize"):
        ClipSpec(size_px=112, resize_px=100)
    with pytest.raises(UsageError, match="no model nonsense"):
        build_model(ModelSpec(arch="nonsense"), CLIP)
