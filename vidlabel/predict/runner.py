"""A network on a device: precision, folded layers, batches in and probabilities out.

On the CPU a batch is computed in chunks of exactly `CPU_CHUNK` clips, the last one padded with
zeros; networks that see a whole clip at once, at up to 280 GFLOPs each, compute one clip at a time.
Matrix kernels are chosen by shape and round differently for different shapes. With a fixed shape
the numbers of a clip do not depend on the batch size or on the other clips; this costs nothing on
full batches and keeps the working set small.

When the memory of a device does not suffice, the runner computes fewer clips at once, down to one,
and then on the CPU; see `Runner.submit`. When a device fails, every call raises DeviceError.
"""

from __future__ import annotations

import copy
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.device import has_bf16, out_of_memory
from vidlabel.errors import CheckpointError, DeviceError, RunError, UsageError
from vidlabel.models.base import ClipModel, channels_last
from vidlabel.predict.folding import fold_batchnorm, with_rounded_filters
from vidlabel.predict.openvino_trunk import OpenVinoTrunk, suits
from vidlabel.specs import ClipSpec, Engine, Precision

CPU_CHUNK = 4
_LOG = logging.getLogger(__name__)

SELF_TEST_STEPS = 4
"""Time steps of the clip of the self-test: an overflow shows in every frame. Networks that see a
whole clip at once get a whole clip."""

