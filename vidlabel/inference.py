"""A network on a device: precision, folded layers, batches in and probabilities out.

On the CPU a batch is computed in pieces of exactly `CPU_CHUNK` clips, the last one filled up with
zeros. Matrix kernels are chosen by shape and round differently for different shapes, so this is
what makes a clip's numbers independent of the batch size and of its neighbours; it costs nothing
on full batches and keeps the working set small.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidlabel.errors import DeviceError, UsageError
from vidlabel.models.cnn_birnn import CnnBiRnn

Precision = Literal["auto", "fp32", "bf16"]

CPU_CHUNK = 4


@dataclass(frozen=True)
class Output:
    """Probabilities (N, K), each row summing to 1, and embeddings (N, F), float32."""

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]


def pick_device(name: str) -> torch.device:
    """The device that a name means; `auto` is the first GPU, else the CPU.

    Raises:
        UsageError: the name is not a device's.
        DeviceError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: not a device; try auto, cpu, cuda, cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f"--device {name}: there are {count} CUDA devices here; try --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available here; try --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: only cpu, cuda and mps are supported")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that it is worth using."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        try:
            words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return False
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)
    return False


@contextmanager
def beside_decoders(device: torch.device) -> Iterator[None]:
    """Compute with fewer threads while decoder processes keep the cores busy.

    The threads of a matrix kernel wait for the slowest of them. If they outnumber the free cores,
    that one has yet to be scheduled, and the waiting costs far more than the threads bring.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 4))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """A copy in which each BatchNorm that follows a convolution is part of that convolution.

    The same function in evaluation mode (Jacob et al. 2018, arXiv 1712.05877, section 3.2), with
    one pass over the data less for each.
    """
    folded = copy.deepcopy(module).eval()
    for parent in folded.modules():
        if isinstance(parent, nn.Sequential):
            layers = list(parent)
            for i, (first, second) in enumerate(pairwise(layers)):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    parent[i] = fuse_conv_bn_eval(first, second)
                    parent[i + 1] = nn.Identity()
    return folded


class Runner:
    """Runs a network on batches of clips.

    `submit` starts a batch and `collect` gives the oldest one's output; on a GPU the caller can
    fill the next batch in between, while the transfer and the computation go on.

    Args:
        network: in evaluation mode; not changed.
        temperature: divides the logits.
        device: where to compute.
        precision: of the trunk; `auto` is bf16 where the hardware multiplies it, else fp32.
            Everything after the trunk is fp32.
    """

    def __init__(
        self,
        network: CnnBiRnn,
        temperature: float,
        device: torch.device,
        precision: Precision = "auto",
    ) -> None:
        if precision == "bf16" and device.type == "mps":
            raise UsageError("--precision bf16 is for cpu and cuda devices")
        self.device = device
        self.bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
        folded = copy.deepcopy(network).eval()
        folded.trunk = fold_batchnorm(folded.trunk)  # type: ignore[assignment]
        self._network = folded.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._temperature = temperature
        self._pending: deque[tuple[Tensor, Tensor, torch.cuda.Event | None]] = deque()

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    def submit(self, clips: NDArray[np.uint8]) -> None:
        """Start computing clips (N, T, 3, S, S) uint8. The array may be changed afterwards."""
        if self.device.type == "cuda":
            self._pending.append(self._on_gpu(clips))
        else:
            parts = [
                self._forward(_padded(clips[i : i + CPU_CHUNK]).to(self.device))
                for i in range(0, len(clips), CPU_CHUNK)
            ]
            probabilities = torch.cat([p for p, _ in parts])[: len(clips)].cpu()
            features = torch.cat([f for _, f in parts])[: len(clips)].cpu()
            self._pending.append((probabilities, features, None))

    def collect(self) -> Output:
        """The output of the oldest batch submitted and not yet collected."""
        probabilities, features, done = self._pending.popleft()
        if done is not None:
            done.synchronize()
        return Output(probabilities.numpy(), features.numpy())

    def in_fp32(self) -> Runner:
        """The same runner in full precision."""
        return Runner(self._network, self._temperature, self.device, "fp32")

    def _on_gpu(self, clips: NDArray[np.uint8]) -> tuple[Tensor, Tensor, torch.cuda.Event]:
        pinned = torch.empty(clips.shape, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[...] = clips
        outputs = self._forward(pinned.to(self.device, non_blocking=True))
        hosts = [torch.empty(o.shape, dtype=o.dtype, pin_memory=True) for o in outputs]
        for host, output in zip(hosts, outputs, strict=True):
            host.copy_(output, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return hosts[0], hosts[1], done

    @torch.inference_mode()
    def _forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        reduced = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with reduced:
            frames = self._network.frame_features(clips)
        features = self._network.pool(frames)
        logits = self._network.classify(features).float() / self._temperature
        return logits.softmax(1), features.float()


def _padded(clips: NDArray[np.uint8]) -> Tensor:
    """Exactly CPU_CHUNK clips, zeros after the given ones."""
    full = torch.zeros((CPU_CHUNK, *clips.shape[1:]), dtype=torch.uint8)
    full[: len(clips)] = torch.from_numpy(clips)
    return full
