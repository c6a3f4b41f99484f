"""Decoded frames for training: each video is decoded once, and then read from a cache.

The cache outlives a training and is shared by all: the folds of a protocol, later trainings with
other settings, several at once. An entry is one NumPy array (K, C, H, W) uint8 with the shorter
side `ClipSpec.resize_px`, found by what decides its pixels: the file's path, size and time, and
how frames are taken from it. Optical flow is kept as frames are.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.console import Counting
from vidlabel.decode.pool import DecoderPool, worker_count
from vidlabel.decode.worker import DecodeJob
from vidlabel.device import out_of_memory
from vidlabel.errors import OutputError, RunError
from vidlabel.files.find import identity
from vidlabel.specs import ClipSpec, Limits, VideoItem
from vidlabel.train.cache_folder import part_prefix, place_of, remove_unused
from vidlabel.train.gpu_clips import Gathered, sent

OVERSAMPLE = 2
"""Steps kept per video for each step of a clip, so that training can choose among moments."""

LEAST_KEPT = 8
"""Of clips of few steps, more are kept: at least so many."""

FORMAT = 4
"""Changes with everything that changes the pixels of an entry."""

GPU_SHARE, HOST_SHARE = 0.6, 0.5
"""Most of the free memory that is taken for frames."""

BLOCK = 2**28
"""Bytes of memory that are asked for at once, a power of two: PyTorch rounds every piece of pinned
memory up to one, which for a piece per video can be twice its frames."""

_CONTAINER_LIMITS = (  # cgroups, version 2 and 1
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)

Where = Literal["GPU memory", "pinned memory", "disk"]


class FrameCache:
    """The decoded frames of videos, in a folder.

    Args:
        folder: made if it is not there; may be in use by other processes.
        clip: what clips look like. `size_px` does not matter: frames are cropped later.
        device: where flow is computed.
    """

    def __init__(
        self,
        folder: Path,
        clip: ClipSpec,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        self.folder = folder
        self._clip = clip
        self._device = device
        self.digests: dict[str, str] = {}
        """Of the videos that `fill` has seen: what their entries are named by."""

    def make_folder(self) -> None:
        """See before any work that the folder is there. Raises OutputError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self.folder, error) from error

    def fill(
        self, paths: Sequence[str], workers: int | None, decoding: Callable[[int], Counting]
    ) -> dict[str, str]:
        """Decode the videos that are not in the cache.

        Args:
            paths: of videos; what they hold now is what `frames` gives, though a file may change.
            workers: decoder processes; None for one per core.
            decoding: makes, from the number of videos to decode, a context whose `advance` counts.

        Returns:
            The videos that cannot be read, with why.

        Raises:
            OutputError: the folder cannot be written.
            RunError: no decoder process can be started.
        """
        paths = list(dict.fromkeys(paths))
        for path in paths:
            self.digests[path] = self._digest(path)
        missing = [path for path in paths if not self._use(path)]
        unreadable = {}
        if missing:
            each = self.per_video // self._clip.frames
            job = DecodeJob(self._clip, limits=Limits(), cropped=False, each=each)
            items = [VideoItem(number, path) for number, path in enumerate(missing)]
            with DecoderPool(job, worker_count(workers)) as pool, decoding(len(missing)) as bar:
                for done in pool.run(items):
                    if done.data is None:
                        unreadable[done.item.path] = str(done.error)
                    else:
                        steps = torch.from_numpy(done.data.clips[0])
                        frames = with_flow(steps, self._clip, self._device).numpy()
                        write_entry(self.folder, self.digests[done.item.path], frames)
                    bar.advance()
        remove_unused(self.folder, set(self.digests.values()))
        return unreadable

    def frames(self, path: str) -> Tensor:
        """The frames (K, C, H, W) uint8 of a video that `fill` has seen, mapped from the disk.

        K is `kept_steps` of the clip.

        Raises:
            RunError: they are gone, as when the cache is cleared during a training.
        """
        return read_entry(self.folder, self.digests[path])

    @property
    def per_video(self) -> int:
        """Frames kept of each video."""
        return kept_steps(self._clip)

    def size(self, path: str) -> int:
        """Bytes of a video's frames."""
        return self.frames(path).nbytes

    def _digest(self, path: str) -> str:
        clip = self._clip
        known = {
            "format": FORMAT,
            "path": os.path.abspath(path),  # noqa: PTH100 - links are not followed
            "identity": identity(path),
            "frames": clip.frames,
            "kept": self.per_video,
            "fps": clip.fps,
            "resize_px": clip.resize_px,
            "aspect": clip.aspect,
            "input": clip.input,
            "step_s": None if clip.input == "rgb" else clip.step_s,
            "pairs": clip.pairs if clip.has_flow else None,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _use(self, path: str) -> bool:
        """Whether an entry is there and whole."""

        def fits(shape: tuple[int, ...]) -> bool:
            own = (self.per_video, self._clip.channels)
            return shape[:2] == own and min(shape[2:]) == self._clip.resize_px

        return use_entry(self.folder, self.digests[path], np.uint8, 4, fits)


def kept_steps(clip: ClipSpec) -> int:
    """How many steps of a video are kept, K: those of its clip and, between them, others."""
    return clip.frames * (
        OVERSAMPLE if clip.fps else max(OVERSAMPLE, ceil(LEAST_KEPT / clip.frames))
    )


def held_out_moments(clip: ClipSpec) -> Tensor:
    """(T,) int64, which of the kept steps are those that `predict` sees."""
    every = kept_steps(clip) // clip.frames
    if clip.fps:
        return torch.arange(clip.frames) + clip.frames // 2
    return torch.arange(clip.frames) * every + every // 2


def use_entry(
    folder: Path,
    digest: str,
    dtype: type[np.generic],
    dimensions: int,
    fits: Callable[[tuple[int, ...]], bool],
) -> bool:
    """Whether an entry is there and whole, as far as its head and length tell.

    A broken one stays until it is replaced: another process may have replaced it already.
    """
    place = place_of(folder, digest)
    try:
        values = _mapped(place, "r")
        whole = (
            values.dtype == dtype
            and values.flags.c_contiguous
            and values.ndim == dimensions
            and fits(values.shape)
            # Mapped files may be longer than their array.
            and place.stat().st_size == values.offset + values.nbytes
        )
    except (OSError, ValueError):
        return False
    if whole:
        with suppress(OSError):
            os.utime(place)  # it was used today
    return whole


def _mapped(place: Path, mode: Literal["r", "c"]) -> np.memmap[Any, Any]:
    """An entry, mapped. Raises OSError, or ValueError if it is broken."""
    try:
        return np.lib.format.open_memmap(place, mode)
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged header gives TokenError, OverflowError, ...
        raise ValueError(f"{place}: {error}") from error


def read_entry(folder: Path, digest: str) -> Tensor:
    """An entry's values, mapped from the disk.

    Raises:
        RunError: it is gone, as when the cache is cleared during a training.
    """
    try:  # copy-on-write: torch knows no arrays that may not be written
        values = _mapped(place_of(folder, digest), "c")
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder}: decoded frames are gone; was the cache removed? The same command goes on"
        ) from error
    return torch.from_numpy(np.asarray(values))


