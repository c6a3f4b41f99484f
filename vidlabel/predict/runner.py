"""A network on a device: precision, folded layers, batches in and probabilities out.

On the CPU a batch is computed in pieces of exactly `CPU_CHUNK` clips, the last one filled up with
zeros; networks that see a whole clip at once, at up to 280 GFLOPs each, take them one by one.
Matrix kernels are chosen by shape and round differently for different shapes, so this is what
makes a clip's numbers independent of the batch size and of its neighbours; it costs nothing on
full batches and keeps the working set small.

When a device's memory does not suffice, the runner computes fewer clips at once, down to one, and
then on the CPU; see `Runner.submit`. When a device is lost, every call raises DeviceError.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidlabel.device import has_bf16, out_of_memory
from vidlabel.errors import CheckpointError, DeviceError, UsageError
from vidlabel.models.base import ClipModel
from vidlabel.specs import Precision

CPU_CHUNK = 4

SELF_TEST_STEPS = 4
"""Time steps of the self-test's clip: what overflows does so in every frame. Networks that see a
whole clip at once get a whole one."""

_CONVOLUTIONS, _NORMS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)

_FAILED_DEVICE = re.compile(
    r"(CUDA|HIP|cuDNN|MIOpen)( driver| unknown)? error|device-side assert"
    r"|driver initialization failed|CUDACachingAllocator",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Output:
    """Probabilities (N, K), each row summing to 1, and embeddings (N, F), float32."""

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    @property
    def finite(self) -> bool:
        """False if any number is infinite or not a number."""
        return bool(np.isfinite(self.probabilities).all() and np.isfinite(self.embeddings).all())


@dataclass(frozen=True)
class _Part:
    """Outputs (n, K) and (n, F) on the host; on a GPU they are there once `done` has happened."""

    probabilities: Tensor
    features: Tensor
    done: torch.cuda.Event | None = None


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """A copy in which each BatchNorm that follows a convolution is part of that convolution.

    The same function in evaluation mode (Jacob et al. 2018, arXiv 1712.05877, section 3.2), with
    one pass over the data less for each.
    """
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        children = dict(parent.named_children())
        if isinstance(parent, nn.Sequential):
            pairs = list(pairwise(children))
        else:  # ResNets say by their names what follows what: conv1 and bn1, conv2 and bn2
            pairs = [(name, name.replace("conv", "bn")) for name in children]
        for first, second in pairs:
            holder, place = _last_layer(parent, first)
            conv, norm = getattr(holder, place), children.get(second)
            if isinstance(conv, _CONVOLUTIONS) and isinstance(norm, _NORMS):
                setattr(holder, place, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    return folded


def _last_layer(parent: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Where the last layer of a child is: R(2+1)D makes one convolution of a sequence of two."""
    while isinstance(child := getattr(parent, name), nn.Sequential) and len(child):
        parent, name = child, list(dict(child.named_children()))[-1]
    return parent, name


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of 2-D convolutions as their kernels read them fastest, in place.

    Those of 3-D ones, for which it brings nothing on the CPU, are left as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)


class _Health:
    """Whether a device still answers. Shared by the runners on it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._failure = ""

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Makes an error of the device a DeviceError, and then every later use of it.

        After such an error CUDA answers all calls of a process with errors, so trying again is of
        no use before the next process. Other errors pass.
        """
        if self._failure:
            raise DeviceError(self._failure)
        try:
            yield
        except RuntimeError as error:
            failed = isinstance(error, torch.AcceleratorError) or out_of_memory(error)
            if not failed and not _FAILED_DEVICE.search(str(error)):
                raise
            why = str(error).strip().partition("\n")[0]
            self._failure = (
                f"{self._device} failed ({why}); "
                "run the same command again to go on, or with --device cpu"
            )
            raise DeviceError(self._failure) from error