_FAILED_DEVICE = re.compile(
    r"(CUDA|HIP|cuDNN|MIOpen)( driver| unknown)? error|device-side assert"
    r"|driver initialization failed|CUDACachingAllocator",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ClipOutput:
    """Probabilities (N, K), each row summing to 1, and embeddings (N, F), float32."""

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    @property
    def finite(self) -> bool:
        """False if any number is infinite or not a number."""
        return bool(np.isfinite(self.probabilities).all() and np.isfinite(self.embeddings).all())


@dataclass(frozen=True)
class _Computed:
    """Outputs (n, ...) on the host; from a GPU, complete after the event `done`."""

    outputs: tuple[Tensor, ...]
    done: torch.cuda.Event | None = None


class _Health:
    """Whether a device still works; shared by the runners on it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._failure = ""

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turns an error of the device into a DeviceError, which every later use raises too.

        After such an error every CUDA call of the process fails, so only a new process can try
        again. Other errors pass unchanged.
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
                "run the same command to resume, or use --device cpu"
            )
            raise DeviceError(self._failure) from error


class Runner:
    """Runs a network on batches of clips.

    `submit` starts a batch and `collect` returns the output of the oldest one; on a GPU the caller
    can fill the next batch in between, during the transfer and the computation.

    Args:
        network: in evaluation mode; it is not changed, and must not be changed by others.
        temperature: divides the logits.
        device: where to compute.
        precision: of the trunk; `auto` is bf16 if the hardware multiplies it, else fp32.
            Everything after the trunk is fp32.
        engine: what computes the trunk on a CPU; `auto` is OpenVINO where it is installed, suits
            the network and can compute it, else torch.
        clip: what the network sees; only needed for another engine than torch.

    Attributes:
        clips_at_once: the most clips since the device ran out of memory; None if it never did.

    Raises:
        UsageError: the device has no bf16, or only torch can use it.
        RunError: the engine is not installed, or cannot compute the network.
        DeviceError: by any method, when the device has failed.
    """

    def __init__(
        self,
        network: ClipModel,
        temperature: float,
        device: torch.device,
        precision: Precision = "auto",
        engine: Engine = "torch",
        clip: ClipSpec | None = None,
    ) -> None:
        if precision == "bf16" and device.type == "mps":
            raise UsageError("--precision bf16 works only on cpu and cuda devices")
        if engine == "openvino" and device.type != "cpu":
            raise UsageError(f"--engine openvino: only for --device cpu, not {device}")
        self.device = device
        self._source = network
        self._temperature = temperature
        self._chunk = 1 if network.fixed_time_steps else CPU_CHUNK
        self._health = _Health(device)
        self.clips_at_once: int | None = None
        self._stand_in: Runner | None = None
        self._fp32: Runner | None = None
        self._pending: deque[list[_Computed]] = deque()
        folded = copy.deepcopy(network).eval()
        folded.trunk = fold_batchnorm(folded.trunk)
        with self._health.guard():
            self.bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
            self._exact: ClipModel = folded.to(device)
            self._network = self._exact
            if self.bf16:
                self._network = cast(ClipModel, with_rounded_filters(self._exact))
            self._openvino = self._other_engine(self._network, engine, clip)
            channels_last(self._exact)
            channels_last(self._network)

    def _other_engine(
        self, network: ClipModel, engine: Engine, clip: ClipSpec | None
    ) -> OpenVinoTrunk | None:
        if engine == "torch" or self.device.type != "cpu" or clip is None:
            return None
        if engine == "auto" and not suits(network, clip, bf16=self.bf16):
            return None
        try:
            return OpenVinoTrunk(network, clip, bf16=self.bf16)
        except RunError as error:
            if engine != "auto":
                raise
            _LOG.debug("torch is used: %s", error)
            return None

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def told(self) -> str:
        """Device, precision and engine, such as `cpu bf16 openvino` or `cuda fp32`."""
        engine = " openvino" if self._openvino else ""
        return f"{self.device} {self.precision}{engine}"

    @property
    def fell_back(self) -> bool:
        """Whether the CPU computes instead, in fp32, because not one clip fitted the device."""
        return self._stand_in is not None

    def submit(self, clips: NDArray[np.uint8]) -> None:
        """Start computing clips (N, T, 3, S, S) uint8. The array may be changed afterwards.

        If the device has too little memory, half as many clips are computed at once from now on;
        if one clip does not fit, the CPU computes.
        """
        with self._health.guard():
            self._pending.append(self._compute(clips, Runner._forward))

    def collect(self) -> ClipOutput:
        """The output of the oldest batch submitted and not yet collected."""
        with self._health.guard():  # of a lost device nothing is pending
            return ClipOutput(*self._joined(self._pending.popleft()))

    def windows(self, moments: NDArray[np.uint8], frames: int, every: int) -> ClipOutput:
        """The output for all windows of consecutive moments of a video, computed at once.

        Each moment passes through the trunk once, however many windows it is in, unless what the
        trunk sees of it depends on its place in the clip. On the CPU the numbers of a window are
        those of a clip of its moments.

        Args:
            moments: (M, C, S, S) uint8, M at least `frames`.
            frames: moments of a window.
            every: moments from the start of a window to that of the next.
        """
        if self._source.fixed_time_steps or not self._source.framewise:
            starts = range(0, len(moments) - frames + 1, every)
            parts: list[_Computed] = []
            with self._health.guard():
                for start in starts:
                    parts += self._compute(moments[start : start + frames][None], Runner._forward)
            return ClipOutput(*self._joined(parts))
        rows = -(-len(moments) // frames)
        packed = np.zeros((rows * frames, *moments.shape[1:]), np.uint8)
        packed[: len(moments)] = moments
        clips = packed.reshape(rows, frames, *moments.shape[1:])
        with self._health.guard():
            (features,) = self._joined(self._compute(clips, Runner._see))
            flat = features.reshape(rows * frames, -1)[: len(moments)]
            sequences = sliding_window_view(flat, frames, axis=0)[::every].swapaxes(1, 2)
            return ClipOutput(*self._joined(self._compute(sequences, Runner._read)))

    def forget(self) -> None:
        """Drop the batches that were not collected, so that they are not the next one's output."""
        self._pending.clear()

    def in_fp32(self) -> Runner:
        """A runner in fp32 with the same weights and no batches; each call returns the same one."""
        if self._fp32 is None:
            self._fp32 = copy.copy(self)
            self._fp32.bf16, self._fp32._openvino = False, None
            self._fp32._network = self._exact
            self._fp32._pending = deque()
        return self._fp32

    def self_test(self, shape: tuple[int, ...]) -> None:
        """Compute one random clip (T, 3, S, S): weights can be finite and still overflow.

        Raises:
            CheckpointError: the output is not finite.
        """
        steps = shape[0] if self._source.fixed_time_steps else min(shape[0], SELF_TEST_STEPS)
        noise = np.random.default_rng(0).integers(0, 256, (1, steps, *shape[1:]), dtype=np.uint8)
        runner = self.in_fp32()
        runner.submit(noise)
        if not runner.collect().finite:
            raise CheckpointError(
                "the model's output is not finite, even for a test clip; its weights are unusable"
            )

    def _compute(self, clips: NDArray[Any], stage: _Stage) -> list[_Computed]:
        """A stage of the computation of clips (N, ...), in pieces that fit the device."""
        parts: list[_Computed] = []
        start = 0
        while start < len(clips):
            if self._stand_in is not None:
                return [*parts, self._stand_in._on_cpu(clips[start:], stage)]
            piece = clips[start : start + (self.clips_at_once or len(clips))]
            part = self._attempt(piece, stage)
            if part is None:  # here the error, and the tensors that its frames held, are freed
                self._make_room(len(piece))
            else:
                parts.append(part)
                start += len(piece)
        return parts

    def _joined(self, parts: list[_Computed]) -> list[NDArray[np.float32]]:
        """The outputs (N, ...) of all parts, when they are complete."""
        with self._health.guard():
            for part in parts:
                if part.done is not None:
                    part.done.synchronize()
        outputs = zip(*(part.outputs for part in parts), strict=True)
        return [np.concatenate([each.numpy() for each in output]) for output in outputs]

    def _attempt(self, clips: NDArray[Any], stage: _Stage) -> _Computed | None:
        """None if the device has too little memory."""
        try:
            on_gpu = self.device.type == "cuda"
            return self._on_gpu(clips, stage) if on_gpu else self._on_cpu(clips, stage)
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
            self.clips_at_once = tried // 2
        else:
            self._stand_in = Runner(self._source, self._temperature, torch.device("cpu"), "fp32")

    def _on_cpu(self, clips: NDArray[Any], stage: _Stage) -> _Computed:
        parts = [
            stage(self, _padded(clips[i : i + self._chunk], self._chunk).to(self.device))
            for i in range(0, len(clips), self._chunk)
        ]
        outputs = (torch.cat(part)[: len(clips)].cpu() for part in zip(*parts, strict=True))
        return _Computed(tuple(outputs))

    def _on_gpu(self, clips: NDArray[Any], stage: _Stage) -> _Computed:
        pinned = _buffer(clips.shape, torch.from_numpy(clips[:0]).dtype)
        pinned.numpy()[...] = clips
        outputs = stage(self, pinned.to(self.device, non_blocking=True))
        hosts = [_buffer(output.shape, output.dtype) for output in outputs]
        for host, output in zip(hosts, outputs, strict=True):
            host.copy_(output, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return _Computed(tuple(hosts), done)

    def _forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Probabilities (n, K) and embeddings (n, E) of clips (n, T, C, S, S)."""
        return self._read(*self._see(clips))

    @torch.inference_mode()
    def _see(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Frame features (n, T, F) of clips (n, T, C, S, S)."""
        if self._openvino is not None:
            return (self._openvino.frame_features(clips),)
        reduced = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with reduced:
            return (self._network.frame_features(clips),)

    @torch.inference_mode()
    def _read(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Probabilities (n, K) and embeddings (n, E) of frame features (n, T, F)."""
        features, logits = self._network.read(frames)
        return (logits.float() / self._temperature).softmax(1), features.float()


_Stage = Callable[[Runner, Tensor], tuple[Tensor, ...]]
"""A method that computes outputs (n, ...) from n clips, or from the frame features of n clips."""


def _buffer(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Pinned memory, which a GPU copies asynchronously; if there is none left, any memory."""
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    return torch.empty(shape, dtype=dtype)


def _padded(clips: NDArray[Any], count: int) -> Tensor:
    """Exactly `count` clips, zeros after the given ones."""
    full = np.zeros((count, *clips.shape[1:]), clips.dtype)
    full[: len(clips)] = clips
    return torch.from_numpy(full)
