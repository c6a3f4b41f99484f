"""The network: sizes as published, and parts that do what they say."""

from __future__ import annotations

import pytest
import torch
from fakes import CLIP
from torch import nn

from vidlabel.errors import UsageError
from vidlabel.inference import CPU_CHUNK, Runner, fold_batchnorm, pick_device
from vidlabel.models import build_model
from vidlabel.models.cnn_birnn import CnnBiRnn, Normalise
from vidlabel.specs import ClipSpec, ModelSpec


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def network() -> CnnBiRnn:
    torch.manual_seed(0)
    network = build_model(ModelSpec(classes=5), CLIP)
    network.train()
    with torch.no_grad():  # give BatchNorm statistics that matter
        network(torch.randint(0, 255, (4, *CLIP.shape), dtype=torch.uint8))
    return network.eval()


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


def test_folding_batchnorm_keeps_the_function(network: CnnBiRnn) -> None:
    folded = fold_batchnorm(network.trunk)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), network.trunk(x), rtol=1e-3, atol=1e-4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.trunk.modules()), "a copy"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clip_gets_the_same_numbers_in_any_company(network: CnnBiRnn, precision: str) -> None:
    runner = Runner(network, 1.0, torch.device("cpu"), precision)  # type: ignore[arg-type]
    clips = torch.randint(0, 255, (2 * CPU_CHUNK + 1, *CLIP.shape), dtype=torch.uint8).numpy()
    runner.submit(clips)
    together = runner.collect().probabilities
    for i in (0, 3, 2 * CPU_CHUNK):
        runner.submit(clips[i : i + 1])
        assert (runner.collect().probabilities[0] == together[i]).all()


def test_runner_agrees_with_the_plain_network(network: CnnBiRnn) -> None:
    clips = torch.randint(0, 255, (3, *CLIP.shape), dtype=torch.uint8)
    runner = Runner(network, 2.0, torch.device("cpu"), "fp32")
    runner.submit(clips.numpy())
    output = runner.collect()
    with torch.inference_mode():
        expected = (network(clips) / 2.0).softmax(1)
    torch.testing.assert_close(torch.from_numpy(output.probabilities), expected, atol=1e-4, rtol=0)
    assert output.embeddings.shape == (3, 256)


def test_bf16_stays_near_fp32(network: CnnBiRnn) -> None:
    clips = torch.randint(0, 255, (4, *CLIP.shape), dtype=torch.uint8).numpy()
    outputs = []
    for precision in ("fp32", "bf16"):
        runner = Runner(network, 1.0, torch.device("cpu"), precision)  # type: ignore[arg-type]
        runner.submit(clips)
        outputs.append(runner.collect().probabilities)
    assert abs(outputs[0] - outputs[1]).max() < 0.05
    assert (outputs[0] != outputs[1]).any()


def test_devices_that_are_not_there() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="--device nonsense"):
        pick_device("nonsense")
    if not torch.cuda.is_available():
        from vidlabel.errors import DeviceError

        with pytest.raises(DeviceError, match="0 CUDA devices"):
            pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 0.05)])
def test_gpu_agrees_with_cpu(network: CnnBiRnn, precision: str, tolerance: float) -> None:
    clips = torch.randint(0, 255, (9, *CLIP.shape), dtype=torch.uint8).numpy()
    results = []
    for device, kind in (("cpu", "fp32"), ("cuda", precision)):
        runner = Runner(network, 1.0, torch.device(device), kind)  # type: ignore[arg-type]
        runner.submit(clips)
        results.append(runner.collect().probabilities)
    assert abs(results[0] - results[1]).max() < tolerance


def test_wrong_sizes_name_their_flag() -> None:
    with pytest.raises(UsageError, match="--kernel"):
        ModelSpec(kernel=4)
    with pytest.raises(UsageError, match="--resize"):
        ClipSpec(size_px=112, resize_px=100)
    with pytest.raises(UsageError, match="no model nonsense"):
        build_model(ModelSpec(arch="nonsense"), CLIP)
