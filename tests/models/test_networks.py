"""The network: sizes as published, and parts that do what they say."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from fakes import CLIP, settled_network
from torch import nn

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.build import MODELS, build_model
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.models.conv_lstm import ConvLstm
from vidlabel.models.trunks import input_scale, make_trunk, trunk_names
from vidlabel.specs import ClipSpec, ModelSpec
from vidlabel.train.recipes import RECIPES


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
    assert Normalise(ClipSpec())(pixels).abs().max() < 1e-5


def test_motion_input_sees_change_not_stillness() -> None:
    normalise = Normalise(ClipSpec(input="motion"))
    still = torch.full((1, 3, 4, 4), 77.0)
    assert normalise(still)[:, 1:].abs().max() < 1e-5
    moving = still.clone()
    moving[:, 2] += 30
    assert normalise(moving)[:, 2].min() > 0.5
    assert normalise(moving)[:, 1].abs().max() < 1e-5


def test_no_change_is_nothing_to_the_trunk() -> None:
    grey = torch.full((1, 3, 4, 4), 128.0)
    for trunk in ("mnasnet0_5", "efficientnet_lite0"):
        normalise = Normalise(ClipSpec(input="difference"), *input_scale(trunk))
        assert normalise(grey).abs().max() < 1e-5
    assert Normalise(ClipSpec(), *input_scale("efficientnet_lite0"))(grey).allclose(
        torch.tensor(1 / 128)
    )


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


@pytest.fixture(scope="module")
def conv_lstm() -> ConvLstm:
    torch.manual_seed(0)
    values = RECIPES["conv-lstm"]["original"].values
    names = ("trunk", "cell", "embed", "hidden", "features", "summary", "dropout")
    spec = ModelSpec(arch="conv-lstm", classes=101, **{name: values[name] for name in names})  # type: ignore[arg-type]
    network = build_model(spec, replace(CLIP, frames=3, size_px=64, resize_px=64))
    assert isinstance(network, ConvLstm)
    return network


def test_conv_lstm_has_the_published_parameter_counts(conv_lstm: ConvLstm) -> None:
    assert _count(conv_lstm.embed) + _count(conv_lstm.norm) == 1_050_112
    assert _count(conv_lstm.rnn) == 12_599_296
    assert _count(conv_lstm.attend) == 2_049
    assert _count(conv_lstm.classify) == 2_203_749
    assert _count(conv_lstm.trunk) == 58_143_808, "ResNet-152 without its last layer"
    with torch.no_grad():
        logits = conv_lstm.eval()(torch.randint(0, 255, (2, 3, 3, 64, 64), dtype=torch.uint8))
    assert logits.shape == (2, 101)


def _small(summary: str) -> ConvLstm:
    torch.manual_seed(0)
    spec = ModelSpec(
        arch="conv-lstm", classes=3, embed=8, hidden=4, features=8, summary=summary, dropout=0.0
    )  # type: ignore[arg-type]
    network = build_model(spec, CLIP)
    assert isinstance(network, ConvLstm)
    return network.eval()


def test_attention_weighs_the_steps() -> None:
    network = _small("attention")
    frames = torch.rand(2, 5, 1280)
    with torch.no_grad():
        sequence = network._sequence(frames)
        network.attend.weight.zero_()
        torch.testing.assert_close(network.pool(frames), sequence.mean(1))
        network.attend.weight.copy_(1e6 * sequence[0, 3])
        scores = sequence @ sequence[0, 3]
        torch.testing.assert_close(network.pool(frames)[0], sequence[0, scores[0].argmax()])
        assert torch.equal(_small("last").pool(frames), _small("last")._sequence(frames)[:, -1])


def test_a_committee_takes_the_majority_for_every_clip_of_a_batch() -> None:
    network = _small("committee")
    votes = torch.tensor([[0, 0, 1, 2, 0], [2, 1, 1, 2, 1], [1, 2, 2, 1, 0]])
    logits = 2.0 * torch.nn.functional.one_hot(votes, 3)
    logits[2, 1:3, 2] = 9.0  # as many votes, and surer
    network.classify = nn.Sequential(nn.Identity())
    network._sequence = lambda frames: logits[: len(frames)]  # type: ignore[method-assign]
    _, found = network.read(torch.zeros(3, 5, 1))
    assert found.argmax(1).tolist() == [0, 1, 2]
    torch.testing.assert_close(found.exp().sum(1), torch.ones(3))
    assert found[0].exp()[0] == pytest.approx(0.6, abs=0.01), "three votes of five"
    network.train()  # each of them has to be right
    torch.testing.assert_close(network.step_logits(torch.zeros(3, 5, 1)), logits)


@pytest.mark.parametrize("arch", ["cnn-birnn", "conv-lstm"])
@pytest.mark.parametrize("trunk", ["resnet18", "mobilenet_v3_small"])
def test_any_trunk_learns_a_step(arch: str, trunk: str) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(arch=arch, classes=2, trunk=trunk, embed=8, hidden=4, features=8, dropout=0.0)
    network = build_model(spec, CLIP).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    clips = torch.randint(0, 255, (4, *CLIP.shape), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(network(clips), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_a_trunk_that_is_unknown_or_takes_no_such_frames_is_one_clear_line() -> None:
    assert {"mnasnet0_5", "resnet152", "swin_t", "vit_b_16"} <= set(trunk_names())
    for name in ("resnet", "../x", "vgg16", "r3d_18"):
        with pytest.raises(UsageError, match="--trunk"):
            make_trunk(name, 112)
    with pytest.raises(UsageError, match=r"--trunk vit_b_16: does not accept frames of 112 pixels"):
        make_trunk("vit_b_16", 112)
    assert make_trunk("vit_b_16", 224)[1] == 768


def test_statistics_are_mean_deviation_and_change_and_have_a_say_of_their_own() -> None:
    torch.manual_seed(0)
    spec = ModelSpec(classes=3, hidden=8, features=8, embed=8, statistics=True)
    network = build_model(spec, CLIP).eval()
    assert isinstance(network, CnnBiRnn)
    frames = torch.rand(2, 6, 1280)
    answers = network.step_logits(frames)
    assert answers.shape == (2, 2, 3)
    torch.testing.assert_close(network.read(frames)[1], answers.mean(1))
    # the order of the steps is the RNN's matter alone
    turned = network.step_logits(frames.flip(1))
    torch.testing.assert_close(turned[:, 1], answers[:, 1])
    assert not torch.allclose(turned[:, 0], answers[:, 0], atol=1e-6)
    # by hand: what the second classifier sees
    change = (frames[:, 1:] - frames[:, :-1]).abs().mean(1)
    seen = torch.cat([frames.mean(1), frames.std(1, correction=0), change], 1)
    norm, layer = network.scale, network.classify["statistics"]  # type: ignore[index]
    wanted = layer(seen / (1 + norm.eps) ** 0.5)
    torch.testing.assert_close(answers[:, 1], wanted, atol=1e-4, rtol=1e-4)
    # one step deviates from nothing, and can be learned from
    one = torch.rand(2, 1, 1280, requires_grad=True)
    network.step_logits(one).sum().backward()
    assert one.grad is not None
    assert bool(one.grad.isfinite().all())


@pytest.mark.parametrize("arch", sorted(MODELS))
def test_a_network_defines_only_methods_that_are_called(arch: str) -> None:
    """A method that no longer has the name that `ClipModel` calls would never run."""
    network = MODELS[arch]
    assert isinstance(network, type)
    own = {name for name, value in vars(network).items() if inspect.isfunction(value)}
    public = {name for name in own if not name.startswith("_")}
    assert public
    assert all(hasattr(ClipModel, name) for name in public), public


def test_rgb_frames_stand_for_three_steps_beside_difference_pictures() -> None:
    clip = ClipSpec(frames=7, size_px=32, resize_px=32, input="rgb+difference")
    spec = ModelSpec(classes=3, trunk="resnet18", statistics=True, rnn=False)
    network = build_model(spec, clip).eval()
    clips = torch.randint(0, 255, (2, *clip.shape), dtype=torch.uint8)
    alone = build_model(spec, replace(clip, input="difference")).eval()
    frames = build_model(spec, replace(clip, input="rgb")).eval()
    for each in (alone, frames):
        each.trunk.load_state_dict(network.trunk.state_dict())
    with torch.no_grad():
        found = network.frame_features(clips)
        moving, rgb = found.chunk(2, 2)
        torch.testing.assert_close(moving, alone.frame_features(clips[:, :, 3:]))
        shown = frames.frame_features(clips[:, [1, 1, 1, 4, 4, 4, 4], :3])
        torch.testing.assert_close(rgb, shown)
        embedding, logits = network.read(found)
    torch.testing.assert_close(embedding, found.mean(1))
    assert logits.shape == (2, 3)
    with pytest.raises(UsageError, match="--input rgb\\+difference: only --model cnn-birnn"):
        build_model(ModelSpec(arch="conv-lstm", trunk="resnet18"), clip)
    with pytest.raises(UsageError, match="--no-rnn needs --statistics"):
        build_model(replace(spec, statistics=False), clip)
