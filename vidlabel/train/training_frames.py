"""The decoded frames of a training's videos, in the fastest memory that has room for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from vidlabel.device import out_of_memory
from vidlabel.machine import free_memory
from vidlabel.spans import VideoSpan
from vidlabel.train.frame_cache import FrameCache

GPU_SHARE, HOST_SHARE = 0.6, 0.5
"""Largest share of the free memory that is used for frames."""

BLOCK = 2**28
"""Bytes of pinned memory that are allocated at once, a power of two: PyTorch rounds every
allocation of pinned memory up to one, which can double the memory if each video has its own."""

Where = Literal["GPU memory", "pinned memory", "disk"]


@dataclass(frozen=True)
class Gathered:
    """The frames of B clips, each (C, H, W) uint8 at some offset of one block of memory."""

    memory: Tensor  # (L,) uint8, on the device
    starts: Tensor  # (B, T) int64, on the CPU: offset of each frame in the memory, bytes
    sizes: Tensor  # (B, 2) int64, on the CPU: height and width of the clip's frames, pixels


class TrainingFrames:
    """The frames of all videos of a training: in GPU memory if they fit, else in pinned memory,
    which a GPU copies from without waiting, else mapped from the disk.

    Args:
        cache: has been filled with `videos`.
        videos: or spans of such; the position of one is its number.
        device: where frames are wanted.
        where: places to try before the disk, best first; None chooses by the free memory.
        block: smallest allocation of pinned memory, bytes.

    Attributes:
        where: the place that holds the frames.
        nbytes: size of all frames, bytes.
    """

    def __init__(
        self, cache: FrameCache, videos: Sequence[VideoSpan], device: torch.device,
        where: Sequence[Where] | None = None, block: int = BLOCK,
    ) -> None:  # fmt: skip
        self._cache = cache
        self._videos = videos
        self._device = device
        self._held: list[Tensor] = []
        self._gpu_memory = torch.empty(0, dtype=torch.uint8)
        self.nbytes = sum(cache.frames(video).nbytes for video in videos)
        self.where: Where = "disk"
        if where is None:
            where = _places_on(device, self.nbytes) if device.type == "cuda" else ()
        for place in where:
            if self._hold(place, block):
                self.where = place
                break
            torch.cuda.empty_cache()

    def take(self, number: int, moments: Tensor) -> Tensor:
        """The frames (n, C, H, W) uint8 of a video at n moments (n,), each 0 to K - 1, on the CPU,
        from the disk."""
        return self._cache.frames(self._videos[number])[moments]

    def gather(self, numbers: Sequence[int], moments: Tensor) -> Gathered:
        """The frames of B videos at moments (B, T) int64, each 0 to K - 1, in one block of the
        device's memory."""
        if self.where == "GPU memory":
            memory = self._gpu_memory
            frames = [self._held[number] for number in numbers]
            begins = [each.storage_offset() for each in frames]
        else:
            first, last = moments.amin(1), moments.amax(1)
            moments = moments - first[:, None]
            frames = [
                self._host_frames(number)[low : high + 1]
                for number, low, high in zip(numbers, first.tolist(), last.tolist(), strict=True)
            ]
            ends = list(accumulate(each.numel() for each in frames))
            begins = [0, *ends[:-1]]
            memory = self._copied(frames, ends[-1])
        sizes = torch.tensor([each.shape[-2:] for each in frames])
        each_frame = sizes.prod(1) * frames[0].shape[1]
        starts = torch.tensor(begins)[:, None] + moments * each_frame[:, None]
        return Gathered(memory, starts, sizes)

    def _host_frames(self, number: int) -> Tensor:
        held = self.where == "pinned memory"
        return self._held[number] if held else self._cache.frames(self._videos[number])

    def _copied(self, frames: Sequence[Tensor], size: int) -> Tensor:
        """Frames of host memory, concatenated in the device's: pinned ones directly, mapped ones by
        way of a pinned buffer."""
        pinned = self.where == "pinned memory"
        memory = torch.empty(
            size, dtype=torch.uint8, device=self._device if pinned else "cpu",
            pin_memory=not pinned and self._device.type == "cuda",
        )  # fmt: skip
        parts = torch.split(memory, [each.numel() for each in frames])
        for part, each in zip(parts, frames, strict=True):
            part.view(each.shape).copy_(each, non_blocking=True)
        return memory.to(self._device, non_blocking=True)

    def _hold(self, where: Where, block: int) -> bool:
        """Load all frames: into one allocation of GPU memory, or into few large ones of pinned
        memory. False if there is not enough memory."""
        pinned = where == "pinned memory"
        largest = block if pinned else self.nbytes
        free = torch.empty(0, dtype=torch.uint8)
        left = self.nbytes
        try:
            for video in self._videos:
                frames = self._cache.frames(video)
                size = frames.numel()
                if size > len(free):
                    self._gpu_memory = free = torch.empty(
                        max(size, min(largest, left)), dtype=torch.uint8,
                        device="cpu" if pinned else self._device,
                        pin_memory=pinned and self._device.type == "cuda",
                    )  # fmt: skip
                self._held.append(free[:size].view(frames.shape).copy_(frames))
                free = free[size:]
                left -= size
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._held.clear()
            self._gpu_memory = torch.empty(0, dtype=torch.uint8)
            return False
        return True


def places(size: int, gpu_free: int, host_free: int) -> list[Where]:
    """Where frames of `size` bytes fit, best first, given the free bytes; none means the disk."""
    found: list[Where] = []
    if size <= gpu_free * GPU_SHARE:
        found.append("GPU memory")
    if size <= host_free * HOST_SHARE:
        found.append("pinned memory")
    return found


def _places_on(device: torch.device, size: int) -> list[Where]:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's, on this machine
    return places(size, torch.cuda.mem_get_info(device)[0], free_memory() // processes)