def write_entry(folder: Path, digest: str, values: NDArray[Any]) -> None:
    """Put an entry into a cache, as a whole or not at all.

    It is not flushed to the disk: thousands of them would wait for it, and one that a power cut
    has torn is found broken and made again.

    Raises:
        OutputError: the folder cannot be written.
    """
    place = place_of(folder, digest)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".part", part_prefix(digest), place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, values)
            Path(name).replace(place)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(folder: Path, error: OSError) -> OutputError:
    """The error to raise where a cache cannot be written."""
    why = error.strerror or "is the disk full?"  # NumPy says only how many items it has written
    return OutputError(
        f"{folder}: frames cannot be kept there ({why}); --cache FOLDER puts them elsewhere"
    )


class Frames:
    """The frames of a training's videos: in the GPU's memory if they fit, else in memory that the
    GPU copies from by itself, else on the disk.

    Args:
        cache: which has been filled with `paths`.
        paths: the videos, whose places are their numbers.
        device: where frames are wanted.
    """

    where: Where
    nbytes: int

    def __init__(self, cache: FrameCache, paths: Sequence[str], device: torch.device) -> None:
        self._cache = cache
        self._paths = paths
        self._device = device
        self._held: list[Tensor] = []
        self._block = torch.empty(0, dtype=torch.uint8)
        """Of GPU memory: all that is held."""
        self.nbytes = sum(map(cache.size, paths))
        self.where = "disk"
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        host = _free_host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        for where in places(self.nbytes, free, host) if device.type == "cuda" else ():
            if self._hold(where):
                self.where = where
                break
            torch.cuda.empty_cache()

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def per_video(self) -> int:
        """Frames kept of each video."""
        return self._cache.per_video

    def take(self, number: int, moments: Tensor) -> Tensor:
        """The frames (n, C, H, W) uint8 of a video at n moments, on the device.

        Args:
            number: of the video.
            moments: (n,) int64, each 0 to K - 1.
        """
        if self.where == "disk":
            return self._cache.frames(self._paths[number])[moments].to(self._device)
        frames = self._held[number]
        if self.where == "pinned memory":
            # All in between, straight from there: what indexing gathers is not pinned any more.
            first, last = moments.min(), moments.max()
            moments = moments - first
            frames = frames[first : last + 1].to(self._device, non_blocking=True)
        return frames[sent(moments, self._device)]

    def gather(self, numbers: Sequence[int], moments: Tensor) -> Gathered:
        """The frames of B videos, each at T moments, in one piece of the device's memory.

        Args:
            numbers: of the videos.
            moments: (B, T) int64, each 0 to K - 1.
        """
        if self.where == "GPU memory":
            memory = self._block
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
        return self._held[number] if held else self._cache.frames(self._paths[number])

    def _copied(self, frames: Sequence[Tensor], size: int) -> Tensor:
        """Frames in the host's memory one after another in the device's: straight from pinned
        memory, others by way of it."""
        pinned = self.where == "pinned memory"
        memory = torch.empty(
            size, dtype=torch.uint8, device=self._device if pinned else "cpu",
            pin_memory=not pinned and self._device.type == "cuda",
        )  # fmt: skip
        parts = torch.split(memory, [each.numel() for each in frames])
        for part, each in zip(parts, frames, strict=True):
            part.view(each.shape).copy_(each, non_blocking=True)
        return memory.to(self._device, non_blocking=True)

    def _hold(self, where: Where) -> bool:
        """Load all frames: into one block of the GPU's memory, or into few large ones of the
        host's. False if the memory does not suffice."""
        pinned = where == "pinned memory"
        device = torch.device("cpu") if pinned else self._device
        largest = BLOCK if pinned else self.nbytes
        free = torch.empty(0, dtype=torch.uint8)
        left = self.nbytes
        try:
            for path in self._paths:
                frames = self._cache.frames(path)
                size = frames.numel()
                if size > len(free):
                    self._block = free = torch.empty(
                        max(size, min(largest, left)),
                        dtype=torch.uint8, device=device, pin_memory=pinned,
                    )  # fmt: skip
                self._held.append(free[:size].view(frames.shape).copy_(frames))
                free = free[size:]
                left -= size
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self._held.clear()
            self._block = torch.empty(0, dtype=torch.uint8)
            return False
        return True


def places(size: int, gpu_free: int, host_free: int) -> list[Where]:
    """Where frames of `size` bytes may be held, best first; without any, they stay on the disk."""
    found: list[Where] = []
    if size <= gpu_free * GPU_SHARE:
        found.append("GPU memory")
    if size <= host_free * HOST_SHARE:
        found.append("pinned memory")
    return found


def _free_host_memory() -> int:
    """Bytes of memory that could be used without swapping, at most what a container may have; 0
    where the system does not say."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for limit in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            found.append(int(Path(limit).read_text(encoding="ascii")))
    return min(found, default=0)
