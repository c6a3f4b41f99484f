"""The runner: the network's numbers, whatever the batch, the device and the precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import CLIP, settled_network
from numpy.typing import NDArray
from torch import nn

from vidlabel.device import pick_device
from vidlabel.errors import UsageError
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.models.trunks import make_trunk
from vidlabel.predict.folding import fold_batchnorm, with_rounded_filters
from vidlabel.predict.runner import CPU_CHUNK, Runner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> CnnBiRnn:
    return settled_network()


def _clips(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *CLIP.shape), dtype=np.uint8)


def test_folding_batchnorm_keeps_the_function(network: CnnBiRnn) -> None:
    folded = fold_batchnorm(network.trunk)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), network.trunk(x), rtol=1e-3, atol=1e-4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.trunk.modules()), "a copy"


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "swin_t"])
def test_folding_keeps_the_function_of_other_trunks(name: str) -> None:
    torch.manual_seed(0)
    trunk, width = make_trunk(name, 64)
    x = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        trunk.train()(x)  # statistics that matter
        expected = trunk.eval()(x)
        folded = fold_batchnorm(trunk)
        torch.testing.assert_close(folded(x), expected, rtol=1e-3, atol=1e-4)
    assert expected.shape == (4, width)
    if name == "resnet18":
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


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


class _Counting(nn.Module):
    """A trunk that counts the frames that it sees."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.seen += len(frames)
        return self.trunk(frames)


def test_windows_share_what_the_trunk_sees(network: CnnBiRnn) -> None:
    runner = Runner(network, 1.0, CPU, "fp32")
    moments = _clips(2 * CPU_CHUNK).reshape(-1, *CLIP.shape[1:])
    frames = runner._network.trunk = _Counting(runner._network.trunk)
    found = runner.windows(moments, CLIP.frames, 3).probabilities
    assert len(found) == (len(moments) - CLIP.frames) // 3 + 1
    assert int(frames.seen) == len(moments)
    for number in (0, 4, len(found) - 1):
        runner.submit(moments[None, number * 3 : number * 3 + CLIP.frames])
        assert (runner.collect().probabilities[0] == found[number]).all()


def test_windows_of_frames_that_depend_on_their_place() -> None:
    """Of RGB frames and difference pictures, the former stand for their neighbours in the clip."""
    clip = replace(CLIP, input="rgb+difference", step_s=0.1, frames=5)
    runner = Runner(settled_network(clip, rnn=False, statistics=True), 1.0, CPU, "fp32")
    random = np.random.default_rng(0)
    moments = random.integers(0, 256, (11, *clip.shape[1:]), dtype=np.uint8)
    found = runner.windows(moments, clip.frames, 2).probabilities
    for number, scores in enumerate(found):
        runner.submit(moments[None, 2 * number : 2 * number + clip.frames])
        assert (runner.collect().probabilities[0] == scores).all()


def test_bf16_stays_near_fp32(network: CnnBiRnn) -> None:
    clips = torch.randint(0, 255, (4, *CLIP.shape), dtype=torch.uint8).numpy()
    outputs = []
    for precision in ("fp32", "bf16"):
        runner = Runner(network, 1.0, torch.device("cpu"), precision)  # type: ignore[arg-type]
        runner.submit(clips)
        outputs.append(runner.collect().probabilities)
    assert abs(outputs[0] - outputs[1]).max() < 0.05
    assert (outputs[0] != outputs[1]).any()


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


def test_batches_come_back_in_the_order_they_went_in(network: CnnBiRnn) -> None:
    runner = Runner(network, 1.0, CPU, "fp32")
    alone = []
    for count in (1, 3, 2):
        runner.submit(_clips(count, seed=count))
        alone.append(runner.collect().probabilities)
    for count in (1, 3, 2):
        runner.submit(_clips(count, seed=count))
    for expected in alone:
        np.testing.assert_array_equal(runner.collect().probabilities, expected)


def test_a_forgotten_batch_is_not_the_next_ones_output(network: CnnBiRnn) -> None:
    runner = Runner(network, 1.0, CPU, "fp32")
    runner.submit(_clips(1, seed=1))
    expected = runner.collect().probabilities
    runner.submit(_clips(1, seed=2))
    runner.forget()
    runner.submit(_clips(1, seed=1))
    np.testing.assert_array_equal(runner.collect().probabilities, expected)


def test_the_runner_in_fp32_is_one_that_shares_the_weights(network: CnnBiRnn) -> None:
    runner = Runner(network, 1.0, CPU, "bf16")
    runner.submit(_clips(2))
    again = runner.in_fp32()
    assert again is runner.in_fp32()
    assert again is not runner
    assert (runner.precision, again.precision) == ("bf16", "fp32")
    own = dict(runner._network.named_parameters())
    others = [name for name, each in again._network.named_parameters() if each is not own[name]]
    assert len(others) < len(own) / 2, "only rounded filters have two copies"
    assert {own[name].ndim for name in others} == {4}
    again.submit(_clips(1, seed=1))
    assert len(again.collect().probabilities) == 1, "its own batches"
    assert len(runner.collect().probabilities) == 2
    plain = Runner(network, 1.0, CPU, "fp32")
    for one in (plain, again):
        one.submit(_clips(3))
    np.testing.assert_array_equal(plain.collect().probabilities, again.collect().probabilities)


def test_rounding_filters_keeps_their_sums() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 5, groups=8)
    with torch.no_grad():  # edges: large weights, small sums
        conv.weight.mul_(100)
        conv.weight.sub_(conv.weight.mean((2, 3), keepdim=True))
    before = conv.weight.detach().clone()
    after = next(with_rounded_filters(nn.Sequential(conv)).parameters()).detach()
    assert torch.equal(conv.weight, before), "the network itself stays as it is"
    assert torch.equal(after, after.bfloat16().float())
    torch.testing.assert_close(after, before, rtol=2**-6, atol=0.05)
    alone = (before.bfloat16().float() - before).sum((1, 2, 3)).abs().max()
    together = (after - before).sum((1, 2, 3)).abs().max()
    assert together < alone / 20


def test_filters_over_many_channels_are_left_as_they_are() -> None:
    conv = nn.Conv2d(160, 4, 1)
    assert next(with_rounded_filters(nn.Sequential(conv)).parameters()) is conv.weight


def test_folding_again_changes_nothing(network: CnnBiRnn) -> None:
    once = fold_batchnorm(network.trunk)
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(fold_batchnorm(once)(x), once(x))


def test_device_names() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("nonsense", "cpu:1", "meta", "xpu", "cuda:-1", "cuda:", "CUDA", "cuda\n", ""):
        with pytest.raises(UsageError, match="--device"):
            pick_device(name)