class Runner:
    """Runs a network on batches of clips.

    `submit` starts a batch and `collect` gives the oldest one's output; on a GPU the caller can
    fill the next batch in between, while the transfer and the computation go on.

    Args:
        network: in evaluation mode; not changed, and not to be changed as long as this lives.
        temperature: divides the logits.
        device: where to compute.
        precision: of the trunk; `auto` is bf16 where the hardware multiplies it, else fp32.
            Everything after the trunk is fp32.

    Raises:
        DeviceError: by any method, when the device fails; from then on always.
    """

    def __init__(
        self,
        network: ClipModel,
        temperature: float,
        device: torch.device,
        precision: Precision = "auto",
    ) -> None:
        if precision == "bf16" and device.type == "mps":
            raise UsageError("--precision bf16 is for cpu and cuda devices")
        self.device = device
        self._source = network
        self._temperature = temperature
        self._chunk = 1 if network.fixed_steps else CPU_CHUNK
        self._health = _Health(device)
        self._at_once: int | None = None
        self._stand_in: Runner | None = None
        self._fp32: Runner | None = None
        self._pending: deque[list[_Part]] = deque()
        folded = copy.deepcopy(network).eval()
        folded.trunk = fold_batchnorm(folded.trunk)
        with self._health.guard():
            self.bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
            self._network = folded.to(device)
            channels_last(self._network)

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def clips_at_once(self) -> int | None:
        """Most clips computed at once since the device's memory did not suffice; before, None."""
        return self._at_once

    @property
    def fell_back(self) -> bool:
        """Whether the CPU computes instead, in fp32, as not even one clip fitted the device."""
        return self._stand_in is not None

    def submit(self, clips: NDArray[np.uint8]) -> None:
        """Start computing clips (N, T, 3, S, S) uint8. The array may be changed afterwards.

        Where the device's memory does not suffice, half as many clips are computed at once, now
        and from now on; where one clip does not fit, the CPU computes.
        """
        with self._health.guard():
            self._pending.append(self._parts(clips))

    def collect(self) -> Output:
        """The output of the oldest batch submitted and not yet collected."""
        with self._health.guard():
            parts = self._pending.popleft()
            for part in parts:
                if part.done is not None:
                    part.done.synchronize()
        return Output(
            np.concatenate([part.probabilities.numpy() for part in parts]),
            np.concatenate([part.features.numpy() for part in parts]),
        )

    def forget(self) -> None:
        """Drop the batches not collected, so that who submits next does not get their outputs."""
        self._pending.clear()

    def in_fp32(self) -> Runner:
        """A runner in full precision with the same network and no batches; always the same one."""
        if self._fp32 is None:
            self._fp32 = copy.copy(self)
            self._fp32.bf16 = False
            self._fp32._pending = deque()
        return self._fp32

    def self_test(self, shape: tuple[int, ...]) -> None:
        """Compute one made-up clip: weights can be finite and still overflow on the way.

        Args:
            shape: of a clip: (T, 3, S, S).

        Raises:
            CheckpointError: a number of the output is not finite.
        """
        steps = shape[0] if self._source.fixed_steps else min(shape[0], SELF_TEST_STEPS)
        noise = np.random.default_rng(0).integers(0, 256, (1, steps, *shape[1:]), dtype=np.uint8)
        runner = self.in_fp32()
        runner.submit(noise)
        if not runner.collect().finite:
            raise CheckpointError(
                "the model gives no finite number, even for a test clip; its weights are useless"
            )

    def _parts(self, clips: NDArray[np.uint8]) -> list[_Part]:
        parts: list[_Part] = []
        start = 0
        while start < len(clips):
            if self._stand_in is not None:
                return [*parts, self._stand_in._on_cpu(clips[start:])]
            piece = clips[start : start + (self._at_once or len(clips))]
            part = self._attempt(piece)
            if part is None:  # the error is gone, and with it the tensors that its frames held
                self._make_room(len(piece))
            else:
                parts.append(part)
                start += len(piece)
        return parts

    def _attempt(self, clips: NDArray[np.uint8]) -> _Part | None:
        """None if the memory does not suffice."""
        try:
            return self._on_gpu(clips) if self.device.type == "cuda" else self._on_cpu(clips)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return None

    def _make_room(self, tried: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        if tried > 1:
            self._at_once = tried // 2
        else:
            self._stand_in = Runner(self._source, self._temperature, torch.device("cpu"), "fp32")

    def _on_cpu(self, clips: NDArray[np.uint8]) -> _Part:
        parts = [
            self._forward(_padded(clips[i : i + self._chunk], self._chunk).to(self.device))
            for i in range(0, len(clips), self._chunk)
        ]
        probabilities = torch.cat([p for p, _ in parts])[: len(clips)].cpu()
        features = torch.cat([f for _, f in parts])[: len(clips)].cpu()
        return _Part(probabilities, features)

    def _on_gpu(self, clips: NDArray[np.uint8]) -> _Part:
        pinned = _buffer(clips.shape, torch.uint8)
        pinned.numpy()[...] = clips
        outputs = self._forward(pinned.to(self.device, non_blocking=True))
        hosts = [_buffer(output.shape, output.dtype) for output in outputs]
        for host, output in zip(hosts, outputs, strict=True):
            host.copy_(output, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return _Part(hosts[0], hosts[1], done)

    @torch.inference_mode()
    def _forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        reduced = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with reduced:
            frames = self._network.frame_features(clips)
        features, logits = self._network.read(frames)
        return (logits.float() / self._temperature).softmax(1), features.float()


def _buffer(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory of the host that a GPU copies from and to by itself; if none is left, any memory."""
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    return torch.empty(shape, dtype=dtype)


def _padded(clips: NDArray[np.uint8], count: int) -> Tensor:
    """Exactly `count` clips, zeros after the given ones."""
    full = torch.zeros((count, *clips.shape[1:]), dtype=torch.uint8)
    full[: len(clips)] = torch.from_numpy(clips)
    return full
